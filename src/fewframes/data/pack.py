"""A list of videos and a folder come in; tar shards with the frames that models look at, and a list of them, go out.

On the way each row is a file of its own in a hidden folder; when the next shard's rows are there, in the list's order,
they are joined, and the journal says so. Only then are they removed, so nothing is lost or doubled wherever a run ends,
and the shards are the same bytes whether it ended or not.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from fewframes.data.jobs import (
    Journal,
    Stamp,
    part_of,
    put_in_place,
    remove_list,
    run_jobs,
    stamp_of,
    write_failures,
    write_list,
)
from fewframes.data.listing import file_keys, is_remote
from fewframes.data.manifest import Manifest, Video
from fewframes.data.pack_clip import PackOptions, encode_clip, key_of
from fewframes.data.reencode import NoRoom
from fewframes.data.scan_workers import Lost
from fewframes.errors import UnreadableVideo, UsageError
from fewframes.progress import track
from fewframes.records import Failure
from fewframes.video.packed_clip import clip_address, record_range, shard_end

__all__ = ["JOURNAL_NAME", "PackResult", "pack"]

JOURNAL_NAME = "pack.jsonl"
_VERB = "fewframes data pack"
_LAYOUT = 1  # raise when the same options give other shards
_CLIPS = ".clips"
_SHARD = re.compile(r"pack-\d{5,}\.tar")


@dataclass(frozen=True)
class PackResult:
    """What became of a list.

    Attributes:
        manifest: the new list.
        num_listed: rows of the old one.
        num_packed: clips in the shards.
        num_kept: those of them that earlier runs had made.
        num_shards: tar files.
        size_bytes: of all of them.
        failures: every row that is not there.
    """

    manifest: Path
    num_listed: int
    num_packed: int
    num_kept: int
    num_shards: int
    size_bytes: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Task:
    """One row to pack; travels to the worker processes."""

    row: int
    video: Video
    name: str
    clip: str
    stamp: Stamp
    options: PackOptions


def pack(
    manifest: Manifest,
    output: Path,
    options: PackOptions,
    *,
    workers: int = 1,
    timeout: float = 600.0,
    progress: bool = False,
) -> PackResult:
    """Pack every row's frames into tar shards, in the list's order.

    Args:
        manifest: the list.
        output: a new or empty folder, or one where the same list was packed with the same options; what is done there
            is kept, and rows that failed are tried again. Gets pack-00000.tar and so on, manifest.csv (.jsonl if the
            list holds what CSV cannot) and, if something failed, failed.csv.
        options: what is kept of each video.
        workers: processes; 0 does everything in this one.
        timeout: seconds without progress after which a row is given up.
        progress: show a bar on a terminal.

    Raises:
        UsageError: the output holds something else, other options or another list, or cannot be written; a packed
            video has changed since; or a number makes no sense.
    """
    keys = file_keys(video.path for video in manifest.videos)
    with Journal(output, JOURNAL_NAME, _VERB) as journal:
        _claim(journal, {"layout": _LAYOUT, "list": _digest(manifest, keys), **_settings(options)})
        shards = _Shards(journal, options.shard_bytes)
        _check_unchanged(shards, manifest, keys)
        pending = [row for row in range(len(keys)) if row not in shards.places]
        if pending:
            remove_list(output)
        tasks = list(_tasks(manifest, keys, pending, output, options))
        shards.expect(tasks)
        missing = [task for task in tasks if task.row not in shards.ready]
        num_kept = len(keys) - len(missing)
        with closing(run_jobs(_work, missing, workers=workers, timeout=timeout)) as answers:
            failures = _collect(track(answers, "Packing", total=len(missing), show=progress), shards, manifest)
        shards.join(given_up=failures, rest=True)
        path = write_list(_new_list(manifest, keys, shards.places, output), output)
        failed = tuple(failures[row] for row in sorted(failures))
        write_failures(output, failed)
    return PackResult(
        manifest=path,
        num_listed=len(keys),
        num_packed=len(shards.places),
        num_kept=num_kept,
        num_shards=len(shards.sizes),
        size_bytes=sum(shards.sizes.values()),
        failures=failed,
    )


def _collect(
    answers: Iterable[tuple[_Task, int | Failure | NoRoom | Lost]], shards: _Shards, manifest: Manifest
) -> dict[int, Failure]:
    """Join clips to shards as they come; returns the rows that have none, and why."""
    failures: dict[int, Failure] = {}
    for task, answer in answers:
        if isinstance(answer, NoRoom):
            raise UsageError(f"cannot write {task.clip}: {answer}; make room, then run it again")
        if isinstance(answer, Lost):
            part_of(Path(task.clip)).unlink(missing_ok=True)
        if isinstance(answer, Failure | Lost):
            listed = manifest.videos[task.row]
            failures[task.row] = Failure(str(listed.path), answer.reason, listed.start, listed.end)
        else:
            shards.ready[task.row] = answer
        shards.join(given_up=failures)
    return failures


class _Shards:
    """The shards of a folder: those that are whole, and the rows that wait for the next one.

    Attributes:
        places: row -> the shard that holds it.
        stamps: row -> what its source was like when it was packed.
        sizes: shard -> bytes.
        ready: row -> bytes of its clip, made but not in a shard yet.
    """

    def __init__(self, journal: Journal, shard_bytes: int) -> None:
        self._journal, self._shard_bytes = journal, shard_bytes
        self.places: dict[int, str] = {}
        self.stamps: dict[int, Stamp] = {}
        self.sizes: dict[str, int] = {}
        self.ready: dict[int, int] = {}
        self._waiting: list[_Task] = []
        self._batch: list[_Task] = []
        self._batch_bytes = 0
        latest = {line["shard"]: line for line in journal.lines[1:]}
        for shard, line in latest.items():
            size = line["size_bytes"]
            found = stamp_of(journal.folder / shard)
            if found is None or found[0] != size:
                continue  # removed or cut short by somebody: its rows are packed anew
            self.sizes[shard] = size
            for row, stamp in line["rows"]:
                self.places[row], self.stamps[row] = shard, None if stamp is None else (stamp[0], stamp[1])
        for path in journal.folder.iterdir():
            if _SHARD.fullmatch(path.name) and path.name not in self.sizes:
                path.unlink()  # whole, but the run ended before the journal said so; its clips are still there

    def expect(self, tasks: Sequence[_Task]) -> None:
        """Say which rows come, in order; finds the clips that an earlier run has made of them, and removes others."""
        self._waiting = list(tasks)
        folder = self._journal.folder / _CLIPS
        expected = {Path(task.clip).name: task.row for task in tasks}
        if not folder.is_dir():
            return
        for path in list(folder.iterdir()):
            if path.name in expected:
                self.ready[expected[path.name]] = path.stat().st_size
            else:
                path.unlink()

    def join(self, *, given_up: Mapping[int, object], rest: bool = False) -> None:
        """Write every shard whose rows are there; with `rest` the last one, too, however small."""
        taken = 0
        for task in self._waiting:
            if task.row not in self.ready and task.row not in given_up:
                break
            taken += 1
            if task.row in given_up:
                continue
            if self._batch and self._batch_bytes + self.ready[task.row] > self._shard_bytes:
                self._write()
            self._batch.append(task)
            self._batch_bytes += self.ready[task.row]
        del self._waiting[:taken]
        if rest and self._batch:
            self._write()
        if rest and (folder := self._journal.folder / _CLIPS).is_dir():
            folder.rmdir()

    def _write(self) -> None:
        """Make a shard of the batch."""
        number = next(number for number in range(len(self.sizes) + 1) if _name(number) not in self.sizes)
        name, folder = _name(number), self._journal.folder
        records: dict[str, tuple[int, int]] = {}
        try:
            with part_of(folder / name).open("wb") as file:
                for task in self._batch:
                    members = Path(task.clip).read_bytes()
                    records[key_of(task.row)] = record_range(members, file.tell())
                    file.write(members)
                file.write(shard_end(records))
                size = file.tell()
            put_in_place(folder / name)
        except OSError as error:
            raise UsageError(f"cannot write {folder / name}: {error.strerror}; make room, then run it again") from error
        rows = [(task.row, task.stamp) for task in self._batch]
        self._journal.add({"shard": name, "size_bytes": size, "rows": rows})
        self.sizes[name] = size
        for task in self._batch:
            self.places[task.row] = name
            Path(task.clip).unlink()
        self._batch, self._batch_bytes = [], 0


def _name(number: int) -> str:
    return f"pack-{number:05d}.tar"


def _work(task: _Task, alive: Callable[[], None]) -> int | Failure | NoRoom:
    """Make one row's clip; what a worker process does. Returns its length in bytes."""
    try:
        members = encode_clip(task.video, task.name, task.row, task.options)
    except UnreadableVideo as error:
        return Failure(task.name, error.reason)
    except MemoryError:
        return Failure(task.name, "it takes more memory than this machine has; use fewer --workers")
    alive()
    clip = Path(task.clip)
    try:
        clip.parent.mkdir(exist_ok=True)
        part_of(clip).write_bytes(members)
        put_in_place(clip)
    except OSError as error:
        return NoRoom(error.strerror or str(error))
    return len(members)


def _tasks(
    manifest: Manifest, keys: Sequence[str], rows: Iterable[int], output: Path, options: PackOptions
) -> Iterable[_Task]:
    source = Path(manifest.source)
    inside = os.path.join(os.path.realpath(source if source.is_dir() else source.parent), "")
    for row in rows:
        key = keys[row]
        stamp = stamp_of(key)
        # A clip of a source that has changed since has another name, so it is not taken for the present one.
        state = "unknown" if stamp is None else f"{stamp[0]}-{stamp[1]}"
        name = key if is_remote(key) else Path(key.removeprefix(inside)).as_posix()
        clip = output / _CLIPS / f"{key_of(row)}-{state}.clip"
        yield _Task(row, replace(manifest.videos[row], path=key), name, str(clip), stamp, options)


def _settings(options: PackOptions) -> dict[str, object]:
    """Whatever the shards' bytes depend on."""
    return {
        "frames": options.frames,
        "short_side": options.short_side,
        "quality": options.quality,
        "subsampling": options.subsampling,
        "shard_bytes": options.shard_bytes,
        "decoder": options.decode.decoder,
        "device": options.decode.device,
    }


def _digest(manifest: Manifest, keys: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for key, video in zip(keys, manifest.videos, strict=True):
        row = [key, video.labels, video.split, video.group, video.start, video.end]
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _claim(journal: Journal, wanted: dict[str, object]) -> None:
    """Begin a pack, or go on with one of the same list and the same options."""
    if not journal.lines:
        journal.add(wanted)
        journal.lines.append(wanted)
    found = journal.lines[0]
    for name, value in wanted.items():
        if found.get(name) != value:
            was = (
                "another list, or the list has changed" if name == "list" else f"{name} {found.get(name)}, not {value}"
            )
            raise UsageError(f"{journal.folder} holds a pack of {was}; choose another folder or delete this one")


def _check_unchanged(shards: _Shards, manifest: Manifest, keys: Sequence[str]) -> None:
    for row, stamp in shards.stamps.items():
        now = stamp_of(keys[row])
        if now is not None and now != stamp:
            raise UsageError(
                f"{manifest.videos[row].path} has changed since it was packed into {shards.places[row]}; "
                "choose another folder or delete this one"
            )


def _new_list(manifest: Manifest, keys: Sequence[str], places: Mapping[int, str], output: Path) -> Manifest:
    """The packed rows as videos of their own; parts of one file stay together where lists are split."""
    counts = Counter(keys)
    rows = []
    for row in sorted(places):
        video = manifest.videos[row]
        group = str(video.path) if video.group is None and counts[keys[row]] > 1 else video.group
        address = clip_address(key_of(row), os.path.abspath(output / places[row]))
        rows.append(replace(video, path=address, group=group, start=None, end=None))
    return Manifest(str(output), tuple(rows), classes=manifest.labels)
