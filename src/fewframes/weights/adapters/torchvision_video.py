"""torchvision's layout (R3D, MC3, R(2+1)D, S3D, MViT, Swin3D): its tensors come in, ours go out, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from fewframes.cards.torchvision_video import CARDS
from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.torchvision_cnn import S3d, S3dConfig, VideoResnet, VideoResnetConfig
from fewframes.models.torchvision_transformer import Mvit, MvitConfig, Swin3d, Swin3dConfig
from fewframes.weights.adapters.pytorchvideo import PREFIX, describe_as_card, prefixed
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "export", "fits", "is_layout", "translate"]

NAME = "torchvision (video)"

_S3D_STEM = "features.0.0.0.weight"
_SWIN_TABLE = "features.0.0.attn.relative_position_bias_table"
# Tensors that only this kind of network has; the first has five dimensions, which no image network's has.
_SIGNATURES: Final = MappingProxyType(
    {
        VideoResnet: ("stem.0.weight", "layer1.0.conv1.1.weight", "layer4.0.conv2.1.weight"),
        S3d: (_S3D_STEM, "features.5.branch0.0.weight"),
        Mvit: ("conv_proj.weight", "pos_encoding.class_token", "blocks.0.attn.pool_k.pool.weight"),
        Swin3d: ("patch_embed.proj.weight", _SWIN_TABLE),
    }
)


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of one of torchvision's video networks."""
    return _kind(tensors) is not None


def fits(model: nn.Module) -> bool:
    """Whether torchvision builds this network."""
    return isinstance(model, VideoResnet | S3d | Mvit | Swin3d)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """Their tensors in our names.

    Raises:
        InvalidCheckpoint: the file holds another kind of network than the model.
    """
    kind = _kind(tensors)
    if not isinstance(model, kind or ()):
        raise InvalidCheckpoint(
            f"the file holds a {getattr(kind, '__name__', None)} network, but the model is a {type(model).__name__}; "
            "build the model that belongs to it"
        )
    return prefixed(tensors, model)


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes say everything but the clips of a CNN, which are taken from the catalogue.

    Raises:
        InvalidCheckpoint: tensors that contradict each other.
    """
    del beside
    kind = _kind(tensors)
    if kind is VideoResnet:
        return _describe_resnet(tensors)
    if kind is S3d:
        return describe_as_card(S3dConfig(num_classes=_num_classes(tensors, "classifier.1")), CARDS, ())
    if kind is Mvit:
        return describe_as_card(_mvit(tensors), CARDS, ())
    return _describe_swin(tensors)


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in their names."""
    del config
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def _kind(tensors: Mapping[str, Tensor]) -> type[nn.Module] | None:
    return next(
        (kind for kind, names in _SIGNATURES.items() if set(names) <= set(tensors) and tensors[names[0]].ndim == 5),
        None,
    )


def _num_classes(tensors: Mapping[str, Tensor], head: str) -> int:
    if f"{head}.weight" not in tensors:
        raise InvalidCheckpoint("the file has no classifier; use it to start a training")
    return tensors[f"{head}.weight"].shape[0]


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many blocks there are, from the numbers in their names."""
    found = (re.match(pattern, name) for name in tensors)
    return 1 + max((int(each.group(1)) for each in found if each), default=-1)


def _describe_resnet(tensors: Mapping[str, Tensor]) -> Described:
    stem, second = tensors["stem.0.weight"], tensors.get("layer2.0.conv1.0.weight")
    style = "r2plus1d" if second is None else "mc3" if second.shape[2] == 1 else "r3d"
    if (stem.shape[2] == 1) != (style == "r2plus1d"):
        raise InvalidCheckpoint(f'the stem is {tuple(stem.shape)}, but the blocks are those of the style "{style}"')
    depths = [_count(tensors, rf"layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)]
    first, later = (tensors.get(f"layer2.0.conv{index}.0.0.weight") for index in (1, 2))
    caffe2 = first is not None and later is not None and first.shape[0] != later.shape[0]
    config = VideoResnetConfig(
        num_classes=_num_classes(tensors, "fc"),
        num_frames=16 if sum(depths) <= 8 else 32,
        style=style,  # type: ignore[arg-type]  # one of its choices
        depths=(depths[0], depths[1], depths[2], depths[3]),
        mid_planes="caffe2" if caffe2 else "plain",
        norm_eps=1e-3 if caffe2 else 1e-5,
        norm_momentum=0.9 if caffe2 else 0.1,
    )
    notes = ["Caffe2's channels between space and time: its norm_eps, 1e-3, and norm_momentum, 0.9, assumed"]
    return describe_as_card(config, CARDS, notes if caffe2 else ())


def _mvit(tensors: Mapping[str, Tensor]) -> MvitConfig:
    width = tensors["conv_proj.weight"].shape[0]
    # One head is as wide in every stage, and twice as many are in the next.
    head_width = tensors["blocks.0.attn.pool_k.pool.weight"].shape[0]
    heads = width // head_width
    blocks = range(_count(tensors, r"blocks\.(\d+)\."))
    of_block = [tensors[f"blocks.{block}.attn.project.0.weight"].shape[0] // head_width for block in blocks]
    depths = [of_block.count(heads * 2**stage) for stage in range(4)]
    if "pos_encoding.spatial_pos" in tensors:
        style = "v1"
        frames, side = (
            tensors["pos_encoding.temporal_pos"].shape[0],
            math.isqrt(tensors["pos_encoding.spatial_pos"].shape[0]),
        )
    else:
        style = "v2"
        frames, side = ((tensors[f"blocks.0.attn.rel_pos_{axis}"].shape[0] + 1) // 2 for axis in "th")
    return MvitConfig(
        num_classes=_num_classes(tensors, "head.1"),
        num_frames=2 * frames,
        image_size=(4 * side, 4 * side),
        style=style,  # type: ignore[arg-type]  # one of its choices
        width=width,
        heads=heads,
        depths=(depths[0], depths[1], depths[2], depths[3]),
    )


def _describe_swin(tensors: Mapping[str, Tensor]) -> Described:
    patch = tensors["patch_embed.proj.weight"]
    stages = range(0, _count(tensors, r"features\.(\d+)\."), 2)
    cells = tensors["features.0.0.attn.relative_position_index"].shape[0]
    rows = tensors[_SWIN_TABLE].shape[0]
    # A window of a x b x b cells has a table of (2a - 1)(2b - 1)(2b - 1) rows.
    window = next(
        (
            (cells // side**2, side, side)
            for side in range(math.isqrt(cells), 0, -1)
            if cells % side**2 == 0 and (2 * cells // side**2 - 1) * (2 * side - 1) ** 2 == rows
        ),
        None,
    )
    if window is None:
        raise InvalidCheckpoint(f"no window of {cells} cells with a square side has a table of {rows} rows")
    config = Swin3dConfig(
        num_classes=_num_classes(tensors, "head"),
        patch_size=(patch.shape[2], patch.shape[3], patch.shape[4]),
        window=window,
        width=patch.shape[0],
        depths=tuple(_count(tensors, rf"features\.{stage}\.(\d+)\.attn\.") for stage in stages),
        heads=tuple(tensors[f"features.{stage}.0.attn.relative_position_bias_table"].shape[1] for stage in stages),
    )
    return describe_as_card(config, CARDS, ())
