"""Small labelled action videos from a seed: a folder and counts in, H.264 files in MP4 and a manifest out.

The classes come in pairs that are each other's time reversal, so no average over frames, and no frame whose place in
time is unknown, can tell the two members of a pair apart: only the order of the frames can. See
`fewframes.video.synthetic_scene` for what is shown and `ACTION_PAIRS` for the names.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from fewframes.errors import UnknownName, UsageError
from fewframes.video.synthetic_paint import render_scene
from fewframes.video.synthetic_scene import ACTION_PAIRS, draw_scene

__all__ = ["ACTION_PAIRS", "default_classes", "encode_video", "render_video", "synthesize"]

SETTINGS_NAME = "synthetic.json"
MANIFEST_NAME = "manifest.csv"
# Raise when other pixels come out of the same seed, so that an interrupted run is not completed with other videos.
RENDERER = 1
# Videos for testing are numbered from here, so they stay the same however many there are for training.
FIRST_TEST_INDEX = 1_000_000
# x264 spends more on early frames and on keyframes by default; a frame's quality would tell its place in time.
EVEN_QUALITY = "mbtree=0:ipratio=1:pbratio=1:scenecut=0:rc-lookahead=0:b-adapt=0"
# What is neither said nor tagged is guessed by players; 5 is the BT.601 matrix, 1 the range 16 to 235.
BT601, LIMITED_RANGE = 5, 1


def default_classes(num_classes: int = 8) -> tuple[str, ...]:
    """The names of the first `num_classes` classes: whole pairs, the most distinct first.

    Raises:
        UsageError: for a number that is odd, below 2, or above what exists.
    """
    names = tuple(name for pair in ACTION_PAIRS for name in pair)
    if num_classes % 2 or not 2 <= num_classes <= len(names):
        raise UsageError(f"classes is {num_classes}; classes come in pairs: pass an even number from 2 to {len(names)}")
    return names[:num_classes]


def render_video(label: str, seed: int | Sequence[int]) -> tuple[NDArray[np.uint8], Fraction]:
    """Render one video; the pixels depend on the label and the seed alone.

    With one seed, the two labels of a pair give the same frames in opposite orders, and all labels give the same
    size, frame rate, length and background.

    Args:
        label: one of the names in `ACTION_PAIRS`.
        seed: one integer >= 0, or several that together are the seed; zeros at their end make no difference.

    Returns:
        Frames (T, H, W, 3) uint8 RGB, T from 20 to 48, H and W even with a short side from 80 to 128 pixels; and
        frames a second.

    Raises:
        UnknownName: for a label that does not exist.
        UsageError: for a negative seed.
    """
    if any(part < 0 for part in np.atleast_1d(seed).tolist()):
        raise UsageError(f"seed is {seed}; expected integers of at least 0")
    for forward, backward in ACTION_PAIRS:
        if label in (forward, backward):
            scene = draw_scene(forward, seed)
            frames = render_scene(scene)
            return (frames if label == forward else np.ascontiguousarray(frames[::-1])), scene.fps
    raise UnknownName("action", label, default_classes(2 * len(ACTION_PAIRS)))


def encode_video(frames: NDArray[np.uint8], fps: Fraction, seed: int | Sequence[int]) -> bytes:
    """Encode frames as H.264 (yuv420p) in MP4; equal arguments give equal bytes with the same FFmpeg.

    Quality, the distance of keyframes and the number of B-frames are drawn from the seed, whatever the frames show.

    Args:
        frames: (T, H, W, 3) uint8 RGB; H and W even.
        fps: frames a second.
        seed: integers >= 0.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    buffer, reformatter = io.BytesIO(), VideoReformatter()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.colorspace, stream.codec_context.color_range = BT601, LIMITED_RANGE
        stream.options = {
            "preset": "ultrafast",
            "crf": str(rng.integers(19, 23)),
            "g": str(rng.integers(4, 49)),
            "bf": str(rng.integers(0, 3)),
            "x264-params": EVEN_QUALITY,
        }
        for number, pixels in enumerate(frames):
            picture = reformatter.reformat(
                av.VideoFrame.from_ndarray(pixels, format="rgb24"),
                format="yuv420p",
                dst_colorspace=BT601,
                dst_color_range=LIMITED_RANGE,
                threads=1,
            )
            picture.pts, picture.time_base = number, 1 / fps
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


def synthesize(
    directory: str | os.PathLike[str],
    *,
    num_videos: int,
    num_test_videos: int = 0,
    seed: int = 0,
    classes: int = 8,
    workers: int = 1,
    progress: bool = False,
) -> Path:
    """Write DIRECTORY/<class>/<class>_<number>.mp4 and DIRECTORY/manifest.csv (path, label, split).

    The same seed gives the same pixels, whatever the number of videos or workers. Classes take turns, so their counts
    differ by at most one within a split. Files appear whole or not at all and the manifest comes last; a run that was
    interrupted is completed by the same call.

    Args:
        directory: a folder that does not exist, is empty, or was made by this function with the same settings.
        num_videos: videos for training, 1 to 1,000,000.
        num_test_videos: videos for testing, in addition; never the same as one for training.
        seed: an integer >= 0.
        classes: how many classes, even; see `default_classes`.
        workers: processes. With more than 1, a script must call this under `if __name__ == "__main__":`.
        progress: show a progress bar on standard error.

    Returns:
        The path of the manifest; the paths in it are relative to its folder and split is "train" or "test".

    Raises:
        UsageError: for a wrong number, or a folder that cannot be used or written to.
    """
    labels = default_classes(classes)
    for name, value, least, most in (
        ("num_videos", num_videos, 1, FIRST_TEST_INDEX),
        ("num_test_videos", num_test_videos, 0, FIRST_TEST_INDEX),
        ("seed", seed, 0, 2**63 - 1),
        ("workers", workers, 1, 1024),
    ):
        if not least <= value <= most:
            raise UsageError(f"{name} is {value}; expected {least} to {most}")
    root = Path(directory)
    _claim(root, {"seed": seed, "classes": classes, "num_videos": num_videos, "num_test_videos": num_test_videos})
    plan = [
        _Task(root=str(root), label=labels[place % len(labels)], seed=seed, index=first + place, split=split)
        for split, first, count in (("train", 0, num_videos), ("test", FIRST_TEST_INDEX, num_test_videos))
        for place in range(count)
    ]
    missing = [task for task in plan if not task.path.is_file()]
    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        for _ in bar.track(_work(missing, workers), total=len(missing), description="Rendering videos"):
            pass
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("path", "label", "split"))
    writer.writerows((task.path.relative_to(root).as_posix(), task.label, task.split) for task in plan)
    _write(root / MANIFEST_NAME, table.getvalue().encode())
    return root / MANIFEST_NAME


@dataclass(frozen=True)
class _Task:
    """One video to be made; travels to the worker processes."""

    root: str
    label: str
    seed: int
    index: int
    split: str

    @property
    def path(self) -> Path:
        return Path(self.root, self.label, f"{self.label}_{self.index:05d}.mp4")


def _make(task: _Task) -> None:
    """Render, encode and write one video."""
    source = (task.seed, task.index)
    frames, fps = render_video(task.label, source)
    _write(task.path, encode_video(frames, fps, source))


def _work(tasks: Sequence[_Task], workers: int) -> Iterator[None]:
    """Make every video, here or in worker processes; yields once for each that is done."""
    if min(workers, len(tasks)) <= 1:
        yield from map(_make, tasks)
        return
    # Fresh processes: a fork would copy the threads' locks of whatever the caller has running.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
        try:
            yield from pool.map(_make, tasks, chunksize=4)
        except BrokenProcessPool as error:
            raise UsageError(
                "a worker process ended before its videos were made; in a script, call synthesize under "
                '`if __name__ == "__main__":`, or pass workers=1'
            ) from error


def _claim(root: Path, chosen: dict[str, int]) -> None:
    """Make the folder ours: empty and marked with the settings, or already marked with the same ones."""
    settings = {"renderer": RENDERER, **chosen}
    marker = root / SETTINGS_NAME
    try:
        root.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in root.iterdir())
    except OSError as error:
        raise UsageError(f"cannot make videos in {root}: {error.strerror}; choose another folder") from error
    if not found:
        _write(marker, json.dumps(settings, indent=2).encode())
        return
    if SETTINGS_NAME not in found:
        raise UsageError(
            f"{root} is not empty (it holds {found[0]!r}) and was not made by synthesize; choose a new or empty folder"
        )
    try:
        made_with = json.loads(marker.read_text())
    except ValueError:
        made_with = "unreadable settings"
    if made_with != settings:
        raise UsageError(
            f"{root} holds videos made with {made_with}, not {settings}; choose another folder or delete this one"
        )


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        try:
            partial.write_bytes(content)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; make room or choose another folder") from error
