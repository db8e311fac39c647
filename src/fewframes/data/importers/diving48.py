"""The JSON files of Diving48, version 2, and a folder of videos come in; a list of labelled videos goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewframes.classes import official_labels
from fewframes.data.importers.files import VideoFiles, check_folder, count_notes, group_notes, read_json
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest

__all__ = ["Diving48Import", "read_diving48"]

_SPLITS = ("train", "test")
_PUBLISHED = {"train": 15_027, "test": 1_970}


@dataclass(frozen=True)
class Diving48Import:
    """Read Diving48, version 2: Diving48_V2_train.json and Diving48_V2_test.json, or one of them.

    Version 1 is refused, because many of its labels were wrong. The clips cut from one competition, which the file
    name begins with, are a group. A clip is a sample as a whole: start_frame and end_frame are not used.

    Example: fewframes data import diving48 rgb annotations --output diving48.csv
    """

    videos: Path
    """Folder of the videos, {vid_name}.mp4."""
    annotations: Path
    """Folder of the JSON files; if it holds Diving48_vocab.json, that must have the official order."""


def read_diving48(options: Diving48Import) -> Manifest:
    """The listed videos with their official class names, whether or not their files exist.

    Raises:
        InvalidManifest: a file is missing, damaged or of version 1, a label is no number from 0 to 47, a video is
            listed twice, or the vocabulary has another order than the official one.
        UsageError: one of the folders does not exist.
    """
    check_folder(options.annotations, "folder of annotations")
    classes = official_labels("diving48")
    vocabulary = options.annotations / "Diving48_vocab.json"
    notes = _check_vocabulary(vocabulary, classes)
    files = VideoFiles(options.videos)
    seen: dict[str, str] = {}
    videos: list[Video] = []
    for split in _SPLITS:
        file = options.annotations / f"Diving48_V2_{split}.json"
        old = options.annotations / f"Diving48_{split}.json"
        if not file.is_file() and old.is_file():
            raise InvalidManifest(f"{old} is of version 1, whose labels were wrong in many places; get {file.name}")
        if not file.is_file():
            continue
        entries = read_json(file)
        if not isinstance(entries, list):
            raise InvalidManifest(f"{file}: expected a list of entries with vid_name and label")
        for number, entry in enumerate(entries, start=1):
            place = f"{file} entry {number}"
            name, label = _read_entry(place, entry, classes)
            if name in seen:
                raise InvalidManifest(f"{place}: {name} was listed before, at {seen[name]}; expected each video once")
            seen[name] = place
            source = name.rpartition("_")[0]
            videos.append(Video(files.locate(f"{name}.mp4"), (label,), split, source or None))
    if not videos:
        raise InvalidManifest(
            f"{options.annotations} lists no videos; expected Diving48_V2_train.json or Diving48_V2_test.json"
        )
    listed = {video.split for video in videos}
    published = {split: (count,) for split, count in _PUBLISHED.items() if split in listed}
    counts = count_notes("Diving48 version 2", videos, published)
    notes = (*notes, *counts, *group_notes(videos, "competitions"), files.note())
    return Manifest(str(options.annotations), tuple(videos), notes, classes)


def _check_vocabulary(file: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Raise unless the parts of each dive, such as ["Back", "15som", "05Twis", "FREE"], make the official name."""
    if not file.is_file():
        return (f"there is no {file}: the official class numbers were taken",)
    found = read_json(file)
    if not isinstance(found, list) or len(found) != len(classes):
        raise InvalidManifest(f"{file}: expected a list of {len(classes)} dives")
    for number, (parts, official) in enumerate(zip(found, classes, strict=True)):
        name = "+".join(map(str, parts)) if isinstance(parts, list) else str(parts)
        if name != official:
            raise InvalidManifest(f"{file}: the number {number} is {name!r}; expected {official!r}")
    return ()


def _read_entry(place: str, entry: object, classes: tuple[str, ...]) -> tuple[str, str]:
    """Name and class of an entry such as {"vid_name": "_8Vy3dlHg2w_00000", "label": 12, "end_frame": 93}."""
    name = entry.get("vid_name") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(name, str) or not name:
        raise InvalidManifest(f"{place}: no vid_name in {str(entry)[:80]}; expected an object with vid_name and label")
    label = entry.get("label")
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(classes):
        raise InvalidManifest(
            f"{place}: {name} has the label {label!r}; expected a number from 0 to {len(classes) - 1}"
        )
    return name, classes[label]
