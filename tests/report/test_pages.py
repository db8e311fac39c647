"""Pages are read as a browser reads them: with an HTML parser."""

from __future__ import annotations

import dataclasses
import itertools
import re
from html.parser import HTMLParser

import pytest

from fewframes.errors import UsageError
from fewframes.records import EvaluationReport, Failure, ReadCost, Scores
from fewframes.report.pages import comparison_page, evaluation_page, stopped_page
from fewframes.report.text import worst_mistakes

from .samples import PROTOCOL, make_log, make_report, make_strip

EVIL = "x\"><script>alert(1)</script>'& übung 漢字 \udcff\x1b"
FAILURES = tuple(Failure(f"broken/{EVIL}{index}.mp4", f"no video stream <i>{index % 2}") for index in range(14))
LABELS = ["push left", "</title><script>", "spin & fade", "$x$", "grow", "shrink", "a" * 60]
VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that elements nest."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def assert_safe_and_accessible(document: str) -> Reader:
    reader = Reader(document)
    document.encode("utf-8")
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "iframe", "object", "b", "u"}
    assert "http://" not in document
    assert "https://" not in document
    assert "@import" not in document
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#"))
        if "style" in attributes:
            assert "url(" not in re.sub(r"url\(#", "", str(attributes["style"]))
    for image in reader.named("img"):
        assert image.get("alt")
    for drawing in reader.named("svg"):
        assert drawing.get("role") == "img"
        assert drawing.get("aria-label")
    assert all(head.get("scope") in ("row", "col") for head in reader.named("th"))
    assert len(reader.named("table")) == len(reader.named("caption"))
    assert len(reader.named("h1")) == 1
    ids = [str(attributes["id"]) for _, attributes in reader.tags if "id" in attributes]
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {"lang": "en"} in reader.named("html")
    assert all(f"#{each}" in document for each in ids)
    return reader


def full_report() -> EvaluationReport:
    return make_report(LABELS, videos_per_class=9, failures=FAILURES, skill=2.0)


def test_evaluation_page_holds_everything() -> None:
    report = full_report()
    mistakes = worst_mistakes(report, 15)
    strips = {mistakes[0].path: make_strip(4, caption=f"{mistakes[0].path} <u>")}
    reader = assert_safe_and_accessible(evaluation_page(report, frames=strips))
    text = reader.text
    assert f"{report.listed.top1:.1f} % top-1 of 63 listed videos; 95 % interval" in text
    assert f"top-1 {report.decoded.top1:.1f} % of the 49 that could be read (14 videos could not be read)" in text
    for scores in (report.listed, report.decoded):
        for value in (scores.top1, scores.top5, scores.mean_class_accuracy):
            assert f"{value:.1f} %" in text
    for label in report.labels:
        assert label in text
    for mistake in mistakes:
        assert mistake.path in text
    for index in range(14):
        assert f"übung 漢字 \ufffd\ufffd{index}.mp4" in text
    assert "no video stream <i>0 7" in text
    for setting in (
        "sampling.rule uniform",
        "sampling.frames_per_second none",
        "preprocess.crop 224, 224",
        "compiled no",
    ):
        assert setting in text
    assert f"{mistakes[0].path} <u>" in text
    assert any("4 frames at 0.4, 1.2, 2.0, 2.8 seconds" in str(each.get("aria-label")) for each in reader.named("svg"))
    assert "41.7 s" in text


def test_policy_parts_and_costs_are_shown() -> None:
    report = full_report()
    videos = tuple(dataclasses.replace(video, start=1.0, end=2.5) for video in report.videos)
    report = dataclasses.replace(
        report,
        protocol={**PROTOCOL, "on_bad_video": "skip"},
        videos=videos,
        failures=tuple(dataclasses.replace(failure, start=7.0) for failure in report.failures),
        reading=ReadCost(1.0, 0.5, 10, 100, 7),
    )
    text = assert_safe_and_accessible(evaluation_page(report)).text
    assert "14 videos could not be read: wrong in the first figure, left out of the second (policy: skip)" in text
    assert f"{report.decoded.top1:.1f} % of the 49 that could be read" in text
    assert f"{worst_mistakes(report, 1)[0].path}, 1 to 2.5 s" in text
    assert ", from 7 s" in text
    assert "Decoding 1.0 s in all" in text
    assert "read 10 bytes of 100 bytes (10.0 %)." in text


def test_a_stopped_evaluation_has_no_score() -> None:
    page = stopped_page(EVIL, "list.csv", reason=f"2 of 9 videos {EVIL}", failures=FAILURES)
    text = assert_safe_and_accessible(page).text
    assert "Evaluation, stopped" in text
    assert "2 of 9 videos x\"><script>alert(1)</script>'& übung" in text
    assert "top-1" not in text
    for index in range(14):
        assert f"übung 漢字 \ufffd\ufffd{index}.mp4" in text


def test_the_same_evaluation_gives_the_same_page() -> None:
    assert evaluation_page(full_report()) == evaluation_page(full_report())


def test_a_flawless_evaluation() -> None:
    report = make_report(["a", "b"], flawless=True)
    text = assert_safe_and_accessible(evaluation_page(report)).text
    assert "Every listed video could be read." in text
    assert "No video that could be read was classified wrongly." in text
    assert "Videos that could not be read" not in text


def test_an_evaluation_in_which_nothing_could_be_read() -> None:
    failures = tuple(Failure(f"{index}.mp4", "damaged") for index in range(2))
    report = dataclasses.replace(
        make_report(["a", "b"]),
        listed=Scores(2, 0.0, 0.0, 0.0),
        decoded=Scores(0, 0.0, 0.0, 0.0),
        confusion=((0, 0), (0, 0)),
        class_totals=(1, 1),
        class_correct=(0, 0),
        failures=failures,
        videos=(),
    )
    text = assert_safe_and_accessible(evaluation_page(report)).text
    assert "no video could be read: 2 videos could not be read" in text
    assert "nan" not in text


def test_very_many_failures_are_counted() -> None:
    failures = tuple(Failure(f"clip_{index:03d}.mp4", "damaged") for index in range(230))
    text = Reader(evaluation_page(dataclasses.replace(full_report(), failures=failures))).text
    assert "damaged 230" in text
    assert "clip_199.mp4" in text
    assert "clip_200.mp4" not in text
    assert "30 more are in the JSON" in text


def test_many_classes_are_folded() -> None:
    reader = assert_safe_and_accessible(
        evaluation_page(make_report([f"class {i}" for i in range(101)], videos_per_class=2))
    )
    assert "All 101 classes as a table" in reader.text
    assert reader.named("details")
    assert "class 57" in reader.text


def test_comparison_page_holds_everything() -> None:
    first = full_report()
    second = make_report(LABELS, videos_per_class=9, failures=FAILURES, skill=0.5)
    second = dataclasses.replace(second, protocol={**PROTOCOL, "precision": "bfloat16"})
    names = [">/STAM", EVIL]
    document = comparison_page(
        f"STAM against {EVIL}",
        "One budget.\n\nTwo models <b>.",
        reports={names[0]: first, names[1]: second},
        logs={names[0]: make_log(40), names[1]: make_log(40, seed=1)},
        strips=[make_strip(8, caption=f"clip {EVIL}")],
        sections=[("What <this> shows", "Order matters.")],
    )
    reader = assert_safe_and_accessible(document)
    text = reader.text
    for report in (first, second):
        assert f"{report.listed.top1:.1f} % top-1 of 63 listed videos" in text
    for expected in (
        "Two models <b>.",
        "What <this> shows",
        "Order matters.",
        "only >/STAM",
        "setting >/STAM x",
        "precision float32 bfloat16",
    ):
        assert expected in text
    assert len([each for each in reader.named("tr") if each.get("class") == "differs"]) == 1
    assert len([each for each in reader.named("svg") if "Confusion matrix of 7" in str(each["aria-label"])]) == 2
    assert "8 frames at" in str([each["aria-label"] for each in reader.named("svg")])
    assert "run last step final loss best top-1 last top-1 samples a second >/STAM 39 0." in text


def test_comparison_of_different_lists_makes_no_pairs() -> None:
    first, second = make_report(["a", "b"]), make_report(["a", "b"], videos_per_class=7)
    text = Reader(comparison_page("t", "i", reports={"x": first, "y": second})).text
    assert "video by video" not in text
    assert "Training" not in text


def test_refusals() -> None:
    with pytest.raises(UsageError, match="0 evaluations to compare"):
        comparison_page("t", "i", reports={})
    empty = dataclasses.replace(make_report(["a"]), listed=Scores(0, 0, 0, 0), class_correct=(0,))
    with pytest.raises(UsageError, match="0 successes of 0"):
        evaluation_page(empty)
