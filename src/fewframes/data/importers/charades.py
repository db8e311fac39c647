"""Charades' annotation files come in; videos with all their actions, or one row for each action, go out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewframes.classes import official_labels
from fewframes.data.importers.files import (
    Row,
    VideoFiles,
    check_label,
    count_notes,
    read_csv_rows,
    read_text_lines,
    repeat_notes,
)
from fewframes.data.importers.listing import split_of_name
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest

__all__ = ["CharadesImport", "read_charades"]

_FILES = ("Charades_v1_train.csv", "Charades_v1_test.csv")
_COLUMNS = ("id", "subject", "actions", "length")
_PUBLISHED = {"train": (7985,), "test": (1863,)}


@dataclass(frozen=True)
class CharadesImport:
    """Read Charades: Charades_v1_train.csv and Charades_v1_test.csv, which is the public validation set.

    A video has the labels of all its actions, or none where it has no action.

    Example: fewframes data import charades Charades_v1_480 Charades --output charades.csv
    """

    videos: Path
    """Folder of the videos, such as Charades_v1_480."""
    annotations: Path
    """Folder that holds the two files, or one of them."""
    segments: bool = False
    """One row for each action, with its start and end, instead of one for each video."""


@dataclass(frozen=True)
class _Action:
    name: str
    start: float
    end: float


def read_charades(options: CharadesImport) -> Manifest:
    """Read Charades. The classes are the 157 official ones; a group is a person.

    Labels of a video stand in class order. With `segments`, an action that runs past its video's end is cut there; one
    that has no length then, or never had, is left out and counted in a note. Videos without actions have no row then.

    Raises:
        InvalidManifest: no such file, a frame list of PySlowFast, a column is absent, an action that is none.
        UsageError: there is no folder of videos.
    """
    files = VideoFiles(options.videos)
    videos: list[Video] = []
    counts = dict.fromkeys(("without", "cut", "empty"), 0)
    for path, split in _annotation_files(options.annotations):
        for row in _rows(path):
            actions = _actions(row)
            file = files.locate(f"{_text(row, 'id')}.mp4")
            group = row.values["subject"] or None
            counts["without"] += not actions
            if options.segments:
                parts = _parts(row, actions, counts)
                videos += [Video(file, (part.name,), split, group, part.start, part.end) for part in parts]
            else:
                found = {action.name for action in actions}
                videos.append(Video(file, tuple(filter(found.__contains__, official_labels("charades"))), split, group))
    notes = [files.note(), "the split test of Charades is its public validation set"]
    notes += _notes(counts, segments=options.segments)
    notes += repeat_notes(videos)
    if options.segments:
        notes += count_notes("Charades actions", videos)
    else:
        read = {video.split for video in videos}
        known = {split: count for split, count in _PUBLISHED.items() if split in read}
        notes += count_notes("Charades", videos, known)
    return Manifest(str(options.annotations), tuple(videos), tuple(notes), official_labels("charades"))


def _annotation_files(annotations: Path) -> list[tuple[Path, str | None]]:
    if not annotations.is_dir():
        return [(annotations, split_of_name(annotations.stem))]
    found = [annotations / name for name in _FILES if (annotations / name).is_file()]
    if not found:
        raise InvalidManifest(f"{annotations} holds none of {' and '.join(_FILES)}; give the folder that does, or one")
    return [(path, split_of_name(path.stem)) for path in found]


def _rows(path: Path) -> list[Row]:
    first = (read_text_lines(path) or [""])[0]
    if first.startswith(("original_vido_id", "original_video_id")):
        raise InvalidManifest(
            f"{path} is a list of single frames made for PySlowFast; give the annotations of Charades itself: "
            f"{' and '.join(_FILES)}"
        )
    rows = read_csv_rows(path)
    for name in _COLUMNS:
        if rows and name not in rows[0].values:
            raise InvalidManifest(f"{path}: no column {name!r} in {','.join(rows[0].values)}; expected {_FILES[0]}")
    return rows


def _text(row: Row, column: str) -> str:
    if not row.values[column]:
        raise InvalidManifest(f"{row.place}: the column {column!r} is empty; expected a text")
    return row.values[column]


def _actions(row: Row) -> list[_Action]:
    """The actions of a line such as "c092 11.90 21.20;c147 0.00 12.60"."""
    names = _names_by_id()
    found = []
    for text in filter(None, map(str.strip, row.values["actions"].split(";"))):
        parts = text.split()
        if len(parts) != 3:
            raise InvalidManifest(f"{row.place}: the action {text!r} is not class, start and end; e.g. c092 11.9 21.2")
        check_label(row.place, parts[0], tuple(names))
        found.append(_Action(names[parts[0]], _seconds(row, parts[1]), _seconds(row, parts[2])))
    return found


def _names_by_id() -> Mapping[str, str]:
    return {f"c{number:03d}": name for number, name in enumerate(official_labels("charades"))}


def _seconds(row: Row, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InvalidManifest(f"{row.place}: {text!r} is no time; expected seconds, 0 or more")
    return seconds


def _parts(row: Row, actions: list[_Action], counts: dict[str, int]) -> list[_Action]:
    """The actions cut at the video's end; those without length are counted and left out."""
    length = _seconds(row, row.values["length"]) if row.values["length"] else math.inf
    parts = []
    for action in actions:
        end = min(action.end, length)
        if end <= action.start:
            counts["empty"] += 1
            continue
        counts["cut"] += action.end > length
        parts.append(_Action(action.name, action.start, end))
    return parts


def _notes(counts: Mapping[str, int], *, segments: bool) -> list[str]:
    notes = []
    if counts["without"]:
        treated = "have no row" if segments else "have no label"
        notes.append(f"{counts['without']:,} videos without any action {treated}")
    if counts["cut"]:
        notes.append(f"{counts['cut']:,} actions run past the end of their video and were cut there")
    if counts["empty"]:
        notes.append(f"{counts['empty']:,} actions have no length inside their video and were left out")
    return notes
