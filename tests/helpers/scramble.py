"""A network with fresh weights comes in; it goes out with every tensor random, so that none is without effect."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["scramble"]


@torch.no_grad()
def scramble(network: nn.Module, seed: int, clip: Any) -> nn.Module:  # noqa: ANN401
    """Draw every vector and every matrix anew and measure the running statistics of norms; evaluation mode.

    Libraries start the last norm of a residual branch at 0, running means at 0 and variances at 1, biases at 0 and
    matrices near 0: a network that used none of them, or used them wrongly, would give nearly the same.

    Args:
        network: changed.
        seed: of the random numbers.
        clip: what the network takes; it is run once, so that values stay of order 1 through all layers.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.named_parameters():
        if tensor.ndim == 1:
            values = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + values if name.endswith("weight") else 0.4 * values - 0.2)
        elif tensor.ndim == 2:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / tensor.shape[1] ** 0.5)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        network.train()(clip)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return network.eval()
