"""`fewframes evaluate`: accuracy, the report on disk, and lists that cannot be evaluated."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fewframes.data.manifest import read_manifest
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.report.serial import from_json, read_report
from tests.helpers.command import Command, command_process
from tests.helpers.tiny import CLASSES


@pytest.fixture(scope="module")
def damaged(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight test videos, and one file that is missing."""
    folder = tmp_path_factory.mktemp("damaged")
    rows = [row for row in tiny_videos.read_text().splitlines() if row.endswith(",test")]
    rows = [str(tiny_videos.parent / row) for row in rows]
    path = folder / "some list.csv"
    path.write_text("\n".join(["path,label,split", *rows[:3], "gone.mp4,rise,test", *rows[3:], ""]))
    return path


def test_a_summary(command: Command, tiny_checkpoint: Path, tiny_videos: Path) -> None:
    outcome = command("evaluate", tiny_checkpoint, tiny_videos, "--split", "test")
    report = evaluate(Classifier.load(tiny_checkpoint), read_manifest(tiny_videos).only("test"))
    assert (outcome.status, outcome.err) == (0, "")
    assert f"{report.listed.top1:.1f} %" in outcome.out
    assert "of 8 listed videos" in outcome.out
    everything = command("evaluate", tiny_checkpoint, tiny_videos.parent)
    assert "of 24 listed videos" in everything.out, "a folder with a list inside; all splits by default"


def test_json_is_the_whole_report(command: Command, tiny_checkpoint: Path, damaged: Path) -> None:
    outcome = command("evaluate", tiny_checkpoint, damaged, "--json")
    report = from_json(outcome.document())
    assert outcome.status == 1, "one video failed"
    assert (report.listed.num_videos, report.decoded.num_videos) == (9, 8)
    assert [Path(failure.path).name for failure in report.failures] == ["gone.mp4"]
    again = from_json(command("evaluate", tiny_checkpoint, damaged, "--json", "--workers", "1").document())
    assert dataclasses.replace(again, seconds=0.0) == dataclasses.replace(report, seconds=0.0)


def test_failures_are_named(command: Command, tiny_checkpoint: Path, damaged: Path) -> None:
    outcome = command("evaluate", tiny_checkpoint, damaged)
    assert outcome.status == 1
    assert "gone.mp4" in outcome.out.replace("\n", "")
    assert "no such" in outcome.out


def test_the_report_on_disk(command: Command, tiny_checkpoint: Path, damaged: Path, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    outcome = command("evaluate", tiny_checkpoint, damaged, "--output", folder, "--json")
    assert outcome.err == f"report: {folder / 'report.html'}\n"
    assert read_report(folder / "report.json") == from_json(outcome.document())
    page = (folder / "report.html").read_text()
    assert "gone.mp4" in page
    assert all(label in page for label in CLASSES)
    (tmp_path / "file").touch()
    blocked = command("evaluate", tiny_checkpoint, damaged, "--output", tmp_path / "file", "--json")
    assert blocked.status == 2
    assert blocked.err.startswith("fewframes: error: cannot write")


def test_what_a_folder_holds_besides_is_told(
    command: Command, tiny_checkpoint: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "rise").symlink_to(tiny_videos.parent / "rise")
    (tmp_path / "notes.txt").touch()
    outcome = command("evaluate", tiny_checkpoint, tmp_path)
    assert outcome.status == 0
    assert outcome.err == f"note: 1 files in {tmp_path} are no videos in class folders and were passed over\n"


def test_lists_that_cannot_be_evaluated(
    command: Command, tiny_checkpoint: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    evaluation = ("evaluate", tiny_checkpoint)
    command(*evaluation, tmp_path / "absent.csv").assert_refused(1, "absent.csv", "expected a CSV file or a folder")
    command(*evaluation, tmp_path).assert_refused(1, str(tmp_path), "lists no videos")
    column = tmp_path / "column.csv"
    column.write_text("path,label,spilt\na.mp4,rise,test\n")
    command(*evaluation, column).assert_refused(1, str(column), "unknown column 'spilt'; did you mean 'split'")
    label = tmp_path / "label.csv"
    label.write_text("path,label\na.mp4,rise\nb.mp4,move-left\n")
    command(*evaluation, label).assert_refused(1, str(label), "b.mp4", "'move-left'; did you mean 'move_left'")
    gone = tmp_path / "gone.csv"
    gone.write_text("path,label\na.mp4,rise\n")
    command(*evaluation, gone).assert_refused(1, str(gone), "not one of 1 listed videos", "a.mp4: no such file")
    command(*evaluation, next(tiny_videos.parent.rglob("*.mp4"))).assert_refused(1, ".mp4 is not a CSV file in UTF-8")
    command(*evaluation, tiny_videos, "--split", "tset").assert_refused(2, "unknown split 'tset'; did you mean 'test'")
    command(*evaluation, tiny_videos, "--split-column", "split1").assert_refused(
        1, str(tiny_videos), "no column 'split1'; choose the split column among: split"
    )
    command(*evaluation, tiny_videos, "--sampling", "official").assert_refused(1, "sampling rule 'official' needs")
    command("evaluate", "stam_61", tiny_videos).assert_refused(2, "unknown model 'stam_61'; did you mean")


def test_in_a_process_of_its_own(tiny_checkpoint: Path, damaged: Path) -> None:
    outcome = command_process("evaluate", tiny_checkpoint, damaged, "--json")
    assert (outcome.status, outcome.err) == (1, "")
    found = from_json(outcome.document())
    here = evaluate(Classifier.load(tiny_checkpoint), read_manifest(damaged))
    assert found.videos == here.videos, "the same bits in another process"
