"""A list of videos and a folder come in; each video encoded anew in that folder, and a list of them, go out."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Sequence
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
from fewframes.data.manifest import Manifest
from fewframes.data.reencode import NoRoom, Reencoded, TranscodeOptions, reencode
from fewframes.data.scan_workers import Lost
from fewframes.errors import UnreadableVideo, UsageError
from fewframes.progress import track
from fewframes.records import Failure

__all__ = ["JOURNAL_NAME", "TranscodeResult", "plan_targets", "transcode"]

JOURNAL_NAME = "transcode.jsonl"
_VERB = "fewframes data transcode"
_ELSEWHERE = "elsewhere"  # folder for videos that do not lie beside or below their list
_UNSAFE = re.compile(r"[^\w.+=@ ()\[\]{}!#$%&,;~^-]")
_Sizes = tuple[int, int | None]  # in bytes, of the new file and of the old one
_LAYOUT = 1  # raise when the same options give other files


@dataclass(frozen=True)
class TranscodeResult:
    """What became of a list.

    Attributes:
        manifest: the new list.
        num_rows: rows of it.
        num_listed: rows of the old one.
        num_encoded: files that were encoded in this run.
        num_kept: files that an earlier run had encoded with the same options.
        size_bytes: of all new files.
        source_bytes: of the old files behind them; None if one does not tell.
        failures: every listed file that is not there, once.
    """

    manifest: Path
    num_rows: int
    num_listed: int
    num_encoded: int
    num_kept: int
    size_bytes: int
    source_bytes: int | None
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class _Task:
    """One file to encode; travels to the worker processes."""

    source: str
    path: str
    target: str
    options: TranscodeOptions


def transcode(
    manifest: Manifest,
    output: Path,
    options: TranscodeOptions,
    *,
    workers: int = 1,
    timeout: float = 600.0,
    progress: bool = False,
) -> TranscodeResult:
    """Encode every listed file anew, each once, whatever parts the list cuts from it.

    Frames and their times are kept one to one (unless `options.fps` asks for others), counted from the first frame,
    so that parts stay where they are; rotation and pixel aspect are applied, sound is left out. Every new file is
    checked before it gets its name. Where the same command was run before, what is done is kept, as long as neither
    the file nor the options have changed.

    Args:
        manifest: the list.
        output: a new or empty folder, or one that this function has written; gets the videos, manifest.csv (.jsonl if
            the list holds what CSV cannot) and, if something failed, failed.csv.
        options: how.
        workers: processes; 0 does everything in this one.
        timeout: seconds without progress after which a file is given up.
        progress: show a bar on a terminal.

    Raises:
        UsageError: the output is one of the folders that the videos lie in, holds something else, or cannot be
            written; or a number makes no sense.
    """
    keys = file_keys(video.path for video in manifest.videos)
    _check_output(manifest, keys, output)
    targets = plan_targets(manifest)
    with Journal(output, JOURNAL_NAME, _VERB) as journal:
        kept = _kept(journal, targets, options)
        missing = [
            _Task(key, str(output / target), target, options) for key, target in targets.items() if key not in kept
        ]
        if missing:
            remove_list(output)
        with closing(run_jobs(_work, missing, workers=workers, timeout=timeout)) as answers:
            shown = track(answers, "Transcoding", total=len(missing), show=progress)
            encoded, failures = _collect(shown, journal)
        sizes = {**kept, **encoded}
        listed = list(zip(keys, manifest.videos, strict=True))
        rows = tuple(replace(video, path=output / targets[key]) for key, video in listed if key in sizes)
        names = {key: str(video.path) for key, video in reversed(listed)}
        failed = tuple(Failure(names[key], failures[key]) for key in targets if key in failures)
        path = write_list(Manifest(str(output), rows, classes=manifest.labels), output)
        write_failures(output, failed)
    old = [source for _, source in sizes.values()]
    return TranscodeResult(
        manifest=path,
        num_rows=len(rows),
        num_listed=len(manifest.videos),
        num_encoded=len(encoded),
        num_kept=len(kept),
        size_bytes=sum(size for size, _ in sizes.values()),
        source_bytes=None if None in old else sum(size for size in old if size is not None),
        failures=failed,
    )


def plan_targets(manifest: Manifest) -> dict[str, str]:
    """Where each listed file goes: its key -> a path relative to the output folder, no two alike.

    Files below the list's folder keep their place, others go below "elsewhere". All end in .mp4; where two names would
    then be the same, or differ only in upper and lower case, all of them keep their old ending before the new one.
    """
    source = Path(manifest.source)
    root = os.path.realpath(source if source.is_dir() else source.parent)
    places = {key: _place(key, root) for key in file_keys(video.path for video in manifest.videos)}
    plain: dict[str, int] = {}
    for place in places.values():
        name = os.path.splitext(place)[0].casefold()
        plain[name] = plain.get(name, 0) + 1
    targets: dict[str, str] = {}
    taken = {name for name, count in plain.items() if count == 1}
    for key, place in places.items():
        name = os.path.splitext(place)[0]
        if plain[name.casefold()] > 1:
            name, number = place, 2
            while name.casefold() in taken:
                name, number = f"{place}-{number}", number + 1
            taken.add(name.casefold())
        targets[key] = f"{name}.mp4"
    return targets


def _place(key: str, root: str) -> str:
    """A file's relative path in the output folder, still with its old ending."""
    inside = os.path.join(root, "")
    if not is_remote(key) and key.startswith(inside):
        return Path(key.removeprefix(inside)).as_posix()
    scheme, _, rest = key.rpartition("://")
    parts = [scheme, *re.split(r"[/\\:]+", rest.partition("?")[0] if scheme else rest)]
    safe = [_UNSAFE.sub("_", part) for part in parts if part not in ("", ".", "..")]
    return "/".join([_ELSEWHERE, *safe])


def _check_output(manifest: Manifest, keys: Sequence[str], output: Path) -> None:
    """Sources are never written to; raises UsageError if the output is where they lie."""
    real = os.path.realpath(output)
    source = Path(manifest.source)
    folders = {os.path.dirname(key) for key in keys if not is_remote(key)}
    folders.add(os.path.realpath(source if source.is_dir() else source.parent))
    if real in folders:
        raise UsageError(f"the output {output} is a folder that the videos lie in; choose another one")
    if source.is_dir() and real.startswith(os.path.join(os.path.realpath(source), "")):
        raise UsageError(
            f"the output {output} lies in {source}, so that its videos would be listed with the others; "
            "choose a folder outside"
        )


def _work(task: _Task, alive: Callable[[], None]) -> tuple[Reencoded, Stamp] | Failure | NoRoom:
    """Encode one file; what a worker process does."""
    target = Path(task.path)
    stamp = stamp_of(task.source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        done = reencode(task.source, part_of(target), task.options, alive=alive)
        put_in_place(target)
    except UnreadableVideo as error:
        return Failure(task.source, error.reason)
    except MemoryError:
        return Failure(task.source, "it takes more memory than this machine has; use fewer --workers")
    except NoRoom as error:
        return error
    except OSError as error:
        return NoRoom(error.strerror or str(error))
    return done, stamp


def _collect(
    answers: Iterable[tuple[_Task, tuple[Reencoded, Stamp] | Failure | NoRoom | Lost]], journal: Journal
) -> tuple[dict[str, _Sizes], dict[str, str]]:
    """Write down what was encoded; returns the sizes of that, and why the others failed."""
    encoded: dict[str, _Sizes] = {}
    failures: dict[str, str] = {}
    for task, answer in answers:
        if isinstance(answer, NoRoom):
            raise UsageError(f"cannot write {task.path}: {answer}; make room, then run it again")
        if isinstance(answer, Failure | Lost):
            failures[task.source] = answer.reason
            part_of(Path(task.path)).unlink(missing_ok=True)
            continue
        done, stamp = answer
        encoded[task.source] = done.size_bytes, done.source_bytes
        line = {"layout": _LAYOUT, "source": task.source, "stamp": stamp, "target": task.target}
        journal.add({**line, "options": dataclasses.asdict(task.options), **dataclasses.asdict(done)})
    return encoded, failures


def _kept(journal: Journal, targets: dict[str, str], options: TranscodeOptions) -> dict[str, _Sizes]:
    """What earlier runs wrote and this one would write alike: each source's sizes."""
    kept: dict[str, _Sizes] = {}
    for line in journal.lines:
        try:
            source, target, size = line["source"], line["target"], line["size_bytes"]
            stamp = None if line["stamp"] is None else tuple(line["stamp"])
            same = line["layout"] == _LAYOUT and line["options"] == dataclasses.asdict(options)
            old_size = line["source_bytes"]
        except (KeyError, TypeError):
            continue
        kept.pop(source, None)  # an older line says what was there before
        found = stamp_of(journal.folder / target)
        is_there = found is not None and found[0] == size
        if same and is_there and targets.get(source) == target and stamp_of(source) == stamp:
            kept[source] = size, old_size
    return kept
