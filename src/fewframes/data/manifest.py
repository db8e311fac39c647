"""Lists of labelled videos: a folder of class folders or a CSV file comes in, a checked list goes out."""

from __future__ import annotations

import csv
import hashlib
import os
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from fewframes.errors import InvalidManifest, UnknownName, UsageError

__all__ = ["VIDEO_SUFFIXES", "Manifest", "Video", "hold_out", "read_manifest", "visible_files"]

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".webm", ".wmv",
))
# fmt: on
_SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test")
_COLUMNS = ("path", "label", "split", "group")


@dataclass(frozen=True)
class Video:
    """One line of a list.

    Attributes:
        path: the file; it need not exist.
        label: its class name.
        split: such as "train" or "test"; None if the list does not say.
        group: videos of one group (a scene, a person) must not be torn apart between splits; None if unknown.
    """

    path: Path
    label: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Manifest:
    """A list of labelled videos.

    Attributes:
        source: the folder or file it was read from.
        videos: in the list's order (folders: sorted by path).
        notes: what was passed over while reading, a sentence each.
    """

    source: str
    videos: tuple[Video, ...]
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names that occur, sorted."""
        return tuple(sorted({video.label for video in self.videos}))

    @property
    def sha256(self) -> str:
        """A digest of every path, label and split, which names the exact list that a result belongs to."""
        lines = (f"{video.path}\t{video.label}\t{video.split}\n" for video in self.videos)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def only(self, split: str | None) -> Manifest:
        """The videos of one split, or all of them for None. Raises `UnknownName` if the list has no such split."""
        if split is None:
            return self
        known = sorted({video.split for video in self.videos if video.split is not None})
        if split not in known:
            if not known:
                raise UsageError(f"{self.source} has no splits, so there is no split {split!r}; leave the option out")
            raise UnknownName("split", split, known)
        return replace(self, videos=tuple(video for video in self.videos if video.split == split))

    def indices_of(self, labels: tuple[str, ...]) -> list[int]:
        """Each video's label as an index into a model's labels.

        Raises:
            InvalidManifest: a label is not one of them; the nearest one is suggested.
        """
        index = {label: number for number, label in enumerate(labels)}
        for video in self.videos:
            if video.label not in index:
                detail = UnknownName("label", video.label, labels)
                raise InvalidManifest(f"{self.source}: {video.path} has a label that the model does not know: {detail}")
        return [index[video.label] for video in self.videos]


def read_manifest(source: str | Path, *, split_column: str = "split") -> Manifest:
    """Read a list of labelled videos.

    Args:
        source: a CSV file with the columns `path,label` and optionally `split`, `group` and further columns whose names
            begin with "split" (paths are relative to the file); or a folder that holds such a manifest.csv; or a
            folder of class folders, optionally below train, val and test.
        split_column: which column of a CSV file says the split.

    Raises:
        InvalidManifest: there is no such file, it is no such list, or it is empty.
    """
    path = Path(source)
    if path.is_dir() and (path / "manifest.csv").is_file():
        path = path / "manifest.csv"
    if path.is_dir():
        manifest = _read_folder(path)
    elif path.is_file():
        manifest = _read_csv(path, split_column)
    else:
        raise InvalidManifest(f"no list of videos at {path}; expected a CSV file or a folder of class folders")
    if not manifest.videos:
        raise InvalidManifest(f"{path} lists no videos; expected path,label lines, or class folders with videos")
    return manifest


def hold_out(manifest: Manifest, fraction: float, seed: int) -> tuple[Manifest, Manifest]:
    """Part a list in two: the same share of every class, groups kept whole, the same for the same seed.

    A group stays together across classes too; so do the lines of one file. No class loses all its videos.

    Returns:
        What remains, and what was held out, each in the list's order.
    """
    groups: dict[str, list[Video]] = defaultdict(list)
    for video in manifest.videos:
        groups[f"group {video.group}" if video.group is not None else f"file {video.path}"].append(video)
    remaining = Counter(video.label for video in manifest.videos)
    wanted = {label: round(fraction * count) for label, count in remaining.items()}
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    held: set[str] = set()
    for name in names:
        taken = Counter(video.label for video in groups[name])
        wants = any(wanted[label] > 0 for label in taken)
        if wants and all(taken[label] < remaining[label] for label in taken):
            held.add(name)
            remaining.subtract(taken)
            wanted = {label: count - taken[label] for label, count in wanted.items()}
    held_videos = {id(video) for name in held for video in groups[name]}
    return (
        replace(manifest, videos=tuple(video for video in manifest.videos if id(video) not in held_videos)),
        replace(manifest, videos=tuple(video for video in manifest.videos if id(video) in held_videos)),
    )


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


def _read_csv(path: Path, split_column: str) -> Manifest:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidManifest(f"{path} is not a CSV file in UTF-8 ({error}); save it as one") from error
    except OSError as error:
        raise InvalidManifest(f"cannot read {path}: {error.strerror}; expected a CSV file in UTF-8") from error
    if not rows:
        raise InvalidManifest(f"{path} is empty; expected a header such as path,label,split")
    header = [name.strip() for name in rows[0]]
    _check_header(path, header, split_column)
    column = {name: number for number, name in enumerate(header)}
    videos = []
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise InvalidManifest(
                f"{path} line {line}: {len(row)} fields, expected {len(header)} ({','.join(header)}); "
                "put a path that holds a comma in double quotes"
            )
        value = {name: row[number].strip() or None for name, number in column.items()}
        if value["path"] is None or value["label"] is None:
            raise InvalidManifest(f"{path} line {line}: empty path or label")
        videos.append(Video(path.parent / value["path"], value["label"], value.get(split_column), value.get("group")))
    return Manifest(str(path), tuple(videos))


def _check_header(path: Path, header: list[str], split_column: str) -> None:
    for name in ("path", "label"):
        if name not in header:
            raise InvalidManifest(f"{path}: no column {name!r} in {','.join(header)}; expected path,label[,split]")
    for name in header:
        if name not in _COLUMNS and not name.startswith("split"):
            raise InvalidManifest(f"{path}: {UnknownName('column', name, _COLUMNS)}")
    if len(set(header)) != len(header):
        raise InvalidManifest(f"{path}: a column occurs twice in {','.join(header)}")
    splits = [name for name in header if name.startswith("split")]
    if split_column not in header and (splits or split_column != "split"):
        raise InvalidManifest(
            f"{path}: no column {split_column!r}; choose the split column among: {', '.join(splits) or 'none'}"
        )


def _read_folder(root: Path) -> Manifest:
    top = [each for each in sorted(root.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    with_splits = bool(top) and all(each.name in _SPLIT_FOLDERS for each in top)
    depth, videos, others = 2 if with_splits else 1, [], 0
    for file in visible_files(root):
        inside = file.relative_to(root).parts
        if file.suffix.lower() not in VIDEO_SUFFIXES or len(inside) <= depth:
            others += 1
            continue
        videos.append(Video(file, inside[depth - 1], inside[0] if with_splits else None))
    notes = (f"{others} files in {root} are no videos in class folders and were passed over",) if others else ()
    return Manifest(str(root), tuple(videos), notes)
