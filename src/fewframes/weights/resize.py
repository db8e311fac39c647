"""Position embeddings of one size come in, those of another go out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fewframes.models.positions import PositionTable

__all__ = ["resize_positions", "resize_positions_in_space", "resize_positions_in_time"]


def resize_positions(positions_1ND: Tensor, old_grid: tuple[int, int, int], table: PositionTable) -> Tensor:
    """Interpolate a table of positions to a network's own grid, first in space, then in time.

    Args:
        positions_1ND: (1, has_class + t * rows * columns, D), laid out like `table`.
        old_grid: (t, rows, columns) of it.
        table: what the network has.

    Returns:
        (1, table.num_tokens, D) float32.
    """
    class_1CD = positions_1ND[:, : int(table.has_class)].float()
    grid_THWD = positions_1ND[0, int(table.has_class) :].float().reshape(*old_grid, -1)
    if old_grid[1:] != table.grid[1:]:
        grid_THWD = _resize_space(grid_THWD.permute(0, 3, 1, 2), table.grid[1:], table.mode).permute(0, 2, 3, 1)
    if old_grid[0] != table.grid[0]:
        flat_1XT = grid_THWD.flatten(1).t().unsqueeze(0)
        grid_THWD = _resize_time(flat_1XT, table.grid[0], table.mode)[0].t().reshape(*table.grid, -1)
    return torch.cat([class_1CD, grid_THWD.reshape(1, -1, positions_1ND.shape[-1])], dim=1)


def resize_positions_in_space(positions_1ND: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Interpolate a ViT's positions (class token first, then a grid row by row) to another grid.

    Bicubic, antialiased when shrinking, as timm does it. Returns (1, 1 + rows * columns, D) float32.
    """
    return resize_positions(positions_1ND, (1, *old_grid), PositionTable("", has_class=True, grid=(1, *new_grid)))


def resize_positions_in_time(positions_1SD: Tensor, num_frames: int) -> Tensor:
    """Interpolate an aggregator's positions (class token first, then one per frame) to another number of frames.

    Linear between segment centres, so that a position keeps its place in the video. Returns (1, 1 + T, D) float32.
    """
    old_grid, table = (positions_1SD.shape[1] - 1, 1, 1), PositionTable("", has_class=True, grid=(num_frames, 1, 1))
    return resize_positions(positions_1SD, old_grid, table)


def _resize_space(grid_TDHW: Tensor, size: tuple[int, int], mode: Literal["smooth", "nearest"]) -> Tensor:
    if mode == "nearest":
        return F.interpolate(grid_TDHW, size=size, mode="nearest")
    return F.interpolate(grid_TDHW, size=size, mode="bicubic", antialias=True, align_corners=False)


def _resize_time(rows_1XT: Tensor, num_frames: int, mode: Literal["smooth", "nearest"]) -> Tensor:
    if mode == "nearest":
        return F.interpolate(rows_1XT, size=num_frames, mode="nearest")
    return F.interpolate(rows_1XT, size=num_frames, mode="linear", align_corners=False)
