"""Tasks come in; answers go out as they are ready, from processes that may hang, crash or be killed at any moment.

Each process has a connection of its own and shares no lock with the others, so the end of one stops nothing else. Only
as many tasks as there are processes are on their way at a time, so a list of any length may come in.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, TypeVar

from fewframes.errors import UsageError

__all__ = ["Lost", "TaskLimits", "run_in_workers"]

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_MOST_FAILED_STARTS = 3
_SECONDS_TO_START = 600.0  # libraries may come from a slow disk, and for many processes at once
_SECONDS_BETWEEN_SIGNS = 0.5
_READY, _ALIVE = "ready", "alive"
_GIB = 1024**3


@dataclass(frozen=True)
class TaskLimits:
    """What one task may take.

    Attributes:
        seconds: without any progress.
        memory_bytes: beyond what a process takes to start; None for no limit. Kept only where the system tells how much
            that is (Linux).
    """

    seconds: float
    memory_bytes: int | None

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"the timeout is {self.seconds:g} s; expected a number above 0")
        if self.memory_bytes is not None and self.memory_bytes < 1:
            raise UsageError(f"the memory limit is {self.memory_bytes} bytes; expected at least 1, or none")


@dataclass(frozen=True)
class Lost:
    """What became of a task whose process did not answer.

    Attributes:
        cause: the "time" or the "memory" it may take was not enough (or it crashed, which more memory may help), or the
            "system" killed its process.
        reason: one line.
    """

    cause: Literal["time", "memory", "system"]
    reason: str


@dataclass(eq=False)
class _Worker:
    """A process and the task it is at."""

    process: BaseProcess
    connection: Connection
    task: object
    started: bool  # whether it has got so far that it takes tasks
    deadline: float

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join(10)


def run_in_workers(
    work: Callable[[Task, Callable[[], None]], Answer], tasks: Iterable[Task], *, workers: int, limits: TaskLimits
) -> Generator[tuple[Task, Answer | Lost]]:
    """Do tasks in processes of their own.

    Args:
        work: a module's own function of a task and of a callback that tells of progress.
        tasks: taken one by one, as processes become free.
        workers: how many processes at most.
        limits: what one task may take; a process that takes more is killed, and the next task gets a new one.

    Yields:
        Each task with its answer, or with what became of its process.

    Raises:
        UsageError: `workers` is below 1, or processes cannot be started.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; expected at least 1")
    waiting = iter(tasks)
    pool: list[_Worker] = []
    failed_starts = 0
    try:
        while True:
            # A process starts with its first task, so that none is started for nothing.
            while len(pool) < workers and (task := next(waiting, None)) is not None:
                pool.append(_start(work, task, limits))
            if not pool:
                return
            soonest = min(worker.deadline for worker in pool) - time.monotonic()
            ready = wait([worker.connection for worker in pool], timeout=max(0.0, soonest))
            for worker in list(pool):
                message = _listen(worker, limits) if worker.connection in ready else None
                if message is None and time.monotonic() >= worker.deadline and not worker.connection.poll():
                    message = _too_late(worker, limits)
                if message is None:
                    continue
                if not worker.started:
                    assert isinstance(message, Lost), "a process says that it is ready before it answers"
                    failed_starts += 1
                    if failed_starts == _MOST_FAILED_STARTS:
                        raise UsageError(f"processes cannot be started: {message.reason}; try --workers 1")
                    worker.stop()
                    pool[pool.index(worker)] = _start(work, worker.task, limits)
                    continue
                failed_starts = 0
                yield worker.task, message  # type: ignore[misc]
                following = None if isinstance(message, Lost) else next(waiting, None)
                if following is None or not _give(worker, following, limits):
                    worker.stop()
                    pool.remove(worker)
                    if following is not None:
                        pool.append(_start(work, following, limits))
    finally:
        for worker in pool:
            worker.stop()


# In this process


def _start(work: Callable[..., object], task: object, limits: TaskLimits) -> _Worker:
    # Neither FFmpeg nor torch survives a fork while other threads run.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, limits.memory_bytes), daemon=True)
    process.start()
    theirs.close()
    worker = _Worker(process, ours, task, started=False, deadline=time.monotonic() + _SECONDS_TO_START)
    with contextlib.suppress(OSError):  # it has ended already, which is seen when it is listened to
        ours.send(task)
    return worker


def _give(worker: _Worker, task: object, limits: TaskLimits) -> bool:
    """Send the next task; False if the process is gone."""
    worker.task, worker.deadline = task, time.monotonic() + limits.seconds
    try:
        worker.connection.send(task)
    except OSError:
        return False
    return True


def _listen(worker: _Worker, limits: TaskLimits) -> object:
    """Read what a process says: its answer or what became of it; None while it is at work."""
    try:
        while worker.connection.poll():
            message = worker.connection.recv()
            if message not in (_READY, _ALIVE):
                return message
            worker.started = True
            worker.deadline = time.monotonic() + limits.seconds
    except (EOFError, OSError):
        worker.process.join(10)
        return _ended(worker.process.exitcode)
    return None


def _ended(status: int | None) -> Lost:
    """A process that ended with this status."""
    if status == -signal.SIGKILL:
        return Lost("system", "its process was killed, probably because the machine ran out of memory")
    if status is not None and status < 0:
        name = signal.strsignal(-status) or f"signal {-status}"
        return Lost("memory", f"it crashed its process ({name}); it is probably damaged, re-encode it")
    return Lost("memory", f"its process ended with status {status} and gave no answer")


def _too_late(worker: _Worker, limits: TaskLimits) -> Lost:
    if not worker.started:
        return Lost("time", f"a process was not ready after {_SECONDS_TO_START:g} s")
    return Lost(
        "time", f"no progress in {limits.seconds:g} s, so its process was stopped; give it longer with --timeout"
    )


# In each other process


def _serve(
    connection: Connection, work: Callable[[object, Callable[[], None]], object], memory_bytes: int | None
) -> None:
    """Answer tasks until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_memory(memory_bytes)
    spoke = 0.0

    def alive() -> None:
        nonlocal spoke
        if time.monotonic() - spoke > _SECONDS_BETWEEN_SIGNS:
            spoke = time.monotonic()
            with contextlib.suppress(OSError):  # nobody listens any more, and so this process is about to end
                connection.send(_ALIVE)

    with contextlib.suppress(EOFError, OSError):
        connection.send(_READY)
        while True:
            connection.send(_answer(work, connection.recv(), alive, memory_bytes))


def _answer(
    work: Callable[[object, Callable[[], None]], object],
    task: object,
    alive: Callable[[], None],
    memory_bytes: int | None,
) -> object:
    try:
        return work(task, alive)
    except MemoryError:
        limit = "this machine has" if memory_bytes is None else f"{memory_bytes / _GIB:.3g} GiB"
        return Lost("memory", f"it takes more memory than {limit}; give it more with --memory-gib")
    except Exception as error:  # noqa: BLE001 - whatever one file does, the others are to be looked at
        return Lost("memory", f"{type(error).__name__}: {' '.join(str(error).split())}")


def _end_with_parent() -> None:
    """A process at work on a file does not notice that nobody waits for it any more; this does."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "it was started by one"
    parent.join()
    os._exit(1)


def _limit_memory(memory_bytes: int | None) -> None:
    """Let this process take so much address space beyond what it has."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):  # not Linux
        return
    if memory_bytes is not None:
        taken = pages * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = taken + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
