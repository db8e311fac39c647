"""The page of a scan is read as a browser reads it."""

from __future__ import annotations

import re
from dataclasses import replace

from fewframes.records import Failure
from fewframes.report.scan_page import scan_page
from fewframes.report.scan_text import scan_headline
from fewframes.scan_records import ScanReport

from .scans import EVIL, make_scan
from .test_pages import Reader, assert_safe_and_accessible

SHOWN = "x\"><script>alert(1)</script>'& übung 漢字 \ufffd\ufffd$a$"


def test_it_holds_everything() -> None:
    report = make_scan()
    reader = assert_safe_and_accessible(scan_page(report))
    text = reader.text
    assert scan_headline(report) in text
    assert f"{100 * report.num_usable_rows / report.num_rows:.1f} %" in text
    for heading in (
        "What was looked for",
        "What cannot be used",
        "In several splits",
        "Different labels for the same content",
        "Copies",
        "Parts that end after their file",
        "Classes",
        "The files",
    ):
        assert heading in text
    for failure in report.failures:
        assert failure.path.removeprefix("/data/set/").replace(EVIL, SHOWN) in text
        assert failure.reason.replace(EVIL, SHOWN) in text
    assert f"a note {SHOWN}" in text
    assert "Paths are those below /data/set." in text
    assert "never seen 0 0 0 0 0" in text
    assert "is cut off at its end" in text
    assert "s3://host/remote.mp4" in text
    labels = [str(each.get("aria-label")) for each in reader.named("svg")]
    assert any("Bar chart of usable videos by class" in label for label in labels)
    assert sum("by number of files" in label for label in labels) == 3
    assert any(label.startswith("Histogram of lengths, 0.50 s to") for label in labels)


def test_the_same_scan_gives_the_same_page() -> None:
    assert scan_page(make_scan()) == scan_page(make_scan())


def test_a_scan_that_found_nothing_wrong() -> None:
    report = make_scan(faults=False)
    page = scan_page(report)
    text = assert_safe_and_accessible(page).text
    assert "100 %" in text
    assert "36 of 36 listed videos can be used" in text
    assert re.findall("<h2>(.*?)</h2>", page) == ["What was looked for", "Classes", "The files"]


def test_a_scan_of_which_nothing_can_be_used() -> None:
    report = make_scan(faults=False)
    files = tuple(replace(file, info=None, error="gone") for file in report.files)
    report = replace(report, files=files, num_usable_rows=0, class_counts=())
    text = assert_safe_and_accessible(scan_page(report)).text
    assert "0 of 36 listed videos can be used" in text
    assert "<h2>The files" not in scan_page(report)
    assert "<h2>Classes" not in scan_page(report)


def test_shares_that_are_nearly_all_or_none_do_not_read_so() -> None:
    report = replace(make_scan(faults=False), num_rows=100_000)
    assert "99.9 %" in scan_page(replace(report, num_usable_rows=99_999))
    assert "0.1 %" in scan_page(replace(report, num_usable_rows=1))


def many_failures(count: int) -> ScanReport:
    failures = tuple(
        Failure(f"/data/set/clip_{number:04d}.mp4", f"damaged at frame {number}") for number in range(count)
    )
    return replace(make_scan(), failures=failures)


def test_long_tables_end_and_say_so() -> None:
    reader = Reader(scan_page(many_failures(230)))
    assert "damaged at frame … 230" in reader.text
    assert "clip_0199.mp4" in reader.text
    assert "clip_0200.mp4" not in reader.text
    assert "30 more are in scan.json." in reader.text
    assert len(scan_page(many_failures(20_000))) < 400_000


def test_many_classes_are_folded() -> None:
    reader = assert_safe_and_accessible(scan_page(make_scan(101, 2)))
    assert "All 102 classes as a table" in reader.text
    assert "The 20 largest and the 20 smallest of 102 classes" in reader.text
    assert "class 57" in reader.text
