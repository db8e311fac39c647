"""Comes in: frame numbers. Goes out: videos whose pixels say the number of each frame, and a reader of those pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

COLUMNS, ROWS = 4, 6
# The first and the last row of cells: turned or mirrored, neither reads as itself.
TOP, BOTTOM = (1, 1, 0, 1), (0, 1, 0, 0)
HEIGHT, WIDTH = 48, 64


def paint(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(height, width) uint8 of 0 and 255: 4 x 6 cells, the middle 16 of which are the number's bits."""
    bits = [number >> bit & 1 for bit in range(16)]
    cells = np.array([*TOP, *bits, *BOTTOM], dtype=np.uint8).reshape(ROWS, COLUMNS) * 255
    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    return cells[rows][:, columns]


def read_number(pixels: np.ndarray) -> int:
    """The number painted on (3, height, width) pixels; -1 if they do not stand upright."""
    height, width = pixels.shape[1:]
    rows = ((2 * np.arange(ROWS) + 1) * height) // (2 * ROWS)
    columns = ((2 * np.arange(COLUMNS) + 1) * width) // (2 * COLUMNS)
    bits = pixels.mean(axis=0)[np.ix_(rows, columns)] > 127
    if tuple(bits[0]) != TOP or tuple(bits[-1]) != BOTTOM:
        return -1
    return sum(int(bit) << place for place, bit in enumerate(bits[1:-1].ravel()))


def read_numbers(pixels: object) -> list[int]:
    """`read_number` of each frame of a (T, 3, H, W) tensor."""
    return [read_number(frame) for frame in np.asarray(pixels)]


def write_painted(
    target: Path | BinaryIO,
    count: int,
    *,
    format: str = "mp4",
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    rate: int = 25,
    ticks: Sequence[int] | None = None,
    clockwise: int = 0,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    mux_options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    matrix: Sequence[int] | None = None,
) -> None:
    """Encode `count` painted frames, losslessly or nearly so.

    Args:
        target: a path, or a binary file.
        count: frames, numbered from 0.
        format: the container's name in FFmpeg.
        codec: the encoder's name in FFmpeg.
        gop: frames from one keyframe to the next.
        b_frames: B-frames in a row.
        rate: frames per second.
        ticks: when each frame is shown, in 1/1000 s; instead of `rate`.
        clockwise: stored turned the other way, with a display matrix that turns it back by so many degrees.
        mirrored: stored mirrored, with a display matrix that mirrors it back.
        aspect: width of a pixel over its height.
        size: height and width of the picture when shown upright, before `aspect`.
        mux_options: for the container.
        codec_options: for the encoder.
        matrix: a display matrix to write as it is.
    """
    turns = clockwise // 90
    height, width = size if turns % 2 == 0 else size[::-1]
    pixel_format = {"ffv1": "bgr0", "gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    with av.open(target, mode="w", format=format, options=mux_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        context = stream.codec_context
        context.gop_size, context.max_b_frames, context.thread_count = gop, b_frames, 1
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if ticks is not None:
            context.time_base = Fraction(1, 1000)
        # x264 makes no B-frames at qp 0.
        x264 = {
            "qp": "1" if b_frames else "0",
            "preset": "ultrafast",
            "bf": str(b_frames),
            "b_strategy": "0",
            "sc_threshold": "0",
        }
        stream.options = {**(x264 if codec == "libx264" else {}), **(codec_options or {})}
        if clockwise or mirrored:
            stream.set_display_rotation(-clockwise, hflip=mirrored)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for number in range(count):
            # Stored so that turning clockwise, then mirroring, gives the painting.
            image = paint(number, *size)
            image = np.rot90(image[:, ::-1] if mirrored else image, k=turns)
            rgb = np.ascontiguousarray(np.repeat(image[:, :, None], 3, axis=2))
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = Fraction(1, rate) if ticks is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        # Where it may, this encoder makes the whole process a real-time one, which then leaves others no time.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
