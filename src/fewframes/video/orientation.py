"""Comes in: a container's display matrix. Goes out: an `Orientation` that turns decoded pictures upright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["UPRIGHT", "Orientation", "orientation_from_matrix"]

_MOST_OFF_DEGREES = 0.5  # rounding in matrices that writers computed with sines
_MOST_SKEW = 0.01


@dataclass(frozen=True)
class Orientation:
    """How a decoded picture becomes upright: transpose it if `transposed`, then flip it.

    Attributes:
        transposed: whether rows become columns.
        flip_rows: top becomes bottom, after the transposition.
        flip_columns: left becomes right, after the transposition.
        rotation_degrees: clockwise, 0, 90, 180 or 270; where pictures are mirrored, left to right, this comes first.
    """

    transposed: bool
    flip_rows: bool
    flip_columns: bool
    rotation_degrees: int

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn (H, W, C) pixels; a view of them, (H, W, C) or (W, H, C)."""
        if self.transposed:
            image = image.transpose(1, 0, 2)
        return image[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


UPRIGHT = Orientation(transposed=False, flip_rows=False, flip_columns=False, rotation_degrees=0)


def orientation_from_matrix(matrix: Sequence[int]) -> Orientation:
    """The orientation that a display matrix means: rotation by a multiple of 90 degrees, mirrored or not.

    The matrix takes (x, y) to (a x + c y, b x + d y), y downwards. One that is no rotation or reflection at all, such
    as the zeros that some writers leave, turns nothing.

    Args:
        matrix: 9 numbers a, b, u, c, d, v, x, y, w as MP4 stores them.

    Raises:
        ValueError: a rotation by another angle; the text names it.
    """
    a, b, _, c, d = matrix[:5]
    scale = math.hypot(a, b) * math.hypot(c, d)
    if scale == 0 or abs(a * c + b * d) > _MOST_SKEW * scale:
        return UPRIGHT
    mirrored = a * d - b * c < 0
    angle = math.degrees(math.atan2(b, -a if mirrored else a)) % 360
    quarters = round(angle / 90)
    if abs(angle - 90 * quarters) > _MOST_OFF_DEGREES:
        raise ValueError(f"rotated by {angle:.4g} degrees clockwise, which is not a multiple of 90")
    transposed = quarters % 2 == 1
    rows, columns = (b, c) if transposed else (d, a)
    return Orientation(transposed, flip_rows=rows < 0, flip_columns=columns < 0, rotation_degrees=90 * quarters % 360)
