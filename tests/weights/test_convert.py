"""Conversions: a checkpoint to a foreign file and back, what a file says of itself, and what must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fewframes.architectures import ARCHITECTURES, architecture_of, build_from_config
from fewframes.errors import FewframesError, InvalidCheckpoint, UnknownName, UsageError
from fewframes.weights.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from fewframes.weights.convert import convert, describe_weights, import_weights
from fewframes.weights.layouts import LAYOUTS, layout_of
from fewframes.weights.loading import load_weights
from tests.helpers.command import Command
from tests.helpers.tiny_models import tiny_card, tiny_names

# Every layout that can be written, and a model that it has a place for.
WRITTEN = {
    "pytorchvideo": "slowfast_r50_8x8",
    "stam": "stam_16",
    "timesformer_hf": "timesformer_base_k400",
    "timesformer": "timesformer_base_k400",
    "torchvision_video": "r2plus1d_18",
    "tsm": "tsm_r50_8f",
    "videomae_hf": "videomae_base_k400",
    "videomae": "videomae_base_k400",
    "vit": "vit_mean_16",
    "vivit": "vivit_b16x2_factorised_encoder",
    "vivit_hf": "vivit_b16x2",
}


def checkpoint_of(name: str, folder: Path, **changes: Any) -> tuple[Path, nn.Module]:  # noqa: ANN401
    """A checkpoint of a tiny network whose every parameter is random, norms and zero starts included."""
    card = tiny_card(name, **changes)
    model = build_from_config(card.config, torch.Generator().manual_seed(7)).eval()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    labels = tuple(f"action {index}" for index in range(card.config.num_classes))
    info = CheckpointInfo(card.name, card.config, card.sampling, card.preprocess, labels)
    save_checkpoint(folder / "own", model, info)
    return folder / "own", model


# Layouts of image models: they take the frame encoder alone.
PARTLY_WRITTEN = {"timm": ("stam_16_resnet50", "encoder."), "vit": ("stam_16", "encoder.")}


def test_every_layout_that_can_be_written_is_tested() -> None:
    assert {name for name, each in LAYOUTS.items() if hasattr(each, "export")} == {*WRITTEN, *PARTLY_WRITTEN}


@pytest.mark.parametrize("layout", PARTLY_WRITTEN)
def test_an_encoder_alone_there_and_back(layout: str, tmp_path: Path) -> None:
    name, part = PARTLY_WRITTEN[layout]
    own, model = checkpoint_of(name, tmp_path)
    result = convert(own, tmp_path / "image.safetensors", to=layout)
    assert any(f"{layout} has no place for" in note for note in result.notes)
    again = build_from_config(model.config, torch.Generator().manual_seed(13))
    report = load_weights(again, tmp_path / "image.safetensors", new_head=True)
    assert report.layout == LAYOUTS[layout].NAME
    encoder = [key for key in model.state_dict() if key.startswith(part)]
    assert set(report.newly_initialised) == set(model.state_dict()) - set(encoder)
    assert all(torch.equal(model.state_dict()[key], again.state_dict()[key]) for key in encoder)


@pytest.mark.parametrize("layout", WRITTEN)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ""])
def test_there_and_back(layout: str, suffix: str, tmp_path: Path) -> None:
    own, model = checkpoint_of(WRITTEN[layout], tmp_path)
    theirs = tmp_path / f"theirs{suffix}"
    result = convert(own, theirs, to=layout)
    assert (result.source_layout, result.destination_layout) == ("fewframes", LAYOUTS[layout].NAME)
    assert result.num_classes == 7
    again = build_from_config(model.config, torch.Generator().manual_seed(13))
    report = load_weights(again, theirs)
    assert report.layout == LAYOUTS[layout].NAME
    assert not report.newly_initialised
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("layout", WRITTEN)
def test_no_two_layouts_claim_a_file(layout: str, tmp_path: Path) -> None:
    _, model = checkpoint_of(WRITTEN[layout], tmp_path)
    tensors = LAYOUTS[layout].export(model.state_dict(), model.config)  # type: ignore[attr-defined]
    assert [name for name, each in LAYOUTS.items() if each.is_layout(tensors)] == [layout]
    assert layout_of(tensors) is LAYOUTS[layout]


@pytest.mark.parametrize("name", tiny_names())
def test_no_foreign_layout_claims_our_own_files(name: str, tmp_path: Path) -> None:
    """Or, where our names are the source's own, it reads them as they are."""
    own, model = checkpoint_of(name, tmp_path)
    again = build_from_config(model.config, torch.Generator().manual_seed(13))
    (tmp_path / "bare.safetensors").write_bytes((own / "weights.safetensors").read_bytes())
    for source in (own, tmp_path / "bare.safetensors"):
        report = load_weights(again, source)
        assert report.layout == "fewframes"
        assert not report.newly_initialised
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
        again = build_from_config(model.config, torch.Generator().manual_seed(17))


def others(architecture: str) -> list[str]:
    """One model of each other architecture."""
    first = {architecture_of(tiny_card(name).config): name for name in reversed(tiny_names())}
    return [name for family, name in first.items() if family != architecture]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_file_of_one_family_is_refused_by_the_others_with_its_name(architecture: str, tmp_path: Path) -> None:
    name = next(each for each in tiny_names() if architecture_of(tiny_card(each).config) == architecture)
    own, _ = checkpoint_of(name, tmp_path)
    (tmp_path / "bare.safetensors").write_bytes((own / "weights.safetensors").read_bytes())
    for other in others(architecture):
        model = build_from_config(tiny_card(other).config, torch.Generator().manual_seed(19))
        before = {key: value.clone() for key, value in model.state_dict().items()}
        for source in (own, tmp_path / "bare.safetensors"):
            with pytest.raises(InvalidCheckpoint, match=f"holds a {architecture} network of fewframes, which cannot"):
                load_weights(model, source)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("layout", WRITTEN)
def test_a_foreign_file_is_refused_by_the_others_with_its_name(layout: str, tmp_path: Path) -> None:
    own, model = checkpoint_of(WRITTEN[layout], tmp_path)
    theirs = tmp_path / "theirs.safetensors"
    convert(own, theirs, to=layout)
    for other in others(architecture_of(model.config)):
        wrong = build_from_config(tiny_card(other).config, torch.Generator().manual_seed(23))
        if LAYOUTS[layout].fits(wrong):
            continue
        with pytest.raises(InvalidCheckpoint, match="is a file of the layout") as caught:
            load_weights(wrong, theirs)
        assert LAYOUTS[layout].NAME in str(caught.value)


def test_a_foreign_file_becomes_a_checkpoint(tmp_path: Path) -> None:
    """The sizes come from the tensors; only the heads, width / 64 and 8, are the release's rule."""
    own, model = checkpoint_of("stam_16", tmp_path, image_size=24, width=128, heads=2, temporal_heads=8)
    convert(own, tmp_path / "release.pth", to="stam")
    result = convert(tmp_path / "release.pth", tmp_path / "imported")
    assert (result.architecture, result.name, result.source_layout) == ("stam", "stam_4", "STAM release")
    assert any("heads" in note for note in result.notes)
    again, info = load_checkpoint(tmp_path / "imported")
    assert info.config == model.config
    assert info.labels == tuple(f"class {index}" for index in range(7))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_model_that_the_file_does_not_state(tmp_path: Path) -> None:
    own, model = checkpoint_of("stam_16", tmp_path)
    convert(own, tmp_path / "release.pth", to="stam")
    options = {name: getattr(model.config, name) for name in ("num_classes", "num_frames", "image_size", "patch_size")}
    for name in ("width", "depth", "heads", "mlp_ratio", "temporal_depth", "temporal_heads", "temporal_mlp_width"):
        options[name] = getattr(model.config, name)
    network, info, report = import_weights(
        tmp_path / "release.pth", model="stam_16", options=options, labels=[f"name {index}" for index in range(7)]
    )
    assert info.labels[3] == "name 3"
    assert report.layout == "STAM release"
    clip = torch.rand(2, 4, 3, 24, 40)
    assert torch.equal(network(clip), model(clip))


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    own, _ = checkpoint_of("stam_16", tmp_path)
    with pytest.raises(UnknownName, match="unknown layout 'stma'; did you mean 'stam'"):
        convert(own, tmp_path / "x.pth", to="stma")
    (tmp_path / "taken.pth").write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"taken\.pth exists and is not replaced"):
        convert(own, tmp_path / "taken.pth", to="stam")
    assert (tmp_path / "taken.pth").read_bytes() == b"mine"
    with pytest.raises(UsageError, match="is a checkpoint, which states its own model"):
        convert(own, tmp_path / "x", model="stam_16")
    save_file({"a": torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"unknown layout \(tensors such as a\); known: .*STAM release"):
        convert(tmp_path / "odd.safetensors", tmp_path / "x")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["odd.safetensors", "own", "taken.pth"]


def test_a_layout_without_a_place_for_the_network(tmp_path: Path) -> None:
    own, _ = checkpoint_of("vit_mean_16", tmp_path)
    with pytest.raises(FewframesError, match="layout stam"):
        convert(own, tmp_path / "x.pth", to="stam")
    assert [each.name for each in tmp_path.iterdir()] == ["own"]


def test_a_file_that_contradicts_itself(tmp_path: Path) -> None:
    own, _ = checkpoint_of("stam_16", tmp_path)
    convert(own, tmp_path / "release.pth", to="stam")
    tensors = torch.load(tmp_path / "release.pth", weights_only=True)
    tensors = tensors.get("model", tensors)
    del tensors["head.weight"]
    torch.save(tensors, tmp_path / "headless.pth")
    with pytest.raises(InvalidCheckpoint, match="looks like STAM release but cannot be one"):
        describe_weights(tmp_path / "headless.pth")


def test_on_the_command_line(command: Command, tmp_path: Path) -> None:
    own, _ = checkpoint_of("stam_16", tmp_path, image_size=24, width=128, heads=2, temporal_heads=8)
    outcome = command("models", "convert", own, tmp_path / "release.pth", "--to", "stam", "--json")
    assert (outcome.status, outcome.document()["destination_layout"]) == (0, "STAM release")
    (tmp_path / "labels.txt").write_text("".join(f"jump {index}\n" for index in range(7)))
    table = command(
        "models", "convert", tmp_path / "release.pth", tmp_path / "back", "--labels", tmp_path / "labels.txt"
    )
    assert table.status == 0
    assert "source layout" in table.out
    assert "note: " in table.out
    assert json.loads((tmp_path / "back" / "model.json").read_text())["labels"][2] == "jump 2"
    shown = command("models", "show", tmp_path / "back")
    assert "jump 2" in shown.out
    wrong = ("models", "convert", tmp_path / "release.pth", tmp_path / "new")
    command(*wrong, "--labels", "kinetic400").assert_refused(2, "neither an official list")
    command(*wrong, "--options", "depth=3").assert_refused(2, "name the model too")
    command(*wrong, "--labels", "ucf101").assert_refused(2, "101 labels for a model with 7 classes")
