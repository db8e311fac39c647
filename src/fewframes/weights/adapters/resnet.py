"""Image ResNets of torchvision and timm: their tensors come in, start values of TSM and of inflated networks go out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.nonlocal_net import NonLocalBlock, NonLocalNet
from fewframes.models.tsm import Tsm
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "absent_counters", "describe", "fits", "inflate", "is_layout", "translate"]

NAME = "ResNet (torchvision, timm)"

_SIGNATURE = {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight"}
_COUNTER = ".num_batches_tracked"


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of an image ResNet."""
    return set(tensors) >= _SIGNATURE and tensors["conv1.weight"].ndim == 4


def fits(model: nn.Module) -> bool:
    """Whether an image ResNet can fill a part of this network."""
    return isinstance(model, Tsm | NonLocalNet)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The ResNet's tensors in our names, inflated where the network looks across time.

    The classifier of images is left out; non-local blocks stay new.
    """
    assert isinstance(model, Tsm | NonLocalNet)
    prefix = "encoder." if isinstance(model, Tsm) else "trunk."
    target = model.state_dict()
    unused = [name for name in tensors if name.startswith("fc.")]
    named = {prefix + name: tensor for name, tensor in tensors.items() if name not in unused}
    inflated = {
        name: inflate(tensor, target[name].shape[2]) if _wants_time(tensor, target.get(name)) else tensor
        for name, tensor in named.items()
    }
    counters = absent_counters(inflated, target)
    blocks = [name for name, module in model.named_modules() if isinstance(module, NonLocalBlock)]
    return Translation(
        {**inflated, **counters},
        may_lack=("head.", *(f"{name}." for name in blocks)),
        filled=tuple(counters),
        unused=tuple(f"{name} ({', '.join(map(str, tensors[name].shape))})" for name in unused),
        notes=(
            "image ResNets were trained with mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225) as a rule: "
            "preprocess as the file's author says",
        ),
    )


def inflate(weight_OIHW: Tensor, num_frames: int) -> Tensor:
    """A 2-D convolution's weight for a 3-D one: repeated over time and divided by it.

    Where all frames under the kernel are alike, the inflated convolution gives what the 2-D one gives. Zero padding
    makes the first and last frames of a clip an exception.

    Args:
        weight_OIHW: (O, I, H, W).
        num_frames: T, of the new kernel, >= 1.

    Returns:
        (O, I, T, H, W).

    Source: Carreira, Zisserman 2017, section 2.4.
    """
    return weight_OIHW.unsqueeze(2).expand(-1, -1, num_frames, -1, -1) / num_frames


def absent_counters(tensors: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Zeros for the batch norms' counters of steps, which files of old PyTorch versions lack and nothing here uses."""
    return {
        name: torch.zeros_like(value)
        for name, value in target.items()
        if name.endswith(_COUNTER) and name not in tensors and f"{name.removesuffix(_COUNTER)}.weight" in tensors
    }


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """An image model is no video model yet."""
    raise InvalidCheckpoint("the file holds an image model, which says nothing of videos; use it to start a training")


def _wants_time(tensor: Tensor, current: Tensor | None) -> bool:
    return current is not None and tensor.ndim == 4 and current.ndim == 5
