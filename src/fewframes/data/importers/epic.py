"""The annotation files of EPIC-KITCHENS-100 come in; a row for each action, with its verb and noun, goes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewframes.classes import official_labels
from fewframes.data.importers.files import Row, VideoFiles, count_notes, read_csv_rows
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest

__all__ = ["EpicImport", "read_epic"]

_FILES = {"train": "EPIC_100_train.csv", "val": "EPIC_100_validation.csv", "test": "EPIC_100_test_timestamps.csv"}
_CLASS_FILES = {"verb": "EPIC_100_verb_classes.csv", "noun": "EPIC_100_noun_classes.csv"}
_PUBLISHED = {"train": (67_217,), "val": (9_668,), "test": (13_092,)}
_TIME = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)")


@dataclass(frozen=True)
class EpicImport:
    """Read EPIC-KITCHENS-100: EPIC_100_train.csv, EPIC_100_validation.csv and EPIC_100_test_timestamps.csv.

    Each row has two labels, such as verb:take and noun:tap; those of the test set are not published.

    Example: fewframes data import epic EPIC-KITCHENS epic-kitchens-100-annotations --output epic.csv
    """

    videos: Path
    """Folder of the videos: P01/videos/P01_01.MP4, or all in one folder."""
    annotations: Path
    """Folder that holds the three files, or one of them."""
    heads: Literal["both", "verb", "noun"] = "both"
    """Which labels: both, or one of them as plain names."""


def read_epic(options: EpicImport) -> Manifest:
    """Read EPIC-KITCHENS-100; starts and ends are the published times, not the frame numbers. A group is a person.

    The classes are the official 97 verbs and then 300 nouns. If EPIC_100_verb_classes.csv or EPIC_100_noun_classes.csv
    lies beside the annotations, it has to say the same.

    Raises:
        InvalidManifest: no such file, a column is absent, a class number that does not exist, a time that is none.
        UsageError: there is no folder of videos.
    """
    files = VideoFiles(options.videos)
    found = _annotation_files(options.annotations)
    _check_class_files(found[0][0].parent)
    videos: list[Video] = []
    located: dict[str, Path] = {}
    for path, split in found:
        for row in _rows(path, labelled=split != "test"):
            participant, video_id = row.values["participant_id"], row.values["video_id"]
            if video_id not in located:
                located[video_id] = files.locate(f"{participant}/videos/{video_id}.MP4", f"{video_id}.MP4")
            start, end = _seconds(row, "start_timestamp"), _seconds(row, "stop_timestamp")
            if end <= start:
                raise InvalidManifest(f"{row.place}: the action starts at {start} s and stops at {end} s")
            labels = () if split == "test" else _labels(row, options.heads)
            videos.append(Video(located[video_id], labels, split, participant, start, end))
    known = {split: _PUBLISHED[split] for _, split in found if split in _PUBLISHED}
    notes = [files.note(), *count_notes("EPIC-KITCHENS-100 actions", videos, known)]
    unlabelled = sum(not video.labels for video in videos)
    if unlabelled:
        notes.append(f"{unlabelled:,} rows of the split test have no labels; they are not published")
    return Manifest(str(options.annotations), tuple(videos), tuple(notes), _classes(options.heads))


def _classes(heads: Literal["both", "verb", "noun"]) -> tuple[str, ...]:
    if heads != "both":
        return official_labels(f"epic100_{heads}s")
    return tuple(f"{head}:{name}" for head in ("verb", "noun") for name in official_labels(f"epic100_{head}s"))


def _annotation_files(annotations: Path) -> list[tuple[Path, str | None]]:
    if annotations.is_dir():
        found = [(annotations / name, split) for split, name in _FILES.items() if (annotations / name).is_file()]
        if not found:
            raise InvalidManifest(
                f"{annotations} holds none of {', '.join(_FILES.values())}; give the folder that does"
            )
        return list(found)
    splits = {name: split for split, name in _FILES.items()}
    if "_classes" in annotations.stem:
        raise InvalidManifest(f"{annotations} lists classes, not videos; give one of {', '.join(_FILES.values())}")
    return [(annotations, splits.get(annotations.name))]


def _check_class_files(folder: Path) -> None:
    """Raise if a class file beside the annotations gives other names than the official ones."""
    for head, name in _CLASS_FILES.items():
        if (folder / name).is_file():
            rows = read_csv_rows(folder / name)
            _check_columns(rows, ("id", "key"), name)
            listed = [(row.values["id"], row.values["key"]) for row in rows]
            official = [(str(number), key) for number, key in enumerate(official_labels(f"epic100_{head}s"))]
            if sorted(listed) != sorted(official):
                raise InvalidManifest(
                    f"{folder / name} lists {len(listed)} {head} classes that are not the {len(official)} of the "
                    "challenge (the _v2 file of 305 nouns is another list); get the published file"
                )


def _rows(path: Path, *, labelled: bool) -> list[Row]:
    rows = read_csv_rows(path)
    columns = ["participant_id", "video_id", "start_timestamp", "stop_timestamp"]
    _check_columns(rows, [*columns, *(("verb_class", "noun_class") if labelled else ())], _FILES["train"])
    for row in rows:
        for column in ("participant_id", "video_id"):
            if not row.values[column]:
                raise InvalidManifest(f"{row.place}: the column {column!r} is empty; expected such as P01 and P01_01")
    return rows


def _check_columns(rows: Sequence[Row], columns: Sequence[str], like: str) -> None:
    for name in columns:
        if rows and name not in rows[0].values:
            raise InvalidManifest(
                f"{rows[0].place}: no column {name!r} in {','.join(rows[0].values)}; expected those of {like}"
            )


def _labels(row: Row, heads: Literal["both", "verb", "noun"]) -> tuple[str, ...]:
    if heads == "both":
        return f"verb:{_name(row, 'verb')}", f"noun:{_name(row, 'noun')}"
    return (_name(row, heads),)


def _name(row: Row, head: str) -> str:
    names, text = official_labels(f"epic100_{head}s"), row.values[f"{head}_class"]
    if text.isascii() and text.isdigit() and int(text) < len(names):
        return names[int(text)]
    hint = "; numbers from 300 on belong to the _v2 list of 305 nouns, which is not that of the challenge"
    raise InvalidManifest(
        f"{row.place}: {head}_class is {text!r}, expected a number from 0 to {len(names) - 1}"
        + (hint if head == "noun" and text.isdigit() else "")
    )


def _seconds(row: Row, column: str) -> float:
    found = _TIME.fullmatch(row.values[column])
    if found is None:
        raise InvalidManifest(f"{row.place}: {column} is {row.values[column]!r}; expected a time such as 00:01:02.345")
    hours, minutes, seconds = found.groups()
    # Rounded to microseconds: a sum of floats need not be the float that the text names.
    return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 6)
