"""A run comes in, its batches go out: this process's share of each, and what any process met on the way."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator

from fewframes.data.bad_videos import BadVideos
from fewframes.data.loader import Batch, load_batches
from fewframes.errors import FewframesError
from fewframes.records import Failure
from fewframes.training.log import Pace, RunLog
from fewframes.training.outcome import failure_values
from fewframes.training.run import Run
from fewframes.training.state import Progress

__all__ = ["open_batches", "pace_of", "timed"]


def open_batches(run: Run, epoch: int, *, skip: int) -> Generator[Batch]:
    """This process's share of the batches of an epoch, but for the first `skip`."""
    data = run.config.data
    return load_batches(
        run.clips,
        epoch=epoch,
        batch_size=run.clips_per_process,
        workers=data.workers,
        skip_batches=skip,
        prefetch=data.prefetch,
        shard=run.world.shard,
    )


def timed(
    run: Run, batches: Iterator[Batch], progress: Progress, *, bad: BadVideos, log: RunLog
) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds spent waiting for it.

    Videos that cannot be read are counted and written down, or stop the run, as the policy says: in all processes,
    whichever met them.

    Raises:
        FewframesError: what reading raises in any of the processes.
    """
    while True:
        began = time.perf_counter()
        batch: Batch | None = None
        error: FewframesError | None = None
        try:
            batch = next(batches, None)
        except FewframesError as caught:
            error = caught
        waited = time.perf_counter() - began
        failed = [] if batch is None else list(zip(batch.failed_indices, batch.failures, strict=True))
        if sum(run.world.add_up(len(failed), error is not None)):
            met = run.world.gather((failed, error))
            for _, each in met:
                if each is not None:
                    raise each
            failed = [failure for share, _ in met for failure in share]
        if batch is None:
            return
        _note_failures(failed, progress, bad, log)
        yield batch, waited


def _note_failures(failed: list[tuple[int, Failure]], progress: Progress, bad: BadVideos, log: RunLog) -> None:
    """Stop at a video that cannot be read, or write down that it was left out, as the policy says."""
    for index, failure in failed:
        bad.add(index, failure)
        log.write({"step": progress.step + 1, **failure_values(failure)})
        progress.num_skipped += 1


def pace_of(run: Run, batch: Batch, *, waited: float, worked: float) -> Pace:
    """How fast a step went: clips and reading of all processes together, seconds as one process spends them."""
    own = (len(batch.labels), waited, worked, batch.decode_seconds, batch.bytes_read, batch.packets_decoded)
    if run.world.size == 1:
        return Pace(*own)
    clips, waited, worked, decoded, bytes_read, packets = run.world.add_up(*own)
    size = run.world.size
    return Pace(int(clips), waited / size, worked / size, decoded, int(bytes_read), int(packets))
