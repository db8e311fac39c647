"""`fewframes demo`: last of all one line of JSON; the second time nothing is done twice."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.command import Command

TINY = ("--videos", "16", "--test-videos", "8", "--epochs", "1")


def test_the_whole_way_twice(command: Command, tmp_path: Path) -> None:
    first = command("demo", "--output", tmp_path, *TINY)
    assert first.status == 0
    result = json.loads(first.out.splitlines()[-1])
    assert list(result) == ["stam_top1", "mean_top1", "num_videos", "seconds", "report"]
    assert result["num_videos"] == 8
    assert 0 <= result["stam_top1"] <= 100
    assert f"STAM {result['stam_top1']:.1f} %, mean pooling {result['mean_top1']:.1f} % of 8 unseen videos" in first.out
    assert result["report"] == str(tmp_path / "report.html")
    assert [line[:3] for line in first.err.splitlines() if line[1:3] == "/4"] == ["1/4", "2/4", "3/4", "4/4"]
    page = (tmp_path / "report.html").read_text()
    assert "STAM against mean pooling" in page
    videos = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").rglob("*.mp4")}
    states = {name: (tmp_path / name / "log.jsonl").read_text() for name in ("stam", "mean")}
    assert len(videos) == 24
    second = command("demo", "--output", tmp_path, *TINY, "--json")
    assert len(second.out.splitlines()) == 1
    assert {**second.document(), "seconds": 0} == {**result, "seconds": 0}
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").rglob("*.mp4")} == videos
    assert {name: (tmp_path / name / "log.jsonl").read_text() for name in ("stam", "mean")} == states


def test_another_demo_in_the_same_folder(command: Command, tmp_path: Path) -> None:
    command("data", "synthesize", tmp_path / "videos", "--videos", "2", "--classes", "2", "--workers", "1")
    outcome = command("demo", "--output", tmp_path, *TINY)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith(f"fewframes: error: {tmp_path}/videos holds videos made with")
