"""Randomness of training: the frames of one clip come in, one random view of all of them goes out."""

from __future__ import annotations

import random
from dataclasses import dataclass

from torch import Tensor

from fewframes.errors import UsageError
from fewframes.records import Preprocess
from fewframes.video.augment_colour import cut_out, drop_colour, jitter_colour
from fewframes.video.augment_policy import NO_POLICY, Policy, apply_policy
from fewframes.video.transforms import resize, resize_short_side

__all__ = ["Augment", "RandomView", "base_size", "check_augment", "random_view"]


@dataclass(frozen=True)
class Augment:
    """What may happen to a clip; every draw is made once for all of its frames.

    Attributes:
        min_zoom: above 0; frames are resized to the model's size, times a draw from [`min_zoom`, `max_zoom`].
        max_zoom: >= `min_zoom`.
        inverse_zoom: draw the inverse of the zoom evenly, as SlowFast's code does: from 256 to 320 pixels the mean is
            then 285.6 and not 288.
        scale_jitter: height and width are also multiplied by a draw each from this range, which changes the aspect;
            [0.9, 1.33] in ViViT's configs, by DMVR's rule.
        flip_probability: of mirroring left and right, 0 to 1.
        cutout: the share of each side that a box of one colour takes, 0 to 1; see `cut_out`.
        colour_jitter: probability of `jitter_colour`.
        colour_drop: probability of `drop_colour`.
        policy: see `apply_policy`; excludes both changes of colour.
    """

    min_zoom: float = 1.0
    max_zoom: float = 1.25
    inverse_zoom: bool = False
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    flip_probability: float = 0.0
    cutout: float = 0.0
    colour_jitter: float = 0.0
    colour_drop: float = 0.0
    policy: Policy = NO_POLICY


@dataclass(frozen=True, eq=False)
class RandomView:
    """One random view of a clip.

    Attributes:
        pixels: (T, 3, h, w) uint8.
        mirrored: whether left and right changed places.
    """

    pixels: Tensor
    mirrored: bool


_USUAL = Augment()


def random_view(
    pixels_TCHW: Tensor,
    spec: Preprocess,
    rng: random.Random,
    augment: Augment = _USUAL,
    *,
    may_mirror: bool = True,
) -> RandomView:
    """Change a clip at random, all of its frames alike: size, crop, sides, then a box of colour, then the colours.

    With the usual settings the short side becomes `spec.resize_short` times a uniform draw from [1, 1.25]: 256 to 320
    pixels for the 224-pixel STAM, as in the paper's section 4.1. With `spec.resize_to`, both of its sides are
    multiplied. Everything follows from four draws: what one setting draws does not depend on the other settings, nor
    on the process that draws.

    Args:
        pixels_TCHW: (T, 3, H, W) uint8; not changed.
        spec: the model's transform; gives the crop, the size before it, and how that is reached.
        rng: drawn from four times, whatever the settings.
        augment: what may happen.
        may_mirror: whether this clip may be mirrored at all. A mirrored "move left" is a "move right".

    Returns:
        The view, (T, 3, *spec.crop) uint8.

    Raises:
        UsageError: the settings contradict each other or the crop; see `check_augment`.

    Source: order of the steps as in the image recipes of STAM's authors (crop, Cutout, policy).
    """
    check_augment(augment, spec)
    draws = zoom, down, right, mirror = rng.random(), rng.random(), rng.random(), rng.random()
    pixels_TCHW = _resized(pixels_TCHW, spec, augment, zoom=zoom, rng=_stream("scale jitter", draws))
    crop_height, crop_width = spec.crop
    top = int(down * (pixels_TCHW.shape[2] - crop_height + 1))
    left = int(right * (pixels_TCHW.shape[3] - crop_width + 1))
    view_TCHW = pixels_TCHW[:, :, top : top + crop_height, left : left + crop_width]
    mirrored = may_mirror and mirror < augment.flip_probability
    view_TCHW = view_TCHW.flip(3) if mirrored else view_TCHW
    if augment.cutout:
        view_TCHW = cut_out(view_TCHW, augment.cutout, _stream("cutout", draws))
    if augment.policy.name != "none":
        view_TCHW = apply_policy(view_TCHW, augment.policy, _stream("policy", draws))
    if augment.colour_jitter or augment.colour_drop:
        chance = _stream("colour", draws)
        jittered, dropped = chance.random() < augment.colour_jitter, chance.random() < augment.colour_drop
        view_TCHW = jitter_colour(view_TCHW, chance) if jittered else view_TCHW
        view_TCHW = drop_colour(view_TCHW) if dropped else view_TCHW
    return RandomView(view_TCHW.contiguous(), mirrored)


def base_size(spec: Preprocess) -> int:
    """What a zoom of 1 makes of a frame's short side, in pixels."""
    if spec.resize_to is not None:
        return min(spec.resize_to)
    return spec.resize_short if spec.resize_short is not None else max(spec.crop)


def check_augment(augment: Augment, spec: Preprocess) -> None:
    """Raise `UsageError` where settings contradict each other, or frames may become smaller than the model's crop."""
    if not 0 < augment.min_zoom <= augment.max_zoom:
        raise UsageError(
            f"min_zoom is {augment.min_zoom} and max_zoom {augment.max_zoom}; expected 0 < min_zoom <= max_zoom"
        )
    if not 0 < augment.scale_jitter[0] <= augment.scale_jitter[1]:
        raise UsageError(f"scale_jitter is {augment.scale_jitter}; expected a lower and an upper factor above 0")
    if augment.policy.name != "none" and (augment.colour_jitter or augment.colour_drop):
        raise UsageError(
            f"policy {augment.policy.name!r} changes colours itself; leave it out, or set colour_jitter and "
            "colour_drop to 0"
        )
    base = base_size(spec)
    sizes, crop = (spec.resize_to, spec.crop) if spec.resize_to is not None else ((base, base), (max(spec.crop),) * 2)
    for size, side in zip(sizes, crop, strict=True):
        smallest = int(round(size * augment.min_zoom) * augment.scale_jitter[0])
        if smallest < side:
            raise UsageError(
                f"min_zoom {augment.min_zoom} times scale_jitter {augment.scale_jitter[0]} may make {smallest} of "
                f"{size} pixels, less than the crop of {side}; their product must be {side / size:.4g} at least"
            )


def _resized(pixels_TCHW: Tensor, spec: Preprocess, augment: Augment, *, zoom: float, rng: random.Random) -> Tensor:
    """Frames at the drawn size; interpolated once, whatever the settings."""
    least, most = augment.min_zoom, augment.max_zoom
    factor = 1 / (1 / most + zoom * (1 / least - 1 / most)) if augment.inverse_zoom else least + zoom * (most - least)
    interpolation, antialias = spec.interpolation, spec.antialias
    short = round(base_size(spec) * factor)
    if spec.resize_to is not None:
        size = (round(spec.resize_to[0] * factor), round(spec.resize_to[1] * factor))
    elif augment.scale_jitter == (1.0, 1.0):
        return resize_short_side(pixels_TCHW, short, interpolation=interpolation, antialias=antialias)
    else:
        height, width = pixels_TCHW.shape[-2:]
        size = (int(short * height / min(height, width)), int(short * width / min(height, width)))
    if augment.scale_jitter != (1.0, 1.0):
        lower, upper = augment.scale_jitter
        taller, wider = lower + rng.random() * (upper - lower), lower + rng.random() * (upper - lower)
        size = (int(size[0] * taller), int(size[1] * wider))
    return resize(pixels_TCHW, size, interpolation=interpolation, antialias=antialias)


def _stream(name: str, draws: tuple[float, ...]) -> random.Random:
    """A source of its own for one kind of change, so that switching it on or off moves no other."""
    return random.Random(f"{name}/{draws}")
