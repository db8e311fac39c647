"""Measures the training loader: every video exactly once, no hang, memory that does not grow.

    python benchmarks/loader.py                              4 workers, 2,000 clips, worlds of 1, 2 and 3 processes
    python benchmarks/loader.py --clips 200 --worlds 1       less of it

Reads $FEWFRAMES_DATA/ucf6 (six classes of UCF101), repeated until there are enough clips. Each process of a world is a
process of its own with its own workers, and all of them run side by side, as under torchrun. A process that has not
ended after --patience seconds counts as a hang. Resident memory is the proportional share (PSS) of each worker, which
counts what it shares with the fork server once.
Writes benchmarks/results/DATE-loader.json and prints it as one line.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from fewframes.data.dataset import TrainingClips, View
from fewframes.data.loader import Shard, epoch_order, load_batches
from fewframes.data.manifest_io import read_manifest
from fewframes.records import Preprocess, Sampling
from fewframes.report.serial import write_atomically
from fewframes.video.augment import Augment

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data")) / "ucf6" / "manifest.csv"
# The recipe `small`: 8 frames of 96 x 96 pixels, batches of 32.
VIEW = View(Sampling("random_in_segment", 8), Preprocess((96, 96), 96), Augment(flip_probability=0.5))
BATCH_SIZE, EPOCHS = 32, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=4, help="of each process")
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--patience", type=float, default=540.0, help="seconds after which a process counts as hung")
    parser.add_argument("--rank", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        print(json.dumps(read(options.clips, options.workers, Shard(options.rank, options.worlds[0], True))))
        return
    if not SOURCE.exists():
        print(json.dumps({"skipped": "no ucf6/manifest.csv in $FEWFRAMES_DATA"}))
        return
    result: dict[str, object] = {
        "command": f"python benchmarks/loader.py --clips {options.clips} --workers {options.workers}",
        "machine": machine(),
        "clips": options.clips,
        "workers_of_each_process": options.workers,
        "epochs": EPOCHS,
        "batch_size_of_each_process": BATCH_SIZE,
        "frames": VIEW.sampling.num_frames,
        "crop": VIEW.preprocess.crop,
    }
    for world_size in options.worlds:
        print(f"world of {world_size} ...", file=sys.stderr)
        result[f"world_{world_size}"] = world(options, world_size)
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-loader.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("fewframes", "torch", "av")},
    }


def world(options: argparse.Namespace, world_size: int) -> dict[str, object]:
    """All processes of one world side by side, and whether they read each video exactly once."""
    began = time.perf_counter()
    command = [sys.executable, __file__, "--clips", str(options.clips), "--workers", str(options.workers)]
    processes = [
        subprocess.Popen(
            [*command, "--worlds", str(world_size), "--rank", str(rank)], stdout=subprocess.PIPE, text=True
        )
        for rank in range(world_size)
    ]
    ranks, hung = [], 0
    for process in processes:
        try:
            out, _ = process.communicate(timeout=max(options.patience - (time.perf_counter() - began), 1))
            ranks.append(json.loads(out))
        except subprocess.TimeoutExpired:
            process.kill()
            hung += 1
    seen = [Counter(index for rank in ranks for index in rank["indices"][epoch]) for epoch in range(EPOCHS)]
    once = [count == Counter(range(options.clips)) for count in seen]
    mine = [rank.pop("indices") for rank in ranks]
    in_order = not hung and all(
        [mine[place % world_size][epoch][place // world_size] for place in range(options.clips)]
        == epoch_order(options.clips, seed=0, epoch=epoch)
        for epoch in range(EPOCHS)
    )
    return {
        "hung": hung,
        "every_video_exactly_once": not hung and all(once),
        "in_the_order_of_the_epoch": in_order,
        "seconds": round(time.perf_counter() - began, 1),
        "ranks": ranks,
    }


def read(clips: int, workers: int, shard: Shard) -> dict[str, object]:
    """One process: two epochs, and what its workers hold at the first and the last batch of each."""
    videos = list(read_manifest(SOURCE, split_column="split1").videos)
    videos = (videos * -(-clips // len(videos)))[:clips]
    data = TrainingClips(videos, [0] * clips, VIEW, seed=0)
    indices: list[list[int]] = []
    memory: list[list[float]] = []
    batches, decode_seconds, bytes_read, failures = [], 0.0, 0, 0
    total = math.ceil(math.ceil(clips / shard.world_size) / BATCH_SIZE)
    own_before, began, first = pss_mb("self"), time.perf_counter(), 0.0
    for epoch in range(EPOCHS):
        start = time.perf_counter()
        indices.append([])
        batches.append(0)
        for batch in load_batches(data, epoch=epoch, batch_size=BATCH_SIZE, workers=workers, shard=shard):
            first = first or time.perf_counter() - start
            if batches[-1] in (0, total - 2):
                memory.append([pss_mb(pid) for pid in workers_of(os.getpid())])
            indices[-1] += batch.indices
            batches[-1] += 1
            decode_seconds += batch.decode_seconds
            bytes_read += batch.bytes_read
            failures += len(batch.failures)
    seconds = time.perf_counter() - began
    return {
        "rank": shard.rank,
        "indices": indices,
        "batches_of_each_epoch": batches,
        "failures": failures,
        "seconds": round(seconds, 2),
        "seconds_to_the_first_batch": round(first, 2),
        "clips_per_second": round(sum(map(len, indices)) / seconds, 1),
        "decode_ms_per_clip": round(1000 * decode_seconds / sum(map(len, indices)), 2),
        "bytes_read": bytes_read,
        "worker_pss_mb_at_the_first_and_the_last_but_one_batch_of_each_epoch": memory,
        "own_pss_mb_before_and_after": [own_before, pss_mb("self")],
        "workers_left": len(workers_of(os.getpid())),
    }


def pss_mb(pid: int | str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise ValueError(f"no Pss of process {pid}")


def workers_of(pid: int) -> list[int]:
    """The loader's processes: children of this one's fork server."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            except OSError:
                continue
            parents[int(folder.name)], names[int(folder.name)] = int(rest.split()[1]), name
    return sorted(
        child for child, name in names.items() if name == "pt_data_worker" and parents.get(parents[child]) == pid
    )


if __name__ == "__main__":
    main()
