"""The STAM release's layout: its tensor names come in, ours go out."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["NAME", "is_layout", "translate_name"]

NAME = "STAM release"

# The encoder's names are the ViT's own and only gain a prefix; the aggregator's are those of nn.TransformerEncoder.
_AGGREGATOR_NAMES = (
    (r"aggregate\.transformer_enc\.layers\.(\d+)\.self_attn\.in_proj_", r"aggregate.layers.\1.attn.qkv."),
    (r"aggregate\.transformer_enc\.layers\.(\d+)\.self_attn\.out_proj\.", r"aggregate.layers.\1.attn.proj."),
    (r"aggregate\.transformer_enc\.", "aggregate."),
)


def is_layout(names: Iterable[str]) -> bool:
    """Whether these tensor names are those of a STAM release file with a temporal transformer."""
    names = set(names)
    return "aggregate.transformer_enc.norm.weight" in names and "patch_embed.proj.weight" in names


def translate_name(name: str) -> str:
    """Our name of a tensor of the release, such as "encoder.norm.weight" for "norm.weight"."""
    for pattern, ours in _AGGREGATOR_NAMES:
        if re.match(pattern, name):
            return re.sub(pattern, ours, name)
    if name.startswith(("aggregate.", "head.")):
        return name
    return f"encoder.{name}"
