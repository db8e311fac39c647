"""The frozen records of a data set's scan and statistics; plain values in, plain values out, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fewframes.records import Failure, VideoInfo

__all__ = [
    "ClassCount",
    "DecodeMode",
    "Duplicate",
    "FileScan",
    "LabelConflict",
    "Leak",
    "ManifestStats",
    "RepeatedRow",
    "ScanReport",
    "Spread",
]

DecodeMode = Literal["probe", "full"]


@dataclass(frozen=True)
class FileScan:
    """What is known of one listed file.

    Attributes:
        path: as the list names it.
        num_rows: how many rows of the list are cut from it.
        size_bytes: length of the file; None if it is not there or the source does not tell.
        info: what opening it tells; None if it cannot be opened.
        decoded_frames: how many frames, from the first on, can be decoded; None if they were not decoded.
        sha256: digest of the content; only of files that share their size with another one.
        error: why it cannot be used, one line; None if it can.
    """

    path: str
    num_rows: int
    size_bytes: int | None = None
    info: VideoInfo | None = None
    decoded_frames: int | None = None
    sha256: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Duplicate:
    """Files with the same content.

    Attributes:
        sha256: of that content.
        size_bytes: of each file.
        paths: two or more, sorted.
    """

    sha256: str
    size_bytes: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Leak:
    """The same thing in several splits.

    Attributes:
        kind: "file" (one file, in overlapping parts), "content" (files with the same content) or "group".
        name: the file, the first of the files, or the group.
        splits: two or more, sorted.
        paths: the files that carry it over, sorted.
    """

    kind: Literal["file", "content", "group"]
    name: str
    splits: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class LabelConflict:
    """The same part of the same content under different labels.

    Attributes:
        labels: the label sets that occur, sorted; two or more.
        paths: the files, sorted.
        start: seconds; None for the file's start.
        end: seconds; None for the file's end.
    """

    labels: tuple[tuple[str, ...], ...]
    paths: tuple[str, ...]
    start: float | None
    end: float | None


@dataclass(frozen=True)
class RepeatedRow:
    """A part of a file that is listed more than once.

    Attributes:
        path: the file.
        start: seconds; None for the file's start.
        end: seconds; None for the file's end.
        count: how many rows list it, >= 2.
    """

    path: str
    start: float | None
    end: float | None
    count: int


@dataclass(frozen=True)
class ClassCount:
    """The rows of one class in one split.

    Attributes:
        label: the class; None for rows without a label.
        split: None for rows of no split.
        listed: rows.
        usable: rows whose file can be read and whose part exists.
    """

    label: str | None
    split: str | None
    listed: int
    usable: int


@dataclass(frozen=True)
class ScanReport:
    """What a scan of a list found.

    Attributes:
        source: the list or folder.
        list_sha256: digest of the list, `Manifest.sha256`.
        decode: "probe" (each file was opened) or "full" (every frame was decoded, too).
        num_rows: rows of the list.
        num_usable_rows: rows whose file can be read and whose part exists.
        files: each listed file once, in the list's order.
        failures: each file that cannot be used and each part that does not exist, and why.
        cut_parts: parts that exist but reach beyond their file's end, where they are cut off.
        duplicates: files with the same content.
        leaks: what is in several splits.
        conflicts: what is listed under different labels.
        repeated: what is listed more than once.
        class_counts: a record for each class and split, also where none is listed; classes in label-index order.
        notes: what was passed over while reading the list, and what could not be checked.
    """

    source: str
    list_sha256: str
    decode: DecodeMode
    num_rows: int
    num_usable_rows: int
    files: tuple[FileScan, ...]
    failures: tuple[Failure, ...]
    cut_parts: tuple[Failure, ...]
    duplicates: tuple[Duplicate, ...]
    leaks: tuple[Leak, ...]
    conflicts: tuple[LabelConflict, ...]
    repeated: tuple[RepeatedRow, ...]
    class_counts: tuple[ClassCount, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """How a number is distributed.

    Attributes:
        count: how many values.
        total: their sum.
        minimum: the smallest.
        p5: 5 % are below.
        median: half are below.
        mean: average.
        p95: 95 % are below.
        maximum: the largest.
    """

    count: int
    total: float
    minimum: float
    p5: float
    median: float
    mean: float
    p95: float
    maximum: float


@dataclass(frozen=True)
class ManifestStats:
    """What a list holds, counted.

    Attributes:
        source: the list or folder.
        num_rows: rows.
        num_files: distinct files.
        num_remote: of these, those behind an address.
        classes: class names in label-index order.
        class_counts: a record for each class and split, also where none is listed; without a scan `usable` is `listed`.
        splits: (split, rows), None for rows of no split; in the order training, validation, test, others by name.
        num_groups: distinct groups; 0 if the list names none.
        rows_without_group: rows.
        group_rows: rows of each group; None without groups.
        labels_per_row: (number of labels, rows), ascending.
        weights: of the rows; None if all are 1.
        num_parts: rows that name a start or an end.
        parts_per_file: rows of each file.
        seconds: length of each row, its part if it names one; None without a scan.
        unknown_seconds: rows whose length is not known, as their file could not be read or is not in the scan.
        imbalance: rows of the largest class over rows of the smallest that has any; None without labels.
        imbalance_split: the split that `imbalance` counts: "train" if there is one, else None for all rows.
        empty_classes: classes without a row in that split.
        notes: what was passed over while reading.
    """

    source: str
    num_rows: int
    num_files: int
    num_remote: int
    classes: tuple[str, ...]
    class_counts: tuple[ClassCount, ...]
    splits: tuple[tuple[str | None, int], ...]
    num_groups: int
    rows_without_group: int
    group_rows: Spread | None
    labels_per_row: tuple[tuple[int, int], ...]
    weights: Spread | None
    num_parts: int
    parts_per_file: Spread
    seconds: Spread | None
    unknown_seconds: int
    imbalance: float | None
    imbalance_split: str | None
    empty_classes: tuple[str, ...]
    notes: tuple[str, ...]
