"""torchvision's video CNNs (R3D, MC3, R(2+1)D, S3D): a clip comes in, one 3-D CNN looks at it, logits go out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.checks import check_choice, check_clip, check_image_size, check_share, check_whole, seeded

__all__ = ["S3d", "S3dConfig", "VideoResnet", "VideoResnetConfig"]

# torchvision's ResNets fix the channels of their stages.
_STAGE_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class VideoResnetConfig:
    """Everything that fixes a video ResNet's shape; the defaults are torchvision's R(2+1)D-18.

    The 34-layer network has depths (3, 4, 6, 3). Facebook's weights for it (IG-65M) need mid_planes "caffe2", norm_eps
    1e-3 and norm_momentum 0.9 as well.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a clip, any.
        image_size: (height, width) in pixels, any.
        style: "r3d", 3-D convolutions throughout; "mc3", 3-D ones in the first stage, 2-D ones after it; "r2plus1d",
            every 3-D convolution is one over space, then one over time.
        depths: blocks of the four stages.
        mid_planes: how many channels are between space and time in the second convolution of a stage's first block,
            only for "r2plus1d": "plain", as many as in its first convolution, or "caffe2", as many as give it the
            parameters of the 3-D convolution that it stands for.
        norm_eps: of the batch norms.
        norm_momentum: of the batch norms' running statistics: the share of the new batch.
    """

    num_classes: int = 400
    num_frames: int = 16
    image_size: tuple[int, int] = (112, 112)
    style: Literal["r3d", "mc3", "r2plus1d"] = "r2plus1d"
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    mid_planes: Literal["plain", "caffe2"] = "plain"
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames"))
        check_choice(self, "style", ("r3d", "mc3", "r2plus1d"))
        check_choice(self, "mid_planes", ("plain", "caffe2"))
        check_image_size(self.image_size)
        if len(self.depths) != 4 or any(not isinstance(depth, int) or depth < 1 for depth in self.depths):
            raise UsageError(f"depths is {self.depths}; expected four whole numbers of at least 1")
        if self.mid_planes == "caffe2" and self.style != "r2plus1d":
            raise UsageError(f'mid_planes is "caffe2"; expected "plain", because style is "{self.style}"')
        if not self.norm_eps > 0:
            raise UsageError(f"norm_eps is {self.norm_eps}; expected a number above 0")
        if not 0 < self.norm_momentum <= 1:
            raise UsageError(f"norm_momentum is {self.norm_momentum}; expected a number above 0 and at most 1")


class VideoResnet(nn.Module):
    """R3D, MC3 or R(2+1)D as torchvision builds them.

    Source: Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition"; torchvision.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    def __init__(self, config: VideoResnetConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        with seeded(generator):
            self.network = _build_resnet(config)

    head_names = ("network.fc.weight", "network.fc.bias")

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        logits_BK: Tensor = self.network(clip_BTCHW.transpose(1, 2))
        return logits_BK.float()


def _build_resnet(config: VideoResnetConfig) -> nn.Module:
    from torchvision.models.video import resnet

    makers = {
        "r3d": [resnet.Conv3DSimple] * 4,
        "mc3": [resnet.Conv3DSimple] + [resnet.Conv3DNoTemporal] * 3,
        "r2plus1d": [resnet.Conv2Plus1D] * 4,
    }
    stem = resnet.R2Plus1dStem if config.style == "r2plus1d" else resnet.BasicStem
    network: Any = resnet.VideoResNet(
        resnet.BasicBlock, makers[config.style], list(config.depths), stem, num_classes=config.num_classes
    )
    if config.mid_planes == "caffe2":
        for stage, width in zip((network.layer2, network.layer3, network.layer4), _STAGE_WIDTHS[1:], strict=True):
            stage[0].conv2[0] = resnet.Conv2Plus1D(width, width, _mid_planes(width))
            for module in stage[0].conv2[0].modules():
                if isinstance(module, nn.Conv3d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps, module.momentum = config.norm_eps, config.norm_momentum
    result: nn.Module = network
    return result


def _mid_planes(width: int) -> int:
    """Channels between space and time that keep the number of parameters. Source: Tran et al. 2018, section 3.5."""
    return 27 * width * width // (9 * width + 3 * width)


@dataclass(frozen=True)
class S3dConfig:
    """Everything that fixes an S3D network's shape; the defaults are torchvision's as it is tested.

    Attributes:
        num_classes: K, >= 1.
        num_frames: T, frames a clip, at least 8.
        image_size: (height, width) in pixels, at least 17 each.
        dropout: before the classifier, while training.
    """

    num_classes: int = 400
    num_frames: int = 128
    image_size: tuple[int, int] = (224, 224)
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_whole(self, ("num_classes", "num_frames"))
        check_image_size(self.image_size)
        check_share(self, ("dropout",))
        # Its first convolution over time spans 7 frames, 2 apart: measured with torch 2.15, at 5 to 7 frames in all
        # oneDNN's gradients of its weights are off by orders of magnitude, or the process dies.
        if self.num_frames < 8:
            raise UsageError(
                f"num_frames is {self.num_frames}; expected at least 8: below, gradients on a CPU would be wrong"
            )
        if min(self.image_size) < 17:
            size = "x".join(map(str, self.image_size))
            raise UsageError(f"image_size is {size}; expected at least 17 each, because this network halves them often")


class S3d(nn.Module):
    """S3D as torchvision builds it: an Inception network whose 3-D convolutions are split into space and time.

    The original pools over windows of 2 x 7 x 7 cells, which a clip of less than 13 frames or 209 pixels does not fill;
    there the window is as large as the map.

    Source: Xie et al. 2018, "Rethinking Spatiotemporal Feature Learning" (S3D, not S3D-G); torchvision.

    Args:
        config: the network's shape.
        generator: where the initial weights are drawn from; None means torch's global generator.
    """

    def __init__(self, config: S3dConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        from torchvision.models.video import s3d

        self.config = config
        with seeded(generator):
            self.network: nn.Module = s3d(num_classes=config.num_classes, dropout=config.dropout)
        # Halvings are rounded up but for the last one: three of time, five of space.
        times = -(-config.num_frames // 4) // 2
        rows, columns = (-(-side // 16) // 2 for side in config.image_size)
        self.network.avgpool = nn.AvgPool3d((min(times, 2), min(rows, 7), min(columns, 7)), stride=1)

    head_names = ("network.classifier.1.weight", "network.classifier.1.bias")

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """(B, T, 3, H, W) float, preprocessed -> (B, K) float32 logits. Raises UsageError if T, H or W do not fit."""
        check_clip(clip_BTCHW, self.config)
        logits_BK: Tensor = self.network(clip_BTCHW.transpose(1, 2))
        return logits_BK.float()
