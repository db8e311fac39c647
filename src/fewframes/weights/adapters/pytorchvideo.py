"""pytorchvideo's layout (X3D, SlowFast, Slow, I3D, R(2+1)D): its tensors come in, ours go out, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from torch import Tensor, nn

from fewframes.cards import slowfast as slowfast_cards
from fewframes.cards import x3d as x3d_cards
from fewframes.cards.card import ModelCard
from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.resnet3d import Resnet3d, Resnet3dConfig
from fewframes.models.slowfast import SlowFast, SlowFastConfig
from fewframes.models.x3d import X3d, X3dConfig
from fewframes.video.transforms import with_crop
from fewframes.weights.adapters.resnet import absent_counters
from fewframes.weights.layout import Described, Translation

__all__ = [
    "NAME",
    "PREFIX",
    "WRAPPER",
    "describe",
    "describe_as_card",
    "export",
    "fits",
    "is_layout",
    "prefixed",
    "translate",
]

NAME = "pytorchvideo"
WRAPPER = "model_state"
# Our networks hold theirs under this name.
PREFIX = "network."

# A tensor that only this kind of network has.
_SIGNATURES: Final = MappingProxyType(
    {
        X3d: "blocks.0.conv.conv_t.weight",
        SlowFast: "blocks.0.multipathway_blocks.0.conv.weight",
        Resnet3d: "blocks.0.conv.weight",
    }
)
_FIRST_BLOCKS = ("blocks.1.res_blocks.0.", "blocks.1.multipathway_blocks.0.res_blocks.0.")
_ONE_OF_THREE = (
    "X3D-XS, -S and -M are one network at different sizes of clips: taken to be X3D-M; if it is another, "
    "name x3d_xs or x3d_s as the model"
)


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of one of pytorchvideo's CNNs."""
    return _kind(tensors) is not None and any(f"{first}branch2.conv_a.weight" in tensors for first in _FIRST_BLOCKS)


def fits(model: nn.Module) -> bool:
    """Whether pytorchvideo builds this network."""
    return isinstance(model, X3d | SlowFast | Resnet3d)


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
    if isinstance(model, Resnet3d) and model.config.style != _style(tensors):
        raise InvalidCheckpoint(
            f'the file holds a ResNet of the style "{_style(tensors)}", but the model\'s is "{model.config.style}"; '
            "build the model that belongs to it"
        )
    return prefixed(tensors, model)


def prefixed(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """Tensors of a library's network in the names of ours, which holds it."""
    named = {f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}
    counters = absent_counters(named, model.state_dict())
    return Translation({**named, **counters}, filled=tuple(counters))


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes say everything but the size of the clips, which is taken from the catalogue.

    Raises:
        InvalidCheckpoint: a network of pytorchvideo that cannot be built here, such as C2D or CSN.
    """
    del beside
    kind = _kind(tensors)
    if kind is X3d:
        return _describe_x3d(tensors)
    if kind is SlowFast:
        return _describe_slowfast(tensors)
    return _describe_resnet(tensors)


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in their names."""
    del config
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def describe_as_card(config: ModelConfig, cards: Sequence[ModelCard], notes: Iterable[str]) -> Described:
    """Add what no such file states, the clips of its training, as the catalogue's model of the same shape has it.

    Args:
        config: from shapes. Another number of classes is no other network.
        cards: of the catalogue, at least one of the config's class.
        notes: what was assumed so far.
    """
    alike = [card for card in cards if _with_classes(card.config, config.num_classes) == config]
    nearest = alike[0] if alike else next(card for card in cards if type(card.config) is type(config))
    sampling = dataclasses.replace(nearest.sampling, num_frames=config.num_frames)
    size = f"{config.num_frames} frames of {config.image_size[0]}x{config.image_size[1]}"
    return Described(
        config,
        sampling,
        with_crop(nearest.preprocess, config.image_size),
        name=nearest.name if alike else "",
        notes=(*notes, f"the file does not state its clips; {size} assumed, and the transform of {nearest.name}"),
    )


def _with_classes(config: Any, num_classes: int) -> Any:  # noqa: ANN401, any dataclass
    return dataclasses.replace(config, num_classes=num_classes)


def _kind(tensors: Mapping[str, Tensor]) -> type[nn.Module] | None:
    return next((kind for kind, name in _SIGNATURES.items() if name in tensors), None)


def _style(tensors: Mapping[str, Tensor]) -> str:
    """The style of a ResNet; "" if it cannot be built here."""
    if "blocks.1.res_blocks.0.branch2.conv_b.conv_t.weight" in tensors:
        return "r2plus1d"
    # Where time is halved, a layer without tensors takes the place of the second stage.
    halved = not any(name.startswith("blocks.2.") for name in tensors)
    return {(1, False): "slow", (5, True): "i3d"}.get((tensors["blocks.0.conv.weight"].shape[2], halved), "")


def _depths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Blocks of each stage, of the slow pathway if there are two."""
    found = (re.match(r"blocks\.(\d+)\.(?:multipathway_blocks\.0\.)?res_blocks\.(\d+)\.", name) for name in tensors)
    places = {(int(each.group(1)), int(each.group(2))) for each in found if each}
    return tuple(1 + max(block for at, block in places if at == stage) for stage in sorted({at for at, _ in places}))


def _num_classes(tensors: Mapping[str, Tensor]) -> int:
    heads = [tensor for name, tensor in tensors.items() if name.endswith(".proj.weight")]
    if len(heads) != 1:
        raise InvalidCheckpoint("the file has no classifier; use it to start a training")
    return heads[0].shape[0]


def _describe_x3d(tensors: Mapping[str, Tensor]) -> Described:
    depths, width = _depths(tensors), tensors["blocks.0.conv.conv_t.weight"].shape[0]
    known: dict[tuple[int, tuple[int, ...]], tuple[str, str]] = {
        (24, (3, 5, 11, 7)): ("x3d_m", _ONE_OF_THREE),
        (24, (5, 10, 25, 15)): ("x3d_l", ""),
        (32, (5, 10, 25, 15)): ("x3d_xl", ""),
    }
    if (width, depths) not in known:
        raise InvalidCheckpoint(
            f"an X3D with a stem of {width} channels and stages of {depths} blocks was never published; "
            "build one with its factors and load the file into it"
        )
    name, note = known[width, depths]
    card = next(card for card in x3d_cards.CARDS if card.name == name)
    assert isinstance(card.config, X3dConfig)
    config = dataclasses.replace(
        card.config,
        num_classes=_num_classes(tensors),
        head_width=tensors["blocks.5.pool.post_conv.weight"].shape[0],
    )
    return describe_as_card(config, x3d_cards.CARDS, (note,) if note else ())


def _describe_slowfast(tensors: Mapping[str, Tensor]) -> Described:
    depths = _depths(tensors)
    fusion = tensors["blocks.0.multipathway_fusion.conv_fast_to_slow.weight"].shape[2]
    res4 = "blocks.3.multipathway_blocks.0.res_blocks.{}.branch2.conv_a.weight"
    across = sum(tensors[res4.format(block)].shape[2] > 1 for block in range(depths[2]))
    # R50 was published with a span of 7 at a ratio of 4, and with one of 5 at a ratio of 8.
    ratio = 8 if fusion == 5 and depths[2] == 6 else 4
    config = SlowFastConfig(
        num_classes=_num_classes(tensors),
        num_frames=32 if across == depths[2] else 64,
        frame_ratio=ratio,
        depths=_four(depths),
        width=tensors["blocks.0.multipathway_blocks.0.conv.weight"].shape[0],
        fusion_kernel=fusion,
        res4_time_blocks=None if across == depths[2] else across,
    )
    note = f"the file does not state how many fast frames there are to a slow one: {ratio} assumed, as published"
    return describe_as_card(config, slowfast_cards.CARDS, (note,))


def _describe_resnet(tensors: Mapping[str, Tensor]) -> Described:
    style = _style(tensors)
    if not style:
        raise InvalidCheckpoint("a ResNet of pytorchvideo that cannot be built here (C2D, CSN); Slow, I3D, R(2+1)D can")
    config = Resnet3dConfig(
        num_classes=_num_classes(tensors),
        num_frames=16 if style == "r2plus1d" else 8,
        style=style,  # type: ignore[arg-type]  # one of its choices
        depths=_four(_depths(tensors)),
        width=tensors["blocks.0.conv.weight"].shape[0],
    )
    of_style = [card for card in slowfast_cards.CARDS if getattr(card.config, "style", "") == style]
    return describe_as_card(config, of_style, ())


def _four(depths: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(depths) != 4:
        raise InvalidCheckpoint(f"the network has {len(depths)} stages; expected 4")
    return (depths[0], depths[1], depths[2], depths[3])
