"""Measures how the frames of torchcodec differ from those of PyAV, file by file.

    python benchmarks/decoder_colours.py                             all readable files of the test data, on the CPU
    python benchmarks/decoder_colours.py --device cuda               the same, and decoded on a GPU
    python benchmarks/decoder_colours.py --files a.mp4 b.mkv         other files

For each file 8 frames at even distances are compared with those that the decoder pyav gives:

"ours"        the decoder torchcodec of this package: samples from torchcodec, colours from the one conversion of both
"own"         torchcodec.decoders.VideoDecoder by itself, with its own conversion and its own list of frames
"... cuda"    the same two, decoded on the GPU; CPU seconds do not count the GPU's time

Stated are the largest and the mean difference in levels of 255, what is not the same (number of frames, times, size),
how many packets were given to decoders to open the file and read the 8 frames, and the CPU time of that in seconds, the
median of 3 interleaved runs; only its ratios mean anything.
Writes benchmarks/results/DATE-decoder-colours.json, with a GPU DATE-decoder-colours-cuda.json, and prints its summary.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewframes.errors import UnreadableVideo
from fewframes.records import DecodeOptions
from fewframes.report.serial import write_atomically
from fewframes.video.reader_pyav import PyavBackend
from fewframes.video.reader_torchcodec import TorchcodecBackend, choose_decoder, describe_torchcodec
from fewframes.video.source import resolve_source
from first_light import ROOT, machine

COUNT, RUNS = 8, 3
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--files", type=Path, nargs="+", help="instead of those of --data")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:0")
    arguments = parser.parse_args()
    # Refuses what cannot work before anything is measured.
    choose_decoder(DecodeOptions(decoder="torchcodec", device=arguments.device))
    devices = ["cpu"] if arguments.device == "cpu" else ["cpu", arguments.device]
    files = arguments.files or listed(Path(arguments.data) / "fixtures")
    rows: dict[str, Row] = {}
    for number, path in enumerate(files, start=1):
        name = "/".join(path.parts[-2:])
        print(f"{number} of {len(files)}: {name} ...", file=sys.stderr)
        rows[name] = compare(path, devices)
    result = {
        "command": f"python benchmarks/decoder_colours.py --device {arguments.device}",
        "machine": {**machine(), "torchcodec": describe_torchcodec(), "gpu": gpu(arguments.device)},
        "summary": summary(rows),
        "files": rows,
    }
    suffix = "" if arguments.device == "cpu" else "-cuda"
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-decoder-colours{suffix}.json"
    write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"]))


def listed(folder: Path) -> list[Path]:
    with (folder / "expected.csv").open(newline="") as file:
        return [folder / row["path"] for row in csv.DictReader(file)]


def gpu(device: str) -> str | None:
    return None if device == "cpu" else torch.cuda.get_device_name(device)


def compare(path: Path, devices: list[str]) -> Row:
    """The differences of one file; "refused" says why a decoder does not read it."""
    try:
        backend = PyavBackend(resolve_source(path), DecodeOptions())
        info, seconds, track = backend.info, backend.seconds, backend._opened().stream.index
        indices = np.unique(np.linspace(0, info.num_frames - 1, COUNT).astype(int)).tolist()
        expected = backend.read(indices)
        packets = backend.packets_decoded
        backend.close()
    except UnreadableVideo as error:
        return {"refused": error.reason}
    row: Row = {"frames": info.num_frames, "size": [info.width, info.height], "codec": info.codec}
    row["pyav"] = {"packets": packets}

    def pyav() -> None:
        again = PyavBackend(resolve_source(path), DecodeOptions())
        again.read(indices)
        again.close()

    runs: dict[str, Callable[[], Row | None]] = {"pyav": lambda: pyav()}
    for device in devices:
        kind = "" if device == "cpu" else " cuda"
        runs["ours" + kind] = lambda device=device: ours(path, device, indices, seconds, expected)
        runs["own" + kind] = lambda device=device: own(path, device, track, indices, seconds, expected)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(RUNS):
        for name, run in runs.items():
            start = time.process_time()
            found = run()
            times[name].append(time.process_time() - start)
            row[name] = {**(found or row[name]), "cpu_seconds": round(statistics.median(times[name]), 4)}
    return row


def ours(path: Path, device: str, indices: list[int], seconds: np.ndarray, expected: np.ndarray) -> Row:
    try:
        backend = TorchcodecBackend(resolve_source(path), DecodeOptions(decoder="torchcodec", device=device))
        try:
            pixels = backend.read(indices)
        finally:
            backend.close()
    except UnreadableVideo as error:
        return {"refused": error.reason}
    other = [] if np.array_equal(backend.seconds, seconds) else ["times"]
    return {**difference(pixels, expected), "not_the_same": other, "packets": backend.packets_decoded}


def own(path: Path, device: str, track: int, indices: list[int], seconds: np.ndarray, expected: np.ndarray) -> Row:
    from torchcodec.decoders import VideoDecoder

    try:
        decoder = VideoDecoder(path, stream_index=track, device=device, num_ffmpeg_threads=1)
        wanted = [min(index, len(decoder) - 1) for index in indices]
        batch = decoder.get_frames_at(wanted)
    except (RuntimeError, ValueError) as error:
        return {"refused": str(error).splitlines()[0].rpartition(".cpp:")[2]}
    times = batch.pts_seconds.numpy() - (decoder.metadata.begin_stream_seconds or 0.0)
    other = [] if len(decoder) == len(seconds) else ["number of frames"]
    other += [] if np.allclose(times, seconds[wanted], atol=1e-6) else ["times"]
    pixels = batch.data.permute(0, 2, 3, 1).cpu().numpy()
    if pixels.shape != expected.shape:
        return {"not_the_same": [*other, "size"]}
    return {**difference(pixels, expected), "not_the_same": other}


def difference(pixels: np.ndarray, expected: np.ndarray) -> Row:
    off = np.maximum(pixels, expected) - np.minimum(pixels, expected)
    return {"max": int(off.max()), "mean": round(float(off.mean()), 4)}


def summary(rows: dict[str, Row]) -> Row:
    """Over all files that PyAV reads; CPU seconds and packets over those that all of them read."""
    read = [row for row in rows.values() if "refused" not in row]
    kinds = [name for name in ("ours", "own", "ours cuda", "own cuda") if any(name in row for row in read)]
    found: Row = {"files": len(rows), "read_by_pyav": len(read)}
    all_read = [row for row in read if not any("refused" in row[kind] for kind in kinds)]
    for kind in kinds:
        each = [row[kind] for row in read]
        compared = [cell for cell in each if "max" in cell]
        found[kind] = {
            "refused": sum("refused" in cell for cell in each),
            "compared": len(compared),
            "equal": sum(cell["max"] == 0 for cell in compared),
            "max": max((cell["max"] for cell in compared), default=None),
            "largest_mean": max((cell["mean"] for cell in compared), default=None),
            "not_the_same": sum(bool(cell.get("not_the_same")) for cell in each),
        }
    for name in ("pyav", *kinds):
        cells = [row[name] for row in all_read]
        found[f"cpu_seconds {name}"] = round(sum(cell["cpu_seconds"] for cell in cells), 2)
        if all("packets" in cell for cell in cells):
            found[f"packets {name}"] = sum(cell["packets"] for cell in cells)
    return found


if __name__ == "__main__":
    main()
