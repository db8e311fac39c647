"""The frame encoder: a ViT takes single frames and gives one vector each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_image_size, check_share, check_whole
from fewframes.models.layers import PreNormBlock, wave_positions

__all__ = ["ENCODER_SIZES", "EncoderConfig", "FrameEncoder", "build_encoder", "check_encoder", "grid_positions"]

# Heads are 64 wide, but 80 in ViT-H, which was only published with patches of 14 pixels (224 = 16 x 14).
ENCODER_SIZES = {
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
    "huge": {"width": 1280, "depth": 32, "heads": 16, "patch_size": 14},
}


class PatchEmbed(nn.Module):
    """Cuts a frame into square patches and projects each: (F, 3, H, W) -> (F, P, D)."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, frames_FCHW: Tensor) -> Tensor:
        """(F, 3, H, W) -> (F, P, D), patches row by row."""
        patches: Tensor = self.proj(frames_FCHW).flatten(2).transpose(1, 2)
        return patches


class FrameEncoder(nn.Module):
    """ViT whose class token, after the last norm, is the frame's embedding.

    Parameter names are those of the ViT in timm and in the STAM release, so their files map one to one.

    Args:
        image_size: (height, width) in pixels, multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        width: D.
        blocks: modules (F, N, D) -> (F, N, D), first to last.
        norm_eps: of the last norm.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        patch_size: int,
        *,
        width: int,
        blocks: Iterable[nn.Module],
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.grid = (image_size[0] // patch_size, image_size[1] // patch_size)
        self.patch_embed = PatchEmbed(patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, frames_FCHW: Tensor) -> Tensor:
        """(F, 3, H, W) float -> (F, D) frame embeddings."""
        tokens_FND = self.embed_tokens(frames_FCHW)
        for block in self.blocks:
            tokens_FND = block(tokens_FND)
        # Only the class token is used, and the norm works token by token: norm one token, not all.
        embedding_FD: Tensor = self.norm(tokens_FND[:, 0])
        return embedding_FD

    def embed_tokens(self, frames_FCHW: Tensor) -> Tensor:
        """(F, 3, H, W) float -> (F, N, D): the class token and the patches, each at its position, before any block."""
        patches_FPD = self.patch_embed(frames_FCHW)
        class_F1D = self.cls_token.expand(patches_FPD.shape[0], -1, -1)
        return torch.cat([class_F1D, patches_FPD], dim=1) + self.pos_embed

    @torch.no_grad()
    def init_positions_(self) -> None:
        """Start each patch's position from waves over its row and its column; the class token's from 0."""
        rows, columns = self.grid
        width = self.pos_embed.shape[-1]
        self.pos_embed.zero_()
        self.pos_embed[0, 1:] = grid_positions(rows, columns, width)


def grid_positions(rows: int, columns: int, width: int) -> Tensor:
    """Waves over the rows in one half of the columns of a table, over the columns in the other: (rows * columns, D)."""
    of_rows = wave_positions(torch.arange(rows).repeat_interleave(columns), width - width // 2)
    of_columns = wave_positions(torch.arange(columns).repeat(rows), width // 2)
    return torch.cat([of_rows, of_columns], dim=1)


class EncoderConfig(Protocol):
    """What a config says of its ViT; each field is explained in `StamConfig`."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels, multiples of `patch_size`."""

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def depth(self) -> int:
        """Blocks."""

    @property
    def heads(self) -> int:
        """Heads of each block."""

    @property
    def mlp_ratio(self) -> float:
        """Inner width of the MLPs over `width`."""

    @property
    def qkv_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""

    @property
    def norm_eps(self) -> float:
        """Of all norms."""

    @property
    def drop_path(self) -> float:
        """Stochastic depth of the last block, reached linearly from 0."""


def check_encoder(config: EncoderConfig) -> None:
    """Raise `UsageError` unless all that a config says of its ViT fits together."""
    check_whole(config, ("patch_size", "width", "depth", "heads"))
    check_image_size(config.image_size, config.patch_size)
    if config.width % config.heads:
        raise UsageError(f"width is {config.width}; expected a multiple of heads, {config.heads}")
    if not config.width * config.mlp_ratio >= 1:
        raise UsageError(f"mlp_ratio is {config.mlp_ratio}; expected at least 1 / width, so that an MLP is not empty")
    if not config.norm_eps > 0:
        raise UsageError(f"norm_eps is {config.norm_eps}; expected a number above 0")
    check_share(config, ("drop_path",))


def build_encoder(
    config: EncoderConfig,
    *,
    image_size: tuple[int, int] | None = None,
    block: Callable[..., nn.Module] = PreNormBlock,
) -> FrameEncoder:
    """The ViT that a config describes, its weights not yet drawn.

    Args:
        config: the ViT's shape.
        image_size: (height, width) if it is not to be the config's.
        block: what makes a block, called like `PreNormBlock`.
    """
    return FrameEncoder(
        image_size or config.image_size,
        config.patch_size,
        width=config.width,
        blocks=[
            block(
                config.width,
                config.heads,
                mlp_width=int(config.width * config.mlp_ratio),
                qkv_bias=config.qkv_bias,
                norm_eps=config.norm_eps,
                drop_path=config.drop_path * index / max(config.depth - 1, 1),
            )
            for index in range(config.depth)
        ],
        norm_eps=config.norm_eps,
    )
