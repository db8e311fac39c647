"""Joint attention over space and time: a clip comes in, one ViT sees all patches of all frames, logits go out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewframes.models.checks import check_clip, check_whole
from fewframes.models.layers import init_transformer_, wave_positions
from fewframes.models.positions import PositionTable
from fewframes.models.vit import build_encoder, check_encoder, grid_positions

__all__ = ["StamJoint", "StamJointConfig"]


@dataclass(frozen=True)
class StamJointConfig:
    """Everything that fixes the network's shape.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, >= 1.
        image_size: (height, width) in pixels, multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        width: D, size of a token.
        depth: blocks.
        heads: heads of each block, dividing `width`.
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


class StamJoint(nn.Module):
    """What STAM starts from and then avoids: every patch attends to every patch of every frame.

    A ViT over T * P patches, each with a learned position of its own (p, t). With one frame it is the image ViT. Its
    attention costs T times as much as that of STAM's frame encoder; the paper calls it "prohibitively large".

    Source: Sharir, Noy, Zelnik-Manor 2021, section 3, equations 1 to 5. Equation 5 lets a patch attend to the class
    token of its own frame, and its dimension, N * F + F, counts one such token a frame, but nothing says how F class
    tokens become one vector here; we take one class token for the clip, as the image ViT has one for its picture.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: StamJointConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        height, width = config.image_size
        self.encoder = build_encoder(config, image_size=(config.num_frames * height, width))
        self.head = nn.Linear(config.width, config.num_classes)
        init_transformer_(self, generator)
        self._init_positions_()

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions: of each patch of each frame."""
        return (PositionTable("encoder.pos_embed", has_class=True, grid=self._grid()),)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        # One below the other, the frames are one tall picture, whose patches run row by row: by frame, row, column.
        # Frames are whole numbers of patches high, so no patch sees two of them.
        tall_BCYW = clip_BTCHW.transpose(1, 2).flatten(2, 3)
        logits_BK: Tensor = self.head(self.encoder(tall_BCYW))
        return logits_BK.float()

    def _grid(self) -> tuple[int, int, int]:
        rows, columns = self.encoder.grid
        return (self.config.num_frames, rows // self.config.num_frames, columns)

    @torch.no_grad()
    def _init_positions_(self) -> None:
        """Start positions from waves over row and column plus waves over time; the class token's from 0."""
        frames, rows, columns = self._grid()
        positions_ND = self.encoder.pos_embed[0]
        of_place_PD = grid_positions(rows, columns, self.config.width)
        of_time_TD = wave_positions(torch.arange(frames), self.config.width)
        positions_ND.zero_()
        positions_ND[1:] = (of_time_TD.unsqueeze(1) + of_place_PD).flatten(0, 1)
