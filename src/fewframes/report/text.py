"""An evaluation comes in; the sentences, rankings and plain strings that tables, plots and pages share go out."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fewframes.metrics import wilson_interval
from fewframes.records import EvaluationReport, Failure, Prediction, VideoResult, part_text

__all__ = [
    "ClassRow",
    "PairedCounts",
    "accuracy_interval",
    "bytes_text",
    "class_rows",
    "clean",
    "decoded_line",
    "failure_reasons",
    "headline",
    "number_text",
    "paired_counts",
    "percent",
    "place_text",
    "plural",
    "read_share",
    "reading_line",
    "right_and_wrong",
    "second_figure",
    "shorten",
    "top_confusions",
    "worst_mistakes",
]


_UNITS = ("kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class ClassRow:
    """How one class fared.

    Attributes:
        label: class name.
        total: listed videos of the class.
        correct: how many of them were classified correctly.
        failed: how many of them could not be read; part of `total`.
        accuracy: `correct / total` in percent; None without videos.
    """

    label: str
    total: int
    correct: int
    failed: int
    accuracy: float | None


@dataclass(frozen=True)
class PairedCounts:
    """Two models on the same listed videos.

    Attributes:
        both: videos that both classified correctly.
        only_first: right only by the first.
        only_second: right only by the second.
        neither: right by none.
        p_value: two-sided exact sign test over the videos where they differ; 1 where they never do.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float


def percent(value: float) -> str:
    """A number of percent with one decimal, as "87.6 %"."""
    return f"{value:.1f} %"


def plural(count: int, noun: str) -> str:
    """A count with its noun, as "1 video" or "1,202 videos"."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"


def number_text(value: float) -> str:
    """A number in at most four significant digits, without a needless exponent."""
    if value != 0 and math.isfinite(value) and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def bytes_text(size: int) -> str:
    """A number of bytes in powers of 1000, as "512 bytes" or "3.2 MB"."""
    if size < 1000:
        return plural(size, "byte")
    power = 1
    while size / 1000**power >= 999.95 and power < len(_UNITS):
        power += 1
    return f"{size / 1000**power:,.1f} {_UNITS[power - 1]}"


def read_share(bytes_read: int, size_bytes: int | None) -> str:
    """How much of some files was read, as "1.2 MB of 34.5 MB (3.5 %)"; without the share where no size is known."""
    if not size_bytes:
        return bytes_text(bytes_read)
    return f"{bytes_text(bytes_read)} of {bytes_text(size_bytes)} ({percent(100 * bytes_read / size_bytes)})"


def place_text(video: VideoResult | Failure | Prediction) -> str:
    """A path, with the part of the video that was wanted, if it was not the whole."""
    part = part_text(video.start, video.end)
    return f"{video.path}, {part}" if part else video.path


def clean(text: str) -> str:
    """Text that can be shown and stored as UTF-8: control characters and bytes that were no text become U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" else c for c in text)


def shorten(text: str, length: int) -> str:
    """Cleaned text of at most `length` characters, the cut marked by an ellipsis."""
    text = clean(text)
    return text if len(text) <= length else text[: max(length - 1, 0)].rstrip() + "…"


def accuracy_interval(report: EvaluationReport) -> tuple[float, float]:
    """Wilson's 95 % interval of top-1 over the listed videos, in percent."""
    return wilson_interval(sum(report.class_correct), report.listed.num_videos)


def headline(report: EvaluationReport) -> str:
    """The one line: top-1 over every listed video with its interval; under the policy "skip" both figures at once."""
    lower, upper = accuracy_interval(report)
    return (
        f"top-1 {percent(report.listed.top1)} of {report.listed.num_videos:,} listed videos "
        f"(95 % interval {lower:.1f} to {upper:.1f}){second_figure(report)}"
    )


def second_figure(report: EvaluationReport) -> str:
    """What the policy "skip" puts behind the first figure, so that neither is quoted alone; "" under the others."""
    if not _skips(report):
        return ""
    return f", {percent(report.decoded.top1)} of the {report.decoded.num_videos:,} that could be read"


def decoded_line(report: EvaluationReport) -> str | None:
    """The line over the videos that could be read, and how the others count; None if that is all of them."""
    if not report.failures:
        return None
    failed = f"{plural(len(report.failures), 'video')} could not be read"
    if report.decoded.num_videos == 0:
        return f"no video could be read: {failed}"
    if _skips(report):
        return f"{failed}: wrong in the first figure, left out of the second (policy: skip)"
    policy = report.protocol.get("on_bad_video")
    named = f"; policy: {policy}" if policy else ""
    return (
        f"top-1 {percent(report.decoded.top1)} of the {report.decoded.num_videos:,} that could be read "
        f"({failed}{named})"
    )


def reading_line(report: EvaluationReport) -> str | None:
    """What reading the videos took; None where it was not measured."""
    cost = report.reading
    if cost is None:
        return None
    per_video = 1000 * cost.decode_seconds / max(report.decoded.num_videos, 1)
    waited = percent(100 * cost.wait_seconds / report.seconds) if report.seconds > 0 else percent(0.0)
    return (
        f"decoding {cost.decode_seconds:.1f} s in all, {number_text(per_video)} ms a video; waited for it "
        f"{waited} of the time; read {read_share(cost.bytes_read, cost.size_bytes)}"
    )


def _skips(report: EvaluationReport) -> bool:
    return report.protocol.get("on_bad_video") == "skip"


def class_rows(report: EvaluationReport, *, worst_first: bool = False) -> list[ClassRow]:
    """One row for each class in label order, or the least accurate first and classes without videos last."""
    rows = []
    for index, label in enumerate(report.labels):
        total, correct = report.class_totals[index], report.class_correct[index]
        rows.append(
            ClassRow(
                label=label,
                total=total,
                correct=correct,
                failed=total - sum(report.confusion[index]),
                accuracy=100 * correct / total if total else None,
            )
        )
    if worst_first:
        # Of two equal shares the one over more videos says more.
        rows.sort(key=lambda row: (math.inf if row.accuracy is None else row.accuracy, -row.total))
    return rows


def top_confusions(report: EvaluationReport, count: int) -> list[tuple[str, str, int]]:
    """The most frequent mix-ups as (true class, predicted class, videos), at most `count`."""
    pairs = [
        (true, predicted, number)
        for true, row in enumerate(report.confusion)
        for predicted, number in enumerate(row)
        if number and true != predicted
    ]
    pairs.sort(key=lambda pair: (-pair[2], pair[0], pair[1]))
    return [(report.labels[true], report.labels[predicted], number) for true, predicted, number in pairs[:count]]


def worst_mistakes(report: EvaluationReport, count: int) -> list[VideoResult]:
    """The wrongly classified videos with the highest score, at most `count`, surest first."""
    wrong = [video for video in report.videos if video.predicted and video.predicted[0] != video.label]
    return sorted(wrong, key=lambda video: (-video.scores[0], video.path))[:count]


def right_and_wrong(report: EvaluationReport) -> tuple[list[float], list[float]]:
    """Top scores (0 to 1) of the videos that were classified correctly, and of those that were not."""
    right: list[float] = []
    wrong: list[float] = []
    for video in report.videos:
        if video.predicted:
            (right if video.predicted[0] == video.label else wrong).append(video.scores[0])
    return right, wrong


def failure_reasons(failures: Sequence[Failure]) -> list[tuple[str, int]]:
    """The distinct reasons why videos could not be read, with their counts, most frequent first."""
    return Counter(failure.reason for failure in failures).most_common()


def paired_counts(first: Sequence[VideoResult], second: Sequence[VideoResult]) -> PairedCounts | None:
    """Compare two models video by video; None unless both evaluated the same list (paths, parts and true classes).

    A video that could not be read counts as wrong.
    """
    lists = [[(video.path, video.start, video.end, video.label) for video in videos] for videos in (first, second)]
    if lists[0] != lists[1]:
        return None
    counts: Counter[tuple[bool, bool]] = Counter(
        (one.predicted[:1] == (one.label,), two.predicted[:1] == (two.label,))
        for one, two in zip(first, second, strict=True)
    )
    only_first, only_second = counts[True, False], counts[False, True]
    differing, fewer = only_first + only_second, min(only_first, only_second)
    # Whole numbers until the last step: the binomial sum of a thousand videos would overflow a float.
    tail = sum(math.comb(differing, k) for k in range(fewer + 1))
    return PairedCounts(
        both=counts[True, True],
        only_first=only_first,
        only_second=only_second,
        neither=counts[False, False],
        p_value=min(1.0, 2 * tail / 2**differing),
    )
