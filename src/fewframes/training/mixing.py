"""A batch of clips and its targets come in; clips blended or patched with those of the reversed batch go out.

Each clip's partner is the one at its place in the reversed batch (the middle one of an odd batch is its own), and one
draw serves the whole batch, all frames alike, as in ViViT. Targets are shares of classes: see `soft_targets`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fewframes.errors import UsageError

__all__ = ["Box", "Mixed", "cutmix", "draw_box", "draw_share", "mix", "mix_batch", "mixup", "soft_targets"]


class Mixed(NamedTuple):
    """A mixed batch.

    Attributes:
        clips_BTCHW: of the shape that came in.
        targets_BK: of the shape that came in, floating point.
        share: how much each clip kept of itself, 0 to 1; its weight in the loss, if it has one, mixes by
            `mix(weights_B, share)`.
    """

    clips_BTCHW: Tensor
    targets_BK: Tensor
    share: float


class Box(NamedTuple):
    """A rectangle of pixels; `bottom` and `right` are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def soft_targets(labels: Tensor, class_splits: Sequence[int]) -> Tensor:
    """Classes as shares, 1 for the right one and 0 for all others.

    Args:
        labels: (B,) integers; or (B, H), one class for each head, counted within it.
        class_splits: classes of each head: (400,), or (300, 97).

    Returns:
        (B, K) float32, the heads side by side.

    Raises:
        UsageError: a shape does not fit, or the labels are no integers.
    """
    heads = labels.unsqueeze(1) if labels.ndim == 1 else labels
    if heads.ndim != 2 or heads.shape[1] != len(class_splits) or heads.is_floating_point():
        raise UsageError(
            f"labels have shape {tuple(labels.shape)} and dtype {labels.dtype}; "
            f"expected integers (B, {len(class_splits)}), or (B,) for one head"
        )
    parts = [F.one_hot(each.long(), classes) for each, classes in zip(heads.unbind(1), class_splits, strict=True)]
    return torch.cat(parts, dim=1).float()


def mix(values: Tensor, share: float) -> Tensor:
    """`share * values + (1 - share) * values of the reversed batch`.

    Args:
        values: (B, ...); floating point keeps its dtype, everything else becomes float32.
        share: 0 to 1.
    """
    if not values.is_floating_point():
        values = values.float()
    return share * values + (1 - share) * values.flip(0)


def mixup(clips_BTCHW: Tensor, targets_BK: Tensor, share: float) -> Mixed:
    """Blend every pixel and every target with the partner's.

    Args:
        clips_BTCHW: (B, T, 3, H, W) uint8 or floating point; not changed. uint8 comes back as float32 from 0 to 255,
            not rounded: whether colours are normalised before or after makes no difference but for rounding.
        targets_BK: (B, K) shares, or any other numbers (B, ...) that may be blended.
        share: how much each clip keeps of itself, 0 to 1, such as `draw_share` draws.

    Source: Zhang et al. 2017, "mixup"; the reversed batch as in ViViT (Scenic).
    """
    _check_batch(clips_BTCHW, targets_BK)
    return Mixed(mix(clips_BTCHW, share), mix(targets_BK, share), share)


def cutmix(clips_BTCHW: Tensor, targets_BK: Tensor, box: Box) -> Mixed:
    """Replace a box, the same in all frames, with the partner's; targets mix by the area that is left.

    Args:
        clips_BTCHW: (B, T, 3, H, W) of any dtype, which is kept; not changed.
        targets_BK: as for `mixup`.
        box: inside the frames, such as `draw_box` draws.

    Raises:
        UsageError: the box reaches outside the frames.

    Source: Yun et al. 2019, "CutMix", with the share corrected to the box's true area.
    """
    _check_batch(clips_BTCHW, targets_BK)
    height, width = clips_BTCHW.shape[-2:]
    if not (0 <= box.top <= box.bottom <= height and 0 <= box.left <= box.right <= width):
        raise UsageError(f"{box} reaches outside frames of {height} x {width} pixels")
    inside = (..., slice(box.top, box.bottom), slice(box.left, box.right))
    mixed_BTCHW = clips_BTCHW.clone()
    mixed_BTCHW[inside] = clips_BTCHW.flip(0)[inside]
    share = 1 - box.area / (height * width)
    return Mixed(mixed_BTCHW, mix(targets_BK, share), share)


def draw_share(alpha: float, generator: torch.Generator) -> float:
    """One draw from Beta(alpha, alpha), 0 to 1: about one half for large alphas, near 0 or 1 for small ones.

    Args:
        alpha: > 0; 1 is the uniform distribution.
        generator: one number is drawn from it.

    Raises:
        UsageError: `alpha` is not a finite number above 0.
    """
    if not 0 < alpha < math.inf:
        raise UsageError(f"alpha is {alpha}; expected a finite number above 0")
    # torch's own Beta takes no generator.
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
    return random.Random(seed).betavariate(alpha, alpha)


def draw_box(share: float, height: int, width: int, *, generator: torch.Generator) -> Box:
    """A box of the frame's aspect and about `1 - share` of its area, centred anywhere and cut off at the borders.

    Args:
        share: how much is to stay outside, 0 to 1.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        generator: two numbers are drawn from it.

    Half a side of the box is `floor(floor(side of the frame * sqrt(1 - share)) / 2)`.

    Source: Yun et al. 2019, "CutMix", as released.
    """
    side = math.sqrt(1 - share)
    top, bottom = _draw_range(height, int(height * side) // 2, generator)
    left, right = _draw_range(width, int(width * side) // 2, generator)
    return Box(top, bottom, left, right)


def mix_batch(
    clips_BTCHW: Tensor,
    targets_BK: Tensor,
    *,
    generator: torch.Generator,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> Mixed:
    """Draw, and mix a batch: by mixup or by cutmix, whichever has an alpha; by either, as a coin falls, if both have.

    Args:
        clips_BTCHW: as for `mixup`.
        targets_BK: as for `mixup`.
        generator: everything is drawn from it: the coin if there is one, the share, the box.
        mixup_alpha: of `draw_share`; 0 is no mixup.
        cutmix_alpha: of `draw_share`; 0 is no cutmix.

    Raises:
        UsageError: neither has an alpha, or one is negative or not finite; a shape does not fit.
    """
    if not (0 <= mixup_alpha < math.inf and 0 <= cutmix_alpha < math.inf and mixup_alpha + cutmix_alpha > 0):
        raise UsageError(
            f"mixup_alpha is {mixup_alpha} and cutmix_alpha {cutmix_alpha}; expected one of them above 0, none below"
        )
    cuts = cutmix_alpha > 0
    if cuts and mixup_alpha > 0:
        cuts = bool(torch.randint(2, (), generator=generator, device=generator.device))
    if not cuts:
        return mixup(clips_BTCHW, targets_BK, draw_share(mixup_alpha, generator))
    height, width = clips_BTCHW.shape[-2:]
    return cutmix(
        clips_BTCHW, targets_BK, draw_box(draw_share(cutmix_alpha, generator), height, width, generator=generator)
    )


def _draw_range(size: int, half: int, generator: torch.Generator) -> tuple[int, int]:
    centre = int(torch.randint(size, (), generator=generator, device=generator.device))
    return max(centre - half, 0), min(centre + half, size)


def _check_batch(clips_BTCHW: Tensor, targets_BK: Tensor) -> None:
    if clips_BTCHW.ndim != 5 or targets_BK.ndim < 1 or targets_BK.shape[0] != clips_BTCHW.shape[0]:
        raise UsageError(
            f"clips have shape {tuple(clips_BTCHW.shape)}, targets {tuple(targets_BK.shape)}; "
            "expected (B, T, 3, H, W) and (B, K)"
        )
