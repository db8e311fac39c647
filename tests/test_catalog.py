"""The catalogue: names, cards that fit together, sizes counted to the last parameter, options as text."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from fewframes.architectures import build_from_config
from fewframes.catalog import (
    CATALOG,
    adapted_card,
    build_model,
    card_of,
    list_models,
    parse_options,
)
from fewframes.classes import official_labels
from fewframes.errors import UnknownName, UsageError
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.vit import ENCODER_SIZES
from fewframes.records import Preprocess, Sampling

SMALL: dict[str, Any] = {
    "width": 12,
    "depth": 1,
    "heads": 3,
    "temporal_heads": 2,
    "temporal_depth": 1,
    "image_size": 32,
}


STAMS = ["stam_4", "stam_8", "stam_16", "stam_32", "stam_64", "vit_mean_16"]


def test_names() -> None:
    assert set(STAMS) <= set(list_models())


@pytest.mark.parametrize("name", STAMS)
def test_each_stam_card_fits_together(name: str) -> None:
    card = card_of(name)
    frames = int(name.rpartition("_")[2])
    assert card.name == name
    assert card.config.num_frames == frames
    assert card.sampling == Sampling("uniform", frames)
    assert card.preprocess == Preprocess((224, 224), 256)
    assert card.config.num_classes == len(official_labels(card.labels)) == 400
    assert (card.weights_url is None) == (name in ("stam_4", "vit_mean_16"))
    assert card.weights_url is None or card.weights_url.endswith(f"/STAM/v2/{name}.pth")
    assert "2103.13915" in card.source or "Table" in card.source
    assert all(50 < each.percent < 100 for each in card.published)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("stam_16", 119_205_520),
        ("stam_32", 119_217_808),
        ("stam_64", 119_242_384),
        ("vit_mean_16", 86_106_256),
    ],
)
def test_parameters_to_the_last(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = build_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_parts_of_stam_16_to_the_last() -> None:
    with torch.device("meta"):
        model = build_model("stam_16")
    assert isinstance(model, Stam)
    parts = [sum(each.numel() for each in part.parameters()) for part in (model.encoder, model.aggregate, model.head)]
    assert parts == [85_798_656, 33_099_264, 307_600]
    assert len(model.state_dict()) == 228


def test_unknown_names_are_met_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown model 'stam16'; did you mean 'stam_16'"):
        card_of("stam16")
    with pytest.raises(UnknownName, match="unknown model option 'num_clases'; did you mean 'num_classes'"):
        adapted_card("stam_16", num_clases=5)
    with pytest.raises(UnknownName, match="unknown model option 'encodr'; did you mean 'encoder'"):
        adapted_card("stam_16", encodr="tiny")
    with pytest.raises(UnknownName, match="unknown encoder 'giant'; known: tiny, small, base, large"):
        adapted_card("stam_16", encoder="giant")
    with pytest.raises(UnknownName, match="unknown model 'x'; known: stam_4, stam_8"):
        build_model("x")


def test_options_change_the_shape_and_what_follows_from_it() -> None:
    card = adapted_card("stam_16", num_frames=5, image_size=(112, 64), num_classes=3)
    assert card.config == dataclasses.replace(StamConfig(), num_frames=5, image_size=(112, 64), num_classes=3)
    assert card.sampling == Sampling("uniform", 5)
    assert card.preprocess == Preprocess((112, 64), 128)
    assert card_of("stam_16").config.num_frames == 16, "the catalogue stays as it is"


def test_no_options_change_nothing() -> None:
    assert adapted_card("stam_16") == card_of("stam_16")


def test_one_number_is_a_square() -> None:
    assert adapted_card("stam_16", image_size=64).config.image_size == (64, 64)


@pytest.mark.parametrize("size", ENCODER_SIZES)
def test_encoder_sizes(size: str) -> None:
    config = dataclasses.asdict(adapted_card("stam_16", encoder=size).config)  # type: ignore[call-overload]
    assert ENCODER_SIZES[size].items() <= config.items()
    smaller: Any = adapted_card("stam_16", encoder=size, depth=2).config
    assert smaller.depth == 2


def test_options_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"image_size is 100x100; expected .* multiples of patch_size, 16"):
        adapted_card("stam_16", image_size=100)
    with pytest.raises(UsageError, match=r"num_classes is 2\.5; expected a whole number"):
        adapted_card("stam_16", num_classes=2.5)


def test_the_transform_at_any_size() -> None:
    assert adapted_card("stam_16").preprocess.resize_short == 256
    # 320 / 0.875 = 365.71 is cut, as the release cuts it.
    assert adapted_card("stam_16", image_size=(320, 160)).preprocess.resize_short == 365


def test_the_catalogue_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        CATALOG["mine"] = card_of("stam_16")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        card_of("stam_16").name = "mine"  # type: ignore[misc]
    with pytest.raises(TypeError):
        card_of("stam_16").published[0] = None  # type: ignore[index]


def test_a_built_network_runs_and_is_reproducible() -> None:
    first, second = (build_model("stam_8", generator=torch.Generator().manual_seed(83), **SMALL) for _ in range(2))
    assert first.training
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert first(torch.zeros(2, 8, 3, 32, 32)).shape == (2, 400)
    again = build_from_config(adapted_card("stam_8", **SMALL).config, torch.Generator().manual_seed(83))
    assert torch.equal(again.state_dict()["head.weight"], first.state_dict()["head.weight"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("depth=4", 4),
        ("num_classes=1_000", 1000),
        ("image_size=64", (64, 64)),
        ("image_size=280x168", (280, 168)),
        ("mlp_ratio=3", 3.0),
        ("norm_eps=1e-6", 1e-6),
        ("qkv_bias=false", False),
        ("qkv_bias=True", True),
        ("aggregator=mean", "mean"),
        ("temporal_mlp_width=512", 512),
        ("encoder=tiny", "tiny"),
        ("surprise=1", "1"),
    ],
)
def test_options_as_text(text: str, value: object) -> None:
    parsed = parse_options("stam_16", [text])
    assert parsed == {text.partition("=")[0]: value}
    assert type(next(iter(parsed.values()))) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth", "model option 'depth' is not of the form name=value, such as depth=4"),
        ("depth=", "is not of the form name=value"),
        ("depth=four", "model option depth=four: expected a whole number"),
        ("depth=4.5", r"depth=4\.5: expected a whole number"),
        ("temporal_mlp_width=wide", "temporal_mlp_width=wide: expected a whole number"),
        ("image_size=ax3", "image_size=ax3: expected a size such as 224 or 280x168"),
        ("image_size=3x4x5", "image_size=3x4x5: expected a size"),
        ("image_size=280x", "image_size=280x: expected a size"),
        ("mlp_ratio=big", "mlp_ratio=big: expected a number"),
        ("qkv_bias=maybe", "qkv_bias=maybe: expected true or false"),
    ],
)
def test_options_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_options("stam_16", ["heads=3", text])


def test_parsed_options_build() -> None:
    card = adapted_card("stam_16", **parse_options("stam_16", ["encoder=tiny", "image_size=48x32", "aggregator=paper"]))
    assert card.config.width == 192
    assert card.config.image_size == (48, 32)
    assert card.config.aggregator == "paper"
