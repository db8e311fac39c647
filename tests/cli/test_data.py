"""`fewframes data synthesize`: a folder of labelled videos, made once."""

from __future__ import annotations

from pathlib import Path

from fewframes.data.manifest_io import read_manifest
from tests.helpers.command import Command


def test_videos_and_their_list(command: Command, tmp_path: Path) -> None:
    arguments = ("data", "synthesize", tmp_path / "v", "--videos", "4", "--test-videos", "2", "--classes", "2")
    outcome = command(*arguments, "--workers", "1")
    assert (outcome.status, outcome.out) == (0, f"{tmp_path}/v/manifest.csv: 4 training and 2 test videos\n")
    manifest = read_manifest(tmp_path / "v")
    assert (len(manifest.only("train").videos), len(manifest.only("test").videos), len(manifest.labels)) == (4, 2, 2)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(before) == 6
    again = command(*arguments, "--workers", "1", "--json").document()
    assert again == {"manifest": f"{tmp_path}/v/manifest.csv", "train": 4, "test": 2}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")} == before, "nothing is made twice"


def test_wrong_usage(command: Command, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    synthesize = ("data", "synthesize")
    command(*synthesize, tmp_path / "full").assert_refused(2, f"{tmp_path}/full is not empty", "new or empty folder")
    command(*synthesize, tmp_path / "v", "--videos", "0").assert_refused(2, "num_videos is 0; expected 1 to")
    command(*synthesize, tmp_path / "v", "--classes", "3").assert_refused(2, "classes is 3; classes come in pairs")
