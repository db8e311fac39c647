"""Files of timm into a network that has the very model as its encoder: what is taken, left out and refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.stam_timm import StamTimm, StamTimmConfig
from fewframes.weights.adapters import timm_encoder
from fewframes.weights.layouts import LAYOUTS, layout_of
from fewframes.weights.loading import load_weights
from fewframes.weights.resize import resize_positions_in_space

CONFIG = StamTimmConfig(num_classes=13, num_frames=5, image_size=(32, 32), temporal_depth=1, temporal_heads=4)


def model_of(encoder: str, **changes: Any) -> StamTimm:  # noqa: ANN401
    config = dataclasses.replace(CONFIG, encoder=encoder, **changes)
    return StamTimm(config, torch.Generator().manual_seed(53)).eval()


def file_of(name: str, folder: Path, *, num_classes: int = 11, **changes: Any) -> tuple[Path, dict[str, Tensor]]:  # noqa: ANN401
    """A file as timm writes them, with random values in every tensor."""
    size = {"img_size": 32} if "vit" in name else {}
    network = timm.create_model(name, num_classes=num_classes, **(size | changes))
    generator = torch.Generator().manual_seed(59)
    tensors = {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value.clone()
        for key, value in network.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors", tensors


# Where timm puts its classifiers: "head", "fc", "head.fc", "classifier".
@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("test_vit", "head"),
        ("test_resnet", "fc"),
        ("resnet10t", "fc"),
        ("test_convnext", "head.fc"),
        ("test_efficientnet", "classifier"),
        ("tresnet_m", "head.fc"),
    ],
)
def test_the_encoder_is_filled_and_the_rest_stays_new(name: str, classifier: str, tmp_path: Path) -> None:
    path, tensors = file_of(name, tmp_path)
    model = model_of(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = load_weights(model, path)
    state = model.state_dict()
    assert report.layout == "timm image model"
    new = {key for key in before if not key.startswith("encoder.")}
    assert set(report.newly_initialised) == new
    assert all(torch.equal(state[key], before[key]) for key in new)
    head = {f"{classifier}.weight", f"{classifier}.bias"}
    assert {each.partition(" ")[0] for each in report.unused} == head
    assert any(each.startswith(f"{classifier}.weight (11, ") for each in report.unused)
    kept = {f"encoder.net.{key}": value for key, value in tensors.items() if key not in head}
    assert set(report.loaded) == set(kept)
    assert all(torch.equal(state[key], value) for key, value in kept.items())
    assert not report.resized


def test_a_file_without_classifier(tmp_path: Path) -> None:
    path, _ = file_of("test_resnet", tmp_path, num_classes=0)
    report = load_weights(model_of("test_resnet"), path)
    assert not report.unused
    assert "head.weight" in report.newly_initialised


def test_an_image_classifier_of_as_many_classes_is_not_taken(tmp_path: Path) -> None:
    """A head of images says nothing of videos, even if timm calls it as we do and its size fits."""
    path, _ = file_of("test_vit", tmp_path, num_classes=13)
    model = model_of("test_vit")
    head = model.head.weight.clone()
    assert sorted(load_weights(model, path).unused) == ["head.bias (13)", "head.weight (13, 64)"]
    assert torch.equal(model.head.weight, head)


def test_positions_of_another_size(tmp_path: Path) -> None:
    path, tensors = file_of("test_vit", tmp_path, img_size=48)
    model = model_of("test_vit", image_size=(32, 64))
    report = load_weights(model, path)
    assert report.resized == ("encoder.net.pos_embed: (1, 10, 64) -> (1, 9, 64)",)
    expected = resize_positions_in_space(tensors["pos_embed"], (3, 3), (2, 4))
    assert torch.equal(model.encoder.get_parameter("net.pos_embed"), expected)


def test_our_own_file_is_ours(tmp_path: Path) -> None:
    theirs = model_of("test_vit")
    save_file(theirs.state_dict(), tmp_path / "own.safetensors")
    model = StamTimm(theirs.config, torch.Generator().manual_seed(3))
    report = load_weights(model, tmp_path / "own.safetensors")
    assert report.layout == "fewframes"
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("file", "encoder", "message"),
    [
        ("test_resnet", "resnet10t", r"timm image model layout\) does not fit this model: .*; and \d+ more"),
        ("test_vit", "test_vit3", r"does not fit this model: .*test_vit|does not fit this model"),
        ("test_convnext", "test_resnet", "unknown layout"),
        ("test_vit", "test_resnet", "which cannot fill a stam_timm network"),
    ],
)
def test_another_models_file(file: str, encoder: str, message: str, tmp_path: Path) -> None:
    path, _ = file_of(file, tmp_path)
    model = model_of(encoder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_damage_is_named(tmp_path: Path) -> None:
    _, tensors = file_of("test_resnet", tmp_path)
    del tensors["layer1.0.conv1.weight"]
    tensors["layer9.weight"] = torch.ones(2, 3)
    save_file(tensors, tmp_path / "damaged.safetensors")
    message = r"encoder\.net\.layer1\.0\.conv1\.weight is missing; layer9\.weight \(2, 3\) is left over"
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(model_of("test_resnet"), tmp_path / "damaged.safetensors")


def test_only_the_network_tells_that_a_file_is_timms(tmp_path: Path) -> None:
    _, tensors = file_of("test_resnet", tmp_path)
    assert layout_of(tensors) is None
    assert layout_of(tensors, model_of("test_resnet")) is LAYOUTS["timm"]
    assert layout_of(tensors, nn.Linear(2, 3)) is None
    assert not timm_encoder.is_layout({}, model_of("test_resnet"))
    assert not timm_encoder.fits(Stam(StamConfig(width=8, depth=1, heads=2, temporal_depth=1)))
    with pytest.raises(InvalidCheckpoint, match="holds an image model, which says nothing of videos"):
        timm_encoder.describe(tensors, {})


@torch.no_grad()
def test_export_is_the_way_back(tmp_path: Path) -> None:
    path, tensors = file_of("test_resnet", tmp_path, num_classes=0)
    model = model_of("test_resnet")
    load_weights(model, path)
    back = timm_encoder.export(model.state_dict(), model.config)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    theirs = timm.create_model("test_resnet", num_classes=0).eval()
    theirs.load_state_dict(back, strict=True)
    frames = torch.rand(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    assert torch.equal(model.embed_frames(frames).flatten(0, 1), theirs(frames.flatten(0, 1)))
