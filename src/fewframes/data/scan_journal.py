"""Findings come in, one line of a file each; the same findings go out to the run that goes on after an interruption.

Lines are only ever appended, each by one write, so whatever ends the process leaves whole lines and at most one torn
one at the end, which the next run cuts off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from fewframes.data.scan_file import FileTask, Finding
from fewframes.data.scan_workers import TaskLimits
from fewframes.errors import UsageError
from fewframes.records import VideoInfo

__all__ = ["Journal", "Stamp"]

# What a line depends on besides the file: this layout, our reader, and the decoder.
_LAYOUT = 1
_LINES_PER_SYNC = 64  # what is lost if the machine itself stops; nothing is if only the process does

Stamp = tuple[int, int] | None
"""Size in bytes and time of the last change in nanoseconds; None for a remote file."""

_Key = tuple[str, str, str, Stamp]


class Journal:
    """The findings of a scan on disk, as an append-only file of JSON lines; a context manager.

    Args:
        path: the file; made if it is not there.
        limits: of this run. What failed for want of time or memory under smaller limits is not taken over.

    Raises:
        UsageError: the file cannot be written, or another run writes to it.
    """

    def __init__(self, path: Path, limits: TaskLimits) -> None:
        self._path, self._limits = path, limits
        self._made_by = made_by()
        self._known: dict[_Key, Finding] = {}
        self._unsynced = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from error
        try:
            _lock(self._file, path)
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    def find(self, task: FileTask, stamp: Stamp) -> Finding | None:
        """What an earlier run found out about this very file, if it still holds."""
        return self._known.get(_key(task, stamp))

    def add(self, task: FileTask, stamp: Stamp, finding: Finding) -> None:
        """Write down a finding, unless it may be another one the next time."""
        if finding.cause == "system":
            return
        line = {
            "by": self._made_by,
            "task": [task.kind, task.decode, task.path],
            "stamp": stamp,
            "limits": [self._limits.seconds, self._limits.memory_bytes],
            "finding": dataclasses.asdict(finding),
        }
        try:
            _write_whole(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._unsynced += 1
            if self._unsynced == _LINES_PER_SYNC:
                os.fsync(self._file)
                self._unsynced = 0
        except OSError as error:
            raise UsageError(f"cannot write {self._path}: {error.strerror}; make room, then run it again") from error

    def close(self) -> None:
        """Make sure that everything is on the disk; calling it again does nothing."""
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        end = 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file, end)
                    break
                end += len(line)
                # A line that is none, such as the zeros that a stopped machine can leave, is as good as not written.
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    self._known.update(self._parse(json.loads(line)))

    def _parse(self, line: dict[str, Any]) -> Iterator[tuple[_Key, Finding]]:
        if line["by"] != self._made_by:
            return
        kind, decode, path = line["task"]
        stamp = None if line["stamp"] is None else (int(line["stamp"][0]), int(line["stamp"][1]))
        fields = line["finding"]
        if fields["info"] is not None:
            fields["info"] = VideoInfo(**fields["info"])
        finding = Finding(**fields)
        if _still_holds(finding, line["limits"], self._limits):
            yield _key(FileTask(kind, path, decode), stamp), finding


def made_by() -> str:
    """What makes the findings: they hold as long as it is the same."""
    return f"{_LAYOUT} fewframes {version('fewframes')} av {version('av')}"


def _key(task: FileTask, stamp: Stamp) -> _Key:
    # A digest does not depend on how the file is decoded.
    return task.kind, task.decode if task.kind == "video" else "", task.path, stamp


def _still_holds(finding: Finding, then: list[float | None], now: TaskLimits) -> bool:
    seconds, memory = then
    if finding.cause == "time":
        return seconds is not None and now.seconds <= seconds
    if finding.cause == "memory":
        return memory is None or (now.memory_bytes is not None and now.memory_bytes <= memory)
    return True


def _write_whole(file: int, content: bytes) -> None:
    """At once, as a rule; a disk that is nearly full may take a part, and then refuse the rest."""
    while content:
        content = content[os.write(file, content) :]


def _lock(file: int, path: Path) -> None:
    """Keep others out until this process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"another scan is writing {path}; wait for it, or choose another --output") from error
    except OSError:  # a network drive that knows no locks
        return
