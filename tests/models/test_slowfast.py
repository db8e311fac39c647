"""SlowFast, Slow, I3D and R(2+1)D with bottlenecks: their frames, refusals, gradients, exports."""

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
from fewframes.models.resnet3d import Resnet3d, Resnet3dConfig, base_depth
from fewframes.models.slowfast import SlowFast, SlowFastConfig, slow_frames
from tests.helpers import network_checks as checks
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import BY_HAND, assert_close, difference

# T=12 (3 of them slow), H=48, W=80 (a map of 2 x 3 cells), windows of 1 x 2 cells, K=7.
SLOWFAST = SlowFastConfig(
    num_classes=7, num_frames=12, image_size=(48, 80), window=(32, 64), depths=(1, 1, 2, 1), width=16
)
RESNET = Resnet3dConfig(num_classes=7, num_frames=5, image_size=(48, 80), window=(32, 64), depths=(1, 2, 1, 2), width=4)
NETWORKS: dict[str, SlowFastConfig | Resnet3dConfig] = {
    "slowfast": SLOWFAST,
    "slow": RESNET,
    "i3d": dataclasses.replace(RESNET, style="i3d"),
    "r2plus1d": dataclasses.replace(RESNET, style="r2plus1d"),
}


def model_of(name: str, **changes: Any) -> nn.Module:  # noqa: ANN401
    config = dataclasses.replace(NETWORKS[name], **changes)
    return build_from_config(config, torch.Generator().manual_seed(19)).eval()


def clip_of(name: str) -> Tensor:
    return torch.rand(2, NETWORKS[name].num_frames, 3, 48, 80, generator=torch.Generator().manual_seed(23))


def test_the_frames_of_the_slow_pathway() -> None:
    """From the first to the last, not every fourth."""
    assert slow_frames(32, 4) == [0, 4, 8, 13, 17, 22, 26, 31]
    assert slow_frames(12, 4) == [0, 5, 11]
    assert slow_frames(8, 8) == [0]
    assert slow_frames(5, 1) == [0, 1, 2, 3, 4]
    with torch.device("meta"):
        assert slow_frames(32, 8) == [0, 10, 20, 31]


@torch.no_grad()
def test_each_pathway_sees_its_frames() -> None:
    """The slow one 0, 5 and 11 of 12, the fast one all, and the caller's clip stays as it was."""
    model, clip = model_of("slowfast"), clip_of("slowfast")
    before, seen = clip.clone(), []
    for stem in model.network.blocks[0].multipathway_blocks:  # type: ignore[index, union-attr]
        stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    model(clip)
    assert torch.equal(seen[0], clip[:, [0, 5, 11]].transpose(1, 2))
    assert torch.equal(seen[1], clip.transpose(1, 2))
    assert torch.equal(clip, before)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_windows(name: str) -> None:
    """2 x 2 windows give log-probabilities; one window gives logits."""
    clip = clip_of(name)
    logits, whole = model_of(name)(clip), model_of(name, window=None)(clip)
    assert_close(logits.exp().sum(1), torch.ones(2), BY_HAND)
    assert difference(whole.exp().sum(1), torch.ones(2)) > 0.1
    assert difference(logits, whole.log_softmax(1)) > 1e-6
    assert torch.equal(model_of(name, window=(224, 224))(clip), whole)


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        ("slowfast", 4, (1, 1)),
        ("slowfast", 64, (33, 20)),
        ("slow", 1, (1, 1)),
        ("slow", 11, (33, 65)),
        ("i3d", 2, (1, 1)),
        ("i3d", 11, (33, 65)),
        ("r2plus1d", 1, (1, 1)),
        ("r2plus1d", 11, (33, 65)),
    ],
)
@torch.no_grad()
def test_any_size_of_clip(name: str, frames: int, size: tuple[int, int]) -> None:
    """The originals refuse less than their own frames and pixels."""
    model = model_of(name, num_frames=frames, image_size=size)
    assert model(torch.rand(2, frames, 3, *size)).shape == (2, 7)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_heads_look_across_all_of_time(name: str) -> None:
    """Every frame that a pathway sees changes the logits, at an even and at an odd number."""
    for frames in (8, 12):
        model = model_of(name, num_frames=frames, window=None)
        for parameter in model.parameters():  # the last norms of residual branches start at 0
            parameter.add_(0.1)
        clip = torch.rand(1, frames, 3, 48, 80, generator=torch.Generator().manual_seed(3))
        logits = model(clip)
        for frame in range(frames):
            changed = clip.clone()
            changed[:, frame] = 0
            assert difference(model(changed), logits) > 0


@pytest.mark.parametrize(
    ("depths", "base"), [((1, 1, 1, 1), 50), ((3, 4, 6, 3), 50), ((3, 4, 7, 3), 101), ((3, 5, 6, 3), 152)]
)
def test_blocks_are_cut_out_of_the_smallest_network(depths: tuple[int, int, int, int], base: int) -> None:
    assert base_depth(depths)[0] == base
    with torch.device("meta"):
        slow = Resnet3d(dataclasses.replace(RESNET, depths=depths))
        both = SlowFast(dataclasses.replace(SLOWFAST, depths=depths))
    assert tuple(len(stage.res_blocks) for stage in slow.network.blocks[1:5]) == depths
    for pathway in (0, 1):
        stages = [block.multipathway_blocks[pathway] for block in both.network.blocks[1:5]]
        assert tuple(len(stage.res_blocks) for stage in stages) == depths


def test_blocks_that_look_across_time() -> None:
    with torch.device("meta"):
        model = SlowFast(dataclasses.replace(SLOWFAST, depths=(3, 4, 23, 3), res4_time_blocks=6))
    for pathway in (0, 1):
        blocks = model.network.blocks[3].multipathway_blocks[pathway].res_blocks
        assert [block.branch2.conv_a.kernel_size[0] for block in blocks] == [3] * 6 + [1] * 17


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        ("slowfast_r50_8x8", 34_566_488, 65.71),
        ("slowfast_r101_8x8", 62_826_968, 125.9),
        ("slowfast_r101_16x8", 53_774_808, 213.0),
        ("slow_r50_8x8", 32_454_096, 54.5),
        ("i3d_r50_8x8", 28_043_472, 37.1),
        ("r2plus1d_r50_16x4", 28_107_600, 75.1),
    ],
)
def test_cost(name: str, parameters: int, gmacs: float) -> None:
    """As others print it; that the card counts its network is tested for every card."""
    card = card_of(name)
    assert card.num_parameters == parameters
    assert card.gmacs == pytest.approx(gmacs, rel=0.002)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_no_clips_no_logits(name: str) -> None:
    assert model_of(name)(clip_of(name)[:0]).shape == (0, 7)


def test_cost_at_the_crop_of_the_training() -> None:
    with torch.device("meta"):
        model = SlowFast(SlowFastConfig(image_size=(224, 224)))
    assert measure_cost(model, (32, 3, 224, 224)).macs / 1e9 == pytest.approx(50.3, rel=0.001)


@pytest.mark.parametrize("name", NETWORKS)
def test_autocast(name: str) -> None:
    checks.check_autocast(model_of(name), clip_of(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str) -> None:
    checks.check_every_parameter_learns(model_of(name), clip_of(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients(name: str) -> None:
    checks.check_gradients_without_onednn(model_of(name), clip_of(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_head_names(name: str) -> None:
    model = model_of(name)
    state = model.state_dict()
    weight, bias = (state[head] for head in model.head_names)  # type: ignore[union-attr]
    assert weight.shape[0] == 7
    assert bias.shape == (7,)


def test_shape_suffixes_tell_the_truth() -> None:
    with true_shapes() as log:
        for name in NETWORKS:
            model_of(name)(clip_of(name))
    assert {
        "slowfast.py:forward:clip_BTCHW",
        "resnet3d.py:forward:clip_BTCHW",
    } <= log.checked


@pytest.mark.parametrize("name", NETWORKS)
def test_a_clip_that_does_not_fit(name: str) -> None:
    model, frames = model_of(name), NETWORKS[name].num_frames
    with pytest.raises(UsageError, match=f"clip has 3 frames but the model needs {frames}; sample with"):
        model(torch.zeros(2, 3, 3, 48, 80))
    with pytest.raises(UsageError, match=r"expected \(B, T, 3, 48, 80\)"):
        model(torch.zeros(2, frames, 3, 80, 48))
    with pytest.raises(UsageError, match="uint8"):
        model(torch.zeros(2, frames, 3, 48, 80, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        *[
            (SLOWFAST, {name: 0}, f"{name} is 0; expected a whole number")
            for name in ("num_classes", "num_frames", "frame_ratio", "width", "fusion_kernel", "res4_time_blocks")
        ],
        (SLOWFAST, {"num_frames": 13}, "num_frames is 13; expected a multiple of 4"),
        (SLOWFAST, {"width": 12}, "width is 12; expected a multiple of 8"),
        (SLOWFAST, {"fusion_kernel": 4}, "fusion_kernel is 4; expected an odd number"),
        (SLOWFAST, {"depths": (3, 4, 6)}, "depths is .* expected four whole numbers of at least 1 and at most"),
        (SLOWFAST, {"depths": (3, 4, 37, 3)}, "depths is"),
        (SLOWFAST, {"window": (0, 5)}, "window is 0x5"),
        (RESNET, {"depths": (0, 4, 6, 3)}, "depths is"),
        (RESNET, {"depths": (True, 4, 6, 3)}, "depths is"),
        (RESNET, {"style": "c2d"}, 'style is \'c2d\'; expected "slow", "i3d" or "r2plus1d"'),
        (RESNET, {"style": "i3d", "num_frames": 1}, "num_frames is 1; expected at least 2"),
        (RESNET, {"dropout": -0.1}, r"dropout is -0\.1"),
        (RESNET, {"image_size": (48,)}, "image_size is 48; expected height and width"),
    ],
)
def test_a_config_that_does_not_fit(config: Any, changes: dict[str, Any], message: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(config, **changes)
