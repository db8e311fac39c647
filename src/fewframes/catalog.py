"""Every model by name: a name comes in, its card or a network goes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import torch
from torch import nn

from fewframes.architectures import build_from_config
from fewframes.cards import (
    eco,
    nonlocal_net,
    quoted,
    slowfast,
    stam,
    stam_timm,
    timesformer,
    torchvision_video,
    tsm,
    videomae,
    vivit,
    x3d,
)
from fewframes.cards.card import ModelCard, QuotedCard
from fewframes.errors import UnknownName, UsageError
from fewframes.models.checks import ModelConfig
from fewframes.models.encoders import timm_preprocess
from fewframes.models.stam_timm import StamTimmConfig
from fewframes.models.vit import ENCODER_SIZES
from fewframes.video.transforms import with_crop

__all__ = [
    "CATALOG",
    "QUOTED",
    "ModelOption",
    "adapted_card",
    "build_model",
    "card_of",
    "list_models",
    "parse_options",
]

ModelOption = int | float | str | bool | tuple[int, ...] | None

_FAMILIES = (stam, stam_timm, timesformer, videomae, vivit, tsm, eco, nonlocal_net, x3d, slowfast, torchvision_video)

CATALOG: Mapping[str, ModelCard] = MappingProxyType({card.name: card for each in _FAMILIES for card in each.CARDS})

# Systems that others compare with and that nobody can build from what was published.
QUOTED: Mapping[str, QuotedCard] = MappingProxyType({card.name: card for card in quoted.CARDS})


def list_models() -> list[str]:
    """The names of all models that can be built, in the catalogue's order."""
    return list(CATALOG)


def card_of(name: str) -> ModelCard:
    """The card of a model.

    Raises:
        UnknownName: no such model; the nearest known name is suggested.
        UsageError: the system is only quoted and cannot be built, with the reason.
    """
    if name in QUOTED:
        raise UsageError(f"{name} cannot be built, the catalogue only quotes its figures: {QUOTED[name].reason}")
    if name not in CATALOG:
        raise UnknownName("model", name, CATALOG)
    return CATALOG[name]


def adapted_card(name: str, **options: ModelOption) -> ModelCard:
    """A model's card with another shape; what was published or counted for the old shape is left out.

    Args:
        name: a catalogue name.
        options: any field of the model's config, or `encoder="tiny" | "small" | "base" | "large" | "huge"` for a
            ViT's width, depth and heads (and, of "huge", its patches of 14 pixels) at once. `image_size` may be one
            number for a square. Another encoder of timm brings the transform that its weights expect.

    Raises:
        UnknownName: the model or an option does not exist.
        UsageError: the sizes do not fit together, or the model cannot be built at all.
    """
    card = card_of(name)
    old, preprocess = card.config, card.preprocess
    known = [each.name for each in dataclasses.fields(old)]  # type: ignore[arg-type]  # all configs are dataclasses
    sizes_by_name = "encoder" not in known and {"width", "depth", "heads"} <= set(known)
    if sizes_by_name and "encoder" in options:
        size = str(options.pop("encoder"))
        if size not in ENCODER_SIZES:
            raise UnknownName("encoder", size, ENCODER_SIZES)
        options = {**ENCODER_SIZES[size], **options}
    for option in options:
        if option not in known:
            raise UnknownName("model option", option, [*known, "encoder"] if sizes_by_name else known)
    side = options.get("image_size")
    if isinstance(side, int):
        options["image_size"] = (side, side)
    if "class_splits" in known and options.get("num_classes", old.num_classes) != old.num_classes:
        options.setdefault("class_splits", None)  # it divides the old classes
    config: ModelConfig = dataclasses.replace(old, **options)  # type: ignore[type-var]  # the config checks the values
    if config == old:
        return card
    if isinstance(config, StamTimmConfig) and "encoder" in options:
        preprocess = timm_preprocess(config.encoder, config.image_size)  # other weights expect another transform
    return dataclasses.replace(
        card,
        config=config,
        preprocess=preprocess if config.image_size == preprocess.crop else with_crop(preprocess, config.image_size),
        sampling=dataclasses.replace(card.sampling, num_frames=config.num_frames),
        published=(),
        num_parameters=None,
        gmacs=None,
        gmacs_without_attention_products=None,
    )


def parse_options(name: str, options: Iterable[str]) -> dict[str, ModelOption]:
    """Read "name=value" pairs, such as "depth=4", "image_size=64", "image_size=280x168" or "aggregator=mean".

    Args:
        name: of the model, whose config says of which kind each value is.
        options: the pairs.

    Raises:
        UnknownName: the model does not exist.
        UsageError: no "=", or a value that is not of the option's kind.
    """
    config = card_of(name).config
    defaults = {each.name: each.default for each in dataclasses.fields(config)}  # type: ignore[arg-type]
    result: dict[str, ModelOption] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not text:
            raise UsageError(f"model option {option!r} is not of the form name=value, such as depth=4")
        result[key] = _parse_option(key, text, defaults.get(key, ""))
    return result


def _parse_option(name: str, text: str, default: object) -> ModelOption:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple) or (default is None and "x" in text):
            numbers = tuple(int(each) for each in text.split("x"))
            numbers = numbers * 2 if name == "image_size" and len(numbers) == 1 else numbers
            if default is not None and len(numbers) != len(default):
                raise ValueError
            return numbers
        if isinstance(default, float):
            return float(text)
        if isinstance(default, int) or default is None:
            return int(text)
    except (KeyError, ValueError):
        kind = {bool: "true or false", tuple: "a size such as 224 or 280x168", float: "a number"}
        expected = kind.get(type(default), "a whole number")
        raise UsageError(f"model option {name}={text}: expected {expected}") from None
    return text


def build_model(name: str, *, generator: torch.Generator | None = None, **options: ModelOption) -> nn.Module:
    """Build a network of the catalogue with new random weights.

    Args:
        name: a catalogue name, see `list_models`.
        generator: where the weights are drawn from; None means torch's global generator.
        options: changes to the card's config, see `adapted_card`: `build_model("stam_16", num_classes=5)`.

    Returns:
        A module (B, T, 3, H, W) -> (B, K) logits, in training mode.

    Raises:
        UnknownName: the model or an option does not exist; the nearest known name is suggested.
        UsageError: the sizes do not fit together, or the model exists only as a quoted number.
    """
    return build_from_config(adapted_card(name, **options).config, generator)
