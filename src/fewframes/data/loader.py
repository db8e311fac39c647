"""Training clips come in, the batches of one epoch go out: decoded ahead, in order, every video exactly once.

Batches are read by processes that come from a fork server: it is started once, single-threaded, with torch imported,
so that a worker costs 20 ms and 15 MB of its own and inherits no lock from a thread that training happens to run.
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import types
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from multiprocessing import get_all_start_methods, get_context, resource_tracker
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from fewframes.data.dataset import Clip, ClipRequest, TrainingClips, View, draw_clip
from fewframes.data.reading import shown_name
from fewframes.errors import FewframesError, UsageError, WorkerDied
from fewframes.records import Failure

__all__ = ["Batch", "Shard", "epoch_order", "load_batches"]

# What a signal that ended a worker most often means.
_CAUSES = {
    "SIGKILL": "killed, most often because memory ran out",
    "SIGSEGV": "crashed inside the decoder",
    "SIGABRT": "crashed inside the decoder",
    "SIGBUS": "its shared memory, /dev/shm, is full; a container gets more with --shm-size",
}


@dataclass(frozen=True, eq=False)
class Batch:
    """Some training clips.

    Attributes:
        clips: (B, T, 3, H, W) uint8; B may be 0.
        labels: (B,) int64.
        weights: (B,) float32, above 0; how much each clip counts.
        indices: the B videos' places in the list.
        failures: videos that were to be in this batch and could not be read.
        failed_indices: their places in the list.
        decode_seconds: opening and decoding, added up over the clips; 0 for frames from memory.
        bytes_read: how much of the files was read for them.
        packets_decoded: compressed packets that were given to decoders for them.
    """

    clips: Tensor
    labels: Tensor
    weights: Tensor
    indices: tuple[int, ...]
    failures: tuple[Failure, ...] = ()
    failed_indices: tuple[int, ...] = ()
    decode_seconds: float = 0.0
    bytes_read: int = 0
    packets_decoded: int = 0


@dataclass(frozen=True)
class Shard:
    """Which share of an epoch one of several processes reads.

    Process r of W takes the videos at places r, r + W, r + 2 W, ... of the epoch's order. Together they read each
    video exactly once; none is repeated to make the shares equal. So shares, and the numbers of their batches, may
    differ by one.

    Attributes:
        rank: of this process, 0 to world_size - 1.
        world_size: how many processes there are.
        equal_batches: end with an empty batch where other processes have one batch more, so that all of them take the
            same number of steps and none waits for ever in a collective operation.
    """

    rank: int = 0
    world_size: int = 1
    equal_batches: bool = False

    def __post_init__(self) -> None:
        if self.world_size < 1 or not 0 <= self.rank < self.world_size:
            raise UsageError(f"rank {self.rank} of {self.world_size} processes; expected 0 <= rank < world_size")


_ALONE = Shard()


def epoch_order(length: int, *, seed: int, epoch: int, frequencies: Sequence[float] | None = None) -> list[int]:
    """The order in which an epoch visits its videos; the same for the same seed and epoch, in every process.

    Args:
        length: how many videos are listed, and visits an epoch has.
        seed: of the run.
        epoch: from 0.
        frequencies: how often each video is wanted in proportion to the others, above 0. Of its share of the visits,
            such as 2.4, each video gets the whole number below or above, drawn anew in every epoch, and so do all
            videos of one frequency together. None visits each once.
    """
    rng = random.Random(f"{seed}/order/{epoch}")
    order = list(range(length))
    rng.shuffle(order)
    if frequencies is None:
        return order
    order.sort(key=frequencies.__getitem__)  # keeps the shuffled order among equals
    share, start = length / math.fsum(frequencies), rng.random()
    ends = [math.ceil(end * share - start) for end in accumulate(frequencies[index] for index in order)]
    ends[-1] = length  # whatever rounding says
    drawn = [index for index, (begin, end) in zip(order, pairwise([0, *ends]), strict=True) for _ in range(begin, end)]
    rng.shuffle(drawn)
    return drawn


def load_batches(
    clips: TrainingClips,
    *,
    epoch: int,
    batch_size: int,
    workers: int,
    skip_batches: int = 0,
    prefetch: int = 2,
    shard: Shard = _ALONE,
) -> Generator[Batch]:
    """The batches of one epoch, in order; the last one may be smaller.

    At most `workers * prefetch + 1` batches are in memory at a time, each of `batch_size` clips of T x 3 x H x W bytes;
    whoever reads ahead of that waits. Which view a video gets does not depend on the workers or on the shard. Close
    the iterator (or let it go) to stop early: workers end after the clip they are at.

    Args:
        clips: the videos.
        epoch: from 0.
        batch_size: clips a batch, in this process.
        workers: processes that read ahead; 0 reads in this one, as do clips whose frames are in memory.
        skip_batches: how many batches to leave out at the start, already seen before an interruption.
        prefetch: batches that each worker reads ahead, >= 1.
        shard: this process's share.

    Raises:
        WorkerDied: a worker was killed or crashed.
        UsageError: the decode options do not fit together.
    """
    order = _with_repeats(epoch_order(len(clips), seed=clips.seed, epoch=epoch, frequencies=clips.frequencies))
    mine = order[shard.rank :: shard.world_size]
    starts = range(skip_batches * batch_size, len(mine), batch_size)
    requests = ([clips.request(epoch, *place) for place in mine[start : start + batch_size]] for start in starts)
    if workers == 0 or clips.cache is not None:
        for batch in requests:
            yield _collate([draw_clip(request, clips.view, clips.cache) for request in batch], clips.view)
    else:
        yield from _read_ahead(requests, clips.view, workers=min(workers, max(len(starts), 1)), prefetch=prefetch)
    if shard.equal_batches:
        longest = -(-len(order) // shard.world_size)
        total = -(-longest // batch_size) - skip_batches
        for _ in range(total - len(starts)):
            yield _collate([], clips.view)


def _with_repeats(order: Sequence[int]) -> list[tuple[int, ...]]:
    """Each visit's video, and how often it has been visited before if it has."""
    seen: Counter[int] = Counter()
    places: list[tuple[int, ...]] = []
    for index in order:
        places.append((index, seen[index]) if seen[index] else (index,))
        seen[index] += 1
    return places


class _Drawn(Dataset[Clip | FewframesError]):
    """What a worker does: draws the clips that it is asked for, and notes down which one it is at."""

    def __init__(self, view: View, stop: Tensor, notes: str) -> None:
        self.view, self.stop, self.notes = view, stop, notes
        self._note: BinaryIO | None = None

    def __getitem__(self, request: ClipRequest) -> Clip | FewframesError:
        if self.stop.item():
            return WorkerDied("stopped")  # nobody will look at this batch
        if self._note is None:
            self._note = open(os.path.join(self.notes, str(os.getpid())), "wb", buffering=0)  # noqa: SIM115 - for good
        # One write, over the one before: whenever the process is killed, a whole line is there.
        self._note.seek(0)
        self._note.write(os.fsencode(shown_name(request.video.path)) + b"\n")
        try:
            return draw_clip(request, self.view)
        except FewframesError as error:  # of the options, not of the file: for the caller, without a worker's traceback
            return error


def _read_ahead(requests: Iterable[list[ClipRequest]], view: View, *, workers: int, prefetch: int) -> Generator[Batch]:
    # Without a lock, which a killed worker could hold.
    stop: Tensor = torch.zeros(1, dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]
    notes = tempfile.mkdtemp(prefix="fewframes-")
    batches: Iterator[Batch | FewframesError] = iter(())
    death = None
    try:
        batches = _start_workers(requests, _Drawn(view, stop, notes), workers, prefetch)
        for batch in batches:
            if isinstance(batch, FewframesError):
                raise batch
            yield batch
    except (RuntimeError, OSError, EOFError) as error:
        if not _is_death(error):
            raise
        death = _death(batches, error, notes)
    finally:
        stop.fill_(True)
        # Left to the garbage collector, the workers would stay for as long as someone keeps the exception.
        getattr(batches, "_shutdown_workers", lambda: None)()
        shutil.rmtree(notes, ignore_errors=True)
    if death is not None:
        raise death


def _start_workers(
    requests: Iterable[list[ClipRequest]], drawn: _Drawn, workers: int, prefetch: int
) -> Iterator[Batch | FewframesError]:
    with warnings.catch_warnings(), _starting_processes():
        # More workers than cores is the caller's choice.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            drawn,
            batch_sampler=requests,
            num_workers=workers,
            prefetch_factor=prefetch,
            collate_fn=partial(_collate_or_error, drawn.view),
            worker_init_fn=_start_worker,
            multiprocessing_context=_start_method(),
        )
        return iter(loader)


def _collate(clips: Sequence[Clip], view: View) -> Batch:
    read = [clip for clip in clips if clip.pixels is not None]
    failed = [clip for clip in clips if clip.pixels is None]
    pixels = [clip.pixels for clip in read if clip.pixels is not None]
    none = torch.empty(0, view.sampling.num_frames, 3, *view.preprocess.crop, dtype=torch.uint8)
    return Batch(
        clips=default_collate(pixels) if pixels else none,  # a worker stacks them in shared memory, without a copy
        labels=torch.tensor([clip.request.label for clip in read], dtype=torch.int64),
        weights=torch.tensor([clip.request.video.weight for clip in read], dtype=torch.float32),
        indices=tuple(clip.request.index for clip in read),
        failures=tuple(clip.failure for clip in failed if clip.failure is not None),
        failed_indices=tuple(clip.request.index for clip in failed),
        decode_seconds=sum(clip.decode_seconds for clip in clips),
        bytes_read=sum(clip.bytes_read for clip in clips),
        packets_decoded=sum(clip.packets_decoded for clip in clips),
    )


def _collate_or_error(view: View, items: list[Clip | FewframesError]) -> Batch | FewframesError:
    for item in items:
        if isinstance(item, FewframesError):
            return item
    return _collate([item for item in items if isinstance(item, Clip)], view)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGUSR1"):  # Ctrl-C, and a job's end that is near, are the main process's to answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _start_method() -> str:
    if "forkserver" not in get_all_start_methods():
        return "spawn"
    # Has an effect once, before the server starts: workers then find torch, PyAV and this module imported.
    get_context("forkserver").set_forkserver_preload([__name__])
    return "forkserver"


@contextmanager
def _starting_processes() -> Iterator[None]:
    """Start processes that do not run the caller's script again, and that Ctrl-C does not reach.

    Python would import the script's file in every worker, once an epoch: slow, and without `if __name__ == "__main__"`
    a second training. Nothing that workers need lies there. The signal stays pending for this process meanwhile.
    """
    main, can_block = sys.modules["__main__"], hasattr(signal, "pthread_sigmask")
    if can_block:
        resource_tracker.ensure_running()  # when it is started, it lets the signal through again
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else None
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _is_death(error: Exception) -> bool:
    """Whether a worker is gone: the loader says so, or the connection to it broke; not an error inside a worker."""
    text = str(error)
    return not text.startswith("Caught ") and (not isinstance(error, RuntimeError) or "DataLoader worker (pid" in text)


def _death(batches: object, error: Exception, notes: str) -> WorkerDied:
    """What is known of a worker that is gone."""
    dead = {
        str(process.pid): process.exitcode
        for process in getattr(batches, "_workers", ())
        if process.exitcode is not None
    }
    pids = list(dead) or re.findall(r"\d+", str(error))
    read = [os.fsdecode(note.read_bytes().split(b"\n")[0]) for pid in pids if (note := Path(notes, pid)).exists()]
    causes = [_cause(code) for code in dead.values() if code]
    return WorkerDied(
        f"a process that reads videos ended ({causes[0] if causes else 'for an unknown reason'})"
        + (f" while it was at {', '.join(read)}" if read else "")
        + "; if memory ran out, use fewer --data.workers, --data.prefetch 1 or a smaller batch; if it is that file, "
        "remove it from the list; then go on with --resume"
    )


def _cause(exit_code: int) -> str:
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        return f"exit code {exit_code}"
    return _CAUSES.get(name, f"signal {name}")
