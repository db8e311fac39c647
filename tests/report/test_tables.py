"""What stands in the terminal."""

from __future__ import annotations

import dataclasses

import pytest

from fewframes.errors import UsageError
from fewframes.records import Failure, Prediction, ReadCost
from fewframes.report.tables import attention_table, evaluation_summary, failure_table, prediction_table, render_text
from fewframes.report.text import decoded_line, headline, reading_line

from .samples import make_report

FAILURES = tuple(Failure(f"broken/[red]{index}.mp4", "no video stream") for index in range(9))


def test_summary_says_everything() -> None:
    report = make_report(["wave", "[bold]clap", "x"], failures=FAILURES)
    text = render_text(evaluation_summary(report, max_failures=4), width=140)
    assert text.startswith(headline(report) + "\n")
    assert str(decoded_line(report)) in text
    assert f"mean class accuracy {report.listed.mean_class_accuracy:.1f} %" in text
    assert "[bold]clap" in text
    assert "9 videos could not be read" in text
    assert "broken/[red]3.mp4   no video stream" in text
    assert "broken/[red]4.mp4" not in text
    assert "and 5 more" in text
    assert "stam_16 on data/test.csv, 41.7 s" in text


def test_a_flawless_evaluation_is_short() -> None:
    text = render_text(evaluation_summary(make_report(["a", "b"], flawless=True)))
    assert "least accurate" not in text
    assert "could not be read" not in text
    assert len(text.splitlines()) == 3


def test_failures_are_all_named_if_few() -> None:
    text = render_text(failure_table(FAILURES[:2]))
    assert "broken/[red]1.mp4" in text
    assert "more" not in text


def test_predictions() -> None:
    long = tuple(0.5 * index for index in range(16))
    table = prediction_table(
        [
            Prediction("a[b].mp4", ("wave", "clap"), (0.912, 0.05), (1, 2), (0.04, 1.26), (0.0,)),
            Prediction("long.mp4", ("clap",), (1.0,), tuple(range(16)), long, (0.0,)),
        ]
    )
    lines = render_text(table).splitlines()
    wave = next(line for line in lines if "wave" in line)
    assert wave.split() == ["a[b].mp4", "wave", "91.2", "%", "0.0,", "1.3"]
    assert any("0.0, 0.5, 1.0 … 7.5 (16 frames)" in line for line in lines)
    assert sum("a[b].mp4" in line for line in lines) == 1


def test_predictions_of_parts_and_what_was_read() -> None:
    first = Prediction("a.mp4", ("wave",), (1.0,), (1,), (0.0,), (0.0,), None, 2.0, 4.5, 300_000, 1_000_000)
    second = dataclasses.replace(first, path="b.mp4", start=None, end=None, bytes_read=100_000)
    lines = render_text(prediction_table([first, second])).splitlines()
    assert any("a.mp4, 2 to 4.5 s" in line for line in lines)
    assert any("b.mp4  " in line for line in lines)
    assert lines[-1].strip() == "read 400.0 kB of 2.0 MB (20.0 %)"
    unknown = dataclasses.replace(second, size_bytes=None)
    assert render_text(prediction_table([first, unknown])).splitlines()[-1].strip() == "read 400.0 kB"


def test_what_reading_took_is_in_the_summary() -> None:
    report = dataclasses.replace(make_report(["a", "b"], flawless=True), reading=ReadCost(1.0, 0.5, 10, 100, 7))
    assert str(reading_line(report)) in render_text(evaluation_summary(report), width=140)
    failures = [Failure("a.mp4", "damaged", 3.0)]
    assert "a.mp4, from 3 s   damaged" in render_text(failure_table(failures))


def test_attention_is_drawn_frame_by_frame() -> None:
    asked = Prediction("a.mp4", ("wave",), (1.0,), (2, 7, 12), (0.1, 0.35, 0.6), (0.0,), (0.2, 0.6, 0.2))
    lines = render_text(attention_table(asked)).splitlines()
    assert [line.split()[:4] for line in lines if "%" in line] == [
        ["2", "0.10", "20.0", "%"],
        ["7", "0.35", "60.0", "%"],
        ["12", "0.60", "20.0", "%"],
    ]
    assert [line.count("█") for line in lines if "%" in line] == [10, 30, 10]
    with pytest.raises(UsageError, match="predict with attention=True"):
        attention_table(Prediction("a.mp4", ("wave",), (1.0,), (2,), (0.1,), (0.0,)))


def test_escape_codes_in_paths_do_not_reach_the_terminal() -> None:
    text = render_text(failure_table([Failure("\x1b[2Jx.mp4", "bad\nreason")]))
    assert "\x1b" not in text
    assert "bad\ufffdreason" in text
