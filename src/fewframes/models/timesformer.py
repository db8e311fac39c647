"""TimeSformer: a clip comes in, its patches attend in time and space by one of three schemes, logits go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole
from fewframes.models.layers import DropPath, Mlp, PreNormBlock, SelfAttention, init_transformer_
from fewframes.models.positions import PositionTable
from fewframes.models.vit import PatchEmbed

__all__ = ["Timesformer", "TimesformerConfig", "image_vit_to_timesformer"]


@dataclass(frozen=True)
class TimesformerConfig:
    """Everything that fixes a TimeSformer's shape.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, >= 1.
        image_size: (height, width) in pixels, multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        width: D, size of a token.
        depth: blocks.
        heads: A, dividing `width`.
        mlp_ratio: inner width of the MLPs over `width`.
        qkv_bias: whether queries, keys and values have a bias.
        norm_eps: of every norm.
        attention: "divided" (first over time, then over space), "joint" (over both at once) or "space" (frames on
            their own, averaged at the end).
        drop_path: stochastic depth of the last block, reached linearly from 0; 0.1 in the original training.
    """

    num_classes: int = 400
    num_frames: int = 8
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    norm_eps: float = 1e-6
    attention: Literal["divided", "joint", "space"] = "divided"
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        check_choice(self, "attention", ("divided", "joint", "space"))
        check_whole(self, ("num_classes", "num_frames", "patch_size", "width", "depth", "heads"))
        check_image_size(self.image_size, self.patch_size)
        check_share(self, ("drop_path",))
        if not self.norm_eps > 0:
            raise UsageError(f"norm_eps is {self.norm_eps}; expected a number above 0")
        if not self.width * self.mlp_ratio >= 1:
            raise UsageError(f"mlp_ratio is {self.mlp_ratio}; expected at least 1 / width, so that an MLP is not empty")
        if self.width % self.heads:
            raise UsageError(f"width is {self.width}; expected a multiple of heads, {self.heads}")


class DividedBlock(nn.Module):
    """Attention of each patch over time, then of each frame over space, then the MLP; tokens keep their shape.

    The class token takes no part in the attention over time (the paper's equation 13 lets patches look at it, the
    released code does not). In the attention over space it joins every frame, and its results are averaged.

    Source: Bertasius, Wang, Torresani 2021, section 3, as released.

    Args:
        config: of the network.
        drop_path: stochastic depth of this block.
    """

    def __init__(self, config: TimesformerConfig, *, drop_path: float) -> None:
        super().__init__()
        width, heads, eps = config.width, config.heads, config.norm_eps
        self.num_frames = config.num_frames
        self.temporal_norm1 = nn.LayerNorm(width, eps=eps)
        self.temporal_attn = SelfAttention(width, heads, qkv_bias=config.qkv_bias)
        self.temporal_fc = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = SelfAttention(width, heads, qkv_bias=config.qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, round(width * config.mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens_BSD: Tensor) -> Tensor:
        """(B, 1 + T * P, D), the class token and then frame by frame -> the same shape."""
        batch, tokens, width = tokens_BSD.shape
        class_B1D, num_patches = tokens_BSD[:, :1], (tokens - 1) // self.num_frames
        patches_BTPD = self._over_time(tokens_BSD[:, 1:].reshape(batch, self.num_frames, num_patches, width))
        tokens_BSD = torch.cat([class_B1D, patches_BTPD.flatten(1, 2)], dim=1)
        tokens_BSD = tokens_BSD + self._over_space(class_B1D, patches_BTPD)
        output: Tensor = tokens_BSD + self.drop_path(self.mlp(self.norm2(tokens_BSD)))
        return output

    def _over_time(self, patches_BTPD: Tensor) -> Tensor:
        batch, _, num_patches, _ = patches_BTPD.shape
        tubes_XTD = patches_BTPD.transpose(1, 2).flatten(0, 1)
        mixed_XTD = self.temporal_fc(self.drop_path(self.temporal_attn(self.temporal_norm1(tubes_XTD))))
        mixed_BTPD = mixed_XTD.unflatten(0, (batch, num_patches)).transpose(1, 2)
        output: Tensor = patches_BTPD + mixed_BTPD
        return output

    def _over_space(self, class_B1D: Tensor, patches_BTPD: Tensor) -> Tensor:
        batch, num_frames = patches_BTPD.shape[:2]
        class_BT1D = class_B1D.unsqueeze(1).expand(-1, num_frames, -1, -1)
        tokens_FND = torch.cat([class_BT1D, patches_BTPD], dim=2).flatten(0, 1)
        mixed_FND = self.drop_path(self.attn(self.norm1(tokens_FND)))
        mixed_BTND = mixed_FND.unflatten(0, (batch, num_frames))
        return torch.cat([mixed_BTND[:, :, 0].mean(1, keepdim=True), mixed_BTND[:, :, 1:].flatten(1, 2)], dim=1)


class SpaceTimeEncoder(nn.Module):
    """Frames become tokens, tokens attend to each other, and one vector for the clip comes out.

    Parameter names are those of the original network, and but for the temporal ones those of the ViT in timm.

    Args:
        config: of the network.
    """

    def __init__(self, config: TimesformerConfig) -> None:
        super().__init__()
        self.attention = config.attention
        self.grid = (config.image_size[0] // config.patch_size, config.image_size[1] // config.patch_size)
        self.patch_embed = PatchEmbed(config.patch_size, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], config.width))
        if config.attention != "space":
            self.time_embed = nn.Parameter(torch.zeros(1, config.num_frames, config.width))
        rates = [config.drop_path * index / max(config.depth - 1, 1) for index in range(config.depth)]
        self.blocks = nn.ModuleList(_block(config, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float -> (B, D)."""
        batch, num_frames = clip_BTCHW.shape[:2]
        patches_FPD = self.patch_embed(clip_BTCHW.flatten(0, 1))
        class_F1D = self.cls_token.expand(patches_FPD.shape[0], -1, -1)
        tokens_FND = torch.cat([class_F1D, patches_FPD], dim=1) + self.pos_embed
        if self.attention == "space":
            for block in self.blocks:
                tokens_FND = block(tokens_FND)
            # Averaged before the norm, as released; averaging normed frames is another network.
            embedding_BD: Tensor = self.norm(tokens_FND[:, 0].reshape(batch, num_frames, tokens_FND.shape[2]).mean(1))
            return embedding_BD
        tokens_BTND = tokens_FND.reshape(batch, num_frames, *tokens_FND.shape[1:])
        patches_BTPD = tokens_BTND[:, :, 1:] + self.time_embed.unsqueeze(2)
        tokens_BSD = torch.cat([tokens_BTND[:, 0, :1], patches_BTPD.flatten(1, 2)], dim=1)
        for block in self.blocks:
            tokens_BSD = block(tokens_BSD)
        embedding_BD = self.norm(tokens_BSD[:, 0])
        return embedding_BD


class Timesformer(nn.Module):
    """TimeSformer, its joint space-time and its space-only form.

    Source: Bertasius, Wang, Torresani 2021, arXiv:2102.05095, section 3, as released (see `DividedBlock` for where
    paper and code differ). The numbers agree with the released code for all three forms.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: TimesformerConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpaceTimeEncoder(config)
        self.head = nn.Linear(config.width, config.num_classes)
        _init_(self, generator)

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions; the authors fit both tables to other sizes by the nearest neighbour."""
        space = PositionTable("encoder.pos_embed", has_class=True, grid=(1, *self.encoder.grid), mode="nearest")
        if self.config.attention == "space":
            return (space,)
        grid = (self.config.num_frames, 1, 1)
        return (space, PositionTable("encoder.time_embed", has_class=False, grid=grid, mode="nearest"))

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        logits_BK: Tensor = self.head(self.encoder(clip_BTCHW))
        return logits_BK.float()


def image_vit_to_timesformer(tensors: Mapping[str, Tensor], config: TimesformerConfig) -> dict[str, Tensor]:
    """Start a TimeSformer from an image ViT, so that at first it sees each frame as the image model does.

    The attention over time starts as a copy of the attention over space but, behind a zeroed `temporal_fc`, without
    effect, and all frames have the same position in time.

    Args:
        tensors: of a ViT, in timm's names.
        config: of the network to be filled.

    Returns:
        Every tensor of the network in our names, positions and head in the file's own size; what has no place keeps
        its name behind "encoder.".

    Source: Bertasius, Wang, Torresani 2021, section 4, and the released code.
    """
    result = {name if name.startswith("head.") else f"encoder.{name}": value for name, value in tensors.items()}
    like = result["encoder.norm.weight"]
    if config.attention != "space":
        result["encoder.time_embed"] = like.new_zeros(1, config.num_frames, like.shape[0])
    if config.attention != "divided":
        return result
    for name, value in tensors.items():
        block, _, rest = name.partition(".attn.") if ".attn." in name else name.partition(".norm1.")
        if block.startswith("blocks.") and rest:
            part = "temporal_attn" if ".attn." in name else "temporal_norm1"
            result[f"encoder.{block}.{part}.{rest}"] = value.clone()
            result[f"encoder.{block}.temporal_fc.weight"] = like.new_zeros(like.shape[0], like.shape[0])
            result[f"encoder.{block}.temporal_fc.bias"] = like.new_zeros(like.shape[0])
    return result


def _block(config: TimesformerConfig, *, drop_path: float) -> nn.Module:
    if config.attention == "divided":
        return DividedBlock(config, drop_path=drop_path)
    return PreNormBlock(
        config.width,
        config.heads,
        mlp_width=round(config.width * config.mlp_ratio),
        qkv_bias=config.qkv_bias,
        norm_eps=config.norm_eps,
        drop_path=drop_path,
    )


@torch.no_grad()
def _init_(model: Timesformer, generator: torch.Generator | None) -> None:
    """Draw all weights; time starts without effect: positions in time and each `temporal_fc` are 0, as released."""
    init_transformer_(model, generator)
    if model.config.attention != "space":
        model.encoder.time_embed.zero_()
    for module in model.modules():
        if isinstance(module, DividedBlock):
            nn.init.zeros_(module.temporal_fc.weight)
            nn.init.zeros_(module.temporal_fc.bias)
