"""`fewframes models show`: a catalogue name or checkpoint folder comes in, all that is known of it goes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from fewframes.cli.output import json_document, parse, show_facts

if TYPE_CHECKING:
    from fewframes.catalog import ModelCard
    from fewframes.models.stam import StamConfig

__all__ = ["Options", "describe_card", "run"]


@dataclass(frozen=True)
class Options:
    """One model of the catalogue, or one checkpoint, in detail."""

    name: tyro.conf.Positional[str]
    """A catalogue name or a checkpoint folder."""
    options: tuple[str, ...] = ()
    """For a catalogue name: changes to its shape, such as encoder=tiny num_frames=8."""
    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, count, print."""
    options = parse(Options, arguments, program)

    from fewframes.catalog import adapted_card, parse_options

    if Path(options.name).is_dir():
        facts = describe_checkpoint(Path(options.name))
    else:
        facts = describe_card(adapted_card(options.name, **parse_options(options.options)))
    if options.json:
        json_document(facts)
        return 0

    from fewframes.report.serial import flatten

    known = {name: value for name, value in flatten(facts).items() if value not in ("", None, {})}
    show_facts({name.replace("_", " "): _text(value) for name, value in known.items()})
    return 0


def describe_card(card: ModelCard) -> dict[str, Any]:
    """A card's facts and the network's cost as plain JSON values."""
    return {
        "name": card.name,
        **_shape_and_cost(card.config),
        "sampling": dataclasses.asdict(card.sampling),
        "preprocess": dataclasses.asdict(card.preprocess),
        "published": dict(card.published),
        "labels": card.labels,
        "weights_url": card.weights_url,
        "source": card.source,
        "licence": card.licence,
        "notes": card.notes,
    }


def describe_checkpoint(folder: Path) -> dict[str, Any]:
    """A checkpoint's record and the network's cost as plain JSON values."""
    from fewframes.weights.checkpoint import load_checkpoint

    _, info = load_checkpoint(folder)
    return {
        "name": info.name,
        **_shape_and_cost(info.config),
        "sampling": dataclasses.asdict(info.sampling),
        "preprocess": dataclasses.asdict(info.preprocess),
        "labels": list(info.labels),
        "provenance": dict(info.provenance),
    }


def _shape_and_cost(config: StamConfig) -> dict[str, Any]:
    import torch

    from fewframes.benchmark import measure_cost
    from fewframes.catalog import build_from_config

    with torch.device("meta"):
        model = build_from_config(config)
    cost = measure_cost(model, (config.num_frames, 3, *config.image_size))
    return {
        "num_frames": config.num_frames,
        "image_size": f"{config.image_size[0]}x{config.image_size[1]}",
        "num_parameters": cost.num_parameters,
        "gmacs": round(cost.macs / 1e9, 4),
        "gmacs_without_attention_products": round(cost.macs_without_attention_products / 1e9, 4),
        "config": dataclasses.asdict(config),
    }


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
