"""What a list holds, counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.data.listing import file_keys
from fewframes.data.manifest import Manifest, Video
from fewframes.data.scan_findings import find_all
from fewframes.data.stats import count_list, spread
from fewframes.errors import UsageError
from fewframes.records import VideoInfo
from fewframes.scan_records import FileScan, ScanReport, Spread

VIDEOS = (
    Video(Path("/v/a.mp4"), ("x",), "train", "g1", end=4.0),
    Video(Path("/v/a.mp4"), ("x", "y"), "train", "g1", start=4.0, weight=2.0),
    Video(Path("/v/b.mp4"), ("x",), "train", "g2"),
    Video(Path("/v/c.mp4"), ("y",), "test"),
    Video("https://x/d.mp4", (), "test", "g3", start=1.0, end=99.0),
)
MANIFEST = Manifest("list.csv", VIDEOS, ("a note",), ("y", "x", "z"))


def scan_of(manifest: Manifest, **seconds: float) -> ScanReport:
    """A scan that knows the lengths of these files, by their names without endings, and of no others."""
    keys = file_keys(video.path for video in manifest.videos)
    files = {}
    for video, key in zip(manifest.videos, keys, strict=True):
        length = seconds.get(Path(video.path).stem)
        info = None if length is None else VideoInfo("x", 10, 10 / length, length, 8, 6, "h264", False, 0)
        files[key] = FileScan(str(video.path), 1, info=info, error=None if info else "gone")
    return find_all(manifest, keys, files, "probe")


def test_by_hand() -> None:
    stats = count_list(MANIFEST)
    assert (stats.source, stats.notes, stats.classes) == ("list.csv", ("a note",), ("y", "x", "z"))
    assert (stats.num_rows, stats.num_files, stats.num_remote) == (5, 4, 1)
    assert stats.splits == (("train", 3), ("test", 2))
    assert (stats.num_groups, stats.rows_without_group) == (3, 1)
    assert stats.group_rows is not None
    assert (stats.group_rows.minimum, stats.group_rows.maximum) == (1, 2)
    assert stats.labels_per_row == ((0, 1), (1, 3), (2, 1))
    assert stats.weights is not None
    assert (stats.weights.total, stats.weights.maximum) == (6.0, 2.0)
    assert stats.num_parts == 3
    assert (stats.parts_per_file.maximum, stats.parts_per_file.mean) == (2.0, 1.25)
    assert (stats.imbalance, stats.imbalance_split) == (3.0, "train")
    assert stats.empty_classes == ("z",)
    assert (stats.seconds, stats.unknown_seconds) == (None, 0)
    counts = {(each.label, each.split): each.listed for each in stats.class_counts}
    assert counts["x", "train"] == 3
    assert counts[None, "test"] == 1
    assert counts["z", "test"] == 0


def test_lengths_are_those_of_the_parts() -> None:
    stats = count_list(MANIFEST, scan_of(MANIFEST, a=10.0, b=3.0, d=6.0))
    # 4 of a, its other 6, the whole of b, and of d what there is of it from 1 s on; c is not known.
    assert stats.seconds is not None
    assert (stats.seconds.count, stats.seconds.total) == (4, 4.0 + 6.0 + 3.0 + 5.0)
    assert (stats.seconds.minimum, stats.seconds.maximum, stats.seconds.median) == (3.0, 6.0, 4.5)
    assert stats.unknown_seconds == 1
    beyond = Manifest("m", (Video(Path("/v/a.mp4"), ("x",), start=20.0), VIDEOS[2]))
    assert count_list(beyond, scan_of(beyond, a=10.0, b=3.0)).unknown_seconds == 1
    with pytest.raises(UsageError, match=r"the scan of other knows the length of no file of list\.csv; give the scan"):
        other = Manifest("other", (Video(Path("/w/a.mp4"), ("x",)),))
        count_list(MANIFEST, scan_of(other, a=1.0))


def test_a_plain_list() -> None:
    stats = count_list(Manifest("m", tuple(Video(Path(f"{n}.mp4"), ("ab"[n > 2],)) for n in range(5))))
    assert (stats.num_groups, stats.group_rows, stats.rows_without_group) == (0, None, 5)
    assert (stats.weights, stats.num_parts, stats.labels_per_row) == (None, 0, ((1, 5),))
    assert (stats.imbalance, stats.imbalance_split, stats.empty_classes) == (1.5, None, ())
    assert stats.splits == ((None, 5),)
    unlabelled = count_list(Manifest("m", (Video(Path("a.mp4"), ()),)))
    assert (unlabelled.classes, unlabelled.imbalance) == ((), None)


def test_spread_by_hand() -> None:
    assert spread([float(number) for number in range(101)]) == Spread(101, 5050.0, 0.0, 5.0, 50.0, 50.0, 95.0, 100.0)
    assert spread([3]) == Spread(1, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0)
