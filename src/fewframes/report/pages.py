"""Evaluations, training logs and frames come in; self-contained HTML pages go out as text.

Store them with `write_atomically`; they need no network, no script and no other file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fewframes.errors import UsageError
from fewframes.records import EvaluationReport, Failure, Scores
from fewframes.report.canvas import SERIES
from fewframes.report.curves import TrainingLog, summarise_log, training_curves
from fewframes.report.markup import data_table, details, escape, figure_block, interval_bar, page, paragraph, section
from fewframes.report.plots import (
    calibration,
    class_accuracy_bars,
    class_comparison_bars,
    confusion_matrix,
    score_histogram,
)
from fewframes.report.serial import flatten
from fewframes.report.strips import FrameStrip, draw_strip
from fewframes.report.text import (
    accuracy_interval,
    class_rows,
    decoded_line,
    failure_reasons,
    number_text,
    paired_counts,
    percent,
    place_text,
    plural,
    reading_line,
    second_figure,
    shorten,
    top_confusions,
    worst_mistakes,
)

__all__ = ["comparison_page", "evaluation_page", "stopped_page"]

_MISTAKES = 15
_CONFUSIONS = 10
_FAILURES = 200
_UNFOLDED_CLASSES = 12
_MATRICES_SIDE_BY_SIDE = 20
_NOT_KNOWN = "\u2013"


def evaluation_page(report: EvaluationReport, *, frames: Mapping[str, FrameStrip] | None = None) -> str:
    """One evaluation as a page.

    Args:
        report: the evaluation, of at least one listed video.
        frames: path -> what the model looked at in that video; drawn below the surest mistakes
            (`worst_mistakes(report, 15)` names them), in the order given.

    Returns:
        An HTML document: headline, both denominators, classes, mix-ups, scores, mistakes, failures, all settings.

    Raises:
        UsageError: the report has no videos.
    """
    lower, upper = accuracy_interval(report)
    noun = "video" if report.listed.num_videos == 1 else "videos"
    header = [
        '<header>\n<p class="eyebrow">Evaluation</p>',
        f"<h1>{escape(report.model)}</h1>",
        paragraph(f"on {report.data}", style="note"),
        f'<p class="big">{percent(report.listed.top1)}</p>',
        interval_bar(report.listed.top1, lower, upper),
        paragraph(
            f"top-1 of {report.listed.num_videos:,} listed {noun}; 95 % interval {lower:.1f} to {upper:.1f}"
            f"{second_figure(report)}",
            style="lead",
        ),
        paragraph(decoded_line(report) or "Every listed video could be read.", style="note"),
        "</header>",
    ]
    duration = f"Evaluated in {report.seconds:,.1f} s over {plural(len(report.labels), 'class')}."
    line = reading_line(report)
    reading = "" if line is None else f"{line[0].upper()}{line[1:]}. "
    parts = [
        "\n".join(header),
        section("Scores", _score_table(report)),
        section("Classes", *_class_parts(report)),
        section("Confusion", *_confusion_parts(report)),
        section("How sure it was", *_certainty_parts(report)),
        section("Surest mistakes", *_mistake_parts(report, frames or {})),
        section("Videos that could not be read", *_failure_parts(report.failures)),
        section("Settings", _settings_table({report.model: report})),
        f"<footer>{escape(duration)} {escape(reading)}Intervals are Wilson's, at 95 %.</footer>",
    ]
    return page(f"{report.model} on {report.data}: {percent(report.listed.top1)}", parts)


def stopped_page(model: str, data: str, *, reason: str, failures: Sequence[Failure]) -> str:
    """An evaluation that was stopped, as a page: no score, but why, and what could not be read until then."""
    header = (
        f'<header>\n<p class="eyebrow">Evaluation, stopped</p>\n<h1>{escape(model)}</h1>\n'
        f"{paragraph(f'on {data}', style='note')}\n{paragraph(reason, style='lead')}\n</header>"
    )
    parts = [header, section("Videos that could not be read", *_failure_parts(failures))]
    return page(f"{model} on {data}: stopped", parts)


def comparison_page(
    title: str,
    intro: str,
    *,
    reports: Mapping[str, EvaluationReport],
    logs: Mapping[str, TrainingLog] | None = None,
    strips: Sequence[FrameStrip] = (),
    sections: Sequence[tuple[str, str]] = (),
) -> str:
    """Several models on the same data side by side.

    Args:
        title: what is compared.
        intro: a short text; empty lines part paragraphs.
        reports: name -> evaluation, 1 to 6, over the same labels.
        logs: name -> training log; a name that is also in `reports` has the same colour in all plots.
        strips: frames of videos that were classified, with their captions.
        sections: further (heading, text) pairs, shown after the scores.

    Returns:
        An HTML document: scores, video-by-video counts, classes, confusion, training, frames, settings.

    Raises:
        UsageError: there are no reports, too many, or their labels differ.
    """
    if not 1 <= len(reports) <= len(SERIES):
        raise UsageError(f"{len(reports)} evaluations to compare; expected 1 to {len(SERIES)}")
    cards = "\n".join(_card(name, report, SERIES[index]) for index, (name, report) in enumerate(reports.items()))
    header = (
        f'<header>\n<p class="eyebrow">Comparison</p>\n<h1>{escape(title)}</h1>\n{paragraph(intro)}\n'
        f'<div class="cards">\n{cards}\n</div>\n</header>'
    )
    first = next(iter(reports.values()))
    by_class = ", ".join(f"{name} {percent(report.listed.mean_class_accuracy)}" for name, report in reports.items())
    small = len(first.labels) <= _MATRICES_SIDE_BY_SIDE
    matrices = "\n".join(
        f"<div>\n<h3>{escape(name)}</h3>\n"
        f"{figure_block(confusion_matrix(report, legend=not small), _confusion_alt(report))}\n</div>"
        for name, report in reports.items()
    )
    # Two large matrices beside each other would be too small to read.
    layout = "pair" if small else "column"
    parts = [
        header,
        section("Scores", _comparison_scores(reports), _paired_table(reports)),
        *(section(heading, paragraph(text)) for heading, text in sections),
        section("What they look at", *(_strip_block(strip) for strip in strips)),
        section(
            "Classes",
            figure_block(
                class_comparison_bars(reports), f"Bar chart of accuracy by class. Mean over classes: {by_class}."
            ),
        ),
        section("Confusion", f'<div class="{layout}">\n{matrices}\n</div>'),
        section("Training", *_training_parts(logs or {}, reports)),
        section("Settings", _settings_table(reports)),
        "<footer>Top-1 counts a video that could not be read as wrong. Intervals are Wilson's, at 95 %.</footer>",
    ]
    return page(title, parts)


def _score_table(report: EvaluationReport) -> str:
    lower, upper = accuracy_interval(report)
    rows = [
        ["every listed video", *_score_cells(report.listed), f"{lower:.1f} to {upper:.1f}"],
        ["those that could be read", *_score_cells(report.decoded), _NOT_KNOWN],
    ]
    columns = ["over", "videos", "top-1", "top-5", "mean class accuracy", "95 % interval of top-1"]
    text = "Accuracy over both denominators; among the listed videos one that could not be read counts as wrong"
    return data_table(columns, rows, caption=text, kinds="tnnnnn")


def _score_cells(scores: Scores) -> list[str]:
    if scores.num_videos == 0:
        return ["0", _NOT_KNOWN, _NOT_KNOWN, _NOT_KNOWN]
    accuracies = (scores.top1, scores.top5, scores.mean_class_accuracy)
    return [f"{scores.num_videos:,}", *map(percent, accuracies)]


def _class_parts(report: EvaluationReport) -> list[str]:
    rows = class_rows(report, worst_first=True)
    with_videos = [row for row in rows if row.accuracy is not None]
    worst = ", ".join(f"{row.label} {percent(row.accuracy or 0.0)}" for row in with_videos[:3])
    table = data_table(
        ["class", "accuracy", "right", "listed", "not readable"],
        [
            [
                row.label,
                _NOT_KNOWN if row.accuracy is None else percent(row.accuracy),
                row.correct,
                row.total,
                row.failed or "",
            ]
            for row in rows
        ],
        caption="Every class, least accurate first",
        kinds="tnnnn",
    )
    if len(rows) > _UNFOLDED_CLASSES:
        table = details(f"All {len(rows)} classes as a table", table)
    alt = f"Bar chart of accuracy by class, least accurate first: {worst}."
    return [figure_block(class_accuracy_bars(report), alt), table]


def _confusion_alt(report: EvaluationReport) -> str:
    most = "; ".join(f"{true} taken for {said}, {count}" for true, said, count in top_confusions(report, 3))
    return f"Confusion matrix of {plural(len(report.labels), 'class')}. Most frequent: {most or 'no mix-up'}."


def _confusion_parts(report: EvaluationReport) -> list[str]:
    if report.decoded.num_videos == 0:
        return []
    confusions = top_confusions(report, _CONFUSIONS)
    table = data_table(["true class", "taken for", "videos"], confusions, caption="Most frequent mix-ups", kinds="ttn")
    return [figure_block(confusion_matrix(report), _confusion_alt(report)), table if confusions else ""]


def _certainty_parts(report: EvaluationReport) -> list[str]:
    if report.decoded.num_videos == 0:
        return []
    histogram = figure_block(
        score_histogram(report), "Histogram of the best class's score, right and wrong videos stacked."
    )
    reliability = figure_block(
        calibration(report),
        "Share of right videos against their score.",
        caption="Below the dashed line the model is surer than it should be. Numbers and areas count videos.",
    )
    return [f'<div class="pair">\n{histogram}\n{reliability}\n</div>']


def _mistake_parts(report: EvaluationReport, frames: Mapping[str, FrameStrip]) -> list[str]:
    if report.decoded.num_videos == 0:
        return []
    mistakes = worst_mistakes(report, _MISTAKES)
    if not mistakes:
        return [paragraph("No video that could be read was classified wrongly.", style="note")]
    rows = [[place_text(each), each.label, each.predicted[0], percent(100 * each.scores[0])] for each in mistakes]
    table = data_table(
        ["path", "true class", "predicted", "score"], rows, caption="Wrong videos with the highest score", kinds="pttn"
    )
    return [table, *(_strip_block(strip) for strip in frames.values())]


def _failure_parts(failures: Sequence[Failure]) -> list[str]:
    if not failures:
        return []
    reasons = failure_reasons(failures)
    rows = [[place_text(failure), failure.reason] for failure in failures[:_FAILURES]]
    caption = plural(len(failures), "failure")
    if len(rows) < len(failures):
        caption = f"The first {len(rows)} of {caption}"
    table = data_table(["path", "reason"], rows, caption=caption, kinds="pt")
    by_reason = ""
    if len(rows) > 10 and len(reasons) < len(rows):
        counted = [[reason, count] for reason, count in reasons[:20]]
        by_reason = data_table(["reason", "videos"], counted, caption="By reason", kinds="tn")
        table = details(f"{caption}, by path", table)
    rest = len(failures) - len(rows)
    more = paragraph(f"{rest:,} more are in the JSON of this evaluation.", style="note") if rest else ""
    return [by_reason, table, more]


def _strip_block(strip: FrameStrip) -> str:
    figure = draw_strip(strip)
    seconds = [f"{float(each):.1f}" for each in strip.seconds]
    alt = f"{plural(len(seconds), 'frame')} at {', '.join(seconds)} seconds."
    if strip.attention is not None:
        shares = [float(each) for each in strip.attention]
        alt += f" The frame at {seconds[shares.index(max(shares))]} s has the largest share of attention."
    return figure_block(figure, alt, caption=strip.caption)


def _card(name: str, report: EvaluationReport, colour: str) -> str:
    lower, upper = accuracy_interval(report)
    swatch = f'<span class="swatch" style="--swatch: {colour}"></span>'
    note = f"top-1 of {report.listed.num_videos:,} listed videos; 95 % interval {lower:.1f} to {upper:.1f}"
    return (
        f'<div>\n<h2>{swatch}{escape(name)}</h2>\n<p class="big small">{percent(report.listed.top1)}</p>\n'
        f"{interval_bar(report.listed.top1, lower, upper, colour=colour)}\n{paragraph(note, style='note')}\n</div>"
    )


def _comparison_scores(reports: Mapping[str, EvaluationReport]) -> str:
    rows = []
    for name, report in reports.items():
        lower, upper = accuracy_interval(report)
        rows.append([name, *_score_cells(report.listed), f"{lower:.1f} to {upper:.1f}", len(report.failures)])
    columns = ["model", "videos", "top-1", "top-5", "mean class accuracy", "95 % interval of top-1", "not readable"]
    return data_table(columns, rows, caption="Accuracy over every listed video", kinds="tnnnnnn")


def _paired_table(reports: Mapping[str, EvaluationReport]) -> str:
    """The first model against each other one, where both evaluated the same list."""
    names = list(reports)
    rows = []
    for other in names[1:]:
        counts = paired_counts(reports[names[0]].videos, reports[other].videos)
        if counts is not None:
            p_text = "< 0.001" if counts.p_value < 0.001 else f"{counts.p_value:.3f}"
            rows.append([other, counts.both, counts.only_first, counts.only_second, counts.neither, p_text])
    if not rows:
        return ""
    columns = ["against", "both right", f"only {shorten(names[0], 30)}", "only the other", "both wrong", "sign test p"]
    return data_table(columns, rows, caption=f"{names[0]} against the others, video by video", kinds="tnnnnn")


def _training_parts(logs: Mapping[str, TrainingLog], reports: Mapping[str, EvaluationReport]) -> list[str]:
    if not logs:
        return []
    # Colours go by position: a model without a log keeps its place, so that the others keep their colours.
    ordered: dict[str, TrainingLog] = {name: () for name in reports} | dict(logs)
    rows = []
    for name, log in logs.items():
        run = summarise_log(log)
        accuracies = [_NOT_KNOWN if each is None else percent(each) for each in (run.best_top1, run.last_top1)]
        last_step, loss, speed = (
            _NOT_KNOWN if each is None else number_text(each)
            for each in (run.last_step, run.final_loss, run.samples_per_second)
        )
        rows.append([name, last_step, loss, *accuracies, speed])
    columns = ["run", "last step", "final loss", "best top-1", "last top-1", "samples a second"]
    alt = f"Training loss and validation top-1 over steps of {', '.join(logs)}."
    return [
        figure_block(training_curves(ordered), alt, caption="Thin: as logged. Thick: a running mean."),
        data_table(
            columns, rows, caption="Runs; the loss is the mean of the last tenth, the speed a median", kinds="tnnnnn"
        ),
    ]


def _settings_table(reports: Mapping[str, EvaluationReport]) -> str:
    """All settings, one column a model; rows in which models differ are marked."""
    flat = [
        {name: _value_text(value) for name, value in flatten(report.protocol).items()} for report in reports.values()
    ]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    rows = [[key, *(each.get(key, _NOT_KNOWN) for each in flat)] for key in keys]
    marked = frozenset(number for number, row in enumerate(rows) if len(set(row[1:])) > 1)
    if not rows:
        return paragraph("No settings were recorded.", style="note")
    names = ["value"] if len(reports) == 1 else [shorten(name, 40) for name in reports]
    caption = "Everything that the scores depend on"
    if marked:
        caption += "; a dot marks what differs"
    return data_table(["setting", *names], rows, caption=caption, marked=marked)


def _value_text(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list | tuple | Mapping):
        return ", ".join(map(str, value)) or "none"
    return str(value)
