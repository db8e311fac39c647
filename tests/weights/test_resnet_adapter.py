"""Start values from image ResNets: names, inflation, what is exact and what is not; and the TSM release's files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.resnet import Bottleneck as TimmBottleneck
from timm.models.resnet import ResNet as TimmResNet
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet, resnet50

from fewframes.architectures import build_from_config
from fewframes.errors import InvalidCheckpoint
from fewframes.models.eco import Eco, EcoConfig
from fewframes.models.nonlocal_net import NonLocalNet, NonLocalNetConfig
from fewframes.models.tsm import Tsm, TsmConfig
from fewframes.weights.adapters import resnet, tsm_official
from fewframes.weights.layouts import LAYOUTS
from fewframes.weights.loading import load_weights
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

BLOCKS = (1, 2, 3, 1)
TSM = TsmConfig(num_classes=13, num_frames=5, image_size=(37, 53), blocks=BLOCKS)
I3D = NonLocalNetConfig(
    num_classes=13, num_frames=5, image_size=(37, 53), blocks=BLOCKS, nonlocal_res3=(1,), nonlocal_res4=(0, 2)
)


def image_net(kind: Any = Bottleneck, net: Any = ResNet) -> nn.Module:  # noqa: ANN401
    """An image ResNet whose norms do something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(29)
        made = net(kind, list(BLOCKS), num_classes=7)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.weight, module.bias, module.running_mean, module.running_var):
                    assert value is not None
                    nn.init.uniform_(value, 0.4, 0.8)
    result: nn.Module = made.eval()
    return result


def features(net: nn.Module, frames: Tensor) -> Tensor:
    """What an image ResNet gives to its classifier."""
    seen: list[Tensor] = []
    net.fc.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    net(frames)
    return seen[0]


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / "net.safetensors")
    return path / "net.safetensors"


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 5, 3, 37, 53, generator=torch.Generator().manual_seed(23))


@pytest.mark.parametrize("kind", [Bottleneck, BasicBlock, TimmBottleneck])
@torch.no_grad()
def test_tsm_starts_from_an_image_network(kind: Any, clip: Tensor, tmp_path: Path) -> None:  # noqa: ANN401
    """Every tensor but the classifier is taken: without its shifts, the encoder is the image network."""
    net = image_net(kind, TimmResNet if kind is TimmBottleneck else ResNet)
    model = Tsm(dataclasses.replace(TSM, depth=18 if kind is BasicBlock else 50))
    report = load_weights(model, saved(tmp_path, net.state_dict()))
    assert report.layout == "ResNet (torchvision, timm)"
    assert set(report.newly_initialised) == {"head.weight", "head.bias"}
    width = 512 if kind is BasicBlock else 2048
    assert set(report.unused) == {f"fc.weight (7, {width})", "fc.bias (7)"}
    assert set(report.loaded) == {f"encoder.{name}" for name in net.state_dict() if not name.startswith("fc.")}
    model.eval()
    for stage in model.encoder.stages:
        for block in stage:
            block.conv1.__class__ = nn.Conv2d  # the same network without its shifts
    frames = clip.flatten(0, 1)
    assert_close(model.encoder(frames), features(net, frames), PARITY)


@torch.no_grad()
def test_inflated_without_kernels_over_time_it_is_the_image_network(clip: Tensor, tmp_path: Path) -> None:
    """C2D without pools over time: exact on any clip, frame by frame."""
    net, model = image_net(), NonLocalNet(dataclasses.replace(I3D, inflation="c2d", time_stride=1)).eval()
    load_weights(model, saved(tmp_path, net.state_dict()))
    model.trunk.timepool = nn.Identity()  # type: ignore[assignment]
    found = model.trunk(clip.transpose(1, 2)).mean((3, 4)).transpose(1, 2)
    assert_close(found.flatten(0, 1), features(net, clip.flatten(0, 1)), PARITY)


@pytest.mark.parametrize("time_stride", [1, 2])
@torch.no_grad()
def test_inflated_on_a_still_clip_the_middle_is_the_image_network(time_stride: int, tmp_path: Path) -> None:
    """Where no kernel reaches over the clip's ends. Zeros beyond the ends make the first and last frames differ."""
    net = image_net()
    config = dataclasses.replace(I3D, num_frames=101 if time_stride == 2 else 53, time_stride=time_stride)
    model = NonLocalNet(config).eval()
    report = load_weights(model, saved(tmp_path, net.state_dict()))
    new = {name for name in model.state_dict() if name.startswith("head.") or ".non_local." in name}
    assert set(report.newly_initialised) == new
    frame = torch.rand(1, 3, 37, 53, generator=torch.Generator().manual_seed(31))
    found = model.trunk(frame[:, :, None].expand(-1, -1, config.num_frames, -1, -1)).mean((3, 4))[0].T
    expected = features(net, frame)[0]
    middle = found.shape[0] // 2
    assert_close(found[middle], expected, PARITY)
    assert difference(found[0], expected) > MISTAKE
    assert difference(found[-1], expected) > MISTAKE


def test_inflation_by_hand() -> None:
    weight = torch.tensor([[[[3.0, 6.0]]]])
    assert resnet.inflate(weight, 3).tolist() == [[[[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]]]]
    assert torch.equal(resnet.inflate(weight, 1)[:, :, 0], weight)


def test_the_whole_resnet50_has_its_place(tmp_path: Path) -> None:
    with torch.device("meta"):
        net, tsm, i3d = resnet50(), Tsm(TsmConfig()), NonLocalNet(NonLocalNetConfig())
    state = net.state_dict()
    for model, prefix in ((tsm, "encoder."), (i3d, "trunk.")):
        translation = resnet.translate(state, model)
        target = model.state_dict()
        assert {name: value.shape for name, value in translation.tensors.items()} == {
            name: value.shape for name, value in target.items() if not name.startswith(translation.may_lack)
        }
        assert {name.removeprefix(prefix) for name in translation.tensors} | {"fc.weight", "fc.bias"} == set(state)


def test_files_of_old_torch_lack_counters(tmp_path: Path) -> None:
    net = image_net()
    old = {name: value for name, value in net.state_dict().items() if "num_batches" not in name}
    report = load_weights(Tsm(TSM), saved(tmp_path, old))
    assert not any("num_batches" in name for name in (*report.loaded, *report.newly_initialised))
    del old["layer1.0.bn1.weight"]
    with pytest.raises(InvalidCheckpoint, match=r"encoder\.layer1\.0\.bn1\.weight is missing"):
        load_weights(Tsm(TSM), saved(tmp_path, old))


def test_what_is_no_image_resnet(tmp_path: Path) -> None:
    state = image_net().state_dict()
    assert resnet.is_layout(state)
    assert [name for name, each in LAYOUTS.items() if each.is_layout(state)] == ["resnet"]
    assert not resnet.is_layout(Tsm(TSM).state_dict())
    assert not resnet.is_layout(NonLocalNet(I3D).state_dict())
    assert not resnet.is_layout({**state, "conv1.weight": state["conv1.weight"][:, :, None]}), "a 3-D ResNet"
    assert not resnet.fits(Eco(EcoConfig(width=0.02)))
    with pytest.raises(InvalidCheckpoint, match="image model, which says nothing of videos"):
        resnet.describe(state, {})
    with pytest.raises(InvalidCheckpoint, match=r"layer3\.3\.conv1\.weight .* is left over"):
        deeper = {**state, "layer3.3.conv1.weight": torch.zeros(2, 2, 1, 1)}
        load_weights(Tsm(TSM), saved(tmp_path, deeper))


def release_of(model: Tsm) -> dict[str, Tensor]:
    """The model's tensors as a file of the TSM release names them, written down independently."""
    result = {}
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "head":
            result[f"new_fc.{parts[1]}"] = tensor
        elif parts[-2] == "conv1" and len(parts) == 5:
            result[f"base_model.{parts[1]}.{parts[2]}.conv1.net.weight"] = tensor
        else:
            result[".".join(["base_model", *parts[1:]])] = tensor
    return result


@torch.no_grad()
def test_a_file_of_the_tsm_release(clip: Tensor, tmp_path: Path) -> None:
    model = Tsm(TSM, torch.Generator().manual_seed(37)).eval()
    theirs = release_of(model)
    assert "base_model.layer3.2.conv1.net.weight" in theirs
    assert "base_model.conv1.weight" in theirs
    assert [name for name, each in LAYOUTS.items() if each.is_layout(theirs)] == ["tsm"]
    described = tsm_official.describe(theirs, {})
    assert described.config == TsmConfig(num_classes=13, blocks=BLOCKS)
    assert "the file does not state its number of frames: 8 is assumed" in described.notes[0]
    again = build_from_config(dataclasses.replace(described.config, num_frames=5, image_size=(37, 53))).eval()
    path = tmp_path / "tsm.pth"
    torch.save({"epoch": 50, "state_dict": {f"module.{name}": tensor for name, tensor in theirs.items()}}, path)
    report = load_weights(again, path)
    assert report.layout == "TSM release"
    assert not report.newly_initialised
    assert not report.unused
    assert torch.equal(again(clip), model(clip))


def test_the_published_depths_are_recognised() -> None:
    for depth, name in ((50, "tsm_r50_8f"), (101, ""), (18, "")):
        config = TsmConfig(depth=depth, num_classes=11)
        with torch.device("meta"):
            described = tsm_official.describe(tsm_official.export(Tsm(config).state_dict(), config), {})
        assert described.config == config
        assert described.name == name


@pytest.mark.parametrize("blocks", [BLOCKS, (1, 1, 23, 2)])
def test_there_and_back(blocks: tuple[int, ...]) -> None:
    model = Tsm(dataclasses.replace(TSM, depth=18, blocks=blocks, width=8))
    state = model.state_dict()
    theirs = tsm_official.export(state, model.config)
    translation = tsm_official.translate(theirs, model)
    assert set(translation.tensors) == set(state)
    assert all(torch.equal(translation.tensors[name], state[name]) for name in state)
    if blocks == BLOCKS:
        assert set(theirs) == set(release_of(model))


def test_a_network_without_shifts_is_refused() -> None:
    """A TSN has the very sizes of a TSM; filled with it, a TSM would be silently wrong."""
    model = Tsm(TSM)
    plain = {name.replace(".net.", "."): tensor for name, tensor in release_of(model).items()}
    assert tsm_official.is_layout(plain)
    with pytest.raises(InvalidCheckpoint, match="the file's network shifts 0 blocks, the model 7"):
        tsm_official.translate(plain, model)
