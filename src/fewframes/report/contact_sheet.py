"""Clips come in with a title each; one picture with a row of frames for each clip goes out as a PNG file."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fewframes.errors import UsageError
from fewframes.report.canvas import INK, PAPER
from fewframes.report.serial import write_atomically
from fewframes.report.text import clean

if TYPE_CHECKING:
    import torch

__all__ = ["draw_contact_sheet", "write_contact_sheet"]

_ROW_PIXELS = 2400  # a row is about as wide at most, whatever the number of frames
_SMALLEST, _LARGEST = 48, 224  # the longer side of a frame on the sheet
_MARGIN, _GAP, _TITLE, _FONT_PIXELS = 12, 3, 26, 16


def write_contact_sheet(
    path: str | os.PathLike[str], clips: Sequence[np.ndarray | torch.Tensor], titles: Sequence[str]
) -> Path:
    """Write what `draw_contact_sheet` draws, the whole file or none of it.

    Args:
        path: where to; missing folders are made.
        clips: as for `draw_contact_sheet`.
        titles: as for `draw_contact_sheet`.

    Returns:
        The path.

    Raises:
        UsageError: shapes or numbers do not fit, or the file cannot be written.
    """
    buffer = io.BytesIO()
    draw_contact_sheet(clips, titles).save(buffer, format="PNG")
    return write_atomically(path, buffer.getvalue())


def draw_contact_sheet(clips: Sequence[np.ndarray | torch.Tensor], titles: Sequence[str]) -> Image.Image:
    """One row per clip: its title, and below it all of its frames in order.

    Large frames shrink by the mean over the pixels that they lose; small ones are shown with every pixel as a block.
    More frames in a row make each of them smaller, down to 48 pixels.

    Args:
        clips: at least one; each (T, 3, H, W) uint8, RGB, T >= 1; a torch tensor on the CPU or a numpy array. T and the
            sizes may differ between clips.
        titles: one for each clip, one line; cut off where the row ends.

    Returns:
        An RGB picture.

    Raises:
        UsageError: shapes, dtypes or numbers do not fit.
    """
    rows = [np.asarray(clip) for clip in clips]
    _check(rows, titles)
    thumbnails = [_thumbnails(pixels) for pixels in rows]
    width = 2 * _MARGIN + max(sum(frame.width + _GAP for frame in row) - _GAP for row in thumbnails)
    height = _MARGIN + sum(_TITLE + row[0].height + _MARGIN for row in thumbnails)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    # Pillow's own font has Latin letters only; this one comes with matplotlib.
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), _FONT_PIXELS)
    top = _MARGIN
    for row, title in zip(thumbnails, titles, strict=True):
        draw.text((_MARGIN, top), _fitting(title, font, width - 2 * _MARGIN), fill=INK, font=font)
        left, top = _MARGIN, top + _TITLE
        for frame in row:
            sheet.paste(frame, (left, top))
            left += frame.width + _GAP
        top += row[0].height + _MARGIN
    return sheet


def _check(rows: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    if not rows or len(rows) != len(titles):
        raise UsageError(
            f"{len(rows)} clips and {len(titles)} titles; expected one title for each, and one clip at least"
        )
    for pixels in rows:
        if pixels.ndim != 4 or pixels.shape[1] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
            raise UsageError(f"a clip has shape {pixels.shape} and dtype {pixels.dtype}; expected uint8 (T, 3, H, W)")


def _thumbnails(pixels: np.ndarray) -> list[Image.Image]:
    count, _, height, width = pixels.shape
    target = min(max(_ROW_PIXELS // count, _SMALLEST), _LARGEST)
    longer = max(height, width)
    frames = [Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))) for frame in pixels]
    if longer > target:
        size = (max(round(width * target / longer), 1), max(round(height * target / longer), 1))
        return [frame.resize(size, Image.Resampling.BOX) for frame in frames]
    times = target // longer
    return [frame.resize((width * times, height * times), Image.Resampling.NEAREST) for frame in frames]


def _fitting(title: str, font: ImageFont.FreeTypeFont, most: int) -> str:
    """As much of the title as fits, the cut marked by an ellipsis."""
    title = clean(title)
    if font.getlength(title) <= most:
        return title
    while title and font.getlength(f"{title}…") > most:
        title = title[:-1]
    return f"{title.rstrip()}…"
