"""Work on many videos comes in; answers go out, and a folder that holds what is done, whole, whenever it is stopped.

A run owns its output folder through a journal there: an append-only file of JSON lines, locked while the run lasts.
What it makes appears under its own name only when it is whole. So a run may be ended at any point, and the same
command goes on where it was.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from fewframes.data.listing import is_remote
from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import write_manifest
from fewframes.data.scan_workers import Lost, TaskLimits, run_in_workers
from fewframes.errors import UsageError
from fewframes.records import Failure

__all__ = [
    "FAILURES_NAME",
    "Journal",
    "Stamp",
    "part_of",
    "put_in_place",
    "remove_list",
    "run_jobs",
    "stamp_of",
    "write_failures",
    "write_list",
]

FAILURES_NAME = "failed.csv"
_LIST_NAMES = ("manifest.csv", "manifest.jsonl")

Stamp = tuple[int, int] | None
"""Size in bytes and time of the last change in nanoseconds; None for what is not there, or is remote."""

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def run_jobs(
    work: Callable[[Task, Callable[[], None]], Answer], tasks: Sequence[Task], *, workers: int, timeout: float
) -> Generator[tuple[Task, Answer | Lost]]:
    """Do tasks, in worker processes or here; the answers come as they are ready.

    Args:
        work: a module's own function of a task and of a callback that tells of progress.
        tasks: what is to be done.
        workers: processes; 0 does everything in this one, where a crash of the decoder ends it all.
        timeout: seconds without progress after which a worker process is stopped.

    Yields:
        Each task with its answer, or with what became of its process.

    Raises:
        UsageError: a number makes no sense, or no process can be started.
    """
    if not 0 <= workers <= 1024:
        raise UsageError(f"workers is {workers}; expected 0 to 1024")
    limits = TaskLimits(timeout, None)
    return _here(work, tasks) if workers == 0 else _in_workers(work, tasks, workers, limits)


def _here(
    work: Callable[[Task, Callable[[], None]], Answer], tasks: Sequence[Task]
) -> Generator[tuple[Task, Answer | Lost]]:
    for task in tasks:
        yield task, work(task, _nothing)


def _in_workers(
    work: Callable[[Task, Callable[[], None]], Answer], tasks: Sequence[Task], workers: int, limits: TaskLimits
) -> Generator[tuple[Task, Answer | Lost]]:
    yield from run_in_workers(work, tasks, workers=workers, limits=limits)


def stamp_of(path: Path | str) -> Stamp:
    """What tells whether a file has changed since."""
    if is_remote(path):
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def part_of(path: Path) -> Path:
    """Where a file is written before it is whole: beside it, hidden."""
    return path.with_name(f".{path.name}.part")


def put_in_place(path: Path) -> None:
    """Give what was written to `part_of(path)` its name, once it is safely on the disk. Raises OSError."""
    part = part_of(path)
    _sync(part, os.O_RDWR)
    os.replace(part, path)
    if os.name == "posix":
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_list(manifest: Manifest, folder: Path) -> Path:
    """Write manifest.csv, or manifest.jsonl for what CSV cannot hold, such as a label with a "|" in it.

    Raises:
        UsageError: it cannot be written.
    """
    as_csv, as_json_lines = (folder / name for name in _LIST_NAMES)
    try:
        path = write_manifest(manifest, as_csv)
        other = as_json_lines
    except UsageError:
        path = write_manifest(manifest, as_json_lines)
        other = as_csv
    other.unlink(missing_ok=True)
    return path


def remove_list(folder: Path) -> None:
    """Remove the list of an earlier run, so that there is none while work is under way."""
    for name in _LIST_NAMES:
        (folder / name).unlink(missing_ok=True)


def write_failures(folder: Path, failures: Sequence[Failure]) -> Path | None:
    """Write failed.csv (path, start, end, reason), or remove an older one if nothing failed. Raises UsageError."""
    path = folder / FAILURES_NAME
    try:
        if not failures:
            path.unlink(missing_ok=True)
            return None
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("path", "start", "end", "reason"))
        writer.writerows((each.path, each.start, each.end, each.reason) for each in failures)
        part_of(path).write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))
        put_in_place(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; make room, then run it again") from error
    return path


class Journal:
    """What was done in an output folder, one JSON line each; makes the folder this run's own until it is closed.

    A line is appended by one write, so a run that is killed leaves whole lines and at most one torn one at the end,
    which is cut off here. Files that an ended run left half-written are removed.

    Args:
        folder: one that does not exist, is empty, or has this journal.
        name: of the journal's file.
        verb: the command, for messages.

    Attributes:
        lines: what earlier runs wrote, in order.

    Raises:
        UsageError: the folder holds something else or cannot be written, or another run is at work in it.
    """

    def __init__(self, folder: Path, name: str, verb: str) -> None:
        self.folder, self._path, self._verb = folder, folder / name, verb
        self.lines: list[dict[str, Any]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = next((path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".")), None)
            if found is not None and not self._path.is_file():
                raise UsageError(
                    f"{folder} is not empty (it holds {found!r}) and was not made by {verb}; "
                    "choose a new or empty folder"
                )
            self._file = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | os.O_CLOEXEC, 0o666
            )
        except OSError as error:
            raise self._cannot_write(error) from error
        try:
            self._lock()
            self._read()
            self._remove_parts()
        except BaseException:
            os.close(self._file)
            self._file = -1
            raise

    def add(self, line: Mapping[str, object]) -> None:
        """Append a line; it is on the disk when this returns. Raises UsageError."""
        content = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            while content:  # a disk that is nearly full may take a part, and then refuse the rest
                content = content[os.write(self._file, content) :]
            os.fsync(self._file)
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self) -> None:
        """Leave the folder to the next run; calling it again does nothing."""
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                self._remove_parts()
            finally:
                os.close(file)

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
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if not isinstance(entry, dict):
                    break
                end += len(line)
                self.lines.append(entry)
        os.ftruncate(self._file, end)

    def _remove_parts(self) -> None:
        for folder, _, files in os.walk(self.folder):
            for name in files:
                if name.startswith(".") and name.endswith(".part"):
                    Path(folder, name).unlink(missing_ok=True)

    def _lock(self) -> None:
        """Keep other runs out until this process ends, however it ends."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another {self._verb} is at work in {self.folder}; wait for it, or choose another folder"
            ) from error
        except OSError:  # a network drive that knows no locks
            return

    def _cannot_write(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot write to {self.folder}: {error.strerror}; make room, or choose another folder, then run it again"
        )


def _nothing() -> None:
    """Nobody waits for signs of progress in the same process."""
