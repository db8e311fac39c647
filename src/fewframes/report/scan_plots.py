"""Numbers of a data set come in, small matplotlib figures go out: lengths, kinds of files, videos of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from fewframes.errors import UsageError
from fewframes.report.canvas import ACCENT, FAINT, GRID, INK, PAGE_INCHES, SERIES, new_figure, style_axes, write_label
from fewframes.report.scan_text import ClassRow, label_text, split_text
from fewframes.report.text import number_text, shorten

__all__ = ["class_count_bars", "counted_bars", "histogram"]

_WIDE = 50.0  # the largest over the smallest value from which an axis is logarithmic
_LABEL_LENGTH = 26
_PANEL_INCHES = (4.4, 2.6)


def histogram(values: Sequence[float], *, title: str, unit: str, num_bins: int = 24) -> Figure:
    """How positive numbers are distributed; on a logarithmic axis where they reach far.

    Raises:
        UsageError: there are no values.
    """
    if not len(values):
        raise UsageError("no values for a histogram; expected at least one")
    numbers = np.asarray(values, dtype=np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    figure = new_figure(*_PANEL_INCHES)
    axes = figure.subplots()
    wide = low > 0 and high / low > _WIDE
    if high <= low:
        low, high = low * 0.9, high * 1.1 or 1.0
    edges = np.geomspace(low, high, num_bins + 1) if wide else np.linspace(low, high, num_bins + 1)
    axes.hist(numbers, bins=edges.tolist(), color=ACCENT, rwidth=0.9)
    style_axes(axes, title=title, grid="y")
    axes.set(xlabel=unit, ylabel="files")
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def counted_bars(values: Iterable[str], *, title: str, limit: int = 7) -> Figure:
    """How often each value occurs, most frequent on top; what is rarer than the first few is one bar.

    Raises:
        UsageError: there are no values.
    """
    counts = Counter(values).most_common()
    if not counts:
        raise UsageError("no values to count; expected at least one")
    shown = counts[:limit]
    if len(counts) > len(shown):
        rest = sum(count for _, count in counts[limit:])
        shown = [*shown, (f"{len(counts) - limit} others", rest)]
    figure = new_figure(_PANEL_INCHES[0], 0.6 + 0.25 * max(len(shown), 3))
    axes = figure.subplots()
    positions = np.arange(len(shown))
    colours = [ACCENT if number < limit else GRID for number in range(len(shown))]
    axes.barh(positions, [count for _, count in shown], height=0.62, color=colours)
    largest = max(count for _, count in shown)
    for position, (_, count) in zip(positions, shown, strict=True):
        write_label(axes, count + 0.015 * largest, float(position), f"{count:,}", va="center", fontsize=8.5)
    style_axes(axes, title=title, grid="x")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set(xlim=(0, 1.14 * largest), ylim=(max(len(shown), 3) - 0.4, -0.6), xticks=[])
    axes.set_yticks(positions.tolist(), [shorten(name, _LABEL_LENGTH) for name, _ in shown], parse_math=False)
    axes.tick_params(axis="y", labelsize=9, labelcolor=INK)
    return figure


def class_count_bars(splits: Sequence[str | None], rows: Sequence[ClassRow], *, limit: int = 40) -> Figure:
    """A bar for each class, largest on top, parted by split: what can be used, and what cannot.

    Args:
        splits: the order of the numbers in `rows`.
        rows: at least one.
        limit: how many classes at most; of more, the largest and the smallest are shown and the title says so.

    Returns:
        A figure as high as its classes need; each bar ends in its number of usable videos.

    Raises:
        UsageError: there are no rows.
    """
    if not rows:
        raise UsageError("no classes to show; expected at least one")
    ordered = sorted(rows, key=lambda row: (-sum(row.usable), -sum(row.listed)))
    shown, title = ordered, "Videos of each class"
    if len(rows) > limit:
        half = limit // 2
        shown = [*ordered[:half], *ordered[-half:]]
        title = f"The {half} largest and the {half} smallest of {sum(row.label is not None for row in rows):,} classes"
    figure = new_figure(PAGE_INCHES, 1.0 + 0.27 * len(shown))
    axes = figure.subplots()
    positions = np.arange(len(shown))
    left = np.zeros(len(shown))
    for number, split in enumerate(splits):
        values = np.array([row.usable[number] for row in shown])
        colour = SERIES[min(number, len(SERIES) - 1)]
        name = split_text(split) if len(splits) > 1 or split is not None else "videos"
        axes.barh(positions, values, left=left, height=0.66, color=colour, label=name)
        left += values
    lost = np.array([sum(row.listed) - sum(row.usable) for row in shown])
    if lost.any():
        axes.barh(positions, lost, left=left, height=0.66, color=GRID, label="cannot be used")
    largest = max(float((left + lost).max()), 1.0)
    for position, row, used, gone in zip(positions, shown, left, lost, strict=True):
        at = float(used + gone) + 0.008 * largest
        text = f"{sum(row.usable):,}" + (f" of {sum(row.listed):,}" if gone else "")
        write_label(axes, at, float(position), text, va="center", fontsize=8.5)
    if len(shown) < len(ordered):
        axes.axhline(limit // 2 - 0.5, color=FAINT, linewidth=0.8, linestyle=(0, (4, 4)))
    style_axes(axes, title=title, grid="x")
    axes.set(xlim=(0, 1.09 * largest), ylim=(len(shown) - 0.4, -0.6))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_yticks(
        positions.tolist(), [shorten(label_text(row.label), _LABEL_LENGTH) for row in shown], parse_math=False
    )
    axes.tick_params(axis="y", labelsize=9, labelcolor=INK)
    if len(splits) > 1 or lost.any():
        legend = axes.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, labelcolor=FAINT, fontsize=9
        )
        for name_of_split in legend.get_texts():
            name_of_split.set_parse_math(False)
    return figure
