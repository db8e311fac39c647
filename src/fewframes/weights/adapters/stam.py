"""The STAM release's layout: its tensors come in, ours go out, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fewframes.models.checks import ModelConfig
from fewframes.models.stam import Stam, StamConfig
from fewframes.records import Preprocess, Sampling
from fewframes.weights.biases import zeros_for_absent_biases
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "export", "fits", "is_layout", "translate", "translate_name"]

NAME = "STAM release"

# The encoder's names are the ViT's own and only gain a prefix; the aggregator's are those of nn.TransformerEncoder.
_AGGREGATOR_NAMES = (
    (r"aggregate\.transformer_enc\.layers\.(\d+)\.self_attn\.in_proj_", r"aggregate.layers.\1.attn.qkv."),
    (r"aggregate\.transformer_enc\.layers\.(\d+)\.self_attn\.out_proj\.", r"aggregate.layers.\1.attn.proj."),
    (r"aggregate\.transformer_enc\.", "aggregate."),
)
_FOREIGN_NAMES = (
    (r"aggregate\.layers\.(\d+)\.attn\.qkv\.", r"aggregate.transformer_enc.layers.\1.self_attn.in_proj_"),
    (r"aggregate\.layers\.(\d+)\.attn\.proj\.", r"aggregate.transformer_enc.layers.\1.self_attn.out_proj."),
    (r"aggregate\.(?=layers\.|norm\.)", "aggregate.transformer_enc."),
    (r"encoder\.", ""),
)


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a STAM release file with a temporal transformer."""
    return "aggregate.transformer_enc.norm.weight" in tensors and "patch_embed.proj.weight" in tensors


def fits(model: nn.Module) -> bool:
    """Whether this is a STAM."""
    return isinstance(model, Stam)


def translate_name(name: str) -> str:
    """Our name of a tensor of the release, such as "encoder.norm.weight" for "norm.weight"."""
    for pattern, ours in _AGGREGATOR_NAMES:
        if re.match(pattern, name):
            return re.sub(pattern, ours, name)
    if name.startswith(("aggregate.", "head.")):
        return name
    return f"encoder.{name}"


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The release's tensors in our names; queries, keys and values of the first release have no bias and get zeros."""
    return zeros_for_absent_biases({translate_name(name): tensor for name, tensor in tensors.items()}, model)


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes say everything but the numbers of heads: width / 64 in the encoder, 8 in the aggregator."""
    del beside
    width = tensors["cls_token"].shape[-1]
    patches, patch = tensors["pos_embed"].shape[1] - 1, tensors["patch_embed.proj.weight"].shape[-1]
    side = round(patches**0.5) * patch
    frames = tensors["aggregate.pos_embed"].shape[1] - 1
    depths = [_depth(tensors, prefix) for prefix in (r"blocks\.", r"aggregate\.transformer_enc\.layers\.")]
    config = StamConfig(
        num_classes=tensors["head.weight"].shape[0],
        num_frames=frames,
        image_size=(side, side),
        patch_size=patch,
        width=width,
        depth=depths[0],
        heads=max(1, width // 64),
        mlp_ratio=tensors["blocks.0.mlp.fc1.weight"].shape[0] / width,
        temporal_depth=depths[1],
        temporal_mlp_width=tensors["aggregate.transformer_enc.layers.0.linear1.weight"].shape[0],
    )
    return Described(
        config,
        Sampling("uniform", frames),
        Preprocess((side, side), int(side / 0.875)),
        name=f"stam_{frames}",
        notes=("the file does not state its numbers of heads: width / 64 and 8, as released",),
    )


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in the release's names. Only the "official" aggregator has names there."""
    del config
    result = {}
    for name, tensor in tensors.items():
        for pattern, theirs in _FOREIGN_NAMES:
            name, count = re.subn(f"^{pattern}", theirs, name)
            if count:
                break
        result[name] = tensor
    return result


def _depth(tensors: Mapping[str, Tensor], prefix: str) -> int:
    found = (re.match(rf"{prefix}(\d+)\.", name) for name in tensors)
    return 1 + max(int(each.group(1)) for each in found if each)
