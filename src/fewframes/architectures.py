"""Every architecture: a config comes in, a network with new random weights goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from fewframes.models.checks import ModelConfig
from fewframes.models.eco import Eco, EcoConfig
from fewframes.models.nonlocal_net import NonLocalNet, NonLocalNetConfig
from fewframes.models.resnet3d import Resnet3d, Resnet3dConfig
from fewframes.models.slowfast import SlowFast, SlowFastConfig
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.stam_inblock import StamInBlock, StamInBlockConfig
from fewframes.models.stam_joint import StamJoint, StamJointConfig
from fewframes.models.stam_timm import StamTimm, StamTimmConfig
from fewframes.models.timesformer import Timesformer, TimesformerConfig
from fewframes.models.torchvision_cnn import S3d, S3dConfig, VideoResnet, VideoResnetConfig
from fewframes.models.torchvision_transformer import Mvit, MvitConfig, Swin3d, Swin3dConfig
from fewframes.models.tsm import Tsm, TsmConfig
from fewframes.models.videomae import Videomae, VideomaeConfig
from fewframes.models.vivit import VivitConfig, build_vivit
from fewframes.models.x3d import X3d, X3dConfig

__all__ = ["ARCHITECTURES", "Architecture", "architecture_of", "build_from_config"]


class Architecture(NamedTuple):
    """The config class of an architecture, and what builds a network from a config and a generator."""

    config: type[Any]
    build: Callable[[Any, torch.Generator | None], nn.Module]


# The name is what a checkpoint's model.json states.
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "eco": Architecture(EcoConfig, Eco),
        "mvit": Architecture(MvitConfig, Mvit),
        "nonlocal_net": Architecture(NonLocalNetConfig, NonLocalNet),
        "resnet3d": Architecture(Resnet3dConfig, Resnet3d),
        "s3d": Architecture(S3dConfig, S3d),
        "slowfast": Architecture(SlowFastConfig, SlowFast),
        "stam": Architecture(StamConfig, Stam),
        "stam_inblock": Architecture(StamInBlockConfig, StamInBlock),
        "stam_joint": Architecture(StamJointConfig, StamJoint),
        "stam_timm": Architecture(StamTimmConfig, StamTimm),
        "swin3d": Architecture(Swin3dConfig, Swin3d),
        "timesformer": Architecture(TimesformerConfig, Timesformer),
        "tsm": Architecture(TsmConfig, Tsm),
        "video_resnet": Architecture(VideoResnetConfig, VideoResnet),
        "videomae": Architecture(VideomaeConfig, Videomae),
        "vivit": Architecture(VivitConfig, build_vivit),
        "x3d": Architecture(X3dConfig, X3d),
    }
)


def architecture_of(config: ModelConfig) -> str:
    """The architecture's name, from the config's class."""
    return next(name for name, each in ARCHITECTURES.items() if type(config) is each.config)


def build_from_config(config: ModelConfig, generator: torch.Generator | None = None) -> nn.Module:
    """Build a network from a complete config, such as a checkpoint's.

    Args:
        config: of any architecture.
        generator: where the weights are drawn from, and torch's global generator is left alone; None means that one.

    Returns:
        A module (B, T, 3, H, W) -> (B, K) logits, in training mode.
    """
    build = ARCHITECTURES[architecture_of(config)].build
    if generator is None:
        return build(config, None)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw start values before ours replace them
        return build(config, generator)
