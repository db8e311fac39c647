"""Lists of labelled videos: rows come in, checked records with their classes go out."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from fewframes.errors import InvalidManifest, UnknownName, UsageError

__all__ = ["Manifest", "Video", "path_from", "path_within"]


@dataclass(frozen=True)
class Video:
    """One line of a list.

    Attributes:
        path: the file, which need not exist, or the address of a remote one.
        labels: its class names: one in most lists; several or none where classes do not exclude each other; none
            where the list does not tell, as in published test sets.
        split: such as "train" or "test"; None if the list does not say.
        group: videos of one group (a scene, a person) must not be torn apart between splits; None if unknown.
        start: only the part from here on counts, seconds from the first frame; None for the file's start.
        end: only the part before this counts, seconds; None for the file's end.
        weight: how much it counts in training, > 0.
    """

    path: Path | str
    labels: tuple[str, ...]
    split: str | None = None
    group: str | None = None
    start: float | None = None
    end: float | None = None
    weight: float = 1.0

    @property
    def label(self) -> str:
        """The one class name. Raises `InvalidManifest` if the list gives this video none, or several."""
        if len(self.labels) != 1:
            found = f"{len(self.labels)} labels ({', '.join(self.labels[:3])})" if self.labels else "no label"
            raise InvalidManifest(f"{self.path} has {found} where one is needed; list one class for each video")
        return self.labels[0]


@dataclass(frozen=True)
class Manifest:
    """A list of labelled videos.

    Attributes:
        source: the folder or file it was read from.
        videos: in the list's order (folders: sorted by path).
        notes: what was passed over while reading, a sentence each.
        classes: all class names in label-index order, where the list states them; None: those that occur, sorted.
    """

    source: str
    videos: tuple[Video, ...]
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in label-index order: those stated, or else those that occur, sorted."""
        if self.classes is not None:
            return self.classes
        return tuple(sorted({label for video in self.videos for label in video.labels}))

    @property
    def sha256(self) -> str:
        """A digest of every path, label, split and part, which names the exact list that a result belongs to."""
        return hashlib.sha256("".join(map(_digest_line, self.videos)).encode(errors="surrogatepass")).hexdigest()

    def only(self, split: str | None) -> Manifest:
        """The videos of one split, or all of them for None. Raises `UnknownName` if the list has no such split."""
        if split is None:
            return self
        known = sorted({video.split for video in self.videos if video.split is not None})
        if split not in known:
            if not known:
                raise UsageError(f"{self.source} has no splits, so there is no split {split!r}; leave the option out")
            raise UnknownName(f"split of {self.source}", split, known)
        return replace(self, videos=tuple(video for video in self.videos if video.split == split))

    def indices_of(self, labels: tuple[str, ...]) -> list[int]:
        """Each video's one label as an index into a model's labels.

        Raises:
            InvalidManifest: a label is not one of them (the nearest one is suggested), or a video has none or several.
        """
        index = {label: number for number, label in enumerate(labels)}
        for video in self.videos:
            if video.label not in index:
                detail = UnknownName("label", video.label, labels)
                raise InvalidManifest(f"{self.source}: {video.path} has a label that the model does not know: {detail}")
        return [index[video.label] for video in self.videos]


def path_from(name: str, folder: Path) -> Path | str:
    """What a list in this folder means by a name: a relative path, that of an address's tar file too, begins there."""
    member, mark, place = name.rpartition("::") if name.startswith("tar://") else ("", "", name)
    if "://" in place:
        return name
    return f"{member}::{folder / place}" if mark else folder / place


def path_within(path: Path | str, folder: str) -> str:
    """How a list in this folder, whose absolute name ends in /, writes a path; what lies elsewhere stays absolute."""
    name = str(path)
    member, mark, place = name.rpartition("::") if name.startswith("tar://") else ("", "", name)
    return member + mark + (place if "://" in place else os.path.abspath(place).removeprefix(folder))


def _digest_line(video: Video) -> str:
    part = "" if video.start is None and video.end is None else f"\t{video.start}\t{video.end}"
    weight = "" if video.weight == 1.0 else f"\tweight {video.weight}"
    return f"{video.path}\t{'|'.join(video.labels)}\t{video.split}{part}{weight}\n"
