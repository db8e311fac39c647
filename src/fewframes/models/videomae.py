"""VideoMAE's classifier: a clip comes in, cut into tubelets that a plain transformer joins, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole
from fewframes.models.layers import DropPath, Mlp, init_transformer_

__all__ = ["Videomae", "VideomaeConfig", "sinusoid_positions"]


@dataclass(frozen=True)
class VideomaeConfig:
    """Everything that fixes a VideoMAE classifier's shape.

    Small: width 384, heads 6. Large: width 1024, depth 24, heads 16. Huge: width 1280, depth 32, heads 16.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, a multiple of `tubelet_size`.
        image_size: (height, width) in pixels, multiples of `patch_size`.
        patch_size: side of a tubelet in pixels.
        tubelet_size: length of a tubelet in frames.
        width: D, size of a token.
        depth: blocks.
        heads: A, dividing `width`.
        mlp_ratio: inner width of the MLPs over `width`.
        qv_bias: whether queries and values have a bias; keys never do.
        norm_eps: of the blocks' norms and of the last one before pooling "first": 1e-6 in the original code, 1e-12 in
            Hugging Face's.
        pooling: "mean" of all tokens, then a norm; or "first": a norm, then the first token alone, which is no class
            token but the first tubelet.
        pool_norm_eps: of the norm behind the mean: 1e-6 in the original code, 1e-5 in Hugging Face's.
        drop_path: stochastic depth of the last block, reached linearly from 0; 0.1 and more in the original training.
    """

    num_classes: int = 400
    num_frames: int = 16
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    tubelet_size: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    qv_bias: bool = True
    norm_eps: float = 1e-6
    pooling: Literal["mean", "first"] = "mean"
    pool_norm_eps: float = 1e-6
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        check_choice(self, "pooling", ("mean", "first"))
        check_whole(self, ("num_classes", "num_frames", "patch_size", "tubelet_size", "width", "depth", "heads"))
        check_image_size(self.image_size, self.patch_size)
        check_share(self, ("drop_path",))
        for name in ("norm_eps", "pool_norm_eps"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; expected a number above 0")
        if not self.width * self.mlp_ratio >= 1:
            raise UsageError(f"mlp_ratio is {self.mlp_ratio}; expected at least 1 / width, so that an MLP is not empty")
        if self.width % self.heads:
            raise UsageError(f"width is {self.width}; expected a multiple of heads, {self.heads}")
        if self.num_frames % self.tubelet_size:
            raise UsageError(
                f"num_frames is {self.num_frames}; expected a multiple of tubelet_size, {self.tubelet_size}"
            )


class TubeletEmbed(nn.Module):
    """Cuts a clip into tubelets and projects each: (B, T, 3, H, W) -> (B, N, D).

    Args:
        tubelet_size: length in frames.
        patch_size: side in pixels.
        width: D.
    """

    def __init__(self, tubelet_size: int, patch_size: int, width: int) -> None:
        super().__init__()
        size = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(3, width, kernel_size=size, stride=size)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, N, D), tubelets by time, then row, then column."""
        tokens_BND: Tensor = self.proj(clip_BTCHW.transpose(1, 2)).flatten(2).transpose(1, 2)
        return tokens_BND


class QueryValueBiasAttention(nn.Module):
    """Multi-head self-attention whose queries and values have a bias and whose keys have none.

    A bias of the keys would shift all scores of a query alike, so it would never change anything.

    Args:
        width: D.
        heads: A, dividing `width`.
        bias: whether queries and values have one.
    """

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        assert width % heads == 0, f"width {width} is not a multiple of {heads} heads"
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.proj = nn.Linear(width, width)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        bias = None
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        batch, tokens, width = tokens_BND.shape
        fused_BNX = F.linear(tokens_BND, self.qkv.weight, bias)
        fused_B3ANE = fused_BNX.reshape(batch, tokens, 3, self.heads, width // self.heads).permute(0, 2, 3, 1, 4)
        query_BANE, key_BANE, value_BANE = fused_B3ANE.unbind(1)
        mixed_BANE = F.scaled_dot_product_attention(query_BANE, key_BANE, value_BANE)
        output: Tensor = self.proj(mixed_BANE.transpose(1, 2).flatten(2))
        return output


class VideomaeBlock(nn.Module):
    """The ViT block, `x + Attention(LN(x))` and then `x + MLP(LN(x))`, without a bias of the keys.

    Args:
        config: of the network.
        drop_path: stochastic depth of this block.
    """

    def __init__(self, config: VideomaeConfig, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attn = QueryValueBiasAttention(config.width, config.heads, bias=config.qv_bias)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = Mlp(config.width, round(config.width * config.mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        tokens_BND = tokens_BND + self.drop_path(self.attn(self.norm1(tokens_BND)))
        output: Tensor = tokens_BND + self.drop_path(self.mlp(self.norm2(tokens_BND)))
        return output


class TubeletEncoder(nn.Module):
    """Tubelets with fixed positions, through all blocks, to one vector for the clip.

    Parameter names are those of the original classifier.

    Args:
        config: of the network.
    """

    positions_1ND: Tensor

    def __init__(self, config: VideomaeConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.patch_embed = TubeletEmbed(config.tubelet_size, config.patch_size, config.width)
        rows, columns = (side // config.patch_size for side in config.image_size)
        num_tokens = config.num_frames // config.tubelet_size * rows * columns
        # Not in any state dict: a formula, which a file can neither lack nor contradict.
        self.register_buffer("positions_1ND", sinusoid_positions(num_tokens, config.width)[None], persistent=False)
        rates = [config.drop_path * index / max(config.depth - 1, 1) for index in range(config.depth)]
        self.blocks = nn.ModuleList(VideomaeBlock(config, drop_path=rate) for rate in rates)
        if config.pooling == "mean":
            self.fc_norm = nn.LayerNorm(config.width, eps=config.pool_norm_eps)
        else:
            self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float -> (B, D)."""
        tokens_BND = self.patch_embed(clip_BTCHW)
        tokens_BND = tokens_BND + self.positions_1ND.to(tokens_BND.dtype)
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        mean = self.pooling == "mean"
        embedding_BD: Tensor = self.fc_norm(tokens_BND.mean(1)) if mean else self.norm(tokens_BND[:, 0])
        return embedding_BD


class Videomae(nn.Module):
    """VideoMAE's encoder with a classifier, as it is fine-tuned after masked pre-training.

    Source: Tong, Song, Wang, Wang 2022, arXiv:2203.12602, as released. The numbers agree with the original code and,
    with its two other `eps`, with Hugging Face's.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: VideomaeConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = TubeletEncoder(config)
        self.head = nn.Linear(config.width, config.num_classes)
        _init_(self, generator)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        logits_BK: Tensor = self.head(self.encoder(clip_BTCHW))
        return logits_BK.float()


def sinusoid_positions(num_tokens: int, width: int) -> Tensor:
    """Fixed positions: in column j the sine (j even) or cosine (j odd) of position / 10000 ** (2 * (j // 2) / width).

    Tokens are counted through, so neighbours in time are a whole frame's tokens apart.

    Args:
        num_tokens: N.
        width: D.

    Returns:
        (N, D) float32, computed in float64.

    Source: Vaswani et al. 2017, section 3.5.
    """
    columns_D = torch.arange(width)
    rates_D = 10000.0 ** (-2.0 * columns_D.div(2, rounding_mode="floor").double() / width)
    angles_ND = torch.arange(num_tokens).double().unsqueeze(1) * rates_D
    return torch.where(columns_D % 2 == 0, angles_ND.sin(), angles_ND.cos()).float()


@torch.no_grad()
def _init_(model: Videomae, generator: torch.Generator | None) -> None:
    """Draw all weights; biases of queries and values start from 0, like all others."""
    init_transformer_(model, generator)
    for module in model.modules():
        if isinstance(module, QueryValueBiasAttention) and module.q_bias is not None and module.v_bias is not None:
            module.q_bias.zero_()
            module.v_bias.zero_()
