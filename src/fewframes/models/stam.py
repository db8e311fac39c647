"""STAM: a clip of few frames comes in, each is encoded on its own, a small transformer looks across, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.aggregators import (
    MeanAggregator,
    OfficialAggregator,
    PaperAggregator,
    init_time_positions_,
)
from fewframes.models.layers import PreNormBlock, init_transformer_
from fewframes.models.vit import FrameEncoder

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
        at_least_one = ("num_classes", "num_frames", "patch_size", "width", "depth", "heads")
        temporal = () if self.aggregator == "mean" else ("temporal_depth", "temporal_heads")
        for name in at_least_one + temporal:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.aggregator not in ("official", "paper", "mean"):
            raise UsageError(f'aggregator is {self.aggregator!r}; expected "official", "paper" or "mean"')
        if min(self.image_size) < 1 or any(side % self.patch_size for side in self.image_size):
            raise UsageError(
                f"image_size is {self.image_size[0]}x{self.image_size[1]}; "
                f"expected multiples of patch_size, {self.patch_size}"
            )
        if self.width % self.heads:
            raise UsageError(f"width is {self.width}; expected a multiple of heads, {self.heads}")
        if self.aggregator != "mean" and self.width % self.temporal_heads:
            raise UsageError(f"width is {self.width}; expected a multiple of temporal_heads, {self.temporal_heads}")


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
        self.encoder = FrameEncoder(
            config.image_size,
            config.patch_size,
            width=config.width,
            blocks=[
                PreNormBlock(
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
        self.aggregate = _build_aggregator(config)
        self.head = nn.Linear(config.width, config.num_classes)
        init_transformer_(self, generator)
        self.encoder.init_positions_()
        if not isinstance(self.aggregate, MeanAggregator):
            init_time_positions_(self.aggregate.pos_embed)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        return self.classify(self.embed_frames(clip_BTCHW))

    def embed_frames(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, D), each frame on its own; any T."""
        config = self.config
        expected = (3, *config.image_size)
        if clip_BTCHW.ndim != 5 or tuple(clip_BTCHW.shape[2:]) != expected:
            raise UsageError(
                f"the clip is {tuple(clip_BTCHW.shape)}; expected (B, T, {', '.join(map(str, expected))}); "
                "use the model's own preprocess"
            )
        batch = clip_BTCHW.shape[0]
        embedding_FD = self.encoder(clip_BTCHW.flatten(0, 1))
        embedding_BTD: Tensor = embedding_FD.unflatten(0, (batch, -1))
        return embedding_BTD

    def classify(self, frames_BTD: Tensor) -> Tensor:
        """(B, T, D) frame embeddings -> (B, K) float32 logits. Raises UsageError if T is not the model's."""
        self._check_frames(frames_BTD)
        logits_BK: Tensor = self.head(self.aggregate(frames_BTD))
        return logits_BK.float()

    def frame_weights(self, frames_BTD: Tensor) -> Tensor:
        """How much the class token attends to each frame in the last temporal layer: (B, T, D) -> (B, T), sums to 1."""
        self._check_frames(frames_BTD)
        weights_BT: Tensor = self.aggregate.frame_weights(frames_BTD)
        return weights_BT

    def _check_frames(self, frames_BTD: Tensor) -> None:
        if self.config.aggregator != "mean" and frames_BTD.shape[1] != self.config.num_frames:
            raise UsageError(
                f"the clip has {frames_BTD.shape[1]} frames but the model needs {self.config.num_frames}; "
                f"sample with count={self.config.num_frames}"
            )


def _build_aggregator(config: StamConfig) -> OfficialAggregator | PaperAggregator | MeanAggregator:
    if config.aggregator == "official":
        return OfficialAggregator(
            config.num_frames,
            config.width,
            depth=config.temporal_depth,
            heads=config.temporal_heads,
            mlp_width=config.temporal_mlp_width or 2048,
            dropout=config.temporal_dropout,
        )
    if config.aggregator == "paper":
        return PaperAggregator(
            config.num_frames,
            config.width,
            depth=config.temporal_depth,
            heads=config.temporal_heads,
            mlp_width=config.temporal_mlp_width or 4 * config.width,
            norm_eps=config.norm_eps,
        )
    return MeanAggregator()
