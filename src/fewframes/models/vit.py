"""The frame encoder: a ViT takes single frames and gives one vector each."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fewframes.models.layers import wave_positions

__all__ = ["ENCODER_SIZES", "FrameEncoder"]

ENCODER_SIZES = {
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
    "large": {"width": 1024, "depth": 24, "heads": 16},
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
        patches_FPD = self.patch_embed(frames_FCHW)
        class_F1D = self.cls_token.expand(patches_FPD.shape[0], -1, -1)
        tokens_FND = torch.cat([class_F1D, patches_FPD], dim=1) + self.pos_embed
        for block in self.blocks:
            tokens_FND = block(tokens_FND)
        # Only the class token is used, and the norm works token by token: norm one token, not all.
        embedding_FD: Tensor = self.norm(tokens_FND[:, 0])
        return embedding_FD

    @torch.no_grad()
    def init_positions_(self) -> None:
        """Start each patch's position from waves over its row and its column; the class token's from 0."""
        rows, columns = self.grid
        width = self.pos_embed.shape[-1]
        of_rows = wave_positions(torch.arange(rows).repeat_interleave(columns), width - width // 2)
        of_columns = wave_positions(torch.arange(columns).repeat(rows), width // 2)
        self.pos_embed.zero_()
        self.pos_embed[0, 1:] = torch.cat([of_rows, of_columns], dim=1)
