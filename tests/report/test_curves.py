"""Curves of training logs: tolerant to what is absent."""

from __future__ import annotations

import numpy as np
import pytest

from fewframes.errors import UsageError
from fewframes.report.curves import summarise_log, training_curves

from .samples import make_log

LOG: list[dict[str, object]] = [
    {"step": 1, "epoch": 0, "loss": 4.0, "samples_per_second": 10},
    {"step": 2, "epoch": 0, "loss": 2.0},
    {"epoch": 0, "validation": {"top1": 40.0, "top5": 90.0}},
    {"step": 3, "loss": float("nan"), "samples_per_second": 30},
    {"step": 4, "loss": 1.0, "samples_per_second": 11},
    {"epoch": 1, "validation": {"top1": 35.0}},
    {"note": "saved"},
]


def test_points_stand_where_they_belong() -> None:
    above, below = training_curves({"run": LOG}).axes
    raw, smooth = above.lines
    assert raw.get_xdata().tolist() == [1, 2, 3, 4]  # type: ignore[union-attr]
    assert np.array_equal(raw.get_ydata(), [4.0, 2.0, np.nan, 1.0], equal_nan=True)
    assert np.array_equal(smooth.get_ydata(), [4.0, 2.0, np.nan, 1.0], equal_nan=True)
    assert below.lines[0].get_xydata().tolist() == [[2, 40.0], [4, 35.0]]


def test_running_mean_by_hand() -> None:
    log = [{"step": step, "loss": float(step % 2)} for step in range(60)]
    smooth = training_curves({"run": log}).axes[0].lines[1].get_ydata()
    assert np.asarray(smooth)[:3] == pytest.approx([0.5, 1 / 3, 2 / 3])
    assert np.asarray(smooth)[-1] == pytest.approx(0.5)


def test_runs_are_overlaid_and_named() -> None:
    figure = training_curves({"STAM $x$": make_log(50), "without a log": [], "mean": make_log(70, seed=1)})
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert [each.get_text() for each in legend.get_texts()] == ["STAM $x$", "mean"]
    colours = [line.get_color() for line in figure.axes[1].lines]
    assert colours == ["#3f74ad", "#2f8f7d"]


@pytest.mark.parametrize("log", [[], [{"epoch": 0}], [{"loss": "high"}], [{"validation": None}]])
def test_absent_numbers_are_said_not_raised(log: list[dict[str, object]]) -> None:
    figure = training_curves({"run": log})
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["not in the log"]


def test_validation_only_stands_over_epochs() -> None:
    log = [{"epoch": epoch, "validation": {"top1": 10.0 * epoch}} for epoch in (1, 2)]
    assert training_curves({"run": log}).axes[1].lines[0].get_xydata().tolist() == [[1, 10], [2, 20]]


def test_summary_by_hand() -> None:
    run = summarise_log(LOG)
    assert (run.last_step, run.final_loss, run.best_top1, run.last_top1, run.samples_per_second) == (4, 1, 40, 35, 11)
    empty = summarise_log([])
    assert (empty.last_step, empty.final_loss, empty.best_top1, empty.samples_per_second) == (None, None, None, None)


@pytest.mark.parametrize("count", [0, 7])
def test_wrong_number_of_runs(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} training logs to draw; expected 1 to 6"):
        training_curves({f"run {number}": LOG for number in range(count)})
