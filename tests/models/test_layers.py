"""The shared parts against numbers worked out by hand, and their starting weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.models.layers import DropPath, Mlp, PreNormBlock, SelfAttention, init_transformer_, wave_positions
from tests.helpers.tolerance import BY_HAND, PARITY, assert_close


def identity_attention(width: int, heads: int) -> SelfAttention:
    """Queries, keys and values are the tokens themselves, and so is the output of the mixture."""
    attention = SelfAttention(width, heads)
    with torch.no_grad():
        attention.qkv.weight.copy_(torch.eye(width).repeat(3, 1))
        attention.qkv.bias.zero_()
        attention.proj.weight.copy_(torch.eye(width))
        attention.proj.bias.zero_()
    return attention


def test_attention_by_hand() -> None:
    # Tokens (1, 0) and (0, 2), one head of size 2: scores over sqrt(2) are [[1, 0], [0, 4]] / sqrt(2).
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    first = math.exp(1 / math.sqrt(2)) / (math.exp(1 / math.sqrt(2)) + 1)  # of token 1 to itself
    second = math.exp(4 / math.sqrt(2)) / (math.exp(4 / math.sqrt(2)) + 1)  # of token 2 to itself
    expected = torch.tensor([[[first, 2 * (1 - first)], [1 - second, 2 * second]]])
    attention = identity_attention(2, 1)
    assert_close(attention(tokens), expected, BY_HAND)
    assert_close(attention.weights_of_first(tokens), torch.tensor([[first, 1 - first]]), BY_HAND)


def test_heads_look_at_their_own_part_of_a_token() -> None:
    # Two heads of size 1: head 1 sees scores 1 and 0, head 2 sees 0 and 0, so it averages.
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])
    first = math.e / (math.e + 1)
    attention = identity_attention(2, 2)
    assert_close(attention(tokens)[:, 0], torch.tensor([[first, 1.0]]), BY_HAND)
    mean_over_heads = torch.tensor([[(first + 0.5) / 2, (1 - first + 0.5) / 2]])
    assert_close(attention.weights_of_first(tokens), mean_over_heads, BY_HAND)


@pytest.mark.parametrize("bias", [True, False])
def test_attention_equals_torchs(bias: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    ours, theirs = SelfAttention(21, 3, qkv_bias=bias), nn.MultiheadAttention(21, 3, batch_first=True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.4, generator=generator)
        theirs.in_proj_weight.copy_(ours.qkv.weight)
        theirs.in_proj_bias.copy_(ours.qkv.bias if bias else torch.zeros(63))
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    tokens = torch.randn(2, 5, 21, generator=generator)
    expected, weights = theirs(tokens, tokens, tokens)
    assert_close(ours(tokens), expected, PARITY)
    assert_close(ours.weights_of_first(tokens), weights[:, 0], PARITY)


def test_mlp_by_hand() -> None:
    mlp = Mlp(1, 2)
    with torch.no_grad():
        mlp.fc1.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        mlp.fc1.bias.zero_()
        mlp.fc2.weight.copy_(torch.tensor([[1.0, 10.0]]))
        mlp.fc2.bias.fill_(0.5)
    share = 0.5 * (1 + math.erf(2 / math.sqrt(2)))  # of the normal distribution below 2
    # GELU(2) = 2 * share and GELU(-2) = -2 * (1 - share); the output is their sum with weights 1 and 10, plus 0.5.
    expected = 2 * share - 20 * (1 - share) + 0.5
    assert_close(mlp(torch.tensor([[[2.0]]])), torch.tensor([[[expected]]]), BY_HAND)


def test_pre_norm_block_by_hand() -> None:
    """Tokens (1, 3) and (2, 0): the norms give (-1, 1) and (1, -1), since a pair's norm is the sign of its difference.

    Attention has scores [[2, -2], [-2, 2]] / sqrt(2), so each token gets (2s - 1) times its own norm, with s the
    logistic function of 4 / sqrt(2). The MLP takes the norm of the sum, (-1, 1) or (1, -1) again, to its first
    component's GELU, added to both.
    """
    block = PreNormBlock(2, 1, mlp_width=1, norm_eps=1e-12)
    block.attn = identity_attention(2, 1)
    with torch.no_grad():
        block.mlp.fc1.weight.copy_(torch.tensor([[1.0, 0.0]]))
        block.mlp.fc1.bias.zero_()
        block.mlp.fc2.weight.fill_(1.0)
        block.mlp.fc2.bias.zero_()
    s = 1 / (1 + math.exp(-4 / math.sqrt(2)))
    step = 2 * s - 1
    below_one = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    gelu_of_minus_one, gelu_of_one = -(1 - below_one), below_one
    expected = torch.tensor(
        [
            [1 - step + gelu_of_minus_one, 3 + step + gelu_of_minus_one],
            [2 + step + gelu_of_one, 0 - step + gelu_of_one],
        ]
    )
    assert_close(block(torch.tensor([[[1.0, 3.0], [2.0, 0.0]]]))[0], expected, BY_HAND)


def test_drop_path_does_nothing_when_not_training() -> None:
    branch = torch.randn(5, 3, 2)
    assert DropPath(0.7).eval()(branch) is branch
    assert DropPath(0.0)(branch) is branch


def test_drop_path_drops_whole_samples_and_keeps_the_expectation() -> None:
    torch.manual_seed(7)
    branch = torch.full((20_011, 3, 2), 5.0)
    output = DropPath(0.2)(branch)
    of_samples = output[:, 0, 0]
    assert torch.equal(output, of_samples[:, None, None].expand_as(output)), "a sample is kept or dropped as a whole"
    assert set(of_samples.tolist()) == {0.0, 6.25}  # 5 / 0.8
    # The share kept is 0.8 within five standard deviations, sqrt(0.8 * 0.2 / 20011) = 0.0028 each.
    assert abs(float((of_samples > 0).float().mean()) - 0.8) < 5 * 0.0028
    assert DropPath(0.2)(branch.bfloat16()).dtype == torch.bfloat16


def test_a_block_that_is_always_dropped_is_the_identity() -> None:
    torch.manual_seed(11)
    block = PreNormBlock(6, 2, mlp_width=7, drop_path=0.999999)
    tokens = torch.randn(3, 5, 6)
    assert torch.equal(block(tokens), tokens)
    assert not torch.equal(block.eval()(tokens), tokens)


def test_wave_positions_by_hand() -> None:
    # Width 5: two sines, two cosines, at rates 1 and 100 ** (-1 / 2) = 0.1, and a last column of 0.
    expected = torch.tensor(
        [
            [0.0, 0.0, 1.0, 1.0, 0.0],
            [math.sin(3), math.sin(0.3), math.cos(3), math.cos(0.3), 0.0],
        ]
    )
    assert_close(wave_positions(torch.tensor([0, 3]), 5), expected, BY_HAND)


def test_wave_positions_of_no_width_and_of_one() -> None:
    assert wave_positions(torch.arange(3), 0).shape == (3, 0)
    assert torch.equal(wave_positions(torch.arange(3), 1), torch.zeros(3, 1))


def test_wave_positions_tell_places_apart() -> None:
    waves = wave_positions(torch.arange(197), 46)
    assert torch.equal(waves, wave_positions(torch.arange(197), 46))
    distances = torch.cdist(waves, waves) + 9 * torch.eye(197)
    assert float(distances.min()) > 0.5


class Parts(nn.Module):
    """One of each kind that `init_transformer_` knows."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 1, 9973), 9.0))
        self.first = nn.Linear(211, 307)
        self.second = nn.Linear(211, 307)
        self.no_bias = nn.Linear(5, 7, bias=False)
        self.patches = nn.Conv2d(3, 101, kernel_size=7, stride=7)
        self.norm = nn.LayerNorm(13)
        with torch.no_grad():
            self.norm.weight.fill_(4)
            self.norm.bias.fill_(4)


@torch.no_grad()
def test_starting_weights() -> None:
    parts = Parts()
    init_transformer_(parts, torch.Generator().manual_seed(5))
    for linear, fan_in, fan_out in (
        (parts.first, 211, 307),
        (parts.second, 211, 307),
        (parts.patches, 3 * 7 * 7, 101),
    ):
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert float(linear.weight.abs().max()) <= limit
        assert float(linear.weight.std()) == pytest.approx(limit / math.sqrt(3), rel=0.03)
        assert float(linear.weight.mean()) == pytest.approx(0, abs=0.03 * limit)
        assert not linear.bias.any()
    assert not torch.equal(parts.first.weight, parts.second.weight)
    assert torch.equal(parts.norm.weight, torch.ones(13))
    assert torch.equal(parts.norm.bias, torch.zeros(13))
    # A normal of 0.02 cut at two deviations has 0.8796 of its deviation left.
    assert float(parts.token.abs().max()) <= 0.04
    assert float(parts.token.std()) == pytest.approx(0.02 * 0.8796, rel=0.03)


def test_starting_weights_come_from_the_generator_alone() -> None:
    def drawn(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        parts = Parts()
        init_transformer_(parts, torch.Generator().manual_seed(seed))
        return nn.utils.parameters_to_vector(parts.parameters())

    assert torch.equal(drawn(5, 1), drawn(5, 2))
    assert not torch.equal(drawn(5, 1), drawn(6, 1))


@torch.no_grad()
def test_gelu_is_exact() -> None:
    tokens = torch.linspace(-4, 4, 31).reshape(1, 31, 1)
    mlp = Mlp(1, 1)
    with torch.no_grad():
        for parameter in (mlp.fc1.weight, mlp.fc2.weight):
            parameter.fill_(1.0)
        for parameter in (mlp.fc1.bias, mlp.fc2.bias):
            parameter.zero_()
    assert_close(mlp(tokens), F.gelu(tokens), BY_HAND)
    assert float((mlp(tokens) - F.gelu(tokens, approximate="tanh")).abs().max()) > 1e-4
