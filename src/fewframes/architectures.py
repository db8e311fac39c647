"""Every architecture: a config comes in, a network with new random weights goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from fewframes.models.checks import ModelConfig
from fewframes.models.stam import Stam, StamConfig

__all__ = ["ARCHITECTURES", "Architecture", "architecture_of", "build_from_config"]


class Architecture(NamedTuple):
    """The config class of an architecture, and what builds a network from a config and a generator."""

    config: type[Any]
    build: Callable[[Any, torch.Generator | None], nn.Module]


# The name is what a checkpoint's model.json states.
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "stam": Architecture(StamConfig, Stam),
    }
)


def architecture_of(config: ModelConfig) -> str:
    """The architecture's name, from the config's class."""
    return next(name for name, each in ARCHITECTURES.items() if type(config) is each.config)


def build_from_config(config: ModelConfig, generator: torch.Generator | None = None) -> nn.Module:
    """Build a network from a complete config, such as a checkpoint's.

    Args:
        config: of any architecture.
        generator: where the weights are drawn from; None means torch's global generator.

    Returns:
        A module (B, T, 3, H, W) -> (B, K) logits, in training mode.
    """
    return ARCHITECTURES[architecture_of(config)].build(config, generator)
