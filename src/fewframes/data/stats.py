"""A list of videos comes in, and a scan of it where there is one; what it holds, counted, goes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fewframes.data.listing import file_keys, is_remote
from fewframes.data.manifest import Manifest
from fewframes.data.scan_findings import count_classes, ordered_splits
from fewframes.errors import UsageError
from fewframes.scan_records import ManifestStats, ScanReport, Spread

__all__ = ["count_list", "spread"]

_TRAINING = ("train", "training")


def count_list(manifest: Manifest, scan: ScanReport | None = None) -> ManifestStats:
    """Count what a list holds; no file is opened.

    Args:
        manifest: the list.
        scan: what is known of its files, for their lengths; it may know more files, or fewer.

    Raises:
        UsageError: the scan knows none of the list's files.
    """
    videos = manifest.videos
    keys = file_keys(video.path for video in videos)
    rows_of_file = Counter(keys)
    groups = Counter(video.group for video in videos if video.group is not None)
    weights = [video.weight for video in videos]
    splits = Counter(video.split for video in videos)
    seconds = None if scan is None else _row_seconds(manifest, keys, scan)
    known = [each for each in seconds or () if each is not None]
    counted_split = next((split for split in _TRAINING if split in splits), None)
    counts = count_classes(manifest, [True] * len(videos))
    by_class: Counter[str] = Counter()
    for count in counts:
        if count.label is not None and counted_split in (None, count.split):
            by_class[count.label] += count.listed
    filled = [number for number in by_class.values() if number]
    return ManifestStats(
        source=manifest.source,
        num_rows=len(videos),
        num_files=len(rows_of_file),
        num_remote=sum(map(is_remote, rows_of_file)),
        classes=manifest.labels,
        class_counts=counts,
        splits=tuple((split, splits[split]) for split in ordered_splits(splits)),
        num_groups=len(groups),
        rows_without_group=sum(video.group is None for video in videos),
        group_rows=spread(list(groups.values())) if groups else None,
        labels_per_row=tuple(sorted(Counter(len(video.labels) for video in videos).items())),
        weights=spread(weights) if any(weight != 1 for weight in weights) else None,
        num_parts=sum(video.start is not None or video.end is not None for video in videos),
        parts_per_file=spread(list(rows_of_file.values())),
        seconds=spread(known) if known else None,
        unknown_seconds=0 if seconds is None else len(seconds) - len(known),
        imbalance=max(filled) / min(filled) if filled else None,
        imbalance_split=counted_split,
        empty_classes=tuple(label for label in manifest.labels if not by_class[label]),
        notes=manifest.notes,
    )


def spread(values: Sequence[float]) -> Spread:
    """How numbers are distributed; percentiles are interpolated linearly. Needs at least one."""
    numbers = np.asarray(values, dtype=np.float64)
    low, middle, high = (float(each) for each in np.percentile(numbers, (5, 50, 95)))
    return Spread(
        count=len(numbers),
        total=float(numbers.sum()),
        minimum=float(numbers.min()),
        p5=low,
        median=middle,
        mean=float(numbers.mean()),
        p95=high,
        maximum=float(numbers.max()),
    )


def _row_seconds(manifest: Manifest, keys: Sequence[str], scan: ScanReport) -> list[float | None]:
    """The length of each row's part; None where the scan does not tell it."""
    scanned = zip(file_keys(file.path for file in scan.files), scan.files, strict=True)
    lengths = {key: file.info.duration_seconds for key, file in scanned if file.info is not None}
    if not any(key in lengths for key in keys):
        raise UsageError(
            f"the scan of {scan.source} knows the length of no file of {manifest.source}; give the scan of this list"
        )
    seconds: list[float | None] = []
    for video, key in zip(manifest.videos, keys, strict=True):
        length = lengths.get(key)
        if length is not None:
            length = min(length, length if video.end is None else video.end) - (video.start or 0.0)
        seconds.append(length if length is not None and length > 0 else None)
    return seconds
