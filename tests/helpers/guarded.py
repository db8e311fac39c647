"""Comes in: a function and its arguments. Goes out: what it returned, or how it ended, in a process under limits."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

# What a child that was asked to end, or told to begin, may take.
STARTING_SECONDS = 300.0
# How often the parent looks at the child's memory.
GLANCE_SECONDS = 0.02
PATIENCE = 15

Ending = Literal["returned", "raised", "crash", "hang", "memory"]


@dataclass(frozen=True)
class Ended:
    """How a function ended.

    Attributes:
        how: "returned" and "raised" as Python says it; "crash": the process died; "hang" and "memory": it was killed.
        value: what was returned; for "raised" the traceback; for the others what is known.
        seconds: processor time; on the clock where the system does not tell.
        peak_mb: largest resident memory meanwhile, of the whole process with its libraries.
        output: what was written to standard output and standard error.
    """

    how: Ending
    value: Any
    seconds: float
    peak_mb: float
    output: str


class Guard:
    """A process that runs one function after another, begun anew when it dies or is killed.

    Memory and processor time are read from /proc, so that they are limited on Linux only.

    Args:
        seconds: processor time that one function may take, so that other work on the machine changes no verdict. One
            that waits, and takes none, is ended after `PATIENCE` times as long on the clock.
        megabytes: resident memory that the process may reach.
    """

    def __init__(self, *, seconds: float = 20.0, megabytes: float = 1500.0) -> None:
        self.seconds, self.megabytes = seconds, megabytes
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name) / "output"
        self._log.touch()

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._kill()
        self._folder.cleanup()

    def run(self, function: Callable[..., Any], *arguments: object, seconds: float | None = None) -> Ended:
        """Run a function that the child can import by name; `seconds` replaces the limit for this one."""
        connection = self._started()
        read_from = self._log.stat().st_size
        peak, limit = 0.0, seconds or self.seconds
        start, begun = time.monotonic(), self._processor_seconds()
        connection.send((function, arguments))
        how: Ending
        while True:
            took = self._processor_seconds() - begun
            on_clock = time.monotonic() - start
            if connection.poll(GLANCE_SECONDS):
                try:
                    how, value, peak_in_child, took_in_child = connection.recv()
                    peak, took = max(peak, peak_in_child), took_in_child
                except (EOFError, ConnectionResetError):
                    assert self._process is not None
                    self._process.join(timeout=STARTING_SECONDS)
                    how, value = "crash", f"exit status {self._process.exitcode}"
                break
            peak = max(peak, self._resident_mb())
            if peak > self.megabytes:
                how, value = "memory", f"more than {self.megabytes:.0f} MB resident"
                break
            if took > limit or on_clock > PATIENCE * limit:
                how, value = "hang", f"not done after {took:.0f} s, {on_clock:.0f} s on the clock"
                break
        if how in ("returned", "raised") and peak > self.megabytes:
            how, value = "memory", f"{peak:.0f} MB resident, above {self.megabytes:.0f}"
        if how not in ("returned", "raised"):
            self._kill()
        with self._log.open(errors="replace") as log:
            log.seek(read_from)
            output = log.read()
        return Ended(how, value, took, peak, output)

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, str(self._log)), daemon=True)
            self._process.start()
            theirs.close()
            if not self._connection.poll(STARTING_SECONDS):
                raise RuntimeError("the child process did not start")
            self._connection.recv()
        return self._connection

    def _resident_mb(self) -> float:
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]  # type: ignore[union-attr]
        except (OSError, IndexError):
            return 0.0
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _processor_seconds(self) -> float:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()  # type: ignore[union-attr]
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _serve(connection: Connection, log: str) -> None:
    """The child: everything it writes goes to `log`, and where it stands when it crashes."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    faulthandler.enable()
    import fewframes.video.reader  # noqa: F401  (its time is not the first function's)

    gc.freeze()  # so that collecting looks at what functions leave, and not at the libraries
    connection.send("ready")
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        is_fresh = _forget_peak()
        how: Ending = "returned"
        start = time.process_time()
        try:
            value = function(*arguments)
        except BaseException:  # noqa: BLE001  (the parent judges it)
            how, value = "raised", traceback.format_exc()
        connection.send((how, value, _peak_mb() if is_fresh else 0.0, time.process_time() - start))


def _forget_peak() -> bool:
    """Give back what earlier functions left, so that each is measured by itself."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # where the C library is another, what was left counts
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False  # the parent's glances are all there is
    return True


def _peak_mb() -> float:
    try:
        rows = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(row.split()[1]) * 1024 / 1e6 for row in rows if row.startswith("VmHWM")), 0.0)
