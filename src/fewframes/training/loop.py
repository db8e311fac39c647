"""A complete config comes in, a trained checkpoint goes out: one flat loop, read from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from fewframes.data.bad_videos import BadVideos
from fewframes.data.loader import Batch, load_batches
from fewframes.errors import TrainingFailed, UsageError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import Failure, Scores
from fewframes.training.config import TrainConfig
from fewframes.training.log import Pace, RunLog
from fewframes.training.optim import learning_rate_factor, set_learning_rate
from fewframes.training.setup import Run, start
from fewframes.training.state import Progress, save_state
from fewframes.video.transforms import to_float
from fewframes.weights.checkpoint import CheckpointInfo, save_checkpoint

__all__ = ["TrainResult", "train", "weighted_loss_sum"]

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
    seconds: float


def train(config: TrainConfig, *, resume: bool = False, show: bool = True) -> TrainResult:
    """Train a network.

    The same config gives the same weights on the same machine. All randomness follows from the seed and the step, so a
    run that was interrupted and taken up again ends with the same bits as one that was not (float32, CPU).

    Args:
        config: the whole run.
        resume: go on with the run in `config.output` if there is one.
        show: progress bar and messages on stderr.

    Raises:
        UsageError: settings that do not fit together, or an output folder that holds another run.
        InvalidManifest, InvalidCheckpoint, UnreadableVideo: the inputs are wrong.
        TooManyBadVideos: more videos cannot be read than the cap allows.
        WorkerDied: a process that reads videos was killed or crashed; the run can be taken up again.
        TrainingFailed: the loss is not finite, or not one video could be read.
    """
    began = time.perf_counter()
    run, progress = start(config, resume=resume, show=show)
    bad = BadVideos(config.data.policy, run.data.train, known=progress.bad_videos)
    progress.bad_videos = bad.found
    with RunLog(run.log_path, total_steps=run.total_steps, from_step=progress.step, show=show) as log:
        for note in run.notes:
            log.say(note)
        for epoch in range(progress.epoch, config.optim.epochs):
            with closing(_batches(run, epoch, skip=progress.step_in_epoch)) as batches:
                for batch, waited in _timed(batches):
                    step_began = time.perf_counter()
                    _note_failures(batch, progress, bad, log)
                    factor = learning_rate_factor(
                        progress.step, steps_per_epoch=run.steps_per_epoch, config=config.optim
                    )
                    set_learning_rate(run.optimizer, factor)
                    torch.manual_seed(config.seed * 1_000_003 + progress.step)
                    loss, grad_norm = _step(run, batch)
                    progress.step += 1
                    progress.step_in_epoch += 1
                    log.step(epoch, loss, _pace(batch, waited, time.perf_counter() - step_began))
                    if progress.step % config.log_every_steps == 0 or progress.step == run.total_steps:
                        values = {"loss": loss, "lr": config.optim.lr * factor, "grad_norm": grad_norm}
                        log.write({"step": progress.step, "epoch": epoch + 1, **values, **log.pace()})
                    if _save_is_due(run, progress):
                        _save_state(run, progress)
            progress.epoch, progress.step_in_epoch = epoch + 1, 0
            _finish_epoch(run, progress, log)
            _save_state(run, progress)
        if progress.num_skipped:
            log.say(_skipped_text(progress))
    return _result(run, progress, time.perf_counter() - began)


def _batches(run: Run, epoch: int, *, skip: int) -> Generator[Batch]:
    data, batch_size = run.config.data, run.config.optim.batch_size
    return load_batches(
        run.clips, epoch=epoch, batch_size=batch_size, workers=data.workers, skip_batches=skip, prefetch=data.prefetch
    )


def _step(run: Run, batch: Batch) -> tuple[float | None, float | None]:
    """One step of the optimiser over a batch, in equal parts if it accumulates.

    Returns:
        The mean loss, each clip counting as much as its video's weight says, and the gradient's norm before clipping;
        None and no step if the batch is empty.
    """
    count, optim = len(batch.labels), run.config.optim
    if count == 0:
        return None, None
    run.network.train()
    part_size = optim.batch_size // optim.accumulate
    loss_sum, total_weight = 0.0, float(batch.weights.double().sum())
    run.optimizer.zero_grad(set_to_none=True)
    for begin in range(0, count, part_size):
        pixels_BTCHW = batch.clips[begin : begin + part_size].to(run.fabric.device)
        clips_BTCHW = to_float(pixels_BTCHW.flatten(0, 1), run.info.preprocess).reshape(pixels_BTCHW.shape)
        labels_B = batch.labels[begin : begin + part_size].to(run.fabric.device)
        logits_BK = run.network(clips_BTCHW)
        weights_B = batch.weights[begin : begin + part_size].to(run.fabric.device)
        loss = weighted_loss_sum(logits_BK.float(), labels_B, weights_B, label_smoothing=optim.label_smoothing)
        run.fabric.backward(loss / total_weight)
        loss_sum += float(loss.detach())
    grad_norm = float(nn.utils.clip_grad_norm_(run.network.parameters(), optim.clip_norm or math.inf))
    if not (math.isfinite(loss_sum) and math.isfinite(grad_norm)):
        raise TrainingFailed(
            f"the loss is {loss_sum / total_weight} and the gradient norm {grad_norm}; lower --optim.lr or train in "
            f"float32; the last finished epoch, if any, is in {run.output / 'last'}"
        )
    run.optimizer.step()
    return loss_sum / total_weight, grad_norm


def weighted_loss_sum(
    logits_BK: torch.Tensor, labels_B: torch.Tensor, weights_B: torch.Tensor, *, label_smoothing: float
) -> torch.Tensor:
    """The cross-entropies of some clips, each times its weight, added up: a scalar."""
    if bool((weights_B == 1).all()):  # the fused sum, and so the very bits of a list without weights
        return F.cross_entropy(logits_BK, labels_B, reduction="sum", label_smoothing=label_smoothing)
    losses_B = F.cross_entropy(logits_BK, labels_B, reduction="none", label_smoothing=label_smoothing)
    return (losses_B * weights_B).sum()


def _finish_epoch(run: Run, progress: Progress, log: RunLog) -> None:
    """Validate if it is time, then write last/ and, if this is the best epoch so far, best/."""
    config, final = run.config, progress.epoch == run.config.optim.epochs
    if progress.num_skipped == progress.epoch * len(run.clips):
        raise TrainingFailed(
            f"not one of {len(run.clips)} training videos could be read; {run.log_path} names each and the reason"
        )
    pace = log.epoch_pace()
    classifier = Classifier(run.model, run.info, device=run.fabric.device)
    scores: Scores | None = None
    if run.data.val is not None and (final or progress.epoch % config.validate_every == 0):
        scores = _validate(classifier, run, progress, log)
    validation = "" if scores is None else f", validation top-1 {scores.top1:.2f} % of {scores.num_videos} videos"
    log.say(f"epoch {progress.epoch}/{config.optim.epochs}: loss {log.mean_loss():.3f}{validation}, {pace}")
    info = _with_results(run.info, progress, scores)
    save_checkpoint(run.output / "last", run.model, info)
    is_best = scores is not None and scores.top1 > progress.best_top1
    if scores is not None and is_best:
        progress.best_top1, progress.best_epoch = scores.top1, progress.epoch
    if is_best or (run.data.val is None and final):
        save_checkpoint(run.output / "best", run.model, info)


def _validate(classifier: Classifier, run: Run, progress: Progress, log: RunLog) -> Scores:
    assert run.data.val is not None
    data = run.config.data
    try:
        report = evaluate(
            classifier, run.data.val, workers=max(data.workers, 1), policy=data.policy, decode=data.decode
        )
    except UsageError as error:  # logits that are not finite
        raise TrainingFailed(f"validation after epoch {progress.epoch}: {error}; lower --optim.lr") from error
    for failure in report.failures:
        log.write({"step": progress.step, **_failure_values(failure), "list": "validation"})
    failed = {"validation_failed": len(report.failures)}
    log.write({"step": progress.step, "epoch": progress.epoch, "validation": asdict(report.listed), **failed})
    return report.listed


def _with_results(info: CheckpointInfo, progress: Progress, scores: Scores | None) -> CheckpointInfo:
    bad = list(progress.bad_videos.values())
    results = {
        "epochs": progress.epoch,
        "steps": progress.step,
        "clips_skipped": progress.num_skipped,
        "bad_videos": len(bad),
        "bad_videos_named": [asdict(failure) for failure in bad[:_NAMED_IN_CHECKPOINT]],
        "validation": None if scores is None else asdict(scores),
    }
    return replace(info, provenance={**info.provenance, **results})


def _note_failures(batch: Batch, progress: Progress, bad: BadVideos, log: RunLog) -> None:
    """Stop at a video that cannot be read, or write down that it was left out, as the policy says."""
    for index, failure in zip(batch.failed_indices, batch.failures, strict=True):
        bad.add(index, failure)
        log.write({"step": progress.step + 1, **_failure_values(failure)})
        progress.num_skipped += 1


def _failure_values(failure: Failure) -> dict[str, object]:
    """What a line of the log says of a video that was left out."""
    part = {name: value for name, value in (("start", failure.start), ("end", failure.end)) if value is not None}
    return {"skipped": failure.path, **part, "reason": failure.reason}


def _skipped_text(progress: Progress) -> str:
    bad = list(progress.bad_videos.values())
    named = "; ".join(f"{failure.path}: {failure.reason}" for failure in bad[:3])
    more = f"; and {len(bad) - 3} more, see log.jsonl" if len(bad) > 3 else ""
    return (
        f"{progress.num_skipped} clips were left out because their video could not be read: "
        f"{len(bad)} videos, {named}{more}"
    )


def _save_is_due(run: Run, progress: Progress) -> bool:
    """Whether to save in mid-epoch; after an epoch's last step it is saved together with the validation."""
    every = run.config.save_every_steps
    return every > 0 and progress.step % every == 0 and progress.step_in_epoch < run.steps_per_epoch


def _save_state(run: Run, progress: Progress) -> None:
    save_state(run.output, run.model, optimizer=run.optimizer, progress=progress, manifest_sha256=run.data.train.sha256)


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds spent waiting for it."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - began


def _pace(batch: Batch, waited: float, worked: float) -> Pace:
    return Pace(len(batch.labels), waited, worked, batch.decode_seconds, batch.bytes_read, batch.packets_decoded)


def _result(run: Run, progress: Progress, seconds: float) -> TrainResult:
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
        seconds=seconds,
    )
