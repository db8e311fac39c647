"""torchvision's networks in our hands: their sizes, refusals, gradients, exports."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.architectures import build_from_config
from fewframes.benchmark import measure_cost
from fewframes.catalog import card_of
from fewframes.errors import UsageError
from fewframes.models.checks import ModelConfig
from fewframes.models.torchvision_cnn import S3dConfig, VideoResnetConfig
from fewframes.models.torchvision_transformer import MvitConfig, Swin3dConfig
from tests.helpers import network_checks as checks
from tests.helpers.shapes import true_shapes

RESNET = VideoResnetConfig(num_classes=7, num_frames=3, image_size=(10, 14), depths=(1, 1, 1, 1))
S3D = S3dConfig(num_classes=7, num_frames=8, image_size=(18, 35))
MVIT = MvitConfig(num_classes=7, num_frames=6, image_size=(32, 64), width=8, heads=2, depths=(1, 2, 1, 1))
SWIN = Swin3dConfig(
    num_classes=7, num_frames=5, image_size=(18, 34), width=12, depths=(2, 2), heads=(2, 3), window=(2, 3, 5)
)
NETWORKS: dict[str, ModelConfig] = {
    "r3d": dataclasses.replace(RESNET, style="r3d"),
    "mc3": dataclasses.replace(RESNET, style="mc3"),
    "r2plus1d": RESNET,
    "r2plus1d_caffe2": dataclasses.replace(RESNET, mid_planes="caffe2", norm_eps=1e-3, norm_momentum=0.9),
    "s3d": S3D,
    "mvit_v1": dataclasses.replace(MVIT, style="v1"),
    "mvit_v2": MVIT,
    "swin3d": SWIN,
}


def model_of(name: str, **changes: Any) -> nn.Module:  # noqa: ANN401
    config = dataclasses.replace(NETWORKS[name], **changes)  # type: ignore[type-var]
    return build_from_config(config, torch.Generator().manual_seed(19)).eval()


def clip_of(name: str) -> Tensor:
    config = NETWORKS[name]
    return torch.rand(2, config.num_frames, 3, *config.image_size, generator=torch.Generator().manual_seed(23))


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        ("r3d", 1, (1, 1)),
        ("mc3", 2, (1, 33)),
        ("r2plus1d", 1, (1, 1)),
        ("s3d", 8, (17, 17)),
        ("s3d", 13, (40, 33)),
        ("mvit_v1", 2, (32, 32)),
        ("mvit_v1", 4, (96, 32)),
        ("mvit_v2", 2, (32, 32)),
        ("mvit_v2", 4, (96, 32)),
        ("swin3d", 1, (1, 1)),
        ("swin3d", 11, (29, 71)),
    ],
)
@torch.no_grad()
def test_sizes_of_clips(name: str, frames: int, size: tuple[int, int]) -> None:
    model = model_of(name, num_frames=frames, image_size=size)
    assert model(torch.rand(2, frames, 3, *size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("frames", "size", "window"),
    [
        (128, (224, 224), (2, 7, 7)),
        (14, (224, 224), (2, 7, 7)),
        (13, (209, 209), (2, 7, 7)),
        (12, (208, 336), (1, 6, 7)),
        (8, (17, 33), (1, 1, 1)),
    ],
)
def test_the_window_of_s3d(frames: int, size: tuple[int, int], window: tuple[int, int, int]) -> None:
    """The published one wherever the map fills it, else the whole map: 12 frames make 1 cell, 208 pixels make 6."""
    with torch.device("meta"):
        model = model_of("s3d", num_frames=frames, image_size=size)
        clip = torch.zeros(1, 3, frames, *size)
        cells = model.network.features(clip).shape[2:]  # type: ignore[union-attr, operator]
    assert model.network.avgpool.kernel_size == window  # type: ignore[union-attr]
    assert window == tuple(min(cell, full) for cell, full in zip(cells, (2, 7, 7), strict=True))


def test_the_channels_between_space_and_time() -> None:
    """Those of the second convolution in the first block of the stages 2, 3 and 4, and of no other."""
    planes = {}
    for name in ("r2plus1d", "r2plus1d_caffe2"):
        network = model_of(name).network
        stages = (network.layer1, network.layer2, network.layer3, network.layer4)
        planes[name] = [stage[0].conv2[0][0].out_channels for stage in stages]  # type: ignore[index, union-attr]
    assert planes == {"r2plus1d": [144, 230, 460, 921], "r2plus1d_caffe2": [144, 288, 576, 1152]}


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        ("r2plus1d_18", 31_505_325, 40.5),
        ("r3d_18", 33_371_472, 40.7),
        ("mc3_18", 11_695_440, 43.3),
        ("r2plus1d_34", 63_697_175, 152.4),
        ("r2plus1d_34_plain", 61_831_661, 150.4),
        ("s3d", 8_320_048, None),
        ("mvit_v1_b", 36_610_672, 70.6),
        ("mvit_v2_s", 34_537_744, 64.2),
        ("swin3d_t", 28_158_070, 87.8),
        ("swin3d_s", 49_816_678, 165.7),
        ("swin3d_b", 88_048_984, 281.3),
        ("swin3d_b_22k", 88_048_984, 281.3),
    ],
)
def test_cost(name: str, parameters: int, gmacs: float | None) -> None:
    """As others print it; that the card counts its network is tested for every card."""
    card = card_of(name)
    assert card.num_parameters == parameters
    assert gmacs is None or card.gmacs == pytest.approx(gmacs, rel=0.003)


def test_cost_of_s3d_as_torchvision_counts_it() -> None:
    """At 16 frames, where its weights were scored at 128."""
    with torch.device("meta"):
        model = build_from_config(S3dConfig(num_frames=16))
    assert measure_cost(model, (16, 3, 224, 224)).macs / 1e9 == pytest.approx(17.979, rel=1e-4)


@pytest.mark.parametrize("name", ["r2plus1d", "s3d", "mvit_v2", "swin3d"])
def test_autocast(name: str) -> None:
    checks.check_autocast(model_of(name), clip_of(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str) -> None:
    """But those of MViT's last block that only the queries of patches use: the class token alone goes on."""
    names = {
        "mvit_v1": ("pool_q.pool.weight",),
        "mvit_v2": ("pool_q.pool.weight", "rel_pos_h", "rel_pos_w", "rel_pos_t"),
    }
    useless = tuple(f"blocks.4.attn.{each}" for each in names.get(name, ()))
    # Two clips of one cell are all that a norm over the batch sees here; dropped paths would leave one.
    options = {"drop_path": 0.0} if name.startswith(("mvit", "swin")) else {}
    size = {"image_size": (64, 96)} if name.startswith("mvit") else {}
    model = model_of(name, **options, **size)
    checks.check_every_parameter_learns(
        model, torch.rand(2, model.config.num_frames, 3, *model.config.image_size), useless=useless
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name: str) -> None:
    checks.check_gradients_without_onednn(model_of(name), clip_of(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_head_names(name: str) -> None:
    model = model_of(name)
    weight, bias = (model.state_dict()[head] for head in model.head_names)  # type: ignore[union-attr]
    assert weight.shape[0] == 7
    assert bias.shape == (7,)


def test_shape_suffixes_tell_the_truth() -> None:
    with true_shapes() as log:
        for name in NETWORKS:
            model_of(name)(clip_of(name))
    files = ("torchvision_cnn.py", "torchvision_transformer.py")
    assert {f"{file}:forward:{value}" for file in files for value in ("clip_BTCHW", "logits_BK")} <= log.checked


@pytest.mark.parametrize("name", NETWORKS)
def test_a_clip_that_does_not_fit(name: str) -> None:
    model, config = model_of(name), NETWORKS[name]
    height, width = config.image_size
    with pytest.raises(UsageError, match=f"clip has 2 frames but the model needs {config.num_frames}; sample with"):
        model(torch.zeros(2, 2, 3, height, width))
    with pytest.raises(UsageError, match=rf"expected \(B, T, 3, {height}, {width}\)"):
        model(torch.zeros(2, config.num_frames, 3, width, height))


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (RESNET, {"num_classes": 0}, "num_classes is 0"),
        (RESNET, {"style": "c3d"}, 'style is \'c3d\'; expected "r3d", "mc3" or "r2plus1d"'),
        (RESNET, {"mid_planes": "more"}, 'mid_planes is \'more\'; expected "plain" or "caffe2"'),
        (RESNET, {"style": "r3d", "mid_planes": "caffe2"}, 'mid_planes is "caffe2"; expected "plain", because style'),
        (RESNET, {"depths": (1, 1, 1)}, "depths is .* expected four whole numbers of at least 1"),
        (RESNET, {"depths": (1, 1, 1, 0)}, "depths is"),
        (RESNET, {"norm_eps": 0.0}, r"norm_eps is 0\.0; expected a number above 0"),
        (RESNET, {"norm_momentum": 1.1}, r"norm_momentum is 1\.1; expected a number above 0 and at most 1"),
        (RESNET, {"image_size": (0, 5)}, "image_size is 0x5"),
        (S3D, {"num_frames": 7}, "num_frames is 7; expected at least 8: below, gradients on a CPU would be wrong"),
        (S3D, {"image_size": (16, 35)}, "image_size is 16x35; expected at least 17 each"),
        (S3D, {"dropout": 1.0}, r"dropout is 1\.0"),
        (MVIT, {"num_frames": 5}, "num_frames is 5; expected a multiple of 2, the frames of a patch"),
        (MVIT, {"image_size": (32, 48)}, "image_size is 32x48; expected height and width, multiples of the coarsest"),
        (MVIT, {"heads": 3}, "width is 8; expected a multiple of heads, 3"),
        (MVIT, {"style": "v3"}, 'style is \'v3\'; expected "v1" or "v2"'),
        (MVIT, {"depths": (1, 2, 1)}, "depths is .* expected 4 whole numbers of at least 1"),
        (MVIT, {"drop_path": 1.0}, r"drop_path is 1\.0"),
        (SWIN, {"heads": (5, 3)}, r"heads is \(5, 3\); expected divisors of the stages' widths, \(12, 24\)"),
        (SWIN, {"heads": (2,)}, r"heads is \(2,\); expected 2 whole numbers of at least 1"),
        (SWIN, {"window": (2, 3)}, r"window is \(2, 3\); expected 3 whole numbers"),
        (SWIN, {"patch_size": (2, 4, 0)}, "patch_size is"),
        (SWIN, {"depths": (1,), "heads": (2,)}, "expected at least 2 blocks in all"),
        (SWIN, {"depths": (), "heads": ()}, "expected at least 2 blocks in all"),
    ],
)
def test_a_config_that_does_not_fit(config: Any, changes: dict[str, Any], message: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(config, **changes)
