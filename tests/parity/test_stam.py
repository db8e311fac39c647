"""STAM against numbers that the official release computed; and wrong STAMs, which must not pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.models import aggregators, layers
from fewframes.models.stam import Stam
from tests.helpers.golden import STAM_FIXTURES, GoldenStam, golden_stam
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

TEMPORAL_FIXTURES = [name for name in STAM_FIXTURES if "mean" not in name]


@pytest.mark.parametrize("name", STAM_FIXTURES)
@torch.no_grad()
def test_parity_with_the_release(name: str) -> None:
    golden = golden_stam(name)
    model = golden.model()
    frames = model.embed_frames(golden.clip)
    video = model.aggregate(frames)
    assert_close(frames, golden.frames, PARITY)
    assert_close(video, golden.video, PARITY)
    assert_close(model.head(video), golden.logits, PARITY)
    assert_close(model(golden.clip), golden.logits, PARITY)


def _encoder_norms(model: Stam) -> list[nn.LayerNorm]:
    return [module for module in model.encoder.modules() if isinstance(module, nn.LayerNorm)]


def _temporal_norms(model: Stam) -> list[nn.LayerNorm]:
    return [module for module in model.aggregate.modules() if isinstance(module, nn.LayerNorm)]


def _attentions(module: nn.Module) -> list[layers.SelfAttention]:
    return [each for each in module.modules() if isinstance(each, layers.SelfAttention)]


def _reorder_fused_rows(attention: layers.SelfAttention, order: Callable[[Tensor], Tensor]) -> None:
    rows = order(torch.arange(attention.qkv.out_features))
    attention.qkv.weight.copy_(attention.qkv.weight[rows].clone())
    if attention.qkv.bias is not None:
        attention.qkv.bias.copy_(attention.qkv.bias[rows].clone())


def _key_before_query(rows: Tensor) -> Tensor:
    query, key, value = rows.chunk(3)
    return torch.cat([key, query, value])


def _heads_outermost(heads: int) -> Callable[[Tensor], Tensor]:
    """Read the fused rows as (head, which of the three, size of a head) where they are (which, head, size)."""
    return lambda rows: rows.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten()


def encoder_eps(model: Stam, _: pytest.MonkeyPatch) -> None:
    for norm in _encoder_norms(model):
        norm.eps = 1e-6


def tanh_gelu(_: Stam, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = F.gelu
    monkeypatch.setattr(layers.F, "gelu", lambda value, **_: exact(value, approximate="tanh"))


def encoder_key_before_query(model: Stam, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model.encoder):
        _reorder_fused_rows(attention, _key_before_query)


def encoder_heads_outermost(model: Stam, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model.encoder):
        _reorder_fused_rows(attention, _heads_outermost(attention.heads))


def encoder_heads_halved(model: Stam, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model.encoder):
        attention.heads = 1


def encoder_without_last_norm(model: Stam, _: pytest.MonkeyPatch) -> None:
    model.encoder.norm = nn.Identity()


def encoder_post_norm(_: Stam, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(block: layers.PreNormBlock, tokens: Tensor) -> Tensor:
        tokens = block.norm1(tokens + block.attn(tokens))
        return block.norm2(tokens + block.mlp(tokens))

    monkeypatch.setattr(layers.PreNormBlock, "forward", forward)


def patches_column_by_column(model: Stam, _: pytest.MonkeyPatch) -> None:
    positions = model.encoder.pos_embed
    patches = positions[:, 1:].unflatten(1, model.encoder.grid).transpose(1, 2).flatten(1, 2)
    positions[:, 1:] = patches.clone()


def blue_first(model: Stam, _: pytest.MonkeyPatch) -> None:
    weight = model.encoder.patch_embed.proj.weight
    weight.copy_(weight.flip(1).clone())


def frames_backwards(model: Stam, _: pytest.MonkeyPatch) -> None:
    model.register_forward_pre_hook(lambda _, clips: (clips[0].flip(1),))


def temporal_eps(model: Stam, _: pytest.MonkeyPatch) -> None:
    for norm in _temporal_norms(model):
        norm.eps = 1e-6


def temporal_key_before_query(model: Stam, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model.aggregate):
        _reorder_fused_rows(attention, _key_before_query)


def temporal_heads_outermost(model: Stam, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model.aggregate):
        _reorder_fused_rows(attention, _heads_outermost(attention.heads))


def temporal_pre_norm(_: Stam, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(layer: aggregators.PostNormLayer, tokens: Tensor) -> Tensor:
        tokens = tokens + layer.attn(layer.norm1(tokens))
        return tokens + layer.linear2(F.relu(layer.linear1(layer.norm2(tokens))))

    monkeypatch.setattr(aggregators.PostNormLayer, "forward", forward)


def temporal_gelu(_: Stam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregators.F, "relu", F.gelu)


def temporal_without_last_norm(model: Stam, _: pytest.MonkeyPatch) -> None:
    model.aggregate.norm = nn.Identity()


def temporal_positions_one_late(model: Stam, _: pytest.MonkeyPatch) -> None:
    positions = model.aggregate.pos_embed
    positions.copy_(positions.roll(1, dims=1).clone())


def dropout_left_on(model: Stam, _: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    model.train()


Twin = Callable[[Stam, pytest.MonkeyPatch], None]
ENCODER_TWINS = [
    encoder_eps,
    tanh_gelu,
    encoder_key_before_query,
    encoder_heads_outermost,
    encoder_heads_halved,
    encoder_without_last_norm,
    encoder_post_norm,
    patches_column_by_column,
    blue_first,
]
TEMPORAL_TWINS = [
    frames_backwards,
    temporal_eps,
    temporal_key_before_query,
    temporal_heads_outermost,
    temporal_pre_norm,
    temporal_gelu,
    temporal_without_last_norm,
    temporal_positions_one_late,
    dropout_left_on,
]


def _error_of(twin: Twin, golden: GoldenStam, monkeypatch: pytest.MonkeyPatch) -> float:
    model = golden.model()
    with torch.no_grad():
        twin(model, monkeypatch)
        return difference(model(golden.clip), golden.logits)


@pytest.mark.parametrize("name", STAM_FIXTURES)
@pytest.mark.parametrize("twin", ENCODER_TWINS)
def test_a_wrong_encoder_fails_parity(twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _error_of(twin, golden_stam(name), monkeypatch) > MISTAKE


@pytest.mark.parametrize("name", TEMPORAL_FIXTURES)
@pytest.mark.parametrize("twin", TEMPORAL_TWINS)
def test_a_wrong_aggregator_fails_parity(twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _error_of(twin, golden_stam(name), monkeypatch) > MISTAKE


def test_the_mean_baseline_is_blind_to_the_order_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _error_of(frames_backwards, golden_stam("stam_official_mean_a"), monkeypatch) <= PARITY
