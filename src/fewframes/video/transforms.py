"""Comes in: uint8 frames (T, 3, H, W). Goes out: a model's float32 input (T, 3, h, w)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from fewframes.errors import UsageError
from fewframes.records import Interpolation, Preprocess

__all__ = ["preprocess", "resize", "resize_and_crop", "resize_short_side", "to_float", "with_crop"]


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
    """The geometry of `preprocess`: resize, round to uint8, then crop the centre.

    The short side becomes `spec.resize_short`, the long side `int(resize_short * long / short)`; or the frame becomes
    `spec.resize_to` whatever its aspect; a frame that has that size already is not touched. With neither, the frame is
    squeezed to `spec.crop`. A crop that cannot be centred exactly rounds half to even. Every frame's result is the
    same whatever other frames are in the batch.

    Args:
        pixels: (T, 3, H, W) uint8; not changed.
        spec: `mean`, `std` and `channel_order` are not looked at.

    Returns:
        (T, 3, h, w) uint8 with (h, w) = `spec.crop`; may share memory with `pixels`.

    Raises:
        UsageError: `pixels` is not (T, 3, H, W) uint8.

    Source: STAM release, evaluation transform (PIL bilinear resize, centre crop). Antialiased, bilinear differs from
        PIL by at most 1/255, and so does bicubic but for one value in ten thousand, which differs by 2/255; not
        antialiased, both equal torchvision's presets for video, bit for bit in one thread.
    """
    if spec.resize_short is not None:
        short = spec.resize_short
        pixels = resize_short_side(pixels, short, interpolation=spec.interpolation, antialias=spec.antialias)
    else:
        size = spec.resize_to or spec.crop
        pixels = resize(pixels, size, interpolation=spec.interpolation, antialias=spec.antialias)
    crop_height, crop_width = spec.crop
    top = round((pixels.shape[-2] - crop_height) / 2)
    left = round((pixels.shape[-1] - crop_width) / 2)
    return pixels[..., top : top + crop_height, left : left + crop_width]


def resize_short_side(
    pixels: torch.Tensor, short: int, *, interpolation: Interpolation = "bilinear", antialias: bool = True
) -> torch.Tensor:
    """Resize so that the short side has `short` pixels, rounded to uint8.

    The long side becomes `int(short * long_before / short_before)`; frames of that size are given back as they are.

    Args:
        pixels: (T, 3, H, W) uint8; not changed.
        short: pixels, >= 1.
        interpolation: as for `resize`.
        antialias: as for `resize`.

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
    size = (int(short * height / before), int(short * width / before))
    return resize(pixels, size, interpolation=interpolation, antialias=antialias)


def resize(
    pixels: torch.Tensor,
    size: tuple[int, int],
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = True,
) -> torch.Tensor:
    """Resize to a size, rounded to uint8 and held inside 0 to 255; frames of that size are given back as they are.

    Args:
        pixels: (T, 3, H, W) uint8; not changed.
        size: (height, width) in pixels, both >= 1.
        interpolation: "bilinear" or "bicubic".
        antialias: whether shrinking averages over all pixels, as PIL does. Without, torch rounds a value in 100,000
            to its other neighbour if the number of threads changes from or to one.

    Returns:
        (T, 3, *size) uint8.

    Raises:
        UsageError: `pixels` is not (T, 3, H, W) uint8.
    """
    _check_pixels(pixels)
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    # One memory layout for every batch: the kernels for the two layouts need not round alike.
    if antialias:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return functional.interpolate(pixels, size=size, mode=interpolation, antialias=True)
    # In float32 like torchvision, as the uint8 kernel rounds otherwise; one frame at a time, as that takes four times
    # the memory.
    pixels = pixels.contiguous()
    return torch.cat([_resize_in_float(pixels[k : k + 1], size, interpolation) for k in range(pixels.shape[0])])


def _resize_in_float(pixels: torch.Tensor, size: tuple[int, int], interpolation: Interpolation) -> torch.Tensor:
    resized = functional.interpolate(pixels.float(), size=size, mode=interpolation, align_corners=False)
    return resized.clamp_(0, 255).round_().to(torch.uint8)


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


def with_crop(spec: Preprocess, crop: tuple[int, int]) -> Preprocess:
    """The same preprocessing for a network with another input size.

    What frames are resized to keeps its proportion to the crop, rounded down: a short side of 256 for a crop of
    224 x 224 becomes 128 for 112 x 112, and 256 for 224 x 112, where the longer side counts.

    Args:
        spec: stays as it is.
        crop: (height, width) of the new input in pixels, both >= 1.

    Raises:
        UsageError: `crop` is below one pixel.

    Source: STAM release, `int(size / 0.875)`.
    """
    short, size = spec.resize_short, spec.resize_to
    if short is not None:
        short = max(crop) * short // max(spec.crop)
    if size is not None:
        size = (crop[0] * size[0] // spec.crop[0], crop[1] * size[1] // spec.crop[1])
    return replace(spec, crop=crop, resize_short=short, resize_to=size)


def _check_pixels(pixels: torch.Tensor) -> None:
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise UsageError(
            f"pixels are {tuple(pixels.shape)} {str(pixels.dtype).removeprefix('torch.')}; "
            "expected (T, 3, H, W) uint8, such as the pixels that frames_at returns"
        )
