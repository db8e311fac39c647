"""`fewframes train`: a recipe, videos and changes come in, a run folder goes out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from fewframes.cli.output import json_document, line, note_line, parse, show_facts
from fewframes.errors import UnknownName
from fewframes.recipes import RECIPES
from fewframes.training.config import TrainConfig

__all__ = ["Options", "run"]


@dataclass(frozen=True)
class Options:
    """Train on a folder of class folders or a CSV file, from a recipe whose every setting can be changed."""

    videos: tyro.conf.Positional[str] = ""
    """A folder of class folders (optionally below train, val, test), or a list: path,label[,split,group,...]."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    """The run."""
    resume: bool = False
    """Go on with the run in --output, with the same settings."""
    dry_run: bool = False
    """Print what the run would do (batch, steps, learning rates, memory) and stop; the list of videos is read."""
    json: bool = False
    """Print the result (of --dry-run: the plan) as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, train, print what came out."""
    if not arguments or arguments[0] in ("-h", "--help"):
        line(_overview())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    options = parse(Options, rest, f"{program} {name}", default=Options(config=RECIPES[name]()))
    config = options.config
    if options.videos:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=options.videos))
    if options.dry_run:
        return _show_plan(config, as_json=options.json)

    from fewframes.training.loop import train

    result = train(config, resume=options.resume)
    if not _is_first():
        return 0
    if options.json:
        values = dataclasses.asdict(result)
        json_document({key: str(value) if isinstance(value, Path) else value for key, value in values.items()})
        return 0
    best = "no validation" if result.best_top1 is None else f"validation top-1 {result.best_top1:.2f} %"
    line(f"{result.best}: {best}, {result.num_parameters:,} parameters, {result.num_train} training videos")
    note_line(f"next: fewframes evaluate {result.best} VIDEOS    fewframes predict {result.best} FILE")
    return 0


def _is_first() -> bool:
    """Whether this is the one of torchrun's processes that prints, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def _show_plan(config: TrainConfig, *, as_json: bool) -> int:
    from fewframes.report.text import bytes_text, plural
    from fewframes.training.plan import plan

    values = plan(config)
    if not _is_first():
        return 0
    if as_json:
        json_document(values)
        return 0
    data, model, batch, schedule, memory = (values[name] for name in ("data", "model", "batch", "schedule", "memory"))
    parts = ", ".join(f"{name} {bytes_text(size)}" for name, size in memory.items() if name not in ("total", "formula"))
    share = f"{batch['clips_per_process']}, {batch['clips_at_a_time']} at a time"
    facts = {
        "videos": f"{data['num_train']} to train on, {data['num_val']} to validate on, {data['num_classes']} classes",
        "model": f"{model['name']}, {model['num_parameters']:,} parameters, from {model['starts_from']}",
        "clip": " x ".join(map(str, model["clip"])),
        "batch": f"{batch['clips']} clips = {plural(batch['processes'], 'process')} x {share}",
        "precision": config.precision,
        "steps": f"{schedule['steps_per_epoch']} an epoch, {schedule['total_steps']} in {schedule['epochs']} epochs",
        "learning rate": f"{schedule['peak_lr']:g} at its peak, {schedule['warmup_steps']} steps of warm-up, "
        f"then {schedule['schedule']}",
        **{f"group {number}": _group(group) for number, group in enumerate(values["groups"], start=1)},
        "memory": f"about {bytes_text(memory['total'])} a process: {parts}",
        "memory formula": memory["formula"],
        "sampling": _settings(values["sampling"]),
        "augmentation": _settings(values["augment"]),
        "output": config.output,
    }
    show_facts(facts)
    for note in data["notes"]:
        note_line(f"note: {note}")
    return 0


def _group(group: dict[str, Any]) -> str:
    return (
        f"{group['name']}: {group['num_tensors']} tensors, {group['num_parameters']:,} parameters, "
        f"learning rate {group['lr']:g}, weight decay {group['weight_decay']:g}"
    )


def _settings(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _overview() -> str:
    width = max(map(len, RECIPES)) + 2
    summaries = {name: (recipe.__doc__ or "").strip().splitlines()[0] for name, recipe in RECIPES.items()}
    return "\n".join(
        [
            "usage: fewframes train RECIPE VIDEOS [OPTIONS]        fewframes train RECIPE --help",
            "",
            *(f"  {name:<{width}}{summaries[name]}" for name in RECIPES),
            "",
            "VIDEOS is a folder of class folders or a list with path,label[,start,end,split,group,weight].",
            "Every setting of a recipe is an option: --optim.lr 3e-4 --model.options num_frames=8 --output runs/mine",
        ]
    )
