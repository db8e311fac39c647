"""Frames of a clip come in; the same frames after a few drawn operations, the same for every frame, go out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from fewframes.errors import UnknownName, UsageError
from fewframes.video.augment_colour import change_contrast

__all__ = ["NO_POLICY", "POLICIES", "Policy", "apply_policy"]

POLICIES = ("none", "autoaugment", "randaugment", "trivialaugment")
_BINS = 31
# What rotating, shearing and shifting leave empty is grey, as in the reference implementations of the policies.
_FILL = 128


@dataclass(frozen=True)
class Policy:
    """Which operations may be drawn.

    Attributes:
        name: "none"; "autoaugment", the policy that was found on ImageNet; "randaugment"; "trivialaugment".
        layers: how many operations RandAugment draws, >= 1.
        magnitude: of each of RandAugment's, 0 to 30; 30 is the strongest.
    """

    name: Literal["none", "autoaugment", "randaugment", "trivialaugment"] = "none"
    layers: int = 2
    magnitude: int = 9

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise UnknownName("augmentation policy", self.name, POLICIES)
        if self.layers < 1 or not 0 <= self.magnitude < _BINS:
            raise UsageError(
                f"RandAugment with {self.layers} layers of magnitude {self.magnitude}; expected at least 1 layer and a "
                f"magnitude of 0 to {_BINS - 1}"
            )


NO_POLICY = Policy()


def apply_policy(pixels_TCHW: Tensor, policy: Policy, rng: random.Random) -> Tensor:
    """Draw operations and their magnitudes once, and apply them to every frame alike.

    Operations that look at a picture's values before they change them (AutoContrast, Equalize, Contrast) look at all
    frames together, so that equal pixels stay equal in all frames and nothing flickers.

    torchvision draws from torch's global generator. Its state is put back afterwards; do not call this from several
    threads at once.

    Args:
        pixels_TCHW: (T, 3, H, W) uint8; not changed.
        policy: what may be drawn; "none" changes nothing.
        rng: drawn from once.

    Returns:
        (T, 3, H, W) uint8.

    Source: torchvision's AutoAugment (arXiv:1805.09501), RandAugment (arXiv:1909.13719) and TrivialAugmentWide
        (arXiv:2103.10158), whose draws may change with its version. STAM states AutoAugment's ImageNet policy "on all
        frames". ViViT's RandAugment is another one: no rotating, shearing or shifting, some more operations, each with
        a probability of its own, and magnitudes out of 10 of which it takes 15 and 20.
    """
    seed = rng.getrandbits(63)
    transform = _transform(policy)
    if transform is None:
        return pixels_TCHW
    with torch.random.fork_rng(devices=[]):
        # Not `torch.manual_seed`, which would seed GPUs as well.
        torch.default_generator.manual_seed(seed)
        changed_TCHW: Tensor = transform(pixels_TCHW.as_subclass(_clip_kind()))
    return changed_TCHW.as_subclass(Tensor)


@cache
def _transform(policy: Policy) -> Any:  # noqa: ANN401 - torchvision has no types
    from torchvision.transforms import v2

    if policy.name == "autoaugment":
        return v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET, fill=_FILL)
    if policy.name == "randaugment":
        return v2.RandAugment(policy.layers, policy.magnitude, num_magnitude_bins=_BINS, fill=_FILL)
    return v2.TrivialAugmentWide(num_magnitude_bins=_BINS, fill=_FILL) if policy.name == "trivialaugment" else None


@cache
def _clip_kind() -> type[Tensor]:
    """The kind of tensor that torchvision counts the values of over all frames, where it usually takes one by one."""
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    class ClipPixels(tv_tensors.Video):  # type: ignore[misc]
        """(T, 3, H, W) uint8 whose frames are one picture to whatever counts their values."""

    def as_one_picture(operation: Any) -> Any:  # noqa: ANN401 - as above
        def kernel(clip: Tensor) -> Tensor:
            pixels_TCHW = clip.as_subclass(Tensor)
            count, channels, height, width = pixels_TCHW.shape
            tall = operation(pixels_TCHW.transpose(0, 1).reshape(channels, count * height, width))
            changed_TCHW: Tensor = tall.view(channels, count, height, width).transpose(0, 1)
            return changed_TCHW.as_subclass(ClipPixels)

        return kernel

    def contrast(clip: Tensor, contrast_factor: float) -> Tensor:
        return change_contrast(clip.as_subclass(Tensor), contrast_factor).as_subclass(ClipPixels)

    for operation in (functional.equalize, functional.autocontrast):
        functional.register_kernel(operation, ClipPixels)(as_one_picture(operation))
    functional.register_kernel(functional.adjust_contrast, ClipPixels)(contrast)
    return ClipPixels
