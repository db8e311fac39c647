"""`fewframes data stats`: what is counted, shown and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import write_manifest
from tests.helpers.command import Command
from tests.helpers.painted import write_painted


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    videos = (
        Video(tmp_path / "a.mp4", ("walk",), "train", end=0.5),
        Video(tmp_path / "a.mp4", ("walk",), "train", start=0.5),
        Video(tmp_path / "b.mp4", ("run",), "train"),
        Video(tmp_path / "b.mp4", ("run",), "test", "g"),
    )
    return write_manifest(Manifest("m", videos), tmp_path / "list.csv")


def test_a_summary(command: Command, listed: Path) -> None:
    outcome = command("data", "stats", listed)
    assert (outcome.status, outcome.err) == (0, "")
    lines = [line.split() for line in outcome.out.splitlines()]
    for expected in (
        ["list", str(listed)],
        ["rows", "4", "of", "2", "files"],
        ["splits", "train", "3,", "test", "1"],
        ["imbalance", "2", "(largest", "class", "over", "smallest", "in", "train)"],
        ["walk", "2", "0", "2"],
        ["run", "1", "1", "2"],
    ):
        assert expected in lines


def test_json_with_the_lengths_of_a_scan(command: Command, listed: Path, tmp_path: Path) -> None:
    without = command("data", "stats", listed, "--json").document()
    assert (without["num_rows"], without["num_files"], without["seconds"]) == (4, 2, None)
    write_painted(tmp_path / "a.mp4", 12, rate=10)
    command("data", "scan", listed, "--output", tmp_path / "scan", "--workers", 1)
    stats = command("data", "stats", listed, "--json", "--scan", tmp_path / "scan" / "scan.json").document()
    assert stats["seconds"]["count"] == 2
    assert stats["seconds"]["total"] == pytest.approx(1.2)
    assert stats["unknown_seconds"] == 2, "b.mp4 is not there"
    counts = {(each["label"], each["split"]): each["listed"] for each in stats["class_counts"]}
    assert counts == {("walk", "train"): 2, ("walk", "test"): 0, ("run", "train"): 1, ("run", "test"): 1}


def test_charts(command: Command, listed: Path, tmp_path: Path) -> None:
    outcome = command("data", "stats", listed, "--output", tmp_path / "new" / "classes.png")
    assert outcome.err == f"chart: {tmp_path}/new/classes.png\n"
    assert (tmp_path / "new" / "classes.png").read_bytes().startswith(b"\x89PNG")
    command("data", "stats", listed, "--output", tmp_path / "classes.html")
    assert "<h2>Classes</h2>" in (tmp_path / "classes.html").read_text()


def test_wrong_usage(command: Command, listed: Path, tmp_path: Path) -> None:
    stats = ("data", "stats")
    command(*stats, listed, "--output", "a.pdf").assert_refused(2, "--output is a.pdf; expected", ".png or .html")
    command(*stats, listed, "--scan", listed).assert_refused(2, "cannot read the scan", "expected the scan.json")
    command(*stats, tmp_path / "gone.csv").assert_refused(1, "no list of videos at")
    command(*stats, listed, "--group-column", "who").assert_refused(1, "no column 'who' for the groups")
