"""STAM: a clip of few frames comes in, each is encoded on its own, a small transformer looks across, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewframes.models.checks import check_clip, check_whole
from fewframes.models.layers import init_transformer_
from fewframes.models.positions import PositionTable
from fewframes.models.temporal import (
    build_aggregator,
    check_frames,
    check_temporal_heads,
    check_temporal_numbers,
    init_aggregator_,
    time_tables,
)
from fewframes.models.vit import build_encoder, check_encoder

__all__ = ["Stam", "StamConfig"]


@dataclass(frozen=True)
class StamConfig:
    """Everything that fixes a STAM network's shape.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, >= 1.
        image_size: (height, width) in pixels, multiples of `patch_size`.
        patch_size: side of a patch in pixels.
        width: D, size of a frame's embedding.
        depth: blocks of the frame encoder.
        heads: heads of the frame encoder, dividing `width`.
        mlp_ratio: inner width of the frame encoder's MLPs over `width`.
        qkv_bias: whether the frame encoder's queries, keys and values have a bias.
        norm_eps: of the frame encoder's norms (and the "paper" aggregator's): 1e-5 in the STAM release, 1e-6 in timm.
        aggregator: "official" as released (post-norm, ReLU), "paper" as written (pre-norm, GELU), or "mean".
        temporal_depth: layers of the aggregator.
        temporal_heads: heads of the aggregator, dividing `width`.
        temporal_mlp_width: inner width of the aggregator's MLPs; None means 2048 if "official", 4 * width if "paper".
        temporal_dropout: of the "official" aggregator, while training.
        drop_path: stochastic depth of the frame encoder's last block, reached linearly from 0.
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
    aggregator: Literal["official", "paper", "mean"] = "official"
    temporal_depth: int = 6
    temporal_heads: int = 8
    temporal_mlp_width: int | None = None
    temporal_dropout: float = 0.1
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames"))
        check_temporal_numbers(self)
        check_encoder(self)
        check_temporal_heads(self, self.width)


class Stam(nn.Module):
    """STAM and its mean-pooling baseline.

    Because frames are encoded one by one, `embed_frames` and `classify` are two independent halves: embeddings can be
    kept, streamed and reused, and `model(clip)` equals `model.classify(model.embed_frames(clip))` exactly.

    Source: Sharir, Noy, Zelnik-Manor 2021, section 3, as released (see `StamConfig.aggregator` for the paper's form).

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    def __init__(self, config: StamConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.aggregate = build_aggregator(config, config.width)
        self.head = nn.Linear(config.width, config.num_classes)
        init_transformer_(self.encoder, generator)
        self.encoder.init_positions_()
        init_aggregator_(self.aggregate, generator)
        init_transformer_(self.head, generator)

    head_names = ("head.weight", "head.bias")

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions: of patches in a frame, and of frames in the clip."""
        space = PositionTable("encoder.pos_embed", has_class=True, grid=(1, *self.encoder.grid))
        return (space, *time_tables(self.config))

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        return self.classify(self.embed_frames(clip_BTCHW))

    def embed_frames(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, D), each frame on its own; any T."""
        check_clip(clip_BTCHW, self.config, any_frames=True)
        embedding_FD = self.encoder(clip_BTCHW.flatten(0, 1))
        embedding_BTD: Tensor = embedding_FD.unflatten(0, clip_BTCHW.shape[:2])
        return embedding_BTD

    def classify(self, frames_BTD: Tensor) -> Tensor:
        """(B, T, D) frame embeddings -> (B, K) float32 logits. Raises UsageError if T or D are not the model's."""
        check_frames(frames_BTD, self.config, self.config.width)
        logits_BK: Tensor = self.head(self.aggregate(frames_BTD))
        return logits_BK.float()

    def frame_weights(self, frames_BTD: Tensor) -> Tensor:
        """How much the class token attends to each frame in the last temporal layer: (B, T, D) -> (B, T), sums to 1."""
        check_frames(frames_BTD, self.config, self.config.width)
        weights_BT: Tensor = self.aggregate.frame_weights(frames_BTD)
        return weights_BT
