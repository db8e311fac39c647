"""A list, a folder of class folders or any folder of videos comes in; a `Manifest` of all its videos goes out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fewframes.data.folders import VIDEO_SUFFIXES, read_class_folders, visible_files
from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import InvalidManifest

__all__ = ["file_keys", "is_remote", "list_videos"]

_LISTS = ("manifest.csv", "manifest.jsonl", "manifest.parquet")


def list_videos(
    source: str | Path, *, split_column: str = "split", group_column: str = "group", leave_out: Path | None = None
) -> Manifest:
    """Read a list as `read_manifest` does, and folders whose videos have no class as well.

    Args:
        source: a list, or a folder. Videos in class folders have their class, others have no label.
        split_column: as for `read_manifest`.
        group_column: as for `read_manifest`.
        leave_out: a folder inside `source` whose files do not count, such as the one that results are written to.

    Raises:
        InvalidManifest: there is no such file or folder, it is no such list, or it holds no video.
    """
    root = Path(source)
    if not root.is_dir() or any((root / name).is_file() for name in _LISTS):
        return read_manifest(root, split_column=split_column, group_column=group_column)
    files = visible_files(root)
    if leave_out is not None:
        inside = os.path.join(os.path.realpath(leave_out), "")
        files = [file for file, key in zip(files, file_keys(files), strict=True) if not key.startswith(inside)]
    with_class = {video.path: video for video in read_class_folders(root).videos}
    videos = tuple(with_class.get(file) or Video(file, ()) for file in files if file.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        endings = ", ".join(sorted(VIDEO_SUFFIXES))
        raise InvalidManifest(f"{root} holds no videos; expected files that end in one of {endings}")
    notes = []
    if others := len(files) - len(videos):
        notes.append(f"files in {root} that are no videos by their names and were passed over: {others}")
    if loose := sum(not video.labels for video in videos):
        notes.append(f"videos in {root} that lie in no class folder and so have no label: {loose}")
    return Manifest(str(root), videos, tuple(notes))


def is_remote(path: Path | str) -> bool:
    """Whether this is an address instead of a path."""
    return "://" in str(path)


def file_keys(paths: Iterable[Path | str]) -> list[str]:
    """One name for each file, however the list writes its path; a link is a file of its own."""
    real: dict[Path, str] = {}
    keys = []
    for path in paths:
        if is_remote(path):
            keys.append(str(path))
            continue
        full = Path(path).absolute()
        if full.parent not in real:
            real[full.parent] = os.path.realpath(full.parent)
        keys.append(os.path.join(real[full.parent], full.name))
    return keys
