"""Frames of a clip come in; the same frames with a box painted over or other colours, all changed alike, go out."""

from __future__ import annotations

import random

import torch
from torch import Tensor

__all__ = ["change_contrast", "cut_out", "cutout_box", "drop_colour", "jitter_colour"]

# DMVR's `color_default_augm`, with which ViViT was trained: what is drawn lies between minus and plus these, or
# between 1 minus and 1 plus these.
_BRIGHTNESS = 32  # of 255, added
_SATURATION = 0.4
_CONTRAST = 0.4
_HUE = 0.2  # of a full turn


def cut_out(pixels_TCHW: Tensor, share: float, rng: random.Random) -> Tensor:
    """Paint a box of one random colour over every frame, at the same place and in the same colour.

    Args:
        pixels_TCHW: (T, 3, H, W) uint8; not changed.
        share: of each side, 0 to 1; see `cutout_box`.
        rng: draws the centre, any pixel of the frame, and the colour, any of the 256^3.

    Returns:
        (T, 3, H, W) uint8.

    Source: Cutout (arXiv:1708.04552) as STAM's authors use it on images, with a share of 0.5. Their code takes one
        image at a time, so with it each frame would get a colour, and a place, of its own; here the clip has one.
    """
    height, width = pixels_TCHW.shape[-2:]
    top, bottom, left, right = cutout_box(
        height, width, share=share, centre=(rng.randrange(height), rng.randrange(width))
    )
    colour = torch.tensor([rng.randrange(256) for _ in range(3)], dtype=torch.uint8)
    painted_TCHW = pixels_TCHW.clone()
    painted_TCHW[:, :, top:bottom, left:right] = colour.view(3, 1, 1)
    return painted_TCHW


def cutout_box(height: int, width: int, *, share: float, centre: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where the box lies: 112 x 112 pixels of 224 x 224 at a share of 0.5, less where it would leave the frame.

    Args:
        height: of the frame, pixels.
        width: of the frame, pixels.
        share: of each side. Half a box is `int(share * side + 0.5) // 2` pixels.
        centre: row and column, inside the frame; the first of the box's second half.

    Returns:
        top, bottom, left, right; pixels, half-open.

    Source: `CutoutPIL` of STAM's authors. PIL paints the far edges too, so that box is one pixel taller and wider.
    """
    (top, bottom), (left, right) = (
        (max(middle - int(share * side + 0.5) // 2, 0), min(middle + int(share * side + 0.5) // 2, side))
        for middle, side in zip(centre, (height, width), strict=True)
    )
    return top, bottom, left, right


def jitter_colour(pixels_TCHW: Tensor, rng: random.Random) -> Tensor:
    """Shift brightness, saturation, contrast and hue, in this order, by one draw each for the whole clip.

    Up to 32 of 255 is added or taken away; saturation and contrast are multiplied by a draw from [0.6, 1.4]; the hue
    turns by up to a fifth of the circle. Each step is rounded to uint8.

    Args:
        pixels_TCHW: (T, 3, H, W) uint8; not changed.
        rng: drawn from four times.

    Returns:
        (T, 3, H, W) uint8.

    Source: ranges and order of DMVR's `color_default_augm` (ViViT). Where we differ: saturation mixes with grey, as
        torchvision defines it, where DMVR multiplies the S of HSV; contrast is about the mean grey of the whole clip,
        where DMVR takes the mean of each frame and channel, which lets colours flicker; DMVR rounds once, at the end.
    """
    from torchvision.transforms.v2 import functional

    brightness, saturation, contrast, hue = (
        rng.uniform(-most, most) for most in (_BRIGHTNESS, _SATURATION, _CONTRAST, _HUE)
    )
    pixels_TCHW = _look_up(pixels_TCHW, torch.arange(256, dtype=torch.float64) + brightness)
    pixels_TCHW = functional.adjust_saturation(pixels_TCHW, 1 + saturation)
    pixels_TCHW = change_contrast(pixels_TCHW, 1 + contrast)
    changed_TCHW: Tensor = functional.adjust_hue(pixels_TCHW, hue)
    return changed_TCHW


def drop_colour(pixels_TCHW: Tensor) -> Tensor:
    """Grey frames of three equal channels: (T, 3, H, W) uint8 to the same."""
    from torchvision.transforms.v2 import functional

    grey_TCHW: Tensor = functional.rgb_to_grayscale(pixels_TCHW, num_output_channels=3)
    return grey_TCHW


def change_contrast(pixels_TCHW: Tensor, factor: float) -> Tensor:
    """Move every value away from the mean grey of the whole clip (`factor` above 1) or towards it.

    Args:
        pixels_TCHW: (T, 3, H, W) uint8; not changed.
        factor: 0 is grey, 1 changes nothing.

    Returns:
        (T, 3, H, W) uint8.
    """
    from torchvision.transforms.v2 import functional

    grey_T1HW = functional.rgb_to_grayscale(pixels_TCHW, num_output_channels=1)
    # Whole numbers, so that the mean does not depend on how many threads add them up.
    mean = int(grey_T1HW.sum(dtype=torch.int64)) / max(grey_T1HW.numel(), 1)
    return _look_up(pixels_TCHW, mean + factor * (torch.arange(256, dtype=torch.float64) - mean))


def _look_up(pixels: Tensor, values_256: Tensor) -> Tensor:
    """Exchange each value for the one in the table, rounded and held inside 0 to 255."""
    table = values_256.round().clamp(0, 255).to(torch.uint8)
    return table.index_select(0, pixels.flatten().int()).view(pixels.shape)
