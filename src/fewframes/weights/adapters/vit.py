"""The ViT layout of timm (and of the STAM release with mean aggregation): its tensors come in, ours go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.stam import Stam
from fewframes.weights.biases import zeros_for_absent_biases
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "fits", "is_layout", "translate", "translate_name"]

NAME = "ViT (timm, or STAM release with mean aggregation)"

_SIGNATURE = {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"}


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of an image ViT with one class token."""
    names = set(tensors)
    return names >= _SIGNATURE and not any(name.startswith(("aggregate.", "time_embed")) for name in names)


def fits(model: nn.Module) -> bool:
    """Whether an image ViT can fill a part of this network."""
    return isinstance(model, Stam)


def translate_name(name: str) -> str:
    """Our name of a tensor of the ViT, such as "encoder.blocks.0.norm1.weight" for "blocks.0.norm1.weight"."""
    return name if name.startswith("head.") else f"encoder.{name}"


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The ViT's tensors in our names; the temporal aggregator stays new."""
    assert isinstance(model, Stam)
    named = {translate_name(name): tensor for name, tensor in tensors.items()}
    completed = zeros_for_absent_biases(named, model)
    notes = completed.notes
    if model.config.norm_eps != 1e-6:
        notes += (
            "ViTs of timm were trained with norm_eps=1e-6 and a mean and std of their own; "
            f"this model has norm_eps={model.config.norm_eps:g}: set both as the file's author says",
        )
    return replace(completed, may_lack=("aggregate.",), notes=notes)


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """An image model is no video model yet."""
    raise InvalidCheckpoint("the file holds an image model, which says nothing of videos; use it to start a training")
