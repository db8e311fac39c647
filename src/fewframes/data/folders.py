"""A folder comes in; the videos in its class folders, or all its files, go out."""

from __future__ import annotations

import os
from pathlib import Path

from fewframes.data.manifest import Manifest, Video

__all__ = ["VIDEO_SUFFIXES", "read_class_folders", "visible_files"]

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".webm", ".wmv",
))
# fmt: on
_SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test")


def visible_files(root: Path) -> list[Path]:
    """All files below a folder, sorted; linked folders are entered, hidden files and folders are not."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        if os.path.realpath(folder) in map(os.path.realpath, Path(folder).absolute().parents):
            folders.clear()  # a link to a folder that it lies in
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found)


def read_class_folders(root: Path) -> Manifest:
    """The videos of a folder of class folders, optionally below train, val and test, sorted by path.

    Classes are sorted by name; the order of the folders on disk says nothing.
    """
    top = [each for each in sorted(root.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    with_splits = bool(top) and all(each.name in _SPLIT_FOLDERS for each in top)
    depth, videos, others = 2 if with_splits else 1, [], 0
    for file in visible_files(root):
        inside = file.relative_to(root).parts
        if file.suffix.lower() not in VIDEO_SUFFIXES or len(inside) <= depth:
            others += 1
            continue
        videos.append(Video(file, (inside[depth - 1],), inside[0] if with_splits else None))
    notes = (f"{others} files in {root} are no videos in class folders and were passed over",) if others else ()
    return Manifest(str(root), tuple(videos), notes)
