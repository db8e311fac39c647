"""TimeSformer: what it is at the start, its sizes, its refusals, gradients, exports, shapes that tell the truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fewframes.benchmark import measure_cost
from fewframes.errors import UsageError
from fewframes.models.positions import PositionTable
from fewframes.models.timesformer import DividedBlock, Timesformer, TimesformerConfig, image_vit_to_timesformer
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import PARITY, REGROUPED, assert_close, difference

# Every size differs from every other: B=2, T=5, H=22, W=33 (2 x 3 patches of 11, so P=6, N=7, S=31), D=24, A=4, K=13.
CONFIG = TimesformerConfig(
    num_classes=13, num_frames=5, image_size=(22, 33), patch_size=11, width=24, depth=3, heads=4, mlp_ratio=1.5
)
SCHEMES = ("divided", "joint", "space")


def model_of(attention: str, **changes: Any) -> Timesformer:  # noqa: ANN401
    config = dataclasses.replace(CONFIG, attention=attention, **changes)
    return Timesformer(config, torch.Generator().manual_seed(19)).eval()


def randomised(model: Timesformer) -> Timesformer:
    """Away from the start, where time has no effect."""
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 5, 3, 22, 33, generator=torch.Generator().manual_seed(23))


def image_vit(**changes: Any) -> VisionTransformer:  # noqa: ANN401
    torch.manual_seed(31)
    sizes: dict[str, Any] = {"img_size": (22, 33), "patch_size": 11, "embed_dim": 24, "depth": 3, "num_heads": 4}
    vit = VisionTransformer(**{**sizes, "mlp_ratio": 1.5, "num_classes": 13, **changes})
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return vit.eval()


@pytest.mark.parametrize("attention", ["divided", "space"])
@torch.no_grad()
def test_a_still_video_is_an_image_at_the_start(attention: str, clip: Tensor) -> None:
    """Started from an image ViT, T identical frames give what the image model gives for one of them."""
    vit, model = image_vit(), model_of(attention)
    model.load_state_dict(image_vit_to_timesformer(vit.state_dict(), model.config), strict=True)
    still = clip[:, :1].expand(-1, 5, -1, -1, -1)
    assert_close(model(still), vit(clip[:, 0]), PARITY)
    assert difference(model(clip), vit(clip[:, 0])) > 1e-3, "other frames are seen"


@torch.no_grad()
def test_divided_frames_only_meet_in_the_class_token_at_the_start(clip: Tensor) -> None:
    """With one block, the class token is then the mean of the image model's own over the frames, before the MLP."""
    vit, model = image_vit(depth=1), model_of("divided", depth=1)
    model.load_state_dict(image_vit_to_timesformer(vit.state_dict(), model.config), strict=True)
    block = vit.blocks[0]
    tokens = vit._pos_embed(vit.patch_embed(clip.flatten(0, 1)))
    tokens = (tokens + block.attn(block.norm1(tokens)))[:, 0].unflatten(0, (2, 5)).mean(1)
    assert_close(model(clip), vit.head(vit.norm(tokens + block.mlp(block.norm2(tokens)))), PARITY)
    assert_close(model(clip.flip(1)), model(clip), REGROUPED)


@torch.no_grad()
def test_what_an_image_vit_gives() -> None:
    tensors = image_vit().state_dict()
    divided = image_vit_to_timesformer(tensors, dataclasses.replace(CONFIG, num_frames=7))
    first = "encoder.blocks.1."
    assert divided["encoder.time_embed"].shape == (1, 7, 24)
    assert not divided["encoder.time_embed"].any()
    for part in ("temporal_attn.qkv", "temporal_attn.proj", "temporal_norm1"):
        for kind in ("weight", "bias"):
            source = part.replace("temporal_attn", "attn").replace("temporal_norm1", "norm1")
            assert torch.equal(divided[f"{first}{part}.{kind}"], tensors[f"blocks.1.{source}.{kind}"])
    assert not divided[f"{first}temporal_fc.weight"].any()
    assert not divided[f"{first}temporal_fc.bias"].any()
    joint = image_vit_to_timesformer(tensors, dataclasses.replace(CONFIG, attention="joint"))
    assert set(joint) == set(model_of("joint").state_dict())
    space = image_vit_to_timesformer(tensors, dataclasses.replace(CONFIG, attention="space"))
    assert set(space) == set(model_of("space").state_dict())
    headless = image_vit_to_timesformer(image_vit(num_classes=0).state_dict(), CONFIG)
    assert set(model_of("divided").state_dict()) - set(headless) == {"head.weight", "head.bias"}


def test_time_is_without_effect_at_the_start(clip: Tensor) -> None:
    model = model_of("divided", depth=12)
    blocks = [each for each in model.modules() if isinstance(each, DividedBlock)]
    assert len(blocks) == 12
    assert not any(block.temporal_fc.weight.any() or block.temporal_fc.bias.any() for block in blocks)
    assert not model.encoder.time_embed.any()
    for attention in ("divided", "space"):
        start = model_of(attention)
        assert_close(start(clip[:, [3, 0, 4, 1, 2]]), start(clip), REGROUPED)
    learned = randomised(model_of("divided"))
    assert difference(learned(clip.flip(1)), learned(clip)) > 1e-4


@torch.no_grad()
def test_the_schemes_relate(clip: Tensor) -> None:
    """With one frame, joint and space-only attention are the same network, and so is divided at its start."""
    one = {attention: model_of(attention, num_frames=1) for attention in SCHEMES}
    state = one["space"].state_dict()
    for model in one.values():
        model.load_state_dict(state, strict=False)
    expected = one["space"](clip[:, :1])
    assert_close(one["joint"](clip[:, :1]), expected, REGROUPED)
    assert_close(one["divided"](clip[:, :1]), expected, REGROUPED)


# Source: the released code, counted and run at full size.
SIZES = [
    ({}, 121_566_352, 249, 195.8),
    ({"num_frames": 16, "image_size": (448, 448)}, 122_024_080, 249, 1702.7),
    ({"num_frames": 96}, 121_633_936, 249, 2379.9),
]


@pytest.mark.parametrize(("changes", "num_parameters", "num_tensors", "gmacs"), SIZES)
def test_full_size(changes: dict[str, Any], num_parameters: int, num_tensors: int, gmacs: float) -> None:
    config = TimesformerConfig(**changes)
    with torch.device("meta"):
        model = Timesformer(config)
    cost = measure_cost(model, (config.num_frames, 3, *config.image_size))
    assert cost.num_parameters == num_parameters
    assert len(model.state_dict()) == num_tensors
    assert cost.macs / 1e9 == pytest.approx(gmacs, abs=0.05)


def test_position_tables() -> None:
    space = PositionTable("encoder.pos_embed", has_class=True, grid=(1, 2, 3), mode="nearest")
    time = PositionTable("encoder.time_embed", has_class=False, grid=(5, 1, 1), mode="nearest")
    assert model_of("divided").position_tables() == model_of("joint").position_tables() == (space, time)
    assert model_of("space").position_tables() == (space,)
    for attention in SCHEMES:
        state = model_of(attention).state_dict()
        for table in model_of(attention).position_tables():
            assert state[table.name].shape == (1, table.num_tokens, 24)


@pytest.mark.parametrize("attention", SCHEMES)
@torch.no_grad()
def test_a_batch_of_two_is_two_batches_of_one(attention: str, clip: Tensor) -> None:
    model = randomised(model_of(attention))
    assert_close(model(clip), torch.cat([model(clip[:1]), model(clip[1:])]), REGROUPED)


@pytest.mark.parametrize("attention", SCHEMES)
@torch.no_grad()
def test_logits_are_float32_whatever_autocast_does(attention: str, clip: Tensor) -> None:
    model = randomised(model_of(attention))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clip)
    assert logits.dtype == torch.float32
    assert_close(logits, model(clip), 0.05)
    assert model(clip[:0]).shape == (0, 13)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 3, 33, 22), r"clip is \(2, 5, 3, 33, 22\) float32; expected \(B, T, 3, 22, 33\)"),
        ((2, 3, 5, 22, 33), r"clip is \(2, 3, 5, 22, 33\)"),
        ((2, 4, 3, 22, 33), "clip has 4 frames but the model needs 5; sample with count=5"),
    ],
)
@pytest.mark.parametrize("attention", SCHEMES)
def test_a_clip_that_does_not_fit(attention: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of(attention)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[
            ({name: 0}, f"{name} is 0; expected a whole number of at least 1")
            for name in ("num_classes", "num_frames", "patch_size", "width", "depth", "heads")
        ],
        ({"attention": "axial"}, 'attention is \'axial\'; expected "divided", "joint" or "space"'),
        ({"image_size": (22, 34)}, "image_size is 22x34; expected height and width, multiples of patch_size, 11"),
        ({"heads": 7}, "width is 24; expected a multiple of heads, 7"),
        ({"norm_eps": 0.0}, r"norm_eps is 0\.0; expected a number above 0"),
        ({"mlp_ratio": 0.01}, r"mlp_ratio is 0\.01; expected at least 1 / width"),
        ({"drop_path": 1.0}, r"drop_path is 1\.0; expected at least 0 and below 1"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize("attention", SCHEMES)
def test_every_parameter_learns(attention: str, clip: Tensor) -> None:
    """Each gradient is finite and not zero, but for the keys' bias: it shifts all scores of a query alike."""
    model = randomised(model_of(attention)).train()
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        assert torch.isfinite(gradient).all(), name
        if name.endswith("qkv.bias"):
            query, key, value = gradient.chunk(3)
            assert query.any(), name
            assert value.any(), name
            assert float(key.abs().max()) < 1e-5 * float(value.abs().max()), name
        else:
            assert gradient.any(), name


def test_time_can_be_learned_from_the_start(clip: Tensor) -> None:
    """A zeroed temporal_fc lets nothing through, but it learns itself."""
    model = model_of("divided").train()
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for block in model.encoder.blocks[:-1]:
        assert block.temporal_fc.weight.grad.any()
        assert not block.temporal_attn.qkv.weight.grad.any()


@pytest.mark.parametrize("attention", SCHEMES)
@torch.no_grad()
def test_export_with_any_batch_size(attention: str, clip: Tensor) -> None:
    model = randomised(model_of(attention))
    exported = torch.export.export(model, (clip,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.cat([clip, 1 - clip, clip[:1]])
    assert_close(exported.module()(more), model(more), REGROUPED)


@pytest.mark.parametrize("attention", SCHEMES)
def test_same_generator_same_weights_whatever_the_global_state(attention: str) -> None:
    torch.manual_seed(1)
    first = model_of(attention).state_dict()
    torch.manual_seed(2)
    second = model_of(attention).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("attention", SCHEMES)
def test_drop_path_grows_linearly_with_depth(attention: str, clip: Tensor) -> None:
    model = model_of(attention, depth=5, drop_path=0.2)
    rates = [block.drop_path.probability for block in model.encoder.blocks]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2])
    assert torch.isfinite(randomised(model).train()(clip)).all()


@pytest.mark.parametrize("attention", SCHEMES)
def test_shape_suffixes_tell_the_truth(attention: str, clip: Tensor) -> None:
    with true_shapes() as log:
        model_of(attention, drop_path=0.3).train()(clip)
    seen = {"timesformer.py:forward:clip_BTCHW", "timesformer.py:forward:logits_BK"}
    if attention == "divided":
        seen |= {"timesformer.py:_over_time:tubes_XTD", "timesformer.py:_over_space:tokens_FND"}
    if attention != "space":
        seen |= {"timesformer.py:forward:tokens_BSD", "timesformer.py:forward:patches_BTPD"}
    assert seen <= log.checked
