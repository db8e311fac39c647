"""The ViT layout of timm (and of the STAM release with mean aggregation): its names come in, ours go out."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NAME", "is_layout", "translate_name"]

NAME = "ViT (timm, or STAM release with mean aggregation)"

_SIGNATURE = {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"}


def is_layout(names: Iterable[str]) -> bool:
    """Whether these tensor names are those of an image ViT with one class token."""
    names = set(names)
    return names >= _SIGNATURE and not any(name.startswith("aggregate.") for name in names)


def translate_name(name: str) -> str:
    """Our name of a tensor of the ViT, such as "encoder.blocks.0.norm1.weight" for "blocks.0.norm1.weight"."""
    return name if name.startswith("head.") else f"encoder.{name}"
