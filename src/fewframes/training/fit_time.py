"""A plan comes in; some of its clips and steps are tried, and how long the run will take on this machine goes out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.data.dataset import TrainingClips
from fewframes.data.loader import epoch_order
from fewframes.records import Failure

__all__ = ["Outcome", "Sample", "StepTime", "draw_sample", "duration_text", "run_seconds", "time_steps"]

_TIMED_STEPS = 2


@dataclass(frozen=True)
class Outcome:
    """What a training of any mode left behind, besides best/.

    Attributes:
        top1: validation top-1 of best/ in percent as training saw it; None without validation.
        num_trained: parameters that were trained.
        num_skipped: clips (of a probe: videos) left out because they could not be read.
        bad_videos: the videos that could not be read, each once.
        warnings: what looked wrong, a sentence each.
    """

    top1: float | None
    num_trained: int
    num_skipped: int
    bad_videos: tuple[Failure, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sample:
    """Some training clips.

    Attributes:
        pixels_BTCHW: (B, T, 3, H, W) uint8, on the CPU; B may be 0.
        labels_B: (B,) int64.
        decode_seconds: opening and decoding, for one clip.
    """

    pixels_BTCHW: Tensor
    labels_B: Tensor
    decode_seconds: float


@dataclass(frozen=True)
class StepTime:
    """What one clip costs.

    Attributes:
        train_seconds: forwards and backwards.
        forward_seconds: forwards alone, as in validation.
        decode_seconds: opening and decoding by one reader.
    """

    train_seconds: float
    forward_seconds: float
    decode_seconds: float


def draw_sample(clips: TrainingClips, count: int) -> Sample:
    """The first clips of the first epoch that can be read, up to `count`, from at most twice as many videos."""
    drawn = []
    for index in epoch_order(len(clips), seed=clips.seed, epoch=0)[: 2 * count]:
        clip = clips[0, index]
        if clip.pixels is not None:
            drawn.append(clip)
        if len(drawn) == count:
            break
    height, width = clips.view.preprocess.crop
    pixels = [clip.pixels for clip in drawn if clip.pixels is not None]
    none = torch.empty(0, clips.view.sampling.num_frames, 3, height, width, dtype=torch.uint8)
    return Sample(
        torch.stack(pixels) if pixels else none,
        torch.tensor([clip.request.label for clip in drawn], dtype=torch.int64),
        sum(clip.decode_seconds for clip in drawn) / max(len(drawn), 1),
    )


def time_steps(
    model: nn.Module, forward_of: Callable[[nn.Module], Callable[[Tensor], Tensor]], sample: Sample, part: int
) -> StepTime:
    """Take two steps with a copy of the network, after one that does not count.

    Args:
        model: on its device; stays as it is. What has no gradient in it has none in the copy.
        forward_of: a network -> what takes pixels (b, T, 3, H, W) uint8 to logits.
        sample: at least one clip.
        part: clips that go through at a time.
    """
    device = next(model.parameters()).device
    pixels, labels = sample.pixels_BTCHW[:part].to(device), sample.labels_B[:part].to(device)
    trial = copy.deepcopy(model)
    forward, seconds = forward_of(trial), list[float]()
    with torch.random.fork_rng(devices=[]):
        for _ in range(1 + _TIMED_STEPS):
            began = time.perf_counter()
            F.cross_entropy(forward(pixels), labels).backward()  # type: ignore[no-untyped-call]
            _wait_for(device)
            seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        with torch.no_grad():
            forward(pixels)
        _wait_for(device)
    count = pixels.shape[0]
    return StepTime(min(seconds[1:]) / count, (time.perf_counter() - began) / count, sample.decode_seconds)


def run_seconds(step: StepTime, *, num_train: int, num_val: int, epochs: int, workers: int, decodes: int) -> float:
    """How long a run takes: readers work beside the network, so the slower of the two counts.

    Args:
        step: what one clip costs.
        num_train: training videos.
        num_val: validation videos, which are read and classified after every epoch.
        epochs: passes.
        workers: readers.
        decodes: how often each training video is decoded: `epochs` times, or once if its frames are kept in memory.
    """
    readers = max(workers, 1)
    work = num_train * epochs * step.train_seconds
    read = num_train * decodes * step.decode_seconds / readers
    training = work + read if decodes < epochs else max(work, read)
    return training + num_val * epochs * max(step.forward_seconds, step.decode_seconds / readers)


def duration_text(seconds: float) -> str:
    """A rough time in words, such as "12 seconds", "7 minutes" or "2.5 hours"."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} seconds" if seconds >= 1.5 else "a second"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
