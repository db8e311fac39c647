"""`fewframes models show`: a catalogue name or checkpoint folder comes in, all that is known of it goes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from fewframes.cli.output import json_document, line, parse, show_facts

if TYPE_CHECKING:
    from fewframes.cards.card import ModelCard, QuotedCard
    from fewframes.models.checks import ModelConfig

__all__ = ["Options", "describe_card", "describe_quoted", "run"]


@dataclass(frozen=True)
class Options:
    """One model of the catalogue, or one checkpoint, in detail, with its blocks and the shapes between them."""

    name: tyro.conf.Positional[str]
    """A catalogue name or a checkpoint folder."""
    options: tuple[str, ...] = ()
    """For a catalogue name: changes to its shape, such as encoder=tiny num_frames=8."""
    levels: int = 2
    """How deep to draw the blocks; 0 leaves them out."""
    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, count, print."""
    options = parse(Options, arguments, program)

    from fewframes.catalog import QUOTED, adapted_card, parse_options

    if Path(options.name).is_dir():
        facts = describe_checkpoint(Path(options.name), levels=options.levels)
    elif options.name in QUOTED:
        facts = describe_quoted(QUOTED[options.name])
    else:
        changes = parse_options(options.name, options.options)
        card = adapted_card(options.name, **changes)
        facts = {**describe_card(card), **_shape_and_cost(card.config, levels=options.levels)}
    if options.json:
        json_document(facts)
        return 0

    from fewframes.report.blocks import Block, draw_blocks
    from fewframes.report.serial import flatten

    blocks = [Block(**each) for each in facts.pop("blocks", ())]
    published = facts.pop("published", ())
    known = {name: value for name, value in flatten(facts).items() if value not in ("", None, {})}
    show_facts({name.replace("_", " "): _text(value) for name, value in known.items()})
    for each in published:
        views = f", {each['views']} views" if each["views"] else ""
        line(f"published: {each['percent']} % {each['metric']}, {each['dataset']}{views} ({each['source']})")
    if blocks:
        line("")
        line(f"{'block':<38} {'kind':<28}    {'output':<24} {'parameters':>13}")
    for drawn in draw_blocks(blocks):
        line(drawn)
    return 0


def describe_card(card: ModelCard) -> dict[str, Any]:
    """A card's facts as plain JSON values, without building the network."""
    config = card.config
    return {
        "name": card.name,
        "family": card.family,
        "num_frames": config.num_frames,
        "image_size": f"{config.image_size[0]}x{config.image_size[1]}",
        "num_parameters": card.num_parameters,
        "gmacs": card.gmacs,
        "gmacs_without_attention_products": card.gmacs_without_attention_products,
        "views": f"{card.views[0]}x{card.views[1]}",
        "sampling": dataclasses.asdict(card.sampling),
        "preprocess": dataclasses.asdict(card.preprocess),
        "output": card.output,
        "published": [dataclasses.asdict(each) for each in card.published],
        "labels": card.labels,
        "weights_url": card.weights_url,
        "source": card.source,
        "code_licence": card.code_licence,
        "weights_licence": card.weights_licence,
        "commercial": card.commercial,
        "notes": card.notes,
        "config": dataclasses.asdict(config),  # type: ignore[call-overload]  # all configs are dataclasses
    }


def describe_quoted(card: QuotedCard) -> dict[str, Any]:
    """The facts of a system that is only quoted, as plain JSON values."""
    return {
        "name": card.name,
        "family": "quoted",
        "num_parameters": card.num_parameters,
        "gmacs": card.gmacs,
        "views": None if card.views is None else f"{card.views[0]}x{card.views[1]}",
        "published": [dataclasses.asdict(each) for each in card.published],
        "source": card.source,
        "notes": f"cannot be built: {card.reason}",
    }


def describe_checkpoint(folder: Path, *, levels: int = 0) -> dict[str, Any]:
    """A checkpoint's record and the network's cost as plain JSON values."""
    from fewframes.weights.checkpoint import load_checkpoint

    _, info = load_checkpoint(folder)
    return {
        "name": info.name,
        **_shape_and_cost(info.config, levels=levels),
        "sampling": dataclasses.asdict(info.sampling),
        "preprocess": dataclasses.asdict(info.preprocess),
        "labels": list(info.labels),
        "provenance": dict(info.provenance),
    }


def _shape_and_cost(config: ModelConfig, *, levels: int) -> dict[str, Any]:
    import torch

    from fewframes.architectures import build_from_config
    from fewframes.benchmark import measure_cost
    from fewframes.report.blocks import trace_blocks

    shape = (config.num_frames, 3, *config.image_size)
    with torch.device("meta"):
        model = build_from_config(config)
    cost = measure_cost(model, shape)
    blocks = trace_blocks(model, shape, levels=levels) if levels > 0 else []
    return {
        "num_frames": config.num_frames,
        "image_size": f"{config.image_size[0]}x{config.image_size[1]}",
        "num_parameters": cost.num_parameters,
        "gmacs": round(cost.macs / 1e9, 4),
        "gmacs_without_attention_products": round(cost.macs_without_attention_products / 1e9, 4),
        "config": dataclasses.asdict(config),  # type: ignore[call-overload]  # all configs are dataclasses
        **({"blocks": [dataclasses.asdict(each) for each in blocks]} if blocks else {}),
    }


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
