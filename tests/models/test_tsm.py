"""TSM: golden shifts, a reference written frame by frame, streams, gradients, sizes, refusals."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet, resnet50

from fewframes.errors import UsageError
from fewframes.models.tsm import Tsm, TsmConfig, shift_frames, shifted_blocks
from tests.helpers.golden import GOLDEN
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

# Every size differs from every other: B=2, T=5, H=37, W=53, K=13; the stem has 11 channels, so that a fold is 1 of 11
# there, and 5 or 11 of 44 or 88 later on.
CONFIG = TsmConfig(num_classes=13, num_frames=5, image_size=(37, 53), blocks=(1, 2, 3, 1), width=11)
FOLDER = GOLDEN / "tsm_shift_a"


def model_of(**changes: Any) -> Tsm:  # noqa: ANN401
    return Tsm(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(19)).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 5, 3, 37, 53, generator=torch.Generator().manual_seed(23))


def golden_cases() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))
    return cases


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: str(case["case"]))
def test_the_golden_shifts(case: dict[str, Any]) -> None:
    arrays = load_file(FOLDER / "arrays.safetensors")
    given, expected = (arrays[f"case{case['case']}/{which}"] for which in ("input", "output"))
    assert torch.equal(shift_frames(given, case["num_segments"], folds=case["shift_div"]), expected)


def wrong_way(given: Tensor, case: dict[str, Any]) -> Tensor:
    frames, fold = case["num_segments"], case["fold"]
    swapped = torch.cat([given[:, fold : 2 * fold], given[:, :fold], given[:, 2 * fold :]], dim=1)
    shifted = shift_frames(swapped, frames, folds=case["shift_div"])
    return torch.cat([shifted[:, fold : 2 * fold], shifted[:, :fold], shifted[:, 2 * fold :]], dim=1)


def one_long_clip(given: Tensor, case: dict[str, Any]) -> Tensor:
    return shift_frames(given, given.shape[0], folds=case["shift_div"])


def round_the_clip(given: Tensor, case: dict[str, Any]) -> Tensor:
    frames, fold = case["num_segments"], case["fold"]
    out = given.unflatten(0, (-1, frames)).clone()
    out[:, :, :fold] = out[:, :, :fold].roll(-1, dims=1)
    out[:, :, fold : 2 * fold] = out[:, :, fold : 2 * fold].roll(1, dims=1)
    return out.flatten(0, 1)


def past_only(given: Tensor, case: dict[str, Any]) -> Tensor:
    return shift_frames(given, case["num_segments"], folds=case["shift_div"], direction="past")


@pytest.mark.parametrize("twin", [wrong_way, one_long_clip, round_the_clip, past_only])
def test_a_wrong_shift_is_not_golden(twin: Callable[[Tensor, dict[str, Any]], Tensor]) -> None:
    case = golden_cases()[0]
    arrays = load_file(FOLDER / "arrays.safetensors")
    assert difference(twin(arrays["case0/input"], case), arrays["case0/output"]) > MISTAKE


def test_the_shift_by_hand() -> None:
    """Two clips of three frames with four channels of one pixel; a fold is one channel."""
    frames = torch.arange(24.0).view(6, 4, 1, 1)
    both = [[4, 0, 2, 3], [8, 1, 6, 7], [0, 5, 10, 11], [16, 0, 14, 15], [20, 13, 18, 19], [0, 17, 22, 23]]
    past = [[0, 1, 2, 3], [0, 5, 6, 7], [4, 9, 10, 11], [0, 13, 14, 15], [12, 17, 18, 19], [16, 21, 22, 23]]
    assert shift_frames(frames, 3, folds=4).flatten(1).tolist() == both
    assert shift_frames(frames, 3, folds=4, direction="past").flatten(1).tolist() == past


def reference(net: ResNet, head: nn.Linear, clip: Tensor, shifted: tuple[range, ...], direction: str) -> Tensor:
    """TSM written out: frame by frame, each block's branch over a list of frames, channels moved one by one."""
    logits = []
    for video in clip:
        frames = [net.maxpool(net.relu(net.bn1(net.conv1(frame[None])))) for frame in video]
        for stage, places in zip((net.layer1, net.layer2, net.layer3, net.layer4), shifted, strict=True):
            for index, block in enumerate(stage):
                branch = [frame.clone() for frame in frames]
                if index in places:
                    fold = frames[0].shape[1] // 8
                    for t in range(len(frames)):
                        for c in range(2 * fold if direction == "both" else fold):
                            source = t + 1 if direction == "both" and c < fold else t - 1
                            inside = 0 <= source < len(frames)
                            branch[t][:, c] = frames[source][:, c] if inside else 0.0
                frames = [residual(block, own, moved) for own, moved in zip(frames, branch, strict=True)]
        features = torch.cat([frame.mean((2, 3)) for frame in frames])
        logits.append(head(features).mean(0))
    return torch.stack(logits)


def residual(block: Any, own: Tensor, moved: Tensor) -> Tensor:  # noqa: ANN401
    out = block.relu(block.bn1(block.conv1(moved)))
    out = block.bn2(block.conv2(out))
    if isinstance(block, Bottleneck):
        out = block.bn3(block.conv3(block.relu(out)))
    shortcut = own if block.downsample is None else block.downsample(own)
    return torch.relu(out + shortcut)


def torchvisions(kind: type[BasicBlock] | type[Bottleneck], blocks: list[int]) -> ResNet:
    """A ResNet of torchvision with norms that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(29)
        net = ResNet(kind, blocks, num_classes=3)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.weight, module.bias, module.running_mean, module.running_var):
                    assert value is not None
                    nn.init.uniform_(value, 0.4, 0.8)
    return net.eval()


@pytest.mark.parametrize("direction", ["both", "past"])
@pytest.mark.parametrize(("depth", "kind"), [(18, BasicBlock), (50, Bottleneck)])
@torch.no_grad()
def test_parity_with_a_network_written_frame_by_frame(
    depth: int, kind: type[BasicBlock] | type[Bottleneck], direction: str, clip: Tensor
) -> None:
    net = torchvisions(kind, [1, 2, 1, 1])
    model = model_of(depth=depth, blocks=(1, 2, 1, 1), width=64, direction=direction)
    body = {name: value for name, value in net.state_dict().items() if not name.startswith("fc.")}
    model.encoder.load_state_dict(body, strict=True)
    nn.init.normal_(model.head.weight, std=0.05, generator=torch.Generator().manual_seed(31))
    everything = shifted_blocks(model.config)
    assert_close(model(clip), reference(net, model.head, clip, everything, direction), PARITY)
    other = "past" if direction == "both" else "both"
    assert difference(model(clip), reference(net, model.head, clip, everything, other)) > MISTAKE
    assert difference(model(clip), reference(net, model.head, clip, (range(0),) * 4, direction)) > MISTAKE
    unshifted_first = (range(0), *everything[1:])
    assert difference(model(clip), reference(net, model.head, clip, unshifted_first, direction)) > MISTAKE


def test_deep_networks_shift_every_other_block() -> None:
    assert shifted_blocks(TsmConfig()) == (range(3), range(4), range(6), range(3))
    assert shifted_blocks(TsmConfig(depth=152))[1] == range(0, 8, 2)
    with torch.device("meta"):
        model = Tsm(TsmConfig(depth=101))
    for stage, count in zip(model.encoder.stages, (3, 4, 23, 3), strict=True):
        kinds = [type(block.conv1) is not nn.Conv2d for block in stage]  # type: ignore[union-attr]
        assert kinds == [index % 2 == 0 for index in range(count)]


def test_the_size_is_that_of_the_image_network() -> None:
    """STAM's Table 1 says 24.3 M."""
    with torch.device("meta"):
        model, image = Tsm(TsmConfig()), resnet50(num_classes=400)
    assert sum(each.numel() for each in model.parameters()) == 24_327_632
    assert sum(each.numel() for each in image.parameters()) == 24_327_632


@torch.no_grad()
def test_the_past_alone_is_a_stream(clip: Tensor) -> None:
    model = model_of(direction="past")
    changed = clip.clone()
    changed[:, 3] = 1 - changed[:, 3]
    before, after = model.frame_logits(clip), model.frame_logits(changed)
    assert before.shape == (2, 5, 13)
    assert torch.equal(before[:, :3], after[:, :3])
    assert float((before[:, 3:] - after[:, 3:]).abs().amin(dim=2).min()) > 0, "the frame itself and the one after it"
    both = model_of()
    assert not torch.equal(both.frame_logits(clip)[:, 2], both.frame_logits(changed)[:, 2])
    assert torch.equal(model(clip), before.mean(1))


@torch.no_grad()
def test_the_order_of_frames_matters(clip: Tensor) -> None:
    model = model_of()
    nn.init.normal_(model.head.weight, std=0.05, generator=torch.Generator().manual_seed(31))
    assert difference(model(clip), model(clip.flip(1))) > MISTAKE
    assert model_of(num_frames=1)(clip[:, :1]).shape == (2, 13)


def test_every_parameter_learns(clip: Tensor) -> None:
    model = model_of(dropout=0.0).train()
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_dropout_works_on_each_frame_and_only_while_training(clip: Tensor) -> None:
    model = model_of(dropout=0.5)
    assert torch.equal(model(clip), model(clip))
    model.train()
    torch.manual_seed(37)
    assert not torch.equal(model(clip), model(clip))


@torch.no_grad()
def test_logits_are_float32_whatever_autocast_does(clip: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model_of()(clip).dtype == torch.float32


@torch.no_grad()
def test_shape_suffixes_tell_the_truth(clip: Tensor) -> None:
    with true_shapes() as log:
        model_of()(clip)
    assert {"tsm.py:shift_frames:features_BTCHW", "resnet.py:forward:feature_FD"} <= log.checked


def test_start_values() -> None:
    state = torch.random.get_rng_state()
    model = model_of(width=64)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert float(model.head.weight.detach().std()) == pytest.approx(0.001, rel=0.05)
    assert not model.head.bias.any()
    kernel = model.encoder.conv1.weight.detach()
    assert float(kernel.std()) == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 0}, "num_frames is 0; expected a whole number"),
        ({"depth": 42}, "depth is 42; expected 18, 34, 50, 101 or 152"),
        ({"blocks": (1, 2, 3)}, r"blocks is \(1, 2, 3\); expected four whole numbers"),
        ({"blocks": (1, 2, 3, 0)}, "expected four whole numbers of at least 1"),
        ({"direction": "future"}, 'direction is \'future\'; expected "both" or "past"'),
        ({"folds": 1}, "folds is 1; expected 2 to width, 11"),
        ({"folds": 12}, "folds is 12; expected 2 to width, 11"),
        ({"dropout": 1.0}, r"dropout is 1\.0; expected at least 0 and below 1"),
        ({"image_size": (0, 5)}, "image_size is 0x5"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize("shape", [(2, 6, 3, 37, 53), (2, 5, 3, 53, 37), (5, 3, 37, 53)])
def test_a_clip_that_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="clip"):
        model_of()(torch.zeros(shape))
