"""The TimeSformer release's layout: its tensors come in, ours go out, and back."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fewframes.cards.card import ModelCard
from fewframes.cards.timesformer import CARDS
from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.timesformer import Timesformer, TimesformerConfig
from fewframes.records import Preprocess, Sampling
from fewframes.weights.layout import Described, Translation

__all__ = [
    "NAME",
    "WRAPPER",
    "describe",
    "describe_network",
    "export",
    "fits",
    "is_layout",
    "translate",
    "translate_network",
]

NAME = "TimeSformer release"
WRAPPER = "model_state"

_PREFIX = "model."
_SIGNATURE = {
    "model.cls_token",
    "model.pos_embed",
    "model.patch_embed.proj.weight",
    "model.blocks.0.attn.qkv.weight",
    "model.blocks.0.mlp.fc1.weight",
    "model.norm.weight",
}
_BGR = (
    "174 classes: taken for Something-Something v2, whose frames the original code reads as BGR and never reverses; "
    "feed BGR"
)
_HEADS = "the file does not state its number of heads: width / 64, as released"


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a file of the TimeSformer release, of any of its attention schemes."""
    return set(tensors) >= _SIGNATURE


def fits(model: nn.Module) -> bool:
    """Whether this is a TimeSformer."""
    return isinstance(model, Timesformer)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The release's tensors in our names, which differ by prefixes only."""
    return translate_network(_named(tensors), model)


def translate_network(named: dict[str, Tensor], model: nn.Module) -> Translation:
    """Check and annotate tensors that already have our names.

    Raises:
        InvalidCheckpoint: the file's attention scheme is not the model's.
    """
    assert isinstance(model, Timesformer)
    attention = _attention(named)
    if attention != model.config.attention:
        raise InvalidCheckpoint(
            f'the file holds a TimeSformer with attention="{attention}" but the model has '
            f'attention="{model.config.attention}"; build it with attention="{attention}"'
        )
    time = named.get("encoder.time_embed")
    grids = {"encoder.time_embed": (time.shape[1], 1, 1)} if time is not None and time.ndim == 3 else {}
    head = named.get("head.weight")
    return Translation(named, grids=grids, notes=(_BGR,) if head is not None and head.shape[0] == 174 else ())


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes say everything but the number of heads; the sampling is that of the published model of this size."""
    del beside
    return describe_network(_named(tensors), notes=(_HEADS,))


def describe_network(
    named: Mapping[str, Tensor],
    *,
    stated: Mapping[str, Any] | None = None,
    labels: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> Described:
    """What tensors in our names say of their network.

    Args:
        named: tensors.
        stated: fields of the config that the file states elsewhere.
        labels: class names in label-index order, if stated.
        notes: what was assumed so far.

    Raises:
        InvalidCheckpoint: what is stated contradicts the tensors.
    """
    config, assumed = _config(named, stated or {})
    card = _nearest(config)
    is_ssv2 = config.num_classes == 174
    if card is not None and card.config.num_classes == config.num_classes:
        sampling = card.sampling
    elif is_ssv2:
        sampling = Sampling("segment_middle", config.num_frames)
    else:
        stride = 4 if config.num_frames == 96 else max(1, 256 // config.num_frames)
        sampling = Sampling("clip_linspace", config.num_frames, stride=stride, stride_fps=30.0)
        assumed += (f"the file does not state its sampling; one of {stride} frames at 30 a second assumed",)
    preprocess = Preprocess(
        config.image_size,
        max(config.image_size),
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        channel_order="bgr" if is_ssv2 else "rgb",
        antialias=False,
    )
    return Described(
        config,
        sampling,
        preprocess,
        labels=labels,
        name="" if card is None else card.name,
        notes=(*notes, *assumed, *((_BGR,) if is_ssv2 else ())),
    )


def _nearest(config: TimesformerConfig) -> ModelCard | None:
    """The catalogue's model of this shape, if possible with as many classes."""
    alike = [card for card in CARDS if dataclasses.replace(config, num_classes=card.config.num_classes) == card.config]
    exact = [card for card in alike if card.config == config]
    return next(iter((*exact, *alike)), None)


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in the release's names."""
    del config
    return {_PREFIX + name.removeprefix("encoder."): tensor for name, tensor in tensors.items()}


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_our_name(name): tensor for name, tensor in tensors.items()}


def _our_name(name: str) -> str:
    rest = name.removeprefix(_PREFIX)
    return rest if rest == name or rest.startswith("head.") else f"encoder.{rest}"


def _attention(named: Mapping[str, Tensor]) -> str:
    if "encoder.blocks.0.temporal_fc.weight" in named:
        return "divided"
    return "joint" if "encoder.time_embed" in named else "space"


def _config(named: Mapping[str, Tensor], stated: Mapping[str, Any]) -> tuple[TimesformerConfig, tuple[str, ...]]:
    """The network's shape, and what had to be assumed."""
    notes: tuple[str, ...] = ()
    attention, width = _attention(named), named["encoder.cls_token"].shape[-1]
    if stated.get("attention", attention) != attention:
        raise InvalidCheckpoint(f"the tensors have attention {attention}, but {stated['attention']} is stated beside")
    if "head.weight" not in named:
        notes += ("the file has no classifier; 400 classes assumed",)
    if attention == "space" and "num_frames" not in stated:
        notes += ("space-only networks do not state their number of frames; 8 assumed, as published",)
    blocks = (re.match(r"encoder\.blocks\.(\d+)\.", name) for name in named)
    values: dict[str, Any] = {
        "num_frames": 8,
        "heads": max(1, width // 64),
        **stated,
        "num_classes": named["head.weight"].shape[0] if "head.weight" in named else 400,
        "image_size": _image_size(named, stated),
        "patch_size": named["encoder.patch_embed.proj.weight"].shape[-1],
        "width": width,
        "depth": 1 + max(int(each.group(1)) for each in blocks if each),
        "mlp_ratio": named["encoder.blocks.0.mlp.fc1.weight"].shape[0] / width,
        "qkv_bias": "encoder.blocks.0.attn.qkv.bias" in named,
        "attention": attention,
    }
    if attention != "space":
        values["num_frames"] = named["encoder.time_embed"].shape[1]
    return TimesformerConfig(**values), notes


def _image_size(named: Mapping[str, Tensor], stated: Mapping[str, Any]) -> tuple[int, int]:
    patches, patch = named["encoder.pos_embed"].shape[1] - 1, named["encoder.patch_embed.proj.weight"].shape[-1]
    side = math.isqrt(patches) * patch
    height, width = stated.get("image_size", (side, side))
    if (height // patch) * (width // patch) != patches:
        got = f"{height}x{width} pixels are stated beside" if "image_size" in stated else "they are no square"
        raise InvalidCheckpoint(
            f"the file has positions of {patches} patches of {patch}x{patch} pixels, but {got}; "
            "name the catalogue's model and its image_size"
        )
    return height, width
