"""The VideoMAE release's files: names, what they say of themselves, both ways, pre-trainings, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewframes.architectures import build_from_config
from fewframes.cards import videomae as cards
from fewframes.cards.card import ModelCard
from fewframes.errors import InvalidCheckpoint
from fewframes.models.videomae import Videomae, VideomaeConfig
from fewframes.records import Sampling
from fewframes.weights.adapters import videomae_official
from fewframes.weights.layouts import LAYOUTS
from fewframes.weights.loading import load_weights

# As many tubelets as a file is taken to have, 8 x 14 x 14, so that shapes tell everything; D=64 has one head.
TINY = VideomaeConfig(
    num_classes=13,
    num_frames=24,
    image_size=(28, 28),
    patch_size=2,
    tubelet_size=3,
    width=64,
    depth=2,
    heads=1,
    mlp_ratio=0.75,
)


def tiny(**changes: object) -> Videomae:
    model = Videomae(dataclasses.replace(TINY, **changes), torch.Generator().manual_seed(7))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    return model


def released(model: Videomae) -> dict[str, Tensor]:
    return videomae_official.export(model.state_dict(), model.config)


def pretraining(model: Videomae) -> dict[str, Tensor]:
    """The names of a pre-training: the encoder under a prefix with a last norm, a decoder, a mask token."""
    tensors = {
        f"encoder.{name}": value for name, value in released(model).items() if name.startswith(("patch", "blocks"))
    }
    tensors |= {f"encoder.norm.{kind}": torch.full((64,), 0.3) for kind in ("weight", "bias")}
    decoder = {f"decoder.{name}": value for name, value in released(model).items() if name.startswith("blocks")}
    rest = {"mask_token": (1, 1, 24), "encoder_to_decoder.weight": (24, 64), "decoder.norm.bias": (24,)}
    return {**tensors, **decoder, **{name: torch.ones(shape) for name, shape in rest.items()}}


def saved(tensors: dict[str, Tensor], folder: Path, key: str = "module") -> Path:
    file = folder / "release.pth"
    torch.save({key: {name: value.clone() for name, value in tensors.items()}}, file)
    return file


def test_names() -> None:
    names = set(released(tiny()))
    assert len(names) == 32
    assert {
        "patch_embed.proj.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.1.attn.q_bias",
        "blocks.1.attn.v_bias",
        "blocks.1.attn.proj.bias",
        "blocks.0.norm2.weight",
        "blocks.0.mlp.fc1.bias",
        "fc_norm.weight",
        "head.weight",
    } <= names
    assert "norm.weight" in released(tiny(pooling="first"))


@pytest.mark.parametrize("key", ["module", "model"])
@pytest.mark.parametrize("changes", [{}, {"pooling": "first"}, {"qv_bias": False}])
def test_there_and_back(changes: dict[str, object], key: str, tmp_path: Path) -> None:
    model, again = tiny(**changes), Videomae(tiny(**changes).config)
    report = load_weights(again, saved(released(model), tmp_path, key))
    assert report.layout == "VideoMAE release"
    assert len(report.loaded) == len(model.state_dict())
    assert not report.unused
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    described = videomae_official.describe(released(model), {})
    assert described.config == model.config
    size = "the file does not state its input's size; 24 frames of 28x28 assumed, as published"
    assert size in described.notes


def test_one_layout_knows_it() -> None:
    model = tiny()
    for tensors in (released(model), pretraining(model)):
        assert [each.NAME for each in LAYOUTS.values() if each.is_layout(tensors)] == ["VideoMAE release"]
    assert not any(each.is_layout(model.state_dict()) for each in LAYOUTS.values())
    with_class = {**released(model), "cls_token": torch.zeros(1, 1, 64)}
    with_key_bias = {**released(model), "blocks.0.attn.qkv.bias": torch.zeros(192)}
    assert not videomae_official.is_layout(with_class)
    assert not videomae_official.is_layout(with_key_bias)


@pytest.mark.parametrize("card", cards.CARDS, ids=lambda card: card.name)
def test_each_released_file_is_its_card(card: ModelCard) -> None:
    with torch.device("meta"):
        model = build_from_config(card.config)
    assert isinstance(model, Videomae)
    described = videomae_official.describe(released(model), {})
    assert described.name == card.name
    assert (described.config, described.sampling, described.preprocess) == (card.config, card.sampling, card.preprocess)


def test_somebodys_own_classes() -> None:
    with torch.device("meta"):
        model = Videomae(VideomaeConfig(num_classes=5))
    described = videomae_official.describe(released(model), {})
    assert described.name == "videomae_base_k400"
    assert described.sampling == Sampling("clip", 16, stride=4)


def test_the_encoder_of_a_pre_training(tmp_path: Path) -> None:
    source, model = tiny(), Videomae(TINY, torch.Generator().manual_seed(11))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_weights(model, saved(pretraining(source), tmp_path, "model"))
    new = {"encoder.fc_norm.weight", "encoder.fc_norm.bias", "head.weight", "head.bias"}
    assert set(report.newly_initialised) == new
    assert {"mask_token", "decoder.norm.bias", "encoder.norm.weight", "encoder.norm.bias"} <= set(report.unused)
    assert any("pre-training" in note for note in report.notes)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] if name in new else source.state_dict()[name]), name
    first = tiny(pooling="first")
    report = load_weights(first, saved(pretraining(source), tmp_path, "model"))
    assert set(report.newly_initialised) == {"head.weight", "head.bias"}
    assert torch.equal(first.encoder.norm.weight, torch.full((64,), 0.3))


def test_a_pre_training_is_no_classifier() -> None:
    with pytest.raises(
        InvalidCheckpoint, match="of pre-training, which has no classifier yet; use it to start a train"
    ):
        videomae_official.describe(pretraining(tiny()), {})
    headless = {name: value for name, value in released(tiny()).items() if "head" not in name}
    with pytest.raises(InvalidCheckpoint, match="has no classifier yet"):
        videomae_official.describe(headless, {})


@pytest.mark.parametrize(("file", "model"), [("mean", "first"), ("first", "mean")])
def test_another_pooling_is_refused(file: str, model: str, tmp_path: Path) -> None:
    message = f'holds a VideoMAE with pooling="{file}" but the model has pooling="{model}"'
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(tiny(pooling=model), saved(released(tiny(pooling=file)), tmp_path))


def test_biases_must_agree(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"encoder\.blocks\.0\.attn\.q_bias is missing"):
        load_weights(tiny(), saved(released(tiny(qv_bias=False)), tmp_path))
    with pytest.raises(InvalidCheckpoint, match=r"encoder\.blocks\.0\.attn\.q_bias \(64\) is left over"):
        load_weights(tiny(qv_bias=False), saved(released(tiny()), tmp_path))


def test_other_lengths_and_classes(tmp_path: Path) -> None:
    """Positions are a formula, so only the head stays new."""
    model = tiny(num_frames=6, image_size=(10, 6), num_classes=3)
    report = load_weights(model, saved(released(tiny()), tmp_path))
    assert set(report.newly_initialised) == {"head.weight", "head.bias"}
    assert model(torch.zeros(1, 6, 3, 10, 6)).shape == (1, 3)
