"""Training logs come in as lists of dicts, figures and short summaries of the runs go out.

A log holds step entries such as {"step": 3, "epoch": 0, "loss": 1.2, "lr": 1e-4, "samples_per_second": 80} and
validation entries such as {"epoch": 0, "validation": {"top1": 61.0}}; every key may be absent.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fewframes.errors import UsageError
from fewframes.report.canvas import FAINT, PAGE_INCHES, SERIES, new_figure, style_axes
from fewframes.report.text import shorten

__all__ = ["RunSummary", "TrainingLog", "summarise_log", "training_curves"]

TrainingLog = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunSummary:
    """A training run in a few numbers; None where the log does not say.

    Attributes:
        last_step: largest step number; None where steps are not numbered.
        final_loss: mean of the last tenth of the finite losses.
        best_top1: highest validation top-1, percent.
        last_top1: last validation top-1, percent.
        samples_per_second: median over the steps.
    """

    last_step: int | None
    final_loss: float | None
    best_top1: float | None
    last_top1: float | None
    samples_per_second: float | None


def summarise_log(log: TrainingLog) -> RunSummary:
    """The run in a few numbers."""
    losses = [loss for _, loss in _steps(log, "loss") if math.isfinite(loss)]
    rates = [rate for _, rate in _steps(log, "samples_per_second") if math.isfinite(rate)]
    top1 = [value for _, value in _validations(log, "top1") if math.isfinite(value)]
    steps = [entry["step"] for entry in log if isinstance(entry.get("step"), int)]
    tail = losses[-max(1, len(losses) // 10) :]
    return RunSummary(
        last_step=max(steps, default=None),
        final_loss=statistics.fmean(tail) if tail else None,
        best_top1=max(top1, default=None),
        last_top1=top1[-1] if top1 else None,
        samples_per_second=statistics.median(rates) if rates else None,
    )


def training_curves(logs: Mapping[str, TrainingLog]) -> Figure:
    """Loss above, validation top-1 (if any) below, over steps; one colour for each run.

    Args:
        logs: name of the run -> its log; at most 6. Losses that are not finite leave a gap.

    Returns:
        A figure; each loss is drawn thin as logged and thick as a running mean. Without any validation there is
        no panel for it.

    Raises:
        UsageError: there are more runs than colours, or none.
    """
    if not 1 <= len(logs) <= len(SERIES):
        raise UsageError(f"{len(logs)} training logs to draw; expected 1 to {len(SERIES)}")
    has_top1 = any(_validations(log, "top1") for log in logs.values())
    figure = new_figure(PAGE_INCHES, 5.2 if has_top1 else 2.9)
    panels = figure.subplots(2 if has_top1 else 1, 1, sharex=True, squeeze=False)[:, 0]
    above, below, has_loss = panels[0], panels[-1], False
    for (name, log), colour in zip(logs.items(), SERIES, strict=False):
        label = shorten(name, 40)
        loss = np.array(_steps(log, "loss"), dtype=np.float64).reshape(-1, 2)
        loss[~np.isfinite(loss[:, 1]), 1] = np.nan
        if len(loss):
            has_loss = True
            above.plot(loss[:, 0], loss[:, 1], color=colour, linewidth=0.8, alpha=0.35)
            above.plot(loss[:, 0], _running_mean(loss[:, 1]), color=colour, linewidth=1.8, label=label)
        top1 = np.array(_validations(log, "top1"), dtype=np.float64).reshape(-1, 2)
        if len(top1):
            below.plot(top1[:, 0], top1[:, 1], color=colour, linewidth=1.8, marker="o", markersize=4, label=label)
    style_axes(above, title="Training loss", grid="y")
    _finish(above, has_loss)
    if has_top1:
        style_axes(below, title="Validation top-1, %", grid="y")
        _finish(below, has_top1)
    below.set_xlabel("step")
    below.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    return figure


def _finish(axes: Axes, has_data: bool) -> None:
    if not has_data:
        axes.text(0.5, 0.5, "not in the log", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        return
    axes.set_ylim(bottom=0)
    legend = axes.legend(frameon=False, labelcolor=FAINT, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _steps(log: TrainingLog, key: str) -> list[tuple[float, float]]:
    """(step, value) of the training entries that have the key; unnumbered steps are counted."""
    training = [entry for entry in log if "validation" not in entry]
    return [
        (float(entry.get("step", position)), float(entry[key]))
        for position, entry in enumerate(training)
        if _is_number(entry.get(key))
    ]


def _validations(log: TrainingLog, key: str) -> list[tuple[float, float]]:
    """(step, value) of the validations; one without a step stands at the last training step before it."""
    points = []
    last_step, has_steps = 0.0, any(_is_number(entry.get("step")) for entry in log)
    for position, entry in enumerate(log):
        if _is_number(entry.get("step")):
            last_step = float(entry["step"])
        validation = entry.get("validation")
        if isinstance(validation, Mapping) and _is_number(validation.get(key)):
            elsewhere = last_step if has_steps else float(entry.get("epoch", position))
            points.append((elsewhere, float(validation[key])))
    return points


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean over about a thirtieth of the run, over fewer values at its ends; gaps are passed over."""
    half = len(values) // 60
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    with np.errstate(invalid="ignore"):
        return np.asarray((sums[high] - sums[low]) / (counts[high] - counts[low]))
