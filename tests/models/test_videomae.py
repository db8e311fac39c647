"""VideoMAE's classifier: its sizes, its refusals, gradients, exports, shapes that tell the truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.benchmark import measure_cost
from fewframes.errors import UsageError
from fewframes.models.videomae import QueryValueBiasAttention, Videomae, VideomaeConfig
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import PARITY, REGROUPED, assert_close, difference

# Every size differs from every other: B=2, K=13, T=9 in tubelets of 3, H=22, W=55 (2 x 5 patches of 11, so N=30), D=24
# and A=4.
CONFIG = VideomaeConfig(
    num_classes=13,
    num_frames=9,
    image_size=(22, 55),
    patch_size=11,
    tubelet_size=3,
    width=24,
    depth=3,
    heads=4,
    mlp_ratio=1.5,
)
POOLINGS = ("mean", "first")


def model_of(pooling: str, **changes: Any) -> Videomae:  # noqa: ANN401
    config = dataclasses.replace(CONFIG, pooling=pooling, **changes)
    return Videomae(config, torch.Generator().manual_seed(19)).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 9, 3, 22, 55, generator=torch.Generator().manual_seed(23))


# Source of the base size: Hugging Face's network, counted; the others follow from the same formula.
SIZES = [
    ({"width": 384, "heads": 6}, 22_033_936),
    ({}, 86_534_800),
    ({"width": 1024, "depth": 24, "heads": 16}, 304_270_736),
    ({"width": 1280, "depth": 32, "heads": 16}, 632_119_440),
]


@pytest.mark.parametrize(("changes", "num_parameters"), SIZES)
def test_full_size(changes: dict[str, int], num_parameters: int) -> None:
    config = VideomaeConfig(**changes)  # type: ignore[arg-type]
    with torch.device("meta"):
        model = Videomae(config)
    cost = measure_cost(model, (16, 3, 224, 224))
    assert cost.num_parameters == num_parameters
    depth, width, tokens = config.depth, config.width, 1568
    linear = tokens * (3 * 2 * 16 * 16 * width + depth * 12 * width * width) + 400 * width
    assert cost.macs_without_attention_products == linear
    assert cost.macs == linear + depth * 2 * tokens * tokens * width


def test_a_biased_network_holds_no_bias_of_keys_and_no_positions() -> None:
    names = set(model_of("mean").state_dict())
    assert len(names) == 3 * 13 + 6
    assert {name for name in names if "blocks.0.attn" in name} == {
        f"encoder.blocks.0.attn.{name}" for name in ("qkv.weight", "q_bias", "v_bias", "proj.weight", "proj.bias")
    }
    assert not any("position" in name for name in names)
    assert len(model_of("mean", qv_bias=False).state_dict()) == 3 * 11 + 6
    assert {"encoder.norm.weight", "encoder.norm.bias"} == set(model_of("first").state_dict()) - names


@torch.no_grad()
def test_attention_is_that_of_torch_with_three_biases() -> None:
    ours = QueryValueBiasAttention(24, 4)
    theirs = nn.MultiheadAttention(24, 4, batch_first=True)
    torch.manual_seed(3)
    for parameter in ours.parameters():
        parameter.normal_(std=0.3)
    theirs.in_proj_weight.copy_(ours.qkv.weight)
    # The bias of the keys is random, because it has no effect at all.
    theirs.in_proj_bias.copy_(torch.cat([ours.q_bias, torch.randn(24), ours.v_bias]))
    theirs.out_proj.weight.copy_(ours.proj.weight)
    theirs.out_proj.bias.copy_(ours.proj.bias)
    tokens = torch.randn(2, 7, 24)
    assert_close(ours(tokens), theirs(tokens, tokens, tokens, need_weights=False)[0], PARITY)


@torch.no_grad()
def test_order_matters_at_the_start(clip: Tensor) -> None:
    for pooling in POOLINGS:
        model = model_of(pooling)
        assert difference(model(clip.flip(1)), model(clip)) > 1e-4
        assert difference(model(clip.flip(4)), model(clip)) > 1e-4


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(pooling: str, clip: Tensor) -> None:
    model = model_of(pooling)
    assert_close(model(clip), torch.cat([model(clip[:1]), model(clip[1:])]), REGROUPED)
    assert model(clip[:0]).shape == (0, 13)


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_logits_are_float32_whatever_the_network_is(pooling: str, clip: Tensor) -> None:
    model = model_of(pooling)
    expected = model(clip)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clip)
    assert logits.dtype == torch.float32
    assert_close(logits, expected, 0.05)
    half = model.to(torch.bfloat16)(clip.to(torch.bfloat16))
    assert half.dtype == torch.float32
    assert_close(half, expected, 0.1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 9, 3, 55, 22), r"clip is \(2, 9, 3, 55, 22\) float32; expected \(B, T, 3, 22, 55\)"),
        ((2, 3, 9, 22, 55), r"clip is \(2, 3, 9, 22, 55\)"),
        ((2, 6, 3, 22, 55), "clip has 6 frames but the model needs 9; sample with count=9"),
    ],
)
def test_a_clip_that_does_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of("mean")(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({name: 0}, f"{name} is 0; expected a whole number of at least 1")
            for name in ("num_classes", "num_frames", "patch_size", "tubelet_size", "width", "depth", "heads")
        ],
        ({"pooling": "max"}, 'pooling is \'max\'; expected "mean" or "first"'),
        ({"image_size": (22, 56)}, "image_size is 22x56; expected height and width, multiples of patch_size, 11"),
        ({"num_frames": 10}, "num_frames is 10; expected a multiple of tubelet_size, 3"),
        ({"heads": 7}, "width is 24; expected a multiple of heads, 7"),
        ({"norm_eps": 0.0}, r"norm_eps is 0\.0; expected a number above 0"),
        ({"pool_norm_eps": -1.0}, r"pool_norm_eps is -1\.0; expected a number above 0"),
        ({"mlp_ratio": 0.01}, r"mlp_ratio is 0\.01; expected at least 1 / width"),
        ({"drop_path": 1.0}, r"drop_path is 1\.0; expected at least 0 and below 1"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_parameter_learns(pooling: str, clip: Tensor) -> None:
    model = model_of(pooling).train()
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_export_with_any_batch_size(pooling: str, clip: Tensor) -> None:
    model = model_of(pooling)
    exported = torch.export.export(model, (clip,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.cat([clip, 1 - clip, clip[:1]])
    assert_close(exported.module()(more), model(more), REGROUPED)


def test_same_generator_same_weights_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = model_of("mean").state_dict()
    torch.manual_seed(2)
    second = model_of("mean").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(value.any() for name, value in first.items() if name.endswith(("q_bias", "v_bias")))


def test_drop_path_grows_linearly_with_depth(clip: Tensor) -> None:
    model = model_of("mean", depth=5, drop_path=0.2)
    rates = [block.drop_path.probability for block in model.encoder.blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert torch.isfinite(model.train()(clip)).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_shape_suffixes_tell_the_truth(pooling: str, clip: Tensor) -> None:
    with true_shapes() as log:
        model_of(pooling, drop_path=0.3).train()(clip)
    assert {
        "videomae.py:forward:clip_BTCHW",
        "videomae.py:forward:tokens_BND",
        "videomae.py:forward:fused_B3ANE",
        "videomae.py:forward:query_BANE",
        "videomae.py:forward:logits_BK",
        "videomae.py:sinusoid_positions:angles_ND",
    } <= log.checked
