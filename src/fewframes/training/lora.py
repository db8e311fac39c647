"""A network with a frame encoder comes in; small trainable bypasses of its linear layers go in, and merge into them."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.errors import UsageError
from fewframes.training.embedder import FRAME_PARTS

__all__ = ["LowRankLinear", "add_low_rank_", "merged", "takes_low_rank"]


class LowRankLinear(nn.Module):
    """A frozen linear layer with a trainable bypass of low rank: `x W^T + b + x down^T up^T`.

    `up` starts at 0, so at first the layer is what it was. `weight` and `bias` are those of the one linear layer that
    computes the same; some networks read them instead of calling the layer.

    Source: Hu et al. 2021, "LoRA", section 4.1, with alpha equal to the rank, so that nothing is scaled.

    Args:
        base: the layer; its own parameters get no gradient any more.
        rank: r, at least 1.
        generator: where `down` is drawn from; None means torch's global generator.
    """

    def __init__(self, base: nn.Linear, rank: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5), generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        output: Tensor = self.base(tokens)
        return output + F.linear(F.linear(tokens, self.down), self.up)

    @property
    def weight(self) -> Tensor:
        """(outputs, inputs): the layer's weight with the bypass in it."""
        return self.base.weight + self.up @ self.down

    @property
    def bias(self) -> Tensor | None:
        """The layer's own."""
        return self.base.bias

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """The linear layer that computes the same, rounded once."""
        exact = self.base.weight.double() + self.up.double() @ self.down.double()
        self.base.weight.copy_(exact)
        return self.base


def takes_low_rank(model: nn.Module) -> bool:
    """Whether the network has a frame encoder with linear layers, as transformers have."""
    return bool(_linear_layers(model))


def add_low_rank_(model: nn.Module, rank: int, generator: torch.Generator | None = None) -> list[str]:
    """Give every linear layer of the frame encoder a bypass, and let gradients reach only those and what follows.

    In a ViT those layers are qkv, proj, fc1 and fc2 of every block. The network then computes what it did before.

    Args:
        model: changed in place.
        rank: of all bypasses.
        generator: where they are drawn from.

    Returns:
        The layers' names.
    """
    if rank < 1:
        raise UsageError(f"rank is {rank}; expected at least 1")
    layers = _linear_layers(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(FRAME_PARTS))
    for name, layer in layers.items():
        _replace(model, name, LowRankLinear(layer, rank, generator))
    return list(layers)


def merged(model: nn.Module) -> nn.Module:
    """A copy without bypasses that computes the same: the architecture's own layers and names, nothing else."""
    result = copy.deepcopy(model)
    for name, module in list(result.named_modules()):
        if isinstance(module, LowRankLinear):
            _replace(result, name, module.merge())
    return result


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    return {
        name: module
        for name, module in model.named_modules()
        if name.startswith("encoder.") and isinstance(module, nn.Linear)
    }


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
