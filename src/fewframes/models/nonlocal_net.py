"""Non-local networks: a clip comes in, an inflated ResNet with attention over all of space and time, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole, seeded
from fewframes.models.resnet import check_blocks, init_cnn_, init_head_

__all__ = ["NonLocalBlock", "NonLocalNet", "NonLocalNetConfig"]

# Frames that the first convolution of each block looks across: the pattern of a stage is repeated over its blocks.
_TIME_KERNELS = {"i3d": ((3,), (3, 1), (3, 1), (1, 3)), "c2d": ((1,), (1,), (1,), (1,))}


@dataclass(frozen=True)
class NonLocalNetConfig:
    """Everything that fixes a non-local network's shape; the defaults are I3D ResNet-50 with 5 blocks, 32 frames.

    ResNet-101: blocks (3, 4, 23, 3).

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a clip, >= 1.
        image_size: (height, width) in pixels, at least 32 each.
        blocks: bottlenecks of the four stages.
        width: channels of the stem.
        inflation: "i3d", time is looked across in the stem and in every other block; "c2d", only by pooling and by
            the non-local blocks.
        res4_time_blocks: how many blocks of the third stage may look across time, if "i3d"; None: all. The ResNet-101
            of the published cost has 6.
        time_stride: 2 halves time in the stem and in the pool after it, for clips of neighbouring frames (32 every
            2nd, 128 every one); 1 does not, for frames that are apart already (8 every 8th). Time is halved once
            more after the first stage either way.
        nonlocal_res3: after which blocks of the second stage, counted from 0, a non-local block follows.
        nonlocal_res4: the same for the third stage.
        dropout: before the classifier, while training.
    """

    num_classes: int = 400
    num_frames: int = 32
    image_size: tuple[int, int] = (224, 224)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    inflation: Literal["i3d", "c2d"] = "i3d"
    res4_time_blocks: int | None = None
    time_stride: int = 2
    nonlocal_res3: tuple[int, ...] = (1, 3)
    nonlocal_res4: tuple[int, ...] = (1, 3, 5)
    dropout: float = 0.5

    def __post_init__(self) -> None:
        time_blocks = () if self.res4_time_blocks is None else ("res4_time_blocks",)
        check_whole(self, ("num_classes", "num_frames", "width", *time_blocks))
        check_image_size(self.image_size)
        check_choice(self, "inflation", tuple(_TIME_KERNELS))
        check_choice(self, "time_stride", (1, 2))
        check_share(self, ("dropout",))
        check_blocks(self.blocks)
        if min(self.image_size) < 32:
            raise UsageError(f"image_size is {'x'.join(map(str, self.image_size))}; expected at least 32 pixels a side")
        if self.time_stride == 1 and self.num_frames < 2:
            raise UsageError("num_frames is 1; expected at least 2, because this network halves time")
        for name, count in (("nonlocal_res3", self.blocks[1]), ("nonlocal_res4", self.blocks[2])):
            places = getattr(self, name)
            if len(set(places)) < len(places) or not set(places) <= set(range(count)):
                raise UsageError(f"{name} is {places}; expected different blocks of that stage, 0 to {count - 1}")


class NonLocalNet(nn.Module):
    """An inflated ResNet (I3D) or a plain one (C2D), some of whose blocks are followed by a non-local block.

    Parameters of the trunk have torchvision's names, so that an image ResNet can be inflated into it. A network without
    non-local blocks is the plain I3D or C2D; with them it starts as exactly that one.

    Source: Wang, Girshick, Gupta, He 2018, Table 1 and sections 4 and 5: the stem, its strides and its pools for
    neighbouring frames, 2 blocks in res3 and 3 in res4, every other one. From the PySlowFast configuration
    I3D_NLN_8x8 (Apache-2.0): which blocks have an inflated convolution, where the non-local blocks of ResNet-101 are,
    the scaled softmax, the biases, pools of 1 and 2 frames where `time_stride` is 1.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: NonLocalNetConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with seeded(generator):
            self.trunk = _Trunk(config)
            self.dropout = nn.Dropout(config.dropout)
            self.head = nn.Linear(self.trunk.width, config.num_classes)
            init_cnn_(self)
            init_head_(self.head)
        for module in self.modules():
            if isinstance(module, NonLocalBlock):
                nn.init.zeros_(module.norm.weight)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        feature_BD = self.trunk(clip_BTCHW.transpose(1, 2)).mean((2, 3, 4))
        logits_BK: Tensor = self.head(self.dropout(feature_BD))
        return logits_BK.float()


class NonLocalBlock(nn.Module):
    """Every place in space and time gains a mean of all places, weighted by likeness: attention with one head.

    Embedded Gaussian with half the channels inside; keys and values come from maps that are pooled 2x2 in space. The
    norm at the end starts as zero, so that the block starts as the identity: at the very first step only the norm gets
    a gradient, from the second step on everything does.

    Source: Wang, Girshick, Gupta, He 2018, sections 3.2 to 3.4 and 4.1. Differs: likenesses are divided by the square
    root of the inner channels, as in PySlowFast and all attention since.

    Args:
        channels: C of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Conv3d(channels, inner, 1)
        self.g = nn.Conv3d(channels, inner, 1)
        self.out = nn.Conv3d(inner, channels, 1)
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T, H, W)."""
        pooled = F.max_pool3d(maps_BCTHW, (1, 2, 2))
        query_B1NE = _places(self.theta(maps_BCTHW))
        key_B1ME, value_B1ME = _places(self.phi(pooled)), _places(self.g(pooled))
        mixed_B1NE = F.scaled_dot_product_attention(query_B1NE, key_B1ME, value_B1ME)
        mixed_BETHW = mixed_B1NE.squeeze(1).transpose(1, 2).reshape(-1, value_B1ME.shape[3], *maps_BCTHW.shape[2:])
        output: Tensor = maps_BCTHW + self.norm(self.out(mixed_BETHW))
        return output


def _places(maps_BETHW: Tensor) -> Tensor:
    """(B, E, T, H, W) -> (B, 1, T * H * W, E)."""
    return maps_BETHW.flatten(2).transpose(1, 2).unsqueeze(1)


class _Trunk(nn.Module):
    """The network without its classifier: (B, 3, T, H, W) -> (B, D, T / 2 or T / 8, H / 32, W / 32)."""

    def __init__(self, config: NonLocalNetConfig) -> None:
        super().__init__()
        stem_time = 5 if config.inflation == "i3d" else 1
        stride = config.time_stride
        self.conv1 = nn.Conv3d(
            3,
            config.width,
            (stem_time, 7, 7),
            stride=(stride, 2, 2),
            padding=(stem_time // 2, 3, 3),
            bias=False,
        )
        self.bn1 = nn.BatchNorm3d(config.width)
        pool = 3 if stride == 2 else 1
        self.maxpool = nn.MaxPool3d((pool, 3, 3), stride=(stride, 2, 2), padding=(pool // 2, 1, 1))
        pool = 3 if stride == 2 else 2
        self.timepool = nn.MaxPool3d((pool, 1, 1), stride=(2, 1, 1), padding=(pool - 2, 0, 0))
        channels = config.width
        places = ((), config.nonlocal_res3, config.nonlocal_res4, ())
        for stage, (count, kernels) in enumerate(zip(config.blocks, _TIME_KERNELS[config.inflation], strict=True)):
            limit = count if stage != 2 or config.res4_time_blocks is None else config.res4_time_blocks
            layers = []
            for index in range(count):
                block = _Bottleneck3d(
                    channels,
                    config.width * 2**stage,
                    time_kernel=kernels[index % len(kernels)] if index < limit else 1,
                    stride=2 if stage > 0 and index == 0 else 1,
                    non_local=index in places[stage],
                )
                layers.append(block)
                channels = 4 * config.width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.width = channels

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        maps = self.maxpool(F.relu(self.bn1(self.conv1(clip_BCTHW))))
        maps = self.timepool(self.get_submodule("layer1")(maps))
        for stage in ("layer2", "layer3", "layer4"):
            maps = self.get_submodule(stage)(maps)
        output: Tensor = maps
        return output


class _Bottleneck3d(nn.Module):
    """torchvision's bottleneck, the first convolution over `time_kernel` frames; perhaps a non-local block after it."""

    def __init__(self, channels: int, inner: int, *, time_kernel: int, stride: int, non_local: bool) -> None:
        super().__init__()
        outer = 4 * inner
        self.conv1 = nn.Conv3d(channels, inner, (time_kernel, 1, 1), padding=(time_kernel // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outer)
        self.downsample = None
        if stride > 1 or channels != outer:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, outer, 1, stride=(1, stride, stride), bias=False), nn.BatchNorm3d(outer)
            )
        self.non_local = NonLocalBlock(outer) if non_local else None

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', T, H', W')."""
        branch = F.relu(self.bn1(self.conv1(maps_BCTHW)))
        branch = F.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        shortcut = maps_BCTHW if self.downsample is None else self.downsample(maps_BCTHW)
        output: Tensor = F.relu(branch + shortcut)
        return output if self.non_local is None else self.non_local(output)
