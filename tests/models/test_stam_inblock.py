"""Attention over time in every block: at the start ViT and mean, the same place only, positions, refusals, exports."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewframes.benchmark import measure_cost
from fewframes.errors import UsageError
from fewframes.models.layers import SelfAttention, wave_positions
from fewframes.models.positions import PositionTable
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.stam_inblock import SpaceTimeBlock, StamInBlock, StamInBlockConfig
from tests.helpers.shapes import true_shapes
from tests.helpers.tolerance import MISTAKE, REGROUPED, assert_close, difference

# B=2, T=5, H=22, W=33 (2 x 3 patches of 11, so P=6 and N=7), D=28, A=4, K=13.
CONFIG = StamInBlockConfig(
    num_classes=13, num_frames=5, image_size=(22, 33), patch_size=11, width=28, depth=3, heads=4, mlp_ratio=1.5
)


def model_of(**changes: Any) -> StamInBlock:  # noqa: ANN401
    return StamInBlock(dataclasses.replace(CONFIG, **changes), torch.Generator().manual_seed(19)).eval()


def trained(**changes: Any) -> StamInBlock:  # noqa: ANN401
    """A network whose branches over time do something."""
    model = model_of(**changes)
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 5, 3, 22, 33, generator=torch.Generator().manual_seed(23))


def mean_of(model: StamInBlock) -> Stam:
    """The ViT with the mean on top that has the same tensors."""
    config = StamConfig(**dataclasses.asdict(model.config), aggregator="mean")
    image = Stam(config, torch.Generator().manual_seed(41)).eval()
    shared = {name: value for name, value in model.state_dict().items() if "time_" not in name}
    image.load_state_dict(shared, strict=True)
    return image


@torch.no_grad()
def test_it_starts_as_vit_and_mean(clip: Tensor) -> None:
    """Bit for bit; and no longer once the branches over time do something."""
    model = model_of()
    assert torch.equal(model(clip), mean_of(model)(clip))
    other = trained()
    assert difference(other(clip), mean_of(other)(clip)) > MISTAKE


def test_the_zeroed_projections_learn_at_once(clip: Tensor) -> None:
    """Only they, of the branches over time: behind a zero nothing else has a gradient yet."""
    model = model_of().train()
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for block in model.encoder.blocks:
        assert isinstance(block, SpaceTimeBlock)
        assert not block.time_attn.proj.weight.any()
        assert block.time_attn.proj.weight.grad is not None
        assert float(block.time_attn.proj.weight.grad.abs().max()) > 1e-6
        assert block.time_attn.qkv.weight.grad is not None
        assert not block.time_attn.qkv.weight.grad.any()


def test_an_attention_that_is_zero_throughout_never_starts(clip: Tensor) -> None:
    """The broken twin: with queries, keys and values zeroed too, the projection gets no gradient either."""
    model = model_of().train()
    for block in model.encoder.blocks:
        assert isinstance(block, SpaceTimeBlock)
        nn.init.zeros_(block.time_attn.qkv.weight)
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for block in model.encoder.blocks:
        assert isinstance(block, SpaceTimeBlock)
        assert block.time_attn.proj.weight.grad is not None
        assert not block.time_attn.proj.weight.grad.any()


def test_every_parameter_learns_after_the_first_step(clip: Tensor) -> None:
    model = trained().train()
    nn.functional.cross_entropy(model(clip), torch.tensor([3, 12])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def block_of(*, space: bool) -> SpaceTimeBlock:
    """One block of which only the branch over time does something, or also that over space."""
    block = trained(depth=1).encoder.blocks[0]
    assert isinstance(block, SpaceTimeBlock)
    for layer in [block.mlp.fc2] if space else [block.mlp.fc2, block.attn.proj]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return block


def tokens_of(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch * 5, 7, 28, generator=generator), torch.randn(1, 5, 28, generator=generator)


@torch.no_grad()
def test_the_branch_over_time_by_hand() -> None:
    """Each place of each clip on its own, head by head, in plain loops."""
    block = block_of(space=False)
    tokens, times = tokens_of(2)
    expected = tokens.clone()
    attention, size = block.time_attn, 28 // 4
    for video in range(2):
        for place in range(7):
            series = tokens.reshape(2, 5, 7, 28)[video, :, place]
            normed = nn.functional.layer_norm(
                series + times[0], (28,), block.time_norm.weight, block.time_norm.bias, eps=1e-5
            )
            query, key, value = attention.qkv(normed).reshape(5, 3, 4, size).unbind(1)
            mixed = torch.zeros(5, 4, size)
            for head in range(4):
                scores = query[:, head] @ key[:, head].T / size**0.5
                mixed[:, head] = scores.softmax(1) @ value[:, head]
            for frame in range(5):
                expected[5 * video + frame, place] += attention.proj(mixed[frame].flatten())
    assert_close(block(tokens, times), expected, REGROUPED)


@torch.no_grad()
def test_time_mixes_the_same_place_of_the_same_clip_only() -> None:
    block = block_of(space=False)
    tokens, times = tokens_of(2)
    moved = tokens.clone()
    moved[5 + 3, 4, 0] += 1.0  # second clip, frame 3, place 4; one feature, as norms do not see a shift of all
    changed = (block(moved, times) - block(tokens, times)).abs().amax(-1).reshape(2, 5, 7) > 1e-6
    expected = torch.zeros(2, 5, 7, dtype=torch.bool)
    expected[1, :, 4] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_space_comes_before_time() -> None:
    """What one frame's patches told each other reaches other frames in the same block."""
    block = block_of(space=True)
    tokens, times = tokens_of(1)
    moved = tokens.clone()
    moved[3, 4, 0] += 1.0
    changed = (block(moved, times) - block(tokens, times)).abs().amax(-1) > 1e-6
    assert changed.all()
    # The broken twin: time first, then space.
    time_first = tokens + block._over_time(tokens, times)
    time_first = time_first + block.attn(block.norm1(time_first))
    assert difference(block(tokens, times), time_first) > MISTAKE


@torch.no_grad()
def test_frames_are_told_apart_by_their_positions_alone(clip: Tensor) -> None:
    model, blind = trained(), trained()
    assert difference(model(clip.flip(1)), model(clip)) > MISTAKE
    blind.time_embed.zero_()
    assert_close(blind(clip.flip(1)), blind(clip), REGROUPED)
    model.time_embed.copy_(model.time_embed.flip(1).clone())
    assert_close(model(clip.flip(1)), trained()(clip), REGROUPED)


def test_starting_values() -> None:
    model = model_of()
    assert torch.equal(model.time_embed.detach()[0], wave_positions(torch.arange(5), 28))
    assert torch.equal(model.encoder.pos_embed, mean_of(model).encoder.pos_embed)
    weights = [each.qkv.weight for each in model.modules() if isinstance(each, SelfAttention)]
    assert len(weights) == 6
    assert all(not torch.equal(a, b) for index, a in enumerate(weights) for b in weights[:index])


def test_position_tables() -> None:
    space, time = model_of().position_tables()
    assert space == PositionTable("encoder.pos_embed", has_class=True, grid=(1, 2, 3))
    assert time == PositionTable("time_embed", has_class=False, grid=(5, 1, 1))
    state = model_of().state_dict()
    assert all(state[table.name].shape == (1, table.num_tokens, 28) for table in (space, time))


def test_cost_by_hand() -> None:
    d, frames, tokens, inner = 28, 5, 7, 42
    linear = frames * (6 * d * 3 * 11 * 11 + 3 * tokens * (8 * d * d + 2 * d * inner)) + d * 13
    cost = measure_cost(model_of(), (5, 3, 22, 33))
    assert cost.macs_without_attention_products == linear
    assert cost.macs == linear + 3 * 2 * d * (frames * tokens * tokens + tokens * frames * frames)


def test_full_size() -> None:
    """Dearer than STAM's 281.6 GMACs, as the paper says: an attention and a norm more in each of 12 blocks."""
    with torch.device("meta"):
        model = StamInBlock(StamInBlockConfig())
    cost = measure_cost(model, (16, 3, 224, 224))
    assert cost.num_parameters == 86_106_256 + 16 * 768 + 12 * (4 * 768 * 768 + 4 * 768 + 2 * 768)
    assert cost.macs / 1e9 == pytest.approx(371.18, abs=0.01)


@torch.no_grad()
def test_batches_and_types(clip: Tensor) -> None:
    model = trained()
    assert_close(model(clip), torch.cat([model(clip[:1]), model(clip[1:])]), REGROUPED)
    assert model(clip[:0]).shape == (0, 13)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(clip)
    assert logits.dtype == torch.float32
    assert_close(logits, model(clip), 0.1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5, 3, 33, 22), r"clip is \(2, 5, 3, 33, 22\) float32; expected \(B, T, 3, 22, 33\)"),
        ((2, 3, 5, 22, 33), r"clip is \(2, 3, 5, 22, 33\)"),
        ((2, 4, 3, 22, 33), "clip has 4 frames but the model needs 5; sample with count=5"),
    ],
)
def test_a_clip_that_does_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *[({name: 0}, f"{name} is 0; expected") for name in ("num_classes", "num_frames", "width", "depth", "heads")],
        ({"patch_size": 10}, "image_size is 22x33; expected height and width, multiples of patch_size, 10"),
        ({"heads": 5}, "width is 28; expected a multiple of heads, 5"),
        ({"norm_eps": 0.0}, r"norm_eps is 0\.0"),
        ({"drop_path": 1.0}, r"drop_path is 1\.0"),
    ],
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


@torch.no_grad()
def test_export_with_any_batch_size(clip: Tensor) -> None:
    model = trained()
    exported = torch.export.export(model, (clip,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.cat([clip, 1 - clip, clip[:1]])
    assert_close(exported.module()(more), model(more), REGROUPED)


def test_same_generator_same_weights_whatever_the_global_state() -> None:
    torch.manual_seed(1)
    first = model_of().state_dict()
    torch.manual_seed(2)
    second = model_of().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_shape_suffixes_tell_the_truth(clip: Tensor) -> None:
    torch.manual_seed(37)
    with true_shapes() as log:
        model_of(drop_path=0.3).train()(clip)
    assert {
        "stam_inblock.py:forward:tokens_FND",
        "stam_inblock.py:forward:frames_BTD",
        "stam_inblock.py:_over_time:tokens_BTND",
        "stam_inblock.py:_over_time:series_LTD",
        "stam_inblock.py:_over_time:mixed_FND",
        "layers.py:forward:kept_B11",
    } <= log.checked
