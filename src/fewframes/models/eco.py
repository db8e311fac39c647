"""ECO: a clip of few frames comes in, a 2-D CNN looks at each, a 3-D CNN at its stacked maps, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole, seeded
from fewframes.models.resnet import init_cnn_, init_head_

__all__ = ["Eco", "EcoConfig"]


@dataclass(frozen=True)
class EcoConfig:
    """Everything that fixes an ECO network's shape; the defaults are the published full network with 16 frames.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a video, >= 1; published with 4 to 32.
        image_size: (height, width) in pixels, at least 32 each.
        variant: "lite", the 3-D network alone; "full", beside it the rest of the 2-D network, averaged over frames.
        width: channels over those published, above 0; every layer has at least 1.
        dropout: before the classifier, while training; published with 0.3 for "lite" and 0.5 for "full".
        frame_dropout: of each frame's features in "full", while training.
    """

    num_classes: int = 400
    num_frames: int = 16
    image_size: tuple[int, int] = (224, 224)
    variant: Literal["lite", "full"] = "full"
    width: float = 1.0
    dropout: float = 0.5
    frame_dropout: float = 0.6

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames"))
        check_image_size(self.image_size)
        check_choice(self, "variant", ("lite", "full"))
        check_share(self, ("dropout", "frame_dropout"))
        if min(self.image_size) < 32:
            raise UsageError(f"image_size is {'x'.join(map(str, self.image_size))}; expected at least 32 pixels a side")
        if not 0 < self.width < float("inf"):
            raise UsageError(f"width is {self.width}; expected a number above 0")


class _Sizes(NamedTuple):
    """Channels of an inception block's branches: 1x1; 1x1 and 3x3; 1x1, 3x3 and 3x3; 1x1 after a pool.

    A block that halves its maps has no first branch, and hands the pool's result on as it is.
    """

    one: int
    three: tuple[int, int]
    stacked: tuple[int, int]
    pooled: int
    pool: Literal["mean", "max"] = "mean"


# BN-Inception from block 3a on: Ioffe, Szegedy 2015, in the variant that TSN and ECO use.
_BLOCK_3A = _Sizes(64, (64, 64), (64, 96), 32)
_BLOCK_3B = _Sizes(64, (64, 96), (64, 96), 64)
_BLOCK_3C = _Sizes(0, (128, 160), (64, 96), 0, "max")
_BLOCKS_4_AND_5 = (
    _Sizes(224, (64, 96), (96, 128), 128),
    _Sizes(192, (96, 128), (96, 128), 128),
    _Sizes(160, (128, 160), (128, 160), 128),
    _Sizes(96, (128, 192), (160, 192), 128),
    _Sizes(0, (128, 192), (192, 256), 0, "max"),
    _Sizes(352, (192, 320), (160, 224), 128),
    _Sizes(352, (192, 320), (192, 224), 128, "max"),
)


class Eco(nn.Module):
    """Few frames, far apart; most of the work is done on each alone, and only small maps are looked at together.

    The frame network is BN-Inception up to the middle of block 3c, where its branch of two 3x3 convolutions has had the
    first: 96 maps, 28x28 for 224x224. The 3-D network over the maps of all frames is a 3-D ResNet-18 from its second
    stage on. The full network also runs the rest of BN-Inception on every frame and joins its averaged features to the
    3-D ones.

    Source: Zolfaghari, Singh, Brox 2018, arXiv:1804.09066. What the paper leaves open is as in the authors' network
    files for Kinetics (MIT): the second stage begins with a single convolution, residual blocks norm and rectify before
    they convolve, shortcuts that halve are 3x3x3 convolutions, convolutions have biases, and the dropouts. The later
    port to PyTorch has other shortcuts and scores about 2 points less. Decided here: any number of frames and any size
    of image (averages over whatever is left, odd sizes are halved upwards), start values, names of parameters.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    head_names = ("head.weight", "head.bias")

    def __init__(self, config: EcoConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with seeded(generator):
            self.frames = _FrameMaps(config.width)
            self.video = _VideoNet(self.frames.channels, config.width)
            self.rest = _RestOfInception(self.frames, config.width) if config.variant == "full" else None
            self.dropout = nn.Dropout(config.dropout)
            self.frame_dropout = nn.Dropout(config.frame_dropout)
            width = self.video.width + (0 if self.rest is None else self.rest.width)
            self.head = nn.Linear(width, config.num_classes)
            init_cnn_(self)
            init_head_(self.head)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        num_frames = self.config.num_frames
        block3b, maps = self.frames(clip_BTCHW.flatten(0, 1))
        video_BD = self.dropout(self.video(maps.reshape(-1, num_frames, *maps.shape[1:]).transpose(1, 2)))
        if self.rest is not None:
            frames_FE = self.frame_dropout(self.rest(block3b, maps))
            frames_BE = frames_FE.reshape(-1, num_frames, self.rest.width).mean(1)
            video_BD = torch.cat([frames_BE, video_BD], dim=1)
        logits_BK: Tensor = self.head(video_BD)
        return logits_BK.float()


class _FrameMaps(nn.Module):
    """BN-Inception up to the middle of block 3c: frames come in, maps of blocks 3b and 3c go out, 1/8 of a side."""

    def __init__(self, width: float) -> None:
        super().__init__()
        narrow, wide = _scaled(64, width), _scaled(192, width)
        self.conv1 = _Unit(3, narrow, 7, stride=2)
        self.conv2 = nn.Sequential(_Unit(narrow, narrow, 1), _Unit(narrow, wide, 3))
        self.block3a = _Inception(wide, _BLOCK_3A, width)
        self.block3b = _Inception(self.block3a.channels, _BLOCK_3B, width)
        reduced, self.channels = (_scaled(each, width) for each in _BLOCK_3C.stacked)
        self.stacked3c = nn.Sequential(_Unit(self.block3b.channels, reduced, 1), _Unit(reduced, self.channels, 3))

    def forward(self, frames_FCHW: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.conv2(_halved(self.conv1(frames_FCHW)))
        block3b = self.block3b(self.block3a(_halved(maps)))
        return block3b, self.stacked3c(block3b)


class _RestOfInception(nn.Module):
    """BN-Inception from the middle of block 3c on: the two maps of `_FrameMaps` come in, (F, D) features go out."""

    def __init__(self, before: _FrameMaps, width: float) -> None:
        super().__init__()
        reduced, three = (_scaled(each, width) for each in _BLOCK_3C.three)
        channels = before.block3b.channels
        self.three3c = nn.Sequential(_Unit(channels, reduced, 1), _Unit(reduced, three, 3, stride=2))
        self.stacked3c = _Unit(before.channels, before.channels, 3, stride=2)
        channels += three + before.channels
        blocks = []
        for sizes in _BLOCKS_4_AND_5:
            blocks.append(_Inception(channels, sizes, width))
            channels = blocks[-1].channels
        self.blocks = nn.Sequential(*blocks)
        self.width = channels

    def forward(self, block3b_FCHW: Tensor, maps_FEHW: Tensor) -> Tensor:
        block3c = torch.cat([self.three3c(block3b_FCHW), self.stacked3c(maps_FEHW), _halved(block3b_FCHW)], dim=1)
        feature_FD: Tensor = self.blocks(block3c).mean((2, 3))
        return feature_FD


class _VideoNet(nn.Module):
    """The 3-D network: (B, E, T, H, W) maps come in, (B, D) features go out."""

    def __init__(self, channels: int, width: float) -> None:
        super().__init__()
        res3, res4, self.width = (_scaled(each, width) for each in (128, 256, 512))
        self.conv = nn.Conv3d(channels, res3, 3, padding=1)
        self.blocks = nn.Sequential(
            _Residual3d(res3, res3),
            _Residual3d(res3, res4, stride=2),
            _Residual3d(res4, res4),
            _Residual3d(res4, self.width, stride=2),
            _Residual3d(self.width, self.width),
        )
        self.norm = nn.BatchNorm3d(self.width)

    def forward(self, maps_BETHW: Tensor) -> Tensor:
        feature_BD: Tensor = F.relu(self.norm(self.blocks(self.conv(maps_BETHW)))).mean((2, 3, 4))
        return feature_BD


class _Residual3d(nn.Module):
    """Norm and ReLU before each of two 3x3x3 convolutions; the shortcut around them convolves only if it halves."""

    def __init__(self, channels: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv1 = nn.Conv3d(channels, outputs, 3, stride=stride, padding=1)
        self.norm2 = nn.BatchNorm3d(outputs)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.shortcut = None if stride == 1 else nn.Conv3d(channels, outputs, 3, stride=stride, padding=1)

    def forward(self, maps_BCTHW: Tensor) -> Tensor:
        activated = F.relu(self.norm1(maps_BCTHW))
        branch = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        output: Tensor = branch + (maps_BCTHW if self.shortcut is None else self.shortcut(activated))
        return output


class _Inception(nn.Module):
    """A block of BN-Inception: branches side by side, their maps joined."""

    def __init__(self, channels: int, sizes: _Sizes, width: float) -> None:
        super().__init__()
        reduced, three = (_scaled(each, width) for each in sizes.three)
        first, stacked = (_scaled(each, width) for each in sizes.stacked)
        stride = 1 if sizes.one else 2
        self.pool = sizes.pool
        self.one, self.pooled = None, None
        self.three = nn.Sequential(_Unit(channels, reduced, 1), _Unit(reduced, three, 3, stride=stride))
        self.stacked = nn.Sequential(
            _Unit(channels, first, 1), _Unit(first, stacked, 3), _Unit(stacked, stacked, 3, stride=stride)
        )
        self.channels = three + stacked + channels
        if sizes.one:
            one, pooled = _scaled(sizes.one, width), _scaled(sizes.pooled, width)
            self.one, self.pooled = _Unit(channels, one, 1), _Unit(channels, pooled, 1)
            self.channels = one + three + stacked + pooled

    def forward(self, maps_FCHW: Tensor) -> Tensor:
        branches = [self.three(maps_FCHW), self.stacked(maps_FCHW)]
        if self.one is None or self.pooled is None:
            return torch.cat([*branches, _halved(maps_FCHW)], dim=1)
        pool = F.avg_pool2d if self.pool == "mean" else F.max_pool2d
        return torch.cat([self.one(maps_FCHW), *branches, self.pooled(pool(maps_FCHW, 3, 1, 1))], dim=1)


class _Unit(nn.Sequential):
    """Convolution with bias, batch norm, ReLU; the kernel is odd and padded to keep the size."""

    def __init__(self, channels: int, outputs: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()


def _halved(maps_FCHW: Tensor) -> Tensor:
    """The largest of every second 3x3; a border that does not fill a window counts too, as in Caffe.

    Caffe would halve an odd size downwards, where a convolution halves it upwards. The maps are not negative, so a
    border of zeros changes no maximum.
    """
    height, width = maps_FCHW.shape[2:]
    return F.max_pool2d(F.pad(maps_FCHW, (0, width % 2, 0, height % 2)), 3, stride=2, ceil_mode=True)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))
