"""Kinetics-400, -600 or -700 lists (CSV) and a folder of videos come in; a list of labelled videos goes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewframes.classes import official_labels
from fewframes.data.importers.files import (
    Row,
    VideoFiles,
    check_label,
    count_notes,
    group_notes,
    read_csv_rows,
    repeat_notes,
)
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError

__all__ = ["KineticsImport", "folder_spellings", "read_kinetics"]

# Videos vanish from the web, so copies differ: the full lists, and what well-known projects have left of them.
_PUBLISHED: dict[str, dict[str, tuple[int, ...]]] = {
    "400": {
        "train": (214_834, 234_643, 240_436, 240_618, 246_535),
        "val": (17_637, 19_404, 19_761, 19_796, 19_907),
    },
    "600": {"train": (366_006, 383_393), "val": (27_910, 27_935)},
    "700": {},
}
_ONE_SPLIT_MANY_NAMES = {"validate": "val", "validation": "val", "valid": "val", "training": "train", "testing": "test"}
# Sound files put in place of about 1,400 damaged ones lie in a folder of this name, under the same file names.
_REPLACEMENTS = "replacement_for_corrupted_k400"


@dataclass(frozen=True)
class KineticsImport:
    """Read Kinetics lists: label,youtube_id,time_start,time_end,split in any order, with or without is_cc and labels.

    The label index is the rank among the official names, which no sorted folder gives. Videos are grouped by their
    source, the YouTube video. The splits are called train, val and test.

    Example: fewframes data import kinetics videos train.csv validate.csv --output k400.csv
    """

    videos: Path
    """Folder of the videos {id}_{start}_{end}.mp4 or {id}.mp4, in folders by split, by class, by both or by none."""
    annotations: tuple[Path, ...]
    """The lists, such as train.csv and validate.csv."""
    version: Literal["400", "600", "700"] = "400"
    """How many classes the data set has."""
    split: str = ""
    """Call every line's split so, whatever the lists say; needed where they have no column for it."""
    untrimmed: bool = False
    """The files are whole YouTube videos named by the id: list the part from time_start to time_end of each."""


def read_kinetics(options: KineticsImport) -> Manifest:
    """The listed videos with their official class names, whether or not their files exist.

    A line without label, or a list without that column, gives a video without labels, as in the test sets. A trimmed
    file is the sample as a whole, so it has no start and end; an untrimmed one has both, in seconds.

    Raises:
        InvalidManifest: a list is damaged, has a label that is not official, or two parts of one source share a file.
        UsageError: the folder of videos does not exist, or no list was given.
    """
    if not options.annotations:
        raise UsageError("no list was given; name at least one, such as train.csv")
    classes = official_labels(f"kinetics{options.version}")
    files = VideoFiles(options.videos)
    known = dict.fromkeys(classes)
    parts: dict[Path, tuple[str, str]] = {}
    videos = []
    for list_file in options.annotations:
        rows = read_csv_rows(list_file)
        _check_columns(list_file, rows)
        for row in rows:
            clip = _clip_of(row, options.split)
            if clip.label:
                _check_label(row.place, clip.label, known, options.version)
            sound = () if options.untrimmed else (f"{_REPLACEMENTS}/{_trimmed_name(clip)}.mp4",)
            path = files.locate(*_file_names(clip, untrimmed=options.untrimmed), before=sound)
            if not options.untrimmed:
                _check_one_part(row.place, path, clip, parts)
            videos.append(
                Video(
                    path=path,
                    labels=(clip.label,) if clip.label else (),
                    split=clip.split,
                    group=clip.source,
                    start=clip.start if options.untrimmed else None,
                    end=clip.end if options.untrimmed else None,
                )
            )
    notes = (
        *count_notes(f"Kinetics-{options.version}", videos, _known_counts(options.version, videos)),
        *repeat_notes(videos),
        *group_notes(videos, "source videos"),
        files.note(),
    )
    return Manifest(", ".join(map(str, options.annotations)), tuple(videos), notes, classes)


def folder_spellings(label: str) -> tuple[str, ...]:
    """How a class folder may be called on disk, the label itself first: copies replace blanks or strip ( ) and '."""
    stripped = label.translate({ord(sign): None for sign in "()'"})
    spellings = (label, label.replace(" ", "_"), stripped.replace(" ", "_"), stripped)
    return tuple(dict.fromkeys(spellings))


@dataclass(frozen=True)
class _Clip:
    """One line: a part of a source video, in seconds; no label is empty."""

    source: str
    start: float
    end: float
    label: str
    split: str


def _check_columns(list_file: Path, rows: list[Row]) -> None:
    if not rows:
        raise InvalidManifest(f"{list_file} lists no videos; expected lines under label,youtube_id,time_start,time_end")
    for column in ("youtube_id", "time_start", "time_end"):
        if column not in rows[0].values:
            raise InvalidManifest(
                f"{list_file}: no column {column!r} in {','.join(rows[0].values)}; "
                "expected label,youtube_id,time_start,time_end,split"
            )


def _clip_of(row: Row, split: str) -> _Clip:
    source = row.values["youtube_id"]
    if not source:
        raise InvalidManifest(f"{row.place}: empty youtube_id; expected the id of a video")
    start, end = (_seconds(row, column) for column in ("time_start", "time_end"))
    if not 0 <= start < end:
        raise InvalidManifest(f"{row.place}: time_start is {start:g} and time_end {end:g}; expected 0 <= start < end")
    own = row.values.get("split", "")
    split = split or _ONE_SPLIT_MANY_NAMES.get(own, own)
    if not split:
        raise InvalidManifest(f"{row.place}: the list does not say the split; name it with the option split")
    return _Clip(source, start, end, row.values.get("label", ""), split)


def _seconds(row: Row, column: str) -> float:
    text = row.values[column]
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InvalidManifest(f"{row.place}: {column} is {text!r}; expected seconds")
    return seconds


def _check_label(place: str, label: str, known: dict[str, None], version: str) -> None:
    """As `check_label`, and say which version has the label."""
    if label in known:
        return
    for other in ("400", "600", "700"):
        if other != version and label in official_labels(f"kinetics{other}"):
            raise InvalidManifest(
                f"{place}: {label!r} is a class of Kinetics-{other}, not of Kinetics-{version}; "
                f"set the version to {other} if the list is of that one"
            )
    check_label(place, label, known)


def _trimmed_name(clip: _Clip) -> str:
    return f"{clip.source}_{int(clip.start):06d}_{int(clip.end):06d}"


def _file_names(clip: _Clip, *, untrimmed: bool) -> list[str]:
    """Where the file may lie, the likeliest first; a missing one is expected at the first."""
    stems = (clip.source,) if untrimmed else (_trimmed_name(clip), clip.source)
    splits = [clip.split, *(name for name, known in _ONE_SPLIT_MANY_NAMES.items() if known == clip.split)]
    spellings = folder_spellings(clip.label) if clip.label else ()
    names = [f"{clip.split}/{clip.label}/{stems[0]}.mp4" if clip.label else f"{clip.split}/{stems[0]}.mp4"]
    for stem in stems:
        names += [f"{split}/{spelling}/{stem}.mp4" for split in splits for spelling in spellings]
        names += [f"{folder}/{stem}.mp4" for folder in (*spellings, *splits)]
        names.append(f"{stem}.mp4")
    return names


def _check_one_part(place: str, path: Path, clip: _Clip, parts: dict[Path, tuple[str, str]]) -> None:
    """Raise if a file named by the id alone would stand for two different parts of its source."""
    part = f"{clip.start:g} to {clip.end:g} s"
    first, where = parts.setdefault(path, (part, place))
    if first != part:
        raise InvalidManifest(
            f"{place}: {path} would be the part {part}, and at {where} it is {first}; "
            "set untrimmed if the files are whole videos"
        )


def _known_counts(version: str, videos: list[Video]) -> dict[str, tuple[int, ...]]:
    """The published numbers of the splits that are listed: one list alone is no surprise."""
    listed = {video.split for video in videos}
    return {split: counts for split, counts in _PUBLISHED[version].items() if split in listed}
