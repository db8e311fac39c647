"""What a network costs: a network and a clip's shape come in, parameters and multiply-adds go out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Cost", "measure_cost"]

_ATTENTION_PRODUCTS = ("bmm", "baddbmm", "scaled_dot_product")


@dataclass(frozen=True)
class Cost:
    """The size of a network.

    One multiply-add is one MAC; torch, and papers that count honestly, call that two FLOPs. Most papers in this field
    print MACs and call them FLOPs, and some leave the products inside attention (queries with keys, weights with
    values) out: STAM's "270 GFLOPs" are 270.13 GMACs without them, 281.57 with them.

    Attributes:
        num_parameters: all of them, trained or not.
        macs: of one clip, with the products inside attention.
        macs_without_attention_products: of one clip, only convolutions and linear layers.
    """

    num_parameters: int
    macs: int
    macs_without_attention_products: int


def measure_cost(model: nn.Module, clip_shape: tuple[int, int, int, int]) -> Cost:
    """Count on the meta device: nothing is computed, the network is not changed, and any size is quick.

    Args:
        model: (1, T, 3, H, W) -> (1, K).
        clip_shape: (T, 3, H, W).
    """
    device = torch.device("meta")
    state = {name: value.detach().to(device) for name, value in (*model.named_parameters(), *model.named_buffers())}
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            torch.func.functional_call(model, state, (torch.zeros((1, *clip_shape), device=device),))
    finally:
        for module, mode in modes.items():
            module.training = mode
    by_operation = {str(operation): flops // 2 for operation, flops in counter.get_flop_counts()["Global"].items()}
    products = sum(macs for name, macs in by_operation.items() if any(part in name for part in _ATTENTION_PRODUCTS))
    total = sum(by_operation.values())
    return Cost(sum(parameter.numel() for parameter in model.parameters()), total, total - products)
