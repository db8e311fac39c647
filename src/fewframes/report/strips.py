"""The frames of one video come in with their seconds and attention; a strip of thumbnails goes out as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fewframes.errors import UsageError
from fewframes.report.canvas import ACCENT, FAINT, GRID, INK, PAGE_INCHES, new_figure

if TYPE_CHECKING:
    import torch

__all__ = ["FrameStrip", "draw_strip"]

_THUMBNAIL_PIXELS = 160
_FILLED = 0.93  # of a cell's width; the rest is the gap to the next one


@dataclass(frozen=True, eq=False)
class FrameStrip:
    """What a model looked at in one video.

    Attributes:
        pixels: (T, 3, H, W) uint8, RGB, a torch tensor on the CPU or a numpy array.
        seconds: (T,) when each frame is shown; numbers, a tensor or an array.
        attention: (T,) how much each frame counted, >= 0, sums to 1, in the same forms; None if unknown.
        caption: what the reader sees, such as the path and the prediction.
    """

    pixels: np.ndarray | torch.Tensor
    seconds: Sequence[float] | np.ndarray | torch.Tensor
    attention: Sequence[float] | np.ndarray | torch.Tensor | None = None
    caption: str = ""


def draw_strip(strip: FrameStrip, *, per_row: int = 8) -> Figure:
    """Thumbnails in order, `per_row` a row, each with its seconds and a bar below for its attention.

    The widest bar belongs to the frame that counted most; the number beside it is its share.

    Raises:
        UsageError: shapes, dtype or the sum of attention do not fit.
    """
    pixels = np.asarray(strip.pixels)
    seconds = [float(each) for each in strip.seconds]
    attention = None if strip.attention is None else [float(each) for each in strip.attention]
    _check(pixels, seconds, attention)
    thumbnails = _shrink(pixels)
    num_frames, height, width = thumbnails.shape[:3]
    columns = min(per_row, num_frames)
    rows = math.ceil(num_frames / columns)
    cell_width = PAGE_INCHES / max(columns, 4)
    picture_height = cell_width * _FILLED * height / width
    cell_height = picture_height + (0.45 if attention is not None else 0.3)
    figure = new_figure(cell_width * columns, cell_height * rows)
    # Exact places instead of a layout engine: thumbnails must not shrink to make room for their captions.
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, cell_width * columns), ylim=(cell_height * rows, 0))
    axes.axis("off")
    most = max(attention) if attention else 1.0
    for index in range(num_frames):
        left = cell_width * (index % columns)
        top = cell_height * (index // columns)
        right, bottom = left + _FILLED * cell_width, top + picture_height
        axes.imshow(thumbnails[index], extent=(left, right, bottom, top), interpolation="none", aspect="auto")
        share = None if attention is None else attention[index]
        if share is not None:
            full = right - left
            axes.add_patch(Rectangle((left, bottom + 0.05), full, 0.06, color=GRID, linewidth=0))
            axes.add_patch(Rectangle((left, bottom + 0.05), full * share / most, 0.06, color=ACCENT, linewidth=0))
        line = bottom + (0.26 if share is not None else 0.18)
        axes.text(left, line, f"{seconds[index]:.1f} s", color=FAINT, fontsize=8, va="center")
        if share is not None:
            bold = "bold" if share == most else "normal"
            axes.text(right, line, f"{100 * share:.0f} %", color=INK, fontsize=8, va="center", ha="right", weight=bold)
    # imshow sets the limits anew for each picture.
    axes.set(xlim=(0, cell_width * columns), ylim=(cell_height * rows, 0))
    return figure


def _check(pixels: np.ndarray, seconds: list[float], attention: list[float] | None) -> None:
    if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise UsageError(f"frames have shape {pixels.shape} and dtype {pixels.dtype}; expected uint8 (T, 3, H, W)")
    num_frames = pixels.shape[0]
    if len(seconds) != num_frames:
        raise UsageError(f"{len(seconds)} seconds for {num_frames} frames; expected one for each frame")
    if attention is None:
        return
    if len(attention) != num_frames:
        raise UsageError(f"{len(attention)} attention weights for {num_frames} frames; expected one for each")
    if not math.isclose(sum(attention), 1.0, abs_tol=1e-3) or min(attention) < 0:
        raise UsageError(f"attention sums to {sum(attention):.4g}; expected weights of at least 0 that sum to 1")


def _shrink(pixels: np.ndarray) -> np.ndarray:
    """(T, H', W', 3) uint8 with sides of about 160 pixels: means over whole blocks, so nothing aliases."""
    _, _, height, width = pixels.shape
    block = max(1, max(height, width) // _THUMBNAIL_PIXELS)
    height, width = max(1, height // block), max(1, width // block)
    tall, wide = min(block, pixels.shape[2]), min(block, pixels.shape[3])
    cut = pixels[:, :, : height * tall, : width * wide]
    blocks = cut.reshape(cut.shape[0], 3, height, tall, width, wide)
    means = blocks.mean(axis=(3, 5), dtype=np.float32)
    return np.asarray(np.rint(means).astype(np.uint8).transpose(0, 2, 3, 1))
