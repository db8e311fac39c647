"""Sentences and rankings against an evaluation small enough to count by hand."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.records import EvaluationReport, Failure, ReadCost, Scores, VideoResult
from fewframes.report.text import (
    accuracy_interval,
    bytes_text,
    class_rows,
    clean,
    decoded_line,
    failure_reasons,
    headline,
    number_text,
    paired_counts,
    percent,
    place_text,
    plural,
    read_share,
    reading_line,
    right_and_wrong,
    shorten,
    top_confusions,
    worst_mistakes,
)


def small_report() -> EvaluationReport:
    """Three classes a, b, c: five videos, one of them unreadable; c has none."""
    videos = (
        VideoResult("1.mp4", "a", ("a", "b"), (0.9, 0.1)),
        VideoResult("2.mp4", "a", ("b", "a"), (0.7, 0.2)),
        VideoResult("3.mp4", "b", ("c", "b"), (0.8, 0.1)),
        VideoResult("4.mp4", "b", (), (), error="no video stream"),
        VideoResult("5.mp4", "b", ("c", "a"), (0.8, 0.15)),
    )
    return EvaluationReport(
        model="stam_16",
        data="test.csv",
        labels=("a", "b", "c"),
        listed=Scores(5, 20.0, 60.0, 25.0),
        decoded=Scores(4, 25.0, 75.0, 25.0),
        confusion=((1, 1, 0), (0, 0, 2), (0, 0, 0)),
        class_totals=(2, 3, 0),
        class_correct=(1, 0, 0),
        failures=(Failure("4.mp4", "no video stream"),),
        videos=videos,
        protocol={},
        seconds=1.0,
    )


def with_counts(correct: int, total: int, top1: float) -> EvaluationReport:
    return dataclasses.replace(
        small_report(), class_correct=(correct, 0, 0), listed=Scores(total, top1, 95.0, 87.0), failures=()
    )


def test_headline_word_for_word() -> None:
    report = with_counts(177, 202, 100 * 177 / 202)
    assert headline(report) == "top-1 87.6 % of 202 listed videos (95 % interval 82.4 to 91.5)"
    assert decoded_line(report) is None


def test_second_line_word_for_word() -> None:
    assert decoded_line(small_report()) == "top-1 25.0 % of the 4 that could be read (1 video could not be read)"
    nothing = dataclasses.replace(small_report(), decoded=Scores(0, 0.0, 0.0, 0.0))
    assert decoded_line(nothing) == "no video could be read: 1 video could not be read"


def under(policy: str) -> EvaluationReport:
    return dataclasses.replace(small_report(), protocol={"on_bad_video": policy})


def test_the_policy_is_named_where_it_matters() -> None:
    assert headline(under("count-as-wrong")) == headline(small_report())
    assert decoded_line(under("count-as-wrong")) == (
        "top-1 25.0 % of the 4 that could be read (1 video could not be read; policy: count-as-wrong)"
    )
    assert headline(under("skip")) == (
        "top-1 20.0 % of 5 listed videos (95 % interval 3.6 to 62.4), 25.0 % of the 4 that could be read"
    ), "neither figure can be quoted without the other"
    assert decoded_line(under("skip")) == (
        "1 video could not be read: wrong in the first figure, left out of the second (policy: skip)"
    )
    assert decoded_line(dataclasses.replace(under("skip"), failures=())) is None


def test_what_reading_took_word_for_word() -> None:
    assert reading_line(small_report()) is None
    cost = ReadCost(2.5, 0.25, 1_234_567, 50_000_000, 99)
    report = dataclasses.replace(small_report(), reading=cost)
    assert reading_line(report) == (
        "decoding 2.5 s in all, 625 ms a video; waited for it 25.0 % of the time; read 1.2 MB of 50.0 MB (2.5 %)"
    )
    unknown = dataclasses.replace(report, reading=dataclasses.replace(cost, size_bytes=None))
    assert str(reading_line(unknown)).endswith("; read 1.2 MB")


def test_bytes() -> None:
    sizes = (0, 1, 999, 1000, 65_536, 999_949, 999_950, 12_345_678, 4 * 10**9, 7 * 10**17)
    assert [bytes_text(size) for size in sizes] == [
        "0 bytes",
        "1 byte",
        "999 bytes",
        "1.0 kB",
        "65.5 kB",
        "999.9 kB",
        "1.0 MB",
        "12.3 MB",
        "4.0 GB",
        "700.0 PB",
    ]
    assert read_share(500, 1000) == "500 bytes of 1.0 kB (50.0 %)"
    assert read_share(500, None) == read_share(500, 0) == "500 bytes"


def test_places() -> None:
    assert place_text(Failure("a.mp4", "x")) == "a.mp4"
    assert place_text(Failure("a.mp4", "x", 1.0, 2.5)) == "a.mp4, 1 to 2.5 s"
    assert place_text(VideoResult("a.mp4", "b", (), (), end=2.5)) == "a.mp4, up to 2.5 s"


def test_parts_of_one_file_are_not_mixed_up() -> None:
    first = [VideoResult("a.mp4", "x", ("x",), (1.0,), start=second) for second in (0.0, 1.0)]
    assert paired_counts(first, first) is not None
    assert paired_counts(first, first[::-1]) is None


def test_interval_counts_failures_as_wrong() -> None:
    lower, upper = accuracy_interval(small_report())
    # 1 of 5 with z = 1.96: centre (0.2 + 0.384146) / 1.768292 = 0.330345, half 0.294140.
    assert (lower, upper) == pytest.approx((3.62, 62.45), abs=0.01)


def test_class_rows() -> None:
    rows = class_rows(small_report())
    assert [(row.label, row.total, row.correct, row.failed, row.accuracy) for row in rows] == [
        ("a", 2, 1, 0, 50.0),
        ("b", 3, 0, 1, 0.0),
        ("c", 0, 0, 0, None),
    ]
    assert [row.label for row in class_rows(small_report(), worst_first=True)] == ["b", "a", "c"]


def test_rankings() -> None:
    report = small_report()
    assert top_confusions(report, 5) == [("b", "c", 2), ("a", "b", 1)]
    assert top_confusions(report, 1) == [("b", "c", 2)]
    assert [video.path for video in worst_mistakes(report, 5)] == ["3.mp4", "5.mp4", "2.mp4"]
    assert right_and_wrong(report) == ([0.9], [0.7, 0.8, 0.8])
    assert failure_reasons(report.failures) == [("no video stream", 1)]


def test_paired_counts_by_hand() -> None:
    def rows(right: str) -> list[VideoResult]:
        names = {"1": ("a",), "0": ("b",), "-": ()}
        return [VideoResult(f"{i}.mp4", "a", names[kind], (1.0,) * len(names[kind])) for i, kind in enumerate(right)]

    counts = paired_counts(rows("1111110-"), rows("11000010"))
    assert counts is not None
    assert (counts.both, counts.only_first, counts.only_second, counts.neither) == (2, 4, 1, 1)
    assert counts.p_value == pytest.approx(2 * (1 + 5) / 32)
    same = paired_counts(rows("10"), rows("10"))
    assert same is not None
    assert same.p_value == 1.0
    assert paired_counts(rows("10"), rows("101")) is None
    big = paired_counts(rows("1" * 3000), rows("0" * 3000))
    assert big is not None
    assert 0.0 <= big.p_value < 1e-100


def test_small_words() -> None:
    assert percent(87.62) == "87.6 %"
    assert [plural(1, "video"), plural(1202, "video"), plural(2, "class")] == ["1 video", "1,202 videos", "2 classes"]
    assert [number_text(x) for x in (0, 0.25, 0.00001, 12345.6, 3)] == ["0", "0.25", "1.00e-05", "12,346", "3"]
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"


@given(st.text(alphabet=st.characters()))
def test_cleaned_text_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned) == len(text)
    assert cleaned.encode("utf-8").isdigit() == text.isdigit() or not text.isascii()
    assert "\x1b" not in cleaned
    assert "\x00" not in cleaned


def test_clean_keeps_what_people_write() -> None:
    assert clean("Übung 漢字 🎾 'x'") == "Übung 漢字 🎾 'x'"
    assert clean("a\udcff\x1b[31m\n") == "a\ufffd\ufffd[31m\ufffd"
