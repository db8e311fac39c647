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
        if self.aggregator not in ("official", "paper", "mean"):
            raise UsageError(f'aggregator is {self.aggregator!r}; expected "official", "paper" or "mean"')
        self._check_numbers()
        sides = self.image_size
        if len(sides) != 2 or min(sides) < 1 or any(side % self.patch_size for side in sides):
            raise UsageError(
                f"image_size is {'x'.join(map(str, sides))}; expected height and width, "
                f"multiples of patch_size, {self.patch_size}"
            )
        if self.width % self.heads:
            raise UsageError(f"width is {self.width}; expected a multiple of heads, {self.heads}")
        if self.aggregator != "mean" and self.width % self.temporal_heads:
            raise UsageError(f"width is {self.width}; expected a multiple of temporal_heads, {self.temporal_heads}")

    def _check_numbers(self) -> None:
        whole = ["num_classes", "num_frames", "patch_size", "width", "depth", "heads"]
        if self.aggregator != "mean":
            whole += ["temporal_depth", "temporal_heads"]
        if self.temporal_mlp_width is not None:
            whole.append("temporal_mlp_width")
        for name in whole:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is {value!r}; expected a whole number of at least 1")
        if not self.norm_eps > 0:
            raise UsageError(f"norm_eps is {self.norm_eps}; expected a number above 0")
        if not self.width * self.mlp_ratio >= 1:
            raise UsageError(f"mlp_ratio is {self.mlp_ratio}; expected at least 1 / width, so that an MLP is not empty")
        for name in ("temporal_dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 0 and below 1")


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
        expected = (3, *self.config.image_size)
        fits = clip_BTCHW.ndim == 5 and tuple(clip_BTCHW.shape[2:]) == expected
        if not fits or not clip_BTCHW.is_floating_point():
            kind = str(clip_BTCHW.dtype).removeprefix("torch.")
            raise UsageError(
                f"the clip is {tuple(clip_BTCHW.shape)} {kind}; expected (B, T, {', '.join(map(str, expected))}) "
                "of floats; use the model's own preprocess"
            )
        embedding_FD = self.encoder(clip_BTCHW.flatten(0, 1))
        embedding_BTD: Tensor = embedding_FD.unflatten(0, clip_BTCHW.shape[:2])
        return embedding_BTD

    def classify(self, frames_BTD: Tensor) -> Tensor:
        """(B, T, D) frame embeddings -> (B, K) float32 logits. Raises UsageError if T or D are not the model's."""
        self._check_frames(frames_BTD)
        logits_BK: Tensor = self.head(self.aggregate(frames_BTD))
        return logits_BK.float()

    def frame_weights(self, frames_BTD: Tensor) -> Tensor:
        """How much the class token attends to each frame in the last temporal layer: (B, T, D) -> (B, T), sums to 1."""
        self._check_frames(frames_BTD)
        weights_BT: Tensor = self.aggregate.frame_weights(frames_BTD)
        return weights_BT

    def _check_frames(self, frames_BTD: Tensor) -> None:
        config = self.config
        if frames_BTD.ndim != 3 or frames_BTD.shape[2] != config.width:
            raise UsageError(
                f"the frame embeddings are {tuple(frames_BTD.shape)}; expected (B, T, {config.width}), "
                "as embed_frames gives them"
            )
        num_frames = frames_BTD.shape[1]
        if num_frames < 1 or (config.aggregator != "mean" and num_frames != config.num_frames):
            raise UsageError(
                f"the clip has {num_frames} frames but the model needs {config.num_frames}; "
                f"sample with count={config.num_frames}"
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
