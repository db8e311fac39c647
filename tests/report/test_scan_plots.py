"""The plots of a scan hold the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fewframes.errors import UsageError
from fewframes.report.canvas import inline_svg, png_bytes
from fewframes.report.scan_plots import class_count_bars, counted_bars, histogram
from fewframes.report.scan_text import ClassRow


def bars(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_histogram_counts_every_value() -> None:
    narrow = histogram([1.0, 2.0, 2.0, 3.0], title="Length", unit="seconds")
    assert sum(bar.get_height() for bar in bars(narrow.axes[0])) == 4
    assert narrow.axes[0].get_xscale() == "linear"
    wide = histogram(list(np.geomspace(0.04, 7200, 50)), title="Length", unit="seconds")
    assert sum(bar.get_height() for bar in bars(wide.axes[0])) == 50
    assert wide.axes[0].get_xscale() == "log"
    for values in ([5.0], [0.0, 0.0], [3.0] * 7):
        figure = histogram(values, title="Length", unit="seconds")
        assert sum(bar.get_height() for bar in bars(figure.axes[0])) == len(values)
        png_bytes(figure)
    with pytest.raises(UsageError, match="no values for a histogram"):
        histogram([], title="Length", unit="seconds")


def test_counted_bars_by_hand() -> None:
    figure = counted_bars(["b", "a", "b", "$c$", "b", "a"], title="Codec")
    assert names(figure) == ["b", "a", "$c$"]
    assert [bar.get_width() for bar in bars(figure.axes[0])] == [3, 2, 1]
    assert texts(figure) == ["3", "2", "1"]
    many = counted_bars([f"{number}" for number in range(20) for _ in range(20 - number)], title="Size", limit=3)
    assert names(many) == ["0", "1", "2", "17 others"]
    assert texts(many) == ["20", "19", "18", str(sum(range(18)))]
    assert "20" in inline_svg(many, "alt")
    with pytest.raises(UsageError, match="no values to count"):
        counted_bars([], title="Codec")


def test_class_bars_by_hand() -> None:
    rows = [ClassRow("few", (1, 1), (1, 0)), ClassRow("$x$", (5, 2), (5, 2)), ClassRow(None, (0, 0), (0, 0))]
    figure = class_count_bars(("train", "test"), rows)
    assert names(figure) == ["$x$", "few", "(no label)"]
    assert texts(figure) == ["7", "1 of 2", "0"]
    widths = [bar.get_width() for bar in bars(figure.axes[0])]
    assert widths == [5, 1, 0, 2, 0, 0, 0, 1, 0], "train, test, what cannot be used"
    lefts = [bar.get_x() for bar in bars(figure.axes[0])]
    assert lefts[3:] == [5, 1, 0, 7, 1, 0]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["train", "test", "cannot be used"]
    assert class_count_bars((None,), rows[1:2]).axes[0].get_legend() is None
    png_bytes(class_count_bars((None,), [ClassRow("x", (0,), (0,))]))
    with pytest.raises(UsageError, match="no classes to show"):
        class_count_bars(("train",), [])


def test_many_classes_and_many_splits() -> None:
    rows = [ClassRow(f"class {number}", (number,), (number,)) for number in range(1, 101)]
    figure = class_count_bars(("train",), rows, limit=10)
    assert names(figure) == [f"class {number}" for number in (100, 99, 98, 97, 96, 5, 4, 3, 2, 1)]
    assert figure.axes[0].get_title(loc="left") == "The 5 largest and the 5 smallest of 100 classes"
    folds = tuple(f"fold {number}" for number in range(9))
    png_bytes(class_count_bars(folds, [ClassRow("x", (2,) * 9, (1,) * 9)]))
