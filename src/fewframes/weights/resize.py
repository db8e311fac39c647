"""Position embeddings of one size come in, those of another go out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["resize_positions_in_space", "resize_positions_in_time"]


def resize_positions_in_space(positions_1ND: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Interpolate a ViT's positions (class token first, then a grid row by row) to another grid.

    Bicubic, antialiased when shrinking, as timm does it. Returns (1, 1 + rows * columns, D) float32.
    """
    grid_1DHW = positions_1ND[:, 1:].float().reshape(1, *old_grid, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(grid_1DHW, size=new_grid, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions_1ND[:, :1].float(), resized.flatten(2).transpose(1, 2)], dim=1)


def resize_positions_in_time(positions_1SD: Tensor, num_frames: int) -> Tensor:
    """Interpolate an aggregator's positions (class token first, then one per frame) to another number of frames.

    Linear between segment centres, so that a position keeps its place in the video. Returns (1, 1 + T, D) float32.
    """
    frames_1DT = positions_1SD[:, 1:].float().transpose(1, 2)
    resized = F.interpolate(frames_1DT, size=num_frames, mode="linear", align_corners=False)
    return torch.cat([positions_1SD[:, :1].float(), resized.transpose(1, 2)], dim=1)
