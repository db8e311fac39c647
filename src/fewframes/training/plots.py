"""A run's log comes in; a picture goes out: loss, learning rate and validation accuracy over the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewframes.report.logs import read_training_log
from fewframes.report.serial import write_atomically

__all__ = ["write_curves"]

_DPI = 80


def write_curves(log: Path, target: Path) -> Path:
    """Draw the curves of a log.jsonl into a PNG, whole or not at all. Returns its path."""
    # matplotlib takes a second to import, which a run that fails at its start should not wait for.
    from matplotlib.ticker import MaxNLocator

    from fewframes.report.canvas import FAINT, SERIES, new_figure, png_bytes, style_axes

    records = read_training_log(log)
    panels = {
        "Training loss": {"": _points(records, "loss")},
        "Learning rate (peak of all groups before their factors)": {"": _points(records, "lr")},
        "Validation top-1, %": {
            "weights": _scores(records, "validation"),
            "averaged weights": _scores(records, "validation_averaged"),
        },
    }
    shown = {title: lines for title, lines in panels.items() if any(lines.values())}
    figure = new_figure(7.0, 1.2 + 1.9 * max(len(shown), 1))
    all_axes = figure.subplots(max(len(shown), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, lines) in zip(all_axes, shown.items(), strict=False):
        for (name, points), colour in zip(lines.items(), SERIES, strict=False):
            if points:
                marker = "o" if len(points) < 60 else ""
                axes.plot(
                    *zip(*points, strict=True), color=colour, linewidth=1.5, marker=marker, markersize=3, label=name
                )
        style_axes(axes, title=title, grid="y")
        axes.set_ylim(bottom=0)
        if sum(map(bool, lines.values())) > 1:
            axes.legend(frameon=False, labelcolor=FAINT, fontsize=9)
    all_axes[-1].set_xlabel("step")
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return write_atomically(target, png_bytes(figure, dpi=_DPI))


def _points(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, value) wherever there is a finite one."""
    return [
        (each["step"], each[name])
        for each in records
        if isinstance(each.get(name), float) and math.isfinite(each[name])
    ]


def _scores(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(each["step"], each[name]["top1"]) for each in records if isinstance(each.get(name), Mapping)]
