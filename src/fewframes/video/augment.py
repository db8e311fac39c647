"""Randomness of training: the frames of one clip come in, one random view of all of them goes out."""

from __future__ import annotations

import random

from torch import Tensor

from fewframes.records import Preprocess
from fewframes.video.transforms import resize, resize_short_side

__all__ = ["random_view"]


def random_view(
    pixels_TCHW: Tensor,
    spec: Preprocess,
    rng: random.Random,
    *,
    max_zoom: float = 1.25,
    flip_probability: float = 0.0,
) -> Tensor:
    """Resize to a random scale, crop at a random place and mirror at random; the same for every frame of the clip.

    The short side becomes `spec.resize_short` times a uniform draw from [1, `max_zoom`]: 256 to 320 pixels for the
    224-pixel STAM, as in the paper's section 4.1. With `spec.resize_to`, both of its sides are multiplied.

    Args:
        pixels_TCHW: (T, 3, H, W) uint8.
        spec: the model's transform; gives the crop, the size before it, and how that is reached.
        rng: drawn from four times, whatever the settings.
        max_zoom: >= 1.
        flip_probability: 0 to 1. A mirrored "move left" is a "move right": keep 0 where sides matter.

    Returns:
        (T, 3, *spec.crop) uint8.
    """
    zoom, down, right, mirror = 1 + rng.random() * (max_zoom - 1), rng.random(), rng.random(), rng.random()
    crop_height, crop_width = spec.crop
    interpolation, antialias = spec.interpolation, spec.antialias
    if spec.resize_to is not None:
        size = (round(spec.resize_to[0] * zoom), round(spec.resize_to[1] * zoom))
        pixels_TCHW = resize(pixels_TCHW, size, interpolation=interpolation, antialias=antialias)
    else:
        short = round((spec.resize_short if spec.resize_short is not None else max(spec.crop)) * zoom)
        pixels_TCHW = resize_short_side(pixels_TCHW, short, interpolation=interpolation, antialias=antialias)
    top = int(down * (pixels_TCHW.shape[2] - crop_height + 1))
    left = int(right * (pixels_TCHW.shape[3] - crop_width + 1))
    view_TCHW = pixels_TCHW[:, :, top : top + crop_height, left : left + crop_width]
    if mirror < flip_probability:
        view_TCHW = view_TCHW.flip(3)
    return view_TCHW.contiguous()
