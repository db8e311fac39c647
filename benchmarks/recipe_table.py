"""Writes docs/recipes.md: every recipe with its settings, as configured, and where they come from.

python benchmarks/recipe_table.py            writes the page's tables
python benchmarks/recipe_table.py --check    exit status 1 if they are not those of the recipes
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from fewframes.cards.card import ModelCard
from fewframes.catalog import adapted_card, parse_options
from fewframes.recipes import RECIPES
from fewframes.report.serial import write_atomically
from fewframes.training.config import TrainConfig
from fewframes.training.optim import peak_learning_rate
from fewframes.video.augment import base_size

PAGE = Path(__file__).resolve().parent.parent / "docs" / "recipes.md"
# A part of a recipe's docstring begins with one of these and a colon; the words after Choices differ.
_PART = re.compile(r"^(Command|Needs|Hardware|Expected|Source|Contradictions|Choices)[^:\n]*: ", re.MULTILINE)

Row = Mapping[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition("<!-- tables -->")
    _, closed, after = rest.partition("<!-- /tables -->")
    if not (found and closed):
        sys.exit(f"{PAGE} lacks the marks <!-- tables --> and <!-- /tables -->; put them where the tables belong")
    written = f"{before}{found}\n\n{chr(10).join(tables())}\n{closed}{after}"
    if not options.check:
        write_atomically(PAGE, written)
    elif written != page:
        sys.exit(f"{PAGE} is not what the recipes say; run python benchmarks/recipe_table.py")


def tables() -> list[str]:
    """One table for each kind of setting, a row for each recipe."""
    configs = {name: make() for name, make in RECIPES.items()}
    kinds: dict[str, Callable[[TrainConfig], Row]] = {
        "The network and its batch": network,
        "How it learns": learning,
        "What a clip goes through": views,
    }
    lines = []
    for title, describe in kinds.items():
        rows = {name: describe(config) for name, config in configs.items()}
        lines += [f"### {title}", "", *table(rows), ""]
    rows = {name: parts(name) for name in RECIPES}
    told = {name: pick(row, ("Source", "Expected", "Needs")) for name, row in rows.items()}
    lines += ["### Where it comes from", "", *table(told), ""]
    return [*lines, "### What sources say twice, and what they do not say", "", *stated(rows)]


def stated(rows: Mapping[str, Row]) -> list[str]:
    """Contradictions and choices of each recipe that has some: too long for a table."""
    lines = []
    for name, row in rows.items():
        told = [f"* {each}: {row[each]}" for each in ("Contradictions", "Choices") if each in row]
        lines += [f"**`{name}`**", "", *told, ""] if told else []
    return lines


def table(rows: Mapping[str, Row]) -> list[str]:
    columns = list(next(iter(rows.values())))
    lines = [f"| recipe | {' | '.join(column.lower() for column in columns)} |", "|---" * (len(columns) + 1) + "|"]
    return [*lines, *(f"| `{name}` | {' | '.join(row[each] for each in columns)} |" for name, row in rows.items())]


def network(config: TrainConfig) -> Row:
    model, optim = config.model, config.optim
    return {
        "Model": model.name,
        "Options": " ".join(model.options) or "none",
        "Frames": frames(card_of(config)),
        "Starts from": model.init_from or "random weights",
        "Batch": str(optim.batch_size) + (f" in {optim.accumulate} parts" if optim.accumulate > 1 else ""),
        "Epochs": str(optim.epochs),
        "Arithmetic": config.precision,
    }


def learning(config: TrainConfig) -> Row:
    optim, average = config.optim, config.average
    is_sgd = optim.optimizer == "sgd"
    momentum = f" {optim.momentum:g}{' Nesterov' if optim.nesterov else ''}" if is_sgd else f" beta2 {optim.beta2:g}"
    factors = {
        "encoder": optim.encoder_lr_factor,
        "aggregator and head": optim.temporal_lr_factor,
        "head, once more": optim.head_lr_factor,
    }
    decay = f"layer decay {optim.layer_decay:g}" if optim.layer_decay != 1 else ""
    others = [f"{part} x {factor:g}" for part, factor in factors.items() if factor != 1]
    follows = f", follows it from {optim.lr_reference_batch}" if optim.lr_reference_batch else ""
    teacher = config.distill
    return {
        "Optimiser": f"{optim.optimizer}{momentum}",
        "Peak learning rate": f"{peak_learning_rate(optim):g} at {optim.batch_size} clips{follows}",
        "Of parts": ", ".join([*others, *([decay] if decay else [])]) or "all alike",
        "Weight decay": f"{optim.weight_decay:g}",
        "Schedule": schedule(config),
        "Gradient norm": f"{optim.clip_norm:g}" if optim.clip_norm else "not limited",
        "Label smoothing": f"{optim.label_smoothing:g}",
        "Average": f"{average.decay:g}" if average.decay else "none",
        "Teacher": f"{teacher.teacher}, {teacher.alpha:g} x KL" if teacher.teacher else "none",
    }


def schedule(config: TrainConfig) -> str:
    optim = config.optim
    ends = {
        "cosine": f"cosine to {optim.final_lr_factor:g} of it",
        "step": f"a tenth from each of {', '.join(map(str, optim.step_epochs))} on",
        "constant": "constant",
    }
    return f"{optim.warmup_epochs:g} warm-up, {ends[optim.schedule]}"


def views(config: TrainConfig) -> Row:
    augment, mix = config.augment, config.mix
    spec = card_of(config).preprocess
    base = base_size(spec)
    least, most = augment.short_side or (base * augment.min_zoom, base * augment.max_zoom)
    jitter = augment.scale_jitter
    size = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    flip = f"{augment.flip_probability:g}{', with labels' if augment.flip_pairs else ''}"
    layers = f" {augment.randaugment_layers} / {augment.randaugment_magnitude} of 30"
    policy = augment.policy + (layers if augment.policy == "randaugment" else "")
    colours = f"jitter {augment.colour_jitter:g}, grey {augment.colour_drop:g}" if augment.colour_jitter else "none"
    mixes = {"mixup": mix.mixup_alpha, "cutmix": mix.cutmix_alpha}
    return {
        "Frames": "drawn at random" if augment.random_frames else "as in evaluation",
        "Short side": size + (", inverse drawn evenly" if augment.inverse_zoom else ""),
        "Sides alone": f"x {jitter[0]:g} to {jitter[1]:g}" if jitter != (1.0, 1.0) else "no",
        "Crop": "x".join(map(str, spec.crop)),
        "Flip": flip,
        "Cutout": f"{augment.cutout:g}",
        "Policy": policy,
        "Colours": colours,
        "Mixing": ", ".join(f"{name} {alpha:g}" for name, alpha in mixes.items() if alpha) or "none",
        "Channels": spec.channel_order.upper(),
    }


def frames(card: ModelCard) -> str:
    sampling = card.sampling
    stride = f" x {sampling.stride:g}" if sampling.rule.startswith("clip") else ""
    rate = f" at {sampling.stride_fps:g}/s" if stride and sampling.stride_fps else ""
    return f"{sampling.num_frames}{stride}{rate}, {sampling.rule.replace('_', ' ')}"


def card_of(config: TrainConfig) -> ModelCard:
    return adapted_card(config.model.name, **parse_options(config.model.name, config.model.options))


def parts(name: str) -> Row:
    """What a recipe's docstring says, by the word that a part begins with."""
    text = inspect.getdoc(RECIPES[name]) or ""
    found = list(_PART.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)]
    return {
        each[1]: " ".join(text[each.end() : end].split()).replace("|", "\\|")
        for each, end in zip(found, ends, strict=True)
    }


def pick(row: Row, wanted: tuple[str, ...]) -> Row:
    return {each: row.get(each, "not stated" if each == "Expected" else "nothing") for each in wanted}


if __name__ == "__main__":
    main()
