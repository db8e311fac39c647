"""torchvision's layout of video networks: what is one, what it says of its network, and the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as images
import torchvision.models.video as videos
from torch import Tensor, nn

from fewframes.architectures import build_from_config
from fewframes.cards.torchvision_video import CARDS
from fewframes.catalog import card_of
from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.torchvision_cnn import S3dConfig, VideoResnetConfig
from fewframes.models.torchvision_transformer import MvitConfig, Swin3dConfig
from fewframes.records import Sampling
from fewframes.weights.adapters import torchvision_video
from fewframes.weights.layouts import LAYOUTS, layout_of
from fewframes.weights.loading import load_weights

RESNET = VideoResnetConfig(num_classes=7, num_frames=3, image_size=(10, 14), depths=(1, 1, 1, 1))
MVIT = MvitConfig(num_classes=7, num_frames=6, image_size=(64, 64), width=8, heads=2, depths=(1, 2, 1, 1))
TINY: dict[str, ModelConfig] = {
    "r3d": dataclasses.replace(RESNET, style="r3d"),
    "mc3": dataclasses.replace(RESNET, style="mc3"),
    "r2plus1d": RESNET,
    "s3d": S3dConfig(num_classes=7, num_frames=8, image_size=(18, 35)),
    "mvit_v1": dataclasses.replace(MVIT, style="v1"),
    "mvit_v2": MVIT,
    "swin3d": Swin3dConfig(
        num_classes=7,
        num_frames=5,
        image_size=(18, 34),
        width=12,
        depths=(2, 2),
        heads=(2, 3),
        window=(2, 3, 3),
        patch_size=(1, 2, 3),
    ),
}


def model_of(name: str, **changes: Any) -> nn.Module:  # noqa: ANN401
    config = dataclasses.replace(TINY[name], **changes)  # type: ignore[type-var]
    return build_from_config(config, torch.Generator().manual_seed(19)).eval()


def exported(name: str) -> dict[str, Tensor]:
    return torchvision_video.export(model_of(name).state_dict(), TINY[name])


@pytest.mark.parametrize("name", TINY)
def test_the_way_there_and_back(name: str) -> None:
    model, theirs = model_of(name), exported(name)
    translation = torchvision_video.translate(theirs, model)
    assert not translation.filled
    ours = model.state_dict()
    assert list(translation.tensors) == list(ours)
    assert all(torch.equal(translation.tensors[each], ours[each]) for each in ours)


@pytest.mark.parametrize("name", TINY)
def test_exactly_one_layout_knows_it(name: str) -> None:
    theirs = exported(name)
    known = [each for each in LAYOUTS if each != "timm" and LAYOUTS[each].is_layout(theirs)]
    assert known == ["torchvision_video"]
    assert layout_of(model_of(name).state_dict()) is None
    assert torchvision_video.fits(model_of(name))


@pytest.mark.parametrize(
    "builder", [images.resnet18, images.swin_t, images.googlenet, images.vit_b_16, images.mobilenet_v3_small]
)
def test_image_networks_are_no_video_networks(builder: Any) -> None:  # noqa: ANN401
    with torch.device("meta"):
        options = {"init_weights": False} if builder is images.googlenet else {}
        tensors = builder(**options).state_dict()
    assert not torchvision_video.is_layout(tensors)
    assert not torchvision_video.fits(nn.Linear(2, 3))


@pytest.mark.parametrize("name", ["r2plus1d", "s3d", "mvit_v2", "swin3d"])
def test_a_file_fills_the_network_that_it_is_of_and_no_other(name: str, tmp_path: Path) -> None:
    torch.save(exported(name), tmp_path / "file.pth")
    for other in ("r2plus1d", "s3d", "mvit_v2", "swin3d"):
        model = model_of(other)
        if other == name:
            assert load_weights(model, tmp_path / "file.pth").layout == "torchvision (video)"
        else:
            with pytest.raises(InvalidCheckpoint, match="build the model that belongs to it"):
                load_weights(model, tmp_path / "file.pth")


@pytest.mark.parametrize("name", ["r3d", "s3d", "mvit_v1", "swin3d"])
def test_other_classes_leave_the_head_new(name: str, tmp_path: Path) -> None:
    torch.save(exported(name), tmp_path / "file.pth")
    model = model_of(name, num_classes=5)
    report = load_weights(model, tmp_path / "file.pth")
    assert report.newly_initialised == model.head_names


def test_positions_of_another_size_are_named(tmp_path: Path) -> None:
    """torchvision has no rule for other sizes of clips, so none is made up."""
    torch.save(exported("mvit_v1"), tmp_path / "file.pth")
    with pytest.raises(
        InvalidCheckpoint, match=r"spatial_pos is \(256, 8\), expected \(64, 8\).*with the file's sizes"
    ):
        load_weights(model_of("mvit_v1", image_size=(32, 32)), tmp_path / "file.pth")


def test_counters_of_batch_norms_may_be_absent() -> None:
    model = model_of("r2plus1d")
    theirs = {name: value for name, value in exported("r2plus1d").items() if "num_batches" not in name}
    translation = torchvision_video.translate(theirs, model)
    assert set(translation.tensors) == set(model.state_dict())
    assert all(name.endswith("num_batches_tracked") for name in translation.filled)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_a_published_file_describes_its_card(card: Any) -> None:  # noqa: ANN401
    with torch.device("meta"):
        tensors = torchvision_video.export(build_from_config(card.config).state_dict(), card.config)
    described = torchvision_video.describe(tensors, {})
    assert described.name == ("swin3d_b" if card.name == "swin3d_b_22k" else card.name)
    assert described.config == card.config
    assert described.sampling == card.sampling
    assert described.preprocess == card.preprocess
    assert described.labels is None
    assert any("Caffe2" in note for note in described.notes) == (card.name == "r2plus1d_34")


@pytest.mark.parametrize("name", TINY)
def test_a_network_without_a_card(name: str) -> None:
    """Whatever shapes can say is as it was; a CNN's clips are those of the nearest card."""
    described = torchvision_video.describe(exported(name), {})
    config = TINY[name]
    published: dict[str, Any] = {}
    if isinstance(config, VideoResnetConfig):
        published = {"num_frames": 16, "image_size": (112, 112)}
    elif isinstance(config, S3dConfig):
        published = {"num_frames": 128, "image_size": (224, 224)}
    elif isinstance(config, Swin3dConfig):
        published = {"num_frames": 32, "image_size": (224, 224)}
    assert described.config == dataclasses.replace(config, **published)  # type: ignore[type-var]
    assert described.name == ("s3d" if name == "s3d" else "")


def test_classes_of_ig65m() -> None:
    """The 32-frame file without fine-tuning has 487 classes."""
    config = dataclasses.replace(card_of("r2plus1d_34").config, num_classes=487)  # type: ignore[type-var]
    with torch.device("meta"):
        tensors = torchvision_video.export(build_from_config(config).state_dict(), config)
    described = torchvision_video.describe(tensors, {})
    assert described.config == config
    assert described.name == "r2plus1d_34"
    assert described.sampling == Sampling("clip", 32, stride=1)


def test_a_file_without_a_head() -> None:
    for name, head in (("r3d", "fc."), ("s3d", "classifier."), ("mvit_v2", "head."), ("swin3d", "head.")):
        tensors = {key: value for key, value in exported(name).items() if not key.startswith(head)}
        with pytest.raises(InvalidCheckpoint, match="no classifier; use it to start a training"):
            torchvision_video.describe(tensors, {})


def test_tensors_that_contradict_each_other() -> None:
    mixed = {**exported("r3d"), "stem.0.weight": exported("r2plus1d")["stem.0.weight"]}
    with pytest.raises(InvalidCheckpoint, match=r'the stem is \(45, 3, 1, 7, 7\), but the blocks .* style "r3d"'):
        torchvision_video.describe(mixed, {})
    table = "features.0.0.attn.relative_position_bias_table"
    swin = {**exported("swin3d"), table: torch.zeros(74, 2)}
    with pytest.raises(InvalidCheckpoint, match="no window of 18 cells with a square side has a table of 74 rows"):
        torchvision_video.describe(swin, {})


@pytest.mark.parametrize("builder", [videos.r3d_18, videos.s3d, videos.swin3d_t])
def test_torchvision_takes_what_is_written(builder: Any) -> None:  # noqa: ANN401
    config = card_of(builder.__name__).config
    with torch.device("meta"):
        tensors = torchvision_video.export(build_from_config(config).state_dict(), config)
        builder().load_state_dict(tensors, strict=True, assign=True)
