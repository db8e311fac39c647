"""Figures hold the right numbers and names; how they look is for the eye."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fewframes.errors import UsageError
from fewframes.records import EvaluationReport, Failure, Scores, VideoResult
from fewframes.report.canvas import GRID, RIGHT, WRONG
from fewframes.report.plots import (
    calibration,
    class_accuracy_bars,
    class_comparison_bars,
    confusion_matrix,
    score_histogram,
)

from .samples import make_report

FAILURES = tuple(Failure(f"{index}.mp4", "damaged") for index in range(3))


def texts(axes: Axes) -> list[str]:
    return [each.get_text() for each in axes.texts]


def names(axes: Axes) -> list[str]:
    return [each.get_text() for each in axes.get_yticklabels()]


def bars(axes: Axes, colour: str) -> list[float]:
    found = [each for each in axes.patches if isinstance(each, Rectangle) and to_hex(each.get_facecolor()) == colour]
    return [each.get_width() for each in found]


def assert_nothing_is_cut_off(figure: Figure) -> None:
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02


@pytest.mark.parametrize("num_classes", [2, 7, 20, 21, 41, 101, 400])
def test_confusion_from_few_to_many_classes(num_classes: int) -> None:
    labels = [f"a rather long class name {index}" for index in range(num_classes)]
    report = make_report(labels, videos_per_class=2)
    figure = confusion_matrix(report)
    axes = figure.axes[0]
    counts = np.array(report.confusion)
    shown = np.asarray(axes.images[0].get_array())
    assert np.allclose(shown, counts / counts.sum(axis=1, keepdims=True), atol=1e-6)
    if num_classes <= 20:
        assert sorted(texts(axes)) == sorted(str(count) for count in counts[counts > 0])
    else:
        assert texts(axes) == []
    assert len(names(axes)) == (
        num_classes if num_classes <= 40 else len(range(0, num_classes, 20 if num_classes > 101 else 5))
    )
    assert_nothing_is_cut_off(figure)


def test_confusion_without_any_read_video_is_empty() -> None:
    report = dataclasses.replace(make_report(["a", "b"]), confusion=((0, 0), (0, 0)))
    assert np.asarray(confusion_matrix(report, legend=False).axes[0].images[0].get_array()).sum() == 0


def test_class_bars_hold_shares_counts_and_failures() -> None:
    report = make_report(["a", "$b$", "c"], videos_per_class=5, failures=FAILURES)
    report = dataclasses.replace(
        report, class_totals=(5, 4, 0), class_correct=(2, 3, 0), confusion=((2, 0, 0), (1, 3, 0), (0, 0, 0))
    )
    axes = class_accuracy_bars(report).axes[0]
    assert names(axes) == ["a", "$b$"]
    assert bars(axes, RIGHT) == pytest.approx([40.0, 75.0])
    assert bars(axes, GRID) == pytest.approx([60.0, 0.0])
    assert texts(axes) == ["2 / 5", "3 / 4"]
    assert axes.get_title(loc="left") == "Classes that have videos"


def test_of_many_classes_the_worst_are_shown() -> None:
    figure = class_accuracy_bars(make_report([f"class {index:02d}" for index in range(37)]), limit=30)
    assert len(names(figure.axes[0])) == 30
    assert figure.axes[0].get_title(loc="left") == "The 30 least accurate of 37 classes"
    assert_nothing_is_cut_off(figure)


def scored(pairs: list[tuple[float, bool]]) -> EvaluationReport:
    rows = tuple(VideoResult(f"{i}.mp4", "a", ("a" if hit else "b",), (score,)) for i, (score, hit) in enumerate(pairs))
    return dataclasses.replace(make_report(["a", "b"]), videos=rows)


def test_histogram_counts_right_and_wrong() -> None:
    figure = score_histogram(scored([(0.91, True), (0.93, True), (1.0, False), (0.12, False)]), num_bins=10)
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [each.get_text() for each in legend.get_texts()] == ["right (2)", "wrong (2)"]
    heights = {
        colour: [
            p.get_height() for p in axes.patches if isinstance(p, Rectangle) and to_hex(p.get_facecolor()) == colour
        ]
        for colour in (RIGHT, WRONG)
    }
    assert heights[RIGHT] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert heights[WRONG] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_calibration_error_by_hand() -> None:
    # Bin 90 to 100: mean score 95, right 50 %; bin 30 to 40: score 30, right 100 %. (2 x 45 + 1 x 70) / 3.
    figure = calibration(scored([(0.9, True), (1.0, False), (0.3, True)]))
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "Calibration: 53.3 points off on average"
    assert np.array([each.get_offsets()[0] for each in axes.collections]) == pytest.approx(
        np.array([[30, 100], [95, 50]])
    )
    assert texts(axes) == ["1", "2"]


def test_calibration_of_nothing() -> None:
    assert "no video could be read" in calibration(scored([])).axes[0].get_title(loc="left")


def test_models_side_by_side() -> None:
    base = make_report(["a", "b", "c"])
    first = dataclasses.replace(base, class_totals=(10, 10, 10), class_correct=(9, 5, 1))
    second = dataclasses.replace(base, class_totals=(10, 10, 10), class_correct=(8, 5, 7))
    figure = class_comparison_bars({"STAM": first, "a mean with a name that is long, $x$": second})
    axes = figure.axes[0]
    assert names(axes) == ["c", "a", "b"]
    assert bars(axes, RIGHT) == [10.0, 90.0, 50.0]
    assert texts(axes) == ["10", "90", "50", "70", "80", "50"]
    assert_nothing_is_cut_off(figure)
    limited = class_comparison_bars({"x": first, "y": second}, limit=1).axes[0]
    assert (names(limited), limited.get_title(loc="left")) == (["c"], "The 1 of 3 classes that differ most")


def test_refusals() -> None:
    report = make_report(["a", "b"])
    with pytest.raises(UsageError, match="0 models to compare"):
        class_comparison_bars({})
    with pytest.raises(UsageError, match="7 models to compare; expected 1 to 6"):
        class_comparison_bars({str(index): report for index in range(7)})
    with pytest.raises(UsageError, match="different labels"):
        class_comparison_bars({"x": report, "y": make_report(["a", "c"])})
    empty = dataclasses.replace(report, class_totals=(0, 0), class_correct=(0, 0), listed=Scores(0, 0, 0, 0))
    with pytest.raises(UsageError, match="no class has a video"):
        class_accuracy_bars(empty)
    with pytest.raises(UsageError, match="no class has a video in every"):
        class_comparison_bars({"x": report, "y": empty})
