"""A network and clips come in; low-rank bypasses of its frame encoder are trained, and it goes out with them merged.

The loop is the short sister of `fewframes.training.loop`: whole epochs only, and what it writes to go on with holds the
trained tensors alone, not the frozen encoder.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fewframes.data.bad_videos import BadVideos
from fewframes.data.dataset import TrainingClips
from fewframes.data.loader import Batch, load_batches
from fewframes.errors import InvalidCheckpoint, TrainingFailed, UsageError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import Failure, Preprocess, Scores
from fewframes.report.serial import write_atomically
from fewframes.training.config import TrainConfig
from fewframes.training.fit_time import Outcome
from fewframes.training.log import Pace, RunLog
from fewframes.training.lora import add_low_rank_, merged
from fewframes.training.optim import build_optimizer, learning_rate_factor, set_learning_rate
from fewframes.training.probe import gradient_step
from fewframes.training.setup import TrainData, training_clips
from fewframes.training.state import STATE_DAMAGES
from fewframes.video.transforms import to_float
from fewframes.weights.checkpoint import CheckpointInfo, save_checkpoint

__all__ = ["clip_forward", "train_adapter", "train_all_but_encoder"]

_STATE = "resume.pt"


def train_adapter(
    config: TrainConfig,
    data: TrainData,
    model: nn.Module,
    info: CheckpointInfo,
    *,
    rank: int,
    device: torch.device,
    show: bool,
) -> Outcome:
    """Train bypasses of the frame encoder's linear layers, the aggregator and the head; write best/ merged.

    A run that was interrupted goes on after its last finished epoch, and ends with the same bits as one that was not
    (float32, CPU). The frozen encoder stays in eval mode.

    Args:
        config: the whole run.
        data: its videos.
        model: with its starting weights; changed in place.
        info: its record.
        rank: of the bypasses.
        device: where to train.
        show: progress bar and messages on stderr.

    Raises:
        UnreadableVideo, TooManyBadVideos, WorkerDied: as in `fewframes.training.loop.train`.
        TrainingFailed: the loss is not finite, or not one video could be read.
    """
    output = Path(config.output)
    add_low_rank_(model, rank, torch.Generator().manual_seed(config.seed))
    model.to(device)
    optimizer = build_optimizer(model, config.optim)
    trained = nn.ParameterList(parameter for parameter in model.parameters() if parameter.requires_grad)
    progress = _load_state(output, trained, optimizer) or _Progress()
    clips = training_clips(config, data, info, show=show, finished=progress.epoch >= config.optim.epochs)
    bad = BadVideos(config.data.policy, data.train, known=progress.bad_videos)
    progress.bad_videos = bad.found
    run = _Run(config, data, info, model, optimizer, clips, bad, progress, device)
    with RunLog(output / "log.jsonl", total_steps=run.total_steps, from_step=progress.step, show=show) as log:
        for epoch in range(progress.epoch, config.optim.epochs):
            _train_epoch(run, epoch, log)
            progress.epoch = epoch + 1
            _finish_epoch(run, log)
            _save_state(output, trained, optimizer, progress)
    return Outcome(
        top1=None if data.val is None else progress.best_top1,
        num_trained=sum(parameter.numel() for parameter in trained),
        num_skipped=progress.num_skipped,
        bad_videos=bad.failures,
    )


def clip_forward(model: nn.Module, spec: Preprocess, *, precision: str) -> Callable[[Tensor], Tensor]:
    """What takes (B, T, 3, H, W) uint8 pixels on the network's device to (B, K) float32 logits."""

    def forward(pixels_BTCHW: Tensor) -> Tensor:
        clips_BTCHW = to_float(pixels_BTCHW.flatten(0, 1), spec).reshape(pixels_BTCHW.shape)
        with torch.autocast(pixels_BTCHW.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits_BK: Tensor = model(clips_BTCHW)
        return logits_BK.float()

    return forward


@dataclass
class _Progress:
    """How far a run has come: as `fewframes.training.state.Progress`, in whole epochs."""

    epoch: int = 0
    step: int = 0
    best_top1: float = -1.0
    num_skipped: int = 0
    bad_videos: dict[int, Failure] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Run:
    """What stays the same from the first step to the last."""

    config: TrainConfig
    data: TrainData
    info: CheckpointInfo
    model: nn.Module
    optimizer: torch.optim.Optimizer
    clips: TrainingClips
    bad: BadVideos
    progress: _Progress
    device: torch.device

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.clips) // self.config.optim.batch_size)

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.optim.epochs


def _train_epoch(run: _Run, epoch: int, log: RunLog) -> None:
    settings, optim = run.config.data, run.config.optim
    batches = load_batches(
        run.clips, epoch=epoch, batch_size=optim.batch_size, workers=settings.workers, prefetch=settings.prefetch
    )
    began = time.perf_counter()
    with closing(batches):
        for batch in batches:
            waited = time.perf_counter() - began
            for index, failure in zip(batch.failed_indices, batch.failures, strict=True):
                run.bad.add(index, failure)
                run.progress.num_skipped += 1
                log.write({"step": run.progress.step + 1, "skipped": failure.path, "reason": failure.reason})
            loss = _step(run, batch) if len(batch.labels) else None
            run.progress.step += 1
            worked = time.perf_counter() - began - waited
            log.step(epoch, loss, Pace(len(batch.labels), waited, worked, batch.decode_seconds))
            began = time.perf_counter()


def _step(run: _Run, batch: Batch) -> float:
    step, optim = run.progress.step, run.config.optim
    factor = learning_rate_factor(step, steps_per_epoch=run.steps_per_epoch, config=optim)
    set_learning_rate(run.optimizer, factor)
    torch.manual_seed(run.config.seed * 1_000_003 + step)
    train_all_but_encoder(run.model)
    forward = clip_forward(run.model, run.info.preprocess, precision=run.config.precision)
    tensors = (batch.clips.to(run.device), batch.labels.to(run.device), batch.weights.to(run.device))
    return gradient_step(run.model, forward, run.optimizer, tensors, optim)


def train_all_but_encoder(model: nn.Module) -> None:
    """Training mode, but for the frozen encoder: no dropout, no batch statistics there."""
    model.train()
    model.get_submodule("encoder").eval()


def _finish_epoch(run: _Run, log: RunLog) -> None:
    """Validate, and write best/ if this is the best epoch so far, or the last one where nothing validates."""
    progress, config = run.progress, run.config
    if progress.num_skipped == progress.epoch * len(run.clips):
        raise TrainingFailed(f"not one of {len(run.clips)} training videos could be read; log.jsonl names each")
    scores, validation, loss, pace = None, "", log.mean_loss(), log.pace()
    values = {"loss": loss, "lr": run.optimizer.param_groups[-1]["lr"]}
    log.write({"step": progress.step, "epoch": progress.epoch, **values, **pace})
    if run.data.val is not None:
        scores = _validate(run)
        validation = f", validation top-1 {scores.top1:.2f} % of {scores.num_videos} videos"
        log.write({"step": progress.step, "epoch": progress.epoch, "validation": asdict(scores)})
    log.say(f"epoch {progress.epoch}/{config.optim.epochs}: loss {loss:.3f}{validation}, {log.epoch_pace()}")
    if scores is not None and scores.top1 <= progress.best_top1:
        return
    if scores is not None:
        progress.best_top1 = scores.top1
    elif progress.epoch < config.optim.epochs:
        return
    results = {
        "epochs": progress.epoch,
        "steps": progress.step,
        "clips_skipped": progress.num_skipped,
        "bad_videos": len(progress.bad_videos),
        "validation": None if scores is None else asdict(scores),
    }
    info = replace(run.info, provenance={**run.info.provenance, **results})
    save_checkpoint(Path(config.output) / "best", merged(run.model), info)


def _validate(run: _Run) -> Scores:
    assert run.data.val is not None
    settings = run.config.data
    try:
        report = evaluate(
            Classifier(run.model, run.info, device=run.device),
            run.data.val,
            workers=max(settings.workers, 1),
            policy=settings.policy,
            decode=settings.decode,
        )
    except UsageError as error:  # logits that are not finite
        raise TrainingFailed(f"validation after epoch {run.progress.epoch}: {error}; lower --lr") from error
    return report.listed


def _save_state(output: Path, trained: nn.Module, optimizer: torch.optim.Optimizer, progress: _Progress) -> None:
    """Write what is needed to go on, whole or not at all."""
    content = io.BytesIO()
    state = {"trained": trained.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}
    torch.save(state, content)
    write_atomically(output / _STATE, content.getvalue())


def _load_state(output: Path, trained: nn.Module, optimizer: torch.optim.Optimizer) -> _Progress | None:
    """Fill the trained tensors and the optimiser, if the run has a finished epoch."""
    path = output / _STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        values = dict(state["progress"])
        bad = {index: Failure(**failure) for index, failure in values.pop("bad_videos").items()}
        progress = _Progress(**values, bad_videos=bad)
        trained.load_state_dict(state["trained"], strict=True)
        optimizer.load_state_dict(state["optimizer"])
    except STATE_DAMAGES as error:
        raise InvalidCheckpoint(f"{path} is damaged ({type(error).__name__}); start again in another folder") from error
    return progress
