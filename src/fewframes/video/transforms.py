"""Comes in: uint8 frames (T, 3, H, W). Goes out: a model's float32 input (T, 3, h, w)."""

from __future__ import annotations

import torch
from torch.nn import functional

from fewframes.errors import UsageError
from fewframes.records import Preprocess

__all__ = ["preprocess", "resize_and_crop", "resize_short_side", "to_float"]


def preprocess(pixels: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    """What a model is fed: `to_float(resize_and_crop(pixels, spec), spec)`.

    Args:
        pixels: (T, 3, H, W) uint8, RGB; not changed.
        spec: the model's own preprocessing.

    Returns:
        (T, 3, h, w) float32 with (h, w) = `spec.crop`, contiguous.

    Raises:
        UsageError: `pixels` is not (T, 3, H, W) uint8.
    """
    return to_float(resize_and_crop(pixels, spec), spec)


def resize_and_crop(pixels: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    """The geometry of `preprocess`: resize (bilinear, antialiased, rounded to uint8), then crop the centre.

    The short side becomes `spec.resize_short`, the long side `int(resize_short * long / short)`; a frame that has that
    size already is not touched. With `resize_short` None the frame is squeezed to `spec.crop`. A crop that cannot be
    centred exactly rounds half to even. Every frame's result is the same whatever other frames are in the batch.

    Args:
        pixels: (T, 3, H, W) uint8; not changed.
        spec: only `crop` and `resize_short` are looked at.

    Returns:
        (T, 3, h, w) uint8 with (h, w) = `spec.crop`; may share memory with `pixels`.

    Raises:
        UsageError: `pixels` is not (T, 3, H, W) uint8.

    Source: STAM release, evaluation transform (PIL bilinear resize, centre crop). Differs from PIL by at most 1/255.
    """
    _check_pixels(pixels)
    crop_height, crop_width = spec.crop
    if spec.resize_short is None:
        return _resize(pixels, crop_height, crop_width)
    pixels = resize_short_side(pixels, spec.resize_short)
    top = round((pixels.shape[-2] - crop_height) / 2)
    left = round((pixels.shape[-1] - crop_width) / 2)
    return pixels[..., top : top + crop_height, left : left + crop_width]


def resize_short_side(pixels: torch.Tensor, short: int) -> torch.Tensor:
    """Resize so that the short side has `short` pixels, bilinear and antialiased, rounded to uint8.

    The long side becomes `int(short * long_before / short_before)`; frames of that size are given back as they are.

    Args:
        pixels: (T, 3, H, W) uint8; not changed.
        short: pixels, >= 1.

    Returns:
        (T, 3, h, w) uint8 with min(h, w) = `short`.

    Raises:
        UsageError: `pixels` is not (T, 3, H, W) uint8, or `short` is below 1.
    """
    _check_pixels(pixels)
    if short < 1:
        raise UsageError(f"short is {short}; expected at least 1 pixel")
    height, width = pixels.shape[-2:]
    before = min(height, width)
    # The same expression as the reference's: the division may round, so its order matters.
    return _resize(pixels, int(short * height / before), int(short * width / before))


def to_float(pixels: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    """The values of `preprocess`: scale to [0, 1], subtract `mean`, divide by `std`, then reorder the channels.

    `spec.mean` and `spec.std` are in the order red, green, blue, also when `spec.channel_order` is "bgr".

    Args:
        pixels: (T, 3, H, W) uint8, RGB, of any size; not changed.
        spec: only `mean`, `std` and `channel_order` are looked at.

    Returns:
        (T, 3, H, W) float32, contiguous, on the device of `pixels`.

    Raises:
        UsageError: `pixels` is not (T, 3, H, W) uint8.
    """
    _check_pixels(pixels)
    clip = pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    if any(spec.mean) or any(std != 1.0 for std in spec.std):
        mean, std = (torch.tensor(values, device=clip.device).view(3, 1, 1) for values in (spec.mean, spec.std))
        clip = clip.sub_(mean).div_(std)
    return clip.flip(1) if spec.channel_order == "bgr" else clip


def _resize(pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if tuple(pixels.shape[-2:]) == (height, width):
        return pixels
    # One memory layout for every batch: the kernels for the two layouts need not round alike.
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    return functional.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True)


def _check_pixels(pixels: torch.Tensor) -> None:
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise UsageError(
            f"pixels are {tuple(pixels.shape)} {str(pixels.dtype).removeprefix('torch.')}; "
            "expected (T, 3, H, W) uint8, such as the pixels that frames_at returns"
        )
