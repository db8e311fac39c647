"""What a network of other people's parts is held to: one and a clip come in, a failure or nothing goes out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.helpers.tolerance import REGROUPED, assert_close

__all__ = [
    "check_autocast",
    "check_every_parameter_learns",
    "check_gradients_without_onednn",
]


@torch.no_grad()
def check_autocast(network: nn.Module, clip: Tensor) -> None:
    """Logits are float32 whatever autocast does."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network.eval()(clip)
    assert logits.dtype == torch.float32
    assert_close(logits, network(clip), 0.1)


def check_every_parameter_learns(network: nn.Module, clip: Tensor, *, useless: tuple[str, ...] = ()) -> None:
    """In one step of training each gradient is finite and not zero.

    Args:
        network: changed.
        clip: a batch of two.
        useless: ends of names of parameters without any effect, for a reason that the caller knows.
    """
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():  # away from the start, where the last norms of residual branches are 0
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    torch.manual_seed(31)
    nn.functional.cross_entropy(network.train()(clip), torch.tensor([3, 6])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert bool(parameter.grad.any()) != name.endswith(useless), name


def check_gradients_without_onednn(network: nn.Module, clip: Tensor) -> None:
    """oneDNN's convolutions, which a CPU uses, and PyTorch's own have the same gradients.

    oneDNN's were found to be wrong by twenty orders of magnitude where a long kernel meets a short clip.
    """
    gradients: list[dict[str, Tensor]] = []
    for enabled in (True, False):
        network.eval().zero_grad()
        torch.backends.mkldnn.enabled = enabled
        try:
            network(clip).square().sum().backward()
        finally:
            torch.backends.mkldnn.enabled = True
        found = {name: each.grad for name, each in network.named_parameters()}
        gradients.append({name: gradient.clone() for name, gradient in found.items() if gradient is not None})
    for name, gradient in gradients[0].items():
        scale = float(gradients[1][name].abs().max())
        assert_close(gradient, gradients[1][name], 1e-4 * scale + REGROUPED)
