"""Image models of timm: a file of the very model that a network has as its frame encoder comes in, ours goes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.stam_timm import StamTimm
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "export", "fits", "is_layout", "translate"]

NAME = "timm image model"

_PREFIX = "encoder.net."


def is_layout(tensors: Mapping[str, Tensor], model: nn.Module | None = None) -> bool:
    """Whether most of these tensors have names of the model's encoder; timm's models share no other signature."""
    if not isinstance(model, StamTimm) or not tensors:
        return False
    return len(set(model.encoder.net.state_dict()) & set(tensors)) * 2 > len(tensors)


def fits(model: nn.Module) -> bool:
    """Whether this network has an encoder of timm."""
    return isinstance(model, StamTimm)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The file's tensors behind the encoder's prefix; its classifier of images is left out, the rest stays new."""
    assert isinstance(model, StamTimm)
    encoder = set(model.encoder.net.state_dict())
    classifiers = _classifiers(model.encoder.net)
    unused = [name for name in tensors if name not in encoder and name.startswith(classifiers)]
    kept = {
        _PREFIX + name if name in encoder else name: tensor for name, tensor in tensors.items() if name not in unused
    }
    return Translation(
        kept,
        may_lack=("aggregate.", "head."),
        unused=tuple(f"{name} ({', '.join(map(str, tensors[name].shape))})" for name in unused),
    )


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """An image model is no video model yet."""
    raise InvalidCheckpoint("the file holds an image model, which says nothing of videos; use it to start a training")


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The frame encoder alone, in timm's names: a file that `timm.create_model(name, num_classes=0)` takes."""
    del config
    return {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_PREFIX)}


def _classifiers(net: nn.Module) -> tuple[str, ...]:
    """Prefixes of the layers that timm leaves out of a model without classes."""
    stated = getattr(net, "pretrained_cfg", {}).get("classifier") or "head"
    return tuple(f"{name}." for name in ([stated] if isinstance(stated, str) else stated))
