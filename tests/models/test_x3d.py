"""X3D: its windows, its refusals, gradients, exports, shapes that tell the truth."""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from fewframes.architectures import build_from_config
from fewframes.benchmark import measure_cost
from fewframes.catalog import card_of
from fewframes.errors import UsageError
from fewframes.models.windows import builder_of, logits_over_windows, window_cells
from fewframes.models.x3d import X3d, X3dConfig
from tests.helpers import network_checks as checks
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import BY_HAND, assert_close, difference

# T=5, H=48, W=80 (a map of 2 x 3 cells), windows of 1 x 2 cells, K=7.
CONFIG = X3dConfig(
    num_classes=7,
    num_frames=5,
    image_size=(48, 80),
    window=(32, 64),
    width_factor=0.7,
    depth_factor=0.3,
    head_width=11,
)


def model_of(**changes: Any) -> X3d:  # noqa: ANN401
    return X3d(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(19)).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 5, 3, 48, 80, generator=torch.Generator().manual_seed(23))


def test_several_windows_by_hand() -> None:
    """Two windows, two classes: (1/2, 1/2) and (3/4, 1/4) make (5/8, 3/8)."""
    logits = torch.tensor([[[1.0, math.log(3)], [1.0, 0.0]]]).reshape(1, 2, 1, 1, 2)
    assert_close(logits_over_windows(logits), torch.tensor([[5 / 8, 3 / 8]]).log(), BY_HAND)


def test_one_window_is_left_as_it_is() -> None:
    logits = torch.tensor([[3.0, -5.0, 7.0]])
    assert torch.equal(logits_over_windows(logits.reshape(1, 3, 1, 1, 1)), logits)


@pytest.mark.parametrize(
    ("image", "window", "cells"),
    [
        ((256, 256), (224, 224), (7, 7)),
        ((182, 182), (160, 160), (5, 5)),
        ((356, 356), (312, 312), (10, 10)),
        ((48, 80), None, (2, 3)),
        ((160, 256), (224, 224), (5, 7)),
        ((20, 33), (224, 224), (1, 2)),
    ],
)
def test_cells_of_a_window(image: tuple[int, int], window: tuple[int, int] | None, cells: tuple[int, int]) -> None:
    """A cell is 32 pixels, rounded up; a window does not reach beyond the image."""
    assert window_cells(X3dConfig(image_size=image, window=window)) == cells


@torch.no_grad()
def test_windows_are_parts_of_the_map(clip: Tensor) -> None:
    """With windows, the head looks 2 x 2 times at 1 x 2 cells; without, once at all. Weights are the same."""
    model, whole = model_of(), model_of(window=None)
    seen: list[Tensor] = []
    model.network.blocks[-1].register_forward_hook(lambda _, __, output: seen.append(output))
    logits = model(clip)
    assert seen[0].shape == (2, 7, 1, 2, 2)
    assert_close(logits.exp().sum(1), torch.ones(2), BY_HAND)
    assert difference(logits, whole(clip).log_softmax(1)) > 1e-5
    assert torch.equal(model_of(window=(48, 80))(clip), whole(clip))


@torch.no_grad()
@pytest.mark.parametrize(("frames", "size"), [(1, (1, 1)), (3, (20, 33)), (16, (64, 65))])
def test_any_size_of_clip(frames: int, size: tuple[int, int]) -> None:
    """The original refuses less than its own frames and pixels."""
    model = model_of(num_frames=frames, image_size=size)
    assert model(torch.rand(2, frames, 3, *size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "train", "gmacs"),
    [
        ("x3d_xs", 160, 0.605),
        ("x3d_s", 160, 1.963),
        ("x3d_m", 224, 4.73),
        ("x3d_l", 312, 18.37),
    ],
)
def test_cost_at_the_crop_of_the_training(name: str, train: int, gmacs: float) -> None:
    """What the paper and PySlowFast print; the cards hold the cost at the crop of the test."""
    config = dataclasses.replace(card_of(name).config, image_size=(train, train))
    with torch.device("meta"):
        model = build_from_config(config)
    assert measure_cost(model, (config.num_frames, 3, train, train)).macs / 1e9 == pytest.approx(gmacs, rel=0.002)


@pytest.mark.parametrize(
    ("name", "gmacs"), [("x3d_xs", 0.84), ("x3d_s", 2.73), ("x3d_m", 6.18), ("x3d_l", 24.76), ("x3d_xl", 48.42)]
)
def test_cost_at_the_crop_of_the_test(name: str, gmacs: float) -> None:
    """As others print it; that the card counts its network is tested for every card."""
    assert card_of(name).gmacs == pytest.approx(gmacs, rel=0.005)


@torch.no_grad()
def test_no_clips_no_logits() -> None:
    assert model_of()(torch.zeros(0, 5, 3, 48, 80)).shape == (0, 7)


def test_autocast(clip: Tensor) -> None:
    checks.check_autocast(model_of(), clip)


def test_every_parameter_learns(clip: Tensor) -> None:
    checks.check_every_parameter_learns(model_of(), clip)


@pytest.mark.parametrize("frames", [4, 5])
def test_gradients(frames: int, clip: Tensor) -> None:
    """X3D-XS looks at 4 frames through a kernel of 5."""
    checks.check_gradients_without_onednn(model_of(num_frames=frames), clip[:, :frames])


def test_head_names() -> None:
    state = model_of().state_dict()
    assert [tuple(state[name].shape) for name in X3d.head_names] == [(7, 11), (7,)]


def test_shape_suffixes_tell_the_truth(clip: Tensor) -> None:
    with true_shapes() as log:
        model_of()(clip)
    assert {
        "x3d.py:forward:clip_BTCHW",
        "windows.py:logits_over_windows:logits_BKTHW",
        "windows.py:logits_over_windows:logits_BKM",
    } <= log.checked


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 5, 3, 80, 48), torch.float32, r"clip is \(2, 5, 3, 80, 48\) float32; expected \(B, T, 3, 48, 80\)"),
        ((2, 3, 5, 48, 80), torch.float32, r"clip is \(2, 3, 5, 48, 80\)"),
        ((2, 5, 3, 48, 80), torch.uint8, "uint8; .* of floats; use the model's own preprocess"),
        ((2, 4, 3, 48, 80), torch.float32, "clip has 4 frames but the model needs 5; sample with count=5"),
    ],
)
def test_a_clip_that_does_not_fit(shape: tuple[int, ...], dtype: torch.dtype, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of()(torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[({name: 0}, f"{name} is 0; expected a whole number") for name in ("num_classes", "num_frames", "head_width")],
        ({"image_size": (0, 80)}, "image_size is 0x80; expected height and width, whole numbers of at least 1"),
        ({"window": (32,)}, "window is 32; expected height and width in pixels, whole numbers of at least 1, or None"),
        ({"window": (32, 0)}, "window is 32x0; expected height and width"),
        ({"window": (32, 1.5)}, r"window is 32x1\.5; expected height and width"),
        ({"dropout": 1.0}, r"dropout is 1\.0; expected at least 0 and below 1"),
        ({"width_factor": 0.0}, r"width_factor is 0\.0; expected a number above 0 and at most 100"),
        ({"depth_factor": float("nan")}, "depth_factor is nan"),
        ({"depth_factor": 1e9}, "depth_factor is 1000000000.0; expected a number above 0 and at most 100"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_pytorchvideo_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorchvideo.models.x3d", None)
    with pytest.raises(UsageError, match=r"needs pytorchvideo \(.*\); install fewframes\[baselines\]"):
        model_of()


def test_only_one_warning_is_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of fvcore, which scripts a function when it is imported. Any other still shows."""

    def imports(text: str) -> None:
        monkeypatch.setattr(importlib, "import_module", lambda _: warnings.warn(text, FutureWarning, stacklevel=1))
        builder_of("anything", "__class__")

    imports("`torch.jit.script` is deprecated. Please switch to `torch.compile` or `torch.export`.")
    with pytest.raises(FutureWarning, match="another"):
        imports("another warning")
