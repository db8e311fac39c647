"""Every foreign layout: tensors come in, the one adapter that knows them goes out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from torch import Tensor, nn

from fewframes.weights.adapters import (
    pytorchvideo,
    resnet,
    stam,
    timesformer_hf,
    timesformer_official,
    timm_encoder,
    torchvision_video,
    tsm_official,
    videomae_hf,
    videomae_official,
    vit,
    vivit_hf,
    vivit_scenic,
)
from fewframes.weights.layout import Layout

__all__ = ["LAYOUTS", "layout_names", "layout_of"]

# By the name that `fewframes models convert --to` takes. Modules have the protocol's names, which mypy cannot see.
LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        name: cast(Layout, module)
        for name, module in {
            "pytorchvideo": pytorchvideo,
            "resnet": resnet,
            "stam": stam,
            "timesformer": timesformer_official,
            "timesformer_hf": timesformer_hf,
            "timm": timm_encoder,
            "torchvision_video": torchvision_video,
            "tsm": tsm_official,
            "videomae": videomae_official,
            "videomae_hf": videomae_hf,
            "vit": vit,
            "vivit": vivit_scenic,
            "vivit_hf": vivit_hf,
        }.items()
    }
)


def layout_of(tensors: Mapping[str, Tensor], model: nn.Module | None = None) -> Layout | None:
    """The foreign layout of a file's tensors; None if it is ours or unknown.

    Image models of timm have no signature in common: theirs is known only beside the network that has one as encoder.
    """
    if model is not None and timm_encoder.is_layout(tensors, model):
        return LAYOUTS["timm"]
    return next((each for each in LAYOUTS.values() if each.is_layout(tensors)), None)


def layout_names() -> tuple[str, ...]:
    """What the layouts are called."""
    return tuple(each.NAME for each in LAYOUTS.values())
