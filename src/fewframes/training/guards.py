"""What may go wrong in a run comes in: signals, numbers that are not finite, no memory; a stop that loses nothing."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from fewframes.data.dataset import TrainingClips
from fewframes.data.reading import shown_name
from fewframes.errors import TrainingFailed, TrainingStopped
from fewframes.report.serial import write_atomically
from fewframes.training.parallel import whole

__all__ = [
    "SIGNALS",
    "NotFinite",
    "StopSignals",
    "clip_facts",
    "keep_latest",
    "out_of_memory",
    "tensors_not_finite",
    "write_failure",
]

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last is what SLURM is asked to send before a job's time is over
SIGNALS = tuple(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))
_EPOCH = re.compile(r"\d{3,}")


class NotFinite(TrainingFailed):
    """A step whose loss or gradient is not finite; the weights are those of before.

    Args:
        loss: mean of the batch.
        grad_norm: before clipping.
        losses_B: of this process's clips, in their order.
    """

    def __init__(self, loss: float, grad_norm: float, losses_B: Tensor) -> None:
        self.loss, self.grad_norm, self.losses_B = loss, grad_norm, losses_B
        super().__init__(f"the loss is {loss} and the gradient norm {grad_norm}; lower --optim.lr or train in float32")


@dataclass
class StopSignals:
    """Which signal asked this process to stop.

    Attributes:
        alone: whether a second Ctrl-C ends at once; torchrun sends its processes one more of its own.
        received: the signal's number; 0 if there was none.
    """

    alone: bool = True
    received: int = 0

    @contextmanager
    def caught(self) -> Generator[StopSignals]:
        """Note SIGINT, SIGTERM and SIGUSR1 down instead of ending in the middle of a step."""
        if threading.current_thread() is not threading.main_thread():  # where Python lets nobody catch signals
            yield self
            return
        # What is ignored stays ignored: a job in the background is not meant by Ctrl-C.
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._note) for number in heard}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def check(self, *_: object) -> None:
        """Raise `TrainingStopped` if there was a signal; for the middle of work that may be thrown away."""
        if self.received:
            raise self.stop()

    def stop(self, number: int = 0) -> TrainingStopped:
        """The error that ends the run; `number` is the signal where another process received it."""
        number = number or self.received
        name = signal.Signals(number).name
        return TrainingStopped(f"stopped by {name}; the state is saved, go on with --resume", 128 + number)

    def _note(self, number: int, _: FrameType | None) -> None:
        if number == self.received == signal.SIGINT and self.alone:
            raise KeyboardInterrupt
        self.received = number


def clip_facts(clips: TrainingClips, indices: tuple[int, ...], losses_B: Tensor) -> Iterator[dict[str, object]]:
    """What is known of each clip of a bad step: its video, its part, its label, and its own loss."""
    for index, loss in zip(indices, losses_B.tolist(), strict=True):
        video = clips.videos[index]
        yield {
            "path": shown_name(video.path),
            "start": video.start,
            "end": video.end,
            "label": video.label,
            "index": index,
            "loss": loss if math.isfinite(loss) else str(loss),
        }


def tensors_not_finite(model: nn.Module) -> dict[str, list[str]]:
    """Which weights and which gradients are not finite, by name; all processes have to ask for it."""
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    found = {}
    for kind, tensors in (("weights", model.state_dict()), ("gradients", gradients)):
        found[f"{kind}_not_finite"] = [
            name for name, tensor in tensors.items() if not bool(torch.isfinite(whole(tensor)).all())
        ]
    return found


def write_failure(folder: Path, values: Mapping[str, object]) -> Path:
    """Write failure.json: the step that ended a run, and its videos. Returns its path."""
    return write_atomically(folder / "failure.json", json.dumps(values, indent=1) + "\n")


def keep_latest(folder: Path, count: int) -> None:
    """Remove all but the `count` latest checkpoints of epochs; nothing whose name is not a number is touched."""
    kept = sorted((path for path in folder.iterdir() if _EPOCH.fullmatch(path.name)), key=lambda path: int(path.name))
    for path in kept[:-count]:
        shutil.rmtree(path)


@contextmanager
def out_of_memory(*, accumulate: int, clips: int) -> Generator[None]:
    """Turn torch's way of saying that memory ran out into what can be done about it.

    Args:
        accumulate: parts of a batch.
        clips: of one process in a batch.

    Raises:
        TrainingFailed: memory ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)):
            raise
        more = next((parts for parts in range(accumulate + 1, clips + 1) if clips % parts == 0), None)
        parts = f"--optim.accumulate {more} instead of {accumulate} (the same gradient), " if more else ""
        first = str(error).strip().splitlines()[0]
        raise TrainingFailed(
            f"memory ran out ({first}); use {parts}--scale.recompute-blocks, --precision bfloat16, a smaller "
            "--optim.batch-size, or smaller clips (--model.options num_frames=... image_size=...), and --resume"
        ) from error
