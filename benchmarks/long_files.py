"""Measures sparse reading: 16 frames of a one-hour file against those of a 10-second clip, locally and over HTTP.

    python benchmarks/long_files.py                  all parts
    python benchmarks/long_files.py --parts hour     some of them

"hour"   16 frames of one hour of H.264 (keyframe every 2 s), of 10 s of the same, and by decoding from the first frame
"gop"    16 frames of a 10 s clip with one keyframe, against a loop over PyAV written by hand
"http"   16 frames of the hour from a local web server: requests and bytes
"opens"  resident memory over 5,000 openings of real and generated files

Files are made by the script. Times are medians of interleaved runs in one process; only their ratios mean anything.
Writes benchmarks/results/DATE-long-files.json (parts already in today's file are kept) and prints it as one line.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import gc
import http.server
import io
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

import av
import numpy as np
import torch

import fewframes as ff
from fewframes.report.serial import write_atomically
from first_light import ROOT, machine

FPS, KEYFRAME_INTERVAL, HEIGHT, WIDTH = 30, 60, 256, 340
COUNT = 16


def main() -> None:
    parts = {"hour": hour, "gop": gop, "http": over_http, "opens": opens}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    chosen = parser.parse_args().parts
    path = ROOT / "benchmarks" / "results" / f"{datetime.date.today()}-long-files.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            print(f"{name} ...", file=sys.stderr)
            result[name] = {
                "command": f"python benchmarks/long_files.py --parts {name}",
                "machine": machine(),
                **parts[name](Path(folder)),
            }
            write_atomically(path, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def scenery(count: int, seed: int) -> Iterator[np.ndarray]:
    """Frames that cost a codec about what real ones do: a textured view that pans, things that move, sensor noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(24, 64, 3))
    view = np.kron(coarse, np.ones((32, 32, 1)))
    for axis in (0, 1):
        for _ in range(12):
            view = (view + np.roll(view, 1, axis) + np.roll(view, -1, axis)) / 3
    view = 128 + 40 * view + 6 * rng.normal(size=view.shape)
    noise = rng.normal(scale=2.0, size=(8, HEIGHT, WIDTH, 1))
    for number in range(count):
        x = int(300 + 250 * np.sin(number / 170))
        y = int(200 + 150 * np.sin(number / 230))
        frame = view[y : y + HEIGHT, x : x + WIDTH] + noise[number % 8]
        for thing in range(3):
            left = int((WIDTH - 60) * (0.5 + 0.5 * np.sin(number / (19 + 7 * thing) + thing)))
            top = int((HEIGHT - 60) * (0.5 + 0.5 * np.cos(number / (23 + 5 * thing))))
            frame[top : top + 60, left : left + 60] = 255 - frame[top : top + 60, left : left + 60]
        yield np.clip(frame, 0, 255).astype(np.uint8)


@functools.cache
def encoded(count: int, keyframe_interval: int, b_frames: int = 3) -> bytes:
    """H.264 at its default settings but for the keyframes, in MP4; without B-frames as phones and cameras write it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size = keyframe_interval
        stream.codec_context.options = {
            "x264-params": f"keyint={keyframe_interval}:scenecut=0:open-gop=0:bframes={b_frames}"
        }
        for pixels in scenery(count, seed=0):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def make_hour(folder: Path, b_frames: int = 3) -> Path:
    """60 times the same minute, without encoding it again."""
    path, minute = folder / f"hour{b_frames}.mp4", 60 * FPS
    if path.exists():
        return path
    with av.open(io.BytesIO(encoded(minute, KEYFRAME_INTERVAL, b_frames))) as source:
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe, p.time_base) for p in source.demux(video=0) if p.size]
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for repeat in range(60):
                for content, pts, dts, is_key, base in packets:
                    packet = av.Packet(content)
                    shift = int(repeat * 60 / base)
                    packet.stream, packet.time_base = stream, base
                    packet.pts, packet.dts, packet.is_keyframe = pts + shift, dts + shift, is_key
                    target.mux(packet)
    return path


def sixteen(source: Path | str) -> tuple[ff.VideoInfo, ff.Frames]:
    with ff.open_video(source) as reader:
        return reader.info, reader.frames_at(ff.uniform_indices(reader.info.num_frames, COUNT))


def by_hand(path: Path) -> torch.Tensor:
    """What one writes without a library: decode from the first frame on, keep those that are wanted."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        wanted = set(ff.uniform_indices(stream.frames, COUNT))
        found = []
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
                if len(found) == COUNT:
                    break
    return torch.stack(found).permute(0, 3, 1, 2)


def interleaved(repeats: int, **tasks: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each task, all run in turn."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            gc.collect()
            begin = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def hour(folder: Path) -> dict[str, object]:
    return {
        "default_settings_3_b_frames": compare_hour(folder, b_frames=3),
        "no_b_frames": compare_hour(folder, b_frames=0),
    }


def compare_hour(folder: Path, b_frames: int) -> dict[str, object]:
    long, short = make_hour(folder, b_frames), folder / "ten_seconds.mp4"
    short.write_bytes(encoded(10 * FPS, KEYFRAME_INTERVAL, b_frames))
    info, frames = sixteen(long)
    begin = time.perf_counter()
    expected = by_hand(long)
    sequential = time.perf_counter() - begin
    tasks = {
        "hour": lambda: sixteen(long),
        "clip": lambda: sixteen(short),
        "clip_by_hand": lambda: by_hand(short),
    }
    seconds = interleaved(41, **tasks)
    _, of_clip = sixteen(short)
    return {
        "file": {"bytes": info.size_bytes, "frames": info.num_frames, "kbit_s": round(8 * info.size_bytes / 3600e3)},
        "equal_to_sequential_decode": bool(torch.equal(frames.pixels, expected)),
        "ratio_hour_to_clip": round(seconds["hour"] / seconds["clip"], 3),
        "ratio_hour_to_clip_by_hand": round(seconds["hour"] / seconds["clip_by_hand"], 3),
        "ratio_sequential_to_hour": round(sequential / seconds["hour"], 1),
        "fraction_of_bytes_read": round((info.bytes_read + frames.bytes_read) / info.size_bytes, 5),
        "packets_decoded": {"hour": frames.packets_decoded, "clip": of_clip.packets_decoded},
        "seconds": {"sequential": round(sequential, 2), **{k: round(v, 4) for k, v in seconds.items()}},
    }


def gop(folder: Path) -> dict[str, object]:
    clip = folder / "one_gop.mp4"
    clip.write_bytes(encoded(250, 250))
    equal = torch.equal(sixteen(clip)[1].pixels, by_hand(clip))
    seconds = interleaved(41, ours=lambda: sixteen(clip), by_hand=lambda: by_hand(clip))
    return {
        "file": "250 frames, one keyframe",
        "equal": bool(equal),
        "ratio_ours_to_by_hand": round(seconds["ours"] / seconds["by_hand"], 3),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
    }


class RangeServer(http.server.BaseHTTPRequestHandler):
    """Serves one folder with single byte ranges, and counts."""

    protocol_version = "HTTP/1.1"
    folder = Path()
    counts: ClassVar[dict[str, int]] = {"requests": 0, "bytes": 0}

    def do_HEAD(self) -> None:
        """Size only."""
        self.answer(with_body=False)

    def do_GET(self) -> None:
        """The whole file, or one range of it."""
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        """The headers and, for GET, the bytes."""
        path = self.folder / self.path.lstrip("/")
        size = path.stat().st_size
        given = self.headers.get("Range", "")
        start, stop = 0, size
        if given.startswith("bytes="):
            first, _, last = given.removeprefix("bytes=").partition("-")
            start = int(first) if first else size - int(last)
            stop = min(size, int(last) + 1) if first and last else size
        self.send_response(206 if given else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        if given:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        self.counts["requests"] += 1
        if with_body:
            with path.open("rb") as file:
                self.counts["bytes"] += copy(file, self.wfile, start, stop)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def copy(source: BinaryIO, target: BinaryIO, start: int, stop: int) -> int:
    source.seek(start)
    sent = 0
    try:
        while start + sent < stop:
            block = source.read(min(65536, stop - start - sent))
            target.write(block)
            sent += len(block)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


def over_http(folder: Path) -> dict[str, object]:
    long = make_hour(folder)
    RangeServer.folder, RangeServer.counts = folder, {"requests": 0, "bytes": 0}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RangeServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        info, frames = sixteen(f"http://127.0.0.1:{server.server_port}/hour3.mp4")
    finally:
        server.shutdown()
    local = sixteen(long)[1]
    return {
        "equal_to_local": bool(torch.equal(frames.pixels, local.pixels)),
        "fraction_sent_by_the_server": round(RangeServer.counts["bytes"] / info.size_bytes, 5),
        "fraction_reported": round((info.bytes_read + frames.bytes_read) / info.size_bytes, 5),
        "requests": RangeServer.counts["requests"],
    }


def opens(folder: Path) -> dict[str, object]:
    """Memory after 500 openings, when all caches are warm, and after 5,000."""
    sources: list[Path | bytes] = [encoded(60, 60)]
    fixtures = Path(os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data")) / "fixtures"
    names = ("good/torchcodec__nasa_13013.mp4", "good/intel_sample_videos__asl_gestures__yes.mkv",
             "codecs/androidx_media__vp9__bear-vp9.webm", "long_gop/mmaction2__tests__data__test.avi",
             "malformed/decord__corrupted.mp4", "malformed/libwebm__tracks.webm")  # fmt: skip
    sources += [fixtures / name for name in names if (fixtures / name).exists()]
    resident = {}
    for number in range(1, 5001):
        try:
            with ff.open_video(sources[number % len(sources)]) as reader:
                reader.frames_at([0, reader.info.num_frames - 1])
        except ff.errors.UnreadableVideo:
            pass
        if number in (500, 1000, 2000, 3000, 4000, 5000):
            gc.collect()
            resident[number] = round(resident_mb(), 1)
    return {"sources": len(sources), "resident_mb": resident, "growth_mb": round(resident[5000] - resident[500], 1)}


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
