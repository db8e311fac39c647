"""Scans of data sets made up for the tests of their page, tables and plots, with awkward names."""

from __future__ import annotations

from pathlib import Path

from fewframes.data.listing import file_keys
from fewframes.data.manifest import Manifest, Video
from fewframes.data.scan_findings import find_all
from fewframes.records import VideoInfo
from fewframes.scan_records import FileScan, ScanReport

EVIL = "x\"><script>alert(1)</script>'& übung 漢字 \udcff\x1b$a$"


def make_scan(num_classes: int = 3, videos_per_class: int = 12, *, faults: bool = True) -> ScanReport:
    """Videos of all lengths and sizes, by class in two splits; faults of every kind in the first classes."""
    videos, scans = [], {}
    for number in range(num_classes * videos_per_class):
        label = f"class {number % num_classes}" if number % num_classes else EVIL
        split = "test" if number % 4 == 0 else "train"
        videos.append(Video(Path(f"/data/set/{label}/clip_{number}.mp4"), (label,), split, f"g{number}"))
    if faults:
        first, second, third = videos[0], videos[2], videos[10]
        videos = [
            *videos,
            Video(first.path, ("class 1",), "train", "g1"),
            Video(second.path, second.labels, second.split),
            Video(third.path, third.labels, third.split, start=5.0, end=999.0),
            Video(third.path, third.labels, third.split, start=777.0),
            Video("s3://host/remote.mp4", (), "val", "g2"),
        ]
    manifest = Manifest(f"/data/{EVIL}.csv", tuple(videos), (f"a note {EVIL}",), ("never seen", *labels_of(videos)))
    keys = file_keys(video.path for video in videos)
    for number, (video, key) in enumerate(dict(zip(videos, keys, strict=True)).items()):
        if key in scans:
            continue
        seconds = 0.5 * 1.3 ** (number % 20)
        codec, rate = ("h264", 25.0) if number % 3 else ("vp9", 29.97)
        info = VideoInfo(
            str(video.path), round(seconds * rate), rate, seconds, 320 + number % 11, 240, codec, False, 90
        )
        error = None
        if faults and number % 5 == 3:
            error = f"no such file {EVIL}" if number == 3 else f"decodes only up to frame {number} of {number + 90}"
        digest = "aa" if faults and number in (0, 5) else None
        scans[key] = FileScan(str(video.path), 1, 1_000_000 + number, None if error else info, None, digest, error)
    return find_all(manifest, keys, scans, "probe")


def labels_of(videos: list[Video]) -> tuple[str, ...]:
    """All labels, sorted."""
    return tuple(sorted({label for video in videos for label in video.labels}))
