"""A list of videos comes in; each of its files is opened once, in parallel; a `ScanReport` goes out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from fewframes.data.listing import file_keys, is_remote
from fewframes.data.manifest import Manifest
from fewframes.data.scan_file import FileTask, Finding, do_task
from fewframes.data.scan_findings import find_all
from fewframes.data.scan_journal import Journal, Stamp
from fewframes.data.scan_workers import Lost, TaskLimits, run_in_workers
from fewframes.errors import UsageError
from fewframes.progress import track
from fewframes.scan_records import DecodeMode, FileScan, ScanReport

__all__ = ["ScanOptions", "scan"]

_REGULAR = "it is not a regular file; name a video file"


@dataclass(frozen=True)
class ScanOptions:
    """How files are looked at.

    Attributes:
        decode: "probe" opens each file; "full" decodes every frame of it, too.
        workers: processes.
        timeout: seconds without progress after which a file's process is stopped.
        memory_bytes: what one file may take; None for no limit.
    """

    decode: DecodeMode = "probe"
    workers: int = 1
    timeout: float = 60.0
    memory_bytes: int | None = 4 * 1024**3

    @property
    def limits(self) -> TaskLimits:
        """What one file may take. Raises `UsageError` if that makes no sense."""
        return TaskLimits(self.timeout, self.memory_bytes)


@dataclass(frozen=True)
class _OnDisk:
    """What the file system says of a file: how long it is and when it changed, or why it cannot be opened."""

    stamp: Stamp
    error: str | None = None

    @property
    def size_bytes(self) -> int | None:
        return None if self.stamp is None else self.stamp[0]


def scan(
    manifest: Manifest, options: ScanOptions, *, journal: Path | None = None, progress: bool = False
) -> ScanReport:
    """Look at every file of a list, and at what the list says of them.

    Each file is looked at once, though several rows may cut parts from it. A file that hangs, crashes its process or
    takes too much memory is a failed file; the others go on. Content is digested only where files have the same size;
    remote files are opened, and not digested.

    Args:
        manifest: the list; `list_videos` reads one.
        options: how.
        journal: where to write down what was found, file by file. A later scan with the same journal takes over what
            holds for files that have not changed, and so goes on where this one was interrupted.
        progress: show a bar on a terminal.

    Raises:
        UsageError: the options make no sense, the journal cannot be written or is in use, or no process can be started.
    """
    limits = options.limits
    if options.workers < 1:
        raise UsageError(f"workers is {options.workers}; expected at least 1")
    keys = file_keys(video.path for video in manifest.videos)
    on_disk = {
        key: _look_up(key) for key in track(dict.fromkeys(keys), "Looking up", total=len(set(keys)), show=progress)
    }
    tasks = _tasks(on_disk, options.decode)
    findings: dict[tuple[str, str], Finding] = {}
    with nullcontext() if journal is None else Journal(journal, limits) as book:
        remaining = []
        for task in tasks:
            known = None if book is None else book.find(task, on_disk[task.path].stamp)
            if known is None:
                remaining.append(task)
            else:
                findings[task.kind, task.path] = known
        with closing(run_in_workers(do_task, remaining, workers=options.workers, limits=limits)) as answers:
            for task, answer in track(answers, "Scanning", total=len(remaining), show=progress):
                finding = Finding(error=answer.reason, cause=answer.cause) if isinstance(answer, Lost) else answer
                findings[task.kind, task.path] = finding
                if book is not None:
                    book.add(task, on_disk[task.path].stamp, finding)
    files = dict(_files(manifest, keys, on_disk, findings))
    undigested = [files[key].path for (kind, key), found in findings.items() if kind == "hash" and found.error]
    report = find_all(manifest, keys, files, options.decode)
    if undigested:
        note = f"{len(undigested)} files could not be compared with others of their size, such as {min(undigested)}"
        report = replace(report, notes=(*report.notes, note))
    return report


def _look_up(key: str) -> _OnDisk:
    if is_remote(key):
        return _OnDisk(None)
    try:
        status = os.stat(key)
    except FileNotFoundError:
        return _OnDisk(None, "no such file; check the path")
    except (OSError, ValueError) as error:
        return _OnDisk(None, str(getattr(error, "strerror", None) or error))
    stamp = status.st_size, status.st_mtime_ns
    return _OnDisk(stamp, None if stat.S_ISREG(status.st_mode) else _REGULAR)


def _tasks(on_disk: dict[str, _OnDisk], decode: DecodeMode) -> Iterator[FileTask]:
    """First all files are opened, then those are digested that may be copies of each other."""
    there = [key for key, found in on_disk.items() if found.error is None]
    sizes = Counter(on_disk[key].size_bytes for key in there)
    for key in there:
        yield FileTask("video", key, decode)
    for key in there:
        if on_disk[key].size_bytes and sizes[on_disk[key].size_bytes] > 1:
            yield FileTask("hash", key, decode)


def _files(
    manifest: Manifest, keys: list[str], on_disk: dict[str, _OnDisk], findings: dict[tuple[str, str], Finding]
) -> Iterator[tuple[str, FileScan]]:
    """Each file by its key, in the list's order."""
    num_rows = Counter(keys)
    paths = dict(zip(reversed(keys), (str(video.path) for video in reversed(manifest.videos)), strict=True))
    for key, there in on_disk.items():
        found = findings.get(("video", key), Finding(error=there.error))
        digest = findings.get(("hash", key))
        size = there.size_bytes
        if size is None and found.info is not None:
            size = found.info.size_bytes
        yield (
            key,
            FileScan(
                path=paths[key],
                num_rows=num_rows[key],
                size_bytes=size,
                info=None if found.info is None else replace(found.info, path=paths[key], size_bytes=size),
                decoded_frames=found.decoded_frames,
                sha256=None if digest is None else digest.sha256,
                error=found.error,
            ),
        )
