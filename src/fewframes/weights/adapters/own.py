"""Our own layout: names pass as they are."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NAME", "is_layout", "translate_name"]

NAME = "fewframes"


def is_layout(names: Iterable[str]) -> bool:
    """Whether these tensor names are those of one of our checkpoints."""
    names = set(names)
    return {"encoder.cls_token", "encoder.pos_embed", "head.weight", "head.bias"} <= names


def translate_name(name: str) -> str:
    """The same name."""
    return name
