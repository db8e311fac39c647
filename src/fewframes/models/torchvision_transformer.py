"""torchvision's video transformers (MViT, Swin3D): a clip comes in, a pyramid of attention sees it, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole, seeded

__all__ = ["Mvit", "MvitConfig", "Swin3d", "Swin3dConfig"]

_MVIT_STAGES = 4
# Patches are 4 pixels apart, and every stage but the first halves the grid.
_MVIT_DIVISOR = 4 * 2 ** (_MVIT_STAGES - 1)


@dataclass(frozen=True)
class MvitConfig:
    """Everything that fixes an MViT network's shape; the defaults are torchvision's MViT v2 S.

    MViT v1 B differs in nothing but `style`.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a clip, a multiple of 2.
        image_size: (height, width) in pixels, multiples of 32.
        style: "v1" (learned positions, wider from a stage's last block on) or "v2" (relative positions in every
            attention, queries are added to its output, wider from a stage's first block on).
        width: size of a token in the first stage; doubles with every stage.
        heads: of the first stage, dividing `width`; doubles with every stage.
        depths: blocks of the four stages.
        dropout: before the classifier, while training.
        drop_path: stochastic depth of the last block, reached linearly from 0.
    """

    num_classes: int = 400
    num_frames: int = 16
    image_size: tuple[int, int] = (224, 224)
    style: Literal["v1", "v2"] = "v2"
    width: int = 96
    heads: int = 1
    depths: tuple[int, int, int, int] = (1, 2, 11, 2)
    dropout: float = 0.5
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames", "width", "heads"))
        check_choice(self, "style", ("v1", "v2"))
        check_image_size(self.image_size, _MVIT_DIVISOR, of="the coarsest cell")
        check_share(self, ("dropout", "drop_path"))
        _check_counts(self, "depths", _MVIT_STAGES)
        if self.num_frames % 2:
            raise UsageError(f"num_frames is {self.num_frames}; expected a multiple of 2, the frames of a patch")
        if self.width % self.heads:
            raise UsageError(f"width is {self.width}; expected a multiple of heads, {self.heads}")


class Mvit(nn.Module):
    """MViT as torchvision builds it, for any size of clip that its patches and its halvings divide.

    Source: Fan et al. 2021, "Multiscale Vision Transformers"; Li et al. 2022, "MViTv2"; torchvision.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    def __init__(self, config: MvitConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        from torchvision.models.video import MViT

        self.config = config
        with seeded(generator):
            self.network: nn.Module = MViT(
                spatial_size=config.image_size,
                temporal_size=config.num_frames,
                block_setting=_mvit_blocks(config),
                residual_pool=config.style == "v2",
                residual_with_cls_embed=False,
                rel_pos_embed=config.style == "v2",
                proj_after_attn=config.style == "v2",
                dropout=config.dropout,
                stochastic_depth_prob=config.drop_path,
                num_classes=config.num_classes,
            )

    head_names = ("network.head.1.weight", "network.head.1.bias")

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        logits_BK: Tensor = self.network(clip_BTCHW.transpose(1, 2))
        return logits_BK.float()


def _mvit_blocks(config: MvitConfig) -> list[Any]:
    """Each block's heads, channels, kernels and strides, by its stage and its place there."""
    from torchvision.models.video.mvit import MSBlockConfig

    blocks = []
    for stage, depth in enumerate(config.depths):
        width = config.width * 2**stage
        for index in range(depth):
            first = stage > 0 and index == 0
            last = stage < _MVIT_STAGES - 1 and index == depth - 1
            v2 = config.style == "v2"
            key_stride = 2 ** (_MVIT_STAGES - 1 - stage)
            blocks.append(
                MSBlockConfig(
                    num_heads=config.heads * 2**stage,
                    input_channels=width // 2 if v2 and first else width,
                    output_channels=width * 2 if not v2 and last else width,
                    kernel_q=[3, 3, 3] if v2 or first else [],
                    kernel_kv=[3, 3, 3],
                    stride_q=[1, 2, 2] if first else [1, 1, 1] if v2 else [],
                    stride_kv=[1, key_stride, key_stride],
                )
            )
    return blocks


@dataclass(frozen=True)
class Swin3dConfig:
    """Everything that fixes a Video Swin network's shape; the defaults are torchvision's Swin3D-T.

    S: depths (2, 2, 18, 2). B: width 128 and heads (4, 8, 16, 32) as well.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a clip, any; the clip is padded to whole patches and windows.
        image_size: (height, width) in pixels, any, as above.
        patch_size: (frames, rows, columns) of a patch.
        window: (times, rows, columns) of patches that attend to each other.
        width: size of a token in the first stage; doubles with every stage.
        depths: blocks of each stage, at least 2 in all.
        heads: of each stage, dividing its width.
        drop_path: stochastic depth of the last block, reached linearly from 0.
    """

    num_classes: int = 400
    num_frames: int = 32
    image_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int, int] = (2, 4, 4)
    window: tuple[int, int, int] = (8, 7, 7)
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    drop_path: float = 0.1

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames", "width"))
        check_image_size(self.image_size)
        check_share(self, ("drop_path",))
        _check_counts(self, "patch_size", 3)
        _check_counts(self, "window", 3)
        _check_counts(self, "depths", len(self.depths))
        _check_counts(self, "heads", len(self.depths))
        if sum(self.depths) < 2:
            raise UsageError(f"depths is {self.depths}; expected at least 2 blocks in all")
        widths = tuple(self.width * 2**stage for stage in range(len(self.depths)))
        if any(width % heads for width, heads in zip(widths, self.heads, strict=True)):
            raise UsageError(f"heads is {self.heads}; expected divisors of the stages' widths, {widths}")


class Swin3d(nn.Module):
    """Video Swin as torchvision builds it, at any size of clip.

    Source: Liu et al. 2022, "Video Swin Transformer"; torchvision.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    def __init__(self, config: Swin3dConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        from torchvision.models.video import SwinTransformer3d

        self.config = config
        with seeded(generator):
            self.network: nn.Module = SwinTransformer3d(
                patch_size=list(config.patch_size),
                embed_dim=config.width,
                depths=list(config.depths),
                num_heads=list(config.heads),
                window_size=list(config.window),
                stochastic_depth_prob=config.drop_path,
                num_classes=config.num_classes,
            )

    head_names = ("network.head.weight", "network.head.bias")

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        logits_BK: Tensor = self.network(clip_BTCHW.transpose(1, 2))
        return logits_BK.float()


def _check_counts(config: object, name: str, length: int) -> None:
    """Raise `UsageError` unless the field is this many whole numbers of at least 1."""
    counts = getattr(config, name)
    whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 1 for count in counts)
    if len(counts) != length or not whole:
        raise UsageError(f"{name} is {counts}; expected {length} whole numbers of at least 1")
