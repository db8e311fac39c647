"""The parts that every transformer here shares: tokens in, tokens of the same shape out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DropPath", "Mlp", "PreNormBlock", "SelfAttention", "init_transformer_", "wave_positions"]


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection for queries, keys and values.

    Args:
        width: D, size of a token.
        heads: A, number of heads; must divide `width`.
        qkv_bias: whether the fused projection has a bias.
        dropout: dropped share of the attention weights while training.
    """

    def __init__(self, width: int, heads: int, *, qkv_bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        assert width % heads == 0, f"width {width} is not a multiple of {heads} heads"
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        query_BANE, key_BANE, value_BANE = self._project(tokens_BND)
        dropout = self.dropout if self.training else 0.0
        mixed_BANE = F.scaled_dot_product_attention(query_BANE, key_BANE, value_BANE, dropout_p=dropout)
        output: Tensor = self.proj(mixed_BANE.transpose(1, 2).flatten(2))
        return output

    def weights_of_first(self, tokens_BND: Tensor) -> Tensor:
        """Attention of the first token to all tokens, averaged over heads: (B, N, D) -> (B, N), rows sum to 1."""
        query_BANE, key_BANE, _ = self._project(tokens_BND)
        scale = query_BANE.shape[-1] ** -0.5
        scores_BA1N = query_BANE[:, :, :1] @ key_BANE.transpose(-2, -1) * scale
        weights_BN: Tensor = scores_BA1N.float().softmax(-1).mean(1).squeeze(1)
        return weights_BN

    def _project(self, tokens_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fused = self.qkv(tokens_BND).unflatten(-1, (3, self.heads, -1))
        query, key, value = fused.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value


class Mlp(nn.Module):
    """Two linear layers with a GELU between them.

    Args:
        width: D.
        hidden_width: between the two.
        gelu: "exact", or "tanh", the approximation that Flax uses unless told otherwise (ViViT).
    """

    def __init__(self, width: int, hidden_width: int, *, gelu: Literal["exact", "tanh"] = "exact") -> None:
        super().__init__()
        self.approximate = "tanh" if gelu == "tanh" else "none"
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        output: Tensor = self.fc2(F.gelu(self.fc1(tokens_BND), approximate=self.approximate))
        return output


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for whole samples while training.

    Args:
        probability: of dropping.
        rescale: whether kept branches are divided by the share that is kept, as timm does; ViViT does not.
    """

    def __init__(self, probability: float, *, rescale: bool = True) -> None:
        super().__init__()
        self.probability = probability
        self.rescale = rescale

    def forward(self, branch_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if not self.training or self.probability == 0.0:
            return branch_BND
        keep = 1.0 - self.probability
        kept_B11 = torch.empty((branch_BND.shape[0], 1, 1), device=branch_BND.device).bernoulli_(keep)
        return branch_BND * (kept_B11 / keep if self.rescale else kept_B11).to(branch_BND.dtype)


class PreNormBlock(nn.Module):
    """The ViT block: `x + Attention(LN(x))`, then `x + MLP(LN(x))`.

    Source: Dosovitskiy et al. 2020, equations 2 and 3; STAM, equations 6 to 8.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_width: int,
        qkv_bias: bool = True,
        norm_eps: float = 1e-5,
        drop_path: float = 0.0,
        gelu: Literal["exact", "tanh"] = "exact",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = SelfAttention(width, heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_width, gelu=gelu)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        tokens_BND = tokens_BND + self.drop_path(self.attn(self.norm1(tokens_BND)))
        output: Tensor = tokens_BND + self.drop_path(self.mlp(self.norm2(tokens_BND)))
        return output


def init_transformer_(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw all weights of a transformer anew, in place.

    Linear and convolution weights are Xavier uniform, which is close to a standard deviation of 0.02 at ViT-B's sizes
    and stays right at small ones; biases are 0; norms are the identity; bare parameters (class tokens) are normal with
    0.02, cut at two deviations; positions are then set by `wave_positions`. Every layer is drawn for itself: the STAM
    release starts all its temporal layers from the same attention weights, because it copies one layer.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.xavier_uniform_(module.weight.flatten(1), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        else:
            for parameter in module.parameters(recurse=False):
                nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04, generator=generator)


def wave_positions(positions_N: Tensor, width: int) -> Tensor:
    """Sines and cosines of positions, where learned position embeddings start from.

    Waves of geometrically growing length, from 2 pi to 200 pi positions. From a small random start, a small network
    needs many times as many steps to find out where things are: patch embeddings are about 50 times as large.

    Args:
        positions_N: (N,) numbers.
        width: size of an embedding; an odd last column is 0.

    Returns:
        (N, width) float32, first all sines, then all cosines.

    Source: Vaswani et al. 2017, section 3.5; for ViTs: Beyer, Zhai, Kolesnikov 2022, arXiv:2205.01580.
    """
    half = width // 2
    rates_H = 100.0 ** (-torch.arange(half) / max(half, 1))
    angles_NH = positions_N.float().unsqueeze(1) * rates_H
    waves_NW = torch.cat([angles_NH.sin(), angles_NH.cos()], dim=1)
    return F.pad(waves_NW, (0, width - 2 * half))
