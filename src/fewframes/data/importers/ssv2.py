"""The JSON files of Something-Something v2 and a folder of videos come in; a list of labelled videos goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fewframes.classes import official_labels
from fewframes.data.importers.files import VideoFiles, check_folder, check_label, count_notes, read_json
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest

__all__ = ["NO_FLIP_NOTE", "Ssv2Import", "read_ssv2"]

NO_FLIP_NOTE = "classes tell left from right: train without horizontal flips, or with --augment.flip-pairs"
_PUBLISHED = {"train": 168_913, "val": 24_777, "test": 27_157}
_FILES = {"train": "train", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Ssv2Import:
    """Read Something-Something v2: the labels and those of the train, validation and test files that are there.

    The splits are called train, val and test; test videos have no labels. Train without horizontal flips.

    Example: fewframes data import ssv2 20bn-something-something-v2 labels --output ssv2.csv
    """

    videos: Path
    """Folder of the videos, {id}.webm."""
    annotations: Path
    """Folder of something-something-v2-{labels,train,validation,test}.json, or of the same names without the prefix."""


def read_ssv2(options: Ssv2Import) -> Manifest:
    """The listed videos with the template as class name, whether or not their files exist.

    The class is the template without its brackets: "Pushing [something] from left to right" loses them and is looked
    up. The labels file must give every class its official number.

    Raises:
        InvalidManifest: a file is missing or damaged, a template is no class, an id is listed twice, or the labels
            file has other names or numbers than the official ones.
        UsageError: one of the folders does not exist.
    """
    check_folder(options.annotations, "folder of annotations")
    classes = official_labels("ssv2")
    known = dict.fromkeys(classes)
    _check_label_numbers(_json_file(options.annotations, "labels", needed=True), classes)
    videos: list[Video] = []
    files = VideoFiles(options.videos)
    seen: dict[str, Path] = {}
    for split, name in _FILES.items():
        file = _json_file(options.annotations, name, needed=False)
        if not file.is_file():
            continue
        entries = read_json(file)
        if not isinstance(entries, list):
            raise InvalidManifest(f"{file}: expected a list of entries with id and template")
        for number, entry in enumerate(entries, start=1):
            place = f"{file} entry {number}"
            identity, template = _read_entry(place, entry, needs_template=split != "test")
            if identity in seen:
                raise InvalidManifest(f"{place}: the id {identity} was listed before, in {seen[identity]}")
            seen[identity] = file
            label = template.replace("[", "").replace("]", "")
            if label:
                check_label(place, label, known)
            videos.append(Video(files.locate(f"{identity}.webm"), (label,) if label else (), split))
    if not videos:
        raise InvalidManifest(
            f"{options.annotations} lists no videos; expected something-something-v2-train.json, "
            "-validation.json or -test.json"
        )
    listed = {video.split for video in videos}
    published = {split: (count,) for split, count in _PUBLISHED.items() if split in listed}
    notes = (NO_FLIP_NOTE, *count_notes("Something-Something v2", videos, published), files.note())
    return Manifest(str(options.annotations), tuple(videos), notes, classes)


def _json_file(folder: Path, name: str, *, needed: bool) -> Path:
    """The file by its long or short name. Raises `InvalidManifest` if there are both, or none and one is needed."""
    names = [folder / f"something-something-v2-{name}.json", folder / f"{name}.json"]
    found = [file for file in names if file.is_file()]
    if len(found) > 1:
        raise InvalidManifest(f"{folder} has both {names[0].name} and {names[1].name}; leave only one of them there")
    if needed and not found:
        raise InvalidManifest(f"{folder} has neither {names[0].name} nor {names[1].name}; expected one of them")
    return found[0] if found else names[0]


def _check_label_numbers(file: Path, classes: tuple[str, ...]) -> None:
    """Raise unless the file maps every class, and nothing else, to its official number as a text or a number."""
    mapping = read_json(file)
    if not isinstance(mapping, Mapping):
        raise InvalidManifest(f'{file}: expected an object such as {{"{classes[0]}": "0"}}')
    for label, number in mapping.items():
        check_label(str(file), label, classes)
        if str(number) != str(classes.index(label)):
            raise InvalidManifest(f"{file}: {label!r} has the number {number}; expected {classes.index(label)}")
    missing = [label for label in classes if label not in mapping]
    if missing:
        raise InvalidManifest(f"{file} lacks {len(missing)} of {len(classes)} classes, the first is {missing[0]!r}")


def _read_entry(place: str, entry: object, *, needs_template: bool) -> tuple[str, str]:
    """Id and template of an entry; the template is empty where test videos have none."""
    identity = entry.get("id") if isinstance(entry, Mapping) else None
    if not isinstance(identity, str | int) or isinstance(identity, bool) or identity == "":
        raise InvalidManifest(f"{place}: no id in {str(entry)[:80]}; expected an object with id and template")
    template = entry.get("template", "") if isinstance(entry, Mapping) else ""
    if not isinstance(template, str) or (needs_template and not template):
        raise InvalidManifest(f"{place}: the id {identity} has no template; expected one, with [something] in brackets")
    return str(identity), template
