"""The ViT layout of timm (and of the STAM release with mean aggregation): tensors come in, ours go out, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.models.checks import ModelConfig
from fewframes.models.stam import StamConfig
from fewframes.models.stam_inblock import StamInBlockConfig
from fewframes.models.stam_joint import StamJointConfig
from fewframes.models.timesformer import TimesformerConfig, image_vit_to_timesformer
from fewframes.models.vivit_config import VivitConfig
from fewframes.models.vivit_init import image_vit_to_vivit, new_in_vivit
from fewframes.weights.biases import zeros_for_absent_biases
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "export", "fits", "is_layout", "translate", "translate_name"]

NAME = "ViT (timm, or STAM release with mean aggregation)"

_Config = StamConfig | StamInBlockConfig | StamJointConfig | TimesformerConfig | VivitConfig

_SIGNATURE = {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"}


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of an image ViT with one class token."""
    names = set(tensors)
    return names >= _SIGNATURE and not any(name.startswith(("aggregate.", "time_embed")) for name in names)


def fits(model: nn.Module) -> bool:
    """Whether an image ViT can fill a part of this network."""
    return isinstance(getattr(model, "config", None), _Config)


def translate_name(name: str) -> str:
    """Our name of a tensor of the ViT, such as "encoder.blocks.0.norm1.weight" for "blocks.0.norm1.weight"."""
    return name if name.startswith("head.") else f"encoder.{name}"


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The ViT's tensors in our names; what works over time stays new, or starts so that it changes nothing.

    Raises:
        InvalidCheckpoint: the positions cannot be those of a square picture cut into patches.
    """
    config: object = model.config
    assert isinstance(config, _Config)
    if isinstance(config, VivitConfig):
        translation = _for_vivit(tensors, config)
    elif isinstance(config, TimesformerConfig):
        translation = _for_timesformer(tensors, config)
    else:
        named = {translate_name(name): tensor for name, tensor in tensors.items()}
        translation = Translation(named, may_lack=_of_time(config))
        if isinstance(config, StamJointConfig):
            translation = _in_every_frame(translation, config)
    completed = zeros_for_absent_biases(translation.tensors, model)
    notes = translation.notes + completed.notes
    if config.norm_eps != 1e-6:
        notes += (
            "ViTs of timm were trained with norm_eps=1e-6 and a mean and std of their own; "
            f"this model has norm_eps={config.norm_eps:g}: set both as the file's author says",
        )
    filled = (*translation.filled, *(name for name in completed.filled if name not in translation.filled))
    return replace(translation, tensors=completed.tensors, filled=filled, notes=notes)


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """An image model is no video model yet."""
    raise InvalidCheckpoint("the file holds an image model, which says nothing of videos; use it to start a training")


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """A STAM's frame encoder and head in timm's names; a temporal aggregator has none there and is left out.

    timm builds its ViTs with norm_eps=1e-6, whatever the file says: give it the config's.

    Raises:
        UsageError: the network is no STAM with a ViT that sees frames one by one.
    """
    if not isinstance(config, StamConfig):
        raise UsageError("only the frame encoder of a STAM can be written as an image ViT; expected a stam network")
    return {
        name.removeprefix("encoder."): tensor
        for name, tensor in tensors.items()
        if name.startswith(("encoder.", "head."))
    }


def _of_time(config: StamConfig | StamInBlockConfig | StamJointConfig) -> tuple[str, ...]:
    """Prefixes of what an image model cannot know."""
    if isinstance(config, StamInBlockConfig):
        return ("time_embed", *(f"encoder.blocks.{index}.time_" for index in range(config.depth)))
    return ("aggregate.",) if isinstance(config, StamConfig) else ()


def _in_every_frame(translation: Translation, config: StamJointConfig) -> Translation:
    """Give each frame the image's positions, as the joint network has one for each patch of each frame."""
    name, frames = "encoder.pos_embed", config.num_frames
    positions = translation.tensors[name]
    patches = positions.shape[1] - 1 if positions.ndim == 3 else 0
    if frames == 1 or patches < 1:
        return translation
    rows, columns = (side // config.patch_size for side in config.image_size)
    side = math.isqrt(patches)
    grid = (side, side) if side * side == patches else (rows, columns)
    tiled = torch.cat([positions[:, :1], positions[:, 1:].repeat(1, frames, 1)], dim=1)
    note = f"each of the {frames} frames starts with the image's positions"
    return replace(
        translation, tensors={**translation.tensors, name: tiled}, grids={name: (frames, *grid)}, notes=(note,)
    )


def _for_timesformer(tensors: Mapping[str, Tensor], config: TimesformerConfig) -> Translation:
    named = image_vit_to_timesformer(tensors, config)
    taken = {translate_name(name) for name in tensors}
    filled = tuple(name for name in named if name not in taken)
    notes = ("what works over time starts without effect, as its authors start it",) if filled else ()
    return Translation(named, filled=filled, notes=notes)


def _for_vivit(tensors: Mapping[str, Tensor], config: VivitConfig) -> Translation:
    positions = tuple(tensors["pos_embed"].shape)
    if len(positions) != 3 or positions[0] != 1 or positions[1] < 2:
        raise InvalidCheckpoint(f"pos_embed is {positions}; expected (1, 1 + patches, width)")
    try:
        named = image_vit_to_vivit(tensors, config)
    except UsageError as error:
        raise InvalidCheckpoint(str(error)) from error
    kept = {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    filled = tuple(name for name in named if name not in kept and name.removeprefix("encoder.") not in tensors)
    left_out = [name for name in tensors if name not in named and f"encoder.{name}" not in named]
    notes = ["the kernel of the first layer starts at the tubelet's central frame, as its authors start it"]
    if filled:
        notes.append("attention over time starts without effect, as its authors mean it to")
    fitted = tuple(named["encoder.pos_embed"].shape)
    if fitted != positions:
        notes.append(f"positions were fitted to the clip's grid: encoder.pos_embed {positions} -> {fitted}")
    return Translation(
        named,
        may_lack=(*new_in_vivit(), "head."),
        filled=filled,
        unused=tuple(f"{name} ({', '.join(map(str, tensors[name].shape))})" for name in left_out),
        notes=tuple(notes),
    )
