"""Files as the STAM release would have written them: sizes come in, named random tensors go out.

The names and shapes are written out here a second time, from the release's layout, so that they test ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fewframes.models.stam import StamConfig

TINY = StamConfig(
    num_classes=13,
    num_frames=8,
    image_size=(12, 12),
    patch_size=4,
    width=10,
    depth=2,
    heads=5,
    mlp_ratio=1.7,
    temporal_depth=3,
    temporal_heads=2,
    temporal_mlp_width=11,
)


def release_shapes(config: StamConfig, *, version: int = 2) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a release file; version 1 has no qkv.bias."""
    d, inner = config.width, int(config.width * config.mlp_ratio)
    patches = (config.image_size[0] // config.patch_size) * (config.image_size[1] // config.patch_size)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + patches, d),
        "patch_embed.proj.weight": (d, 3, config.patch_size, config.patch_size),
        "patch_embed.proj.bias": (d,),
    }
    for index in range(config.depth):
        shapes |= _block(f"blocks.{index}.", d, inner)
        if version == 1:
            del shapes[f"blocks.{index}.attn.qkv.bias"]
    shapes |= {"norm.weight": (d,), "norm.bias": (d,)}
    if config.aggregator == "official":
        shapes |= {"aggregate.cls_token": (1, 1, d), "aggregate.pos_embed": (1, config.num_frames + 1, d)}
        for index in range(config.temporal_depth):
            shapes |= _layer(f"aggregate.transformer_enc.layers.{index}.", d, config.temporal_mlp_width or 2048)
        shapes |= {f"aggregate.transformer_enc.norm.{kind}": (d,) for kind in ("weight", "bias")}
    return shapes | {"head.weight": (config.num_classes, d), "head.bias": (config.num_classes,)}


def release_tensors(config: StamConfig, *, version: int = 2, seed: int = 41) -> dict[str, Tensor]:
    """A release file's content with random values."""
    generator = torch.Generator().manual_seed(seed)
    shapes = release_shapes(config, version=version)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _block(prefix: str, d: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes = {
        "norm1.weight": (d,),
        "norm1.bias": (d,),
        "attn.qkv.weight": (3 * d, d),
        "attn.qkv.bias": (3 * d,),
        "attn.proj.weight": (d, d),
        "attn.proj.bias": (d,),
        "norm2.weight": (d,),
        "norm2.bias": (d,),
        "mlp.fc1.weight": (inner, d),
        "mlp.fc1.bias": (inner,),
        "mlp.fc2.weight": (d, inner),
        "mlp.fc2.bias": (d,),
    }
    return {prefix + name: shape for name, shape in shapes.items()}


def _layer(prefix: str, d: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes = {
        "self_attn.in_proj_weight": (3 * d, d),
        "self_attn.in_proj_bias": (3 * d,),
        "self_attn.out_proj.weight": (d, d),
        "self_attn.out_proj.bias": (d,),
        "linear1.weight": (inner, d),
        "linear1.bias": (inner,),
        "linear2.weight": (d, inner),
        "linear2.bias": (d,),
        "norm1.weight": (d,),
        "norm1.bias": (d,),
        "norm2.weight": (d,),
        "norm2.bias": (d,),
    }
    return {prefix + name: shape for name, shape in shapes.items()}
