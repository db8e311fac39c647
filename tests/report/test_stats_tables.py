"""What the terminal shows of scans, statistics and splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fewframes.data.manifest import Manifest, Video
from fewframes.data.stats import count_list, spread
from fewframes.report.stats_tables import scan_summary, split_table, stats_facts, stats_page, stats_summary
from fewframes.report.tables import render_text
from fewframes.scan_records import ClassCount, ManifestStats

from .scans import EVIL, make_scan
from .test_pages import assert_safe_and_accessible


def stats_of(num_classes: int = 3) -> ManifestStats:
    videos = tuple(
        Video(Path(f"{label}{number}.mp4"), (f"class {label}",), "test" if number == 0 else "train")
        for label in range(num_classes)
        for number in range(label + 2)
    )
    return count_list(Manifest(EVIL, videos, (f"note {EVIL}",)))


def test_summary_of_a_scan() -> None:
    report = make_scan()
    text = render_text(scan_summary(report, max_rows=3), width=300)
    assert f"{report.num_usable_rows} of {report.num_rows} listed videos can be used" in text
    assert f"and {len(report.failures) - 3} more" in text
    for heading in ("cannot be used", "in several splits", "different labels for the same content", "copies"):
        assert heading in text
    assert "/data/set/" not in text
    assert "\x1b" not in text
    assert "nothing wrong was found" not in text
    fine = replace(make_scan(faults=False), class_counts=())
    assert "nothing wrong was found" in render_text(scan_summary(fine))


def test_facts_of_statistics() -> None:
    stats = stats_of()
    assert stats_facts(stats) == {
        "list": EVIL,
        "rows": "9 of 9 files",
        "classes": "3",
        "splits": "train 6, test 3",
        "imbalance": "3 (largest class over smallest in train)",
    }
    rich = replace(
        stats,
        num_remote=2,
        labels_per_row=((0, 1), (2, 8)),
        num_groups=4,
        group_rows=spread([1, 2, 6]),
        rows_without_group=1,
        weights=spread([0.5, 2.0]),
        num_parts=3,
        parts_per_file=spread([1, 1, 7]),
        seconds=spread([1.0, 90.0, 3600.0]),
        unknown_seconds=2,
        empty_classes=tuple(f"c{number}" for number in range(12)),
    )
    facts = stats_facts(rich)
    assert facts["rows"] == "9 of 9 files, 2 of them remote"
    assert facts["labels"] == "1 row with 0, 8 rows with 2"
    assert facts["groups"] == "4 of 1 to 6 rows, median 2; 1 row in none"
    assert facts["weights"] == "0.5 to 2, mean 1.25"
    assert facts["parts"] == "3 rows with a start or an end; up to 7 of one file"
    assert facts["length"].startswith("61.5 min together; 1.0 s to 60.0 min, median 90.0 s, 90 % within ")
    assert facts["length not known"] == "2 rows"
    assert facts["empty classes"] == "12 in train: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 2 more"


def test_a_list_without_splits_says_nothing_of_them() -> None:
    assert "splits" not in stats_facts(replace(stats_of(), splits=((None, 9),)))


def test_summary_of_statistics() -> None:
    text = render_text(stats_summary(stats_of()), width=200)
    lines = [line.split() for line in text.splitlines()]
    assert ["class", "train", "test", "rows"] in lines
    assert [line for line in lines if line[:1] == ["class"]][1:] == [
        ["class", "2", "3", "1", "4"],
        ["class", "1", "2", "1", "3"],
        ["class", "0", "1", "1", "2"],
    ]
    many = render_text(stats_summary(stats_of(60)), width=200)
    assert "the 20 largest of 60 classes" in many
    assert "the 20 smallest" in many
    assert "class 30 " not in many


def test_page_of_statistics() -> None:
    reader = assert_safe_and_accessible(stats_page(stats_of()))
    assert "class 2 3 1 4" in reader.text
    assert "imbalance 3 (largest class over smallest in train)" in reader.text
    assert any("over 3 classes" in str(each.get("aria-label")) for each in reader.named("svg"))


def test_what_a_split_achieved() -> None:
    counts = [ClassCount(label, split, n, n) for label, a, b in (("near", 8, 2), ("far", 5, 5)) for split, n in
              (("train", a), ("test", b))]  # fmt: skip
    text = render_text(split_table(counts, {"train": 0.8, "test": 0.2}), width=200)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    assert lines[0] == "class videos train test"
    assert lines[2:] == [
        "far 10 5 (50.0 %) 5 (50.0 %)",
        "near 10 8 (80.0 %) 2 (20.0 %)",
        "wanted 80.0 % 20.0 %",
    ]
    cut = render_text(split_table(counts, {"train": 0.8, "test": 0.2}, max_rows=1), width=200)
    assert "near 10" not in " ".join(cut.split())
    assert "and 1 classes nearer to what was wanted" in cut
