"""A complete config comes in, a trained checkpoint goes out: one flat loop, read from top to bottom."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional as F

import fewframes.training.setup as setup
from fewframes.data.dataset import Batch, load_batches
from fewframes.errors import TrainingFailed, UnreadableVideo, UsageError
from fewframes.evaluate import evaluate
from fewframes.predict import Classifier
from fewframes.records import Preprocess, Scores
from fewframes.training.config import TrainConfig
from fewframes.training.log import RunLog
from fewframes.training.optim import build_optimizer, learning_rate_factor
from fewframes.training.state import Progress, load_state, prepare_output, save_state
from fewframes.video.transforms import to_float
from fewframes.weights.checkpoint import CheckpointInfo, save_checkpoint

__all__ = ["TrainResult", "train"]


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
        TrainingFailed: the loss is not finite.
    """
    start = time.perf_counter()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("training runs in one process; start it without torchrun")
    data = setup.read_data(config)
    model, info, load_report = setup.build(config, data)
    taking_up = prepare_output(config, resume=resume)
    fabric = Fabric(
        accelerator=config.device,
        devices=1,
        precision="bf16-mixed" if config.precision == "bfloat16" else "32-true",
    )
    optimizer = build_optimizer(model, config.optim)
    network, fabric_optimizer = fabric.setup(model, optimizer)
    clips = setup.training_clips(config, data, info, show=show)
    output, progress = Path(config.output), Progress()
    if taking_up:
        progress = load_state(output, model, optimizer, data.train.sha256)
    steps_per_epoch = -(-len(clips) // config.optim.batch_size)
    total_steps = steps_per_epoch * config.optim.epochs
    with RunLog(output / "log.jsonl", total_steps=total_steps, from_step=progress.step, show=show) as log:
        if load_report is not None:
            log.say(load_report.summary())
        for note in data.notes:
            log.say(f"note: {note}")
        for epoch in range(progress.epoch, config.optim.epochs):
            batches = load_batches(
                clips,
                epoch=epoch,
                batch_size=config.optim.batch_size,
                workers=config.data.workers if clips.cache is None else 0,
                skip_batches=progress.step_in_epoch,
            )
            for batch, waited in _timed(batches):
                began = time.perf_counter()
                _count_failures(batch, config, progress, log)
                factor = learning_rate_factor(progress.step, steps_per_epoch=steps_per_epoch, config=config.optim)
                for group in optimizer.param_groups:
                    group["lr"] = group["base_lr"] * factor
                torch.manual_seed(config.seed * 1_000_003 + progress.step)
                loss, grad_norm = _step(fabric, network, fabric_optimizer, batch, config, info.preprocess)
                progress.step += 1
                progress.step_in_epoch += 1
                log.step(epoch, loss)
                if progress.step % config.log_every_steps == 0 or progress.step == total_steps:
                    seconds = time.perf_counter() - began
                    log.write(
                        {
                            "step": progress.step,
                            "epoch": epoch + 1,
                            "loss": loss,
                            "lr": config.optim.lr * factor,
                            "grad_norm": grad_norm,
                            "samples_per_second": len(batch.labels) / (seconds + waited),
                            "data_wait_share": waited / (seconds + waited),
                        }
                    )
                if config.save_every_steps and progress.step % config.save_every_steps == 0:
                    save_state(output, model, optimizer, progress, data.train.sha256)
            progress.epoch, progress.step_in_epoch = epoch + 1, 0
            _finish_epoch(config, data, Classifier(model, info, device=fabric.device), progress, log)
            save_state(output, model, optimizer, progress, data.train.sha256)
        if progress.num_skipped:
            log.say(f"{progress.num_skipped} clips were left out because their video could not be read")
    return TrainResult(
        best=output / "best",
        last=output / "last",
        log=output / "log.jsonl",
        best_top1=progress.best_top1 if data.val is not None else None,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_train=len(data.train.videos),
        num_val=len(data.val.videos) if data.val is not None else 0,
        num_skipped=progress.num_skipped,
        seconds=time.perf_counter() - start,
    )


def _step(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainConfig,
    preprocess: Preprocess,
) -> tuple[float, float]:
    """One step of the optimiser over a batch, in equal parts if it accumulates. Returns the loss and gradient norm."""
    count = len(batch.labels)
    if count == 0:
        return 0.0, 0.0
    network.train()
    part_size = config.optim.batch_size // config.optim.accumulate
    loss_sum = 0.0
    optimizer.zero_grad(set_to_none=True)
    for begin in range(0, count, part_size):
        pixels_BTCHW = batch.clips[begin : begin + part_size].to(fabric.device)
        clips_BTCHW = to_float(pixels_BTCHW.flatten(0, 1), preprocess).reshape(pixels_BTCHW.shape)
        labels_B = batch.labels[begin : begin + part_size].to(fabric.device)
        logits_BK = network(clips_BTCHW)
        loss = F.cross_entropy(
            logits_BK.float(), labels_B, reduction="sum", label_smoothing=config.optim.label_smoothing
        )
        fabric.backward(loss / count)
        loss_sum += float(loss.detach())
    limit = config.optim.clip_norm or float("inf")
    grad_norm = float(nn.utils.clip_grad_norm_(network.parameters(), limit))
    if not (torch.isfinite(torch.tensor([loss_sum, grad_norm])).all()):
        raise TrainingFailed(
            f"the loss is {loss_sum / count} and the gradient norm {grad_norm}; "
            "lower --optim.lr or train in float32; the last finished epoch is in last/"
        )
    optimizer.step()
    return loss_sum / count, grad_norm


def _finish_epoch(
    config: TrainConfig, data: setup.TrainData, classifier: Classifier, progress: Progress, log: RunLog
) -> None:
    """Validate if it is time, then write last/ and, if this is the best epoch so far, best/."""
    output, final = Path(config.output), progress.epoch == config.optim.epochs
    scores: Scores | None = None
    if data.val is not None and (final or progress.epoch % config.validate_every == 0):
        scores = evaluate(classifier, data.val, workers=max(config.data.workers, 1)).listed
        log.write({"step": progress.step, "epoch": progress.epoch, "validation": asdict(scores)})
        log.say(
            f"epoch {progress.epoch}: validation top-1 {scores.top1:.2f} %, top-5 {scores.top5:.2f} % "
            f"of {scores.num_videos} videos"
        )
    info = _with_results(classifier.info, progress, scores)
    save_checkpoint(output / "last", classifier.model, info)
    if data.val is None and final:
        shutil.rmtree(output / "best", ignore_errors=True)
        shutil.copytree(output / "last", output / "best")
    if scores is not None and scores.top1 > progress.best_top1:
        progress.best_top1, progress.best_epoch = scores.top1, progress.epoch
        save_checkpoint(output / "best", classifier.model, info)


def _with_results(info: CheckpointInfo, progress: Progress, scores: Scores | None) -> CheckpointInfo:
    results = {
        "epochs": progress.epoch,
        "steps": progress.step,
        "clips_skipped": progress.num_skipped,
        "validation": None if scores is None else asdict(scores),
    }
    return replace(info, provenance={**info.provenance, **results})


def _count_failures(batch: Batch, config: TrainConfig, progress: Progress, log: RunLog) -> None:
    for failure in batch.failures:
        if config.data.on_bad_video == "error":
            raise UnreadableVideo(
                failure.path, f"{failure.reason}; repair or remove it, or train with --data.on-bad-video skip"
            )
        progress.num_skipped += 1
        log.write({"step": progress.step, "skipped": failure.path, "reason": failure.reason})


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds spent waiting for it."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - began
