"""pytorchvideo's layout: what is one, what it says of its network, and the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.architectures import build_from_config
from fewframes.cards.slowfast import CARDS as SLOWFAST_CARDS
from fewframes.cards.x3d import CARDS as X3D_CARDS
from fewframes.catalog import card_of
from fewframes.errors import InvalidCheckpoint
from fewframes.models.resnet3d import Resnet3dConfig
from fewframes.models.slowfast import SlowFastConfig
from fewframes.models.windows import builder_of
from fewframes.models.x3d import X3dConfig
from fewframes.records import Sampling
from fewframes.weights.adapters import pytorchvideo
from fewframes.weights.checkpoint import CheckpointInfo, save_checkpoint
from fewframes.weights.convert import convert
from fewframes.weights.files import read_tensors
from fewframes.weights.layouts import LAYOUTS, layout_of
from fewframes.weights.loading import load_weights

X3D = X3dConfig(num_classes=7, num_frames=4, image_size=(33, 40), width_factor=0.7, depth_factor=0.3, head_width=11)
SLOWFAST = SlowFastConfig(num_classes=7, num_frames=8, image_size=(33, 40), depths=(1, 1, 2, 1), width=8)
SLOW = Resnet3dConfig(num_classes=7, num_frames=4, image_size=(33, 40), depths=(1, 2, 1, 1), width=4)
TINY: dict[str, X3dConfig | SlowFastConfig | Resnet3dConfig] = {
    "x3d": X3D,
    "slowfast": SLOWFAST,
    "slow": SLOW,
    "i3d": dataclasses.replace(SLOW, style="i3d"),
    "r2plus1d": dataclasses.replace(SLOW, style="r2plus1d"),
}


def model_of(name: str, **changes: Any) -> nn.Module:  # noqa: ANN401
    config = dataclasses.replace(TINY[name], **changes)
    return build_from_config(config, torch.Generator().manual_seed(19)).eval()


def exported(name: str) -> dict[str, Tensor]:
    model = model_of(name)
    return pytorchvideo.export(model.state_dict(), model.config)  # type: ignore[arg-type]


def on_meta(builder: str, **options: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """The tensors of a network of pytorchvideo's hub, without values."""
    module, function = builder.split(".")
    with torch.device("meta"):
        return builder_of(f"pytorchvideo.models.hub.{module}", function)(**options).state_dict()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", TINY)
def test_the_way_there_and_back(name: str) -> None:
    model, theirs = model_of(name), exported(name)
    assert not any(each.startswith("network.") for each in theirs)
    translation = pytorchvideo.translate(theirs, model)
    assert not translation.filled
    ours = model.state_dict()
    assert list(translation.tensors) == list(ours)
    assert all(torch.equal(translation.tensors[each], ours[each]) for each in ours)


@pytest.mark.parametrize("name", TINY)
def test_exactly_one_layout_knows_it(name: str) -> None:
    theirs = exported(name)
    known = [each for each in LAYOUTS if each != "timm" and LAYOUTS[each].is_layout(theirs)]
    assert known == ["pytorchvideo"]
    assert layout_of(model_of(name).state_dict()) is None
    assert pytorchvideo.fits(model_of(name))


def test_what_is_no_such_layout() -> None:
    assert not pytorchvideo.is_layout({})
    assert not pytorchvideo.is_layout({"blocks.0.conv.weight": torch.zeros(4, 3, 1, 7, 7)})
    assert not pytorchvideo.is_layout({"blocks.0.attn.qkv.weight": torch.zeros(9, 3)})
    assert not pytorchvideo.fits(nn.Linear(2, 3))


@pytest.mark.parametrize("name", TINY)
def test_a_file_fills_the_network_that_it_is_of_and_no_other(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file.pyth"
    torch.save({"model_state": exported(name)}, file)
    for other in TINY:
        model = model_of(other)
        if other == name:
            report = load_weights(model, file)
            assert report.layout == "pytorchvideo"
            assert set(report.loaded) == set(model.state_dict())
        else:
            with pytest.raises(InvalidCheckpoint, match="build the model that belongs to it"):
                load_weights(model, file)


def test_other_sizes_are_named(tmp_path: Path) -> None:
    torch.save({"model_state": exported("slow")}, tmp_path / "file.pyth")
    with pytest.raises(InvalidCheckpoint, match=r"network\.blocks\.0\.conv\.weight is \(4, 3, 1, 7, 7\), expected \(8"):
        load_weights(model_of("slow", width=8), tmp_path / "file.pyth")
    with pytest.raises(InvalidCheckpoint, match=r"blocks\.2\.res_blocks\.1\..* is left over"):
        load_weights(model_of("slow", depths=(1, 1, 1, 1)), tmp_path / "file.pyth")


def test_other_classes_leave_the_head_new(tmp_path: Path) -> None:
    torch.save({"model_state": exported("slowfast")}, tmp_path / "file.pyth")
    model = model_of("slowfast", num_classes=5)
    report = load_weights(model, tmp_path / "file.pyth")
    assert report.newly_initialised == ("network.blocks.6.proj.weight", "network.blocks.6.proj.bias")


def test_counters_of_batch_norms_may_be_absent() -> None:
    model = model_of("slow")
    theirs = {name: value for name, value in exported("slow").items() if "num_batches" not in name}
    translation = pytorchvideo.translate(theirs, model)
    assert set(translation.tensors) == set(model.state_dict())
    assert translation.filled
    assert all(name.endswith("num_batches_tracked") for name in translation.filled)


@pytest.mark.parametrize("card", [*X3D_CARDS, *SLOWFAST_CARDS], ids=lambda card: card.name)
def test_a_published_file_describes_its_card(card: Any) -> None:  # noqa: ANN401
    """The three smallest X3D have the same tensors, so M stands for all."""
    with torch.device("meta"):
        tensors = pytorchvideo.export(build_from_config(card.config).state_dict(), card.config)
    described = pytorchvideo.describe(tensors, {})
    small = card.name in ("x3d_xs", "x3d_s", "x3d_m")
    expected = card_of("x3d_m") if small else card
    assert described.name == expected.name
    assert described.config == expected.config
    assert described.sampling == expected.sampling
    assert described.preprocess == expected.preprocess
    assert any("X3D-XS, -S and -M are one network" in note for note in described.notes) == small
    size = f"{expected.config.num_frames} frames of {expected.config.image_size[0]}x{expected.config.image_size[1]}"
    assert f"the file does not state its clips; {size} assumed" in described.notes[-1]


def test_other_classes_are_no_other_network() -> None:
    described = pytorchvideo.describe(on_meta("resnet.i3d_r50", model_num_class=174), {})
    assert described.config == Resnet3dConfig(num_classes=174, style="i3d")
    assert described.name == "i3d_r50_8x8"


def test_a_network_without_a_card() -> None:
    """Its sizes are its own, its clips those of the nearest card."""
    described = pytorchvideo.describe(exported("slowfast"), {})
    assert described.name == ""
    assert described.config == SlowFastConfig(num_classes=7, depths=(1, 1, 2, 1), width=8)
    assert described.sampling == Sampling("clip_linspace", 32, stride=2, stride_fps=30.0)
    assert described.preprocess == card_of("slowfast_r50_8x8").preprocess
    assert "4 assumed, as published" in described.notes[0]


def test_slowfast_4x16() -> None:
    """R50 with connections over 5 frames was published with a slow pathway of 4 frames."""
    tensors = on_meta("slowfast.slowfast_r50")
    with torch.device("meta"):
        model = build_from_config(SlowFastConfig(fusion_kernel=5, frame_ratio=8))
    described = pytorchvideo.describe(pytorchvideo.export(model.state_dict(), model.config), {})  # type: ignore[arg-type]
    assert described.config == SlowFastConfig(fusion_kernel=5, frame_ratio=8)
    assert pytorchvideo.describe(tensors, {}).config == SlowFastConfig()


@pytest.mark.parametrize("builder", ["resnet.c2d_r50", "csn.csn_r101"])
def test_networks_that_cannot_be_built_here(builder: str) -> None:
    tensors = on_meta(builder)
    assert pytorchvideo.is_layout(tensors)
    with pytest.raises(InvalidCheckpoint, match=r"cannot be built here \(C2D, CSN\); Slow, I3D, R\(2\+1\)D can"):
        pytorchvideo.describe(tensors, {})


def test_an_x3d_that_was_never_published() -> None:
    with pytest.raises(InvalidCheckpoint, match=r"stem of 8 channels and stages of \(1, 1, 2, 1\) blocks was never"):
        pytorchvideo.describe(exported("x3d"), {})


def test_a_file_without_a_head() -> None:
    tensors = {name: value for name, value in exported("slow").items() if ".proj." not in name}
    with pytest.raises(InvalidCheckpoint, match="no classifier; use it to start a training"):
        pytorchvideo.describe(tensors, {})


def test_written_as_pytorchvideo_writes_it(tmp_path: Path) -> None:
    """Our checkpoint becomes a file with the key "model_state", which pytorchvideo's own network takes strictly."""
    config = dataclasses.replace(SLOW, depths=(3, 4, 6, 3))
    model = build_from_config(config, torch.Generator().manual_seed(19))
    card = card_of("slow_r50_8x8")
    labels = tuple(f"class {index}" for index in range(7))
    preprocess = dataclasses.replace(card.preprocess, crop=(33, 40), resize_short=40)
    info = CheckpointInfo("slow_r50_8x8", config, dataclasses.replace(card.sampling, num_frames=4), preprocess, labels)
    save_checkpoint(tmp_path / "ours", model, info)
    convert(tmp_path / "ours", tmp_path / "slow.pyth", to="pytorchvideo")
    saved = torch.load(tmp_path / "slow.pyth", weights_only=True)
    assert list(saved) == ["model_state"]
    theirs = builder_of("pytorchvideo.models.hub.resnet", "slow_r50")(model_num_class=7, stem_dim_out=4)
    theirs.load_state_dict(saved["model_state"], strict=True)
    assert set(read_tensors(tmp_path / "slow.pyth")) == set(theirs.state_dict())
