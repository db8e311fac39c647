"""A scan's report comes in; the sentences, checks and counts that its page and its tables share go out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fewframes.report.text import plural
from fewframes.scan_records import ClassCount, FileScan, ScanReport

__all__ = [
    "FEW",
    "Check",
    "ClassRow",
    "bytes_text",
    "checks",
    "class_rows",
    "duration_text",
    "file_facts",
    "kinds_of_failures",
    "label_text",
    "scan_headline",
    "scan_totals",
    "split_text",
    "with_short_paths",
]

FEW = 10  # a class with fewer usable videos is pointed out


@dataclass(frozen=True)
class Check:
    """One thing that was looked for.

    Attributes:
        name: what.
        found: how often it was found.
        meaning: what follows from it, a sentence.
    """

    name: str
    found: int
    meaning: str


@dataclass(frozen=True)
class ClassRow:
    """One class over all splits.

    Attributes:
        label: the class; None for rows without a label.
        listed: rows by split, in the order of the splits.
        usable: those that can be used, by split.
    """

    label: str | None
    listed: tuple[int, ...]
    usable: tuple[int, ...]


def scan_headline(report: ScanReport) -> str:
    """The one line: how many of the listed videos can be used."""
    return f"{report.num_usable_rows:,} of {plural(report.num_rows, 'listed video')} can be used"


def scan_totals(report: ScanReport) -> str:
    """How many files, how long and how large they are together."""
    seconds = sum(file.info.duration_seconds for file in report.files if file.info is not None)
    size = sum(file.size_bytes or 0 for file in report.files)
    how = "every frame decoded" if report.decode == "full" else "each opened, not decoded"
    return f"{plural(len(report.files), 'file')} ({how}), {duration_text(seconds)}, {bytes_text(size)}"


def duration_text(seconds: float) -> str:
    """A length of time as "0.04 s", "7.9 s", "12.0 min" or "5.5 h"."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5997 else f"{seconds / 3600:,.1f} h"


def bytes_text(size: int) -> str:
    """A number of bytes as "512 bytes", "3.2 MB" or "1.1 TB", in powers of 1000."""
    if size < 1000:
        return plural(size, "byte")
    power = min(max(len(f"{size}") - 1, 3) // 3, 5)
    return f"{size / 1000**power:,.1f} {('kB', 'MB', 'GB', 'TB', 'PB')[power - 1]}"


def label_text(label: str | None) -> str:
    """A class's name, also of those without one."""
    return "(no label)" if label is None else label


def split_text(split: str | None) -> str:
    """A split's name, also of what is in none."""
    return "no split" if split is None else split


def class_rows(counts: Iterable[ClassCount]) -> tuple[tuple[str | None, ...], list[ClassRow]]:
    """The splits, and one row for each class, both in the order of the counts."""
    counts = list(counts)
    splits = tuple(dict.fromkeys(count.split for count in counts))
    cells = {(count.label, count.split): count for count in counts}
    rows = [
        ClassRow(
            label,
            tuple(cells[label, split].listed for split in splits),
            tuple(cells[label, split].usable for split in splits),
        )
        for label in dict.fromkeys(count.label for count in counts)
    ]
    return splits, rows


def with_short_paths(report: ScanReport) -> tuple[ScanReport, str]:
    """The report with the paths in its findings cut down to what tells them apart, and the folder that was cut off."""
    folders = {os.path.dirname(file.path) for file in report.files if "://" not in file.path}
    try:
        folder = os.path.commonpath(folders) if folders else ""
    except ValueError:  # some paths are absolute and some are not
        folder = ""
    if len(folder) < 2:
        return report, ""
    start = os.path.join(folder, "")

    def short(path: str) -> str:
        return path.removeprefix(start)

    def every(paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(short, paths))

    leaks = (
        replace(each, paths=every(each.paths), name=each.name if each.kind == "group" else short(each.name))
        for each in report.leaks
    )
    shortened = replace(
        report,
        failures=tuple(replace(each, path=short(each.path)) for each in report.failures),
        cut_parts=tuple(replace(each, path=short(each.path)) for each in report.cut_parts),
        duplicates=tuple(replace(each, paths=every(each.paths)) for each in report.duplicates),
        leaks=tuple(leaks),
        conflicts=tuple(replace(each, paths=every(each.paths)) for each in report.conflicts),
        repeated=tuple(replace(each, path=short(each.path)) for each in report.repeated),
    )
    return shortened, folder


def checks(report: ScanReport) -> list[Check]:
    """Everything that a scan looks for, found or not."""
    _, rows = class_rows(report.class_counts)
    labelled = [sum(row.usable) for row in rows if row.label is not None]
    unlabelled = sum(sum(row.listed) for row in rows if row.label is None)
    bad_files = [file for file in report.files if file.error is not None]
    missing = sum(file.error is not None and file.error.startswith("no such file") for file in bad_files)
    leaks = Counter(leak.kind for leak in report.leaks)
    copies = sum(len(each.paths) for each in report.duplicates)
    return [
        Check("files that are missing", missing, "no such file; not in the clean list"),
        Check("files that cannot be read", len(bad_files) - missing, "not in the clean list"),
        Check(
            "parts that begin after their file's end", len(report.failures) - len(bad_files), "not in the clean list"
        ),
        Check("parts that end after their file's end", len(report.cut_parts), "kept; cut off at the end"),
        Check("files in several splits", leaks["file"], "tests on what was trained on; in overlapping parts"),
        Check("contents in several splits", leaks["content"], "tests on copies of what was trained on"),
        Check("groups in several splits", leaks["group"], "scenes or persons of the training are tested on"),
        Check("contents with different labels", len(report.conflicts), "the same part of the same video, two truths"),
        Check("contents with copies", len(report.duplicates), f"{plural(copies, 'file')}; kept in the clean list"),
        Check("parts that are listed twice", len(report.repeated), "they count more than others; kept"),
        Check("classes without a usable video", sum(count == 0 for count in labelled), "cannot be learned"),
        Check(
            f"classes with 1 to {FEW - 1} usable videos",
            sum(0 < count < FEW for count in labelled),
            "too few to learn from, or to measure with",
        ),
        Check("rows without a label", unlabelled, "can be classified, not trained or evaluated on"),
    ]


def kinds_of_failures(report: ScanReport) -> list[tuple[str, int]]:
    """Why files and parts cannot be used, numbers left out so that like counts as like; most frequent first."""
    kinds = Counter(re.sub(r"\d[\d.,e+-]*\d|\d", "…", failure.reason) for failure in report.failures)
    return kinds.most_common()


def file_facts(files: Sequence[FileScan]) -> dict[str, int]:
    """How many files are of a kind that readers differ on."""
    infos = [file.info for file in files if file.info is not None]
    return {
        "behind an address": sum("://" in file.path for file in files if file.info is not None),
        "variable frame rate": sum(info.variable_frame_rate for info in infos),
        "stored rotated": sum(info.rotation_degrees != 0 for info in infos),
        "a single frame": sum(info.num_frames == 1 for info in infos),
    }
