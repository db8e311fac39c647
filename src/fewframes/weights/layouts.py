"""Every foreign layout: tensors come in, the one adapter that knows them goes out."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from torch import Tensor

from fewframes.weights.adapters import stam, vit
from fewframes.weights.layout import Layout

__all__ = ["LAYOUTS", "layout_names", "layout_of"]

# By the name that `fewframes models convert --to` takes. Modules have the protocol's names, which mypy cannot see.
LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        name: cast(Layout, module)
        for name, module in {
            "stam": stam,
            "vit": vit,
        }.items()
    }
)


def layout_of(tensors: Mapping[str, Tensor]) -> Layout | None:
    """The foreign layout of a file's tensors; None if it is ours or unknown."""
    return next((each for each in LAYOUTS.values() if each.is_layout(tensors)), None)


def layout_names() -> tuple[str, ...]:
    """What the layouts are called."""
    return tuple(each.NAME for each in LAYOUTS.values())
