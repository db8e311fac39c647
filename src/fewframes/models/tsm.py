"""TSM: a clip of few frames comes in, a 2-D ResNet whose frames swap some channels looks at it, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole, seeded
from fewframes.models.resnet import RESNET_BLOCKS, FrameResNet, check_blocks, init_cnn_, init_head_

__all__ = ["Tsm", "TsmConfig", "shift_frames", "shifted_blocks"]


@dataclass(frozen=True)
class TsmConfig:
    """Everything that fixes a TSM network's shape; the defaults are the published ResNet-50 with 8 frames.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, >= 1.
        image_size: (height, width) in pixels, any.
        depth: of the ResNet, 18, 34, 50, 101 or 152.
        blocks: of the ResNet's four stages; None means those of `depth`.
        width: channels of the ResNet's stem, at least `folds`.
        folds: into how many parts the channels are split; one of them is shifted in each direction.
        direction: "both", every frame sees its neighbours before and after; "past", only the one before, for streams.
        dropout: before the classifier, while training.
    """

    num_classes: int = 400
    num_frames: int = 8
    image_size: tuple[int, int] = (224, 224)
    depth: int = 50
    blocks: tuple[int, ...] | None = None
    width: int = 64
    folds: int = 8
    direction: Literal["both", "past"] = "both"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames", "width", "folds"))
        check_image_size(self.image_size)
        check_choice(self, "depth", tuple(RESNET_BLOCKS))
        check_choice(self, "direction", ("both", "past"))
        check_share(self, ("dropout",))
        check_blocks(self.blocks)
        if not 2 <= self.folds <= self.width:
            raise UsageError(f"folds is {self.folds}; expected 2 to width, {self.width}")


class Tsm(nn.Module):
    """A 2-D ResNet that sees time at no cost: before a block's first convolution, a part of the channels is shifted.

    Only the residual branch is shifted, so that a frame's own features pass unharmed. In networks with 23 or more
    blocks in the third stage, every other block of each stage is shifted. Each frame gives logits; they are averaged.

    Source: Lin, Gan, Han 2019, arXiv:1811.08383, and its code (MIT): residual shift, 8 folds. "past" is the paper's
    online model; while the code gives it as MobileNet only, it is the same rule here.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: TsmConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with seeded(generator):
            self.encoder = FrameResNet(config.depth, blocks=config.blocks, width=config.width)
            for stage, shifted in zip(self.encoder.stages, shifted_blocks(config), strict=True):
                for index in shifted:
                    block = stage[index]
                    assert isinstance(block.conv1, nn.Conv2d)
                    block.conv1 = _ShiftedConv2d(block.conv1, config)
            self.dropout = nn.Dropout(config.dropout)
            self.head = nn.Linear(self.encoder.width, config.num_classes)
            init_cnn_(self)
            init_head_(self.head, std=0.001)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        return self.frame_logits(clip_BTCHW).mean(1)

    def frame_logits(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) -> (B, T, K) float32 logits of each frame.

        With direction "past", a frame's logits depend on no later frame.
        """
        check_clip(clip_BTCHW, self.config)
        logits_FK: Tensor = self.head(self.dropout(self.encoder(clip_BTCHW.flatten(0, 1))))
        return logits_FK.reshape(-1, self.config.num_frames, self.config.num_classes).float()


def shifted_blocks(config: TsmConfig) -> tuple[range, ...]:
    """Which blocks of each of the four stages are shifted, counted from 0."""
    blocks = config.blocks or RESNET_BLOCKS[config.depth]
    return tuple(range(0, count, 2 if blocks[2] >= 23 else 1) for count in blocks)


class _ShiftedConv2d(nn.Conv2d):
    """A convolution whose input is shifted over the frames of each clip; parameter names stay those of a plain one."""

    def __init__(self, plain: nn.Conv2d, config: TsmConfig) -> None:
        super().__init__(
            plain.in_channels,
            plain.out_channels,
            plain.kernel_size,  # type: ignore[arg-type]  # a pair, which torch types as a tuple of any length
            stride=plain.stride,  # type: ignore[arg-type]
            padding=plain.padding,  # type: ignore[arg-type]
            bias=False,
        )
        self.config = config

    def forward(self, features_FCHW: Tensor) -> Tensor:
        """(B * T, C, H, W) -> (B * T, C', H', W')."""
        config = self.config
        shifted = shift_frames(features_FCHW, config.num_frames, folds=config.folds, direction=config.direction)
        return super().forward(shifted)


def shift_frames(
    features_FCHW: Tensor, num_frames: int, *, folds: int = 8, direction: Literal["both", "past"] = "both"
) -> Tensor:
    """Let neighbouring frames of a clip swap some channels; outside a clip there are zeros.

    With C // folds channels in a fold: "both" fills the first fold from the frame after and the second from the frame
    before; "past" fills the first from the frame before. All other channels stay.

    Args:
        features_FCHW: (B * T, C, H, W), the T frames of a clip one after the other.
        num_frames: T.
        folds: into how many parts the channels are split.
        direction: see above.

    Returns:
        (B * T, C, H, W), a new tensor.
    """
    features_BTCHW = features_FCHW.reshape(-1, num_frames, *features_FCHW.shape[1:])
    fold = features_FCHW.shape[1] // folds
    nothing = torch.zeros_like(features_BTCHW[:, :1, :fold])
    parts = []
    if direction == "both":
        parts.append(torch.cat([features_BTCHW[:, 1:, :fold], nothing], dim=1))
    start = fold * len(parts)
    parts.append(torch.cat([nothing, features_BTCHW[:, :-1, start : start + fold]], dim=1))
    parts.append(features_BTCHW[:, :, start + fold :])
    return torch.cat(parts, dim=2).flatten(0, 1)
