"""Errors of predicted numbers against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewframes.errors import UsageError
from fewframes.regression import RegressionMetrics


def filled() -> RegressionMetrics:
    metrics = RegressionMetrics()
    metrics.update(torch.tensor([1.0, 4.0, -1.0]), torch.tensor([1.5, 1.0, -1.0]))
    return metrics


def test_by_hand() -> None:
    # Errors 0.5, 3 and 0.
    metrics = filled()
    assert metrics.mean_absolute_error == pytest.approx(3.5 / 3)
    assert metrics.root_mean_square_error == pytest.approx((9.25 / 3) ** 0.5)
    metrics.update(torch.tensor([[2.0, 0.0]]), torch.tensor([[4, 1]]))
    assert metrics.num_values == 5
    assert metrics.mean_absolute_error == pytest.approx(6.5 / 5)
    assert metrics.root_mean_square_error == pytest.approx((14.25 / 5) ** 0.5)


def test_small_errors_of_large_numbers_survive() -> None:
    metrics = RegressionMetrics()
    metrics.update(torch.tensor([2.0**24 + 1.0], dtype=torch.float64), torch.tensor([2**24]))
    assert metrics.mean_absolute_error == 1.0


def test_unread_videos_are_told_apart() -> None:
    metrics = filled()
    metrics.add_failures(2)
    assert (metrics.num_failed, metrics.num_values) == (2, 3)
    assert metrics.mean_absolute_error == filled().mean_absolute_error


def test_masked_rows_are_neither_counted_nor_checked() -> None:
    metrics = filled()
    metrics.update(torch.tensor([float("nan"), 2.0]), torch.zeros(2), mask_B=torch.tensor([False, True]))
    assert metrics.num_values == 4
    assert metrics.mean_absolute_error == pytest.approx(5.5 / 4)


@given(st.lists(st.tuples(st.integers(-8, 8), st.integers(-8, 8)), min_size=1, max_size=20), st.integers(0, 20))
def test_merging_parts_equals_one_pass(rows: list[tuple[int, int]], cut: int) -> None:
    def count(part: list[tuple[int, int]]) -> RegressionMetrics:
        metrics = RegressionMetrics()
        pairs = torch.tensor(part, dtype=torch.float32).reshape(-1, 2)
        metrics.update(pairs[:, 0], pairs[:, 1])
        metrics.add_failures(len(part) % 3)
        return metrics

    whole, first, second = count(rows), count(rows[:cut]), count(rows[cut:])
    summed = RegressionMetrics.from_state(
        {name: value + second.state_dict()[name] for name, value in first.state_dict().items()}
    )
    second.merge(first)
    for parts in (second, summed):
        assert parts.num_values == whole.num_values
        assert parts.num_failed == len(rows[:cut]) % 3 + len(rows[cut:]) % 3
        assert parts.mean_absolute_error == whole.mean_absolute_error
        assert parts.root_mean_square_error == whole.root_mean_square_error


def test_what_does_not_fit_is_refused() -> None:
    metrics = filled()
    with pytest.raises(UsageError, match=r"\(2, 1\), targets \(2,\); expected the same"):
        metrics.update(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(UsageError, match="hold NaN or infinite values"):
        metrics.update(torch.tensor([1.0, float("inf")]), torch.zeros(2))
    with pytest.raises(UsageError, match=r"mask has shape \(1,\) and dtype torch.bool; expected bool \(2,\)"):
        metrics.update(torch.zeros(2), torch.zeros(2), mask_B=torch.tensor([True]))
    with pytest.raises(UsageError, match="-1 videos could not be read"):
        metrics.add_failures(-1)
    with pytest.raises(UsageError, match=r"metrics state has keys \['num_failed'\]"):
        RegressionMetrics.from_state({"num_failed": 1})
    with pytest.raises(UsageError, match="expected finite numbers of at least 0"):
        RegressionMetrics.from_state({**filled().state_dict(), "square_sum": -1.0})
    assert metrics.state_dict() == filled().state_dict()


def test_no_numbers_is_an_error_not_a_nan() -> None:
    metrics = RegressionMetrics()
    metrics.add_failures(3)
    for name in ("mean_absolute_error", "root_mean_square_error"):
        with pytest.raises(UsageError, match=r"no error over 0 numbers \(3 videos could not be read\)"):
            getattr(metrics, name)
