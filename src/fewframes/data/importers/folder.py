"""A folder of class folders comes in; its videos, under the official class names where some are given, go out."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewframes.data.folders import read_class_folders
from fewframes.data.importers.files import check_folder
from fewframes.data.importers.listing import load_class_names
from fewframes.data.manifest import Manifest
from fewframes.errors import InvalidManifest

__all__ = ["FolderImport", "match_folders", "named_after", "read_folder"]


@dataclass(frozen=True)
class FolderImport:
    """Read a folder of class folders, optionally below train, val and test.

    Example: fewframes data import folder k400 --classes kinetics400 --output k400.csv
    """

    videos: Path
    """The folder."""
    classes: str = ""
    """Class names in label-index order: an official list such as kinetics400, or a file with one name a line. Folder
    names may lack their brackets and apostrophes, or have _ for spaces. By default the folder names, sorted."""


def read_folder(options: FolderImport) -> Manifest:
    """Read class folders. With `classes`, labels are those names and stand in that order, whatever the folders' order.

    Raises:
        InvalidManifest: the folder holds no videos in class folders, or folders fit no class, or several.
        UnknownName: there are no such `classes`.
        UsageError: there is no such folder.
    """
    check_folder(options.videos, "folder of class folders")
    manifest = read_class_folders(options.videos)
    if not manifest.videos:
        raise InvalidManifest(f"{options.videos} holds no videos in class folders; expected such as walk/a.mp4")
    return named_after(manifest, options.classes) if options.classes else manifest


def named_after(manifest: Manifest, classes_source: str) -> Manifest:
    """A manifest whose labels are folder names, with class names of `load_class_names` for them, in that order.

    Notes tell how many folder names were not spelt so, which classes have no folder, and which share theirs.

    Raises:
        InvalidManifest: folders fit no class, or several.
        UnknownName: there are no such classes.
    """
    classes = load_class_names(classes_source)
    folders = Manifest("", manifest.videos).labels
    try:
        names = match_folders(folders, classes)
    except InvalidManifest as error:
        raise InvalidManifest(f"{manifest.source}: {error}") from error
    notes = list(manifest.notes)
    renamed = [folder for folder in folders if names[folder] != folder]
    if renamed:
        example = f"{renamed[0]!r} for {names[renamed[0]]!r}"
        notes.append(f"{len(renamed):,} folder names were read as official class names, such as {example}")
    of_class = {name: [folder for folder in folders if names[folder] == name] for name in classes}
    absent = [name for name in classes if not of_class[name]]
    if absent:
        notes.append(f"{len(absent):,} of {len(classes):,} classes have no folder, the first is {absent[0]!r}")
    notes += [
        f"the folders {' and '.join(map(repr, same))} are one class" for same in of_class.values() if len(same) > 1
    ]
    videos = tuple(
        replace(video, labels=tuple(dict.fromkeys(names[label] for label in video.labels))) for video in manifest.videos
    )
    return Manifest(manifest.source, videos, tuple(notes), classes)


def match_folders(folders: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """The class that each folder name stands for.

    Letter for letter first; then without brackets, quotes and commas and with _, - and spaces alike, as torchvision,
    MMAction2 and download scripts name folders; then without regard to case.

    Raises:
        InvalidManifest: names every folder that fits no class, or more than one.
    """
    rules: tuple[Callable[[str], str], ...] = (lambda name: name, _plain, lambda name: _plain(name).casefold())
    tables: list[dict[str, list[str]]] = []
    for rule in rules:
        table: dict[str, list[str]] = defaultdict(list)
        for name in classes:
            table[rule(name)].append(name)
        tables.append(table)
    found: dict[str, str] = {}
    wrong: list[str] = []
    for folder in folders:
        fits = next(filter(None, (table.get(rule(folder)) for rule, table in zip(rules, tables, strict=True))), [])
        if len(fits) == 1:
            found[folder] = fits[0]
        else:
            near = fits or difflib.get_close_matches(folder, classes, n=1)
            wrong.append(f"{folder!r} ({'either of' if fits else 'near'} {near})" if near else repr(folder))
    if wrong:
        raise InvalidManifest(
            f"{len(wrong)} folders are none of the {len(classes)} classes, or not clearly one: {', '.join(wrong)}; "
            "rename or remove them, or choose other classes"
        )
    return found


def _plain(name: str) -> str:
    kept = re.sub(r"""[()\[\]{}'"\u2019`,.!?]""", "", name)
    return re.sub(r"[\s_/\-]+", "_", kept).strip("_")
