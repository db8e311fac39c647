"""STAM over encoders of timm: its two halves, width, refusals, gradients, exports, shapes that tell the truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.positions import PositionTable
from fewframes.models.stam_timm import StamTimm, StamTimmConfig
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import BY_HAND, assert_close

# B=2, T=7, S=8, K=13, H=32, W=48, patches of 16; D=64 (ViT) or 96 (ResNet).
CONFIG = StamTimmConfig(
    num_classes=13,
    num_frames=7,
    image_size=(32, 48),
    encoder="test_vit",
    temporal_depth=2,
    temporal_heads=4,
    temporal_mlp_width=37,
)
WIDTHS = {"test_vit": 64, "test_resnet": 96}
AGGREGATORS = ("official", "paper", "mean")
# timm's encoders start with features well above 1, and the last bits with them.
REGROUPED = 1e-5


def model_of(**changes: Any) -> StamTimm:  # noqa: ANN401
    return StamTimm(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(19)).eval()


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 7, 3, 32, 48, generator=torch.Generator().manual_seed(23))


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("encoder", WIDTHS)
@torch.no_grad()
def test_the_two_halves_are_the_whole(encoder: str, aggregator: str, clip: Tensor) -> None:
    model = model_of(encoder=encoder, aggregator=aggregator)
    frames = model.embed_frames(clip)
    assert frames.shape == (2, 7, WIDTHS[encoder])
    assert model.width == model.head.in_features == WIDTHS[encoder]
    logits = model(clip)
    assert logits.shape == (2, 13)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, model.classify(frames))
    assert torch.equal(logits, model.head(model.aggregate(frames)))
    assert torch.equal(frames[1, 3], model.encoder.net(clip.flatten(0, 1))[10])
    weights = model.frame_weights(frames)
    assert weights.shape == (2, 7)
    assert_close(weights.sum(1), torch.ones(2), BY_HAND)


@pytest.mark.parametrize("encoder", WIDTHS)
@torch.no_grad()
def test_frames_are_embedded_one_by_one(encoder: str, clip: Tensor) -> None:
    model = model_of(encoder=encoder)
    frames = model.embed_frames(clip)
    one_by_one = torch.cat([model.embed_frames(clip[:, index : index + 1]) for index in range(7)], dim=1)
    assert_close(frames, one_by_one, REGROUPED)
    assert_close(model(clip.flip(0)), model(clip).flip(0), REGROUPED)


@torch.no_grad()
def test_the_order_of_frames_counts_but_for_the_mean(clip: Tensor) -> None:
    assert not torch.allclose(model_of()(clip), model_of()(clip.flip(1)), atol=1e-3)
    mean = model_of(aggregator="mean")
    assert_close(mean(clip), mean(clip.flip(1)), REGROUPED)
    assert mean(clip[:, :3]).shape == (2, 13)


@torch.no_grad()
def test_logits_are_float32_whatever_autocast_does(clip: Tensor) -> None:
    model = model_of(encoder="test_resnet")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clip)
    assert logits.dtype == torch.float32
    assert_close(logits, model(clip), 0.1)


@pytest.mark.parametrize(
    ("encoder", "width", "heads", "mlp_width"),
    [("resnet50", 2048, 8, 2048), ("tresnet_m", 2048, 8, 2048), ("tresnet_l", 2432, 8, 2048)],
)
def test_the_aggregator_has_the_encoders_width(encoder: str, width: int, heads: int, mlp_width: int) -> None:
    with torch.device("meta"):
        model = StamTimm(StamTimmConfig(encoder=encoder))
    layers = model.aggregate.get_submodule("layers")
    assert isinstance(layers, nn.ModuleList)
    assert len(layers) == 6
    assert layers[0].attn.heads == heads
    assert layers[0].attn.proj.weight.shape == (width, width)
    assert layers[0].linear1.weight.shape == (mlp_width, width)
    assert model.aggregate.get_parameter("pos_embed").shape == (1, 17, width)


def test_the_papers_mlp_is_four_times_as_wide() -> None:
    model = model_of(aggregator="paper", temporal_mlp_width=None)
    assert model.aggregate.get_submodule("blocks.0.mlp.fc1").weight.shape == (256, 64)


def test_position_tables() -> None:
    time = PositionTable("aggregate.pos_embed", has_class=True, grid=(7, 1, 1))
    space = PositionTable("encoder.net.pos_embed", has_class=True, grid=(1, 2, 3))
    assert model_of().position_tables() == (space, time)
    assert model_of(encoder="test_resnet").position_tables() == (time,)
    assert model_of(encoder="test_resnet", aggregator="mean").position_tables() == ()
    state = model_of().state_dict()
    assert all(state[table.name].shape[:2] == (1, table.num_tokens) for table in (space, time))


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 7, 3, 48, 32), torch.float32, r"clip is \(2, 7, 3, 48, 32\) float32; expected \(B, T, 3, 32, 48\)"),
        ((7, 3, 32, 48), torch.float32, r"clip is \(7, 3, 32, 48\)"),
        ((2, 7, 3, 32, 48), torch.uint8, r"uint8; .* of floats; use the model's own preprocess"),
        ((2, 5, 3, 32, 48), torch.float32, "clip has 5 frames but the model needs 7; sample with count=7"),
    ],
)
def test_a_clip_that_does_not_fit(shape: tuple[int, ...], dtype: torch.dtype, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of()(torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize("shape", [(2, 64), (2, 7, 65), (2, 7, 1, 64)])
def test_embeddings_that_do_not_fit(shape: tuple[int, ...]) -> None:
    model = model_of()
    for half in (model.classify, model.frame_weights):
        with pytest.raises(UsageError, match=r"the frame embeddings are \(2, .*\); expected \(B, T, 64\)"):
            half(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0; expected a whole number of at least 1"),
        ({"num_frames": -1}, "num_frames is -1"),
        ({"image_size": (32,)}, "image_size is 32; expected height and width"),
        ({"encoder": ""}, "encoder is ''; expected the name of a model in timm"),
        ({"encoder": 50}, "encoder is 50; expected the name of a model in timm"),
        ({"encoder": "test_vitt"}, "timm has no encoder 'test_vitt'; the nearest are test_vit"),
        ({"encoder": "tiny"}, "timm has no encoder 'tiny'"),
        ({"aggregator": "max"}, 'aggregator is \'max\'; expected "official", "paper" or "mean"'),
        ({"temporal_heads": 7}, "width is 64; expected a multiple of temporal_heads, 7"),
        ({"temporal_heads": 0}, "temporal_heads is 0"),
        ({"temporal_depth": 0}, "temporal_depth is 0"),
        ({"temporal_mlp_width": 0}, "temporal_mlp_width is 0"),
        ({"temporal_dropout": 1.0}, r"temporal_dropout is 1\.0; expected at least 0 and below 1"),
        ({"drop_path": -0.1}, r"drop_path is -0\.1"),
        ({"norm_eps": 0.0}, r"norm_eps is 0\.0; expected a number above 0"),
        ({"image_size": (32, 47)}, "image_size is 32x47; expected height and width, multiples of test_vit's patches"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of(**changes)


def test_a_config_alone_does_not_ask_timm() -> None:
    assert StamTimmConfig(encoder="of another version of timm").encoder


@pytest.mark.parametrize("encoder", WIDTHS)
def test_every_parameter_learns(encoder: str, clip: Tensor) -> None:
    model = model_of(encoder=encoder).train()
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():  # away from the start, where zeroed scales hide gradients
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    torch.manual_seed(31)
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("encoder", WIDTHS)
@torch.no_grad()
def test_export_with_any_batch_size(encoder: str, clip: Tensor) -> None:
    model = model_of(encoder=encoder)
    exported = torch.export.export(model, (clip,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.cat([clip, 1 - clip, clip[:1]])
    assert_close(exported.module()(more), model(more), REGROUPED)


def test_same_generator_same_weights_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = model_of().state_dict()
    torch.manual_seed(2)
    second = model_of().state_dict()
    other = StamTimm(CONFIG, torch.Generator().manual_seed(20)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("head.weight", "encoder.net.patch_embed.proj.weight", "aggregate.layers.0.attn.qkv.weight"):
        assert not torch.equal(first[name], other[name])


def test_stochastic_depth_reaches_the_encoder() -> None:
    block = model_of(drop_path=0.2).encoder.net.get_submodule("blocks.5.drop_path1")
    assert getattr(block, "drop_prob", None) == pytest.approx(0.2)


def test_shape_suffixes_tell_the_truth(clip: Tensor) -> None:
    with true_shapes() as log:
        model = model_of()
        model(clip)
        model.frame_weights(model.embed_frames(clip))
    assert {
        "stam_timm.py:embed_frames:embedding_BTD",
        "stam_timm.py:classify:logits_BK",
        "stam_timm.py:frame_weights:weights_BT",
        "encoders.py:forward:frames_FCHW",
        "temporal.py:check_frames:frames_BTD",
    } <= log.checked
