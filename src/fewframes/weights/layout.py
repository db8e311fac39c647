"""What an adapter gives the loader: a foreign state dict in our names, and what a file says of its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from fewframes.models.checks import ModelConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["Described", "Layout", "Translation"]


@dataclass(frozen=True)
class Translation:
    """A foreign state dict in our names and shapes.

    Attributes:
        tensors: by our names; what has no name here keeps its own, and the loader then refuses it as left over.
        may_lack: prefixes of our names that this layout never holds: those tensors stay newly initialised.
        grids: (t, rows, columns) of the file's tables of positions, by our name; of others, a square is assumed.
        filled: our names of tensors that the file lacks and that were set to what has the same effect.
        unused: the file's tensors that are left out on purpose, such as a decoder that only pre-training needs.
        notes: what a reader should know, a sentence each.
    """

    tensors: dict[str, Tensor]
    may_lack: tuple[str, ...] = ()
    grids: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    filled: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Described:
    """What a file says of its network.

    Attributes:
        config: the network's shape.
        sampling: which frames it was published with.
        preprocess: the transform it was published with.
        labels: class names in label-index order, if the file states them.
        name: the nearest name of the catalogue, or "".
        notes: what was assumed or corrected, a sentence each.
    """

    config: ModelConfig
    sampling: Sampling
    preprocess: Preprocess
    labels: tuple[str, ...] | None = None
    name: str = ""
    notes: tuple[str, ...] = ()


class Layout(Protocol):
    """A module of `weights/adapters/`; those that can write too also have `export` and perhaps `export_beside`."""

    NAME: str

    def is_layout(self, tensors: Mapping[str, Tensor], /) -> bool:
        """Whether these tensors are laid out like this; at most one layout may say so."""

    def fits(self, model: nn.Module, /) -> bool:
        """Whether a file of this layout can fill this kind of network."""

    def translate(self, tensors: Mapping[str, Tensor], model: nn.Module, /) -> Translation:
        """The file's tensors in our names."""

    def describe(self, tensors: Mapping[str, Tensor], beside: Mapping[str, Any], /) -> Described:
        """The network that the file was made with; `beside` holds the JSON files next to it, by file name."""
