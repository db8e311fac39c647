"""The VideoMAE release's layout: a classifier's or a pre-training's tensors come in, ours go out, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fewframes.cards.card import ModelCard
from fewframes.cards.videomae import CARDS
from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.videomae import Videomae, VideomaeConfig
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

NAME = "VideoMAE release"
WRAPPER = "model"

_PRETRAINING = ("decoder.", "encoder_to_decoder.", "mask_token")
_HEADS = "the file does not state its number of heads: width / 64, in the huge size 16, as released"


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a VideoMAE classifier, or of the whole of a pre-training."""
    part = "encoder." if "encoder_to_decoder.weight" in tensors else ""
    names = {
        f"{part}{name}" for name in ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight")
    }
    others = {f"{part}{name}" for name in ("cls_token", "pos_embed", "blocks.0.attn.qkv.bias")}
    return set(tensors) >= names and not others & set(tensors) and tensors[f"{part}patch_embed.proj.weight"].ndim == 5


def fits(model: nn.Module) -> bool:
    """Whether this is a VideoMAE classifier."""
    return isinstance(model, Videomae)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The release's tensors in our names; of a pre-training only the encoder, so that the classifier stays new."""
    named, unused = _named(tensors)
    return translate_network(named, model, unused=unused)


def translate_network(
    named: dict[str, Tensor], model: nn.Module, *, unused: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Translation:
    """Check and annotate tensors that already have our names.

    Args:
        named: tensors.
        model: the network to be filled.
        unused: names of the file that were left out: with any of them, the file is a pre-training's.
        notes: what was found so far.

    Raises:
        InvalidCheckpoint: the file's pooling is not the model's.
    """
    assert isinstance(model, Videomae)
    if unused:
        if model.config.pooling == "mean":
            left = [name for name in ("encoder.norm.weight", "encoder.norm.bias") if named.pop(name, None) is not None]
            unused += tuple(left)
        note = "the file is a pre-training's: its encoder is taken, norm and classifier behind the mean stay new"
        return Translation(named, may_lack=("head.", "encoder.fc_norm."), unused=unused, notes=(*notes, note))
    pooling = _pooling(named)
    if pooling != model.config.pooling:
        raise InvalidCheckpoint(
            f'the file holds a VideoMAE with pooling="{pooling}" but the model has pooling="{model.config.pooling}"; '
            f'build it with pooling="{pooling}"'
        )
    return Translation(named, notes=notes)


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes say most; heads, frames and image size are those of the published models.

    Raises:
        InvalidCheckpoint: the file is a pre-training's, which is no classifier yet.
    """
    del beside
    named, unused = _named(tensors)
    return describe_network(named, unused=unused, notes=(_HEADS,))


def describe_network(
    named: Mapping[str, Tensor],
    *,
    unused: tuple[str, ...] = (),
    stated: Mapping[str, Any] | None = None,
    labels: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> Described:
    """What tensors in our names say of their network.

    Args:
        named: tensors.
        unused: names that only a pre-training has.
        stated: fields of the config that the file states elsewhere.
        labels: class names in label-index order, if stated.
        notes: what was assumed so far.

    Raises:
        InvalidCheckpoint: the file is a pre-training's, which is no classifier yet.
    """
    if unused or "head.weight" not in named:
        raise InvalidCheckpoint(
            "the file holds a VideoMAE of pre-training, which has no classifier yet; use it to start a training"
        )
    config = _config(named, stated or {})
    if "num_frames" not in (stated or {}):
        size = f"{config.num_frames} frames of {config.image_size[0]}x{config.image_size[1]}"
        notes += (f"the file does not state its input's size; {size} assumed, as published",)
    card = _nearest(config)
    is_ssv2 = config.num_classes == 174
    return Described(
        config,
        Sampling("uniform", config.num_frames) if is_ssv2 else Sampling("clip", config.num_frames, stride=4),
        Preprocess(
            config.image_size,
            max(config.image_size),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            antialias=False,
        ),
        labels=labels,
        name="" if card is None else card.name,
        notes=notes,
    )


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in the release's names."""
    del config
    return {name.removeprefix("encoder."): tensor for name, tensor in tensors.items()}


def _named(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors in our names, and the names that only a pre-training has."""
    unused = tuple(name for name in tensors if name.startswith(_PRETRAINING))
    named = {_our_name(name): tensor for name, tensor in tensors.items() if name not in unused}
    return named, unused


def _our_name(name: str) -> str:
    return name if name.startswith(("head.", "encoder.")) else f"encoder.{name}"


def _pooling(named: Mapping[str, Tensor]) -> str:
    return "first" if "encoder.norm.weight" in named and "encoder.fc_norm.weight" not in named else "mean"


def _config(named: Mapping[str, Tensor], stated: Mapping[str, Any]) -> VideomaeConfig:
    classes, width = named["head.weight"].shape
    _, _, tubelet, _, patch = named["encoder.patch_embed.proj.weight"].shape
    blocks = (re.match(r"encoder\.blocks\.(\d+)\.", name) for name in named)
    values: dict[str, Any] = {
        "num_frames": 8 * tubelet,
        "image_size": (14 * patch, 14 * patch),
        "heads": 16 if width == 1280 else max(1, width // 64),
        **stated,
        "num_classes": classes,
        "patch_size": patch,
        "tubelet_size": tubelet,
        "width": width,
        "depth": 1 + max(int(each.group(1)) for each in blocks if each),
        "mlp_ratio": named["encoder.blocks.0.mlp.fc1.weight"].shape[0] / width,
        "qv_bias": "encoder.blocks.0.attn.q_bias" in named,
        "pooling": _pooling(named),
    }
    return VideomaeConfig(**values)


def _nearest(config: VideomaeConfig) -> ModelCard | None:
    """The catalogue's model of this shape, if possible with as many classes; another eps is no other network."""
    plain = dataclasses.replace(config, norm_eps=1e-6, pool_norm_eps=1e-6)
    alike = [card for card in CARDS if dataclasses.replace(plain, num_classes=card.config.num_classes) == card.config]
    exact = [card for card in alike if card.config.num_classes == config.num_classes]
    return next(iter((*exact, *alike)), None)
