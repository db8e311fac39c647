"""A list and what is known of its files come in; duplicates, leaks, conflicts, bad parts and counts go out."""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fewframes.data.listing import file_keys
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import UsageError
from fewframes.records import Failure, part_text
from fewframes.scan_records import (
    ClassCount,
    DecodeMode,
    Duplicate,
    FileScan,
    LabelConflict,
    Leak,
    RepeatedRow,
    ScanReport,
)

__all__ = ["count_classes", "find_all", "ordered_splits", "usable_rows"]

_Row = tuple[Video, str]  # a row of the list, and the key of its content or of its file
_KNOWN_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")


def find_all(manifest: Manifest, keys: Sequence[str], files: Mapping[str, FileScan], decode: DecodeMode) -> ScanReport:
    """Put together what a scan found.

    Args:
        manifest: the list.
        keys: the file of each row.
        files: what is known of each file, in the list's order.
        decode: how far files were decoded.
    """
    usable = [_is_usable(video, files[key]) for video, key in zip(manifest.videos, keys, strict=True)]
    contents = [files[key].sha256 or key for key in keys]
    rows = list(zip(manifest.videos, contents, strict=True))
    failures, cut = _failures(manifest, keys, files)
    return ScanReport(
        source=manifest.source,
        list_sha256=manifest.sha256,
        decode=decode,
        num_rows=len(keys),
        num_usable_rows=sum(usable),
        files=tuple(files.values()),
        failures=failures,
        cut_parts=cut,
        duplicates=_duplicates(files.values()),
        leaks=(*_content_leaks(rows, keys), *_group_leaks(manifest.videos)),
        conflicts=_conflicts(rows),
        repeated=_repeated(manifest.videos, keys),
        class_counts=count_classes(manifest, usable),
        notes=manifest.notes,
    )


def usable_rows(manifest: Manifest, report: ScanReport) -> Manifest:
    """The rows of a list whose file can be read and whose part exists; copies are kept.

    Raises:
        UsageError: the scan is of another list.
    """
    if manifest.sha256 != report.list_sha256:
        raise UsageError(f"the scan of {report.source} is not of {manifest.source} as it is now; scan it again")
    files = dict(zip(file_keys(file.path for file in report.files), report.files, strict=True))
    keys = file_keys(video.path for video in manifest.videos)
    kept = (video for video, key in zip(manifest.videos, keys, strict=True) if _is_usable(video, files[key]))
    return replace(manifest, videos=tuple(kept))


def count_classes(manifest: Manifest, usable: Sequence[bool]) -> tuple[ClassCount, ...]:
    """A count for each class and split, also where there is none; a row counts for each of its labels."""
    listed: Counter[tuple[str | None, str | None]] = Counter()
    good: Counter[tuple[str | None, str | None]] = Counter()
    for video, is_usable in zip(manifest.videos, usable, strict=True):
        for label in video.labels or (None,):
            listed[label, video.split] += 1
            good[label, video.split] += is_usable
    labels: list[str | None] = [*manifest.labels]
    if any(not video.labels for video in manifest.videos):
        labels.append(None)
    splits = ordered_splits(video.split for video in manifest.videos)
    return tuple(
        ClassCount(label, split, listed[label, split], good[label, split]) for label in labels for split in splits
    )


def ordered_splits(splits: Iterable[str | None]) -> list[str | None]:
    """Each split once: training, validation, test, then others by name, and at last None for rows of no split."""

    def place(split: str | None) -> tuple[int, str]:
        if split is None:
            return len(_KNOWN_SPLITS) + 1, ""
        return _KNOWN_SPLITS.index(split) if split in _KNOWN_SPLITS else len(_KNOWN_SPLITS), split

    return sorted(set(splits), key=place)


def _is_usable(video: Video, file: FileScan) -> bool:
    if file.error is not None or file.info is None:
        return False
    return video.start is None or video.start < file.info.duration_seconds


def _failures(
    manifest: Manifest, keys: Sequence[str], files: Mapping[str, FileScan]
) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
    """What cannot be used, and the parts that are cut off at their file's end; in the list's order."""
    failures: dict[Failure, None] = {}
    cut: dict[Failure, None] = {}
    for video, key in zip(manifest.videos, keys, strict=True):
        file = files[key]
        if file.error is not None:
            failures[Failure(file.path, file.error)] = None
        elif file.info is not None:
            info, part = file.info, part_text(video.start, video.end)
            if not _is_usable(video, file):
                reason = f"the part {part} lies beyond its end, {info.duration_seconds:.6g} s; correct the list"
                failures[Failure(file.path, reason, video.start, video.end)] = None
            # Lists round: an end within one frame of the video's is the video's.
            elif video.end is not None and video.end > info.duration_seconds + 1 / info.fps:
                reason = f"the part {part} is cut off at its end, {info.duration_seconds:.6g} s"
                cut[Failure(file.path, reason, video.start, video.end)] = None
    return tuple(failures), tuple(cut)


def _duplicates(files: Iterable[FileScan]) -> tuple[Duplicate, ...]:
    same: dict[str, list[FileScan]] = defaultdict(list)
    for file in files:
        if file.sha256 is not None:
            same[file.sha256].append(file)
    found = (
        Duplicate(digest, copies[0].size_bytes or 0, tuple(sorted(copy.path for copy in copies)))
        for digest, copies in same.items()
        if len(copies) > 1
    )
    return tuple(sorted(found, key=lambda each: each.paths))


def _content_leaks(rows: Sequence[_Row], keys: Sequence[str]) -> Iterator[Leak]:
    """Content of which two splits have overlapping parts."""
    by_content: dict[str, list[_Row]] = defaultdict(list)
    for (video, content), key in zip(rows, keys, strict=True):
        if video.split is not None:
            by_content[content].append((video, key))
    for parts in by_content.values():
        if torn := _overlapping(parts):
            paths = tuple(sorted({str(video.path) for video, _ in torn}))
            splits = tuple(sorted({str(video.split) for video, _ in torn}))
            yield Leak("file" if len({key for _, key in torn}) == 1 else "content", paths[0], splits, paths)


def _overlapping(parts: Sequence[_Row]) -> list[_Row]:
    """Those parts of one content that overlap a part of another split."""
    spans = [_span(video) for video, _ in parts]
    by_split: dict[str | None, list[tuple[float, float]]] = defaultdict(list)
    for (video, _), span in zip(parts, spans, strict=True):
        by_split[video.split].append(span)
    if len(by_split) < 2:
        return []
    within_split = {split: _overlap_counter(each) for split, each in by_split.items()}
    within_all = _overlap_counter(spans)
    return [
        (video, key)
        for (video, key), span in zip(parts, spans, strict=True)
        if within_all(span) > within_split[video.split](span)
    ]


def _overlap_counter(spans: Sequence[tuple[float, float]]) -> Callable[[tuple[float, float]], int]:
    """How many of these spans a given one overlaps: those that begin before its end, less those that end before it."""
    starts, ends = sorted(start for start, _ in spans), sorted(end for _, end in spans)
    return lambda span: bisect.bisect_left(starts, span[1]) - bisect.bisect_right(ends, span[0])


def _span(video: Video) -> tuple[float, float]:
    return 0.0 if video.start is None else video.start, math.inf if video.end is None else video.end


def _group_leaks(videos: Sequence[Video]) -> Iterator[Leak]:
    members: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for video in videos:
        if video.group is not None and video.split is not None:
            members[video.group][video.split].add(str(video.path))
    for group in sorted(members):
        splits = members[group]
        if len(splits) > 1:
            yield Leak("group", group, tuple(sorted(splits)), tuple(sorted(set().union(*splits.values()))))


def _conflicts(rows: Iterable[_Row]) -> tuple[LabelConflict, ...]:
    """The same part of the same content under different labels; rows without a label contradict nothing."""
    said: dict[tuple[str, float | None, float | None], list[Video]] = defaultdict(list)
    for video, content in rows:
        if video.labels:
            said[content, video.start, video.end].append(video)
    found = []
    for (_, start, end), videos in said.items():
        labels = {tuple(sorted(video.labels)) for video in videos}
        if len(labels) > 1:
            paths = tuple(sorted({str(video.path) for video in videos}))
            found.append(LabelConflict(tuple(sorted(labels)), paths, start, end))
    return tuple(found)


def _repeated(videos: Sequence[Video], keys: Sequence[str]) -> tuple[RepeatedRow, ...]:
    first: dict[tuple[str, float | None, float | None], Video] = {}
    counts: Counter[tuple[str, float | None, float | None]] = Counter()
    for video, key in zip(videos, keys, strict=True):
        part = key, video.start, video.end
        first.setdefault(part, video)
        counts[part] += 1
    return tuple(
        RepeatedRow(str(first[part].path), part[1], part[2], count) for part, count in counts.items() if count > 1
    )
