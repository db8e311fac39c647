"""Attention over time inside every block: a clip comes in, blocks mix space, then time, and logits go out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewframes.models.checks import check_clip, check_whole
from fewframes.models.layers import DropPath, Mlp, SelfAttention, init_transformer_, wave_positions
from fewframes.models.positions import PositionTable
from fewframes.models.vit import build_encoder, check_encoder

__all__ = ["SpaceTimeBlock", "StamInBlock", "StamInBlockConfig"]


@dataclass(frozen=True)
class StamInBlockConfig:
    """Everything that fixes the network's shape.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, >= 1.
        image_size: (height, width) in pixels, multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        width: D, size of a token.
        depth: blocks.
        heads: heads of each attention, over space and over time, dividing `width`.
        mlp_ratio: inner width of the MLPs over `width`.
        qkv_bias: whether queries, keys and values have a bias.
        norm_eps: of all norms: 1e-5 in the STAM release, 1e-6 in timm.
        drop_path: stochastic depth of the last block, reached linearly from 0.
    """

    num_classes: int = 400
    num_frames: int = 16
    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    norm_eps: float = 1e-5
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames"))
        check_encoder(self)


class SpaceTimeBlock(nn.Module):
    """The ViT block with one branch more between its two: attention between the same place in all frames.

    Names of what it has in common with `PreNormBlock` are the same, so that an image ViT's file fills it.
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
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = SelfAttention(width, heads, qkv_bias=qkv_bias)
        self.time_norm = nn.LayerNorm(width, eps=norm_eps)
        self.time_attn = SelfAttention(width, heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_width)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens_FND: Tensor, time_1TD: Tensor) -> Tensor:
        """Tokens (F, N, D) of F = B * T frames, those of a clip in a row, and (1, T, D) positions -> (F, N, D)."""
        tokens_FND = tokens_FND + self.drop_path(self.attn(self.norm1(tokens_FND)))
        tokens_FND = tokens_FND + self.drop_path(self._over_time(tokens_FND, time_1TD))
        output: Tensor = tokens_FND + self.drop_path(self.mlp(self.norm2(tokens_FND)))
        return output

    def _over_time(self, tokens_FND: Tensor, time_1TD: Tensor) -> Tensor:
        """The branch: each place of each clip is a sequence of its own, as long as the clip has frames."""
        frames, places, width = time_1TD.shape[1], *tokens_FND.shape[1:]
        tokens_BTND = tokens_FND.reshape(-1, frames, places, width)
        series_LTD = tokens_BTND.transpose(1, 2).flatten(0, 1)  # L = B * N
        mixed_LTD = self.time_attn(self.time_norm(series_LTD + time_1TD))
        mixed_FND: Tensor = mixed_LTD.reshape(-1, places, frames, width).transpose(1, 2).flatten(0, 1)
        return mixed_FND


class StamInBlock(nn.Module):
    """The alternative that STAM's authors found slightly worse and dearer: space, then time, in every block.

    At the start the output projections over time are 0, so the network is exactly the image ViT on each frame with the
    mean over frames on top, `Stam` with aggregator "mean", whatever the rest of those branches holds.

    Source: Sharir, Noy, Zelnik-Manor 2021, end of section 3: "apply the temporal attention (between patches at the
    same spatial position, but from different frames), after the spatial attention within each block". The paper is
    silent on all else, and this is what we chose: each frame keeps its class token, which counts as one more place, so
    it attends to the class tokens of the other frames; a clip's embedding is the mean over frames of the normed class
    tokens; frames have learned positions, one table for all blocks, added where a branch over time begins and nowhere
    else, so that an image ViT's features stay what they were.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: StamInBlockConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config, block=SpaceTimeBlock)
        self.time_embed = nn.Parameter(torch.zeros(1, config.num_frames, config.width))
        self.head = nn.Linear(config.width, config.num_classes)
        init_transformer_(self, generator)
        self.encoder.init_positions_()
        self._init_time_()

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions: of patches in a frame, and of frames in the clip."""
        space = PositionTable("encoder.pos_embed", has_class=True, grid=(1, *self.encoder.grid))
        return (space, PositionTable("time_embed", has_class=False, grid=(self.config.num_frames, 1, 1)))

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        tokens_FND = self.encoder.embed_tokens(clip_BTCHW.flatten(0, 1))
        for block in self.encoder.blocks:
            tokens_FND = block(tokens_FND, self.time_embed)
        frames_BTD = self.encoder.norm(tokens_FND[:, 0]).unflatten(0, clip_BTCHW.shape[:2])
        logits_BK: Tensor = self.head(frames_BTD.mean(1))
        return logits_BK.float()

    @torch.no_grad()
    def _init_time_(self) -> None:
        """Start frames' positions from waves, and the branches over time from giving nothing."""
        self.time_embed[0] = wave_positions(torch.arange(self.config.num_frames), self.config.width)
        for block in self.encoder.blocks:
            assert isinstance(block, SpaceTimeBlock)
            nn.init.zeros_(block.time_attn.proj.weight)
            nn.init.zeros_(block.time_attn.proj.bias)
