"""The whole network: its two halves, its refusals, gradients, exports, shapes that tell the truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.stam import Stam, StamConfig
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import BY_HAND, REGROUPED, assert_close

# Every size differs from every other, so that no axis can stand in for another: B=2, T=8, S=9, H=22, W=33 (2 x 3
# patches of 11, so P=6 and N=7), D=30, A=5, K=13.
CONFIG = StamConfig(
    num_classes=13,
    num_frames=8,
    image_size=(22, 33),
    patch_size=11,
    width=30,
    depth=3,
    heads=5,
    mlp_ratio=1.5,
    temporal_depth=2,
    temporal_heads=6,
    temporal_mlp_width=37,
)
AGGREGATORS = ("official", "paper", "mean")


def config_of(aggregator: str, **changes: Any) -> StamConfig:  # noqa: ANN401
    return dataclasses.replace(CONFIG, aggregator=aggregator, **changes)


def model_of(aggregator: str, **changes: Any) -> Stam:  # noqa: ANN401
    return Stam(config_of(aggregator, **changes), torch.Generator().manual_seed(19)).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 8, 3, 22, 33, generator=torch.Generator().manual_seed(23))


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@torch.no_grad()
def test_the_two_halves_are_the_whole(aggregator: str, clip: Tensor) -> None:
    model = model_of(aggregator)
    logits = model(clip)
    frames = model.embed_frames(clip)
    assert frames.shape == (2, 8, 30)
    assert logits.shape == (2, 13)
    assert torch.equal(logits, model.classify(frames))
    assert torch.equal(logits, model.head(model.aggregate(frames)))
    weights = model.frame_weights(frames)
    assert weights.shape == (2, 8)
    assert_close(weights.sum(1), torch.ones(2), BY_HAND)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(aggregator: str, clip: Tensor) -> None:
    """Not bit for bit: matrix products choose their order of additions by the number of rows."""
    model = model_of(aggregator)
    alone = torch.cat([model(clip[:1]), model(clip[1:])])
    assert_close(model(clip), alone, REGROUPED)
    assert_close(model(clip.flip(0)), alone.flip(0), REGROUPED)


@torch.no_grad()
def test_frames_are_embedded_one_by_one(clip: Tensor) -> None:
    model = model_of("official")
    frames = model.embed_frames(clip)
    one_by_one = torch.cat([model.embed_frames(clip[:, index : index + 1]) for index in range(8)], dim=1)
    assert_close(frames, one_by_one, REGROUPED)
    assert_close(model.embed_frames(clip.flip(1)), frames.flip(1), REGROUPED)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@torch.no_grad()
def test_logits_are_float32_whatever_autocast_does(aggregator: str, clip: Tensor) -> None:
    model = model_of(aggregator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clip)
    assert logits.dtype == torch.float32
    assert_close(logits, model(clip), 0.05)


@torch.no_grad()
def test_an_empty_batch_gives_no_logits() -> None:
    assert model_of("official")(torch.zeros(0, 8, 3, 22, 33)).shape == (0, 13)


@torch.no_grad()
def test_the_mean_takes_any_number_of_frames(clip: Tensor) -> None:
    model = model_of("mean")
    assert model(clip[:, :3]).shape == (2, 13)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 8, 3, 33, 22), torch.float32, r"clip is \(2, 8, 3, 33, 22\) float32; expected \(B, T, 3, 22, 33\)"),
        ((2, 8, 3, 22, 34), torch.float32, r"clip is \(2, 8, 3, 22, 34\)"),
        ((2, 8, 1, 22, 33), torch.float32, r"clip is \(2, 8, 1, 22, 33\)"),
        ((8, 3, 22, 33), torch.float32, r"clip is \(8, 3, 22, 33\)"),
        ((2, 3, 8, 22, 33), torch.float32, r"clip is \(2, 3, 8, 22, 33\)"),
        ((2, 8, 3, 22, 33), torch.uint8, r"clip is \(2, 8, 3, 22, 33\) uint8; .* of floats; use the model's own prepr"),
        ((2, 7, 3, 22, 33), torch.float32, "clip has 7 frames but the model needs 8; sample with count=8"),
        ((2, 9, 3, 22, 33), torch.float32, "clip has 9 frames but the model needs 8; sample with count=8"),
        ((2, 0, 3, 22, 33), torch.float32, "clip has 0 frames but the model needs 8; sample with count=8"),
    ],
)
def test_a_clip_that_does_not_fit(shape: tuple[int, ...], dtype: torch.dtype, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of("official")(torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize("shape", [(2, 30), (2, 8, 31), (2, 8, 1, 30)])
def test_embeddings_that_do_not_fit(shape: tuple[int, ...]) -> None:
    model = model_of("official")
    for half in (model.classify, model.frame_weights):
        with pytest.raises(UsageError, match=r"the frame embeddings are \(2, .*\); expected \(B, T, 30\)"):
            half(torch.zeros(shape))


def test_frame_weights_refuse_another_number_of_frames() -> None:
    with pytest.raises(UsageError, match="has 5 frames but the model needs 8"):
        model_of("paper").frame_weights(torch.zeros(2, 5, 30))


def test_the_mean_refuses_no_frames() -> None:
    with pytest.raises(UsageError, match="has 0 frames"):
        model_of("mean").classify(torch.zeros(2, 0, 30))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({name: 0}, f"{name} is 0; expected a whole number of at least 1")
            for name in (
                "num_classes",
                "num_frames",
                "patch_size",
                "width",
                "depth",
                "heads",
                "temporal_depth",
                "temporal_heads",
                "temporal_mlp_width",
            )
        ],
        ({"num_classes": -5}, "num_classes is -5"),
        ({"num_classes": 5.5}, r"num_classes is 5\.5; expected a whole number"),
        ({"width": "30"}, "width is '30'; expected a whole number"),
        ({"image_size": (22, 34)}, "image_size is 22x34; expected height and width, multiples of patch_size, 11"),
        ({"image_size": (0, 33)}, "image_size is 0x33"),
        ({"image_size": (22,)}, "image_size is 22; expected height and width"),
        ({"image_size": (22, 33, 3)}, "image_size is 22x33x3; expected height and width"),
        ({"heads": 7}, "width is 30; expected a multiple of heads, 7"),
        ({"temporal_heads": 7}, "width is 30; expected a multiple of temporal_heads, 7"),
        ({"aggregator": "max"}, 'aggregator is \'max\'; expected "official", "paper" or "mean"'),
        ({"norm_eps": 0.0}, r"norm_eps is 0\.0; expected a number above 0"),
        ({"norm_eps": float("nan")}, "norm_eps is nan"),
        ({"mlp_ratio": 0.03}, r"mlp_ratio is 0\.03; expected at least 1 / width"),
        ({"mlp_ratio": -4.0}, r"mlp_ratio is -4\.0"),
        ({"temporal_dropout": 1.0}, r"temporal_dropout is 1\.0; expected at least 0 and below 1"),
        ({"drop_path": -0.1}, r"drop_path is -0\.1; expected at least 0 and below 1"),
        ({"drop_path": 1.0}, r"drop_path is 1\.0"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_the_mean_does_not_care_for_temporal_sizes() -> None:
    assert model_of("mean", temporal_depth=0, temporal_heads=0, heads=6)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_every_parameter_learns(aggregator: str, clip: Tensor) -> None:
    """Each gradient is finite and not zero, but for the keys' bias: it shifts all scores of a query alike."""
    model = model_of(aggregator).train()
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():  # away from the start, where class tokens and biases are 0 and gradients could hide
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    torch.manual_seed(31)
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        if name.endswith("qkv.bias"):
            query, key, value = gradient.chunk(3)
            assert query.all(), name
            assert value.all(), name
            assert float(key.abs().max()) < 1e-5 * float(value.abs().max()), name
        else:
            assert gradient.any(), name


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@torch.no_grad()
def test_export_with_any_batch_size(aggregator: str, clip: Tensor) -> None:
    model = model_of(aggregator)
    exported = torch.export.export(model, (clip,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.cat([clip, 1 - clip, clip[:1]])
    assert_close(exported.module()(more), model(more), REGROUPED)


def test_same_generator_same_weights_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = model_of("official").state_dict()
    torch.manual_seed(2)
    second = model_of("official").state_dict()
    other = Stam(CONFIG, torch.Generator().manual_seed(20)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize("aggregator", ["official", "paper"])
def test_no_two_layers_start_alike(aggregator: str) -> None:
    """The release copies one temporal layer, so its attention weights start six times the same."""
    matrices = [value for name, value in model_of(aggregator).state_dict().items() if value.ndim == 2]
    for index, first in enumerate(matrices):
        assert first.any()
        for second in matrices[index + 1 :]:
            assert first.shape != second.shape or not torch.equal(first, second)


def test_starting_values_of_tokens_and_norms() -> None:
    state = model_of("official", width=960, depth=1, temporal_depth=1).state_dict()
    for name in ("encoder.cls_token", "aggregate.cls_token"):
        assert float(state[name].std()) == pytest.approx(0.02 * 0.8796, rel=0.1)
    assert torch.equal(state["encoder.norm.weight"], torch.ones(960))
    assert not state["encoder.pos_embed"][0, 0].any()
    assert not state["aggregate.pos_embed"][0, 0].any()
    assert float(state["aggregate.pos_embed"][0, 1:].std()) > 0.5, "positions start as waves, not as noise of 0.02"
    assert not state["head.bias"].any()


def test_drop_path_grows_linearly_with_depth() -> None:
    rates = [block.drop_path.probability for block in model_of("official", depth=5, drop_path=0.2).encoder.blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert [block.drop_path.probability for block in model_of("mean", depth=1, drop_path=0.2).encoder.blocks] == [0.0]


def test_temporal_width_by_default() -> None:
    assert model_of("official", temporal_mlp_width=None).aggregate.layers[0].linear1.out_features == 2048
    assert model_of("paper", temporal_mlp_width=None).aggregate.blocks[0].mlp.fc1.out_features == 120


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_shape_suffixes_tell_the_truth(aggregator: str, clip: Tensor) -> None:
    torch.manual_seed(37)
    with true_shapes() as log:
        model = Stam(config_of(aggregator, drop_path=0.3)).train()
        model(clip)
        model.eval().frame_weights(model.embed_frames(clip))
    seen = {
        "stam.py:embed_frames:clip_BTCHW",
        "stam.py:embed_frames:embedding_FD",
        "stam.py:classify:logits_BK",
        "vit.py:embed_tokens:class_F1D",
        "layers.py:forward:query_BANE",
        "layers.py:forward:kept_B11",
        "layers.py:wave_positions:angles_NH",
    }
    if aggregator != "mean":
        seen |= {"layers.py:weights_of_first:scores_BA1N", "aggregators.py:_with_class_token:class_B1D"}
    assert seen <= log.checked


LIES = """
import torch
def too_few():
    clip_BTCHW = torch.zeros(2, 3, 5, 7)
def digit():
    class_F1D = torch.zeros(2, 3, 5)
def two_sizes():
    tokens_BND, weights_BN = torch.zeros(2, 3, 5), torch.zeros(2, 4)
def truth():
    tokens_BND, weights_BN, value_max, count_N = torch.zeros(2, 3, 5), torch.zeros(2, 3), torch.zeros(2), 9
    return (lambda tokens_BND: tokens_BND)(torch.zeros(7, 11, 13))
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("too_few", r"source\.py:too_few: clip_BTCHW is \(2, 3, 5, 7\), 4 dimensions"),
        ("digit", r"source\.py:digit: class_F1D is \(2, 3, 5\), but 1 is 1 by the digit"),
        ("two_sizes", r"source\.py:two_sizes: weights_BN is \(2, 4\), but N is 3 by tokens_BND"),
    ],
)
def test_a_lying_suffix_is_caught(function: str, message: str, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(LIES, str(tmp_path / "source.py"), "exec"), names)
    with pytest.raises(AssertionError, match=message), true_shapes(tmp_path):
        names[function]()
    with true_shapes(tmp_path) as log:
        names["truth"]()
    assert log.checked == {
        "source.py:truth:tokens_BND",
        "source.py:truth:weights_BN",
        "source.py:<lambda>:tokens_BND",
    }
