"""X3D, SlowFast, Slow, I3D and R(2+1)D against pytorchvideo's own; and wrong ones, which must not pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.architectures import build_from_config
from fewframes.cards.slowfast import CARDS as SLOWFAST_CARDS
from fewframes.cards.x3d import CARDS as X3D_CARDS
from fewframes.catalog import card_of
from fewframes.models import resnet3d, windows, x3d
from fewframes.models.resnet3d import Resnet3dConfig
from fewframes.models.slowfast import SlowFastConfig
from fewframes.models.windows import builder_of
from fewframes.models.x3d import X3dConfig
from fewframes.weights.convert import describe_weights
from fewframes.weights.loading import load_weights
from tests.helpers.scramble import scramble
from tests.helpers.tolerance import MISTAKE, PARITY, REGROUPED, assert_close, difference

SLOW = [0, 4, 8, 13, 17, 22, 26, 31]


@dataclass(frozen=True)
class Case:
    """A network of pytorchvideo's hub, narrow so that it is quick, at its own clip of training and at that of test.

    Attributes:
        hub: the module and the function.
        options: what makes it narrow.
        config: the same in our terms, at the size of the test.
        train: side of the crop in training.
        files: which published files have this network, by the catalogue's names.
    """

    hub: str
    options: Mapping[str, Any]
    config: X3dConfig | SlowFastConfig | Resnet3dConfig
    train: int
    files: tuple[str, ...]

    @property
    def dtype(self) -> torch.dtype:
        """X3D's SiLU is the same in another order, whose last bits a deep narrow network blows up to 1e-5."""
        return torch.float64 if isinstance(self.config, X3dConfig) else torch.float32


CASES = {
    "x3d_xs": Case(
        "x3d.x3d_xs",
        {"width_factor": 0.7, "head_dim_out": 37},
        X3dConfig(num_frames=4, image_size=(182, 182), window=(160, 160), width_factor=0.7, head_width=37),
        160,
        ("x3d_xs", "x3d_s", "x3d_m"),
    ),
    "x3d_m": Case(
        "x3d.x3d_m",
        {"width_factor": 0.7, "depth_factor": 0.5, "head_dim_out": 37},
        X3dConfig(width_factor=0.7, depth_factor=0.5, head_width=37),
        224,
        ("x3d_xs", "x3d_s", "x3d_m"),
    ),
    "x3d_l": Case(
        "x3d.x3d_l",
        {"width_factor": 0.7, "head_dim_out": 37},
        X3dConfig(image_size=(356, 356), window=(312, 312), width_factor=0.7, depth_factor=5.0, head_width=37),
        312,
        ("x3d_l",),
    ),
    "slowfast_r50": Case(
        "slowfast.slowfast_r50", {"stem_dim_outs": (8, 1)}, SlowFastConfig(width=8), 224, ("slowfast_r50_8x8",)
    ),
    "slowfast_r101": Case(
        "slowfast.slowfast_r101",
        {"stem_dim_outs": (8, 1)},
        SlowFastConfig(width=8, depths=(3, 4, 23, 3), fusion_kernel=5),
        224,
        ("slowfast_r101_8x8",),
    ),
    "slowfast_16x8": Case(
        "slowfast.slowfast_16x8_r101_50_50",
        {"stem_dim_outs": (8, 1)},
        SlowFastConfig(width=8, num_frames=64, depths=(3, 4, 23, 3), fusion_kernel=5, res4_time_blocks=6),
        224,
        ("slowfast_r101_16x8",),
    ),
    "slow": Case("resnet.slow_r50", {"stem_dim_out": 8}, Resnet3dConfig(width=8), 224, ("slow_r50_8x8",)),
    "i3d": Case("resnet.i3d_r50", {"stem_dim_out": 8}, Resnet3dConfig(width=8, style="i3d"), 224, ("i3d_r50_8x8",)),
    "r2plus1d": Case(
        "r2plus1d.r2plus1d_r50",
        {"stem_dim_out": 8},
        Resnet3dConfig(width=8, num_frames=16, style="r2plus1d"),
        224,
        ("r2plus1d_r50_16x4",),
    ),
}
# The others are these with more blocks, which shows in their tensors, and take as long as all of these together.
COMPUTED = [name for name in CASES if name not in ("x3d_l", "slowfast_r101", "slowfast_16x8")]


@cache
def random_weights(name: str) -> dict[str, Tensor]:
    """Of one of the cases, in the original's names."""
    case = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        network = _build(case).to(case.dtype)
        scramble(network, 5, as_original(case, clip_of(case, case.train)))
    return network.float().state_dict()


def hub_network(name: str, **options: Any) -> nn.Module:  # noqa: ANN401
    """The original with random weights, giving what it gives unless told otherwise."""
    network = _build(CASES[name], **options)
    network.load_state_dict(random_weights(name))
    return network.to(CASES[name].dtype).eval()


def _build(case: Case, **options: Any) -> nn.Module:  # noqa: ANN401
    module, function = case.hub.split(".")
    network: nn.Module = builder_of(f"pytorchvideo.models.hub.{module}", function)(**case.options, **options)
    return network


def our_network(case: Case, original: nn.Module, side: int, folder: Path) -> nn.Module:
    """Ours with the original's weights, through a file as it is published."""
    file = folder / "published.pyth"
    torch.save({"model_state": {key: value.float() for key, value in original.state_dict().items()}}, file)
    network = build_from_config(replace(case.config, image_size=(side, side)))
    report = load_weights(network, file)
    assert report.layout == "pytorchvideo"
    assert not report.newly_initialised
    assert not report.unused
    return network.to(case.dtype).eval()


def clip_of(case: Case, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(1, case.config.num_frames, 3, side, side, generator=generator).to(case.dtype)


def as_original(case: Case, clip: Tensor) -> Tensor | list[Tensor]:
    """The clip as the originals take it: channels first, and for SlowFast twice."""
    frames = clip.transpose(1, 2)
    return [frames[:, :, SLOW], frames] if isinstance(case.config, SlowFastConfig) else frames


@pytest.mark.parametrize("name", COMPUTED)
@torch.no_grad()
def test_the_size_of_the_training(name: str, tmp_path: Path) -> None:
    """One window, so that the originals' fixed pools fit. Three of the hub's networks end in a softmax, ours do not."""
    case = CASES[name]
    original = hub_network(name)
    clip = clip_of(case, case.train)
    output = original(as_original(case, clip))
    logits = our_network(case, original, case.train, tmp_path)(clip)
    assert float(logits.std()) > 0.1, "a network that says nothing proves nothing"
    if name in ("x3d_xs", "x3d_m", "r2plus1d"):
        assert float(output.sum()) == pytest.approx(1)
        assert_close(logits.log_softmax(1), output.log().float(), PARITY)
        original.blocks[-1].activation = None  # type: ignore[index, union-attr]
        output = original(as_original(case, clip))
    assert_close(logits, output.float(), REGROUPED)


@pytest.mark.parametrize("name", [name for name in COMPUTED if name != "x3d_m"])
@torch.no_grad()
def test_the_size_of_the_test(name: str, tmp_path: Path) -> None:
    """Several windows: the published evaluation averages their probabilities."""
    case = CASES[name]
    original = hub_network(name, head_activation=nn.Softmax)
    side = case.config.image_size[0]
    clip = clip_of(case, side)
    expected = original(as_original(case, clip))
    logits = our_network(case, original, side, tmp_path)(clip)
    assert_close(logits, expected.log().float(), PARITY)
    assert_close(logits.softmax(1), expected.float(), REGROUPED)


@pytest.mark.parametrize("name", CASES)
def test_tensors_of_the_published_size(name: str) -> None:
    """Names and shapes of the whole network, and the catalogue's file."""
    case = CASES[name]
    module, function = case.hub.split(".")
    builder = builder_of(f"pytorchvideo.models.hub.{module}", function)
    paths = builder.__globals__["checkpoint_paths"]
    with torch.device("meta"):
        theirs = {key: value.shape for key, value in builder().state_dict().items()}
        for catalogue_name in case.files:
            ours = build_from_config(card_of(catalogue_name).config).state_dict()
            assert {key.removeprefix("network."): value.shape for key, value in ours.items()} == theirs
    assert paths[function] in {card_of(each).weights_url for each in case.files}


def test_every_card_was_compared() -> None:
    names = {card.name for card in (*X3D_CARDS, *SLOWFAST_CARDS)}
    assert {each for case in CASES.values() for each in case.files} == names - {"x3d_xl"}


def test_x3d_xl_is_wider_and_deeper() -> None:
    """The hub has no XL; its builder makes the paper's 11.0 M parameters."""
    with torch.device("meta"):
        theirs = builder_of("pytorchvideo.models.x3d", "create_x3d")(width_factor=2.9, depth_factor=5.0)
        ours = build_from_config(card_of("x3d_xl").config)
    count = sum(each.numel() for each in ours.parameters())
    assert count == sum(each.numel() for each in theirs.parameters()) == 11_095_840


def logits_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (x3d, resnet3d):
        monkeypatch.setattr(module, "logits_over_windows", lambda logits: logits.mean((2, 3, 4)))


def pooled_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (x3d, resnet3d):
        monkeypatch.setattr(module, "window_cells", lambda config: [-(-side // 32) for side in config.image_size])


def window_one_cell_short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (x3d, resnet3d):
        monkeypatch.setattr(module, "window_cells", lambda c: [n - 1 for n in windows.window_cells(c)])


@pytest.mark.parametrize("name", ["x3d_xs", "slow"])
@pytest.mark.parametrize("twin", [logits_averaged, pooled_over_everything, window_one_cell_short])
@torch.no_grad()
def test_a_wrong_rule_for_windows_fails_parity(
    name: str, twin: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = CASES[name]
    original = hub_network(name, head_activation=nn.Softmax)
    side = case.config.image_size[0]
    clip = clip_of(case, side)
    expected = original(as_original(case, clip)).log().float()
    twin(monkeypatch)
    actual = our_network(case, original, side, tmp_path)(clip).float().log_softmax(1)
    assert difference(actual, expected) > MISTAKE


@cache
def small_network(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The original with a head for 64 pixels, a clip of that size, and what it makes of the clip."""
    case = CASES[name]
    if isinstance(case.config, SlowFastConfig):
        original = _build(case, head_pool_kernel_sizes=((8, 2, 2), (32, 2, 2)))
    else:
        create = builder_of("pytorchvideo.models.x3d", "create_x3d")
        original = create(**case.options, input_clip_length=16, input_crop_size=64, head_activation=None)
    original.load_state_dict(random_weights(name))
    clip = clip_of(case, 64)
    return original, clip, original.to(case.dtype).eval()(as_original(case, clip)).float()


def blue_first(_: nn.Module, clip: Tensor) -> Tensor:
    return clip.flip(2)


def backwards(_: nn.Module, clip: Tensor) -> Tensor:
    return clip.flip(1)


def rows_and_columns_swapped(_: nn.Module, clip: Tensor) -> Tensor:
    return clip.transpose(3, 4)


def every_fourth_frame_is_slow(network: nn.Module, clip: Tensor) -> Tensor:
    network.slow_frames = list(range(0, 32, 4))
    return clip


def another_eps(network: nn.Module, clip: Tensor) -> Tensor:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    return clip


def batch_statistics(network: nn.Module, clip: Tensor) -> Tensor:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.train()
    return clip


def dropout_left_on(network: nn.Module, clip: Tensor) -> Tensor:
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    return clip


def relu_for_swish(network: nn.Module, clip: Tensor) -> Tensor:
    blocks = [module for module in network.modules() if isinstance(getattr(module, "act_b", None), nn.SiLU)]
    assert blocks
    for block in blocks:
        block.act_b = nn.ReLU()
    return clip


TWINS = [
    blue_first,
    backwards,
    rows_and_columns_swapped,
    every_fourth_frame_is_slow,
    another_eps,
    batch_statistics,
    dropout_left_on,
    relu_for_swish,
]


@pytest.mark.parametrize("name", ["x3d_m", "slowfast_r50"])
@torch.no_grad()
def test_another_size(name: str, tmp_path: Path) -> None:
    original, clip, expected = small_network(name)
    assert_close(our_network(CASES[name], original, 64, tmp_path)(clip), expected, REGROUPED)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        (name, twin)
        for name in ("x3d_m", "slowfast_r50")
        for twin in TWINS
        if twin is not (relu_for_swish if name == "slowfast_r50" else every_fourth_frame_is_slow)
    ],
)
@torch.no_grad()
def test_a_wrong_network_fails_parity(name: str, twin: Callable[[nn.Module, Tensor], Tensor], tmp_path: Path) -> None:
    original, clip, expected = small_network(name)
    network = our_network(CASES[name], original, 64, tmp_path)
    assert difference(network(twin(network, clip)), expected) > MISTAKE


def test_a_published_file_says_what_it_is(tmp_path: Path) -> None:
    """From the file alone to the network and its transform."""
    torch.save({"model_state": random_weights("slow")}, tmp_path / "SLOW.pyth")
    layout, described = describe_weights(tmp_path / "SLOW.pyth")
    assert layout == "pytorchvideo"
    assert described.config == CASES["slow"].config
    assert described.preprocess == card_of("slow_r50_8x8").preprocess
