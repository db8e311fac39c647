"""How far a run has come and what it found comes in; what its checkpoints, its log and its caller are told goes out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fewframes.records import Failure, Scores
from fewframes.training.ema import WeightAverage
from fewframes.training.run import Run
from fewframes.training.state import Progress
from fewframes.weights.checkpoint import CheckpointInfo

__all__ = ["TrainResult", "Validation", "failure_values", "result_of", "skipped_text", "with_results"]

_NAMED_IN_CHECKPOINT = 100


@dataclass(frozen=True)
class TrainResult:
    """What a run left behind.

    Attributes:
        best: checkpoint with the best validation accuracy; the last one if there was no validation.
        last: checkpoint of the last epoch.
        log: log.jsonl.
        best_top1: validation accuracy of `best` in percent; None without validation.
        num_parameters: of the network.
        num_train: videos trained on.
        num_val: videos validated on.
        num_skipped: clips left out because their video could not be read, over all epochs.
        bad_videos: those videos, each once.
        bad_steps: steps left out because their loss or gradient was not finite.
        epochs: how many the run has come to; fewer than asked for if it stopped early.
        seconds: wall time of this call.
    """

    best: Path
    last: Path
    log: Path
    best_top1: float | None
    num_parameters: int
    num_train: int
    num_val: int
    num_skipped: int
    bad_videos: tuple[Failure, ...]
    bad_steps: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Validation:
    """What an epoch's validation found.

    Attributes:
        scores: of the weights.
        averaged: of their average; None if there is none.
    """

    scores: Scores
    averaged: Scores | None

    @property
    def best(self) -> Scores:
        """The higher one; the average's if both are equal."""
        if self.averaged is not None and self.averaged.top1 >= self.scores.top1:
            return self.averaged
        return self.scores

    def __str__(self) -> str:
        """For the line that ends an epoch."""
        averaged = "" if self.averaged is None else f" ({self.averaged.top1:.2f} % with averaged weights)"
        return f"validation top-1 {self.scores.top1:.2f} % of {self.scores.num_videos} videos{averaged}"


def with_results(
    info: CheckpointInfo, progress: Progress, scores: Scores | None, average: WeightAverage | None = None
) -> CheckpointInfo:
    """A checkpoint's record with what the run has come to.

    Args:
        info: the network's record.
        progress: of the run.
        scores: what validation said of these weights; None without.
        average: if the checkpoint holds the averaged weights.
    """
    bad = list(progress.bad_videos.values())
    averaged = None if average is None else {"decay": average.decay, "num_updates": average.num_updates}
    results = {
        "epochs": progress.epoch,
        "steps": progress.step,
        "clips_skipped": progress.num_skipped,
        "bad_videos": len(bad),
        "bad_videos_named": [asdict(failure) for failure in bad[:_NAMED_IN_CHECKPOINT]],
        "bad_steps": progress.bad_steps,
        "averaged_weights": averaged,
        "validation": None if scores is None else asdict(scores),
    }
    return replace(info, provenance={**info.provenance, **results})


def failure_values(failure: Failure) -> dict[str, object]:
    """What a line of the log says of a video that was left out."""
    part = {name: value for name, value in (("start", failure.start), ("end", failure.end)) if value is not None}
    return {"skipped": failure.path, **part, "reason": failure.reason}


def skipped_text(progress: Progress) -> str:
    """The videos that were left out, for the end of a run."""
    bad = list(progress.bad_videos.values())
    named = "; ".join(f"{failure.path}: {failure.reason}" for failure in bad[:3])
    more = f"; and {len(bad) - 3} more, see log.jsonl" if len(bad) > 3 else ""
    return (
        f"{progress.num_skipped} clips were left out because their video could not be read: "
        f"{len(bad)} videos, {named}{more}"
    )


def result_of(run: Run, progress: Progress, seconds: float) -> TrainResult:
    """What the caller of a run gets."""
    val = run.data.val
    return TrainResult(
        best=run.output / "best",
        last=run.output / "last",
        log=run.log_path,
        best_top1=progress.best_top1 if val is not None else None,
        num_parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        num_train=len(run.data.train.videos),
        num_val=len(val.videos) if val is not None else 0,
        num_skipped=progress.num_skipped,
        bad_videos=tuple(progress.bad_videos.values()),
        bad_steps=progress.bad_steps,
        epochs=progress.epoch,
        seconds=seconds,
    )
