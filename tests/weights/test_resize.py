"""Interpolated positions: numbers by hand, and timm's own resampling."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import resample_abs_pos_embed

from fewframes.weights.resize import resize_positions_in_space, resize_positions_in_time
from tests.helpers.tolerance import BY_HAND, REGROUPED, assert_close


def test_time_by_hand() -> None:
    # Two frames, at 1/4 and 3/4 of the video, into four at 1/8, 3/8, 5/8 and 7/8; ends are held.
    positions = torch.tensor([[[50.0], [0.0], [8.0]]])
    assert resize_positions_in_time(positions, 4).flatten().tolist() == [50.0, 0.0, 2.0, 6.0, 8.0]
    # Six into three: each new centre lies half way between two old ones.
    positions = torch.tensor([[[50.0], [0.0], [2.0], [10.0], [20.0], [70.0], [90.0]]])
    assert resize_positions_in_time(positions, 3).flatten().tolist() == [50.0, 1.0, 15.0, 80.0]


@given(old=st.integers(1, 70), new=st.integers(1, 70))
def test_time_keeps_constants_bounds_and_order(old: int, new: int) -> None:
    ramp = torch.arange(old + 1.0).reshape(1, -1, 1).repeat(1, 1, 3) * torch.tensor([1.0, -2.0, 0.0])
    resized = resize_positions_in_time(ramp, new)
    assert resized.shape == (1, new + 1, 3)
    assert torch.equal(resized[:, 0], ramp[:, 0])
    frames = resized[0, 1:, 0]
    assert float(frames.min()) >= 1 - 1e-5
    assert float(frames.max()) <= old + 1e-5
    assert bool((frames.diff() >= -1e-5).all())
    if old == new:
        assert torch.equal(resized, ramp)


def test_space_by_hand() -> None:
    # Values that are constant along rows stay so: shrinking columns changes nothing, in whatever filter.
    grid = torch.tensor([[1.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    positions = torch.cat([torch.tensor([9.0]), grid.flatten()]).reshape(1, -1, 1)
    assert_close(
        resize_positions_in_space(positions, (2, 4), (2, 2)), torch.tensor([[[9.0], [1], [1], [5], [5]]]), BY_HAND
    )


@pytest.mark.parametrize(("old", "new"), [((3, 3), (5, 2)), ((4, 4), (2, 8)), ((2, 7), (3, 5)), ((14, 14), (24, 24))])
def test_space_equals_timms(old: tuple[int, int], new: tuple[int, int]) -> None:
    positions = torch.randn(1, 1 + old[0] * old[1], 11, generator=torch.Generator().manual_seed(43))
    expected = resample_abs_pos_embed(positions, list(new), old_size=list(old), num_prefix_tokens=1)
    assert_close(resize_positions_in_space(positions, old, new), expected, REGROUPED)


def test_space_tells_rows_from_columns() -> None:
    positions = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(47))
    wide = resize_positions_in_space(positions, (2, 3), (4, 6))
    tall = resize_positions_in_space(positions, (3, 2), (4, 6))
    assert float((wide - tall).abs().max()) > 0.1


def test_results_are_float32_and_the_input_is_kept() -> None:
    positions = torch.randn(1, 10, 4).bfloat16()
    before = positions.clone()
    assert resize_positions_in_space(positions, (3, 3), (2, 5)).dtype == torch.float32
    assert resize_positions_in_time(positions, 4).dtype == torch.float32
    assert torch.equal(positions, before)
