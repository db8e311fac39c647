"""Evaluations come in, matplotlib figures go out: confusion, classes, scores, calibration, models side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fewframes.errors import UsageError
from fewframes.records import EvaluationReport
from fewframes.report.canvas import (
    ACCENT,
    FAINT,
    GRID,
    INK,
    PAGE_INCHES,
    RIGHT,
    SERIES,
    WRONG,
    new_figure,
    style_axes,
    write_label,
)
from fewframes.report.text import class_rows, right_and_wrong, shorten

__all__ = [
    "calibration",
    "class_accuracy_bars",
    "class_comparison_bars",
    "confusion_matrix",
    "score_histogram",
]

_COUNTED_CLASSES = 20
_NAMED_CLASSES = 40
_LABEL_LENGTH = 26


def confusion_matrix(report: EvaluationReport, *, title: str = "", legend: bool = True) -> Figure:
    """Rows are true classes, columns predicted ones, colour is the share of the row; over videos that could be read.

    Up to 20 classes every cell also carries its count, up to 40 every class its name; beyond that only some rows are
    named and columns carry label indices. `legend` is the bar beside it that explains the colours.

    Returns:
        A figure that is readable from 2 to 400 classes.
    """
    counts = np.asarray(report.confusion, dtype=np.int64)
    num_classes = counts.shape[0]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    crowded = num_classes > _NAMED_CLASSES
    side = 6.0 if crowded else float(np.clip(0.42 * num_classes, 2.6, 5.4))
    beside = (2.0 if crowded else 1.7) + (1.0 if legend else 0.0)
    figure = new_figure(side + beside, side + (0.6 if crowded else 1.2))
    figure.set_layout_engine("compressed")  # the plain one forgets that the matrix must stay square
    axes = figure.subplots()
    # From nothing to the accent by opacity, so that an empty cell is paper on light and on dark pages.
    ramp = LinearSegmentedColormap.from_list("share", [to_rgba(ACCENT, 0.0), to_rgba(ACCENT, 1.0)])
    # Among many classes a mix-up is a faint dot: their colours rise with the root of the share.
    norm = PowerNorm(0.5 if crowded else 1.0, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap=ramp, norm=norm, interpolation="none", aspect="equal")
    style_axes(axes, title=title)
    for spine in axes.spines.values():
        spine.set_visible(True)
    _name_classes(axes, report.labels)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if num_classes <= _COUNTED_CLASSES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "#ffffff" if shares[row, column] > 0.85 else INK
            size = 9.5 if num_classes <= 12 else 8
            text = f"{counts[row, column]:,}"
            write_label(axes, column, row, text, ha="center", va="center", color=colour, fontsize=size)
    if legend:
        shares_shown = [0, 0.1, 0.5, 1] if crowded else [0, 0.5, 1]
        whole_percent = PercentFormatter(1, decimals=0, symbol=" %")
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=14, ticks=shares_shown, format=whole_percent)
        bar.ax.set_facecolor("none")
        bar.ax.tick_params(colors=FAINT, labelsize=8.5, length=0)
        bar.set_label("share of the true class", color=FAINT, fontsize=8.5)
        bar.outline.set_visible(False)
    return figure


def class_accuracy_bars(report: EvaluationReport, *, limit: int = 30, title: str = "") -> Figure:
    """A horizontal bar for each class, least accurate on top: right, and the share that could not be read.

    Args:
        report: the evaluation.
        limit: how many classes at most; of more, the least accurate ones are shown and the title says so.
        title: overrides the title.

    Returns:
        A figure as high as its classes need; each bar ends in "correct / listed".

    Raises:
        UsageError: no class has a video.
    """
    rows = [row for row in class_rows(report, worst_first=True) if row.accuracy is not None]
    if not rows:
        raise UsageError("no class has a video; expected an evaluation of at least one")
    shown = rows[:limit]
    if not title:
        everything = "Accuracy of each class" if len(shown) == len(report.labels) else "Classes that have videos"
        title = everything if len(shown) == len(rows) else f"The {limit} least accurate of {len(rows)} classes"
    figure = new_figure(PAGE_INCHES, 0.9 + 0.27 * len(shown))
    axes = figure.subplots()
    positions = np.arange(len(shown))
    right = np.array([100 * row.correct / row.total for row in shown])
    failed = np.array([100 * row.failed / row.total for row in shown])
    axes.barh(positions, right, height=0.62, color=RIGHT, label="right")
    if failed.any():
        axes.barh(positions, failed, left=100 - failed, height=0.62, color=GRID, label="could not be read")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, labelcolor=FAINT, fontsize=9)
    for position, row in zip(positions, shown, strict=True):
        write_label(
            axes, 102, float(position), f"{row.correct} / {row.total}", va="center", fontsize=8.5, clip_on=False
        )
    style_axes(axes, title=title, grid="x")
    axes.set(xlim=(0, 100), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(_percent_ticks())
    _set_names(axes, positions, [row.label for row in shown])
    # Room for the counts, which stand outside the axes where the layout does not see them.
    figure.get_layout_engine().set(rect=(0, 0, 0.93, 1))  # type: ignore[union-attr,call-arg]
    return figure


def score_histogram(report: EvaluationReport, *, num_bins: int = 20) -> Figure:
    """How sure the model was of its best class: videos it got right, and on top of them those it got wrong."""
    right, wrong = right_and_wrong(report)
    figure = new_figure(5.2, 3.2)
    axes = figure.subplots()
    edges = np.linspace(0, 100, num_bins + 1)
    axes.hist(
        [100 * np.asarray(right), 100 * np.asarray(wrong)],
        bins=edges.tolist(),
        stacked=True,
        color=[RIGHT, WRONG],
        label=[f"right ({len(right):,})", f"wrong ({len(wrong):,})"],
        rwidth=0.86,
    )
    style_axes(axes, title="Score of the best class", grid="y")
    axes.set(xlim=(0, 100), xlabel="score", ylabel="videos")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(_percent_ticks())
    axes.legend(loc="upper left", frameon=False, labelcolor=FAINT, fontsize=9)
    return figure


def calibration(report: EvaluationReport, *, num_bins: int = 10) -> Figure:
    """Whether scores mean what they say: of the videos with a score near s, which share is right?

    A point on the diagonal is calibrated, below it overconfident; its area grows with the videos of its bin, which the
    figure writes beside it. The title gives the expected calibration error: the mean distance, weighted by videos.
    """
    right, wrong = right_and_wrong(report)
    scores = np.array(right + wrong, dtype=np.float64)
    hits = np.array([1.0] * len(right) + [0.0] * len(wrong))
    bins = np.minimum((scores * num_bins).astype(np.int64), num_bins - 1)
    figure = new_figure(5.2, 3.2)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1, linestyle=(0, (4, 4)), zorder=1)
    error = 0.0
    for index in np.unique(bins):
        inside = bins == index
        mean_score, share = 100 * float(scores[inside].mean()), 100 * float(hits[inside].mean())
        weight = float(inside.mean())
        error += weight * abs(mean_score - share)
        size = 18 + 420 * weight
        axes.scatter([mean_score], [share], s=size, color=ACCENT, alpha=0.9, linewidth=0, zorder=3, clip_on=False)
        offset = 4 + 0.9 * float(np.sqrt(size)) / 2
        above = share < 85
        write_label(
            axes,
            mean_score,
            share + (offset if above else -offset),
            str(int(inside.sum())),
            ha="center",
            va="bottom" if above else "top",
            fontsize=8,
        )
    title = f"Calibration: {error:.1f} points off on average" if len(scores) else "Calibration: no video could be read"
    style_axes(axes, title=title, grid="y")
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="score of the best class", ylabel="of these right")
    axes.xaxis.set_major_formatter(_percent_ticks())
    axes.yaxis.set_major_formatter(_percent_ticks())
    return figure


def class_comparison_bars(reports: Mapping[str, EvaluationReport], *, limit: int = 16) -> Figure:
    """For each class one bar a model, in percent of its listed videos; classes where models differ most come first.

    Args:
        reports: name -> evaluation, at least one and at most 6, over the same labels.
        limit: how many classes at most; of more, those with the largest differences are shown and the title says so.

    Raises:
        UsageError: the labels differ, or there are too many models or none.
    """
    if not 1 <= len(reports) <= len(SERIES):
        raise UsageError(f"{len(reports)} models to compare; expected 1 to {len(SERIES)}")
    labels = next(iter(reports.values())).labels
    if any(report.labels != labels for report in reports.values()):
        raise UsageError("the models were evaluated over different labels; expected the same label list for all")
    accuracies = np.array(
        [[np.nan if row.accuracy is None else row.accuracy for row in class_rows(each)] for each in reports.values()]
    )
    present = np.flatnonzero(~np.isnan(accuracies).any(axis=0))
    if not present.size:
        raise UsageError("no class has a video in every evaluation; expected at least one to compare")
    spread = np.ptp(accuracies[:, present], axis=0)
    order = present[np.lexsort((accuracies[:, present].mean(axis=0), -spread))][:limit]
    height = 0.74 / len(reports)
    figure = new_figure(PAGE_INCHES, 1.1 + len(order) * (0.14 + 0.18 * len(reports)))
    axes = figure.subplots()
    positions = np.arange(len(order))
    for index, (name, values) in enumerate(zip(reports, accuracies, strict=True)):
        offset = (index - (len(reports) - 1) / 2) * height
        axes.barh(positions + offset, values[order], height=0.9 * height, color=SERIES[index], label=shorten(name, 40))
        for position, value in zip(positions, values[order], strict=True):
            write_label(axes, value + 1, position + offset, f"{value:.0f}", va="center", fontsize=8)
    title = "Accuracy of each class, largest difference first"
    if len(order) < len(present):
        title = f"The {limit} of {len(present)} classes that differ most"
    style_axes(axes, title=title, grid="x")
    axes.set(xlim=(0, 106), ylim=(len(order) - 0.4, -0.6), xticks=range(0, 101, 20))
    axes.xaxis.set_major_formatter(_percent_ticks())
    _set_names(axes, positions, [labels[index] for index in order])
    # Short names fit on the line of the title, long ones stand below.
    short = sum(map(len, reports)) <= 40
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": len(reports)}
    if not short:
        place = {"loc": "upper left", "bbox_to_anchor": (0, -0.06)}
    legend = axes.legend(**place, frameon=False, labelcolor=FAINT, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _name_classes(axes: Axes, labels: tuple[str, ...]) -> None:
    """Names on both sides while there is room, then some names at the left and indices below."""
    num_classes = len(labels)
    every = range(num_classes)
    if num_classes <= _NAMED_CLASSES:
        size = 9 if num_classes <= _COUNTED_CLASSES else 6.5
        _set_names(axes, np.array(every), list(labels), size=size)
        axes.set_xticks(every, [shorten(label, _LABEL_LENGTH) for label in labels], parse_math=False)
        axes.tick_params(axis="x", labelsize=size)
        for text in axes.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")
        return
    step = next(each for each in (5, 10, 20, 50, 100, 1000) if num_classes / each <= 21)
    ticks = np.arange(0, num_classes, step)
    _set_names(axes, ticks, [f"{shorten(labels[index], 20)} {index}" for index in ticks], size=8)
    axes.set_xticks(ticks, [str(index) for index in ticks])
    axes.tick_params(axis="x", labelsize=8, rotation=90 if num_classes > 300 else 0)


def _percent_ticks() -> PercentFormatter:
    return PercentFormatter(100, decimals=0, symbol=" %")


def _set_names(axes: Axes, positions: np.ndarray, names: list[str], *, size: float = 9) -> None:
    axes.set_yticks(positions.tolist(), [shorten(name, _LABEL_LENGTH) for name in names], parse_math=False)
    axes.tick_params(axis="y", labelsize=size, labelcolor=INK)
