"""Sentences and counts of a scan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fewframes.records import Failure
from fewframes.report.scan_text import (
    bytes_text,
    checks,
    class_rows,
    duration_text,
    file_facts,
    kinds_of_failures,
    scan_headline,
    scan_totals,
    with_short_paths,
)
from fewframes.scan_records import ClassCount, Leak

from .scans import make_scan


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.00 s"), (0.04, "0.04 s"), (1.0, "1.0 s"), (99.9, "99.9 s"), (100.0, "1.7 min"), (36000.0, "10.0 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (10**15, "1.0 PB"),
     (5 * 10**18, "5,000.0 PB")],
)  # fmt: skip
def test_sizes(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_headline_and_totals() -> None:
    report = make_scan(faults=False)
    assert scan_headline(report) == "36 of 36 listed videos can be used"
    assert scan_totals(report).startswith("36 files (each opened, not decoded), ")
    assert "every frame decoded" in scan_totals(replace(report, decode="full"))


def test_checks_count_what_was_found() -> None:
    report = make_scan(faults=False)
    assert [check.name for check in checks(report) if check.found] == ["classes without a usable video"]
    faulty = make_scan()
    found = {check.name: check.found for check in checks(faulty)}
    assert found["files that are missing"] == 1
    assert found["files that cannot be read"] == sum(file.error is not None for file in faulty.files) - 1
    assert found["parts that begin after their file's end"] == 1
    assert found["parts that end after their file's end"] == 1
    assert found["contents with copies"] == 1
    assert found["contents with different labels"] == 1
    assert found["parts that are listed twice"] == 2
    assert found["classes with 1 to 9 usable videos"] == 1, "3 of 12 are damaged"
    assert found["rows without a label"] == 1
    kinds = {kind: sum(leak.kind == kind for leak in faulty.leaks) for kind in ("file", "content", "group")}
    assert (found["files in several splits"], found["contents in several splits"]) == (kinds["file"], kinds["content"])
    assert found["groups in several splits"] == kinds["group"] == 1


def test_reasons_that_differ_in_numbers_are_one() -> None:
    reasons = ["at frame 3 of 50 (1.5 s)", "at frame 1,200 of 7 (1e-05 s)", "other"]
    report = replace(make_scan(), failures=tuple(Failure(f"{n}", reason) for n, reason in enumerate(reasons)))
    assert kinds_of_failures(report) == [("at frame … of … (… s)", 2), ("other", 1)]


def test_rows_of_classes() -> None:
    counts = (ClassCount("b", "train", 3, 2), ClassCount("b", None, 1, 0), ClassCount(None, "train", 4, 4))
    splits, rows = class_rows((*counts, ClassCount(None, None, 0, 0)))
    assert splits == ("train", None)
    assert [(row.label, row.listed, row.usable) for row in rows] == [("b", (3, 1), (2, 0)), (None, (4, 0), (4, 0))]


def test_paths_lose_what_they_share() -> None:
    report = make_scan()
    short, folder = with_short_paths(report)
    assert folder == "/data/set"
    assert all(not path.startswith("/data") for leak in short.leaks for path in leak.paths)
    assert all(
        f"/data/set/{one.path}" == other.path for one, other in zip(short.failures, report.failures, strict=True)
    )
    group = Leak("group", "/data/set/g", ("a", "b"), ("/data/set/x/a.mp4",))
    assert with_short_paths(replace(report, leaks=(group,)))[0].leaks == (replace(group, paths=("x/a.mp4",)),)
    files = report.files
    for others in ((replace(files[0], path="relative.mp4"),), (replace(files[0], path="/elsewhere/a.mp4"),)):
        apart = replace(report, files=(*files, *others))
        assert with_short_paths(apart) == (apart, "")
    remote = replace(report, files=(replace(files[0], path="https://x/a.mp4"),))
    assert with_short_paths(remote) == (remote, "")


def test_facts_of_files() -> None:
    report = make_scan()
    facts = file_facts(report.files)
    readable = [file for file in report.files if file.info is not None]
    assert facts["stored rotated"] == len(readable)
    assert facts["variable frame rate"] == 0
    assert facts["behind an address"] == 1
