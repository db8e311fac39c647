"""Frame embeddings and labels come in; what follows the frozen frame encoder is trained on them, in seconds."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.data.loader import epoch_order
from fewframes.errors import TrainingFailed
from fewframes.metrics import ClassificationMetrics
from fewframes.records import Scores
from fewframes.training.config import OptimConfig
from fewframes.training.embedder import FRAME_PARTS
from fewframes.training.log import Pace, RunLog
from fewframes.training.losses import weighted_cross_entropy_sum
from fewframes.training.optim import build_optimizer, learning_rate_factor, set_learning_rate

__all__ = ["FrameData", "ProbeResult", "freeze_encoder", "gradient_step", "score", "train_probe"]

_SAID_EPOCHS = 10
_SCORED_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class FrameData:
    """Embeddings with what they should be classified as.

    Attributes:
        frames_NVTD: (N, V, T, D) float32: T frames of V views of N videos.
        labels_N: (N,) int64.
        weights_N: (N,) float32, above 0; how much each video counts in training.
        failed_labels: classes of the listed videos that could not be read, which count as wrong.
    """

    frames_NVTD: Tensor
    labels_N: Tensor
    weights_N: Tensor
    failed_labels: tuple[int, ...] = ()

    def to(self, device: torch.device) -> FrameData:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("frames_NVTD", "labels_N", "weights_N")}
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True)
class ProbeResult:
    """How a probe went.

    Attributes:
        epoch: whose weights the network has now, from 1: the best one in validation, the last one without.
        steps: of the optimiser.
        scores: of that epoch over every listed validation video; None without validation.
        last_loss: mean training loss of the last epoch.
        seconds: of all steps and validations.
    """

    epoch: int
    steps: int
    scores: Scores | None
    last_loss: float
    seconds: float


def freeze_encoder(model: nn.Module) -> None:
    """Let gradients reach only what lies outside the frame encoder."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(FRAME_PARTS))


def train_probe(
    model: nn.Module,
    train: FrameData,
    val: FrameData | None,
    *,
    optim: OptimConfig,
    seed: int,
    log: RunLog,
) -> ProbeResult:
    """Train everything outside the frame encoder on its embeddings; the encoder is neither called nor changed.

    Each epoch visits every video once, in the order that training would, and takes one of its views at random. The
    same embeddings, settings and seed give the same weights on the same machine. The network is left with the weights
    of the epoch with the best validation top-1, and among equals the lowest validation loss.

    Args:
        model: with `classify`; on the device where it is to be trained.
        train: to learn from.
        val: to choose the epoch on; its view 0 counts.
        optim: the whole schedule; `accumulate` parts each batch.
        seed: of order, views and dropout.
        log: gets the loss of each epoch and each validation.

    Raises:
        TrainingFailed: the loss is not finite, or there is nothing to train on.
    """
    if train.frames_NVTD.shape[0] == 0:
        raise TrainingFailed("not one training video could be read, so there are no embeddings to train on")
    freeze_encoder(model)
    device = next(model.parameters()).device
    training = _Training(model, train.to(device), build_optimizer(model, optim), optim, seed, log)
    val = None if val is None else val.to(device)
    began, loss, best, best_state = time.perf_counter(), math.nan, _Found(), dict[str, Tensor]()
    for epoch in range(optim.epochs):
        loss = training.epoch(epoch)
        found = _Found(epoch + 1) if val is None else _Found(epoch + 1, *score(model, val))
        if found.scores is not None:
            log.write({"step": training.step, "epoch": epoch + 1, "validation": dataclasses.asdict(found.scores)})
        _say(log, found, optim.epochs, loss)
        last = epoch + 1 == optim.epochs
        if (val is None and last) or (val is not None and found.rank > best.rank):
            best, best_state = found, _trained_tensors(model)
    model.load_state_dict(best_state, strict=False)  # the encoder is not among them, and has not changed
    model.eval()
    return ProbeResult(best.epoch, training.step, best.scores, loss, time.perf_counter() - began)


@dataclass
class _Training:
    """A probe under way."""

    model: nn.Module
    data: FrameData
    optimizer: torch.optim.Optimizer
    optim: OptimConfig
    seed: int
    log: RunLog
    step: int = 0

    def epoch(self, epoch: int) -> float:
        """One pass over the videos; returns the mean loss of its steps."""
        optim, data, factor = self.optim, self.data, 1.0
        count, views = data.frames_NVTD.shape[:2]
        order = epoch_order(count, seed=self.seed, epoch=epoch)
        classify: Any = self.model.classify
        self.model.train()
        for begin in range(0, count, optim.batch_size):
            began = time.perf_counter()
            picked = order[begin : begin + optim.batch_size]
            drawn = [random.Random(f"{self.seed}/view/{epoch}/{index}").randrange(views) for index in picked]
            factor = learning_rate_factor(self.step, steps_per_epoch=-(-count // optim.batch_size), config=optim)
            set_learning_rate(self.optimizer, factor)
            torch.manual_seed(self.seed * 1_000_003 + self.step)
            batch = (data.frames_NVTD[picked, drawn], data.labels_N[picked], data.weights_N[picked])
            loss = gradient_step(self.model, classify, self.optimizer, batch, optim)
            self.step += 1
            self.log.step(epoch, loss, Pace(len(picked), work_seconds=time.perf_counter() - began))
        mean, pace = self.log.mean_loss(), self.log.pace()
        self.log.write({"step": self.step, "epoch": epoch + 1, "loss": mean, "lr": optim.lr * factor, **pace})
        return mean


@dataclass(frozen=True)
class _Found:
    """What validation after an epoch found."""

    epoch: int = 0
    scores: Scores | None = None
    loss: float = math.inf

    @property
    def rank(self) -> tuple[float, float]:
        return (-1.0 if self.scores is None else self.scores.top1), -self.loss


def gradient_step(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor, Tensor],
    optim: OptimConfig,
) -> float:
    """One step of the optimiser over a batch, in equal parts if it accumulates.

    Args:
        model: whose gradients are limited to `optim.clip_norm`.
        forward: a part of the inputs -> logits (b, K).
        optimizer: takes the step.
        batch: inputs (B, ...), labels (B,) and weights (B,), on the network's device.
        optim: states the loss and the parts.

    Returns:
        The mean loss, each clip counting as much as its weight says.

    Raises:
        TrainingFailed: the loss or the gradient is not finite.
    """
    inputs, labels_B, weights_B = batch
    part = optim.batch_size // optim.accumulate
    total = float(weights_B.double().sum())
    loss_sum = 0.0
    optimizer.zero_grad(set_to_none=True)
    for begin in range(0, labels_B.shape[0], part):
        logits_BK = forward(inputs[begin : begin + part])
        loss = weighted_cross_entropy_sum(
            logits_BK,
            labels_B[begin : begin + part],
            weights_B[begin : begin + part],
            label_smoothing=optim.label_smoothing,
        )
        (loss / total).backward()  # type: ignore[no-untyped-call]
        loss_sum += float(loss.detach())
    grad_norm = float(nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm or math.inf))
    if not (math.isfinite(loss_sum) and math.isfinite(grad_norm)):
        raise TrainingFailed(
            f"the loss is {loss_sum / total} and the gradient norm {grad_norm}; lower the learning rate with --lr"
        )
    optimizer.step()
    return loss_sum / total


@torch.no_grad()
def score(model: nn.Module, data: FrameData) -> tuple[Scores, float]:
    """Accuracy over every listed video, by view 0, and the mean loss over those that could be read."""
    model.eval()
    network: Any = model
    metrics, losses = ClassificationMetrics(network.config.num_classes), 0.0
    for begin in range(0, data.labels_N.shape[0], _SCORED_TOGETHER):
        labels_B = data.labels_N[begin : begin + _SCORED_TOGETHER]
        logits_BK = network.classify(data.frames_NVTD[begin : begin + _SCORED_TOGETHER, 0])
        metrics.update(logits_BK, labels_B)
        losses += float(nn.functional.cross_entropy(logits_BK, labels_B, reduction="sum"))
    metrics.add_failures(data.failed_labels)
    return metrics.listed, losses / max(data.labels_N.shape[0], 1)


def _trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if not name.startswith(FRAME_PARTS)}


def _say(log: RunLog, found: _Found, epochs: int, loss: float) -> None:
    if found.epoch % max(epochs // _SAID_EPOCHS, 1) and found.epoch != epochs:
        return
    scores = found.scores
    validation = "" if scores is None else f", validation top-1 {scores.top1:.2f} % of {scores.num_videos} videos"
    log.say(f"epoch {found.epoch}/{epochs}: loss {loss:.3f}{validation}")
