"""Evaluations and predictions come in; rich tables for the terminal go out."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fewframes.errors import UsageError
from fewframes.records import EvaluationReport, Failure, Prediction
from fewframes.report.text import (
    class_rows,
    clean,
    decoded_line,
    headline,
    percent,
    place_text,
    plural,
    read_share,
    reading_line,
    top_confusions,
)

__all__ = ["attention_table", "evaluation_summary", "failure_table", "prediction_table", "render_text"]

_BAR_WIDTH = 30


def evaluation_summary(report: EvaluationReport, *, num_classes: int = 5, max_failures: int = 10) -> Group:
    """What an evaluation found, for the terminal.

    Args:
        report: the evaluation.
        num_classes: how many of the least accurate classes and most frequent mix-ups are shown.
        max_failures: how many failures are named; the rest is counted.

    Returns:
        The headline, the second denominator if any video failed, further scores, worst classes, mix-ups, failures.
    """
    parts: list[RenderableType] = [Text(headline(report), style="bold")]
    if (line := decoded_line(report)) is not None:
        parts.append(Text(line))
    scores = report.listed
    parts.append(Text(f"top-5 {percent(scores.top5)}, mean class accuracy {percent(scores.mean_class_accuracy)}"))
    parts.append(Text(clean(f"{report.model} on {report.data}, {report.seconds:.1f} s"), style="dim"))
    if (line := reading_line(report)) is not None:
        parts.append(Text(line, style="dim"))
    imperfect = [row for row in class_rows(report, worst_first=True) if row.accuracy is not None and row.accuracy < 100]
    if imperfect and num_classes > 0:
        table = _table("least accurate classes", "class", ">right", ">of", ">accuracy", ">unreadable")
        for row in imperfect[:num_classes]:
            unreadable = str(row.failed) if row.failed else ""
            accuracy = percent(row.accuracy or 0.0)
            table.add_row(Text(clean(row.label)), str(row.correct), str(row.total), accuracy, unreadable)
        parts += [Text(), table]
    confusions = top_confusions(report, num_classes)
    if confusions:
        table = _table("most frequent mix-ups", "true class", "taken for", ">videos")
        for true, predicted, count in confusions:
            table.add_row(Text(clean(true)), Text(clean(predicted)), str(count))
        parts += [Text(), table]
    if report.failures:
        parts += [Text(), failure_table(report.failures, max_failures=max_failures)]
    return Group(*parts)


def failure_table(failures: Sequence[Failure], *, max_failures: int = 10) -> Group:
    """Inputs that could not be used by path and reason; a long list is cut and the rest counted."""
    table = _table(f"{plural(len(failures), 'video')} could not be read", "file", "reason")
    for failure in failures[:max_failures]:
        table.add_row(Text(clean(place_text(failure)), overflow="fold"), Text(clean(failure.reason), overflow="fold"))
    rest = len(failures) - max_failures
    return Group(table, Text(f"  and {rest:,} more", style="dim")) if rest > 0 else Group(table)


def prediction_table(predictions: Sequence[Prediction]) -> Table:
    """One row for each class of each video: file, class, score in percent, and the seconds of the frames used.

    A note below says how much of the files was read, where that is known.
    """
    table = _table(None, "file", "class", ">score", "frames at seconds")
    if bytes_read := sum(prediction.bytes_read for prediction in predictions):
        sizes = [prediction.size_bytes for prediction in predictions]
        size = None if None in sizes else sum(size for size in sizes if size is not None)
        table.caption, table.caption_justify = f"read {read_share(bytes_read, size)}", "left"
    for prediction in predictions:
        for rank, (label, score) in enumerate(zip(prediction.labels, prediction.scores, strict=True)):
            first = rank == 0
            table.add_row(
                Text(clean(place_text(prediction)) if first else "", overflow="fold"),
                Text(clean(label), style="bold" if first else ""),
                percent(100 * score),
                Text(_seconds_text(prediction.frame_seconds) if first else "", style="dim"),
                end_section=rank == len(prediction.labels) - 1,
            )
    return table


def attention_table(prediction: Prediction) -> Table:
    """One row for each frame the model looked at: its number, its seconds, its share of the attention, and a bar.

    Raises:
        UsageError: the prediction was made without attention.
    """
    shares = prediction.frame_attention
    if not shares:
        raise UsageError(f"no attention in the prediction for {prediction.path}; predict with attention=True")
    table = _table(None, ">frame", ">seconds", ">attention", clean(place_text(prediction)))
    rows = zip(prediction.frame_indices, prediction.frame_seconds, shares, strict=True)
    for index, seconds, share in rows:
        bar = "█" * max(round(_BAR_WIDTH * share / max(shares)), 1)
        table.add_row(str(index), f"{seconds:.2f}", percent(100 * share), Text(bar, style="blue"))
    return table


def render_text(renderable: RenderableType, *, width: int = 100) -> str:
    """The same without colours, as text of at most `width` columns; for logs and files."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def _table(title: str | None, *columns: str) -> Table:
    """An open table; a column name that starts with ">" holds numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if numbers else "left", no_wrap=numbers)
    return table


def _seconds_text(seconds: Sequence[float]) -> str:
    """All of a few times; of many the first three and the last, with their number."""
    texts = [f"{each:.1f}" for each in seconds]
    if len(texts) > 8:
        return f"{', '.join(texts[:3])} … {texts[-1]} ({len(texts)} frames)"
    return ", ".join(texts)
