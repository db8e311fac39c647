"""The TSM release's layout (ResNet): its tensors come in, ours go out, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.resnet import RESNET_BLOCKS
from fewframes.models.tsm import Tsm, TsmConfig, shifted_blocks
from fewframes.records import Preprocess, Sampling
from fewframes.weights.adapters.resnet import absent_counters
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "export", "fits", "is_layout", "translate"]

NAME = "TSM release"

_SIGNATURE = {"base_model.conv1.weight", "new_fc.weight", *(f"base_model.layer{n}.0.bn1.weight" for n in range(1, 5))}

# A shifted convolution is wrapped there, which its name tells.
_SHIFTED = re.compile(r"base_model\.(layer\d+\.\d+\.conv1)\.net\.")


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a ResNet of the TSM release."""
    return set(tensors) >= _SIGNATURE


def fits(model: nn.Module) -> bool:
    """Whether this is a TSM."""
    return isinstance(model, Tsm)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The release's tensors in our names.

    Raises:
        InvalidCheckpoint: the file's network shifts other blocks than the model, or none (TSN).
    """
    assert isinstance(model, Tsm)
    theirs = {match.group(1) for match in map(_SHIFTED.match, tensors) if match}
    ours = _shifted_names(model.config)
    if theirs != ours:
        raise InvalidCheckpoint(
            f"the file's network shifts {len(theirs)} blocks, the model {len(ours)}, and not the same ones; "
            "a file without shifts is a TSN, which has the same sizes but is another network"
        )
    named = {_our_name(name): tensor for name, tensor in tensors.items()}
    counters = absent_counters(named, model.state_dict())
    return Translation({**named, **counters}, filled=tuple(counters))


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes say everything but the number of frames, which only the release's file names tell."""
    del beside
    blocks = tuple(_count(tensors, stage) for stage in range(1, 5))
    bottleneck = "base_model.layer1.0.conv3.weight" in tensors
    depths = [depth for depth, counts in RESNET_BLOCKS.items() if counts == blocks and (depth >= 50) == bottleneck]
    config = TsmConfig(
        num_classes=tensors["new_fc.weight"].shape[0],
        depth=depths[0] if depths else (50 if bottleneck else 18),
        blocks=None if depths else blocks,
        width=tensors["base_model.conv1.weight"].shape[0],
    )
    return Described(
        config,
        Sampling("uniform", config.num_frames),
        Preprocess((224, 224), 256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        name="tsm_r50_8f" if depths == [50] else "",
        notes=(
            f"the file does not state its number of frames: {config.num_frames} is assumed, "
            'the release\'s file names say it after "segment"',
        ),
    )


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in the release's names."""
    assert isinstance(config, TsmConfig)
    shifted = _shifted_names(config)
    result = {}
    for name, tensor in tensors.items():
        convolution = name.removeprefix("encoder.").removesuffix(".weight")
        if convolution in shifted:
            result[f"base_model.{convolution}.net.weight"] = tensor
        elif name.startswith("head."):
            result[f"new_fc.{name.removeprefix('head.')}"] = tensor
        else:
            result[f"base_model.{name.removeprefix('encoder.')}"] = tensor
    return result


def _our_name(name: str) -> str:
    name = _SHIFTED.sub(r"base_model.\1.", name)
    return re.sub(r"^new_fc\.", "head.", re.sub(r"^base_model\.", "encoder.", name))


def _shifted_names(config: TsmConfig) -> set[str]:
    stages = enumerate(shifted_blocks(config), start=1)
    return {f"layer{stage}.{index}.conv1" for stage, blocks in stages for index in blocks}


def _count(tensors: Mapping[str, Tensor], stage: int) -> int:
    found = (re.match(rf"base_model\.layer{stage}\.(\d+)\.", name) for name in tensors)
    return 1 + max(int(each.group(1)) for each in found if each)
