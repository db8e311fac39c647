"""`fewframes fit`: labelled videos come in; how they are best trained on is chosen, explained and done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fewframes.cli.decoding import DecodeFlags
from fewframes.cli.output import json_document, line, note_line, parse
from fewframes.errors import WorkerDied
from fewframes.recipes import RECIPES
from fewframes.training.config import DataConfig

if TYPE_CHECKING:
    from fewframes.training.fit_run import FitResult
    from fewframes.training.fit_start import FitPlan, FitRequest

__all__ = ["Options", "run"]


def _also(name: str) -> object:
    """What `train` calls the same option, and so messages do that the two share."""
    return tyro.conf.arg(aliases=[name])


@dataclass(frozen=True)
class Options:
    """Train on your own videos, with or without a GPU: the way is chosen from data, weights and machine, and explained.

    With trained weights and no GPU, each video is encoded once and kept on disk, and only what follows the frame
    encoder is trained, in seconds. The same command goes on after an interruption.
    Example: fewframes fit VIDEOS --init-from stam_16.pth --model stam_16 --output runs/mine
    """

    data: tyro.conf.Positional[str]
    """A folder of class folders (optionally below train, val, test), or a list: path,label[,split,group,...]."""
    model: str = ""
    """A catalogue name. With published weights and without --init-from, those are downloaded."""
    options: tuple[str, ...] = ()
    """Changes to the network's shape, such as aggregator=mean temporal_depth=2 num_frames=8."""
    init_from: str = ""
    """Trained weights: a file, a checkpoint folder, or the catalogue name of published ones."""
    mode: Literal["auto", "probe", "adapter", "full"] = "auto"
    """probe: frozen frame encoder; adapter: frozen but for low-rank adapters, merged at the end; full: everything."""
    output: str = "runs/fit"
    """Folder of the run; best/ in it is the checkpoint."""
    cache: str = ""
    """Folder of the kept embeddings, which several runs may share. By default one inside --output."""
    epochs: int = 0
    """Passes over the training videos; 0 chooses."""
    lr: Annotated[float, _also("--optim.lr")] = 0.0
    """Peak learning rate at the batch size that is chosen; 0 takes the mode's own."""
    views: int = 1
    """Views of each training video that a probe learns from; each further one is random, and costs as much again."""
    rank: int = 8
    """Of the adapters."""
    seed: int = 0
    """Everything random follows from it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes a GPU if there is one."""
    split_column: str = "split"
    """Which column of the list says the split."""
    group_column: str = "group"
    """Which column of the list says what must not be torn apart when videos are held out."""
    val_fraction: float = 0.1
    """Share of the training videos that is held out, whole groups at a time, if the list has no validation split."""
    on_bad_video: Annotated[Literal["error", "skip"], _also("--data.on-bad-video")] = "error"
    """A video that cannot be read: error stops there; skip goes on without it, and names it."""
    max_bad_fraction: Annotated[float, _also("--data.max-bad-fraction")] = 0.01
    """Stop if more than this share of the listed videos, rounded up, cannot be read."""
    decode: Annotated[DecodeFlags, tyro.conf.arg(name="")] = field(default_factory=DecodeFlags)
    """How videos are decoded."""
    workers: Annotated[int, _also("--data.workers")] = 2
    """Threads or processes that decode ahead."""
    overfit_one_batch: bool = False
    """First learn one batch by heart, which must be possible if labels, gradients and learning rate are sound."""
    dry_run: bool = False
    """Look, choose, explain and measure how long it would take; train nothing."""
    json: bool = False
    """Print the result (of --dry-run: the plan) as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, plan, train, print what came out."""
    options = parse(Options, arguments, program)

    from fewframes.training.fit_run import OVERFIT_STEPS, run_fit
    from fewframes.training.fit_start import plan_fit

    plan = plan_fit(_request(options), scratch=RECIPES["small"](), finetune=RECIPES["finetune"]())
    if options.dry_run:
        _show_plan(plan, options)
        return 0
    steps = OVERFIT_STEPS if options.overfit_one_batch else 0
    try:
        result = run_fit(plan, overfit_steps=steps, say=note_line)
    except WorkerDied as error:
        raise WorkerDied(str(error).replace("go on with --resume", "give the same command again")) from error
    if options.json:
        values = dataclasses.asdict(result)
        json_document({key: str(value) if isinstance(value, Path) else value for key, value in values.items()})
        return 0
    line(_result_line(result))
    note_line(f"next: fewframes evaluate {result.best} VIDEOS    fewframes predict {result.best} FILE")
    return 0


def _request(options: Options) -> FitRequest:
    from fewframes.training.fit_start import FitRequest

    data = DataConfig(
        source=options.data,
        split_column=options.split_column,
        group_column=options.group_column,
        val_fraction=options.val_fraction,
        on_bad_video=options.on_bad_video,
        max_bad_fraction=options.max_bad_fraction,
        decode=options.decode.options(),
        workers=options.workers,
    )
    shared = {each.name for each in dataclasses.fields(FitRequest)} - {"data"}
    return FitRequest(data=data, **{name: getattr(options, name) for name in shared})


def _result_line(result: FitResult) -> str:
    top1 = (
        "no validation" if result.top1 is None else f"validation top-1 {result.top1:.2f} % of {result.num_val} videos"
    )
    trained = f"{result.num_trained_parameters:,} of them trained"
    return (
        f"{result.best}: {top1}, {result.num_parameters:,} parameters, {trained} ({result.mode}), "
        f"{result.num_train} training videos"
    )


def _show_plan(plan: FitPlan, options: Options) -> None:
    from fewframes.training.fit_run import OVERFIT_STEPS, look, rehearse

    lines, warnings = look(plan)
    measured, found = rehearse(plan, overfit_steps=OVERFIT_STEPS if options.overfit_one_batch else 0)
    if options.json:
        json_document(
            {
                "mode": plan.choice.mode,
                "reasons": list(plan.choice.reasons),
                "notes": [*lines, *measured],
                "warnings": [*warnings, *found],
                "config": dataclasses.asdict(plan.config),
            }
        )
        return
    for text in (*lines, *measured):
        line(text)
    for text in (*warnings, *found):
        note_line(f"warning: {text}")
