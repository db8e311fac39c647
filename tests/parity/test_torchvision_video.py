"""The networks of torchvision against torchvision's own; and wrong ones, which must not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models.video as theirs
from torch import Tensor, nn
from torchvision.models.video import mvit, resnet
from torchvision.transforms import InterpolationMode

from fewframes.architectures import build_from_config
from fewframes.cards.torchvision_video import CARDS
from fewframes.catalog import card_of
from fewframes.classes import official_labels
from fewframes.models.torchvision_cnn import S3d
from fewframes.models.torchvision_transformer import Swin3d
from fewframes.weights.convert import describe_weights
from fewframes.weights.loading import load_weights
from tests.helpers.scramble import scramble
from tests.helpers.tolerance import MISTAKE, REGROUPED, assert_close, difference

# By the catalogue's names: torchvision's function, its weights, and a clip that is quick (frames, height, width).
# S3D's pool needs one of nearly the published height and width, and looks here through two windows in time.
ORIGINALS: dict[str, tuple[Callable[..., nn.Module], Any, tuple[int, int, int]]] = {
    "r2plus1d_18": (theirs.r2plus1d_18, theirs.R2Plus1D_18_Weights.KINETICS400_V1, (5, 26, 38)),
    "r3d_18": (theirs.r3d_18, theirs.R3D_18_Weights.KINETICS400_V1, (5, 26, 38)),
    "mc3_18": (theirs.mc3_18, theirs.MC3_18_Weights.KINETICS400_V1, (5, 26, 38)),
    "s3d": (theirs.s3d, theirs.S3D_Weights.KINETICS400_V1, (22, 209, 212)),
    "mvit_v1_b": (theirs.mvit_v1_b, theirs.MViT_V1_B_Weights.KINETICS400_V1, (6, 32, 64)),
    "mvit_v2_s": (theirs.mvit_v2_s, theirs.MViT_V2_S_Weights.KINETICS400_V1, (6, 32, 64)),
    "swin3d_t": (theirs.swin3d_t, theirs.Swin3D_T_Weights.KINETICS400_V1, (6, 36, 68)),
    "swin3d_s": (theirs.swin3d_s, theirs.Swin3D_S_Weights.KINETICS400_V1, (6, 36, 68)),
    "swin3d_b": (theirs.swin3d_b, theirs.Swin3D_B_Weights.KINETICS400_V1, (6, 36, 68)),
    "swin3d_b_22k": (theirs.swin3d_b, theirs.Swin3D_B_Weights.KINETICS400_IMAGENET22K_V1, (6, 36, 68)),
}
# S and B of Swin3D are T with more and wider blocks, which shows in their tensors.
COMPUTED = ["r2plus1d_18", "r3d_18", "mc3_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t"]


def mvit_arguments(function: Callable[..., nn.Module]) -> dict[str, Any]:
    """What torchvision's function gives the class that it builds; it has no other size to ask for."""
    caught: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mvit, "MViT", lambda **arguments: caught.update(arguments))
        function()
    return caught


def original_of(name: str, **options: Any) -> nn.Module:  # noqa: ANN401
    function, _, (frames, height, width) = ORIGINALS[name]
    if not name.startswith("mvit"):
        return function(**options)
    size = {"spatial_size": (height, width), "temporal_size": frames}
    return theirs.MViT(**{**mvit_arguments(function), **size, **options})


@cache
def reference(name: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Random weights in torchvision's names, a clip, and torchvision's logits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = original_of(name, num_classes=11)
        frames, height, width = ORIGINALS[name][2]
        clip = torch.randn(1, 3, frames, 3, height, width)[0, :1]
        scramble(network, 5, torch.randn(1, 3, frames, height, width))
    with torch.no_grad():
        return network.state_dict(), clip, network(clip.transpose(1, 2))


def our_network(name: str, folder: Path) -> nn.Module:
    """Ours with the original's weights, through a file as it is published."""
    state, clip, _ = reference(name)
    torch.save(state, folder / "published.pth")
    config = replace(card_of(name).config, num_classes=11, num_frames=clip.shape[1], image_size=tuple(clip.shape[3:]))
    network = build_from_config(config)
    report = load_weights(network, folder / "published.pth")
    assert report.layout == "torchvision (video)"
    assert not report.newly_initialised
    assert not report.unused
    return network.eval()


@pytest.mark.parametrize("name", COMPUTED)
@torch.no_grad()
def test_parity(name: str, tmp_path: Path) -> None:
    _, clip, expected = reference(name)
    assert float(expected.std()) > 0.1, "a network that says nothing proves nothing"
    assert_close(our_network(name, tmp_path)(clip), expected, REGROUPED)


@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s"])
def test_mvit_has_the_blocks_of_the_original(name: str) -> None:
    """Ours are made from a rule, theirs are a list; every argument must be the same."""
    expected = mvit_arguments(ORIGINALS[name][0])
    with pytest.MonkeyPatch.context() as patch:
        caught: dict[str, Any] = {}

        class Caught(nn.Module):
            def __init__(self, **arguments: Any) -> None:  # noqa: ANN401
                super().__init__()
                caught.update(arguments)

        patch.setattr(theirs, "MViT", Caught)
        build_from_config(card_of(name).config)
    assert caught.pop("num_classes") == 400
    assert caught.pop("dropout") == 0.5
    assert caught == {"residual_with_cls_embed": False, **expected}


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_card_tells_what_torchvision_tells(name: str) -> None:
    function, weights, _ = ORIGINALS[name]
    card = card_of(name)
    preset = weights.transforms()
    size = card.preprocess.resize_to or (card.preprocess.resize_short,)
    assert card.weights_url == weights.url
    assert card.preprocess.crop == tuple(preset.crop_size)
    assert size == tuple(preset.resize_size)
    assert card.preprocess.mean == tuple(preset.mean)
    assert card.preprocess.std == tuple(preset.std)
    assert card.preprocess.interpolation == "bilinear"
    assert preset.interpolation == InterpolationMode.BILINEAR
    assert not card.preprocess.antialias, "torchvision's presets state antialias=False inside"
    assert card.num_parameters == weights.meta["num_params"]
    assert [each.percent for each in card.published] == list(weights.meta["_metrics"]["Kinetics-400"].values())
    assert official_labels(card.labels) == tuple(weights.meta["categories"])
    protocol = dict(part.strip("`.").split("=") for part in weights.meta["_docs"].split() if "=" in part.strip("`.,"))
    assert protocol.pop("frame_rate").rstrip("`,") == f"{card.sampling.stride_fps:g}"
    assert protocol.pop("clips_per_video").rstrip("`,") == str(card.views[0])
    assert protocol.pop("clip_len").rstrip("`,") == str(card.sampling.num_frames)
    with torch.device("meta"):
        ours = {key: value.shape for key, value in build_from_config(card.config).state_dict().items()}
        expected = {f"network.{key}": value.shape for key, value in function().state_dict().items()}
    assert ours == expected


def test_every_card_was_compared() -> None:
    assert {card.name for card in CARDS} == {*ORIGINALS, "r2plus1d_34", "r2plus1d_34_plain"}


@torch.no_grad()
def test_the_34_layers_of_ig65m(tmp_path: Path) -> None:
    """Against the recipe that made the published file: torchvision's blocks, three of them replaced, another eps."""
    original = resnet.VideoResNet(
        resnet.BasicBlock, [resnet.Conv2Plus1D] * 4, [3, 4, 6, 3], resnet.R2Plus1dStem, num_classes=11
    )
    original.layer2[0].conv2[0] = resnet.Conv2Plus1D(128, 128, 288)
    original.layer3[0].conv2[0] = resnet.Conv2Plus1D(256, 256, 576)
    original.layer4[0].conv2[0] = resnet.Conv2Plus1D(512, 512, 1152)
    for module in original.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps, module.momentum = 1e-3, 0.9
    clip = torch.randn(1, 5, 3, 18, 34, generator=torch.Generator().manual_seed(7))
    scramble(original, 5, clip.transpose(1, 2))
    torch.save(original.state_dict(), tmp_path / "r2plus1d_34.pth")
    _, described = describe_weights(tmp_path / "r2plus1d_34.pth")
    assert described.config == replace(card_of("r2plus1d_34").config, num_classes=11)
    network = build_from_config(replace(described.config, num_frames=5, image_size=(18, 34)))
    load_weights(network, tmp_path / "r2plus1d_34.pth")
    assert {module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm3d)} == {0.9}
    assert_close(network.eval()(clip), original(clip.transpose(1, 2)), REGROUPED)


def blue_first(_: nn.Module, clip: Tensor) -> Tensor:
    return clip.flip(2)


def backwards(_: nn.Module, clip: Tensor) -> Tensor:
    return clip.flip(1)


def another_eps(network: nn.Module, clip: Tensor) -> Tensor:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d | nn.LayerNorm):
            module.eps = 1e-2
    return clip


def another_mode(network: nn.Module, clip: Tensor) -> Tensor:
    torch.manual_seed(1)
    network.train()
    return clip


def pooled_over_everything(network: nn.Module, clip: Tensor) -> Tensor:
    assert isinstance(network, S3d)
    network.network.avgpool = nn.AdaptiveAvgPool3d(1)
    return clip


def never_shifted(network: nn.Module, clip: Tensor) -> Tensor:
    assert isinstance(network, Swin3d)
    for module in network.modules():
        if hasattr(module, "shift_size"):
            module.shift_size = [0, 0, 0]
    return clip


def no_residual_queries(network: nn.Module, clip: Tensor) -> Tensor:
    for module in network.modules():
        if hasattr(module, "residual_pool"):
            module.residual_pool = False
    return clip


SHARED = [blue_first, backwards, another_eps, another_mode]
TWINS = [
    *[(name, twin) for name in ("r2plus1d_18", "mvit_v2_s", "swin3d_t") for twin in SHARED],
    ("s3d", pooled_over_everything),
    ("swin3d_t", never_shifted),
    ("mvit_v2_s", no_residual_queries),
]


@pytest.mark.parametrize(("name", "twin"), TWINS)
@torch.no_grad()
def test_a_wrong_network_fails_parity(name: str, twin: Callable[[nn.Module, Tensor], Tensor], tmp_path: Path) -> None:
    _, clip, expected = reference(name)
    network = our_network(name, tmp_path)
    assert difference(network(twin(network, clip)), expected) > MISTAKE
