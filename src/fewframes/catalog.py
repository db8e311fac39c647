"""Every model by name: a name comes in, its card or a network goes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from fewframes.errors import UnknownName, UsageError
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.vit import ENCODER_SIZES
from fewframes.records import Preprocess, Sampling

__all__ = [
    "CATALOG",
    "ModelCard",
    "ModelOption",
    "adapted_card",
    "build_from_config",
    "build_model",
    "card_of",
    "list_models",
    "parse_options",
]


ModelOption = int | float | str | tuple[int, int] | None


@dataclass(frozen=True)
class ModelCard:
    """What the catalogue knows of a model.

    Attributes:
        name: the catalogue's name.
        config: the network's shape.
        sampling: which frames it looks at by default.
        preprocess: how frames become its input.
        labels: name of the official label list of the published weights, such as "kinetics400".
        weights_url: where the published weights are; None if none were published.
        source: paper and code.
        licence: of the published weights and code.
        published: accuracy in percent as published, by protocol.
        notes: what a reader should know.
    """

    name: str
    config: StamConfig
    sampling: Sampling
    preprocess: Preprocess
    labels: str
    weights_url: str | None
    source: str
    licence: str
    published: Mapping[str, float]
    notes: str = ""


def default_preprocess(config: StamConfig) -> Preprocess:
    """The STAM release's transform at any size: short side 1 / 0.875 of the crop, values in [0, 1], no mean or std."""
    return Preprocess(crop=config.image_size, resize_short=int(max(config.image_size) / 0.875))


def _stam_card(num_frames: int, *, top1: float, released: bool = True, notes: str = "") -> ModelCard:
    config = StamConfig(num_frames=num_frames)
    url = f"https://miil-public-eu.oss-eu-central-1.aliyuncs.com/model-zoo/STAM/v2/stam_{num_frames}.pth"
    return ModelCard(
        name=f"stam_{num_frames}",
        config=config,
        sampling=Sampling("uniform", num_frames),
        preprocess=default_preprocess(config),
        labels="kinetics400",
        weights_url=url if released else None,
        source="Sharir, Noy, Zelnik-Manor 2021, arXiv:2103.13915; weights: STAM release, version 2",
        licence="Apache-2.0",
        published=MappingProxyType({"Kinetics-400 top-1, 1 view": top1}),
        notes=notes,
    )


_MEAN_CONFIG = StamConfig(num_frames=16, aggregator="mean")

CATALOG: Mapping[str, ModelCard] = MappingProxyType(
    {
        card.name: card
        for card in (
            _stam_card(4, top1=74.1, released=False, notes="in the paper's Table 4; its weights were never published"),
            _stam_card(8, top1=77.1, notes="the release's README says 77.5"),
            _stam_card(16, top1=79.3),
            _stam_card(32, top1=79.9, notes="the release's README says 79.95"),
            _stam_card(64, top1=80.5),
            ModelCard(
                name="vit_mean_16",
                config=_MEAN_CONFIG,
                sampling=Sampling("uniform", 16),
                preprocess=default_preprocess(_MEAN_CONFIG),
                labels="kinetics400",
                weights_url=None,
                source="Sharir, Noy, Zelnik-Manor 2021, Table 2, the same encoder with mean pooling",
                licence="Apache-2.0",
                published=MappingProxyType({"Kinetics-400 top-1, 1 view": 75.1}),
                notes="its weights were never published",
            ),
        )
    }
)


def list_models() -> list[str]:
    """The names in the catalogue, in its order."""
    return list(CATALOG)


def card_of(name: str) -> ModelCard:
    """The card of a model. Raises `UnknownName` with the nearest known name."""
    if name not in CATALOG:
        raise UnknownName("model", name, CATALOG)
    return CATALOG[name]


def adapted_card(name: str, **options: ModelOption) -> ModelCard:
    """A model's card with another shape.

    Args:
        name: a catalogue name.
        options: any field of `StamConfig`, or `encoder="tiny" | "small" | "base" | "large"` for width, depth and
            heads at once. `image_size` may be one number for a square.

    Raises:
        UnknownName: the model or an option does not exist.
        UsageError: the sizes do not fit together.
    """
    card = card_of(name)
    if "encoder" in options:
        size = str(options.pop("encoder"))
        if size not in ENCODER_SIZES:
            raise UnknownName("encoder", size, ENCODER_SIZES)
        options = {**ENCODER_SIZES[size], **options}
    known = [each.name for each in dataclasses.fields(StamConfig)]
    for option in options:
        if option not in known:
            raise UnknownName("model option", option, [*known, "encoder"])
    side = options.get("image_size")
    if isinstance(side, int):
        options["image_size"] = (side, side)
    config = dataclasses.replace(card.config, **options)  # type: ignore[arg-type]  # StamConfig checks the values
    preprocess = card.preprocess if config.image_size == card.config.image_size else default_preprocess(config)
    sampling = dataclasses.replace(card.sampling, num_frames=config.num_frames)
    return dataclasses.replace(card, config=config, preprocess=preprocess, sampling=sampling)


def parse_options(options: Iterable[str]) -> dict[str, ModelOption]:
    """Read "name=value" pairs, such as "depth=4", "image_size=64", "image_size=280x168" or "aggregator=mean".

    Raises:
        UsageError: no "=", or a value that is not of the option's kind.
    """
    defaults = {each.name: each.default for each in dataclasses.fields(StamConfig)}
    result: dict[str, ModelOption] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not text:
            raise UsageError(f"model option {option!r} is not of the form name=value, such as depth=4")
        result[name] = _parse_option(name, text, defaults.get(name, ""))
    return result


def _parse_option(name: str, text: str, default: object) -> ModelOption:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            height, times, width = text.partition("x")
            return int(height), int(width if times else height)
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
        UsageError: the sizes do not fit together.
    """
    return Stam(adapted_card(name, **options).config, generator)


def build_from_config(config: StamConfig, generator: torch.Generator | None = None) -> nn.Module:
    """Build a network from a complete config, such as a checkpoint's."""
    return Stam(config, generator)
