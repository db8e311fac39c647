"""Measures what packing costs and saves: how far packed frames are from those that are read directly, size and time.

    python benchmarks/pack_parity.py                               the first 100 test videos of $FEWFRAMES_DATA/ucf6
    python benchmarks/pack_parity.py --checkpoint runs/small/best  also, how often a model says the same of both

Differences are taken after `preprocess`, as a model sees them, in steps of 1/255. Times are ratios of sums over the
same videos, read in turns in one thread with warm caches: direct reading over reading from the pack.
Writes benchmarks/results/DATE-pack-parity.json and prints it as one line.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest
from fewframes.data.pack import pack
from fewframes.data.pack_clip import PackOptions
from fewframes.predict import Classifier
from fewframes.records import Preprocess, Sampling
from fewframes.report.serial import write_atomically
from fewframes.video.clip import load_frames
from fewframes.video.transforms import preprocess

ROOT = Path(__file__).resolve().parent.parent
VIEWS = {
    "96 of 110": Preprocess(crop=(96, 96), resize_short=110),
    "224 of 256": Preprocess(crop=(224, 224), resize_short=256),
}
SETTINGS = [
    *(
        PackOptions(short_side=None, quality=quality, subsampling=colour)
        for quality in (90, 95, 100)
        for colour in ("4:2:0", "4:4:4")
    ),
    PackOptions(short_side=110, quality=95),
    PackOptions(short_side=110, quality=100),
]
TIMED_ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100, help="how many of the test videos of split 1")
    parser.add_argument("--checkpoint", default="", help="a checkpoint folder; as many frames as it takes are packed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = Path(os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data")) / "ucf6" / "manifest.csv"
    if not source.exists():
        raise SystemExit(f"no ucf6/manifest.csv in $FEWFRAMES_DATA ({source.parent.parent})")
    listed = read_manifest(source, split_column="split1").only("test")
    listed = replace(listed, videos=listed.videos[: options.videos])
    classifier = Classifier.load(options.checkpoint) if options.checkpoint else None
    count = 16 if classifier is None else classifier.info.sampling.num_frames
    settings = [replace(each, frames=count) for each in SETTINGS]
    result: dict[str, object] = {
        "command": " ".join(["python", "benchmarks/pack_parity.py", *sys.argv[1:]]),
        "machine": machine(),
        "videos": len(listed.videos),
        "frames": count,
        "kib_a_video": round(
            sum(Path(each.path).stat().st_size for each in listed.videos) / 1024 / len(listed.videos), 1
        ),
        "settings": [measure(listed, chosen, classifier) for chosen in settings],
    }
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-pack-parity.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def machine() -> dict[str, object]:
    packages = ("fewframes", "torch", "av", "numpy", "pillow")
    cpuinfo = Path("/proc/cpuinfo")
    rows = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [row.split(":", 1)[1].strip() for row in rows if row.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def measure(listed: Manifest, options: PackOptions, classifier: Classifier | None) -> dict[str, object]:
    sampling = Sampling("uniform", options.frames)
    with tempfile.TemporaryDirectory() as folder:
        done = pack(listed, Path(folder), options, workers=0)
        if done.failures:
            raise SystemExit(f"{len(done.failures)} videos failed, such as {done.failures[0]}")
        packed = read_manifest(done.manifest)
        row: dict[str, object] = {
            "quality": options.quality,
            "subsampling": options.subsampling,
            "short_side": options.short_side,
            "kib_a_clip": round(done.size_bytes / 1024 / done.num_packed, 1),
            "difference": difference(listed, packed, sampling),
            "direct_over_packed_time": round(time_ratio(listed, packed, sampling), 2),
        }
        if classifier is not None:
            row["model"] = agreement(listed, packed, classifier)
    print(json.dumps(row), file=sys.stderr)
    return row


def difference(listed: Manifest, packed: Manifest, sampling: Sampling) -> dict[str, dict[str, float]]:
    """Mean and largest difference of a value, and the mean over videos of the largest, in steps of 1/255."""
    means: dict[str, list[float]] = {name: [] for name in VIEWS}
    largest: dict[str, list[float]] = {name: [] for name in VIEWS}
    for direct, again in zip(listed.videos, packed.videos, strict=True):
        before, after = load_frames(direct.path, sampling), load_frames(again.path, sampling)
        if not torch.equal(before.seconds, after.seconds):
            raise SystemExit(f"{direct.path}: the packed frames are not those that are read directly")
        for name, view in VIEWS.items():
            off = (preprocess(before.pixels, view) - preprocess(after.pixels, view)).abs() * 255
            means[name].append(float(off.mean()))
            largest[name].append(float(off.max()))
    return {
        name: {
            "mean": round(sum(means[name]) / len(means[name]), 3),
            "mean_of_largest": round(sum(largest[name]) / len(largest[name]), 1),
            "largest": round(max(largest[name]), 1),
        }
        for name in VIEWS
    }


def time_ratio(listed: Manifest, packed: Manifest, sampling: Sampling) -> float:
    spent = [0.0, 0.0]
    for _ in range(TIMED_ROUNDS):
        for pair in zip(listed.videos, packed.videos, strict=True):
            for place, video in enumerate(pair):
                start = time.perf_counter()
                load_frames(video.path, sampling)
                spent[place] += time.perf_counter() - start
    return spent[0] / spent[1]


def agreement(listed: Manifest, packed: Manifest, classifier: Classifier) -> dict[str, float]:
    """How often the most likely class is the same, and the accuracies, in percent."""
    same = right = right_packed = 0
    for direct, again in zip(listed.videos, packed.videos, strict=True):
        before = classifier.predict(direct.path, top_k=1).labels[0]
        after = classifier.predict(again.path, top_k=1).labels[0]
        same += before == after
        right += before == direct.label
        right_packed += after == direct.label
    total = len(listed.videos) / 100
    return {"same_top1": same / total, "top1": right / total, "top1_packed": right_packed / total}


if __name__ == "__main__":
    main()
