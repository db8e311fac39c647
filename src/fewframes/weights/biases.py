"""Biases that some files do not have: translated tensors come in, with zeros added they go out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fewframes.weights.layout import Translation

__all__ = ["NO_BIASES", "zeros_for_absent_biases"]

NO_BIASES = "no attn.qkv.bias in the file (first STAM release, MIIL ViT): set to zero, which is the same"


def zeros_for_absent_biases(tensors: Mapping[str, Tensor], model: nn.Module, *, part: str = "encoder.") -> Translation:
    """Add zero biases of queries, keys and values where a file has none of them and the network has.

    A file that lacks only some of them is damaged: nothing is added, and the loader names what is missing.

    Args:
        tensors: a file's, in our names.
        model: the network to be filled.
        part: prefix of our names in which the file's biases belong.

    Returns:
        The tensors, completed, and a note if anything was added; for `dataclasses.replace` to say more of it.
    """
    target = model.state_dict()
    names = [name for name in target if name.startswith(part) and name.endswith("attn.qkv.bias")]
    if not names or any(name in tensors for name in names):
        return Translation(dict(tensors))
    zeros = {name: torch.zeros_like(target[name]) for name in names}
    return Translation({**tensors, **zeros}, filled=tuple(names), notes=(NO_BIASES,))
