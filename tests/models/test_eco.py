"""ECO: a reference written layer by layer, published sizes, what frames and sizes do, gradients, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.benchmark import measure_cost
from fewframes.errors import UsageError
from fewframes.models import eco
from fewframes.models.eco import Eco, EcoConfig
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

# Every size differs from every other: B=2, T=5, H=37, W=47, K=13, 96 maps of the full network become 6.
CONFIG = EcoConfig(num_classes=13, num_frames=5, image_size=(37, 47), width=0.06)
VARIANTS = ("lite", "full")


def model_of(variant: str, **changes: Any) -> Eco:  # noqa: ANN401
    config = dataclasses.replace(CONFIG, variant=variant, **changes)
    model = Eco(config, torch.Generator().manual_seed(19)).eval()
    generator = torch.Generator().manual_seed(29)
    for module in model.modules():  # away from the start, where norms are the identity and biases 0
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                assert value is not None
                nn.init.uniform_(value, 0.4, 0.8, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Conv3d):
            assert module.bias is not None
            nn.init.normal_(module.bias, std=0.1, generator=generator)
    return model


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 5, 3, 37, 47, generator=torch.Generator().manual_seed(23))


class Reference:
    """ECO written out as the authors' network file lists it, one line a layer, over our parameters; even sizes only."""

    def __init__(self, model: Eco) -> None:
        self.state = model.state_dict()
        self.full = model.config.variant == "full"

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{each}"].view(-1, *[1] * (x.ndim - 2))
            for each in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def unit(self, x: Tensor, name: str, *, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, self.state[f"{name}.conv.bias"], stride=stride, padding=(weight.shape[-1] - 1) // 2)
        return self.norm(x, f"{name}.norm").relu()

    def conv3d(self, x: Tensor, name: str, *, stride: int = 1) -> Tensor:
        return F.conv3d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], stride=stride, padding=1)

    def inception(self, x: Tensor, name: str, pooled: Tensor) -> Tensor:
        one = self.unit(x, f"{name}.one")
        three = self.unit(self.unit(x, f"{name}.three.0"), f"{name}.three.1")
        five = self.unit(self.unit(self.unit(x, f"{name}.stacked.0"), f"{name}.stacked.1"), f"{name}.stacked.2")
        return torch.cat([one, three, five, self.unit(pooled, f"{name}.pooled")], 1)

    def video(self, x: Tensor) -> Tensor:
        res3a = self.conv3d(x, "video.conv")
        sums = res3a
        for index, stride in enumerate((1, 2, 1, 2, 1)):
            name = f"video.blocks.{index}"
            seen = self.norm(sums, f"{name}.norm1").relu()
            inner = self.norm(self.conv3d(seen, f"{name}.conv1", stride=stride), f"{name}.norm2").relu()
            around = sums if stride == 1 else self.conv3d(seen, f"{name}.shortcut", stride=2)
            sums = self.conv3d(inner, f"{name}.conv2") + around
        return self.norm(sums, "video.norm").relu().mean((2, 3, 4))

    def __call__(self, clip: Tensor) -> Tensor:
        logits = []
        for video in clip:
            x = halved(self.unit(video, "frames.conv1", stride=2))
            x = halved(self.unit(self.unit(x, "frames.conv2.0"), "frames.conv2.1"))
            x = self.inception(x, "frames.block3a", averaged(x))
            block3b = self.inception(x, "frames.block3b", averaged(x))
            maps = self.unit(self.unit(block3b, "frames.stacked3c.0"), "frames.stacked3c.1")
            feature = self.video(maps.transpose(0, 1)[None])
            if self.full:
                three = self.unit(self.unit(block3b, "rest.three3c.0"), "rest.three3c.1", stride=2)
                x = torch.cat([three, self.unit(maps, "rest.stacked3c", stride=2), halved(block3b)], 1)
                for index in range(4):
                    x = self.inception(x, f"rest.blocks.{index}", averaged(x))
                name = "rest.blocks.4"
                three = self.unit(self.unit(x, f"{name}.three.0"), f"{name}.three.1", stride=2)
                five = self.unit(self.unit(x, f"{name}.stacked.0"), f"{name}.stacked.1")
                x = torch.cat([three, self.unit(five, f"{name}.stacked.2", stride=2), halved(x)], 1)
                x = self.inception(x, "rest.blocks.5", averaged(x))
                x = self.inception(x, "rest.blocks.6", F.max_pool2d(x, 3, stride=1, padding=1))
                feature = torch.cat([x.mean((2, 3)).mean(0, keepdim=True), feature], 1)
            logits.append(F.linear(feature, self.state["head.weight"], self.state["head.bias"]))
        return torch.cat(logits)


def halved(x: Tensor) -> Tensor:
    """Caffe's pool rounds up: windows that begin inside and end outside count."""
    return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


def averaged(x: Tensor) -> Tensor:
    """Caffe divides by 9 at the border too."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=True)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_parity_with_a_network_written_layer_by_layer(variant: str) -> None:
    model = model_of(variant, image_size=(32, 64))
    clip = torch.rand(2, 5, 3, 32, 64, generator=torch.Generator().manual_seed(31))
    assert_close(model(clip), Reference(model)(clip), PARITY)


def no_ceil(model: Eco, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eco, "_halved", lambda x: F.max_pool2d(x, 3, stride=2, padding=1))


def mean_in_the_last_block(model: Eco, _: pytest.MonkeyPatch) -> None:
    assert model.rest is not None
    model.rest.blocks[6].pool = "mean"  # type: ignore[assignment]


def shortcut_before_the_norm(model: Eco, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(block: eco._Residual3d, maps: Tensor) -> Tensor:
        branch = block.conv2(F.relu(block.norm2(block.conv1(F.relu(block.norm1(maps))))))
        return branch + (maps if block.shortcut is None else block.shortcut(maps))

    monkeypatch.setattr(eco._Residual3d, "forward", forward)


def no_shortcut_where_halved(model: Eco, _: pytest.MonkeyPatch) -> None:
    """As in the port to PyTorch."""
    for module in model.modules():
        if isinstance(module, eco._Residual3d) and module.shortcut is not None:
            nn.init.zeros_(module.shortcut.weight)
            nn.init.zeros_(module.shortcut.bias)  # type: ignore[arg-type]


def frames_backwards(model: Eco, _: pytest.MonkeyPatch) -> None:
    model.register_forward_pre_hook(lambda _, clips: (clips[0].flip(1),))


@pytest.mark.parametrize(
    "twin", [no_ceil, mean_in_the_last_block, shortcut_before_the_norm, no_shortcut_where_halved, frames_backwards]
)
@torch.no_grad()
def test_a_wrong_network_fails_parity(
    twin: Callable[[Eco, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("full", image_size=(32, 64))
    clip = torch.rand(2, 5, 3, 32, 64, generator=torch.Generator().manual_seed(31))
    expected = Reference(model)(clip)
    twin(model, monkeypatch)
    assert difference(model(clip), expected) > MISTAKE


def count(*modules: nn.Module | None) -> int:
    return sum(each.numel() for module in modules if module is not None for each in module.parameters())


def test_sizes() -> None:
    """BN-Inception with 1000 classes has 11,295,240 parameters; the cut in 3c changes nothing of that."""
    with torch.device("meta"):
        full, lite = Eco(EcoConfig()), Eco(EcoConfig(num_frames=8, variant="lite"))
    assert count(full.frames, full.rest) + 1024 * 1000 + 1000 == 11_295_240
    assert full.head.in_features == 1024 + 512
    assert lite.head.in_features == 512
    assert count(full) == 47_502_128
    assert count(lite) == 37_503_856
    cost = measure_cost(full, (16, 3, 224, 224))
    assert cost.macs / 1e9 == pytest.approx(64.4, abs=0.05)
    assert cost.macs == cost.macs_without_attention_products


@torch.no_grad()
def test_maps_of_the_paper() -> None:
    """96 maps of 28 x 28 a frame; the rest of BN-Inception ends at 7 x 7."""
    block3b, maps = model_of("full", width=0.1).frames(torch.zeros(1, 3, 224, 224))
    assert block3b.shape == (1, 6 + 10 + 10 + 6, 28, 28)
    assert maps.shape == (1, 10, 28, 28)
    with torch.device("meta"):
        full = Eco(EcoConfig())
        block3b, maps = full.frames(torch.zeros(1, 3, 224, 224))
        assert block3b.shape == (1, 320, 28, 28)
        assert maps.shape == (1, 96, 28, 28)
        assert full.rest is not None
        seen: list[tuple[int, ...]] = []
        full.rest.blocks.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape)))
        full.rest(block3b, maps)
    assert seen == [(1, 1024, 7, 7)]


@torch.no_grad()
def test_the_video_is_looked_at_in_order(clip: Tensor) -> None:
    """The 3-D network sees the order of frames, the averaged frames of the full network alone do not."""
    model = model_of("full")
    assert difference(model(clip), model(clip.flip(1))) > MISTAKE
    nn.init.zeros_(model.head.weight[:, -model.video.width :])
    assert_close(model(clip), model(clip.flip(1)), PARITY)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 7])
@pytest.mark.parametrize("image_size", [(32, 33), (37, 47), (64, 96)])
@torch.no_grad()
def test_any_number_of_frames_and_any_size(num_frames: int, image_size: tuple[int, int]) -> None:
    model = model_of("full", num_frames=num_frames, image_size=image_size)
    logits = model(torch.rand(1, num_frames, 3, *image_size))
    assert logits.shape == (1, 13)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant: str, clip: Tensor) -> None:
    """Biases of convolutions before a norm are taken away again by it; everything else has a gradient."""
    model = model_of(variant, dropout=0.0, frame_dropout=0.0).train()
    F.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_it_is_deterministic_and_clips_do_not_meet(variant: str, clip: Tensor) -> None:
    model = model_of(variant)
    assert torch.equal(model(clip), model(clip))
    assert_close(model(clip[1:]), model(clip)[1:], PARITY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(clip).dtype == torch.float32


@torch.no_grad()
def test_shape_suffixes_tell_the_truth(clip: Tensor) -> None:
    with true_shapes() as log:
        model_of("full")(clip)
    assert {"eco.py:forward:maps_BETHW", "eco.py:forward:video_BD", "eco.py:forward:frames_BE"} <= log.checked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 0}, "num_frames is 0; expected a whole number"),
        ({"variant": "ensemble"}, 'variant is \'ensemble\'; expected "lite" or "full"'),
        ({"width": 0.0}, r"width is 0\.0; expected a number above 0"),
        ({"width": float("nan")}, "width is nan"),
        ({"image_size": (37, 31)}, "image_size is 37x31; expected at least 32 pixels a side"),
        ({"frame_dropout": 1.0}, r"frame_dropout is 1\.0"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_a_clip_that_does_not_fit() -> None:
    with pytest.raises(UsageError, match="clip has 4 frames but the model needs 5"):
        model_of("lite")(torch.zeros(1, 4, 3, 37, 47))
