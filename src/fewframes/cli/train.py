"""`fewframes train`: a recipe, videos and changes come in, a run folder goes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from fewframes.cli.output import json_document, line, note_line, parse
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
    """Print the resolved run as JSON and stop."""
    json: bool = False
    """Print the result as JSON."""


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
        json_document(dataclasses.asdict(config))
        return 0

    from fewframes.training.loop import train

    result = train(config, resume=options.resume)
    if options.json:
        values = dataclasses.asdict(result)
        json_document({key: str(value) if isinstance(value, Path) else value for key, value in values.items()})
        return 0
    best = "no validation" if result.best_top1 is None else f"validation top-1 {result.best_top1:.2f} %"
    line(f"{result.best}: {best}, {result.num_parameters:,} parameters, {result.num_train} training videos")
    note_line(f"next: fewframes evaluate {result.best} VIDEOS    fewframes predict {result.best} FILE")
    return 0


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
