"""A 2-D ResNet: frames come in, one feature vector each goes out; and what all 2-D and 3-D CNNs here start from."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from fewframes.errors import UsageError

__all__ = ["RESNET_BLOCKS", "FrameResNet", "check_blocks", "init_cnn_", "init_head_"]

# Blocks of the four stages by depth.
RESNET_BLOCKS: Final = MappingProxyType(
    {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
)


def check_blocks(blocks: tuple[int, ...] | None) -> None:
    """Raise `UsageError` unless these are the blocks of four stages, or None."""
    if blocks is None:
        return
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each >= 1 for each in blocks)
    if len(blocks) != 4 or not whole:
        raise UsageError(f"blocks is {blocks}; expected four whole numbers of at least 1, one for each stage")


class FrameResNet(nn.Module):
    """ResNet without its classifier, made of torchvision's blocks, whose parameter names it keeps.

    Strides are in the 3x3 convolutions, as in torchvision and timm. A `width` of 64 gives the published networks.

    Source: He, Zhang, Ren, Sun 2016.

    Args:
        depth: 18 or 34 for basic blocks, 50, 101 or 152 for bottlenecks.
        blocks: of the four stages; None means those of the depth.
        width: channels of the stem; a stage has 1, 2, 4, 8 times as many inside its blocks.
    """

    def __init__(self, depth: int, *, blocks: tuple[int, ...] | None = None, width: int = 64) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock, Bottleneck

        kind = BasicBlock if depth < 50 else Bottleneck
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for stage, count in enumerate(blocks or RESNET_BLOCKS[depth]):
            inner, layers = width * 2**stage, []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                downsample = None
                if stride > 1 or channels != inner * kind.expansion:
                    downsample = nn.Sequential(
                        nn.Conv2d(channels, inner * kind.expansion, 1, stride=stride, bias=False),
                        nn.BatchNorm2d(inner * kind.expansion),
                    )
                layers.append(kind(channels, inner, stride, downsample))
                channels = inner * kind.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.width = channels

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages, first to last."""
        stages = (self.get_submodule(f"layer{stage}") for stage in range(1, 5))
        return tuple(stage for stage in stages if isinstance(stage, nn.Sequential))

    def forward(self, frames_FCHW: Tensor) -> Tensor:
        """(F, 3, H, W) float -> (F, D) averages over space, D = `width`."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(frames_FCHW))))
        for stage in self.stages:
            maps = stage(maps)
        feature_FD: Tensor = maps.mean((2, 3))
        return feature_FD


def init_cnn_(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw all convolutions and batch norms anew, in place, as torchvision's ResNets start.

    Convolution weights are normal with variance 2 / (outputs x kernel), biases 0, norms the identity.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def init_head_(head: nn.Linear, generator: torch.Generator | None = None, *, std: float = 0.01) -> None:
    """Draw a classifier's weights anew, in place: normal with this deviation, biases 0."""
    nn.init.normal_(head.weight, std=std, generator=generator)
    nn.init.zeros_(head.bias)
