"""The lists of Moments in Time and a folder of videos come in; a list of labelled videos goes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fewframes.classes import official_labels
from fewframes.data.importers.files import (
    VideoFiles,
    check_folder,
    check_label,
    count_notes,
    read_csv_rows,
    read_text_lines,
    repeat_notes,
)
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest

__all__ = ["MomentsImport", "read_moments"]

_LISTS = {"train": ("trainingSet.csv", "training"), "val": ("validationSet.csv", "validation")}
_VERSIONS = {339: "v1", 305: "v2"}


@dataclass(frozen=True)
class MomentsImport:
    """Read Moments in Time: moments_categories.txt, and trainingSet.csv or validationSet.csv or both.

    The number of categories tells the version: 339 is v1, whose official order is checked; 305 is v2, whose order is
    that of the file. The order is not alphabetical. The splits are called train and val.

    Example: fewframes data import moments Moments_in_Time Moments_in_Time --output moments.csv
    """

    videos: Path
    """Folder of the videos, {category}/{name}.mp4, within training and validation or without."""
    annotations: Path
    """Folder of moments_categories.txt, trainingSet.csv and validationSet.csv."""


def read_moments(options: MomentsImport) -> Manifest:
    """The listed videos with their category as class name, whether or not their files exist.

    Raises:
        InvalidManifest: a file is missing or damaged, the categories are of no known version, or a line's category
            is none of them.
        UsageError: one of the folders does not exist.
    """
    check_folder(options.annotations, "folder of annotations")
    classes = _read_categories(options.annotations / "moments_categories.txt")
    known = dict.fromkeys(classes)
    files = VideoFiles(options.videos)
    videos: list[Video] = []
    for split, (name, folder) in _LISTS.items():
        list_file = options.annotations / name
        if not list_file.is_file():
            continue
        for row in read_csv_rows(list_file, columns=("filename", "label", "positive", "negative")):
            file, label = row.values["filename"], row.values["label"]
            check_label(row.place, label, known)
            if not file or file.startswith("/"):
                raise InvalidManifest(f"{row.place}: the file is {file!r}; expected category/name.mp4")
            # Names are only known to be unique within a category, so the folder must fit.
            videos.append(Video(files.locate(f"{folder}/{file}", f"{split}/{file}", file), (label,), split))
    if not videos:
        raise InvalidManifest(f"{options.annotations} lists no videos; expected trainingSet.csv or validationSet.csv")
    notes = (
        *count_notes(f"Moments in Time {_VERSIONS[len(classes)]}, {len(classes)} classes", videos),
        *repeat_notes(videos),
        files.note(),
    )
    return Manifest(str(options.annotations), tuple(videos), notes, classes)


def _read_categories(file: Path) -> tuple[str, ...]:
    """The categories in the order of their numbers, which run from 0; each line is category,number."""
    places: dict[int, str] = {}
    for line, text in enumerate(read_text_lines(file), start=1):
        if not text.strip():
            continue
        name, _, number = text.strip().rpartition(",")
        if not name or not number.isdecimal():
            raise InvalidManifest(f"{file} line {line}: {text.strip()!r}; expected category,number")
        if int(number) in places or name in places.values():
            raise InvalidManifest(f"{file} line {line}: the category or number in {text.strip()!r} was given before")
        places[int(number)] = name
    if len(places) not in _VERSIONS:
        raise InvalidManifest(f"{file} has {len(places)} categories; expected 339 (v1) or 305 (v2)")
    gap = next((index for index in range(len(places)) if index not in places), None)
    if gap is not None:
        raise InvalidManifest(f"{file}: no category has the number {gap}; expected 0 to {len(places) - 1}")
    classes = tuple(places[index] for index in range(len(places)))
    if _VERSIONS[len(classes)] == "v1":
        for index, (found, official) in enumerate(zip(classes, official_labels("moments_in_time_v1"), strict=True)):
            if found != official:
                raise InvalidManifest(f"{file}: the number {index} is {found!r}; in v1 it is {official!r}")
    return classes
