"""The TimeSformer release's files: names, what they say of themselves, both ways, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewframes.architectures import build_from_config
from fewframes.cards import timesformer as cards
from fewframes.cards.card import ModelCard
from fewframes.errors import InvalidCheckpoint
from fewframes.models.timesformer import Timesformer, TimesformerConfig
from fewframes.records import Sampling
from fewframes.weights.adapters import timesformer_official
from fewframes.weights.layouts import LAYOUTS
from fewframes.weights.loading import load_weights

SCHEMES = ("divided", "joint", "space")
# B does not matter here; T=5, H=W=21 (9 patches of 7), D=64 and one head, so that shapes tell the number of heads.
TINY = TimesformerConfig(
    num_classes=13, num_frames=5, image_size=(21, 21), patch_size=7, width=64, depth=2, heads=1, mlp_ratio=0.75
)


def tiny(attention: str, **changes: object) -> Timesformer:
    config = dataclasses.replace(TINY, attention=attention, **changes)  # type: ignore[arg-type]
    model = Timesformer(config, torch.Generator().manual_seed(7))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    return model


def released(model: Timesformer) -> dict[str, Tensor]:
    return timesformer_official.export(model.state_dict(), model.config)


def saved(tensors: dict[str, Tensor], folder: Path) -> Path:
    """As the release does: next to other things in a pickle."""
    file = folder / "release.pyth"
    torch.save({"epoch": 14, "model_state": {name: value.clone() for name, value in tensors.items()}}, file)
    return file


def test_names() -> None:
    names = set(released(tiny("divided")))
    assert len(names) == 49
    assert {
        "model.cls_token",
        "model.pos_embed",
        "model.time_embed",
        "model.patch_embed.proj.weight",
        "model.blocks.1.temporal_norm1.bias",
        "model.blocks.1.temporal_attn.qkv.weight",
        "model.blocks.1.temporal_attn.proj.bias",
        "model.blocks.1.temporal_fc.weight",
        "model.blocks.0.mlp.fc2.bias",
        "model.norm.weight",
        "model.head.bias",
    } <= names


@pytest.mark.parametrize("attention", SCHEMES)
def test_there_and_back(attention: str, tmp_path: Path) -> None:
    model, again = tiny(attention), Timesformer(tiny(attention).config)
    report = load_weights(again, saved(released(model), tmp_path))
    assert report.layout == "TimeSformer release"
    assert len(report.loaded) == len(model.state_dict())
    assert not report.resized
    assert not report.newly_initialised
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("attention", SCHEMES)
def test_one_layout_knows_it(attention: str) -> None:
    model = tiny(attention)
    tensors = released(model)
    assert [each.NAME for each in LAYOUTS.values() if each.is_layout(tensors)] == ["TimeSformer release"]
    assert not any(each.is_layout(model.state_dict()) for each in LAYOUTS.values())
    assert timesformer_official.fits(model)


@pytest.mark.parametrize("attention", SCHEMES)
def test_what_a_file_says_of_itself(attention: str) -> None:
    frames = {"num_frames": 8} if attention == "space" else {}
    described = timesformer_official.describe(released(tiny(attention, **frames)), {})
    assert described.config == dataclasses.replace(TINY, attention=attention, **frames)
    assert described.name == ""
    assert "the file does not state its number of heads: width / 64, as released" in described.notes
    assumed = "space-only networks do not state their number of frames; 8 assumed, as published"
    assert (assumed in described.notes) == (attention == "space")


RELEASED = [card for card in cards.CARDS if card.labels in ("kinetics400", "kinetics600", "ssv2")]


@pytest.mark.parametrize("card", RELEASED, ids=lambda card: card.name)
def test_each_released_file_is_its_card(card: ModelCard) -> None:
    with torch.device("meta"):
        model = build_from_config(card.config)
    assert isinstance(model, Timesformer)
    described = timesformer_official.describe(released(model), {})
    assert described.name == card.name
    assert (described.config, described.sampling, described.preprocess) == (card.config, card.sampling, card.preprocess)
    about_bgr = [note for note in described.notes if "BGR" in note]
    assert bool(about_bgr) == (card.preprocess.channel_order == "bgr") == (card.config.num_classes == 174)
    assert card.preprocess.mean == (0.45, 0.45, 0.45)
    assert card.preprocess.std == (0.225, 0.225, 0.225)


def test_somebodys_own_classes() -> None:
    """As many frames as a published model, other classes: its neighbour's name, its sampling."""
    with torch.device("meta"):
        model = Timesformer(TimesformerConfig(num_classes=5, num_frames=96))
    described = timesformer_official.describe(released(model), {})
    assert described.name == "timesformer_large_k400"
    assert described.sampling == Sampling("clip_linspace", 96, stride=4, stride_fps=30.0)
    assert described.preprocess.channel_order == "rgb"
    with torch.device("meta"):
        model = Timesformer(TimesformerConfig(num_classes=174, num_frames=32))
    described = timesformer_official.describe(released(model), {})
    assert (described.name, described.sampling) == ("", Sampling("segment_middle", 32))


def test_ssv2_is_noted_when_it_is_loaded(tmp_path: Path) -> None:
    model = tiny("divided", num_classes=174)
    report = load_weights(model, saved(released(model), tmp_path))
    assert any("174 classes" in note and "BGR" in note for note in report.notes)


def test_other_sizes_and_classes(tmp_path: Path) -> None:
    model = tiny("divided", num_frames=11, image_size=(14, 35), num_classes=3)
    report = load_weights(model, saved(released(tiny("divided")), tmp_path))
    assert report.resized == (
        "encoder.pos_embed: (1, 10, 64) -> (1, 11, 64)",
        "encoder.time_embed: (1, 5, 64) -> (1, 11, 64)",
    )
    assert set(report.newly_initialised) == {"head.weight", "head.bias"}
    one = tiny("joint", num_frames=1)
    assert load_weights(one, saved(released(tiny("joint")), tmp_path)).resized == (
        "encoder.time_embed: (1, 5, 64) -> (1, 1, 64)",
    )


@pytest.mark.parametrize(("file", "model"), [("divided", "joint"), ("joint", "space"), ("space", "divided")])
def test_another_scheme_is_refused(file: str, model: str, tmp_path: Path) -> None:
    message = f'holds a TimeSformer with attention="{file}" but the model has attention="{model}"'
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(tiny(model), saved(released(tiny(file)), tmp_path))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    tensors = released(tiny("divided"))
    del tensors["model.blocks.1.temporal_fc.bias"]
    tensors["model.blocks.1.extra"] = torch.zeros(2)
    message = r"encoder\.blocks\.1\.temporal_fc\.bias is missing; encoder\.blocks\.1\.extra \(2\) is left over"
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(tiny("divided"), saved(tensors, tmp_path))


def test_a_file_without_classifier(tmp_path: Path) -> None:
    tensors = {name: value for name, value in released(tiny("divided")).items() if "head" not in name}
    assert timesformer_official.describe(tensors, {}).config.num_classes == 400
    report = load_weights(tiny("divided"), saved(tensors, tmp_path))
    assert set(report.newly_initialised) == {"head.weight", "head.bias"}
