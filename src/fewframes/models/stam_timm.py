"""STAM over any frame encoder of timm: a clip of few frames comes in, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_clip, check_image_size, check_share, check_whole
from fewframes.models.encoders import TimmEncoder
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

__all__ = ["StamTimm", "StamTimmConfig"]


@dataclass(frozen=True)
class StamTimmConfig:
    """Everything that fixes the shape of a STAM network with an encoder of timm.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, >= 1.
        image_size: (height, width) in pixels; what else the encoder asks of it, timm says when it is built.
        encoder: name of the image model in timm, such as "resnet50", or with the tag of its weights,
            "vit_base_patch16_siglip_224.v2_webli"; see `TimmEncoder`.
        aggregator: "official" as released (post-norm, ReLU), "paper" as written (pre-norm, GELU), or "mean". It works
            at the encoder's own width.
        temporal_depth: layers of the aggregator.
        temporal_heads: heads of the aggregator, dividing the encoder's width.
        temporal_mlp_width: inner width of the aggregator's MLPs; None means 2048 if "official", 4 * width if "paper".
        temporal_dropout: of the "official" aggregator, while training.
        norm_eps: of the "paper" aggregator's norms; the encoder has its own.
        drop_path: stochastic depth of the encoder.
    """

    num_classes: int = 400
    num_frames: int = 16
    image_size: tuple[int, int] = (224, 224)
    encoder: str = "resnet50"
    aggregator: Literal["official", "paper", "mean"] = "official"
    temporal_depth: int = 6
    temporal_heads: int = 8
    temporal_mlp_width: int | None = None
    temporal_dropout: float = 0.1
    norm_eps: float = 1e-5
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames"))
        check_image_size(self.image_size)
        if not isinstance(self.encoder, str) or not self.encoder:
            raise UsageError(f'encoder is {self.encoder!r}; expected the name of a model in timm, such as "resnet50"')
        check_temporal_numbers(self)
        check_share(self, ("drop_path",))


class StamTimm(nn.Module):
    """STAM with another frame encoder, as in the paper's tables 2 and 3 (TResNet-M, TResNet-L, ResNet-50).

    Like `Stam` in two independent halves, `embed_frames` and `classify`. The aggregator has the width of the encoder's
    features: 2048 for ResNet-50, TResNet-M and version 2 of TResNet-L, 2432 for its version 1.

    Source: Sharir, Noy, Zelnik-Manor 2021, section 4.1, which does not say at which width the aggregator works; the
    release's aggregator has 2048 by default, so the features reach it as they are.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.

    Raises:
        UsageError: timm has no such encoder, or the sizes do not fit it.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: StamTimmConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = TimmEncoder(config.encoder, config.image_size, drop_path=config.drop_path, generator=generator)
        self.width = self.encoder.width
        check_temporal_heads(config, self.width)
        self.aggregate = build_aggregator(config, self.width)
        self.head = nn.Linear(self.width, config.num_classes)
        init_aggregator_(self.aggregate, generator)
        init_transformer_(self.head, generator)

    def position_tables(self) -> tuple[PositionTable, ...]:
        """The learned positions: of frames in the clip, and of patches if the encoder has a ViT's table of them."""
        return (*self.encoder.position_tables("encoder."), *time_tables(self.config))

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        return self.classify(self.embed_frames(clip_BTCHW))

    def embed_frames(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, D), each frame on its own (but for batch norms while training); any T."""
        check_clip(clip_BTCHW, self.config, any_frames=True)
        embedding_FD = self.encoder(clip_BTCHW.flatten(0, 1))
        embedding_BTD: Tensor = embedding_FD.unflatten(0, clip_BTCHW.shape[:2])
        return embedding_BTD

    def classify(self, frames_BTD: Tensor) -> Tensor:
        """(B, T, D) frame embeddings -> (B, K) float32 logits. Raises UsageError if T or D are not the model's."""
        check_frames(frames_BTD, self.config, self.width)
        logits_BK: Tensor = self.head(self.aggregate(frames_BTD))
        return logits_BK.float()

    def frame_weights(self, frames_BTD: Tensor) -> Tensor:
        """How much the class token attends to each frame in the last temporal layer: (B, T, D) -> (B, T), sums to 1."""
        check_frames(frames_BTD, self.config, self.width)
        weights_BT: Tensor = self.aggregate.frame_weights(frames_BTD)
        return weights_BT
