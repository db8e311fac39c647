"""`fewframes evaluate`: accuracy, the report on disk, and lists that cannot be evaluated."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fewframes.data.manifest_io import read_manifest
from fewframes.errors import UsageError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import EvaluationReport
from fewframes.report.serial import from_json, read_report
from tests.helpers.command import Command, Outcome, command_process
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


def timeless(report: EvaluationReport) -> EvaluationReport:
    assert report.reading is not None
    reading = dataclasses.replace(report.reading, decode_seconds=0.0, wait_seconds=0.0)
    return dataclasses.replace(report, seconds=0.0, reading=reading)


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
    assert timeless(again) == timeless(report)


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


@pytest.fixture(scope="module")
def worse(damaged: Path) -> Path:
    """Nine lines of which two cannot be read: more than 1 %, rounded up."""
    path = damaged.with_name("worse.csv")
    lines = damaged.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], "lost.mp4,fall,test", *lines[6:], ""]))
    return path


def test_the_cap_stops_and_leaves_what_it_found(
    command: Command, tiny_checkpoint: Path, damaged: Path, worse: Path, tmp_path: Path
) -> None:
    assert command("evaluate", tiny_checkpoint, damaged, "--output", tmp_path, "--json").status == 1
    read_report(tmp_path / "report.json")
    outcome = command("evaluate", tiny_checkpoint, worse, "--output", tmp_path)
    assert (outcome.status, outcome.out) == (1, "")
    told, error = outcome.err.splitlines()
    assert told == f"stopped, no score; what could not be read: {tmp_path / 'report.html'}"
    for part in ("2 of 9 videos of", "gone.mp4 (no such", "lost.mp4 (no such", "data scan", "raise --max-bad-fraction"):
        assert part in error
    document = json.loads((tmp_path / "report.json").read_text())
    assert list(document) == ["stopped", "model", "data", "failures"]
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["gone.mp4", "lost.mp4"]
    with pytest.raises(UsageError, match=r"the evaluation was stopped: 2 of 9 videos"):
        read_report(tmp_path / "report.json")
    page = (tmp_path / "report.html").read_text()
    assert "lost.mp4" in page
    assert "%" not in page.partition("<body")[2].replace("1 %", ""), "no score of the earlier evaluation"
    raised = command("evaluate", tiny_checkpoint, worse, "--output", tmp_path, "--max-bad-fraction", "0.3", "--json")
    assert raised.document()["listed"]["num_videos"] == 9
    assert read_report(tmp_path / "report.json").decoded.num_videos == 7


def test_policies(command: Command, tiny_checkpoint: Path, damaged: Path, tmp_path: Path) -> None:
    stopped = command("evaluate", tiny_checkpoint, damaged, "--on-bad-video", "error", "--output", tmp_path)
    assert stopped.status == 1
    assert "gone.mp4: no such file; check the path; repair or remove it, or use --on-bad-video skip" in stopped.err
    assert json.loads((tmp_path / "report.json").read_text())["failures"][0]["reason"].startswith("no such file")
    wrong, skipped = (
        command("evaluate", tiny_checkpoint, damaged, "--on-bad-video", each) for each in ("count-as-wrong", "skip")
    )
    assert "that could be read" not in wrong.out.splitlines()[0]
    assert "of the 8 that could be read" in wrong.out.splitlines()[1]
    assert "of 9 listed videos" in skipped.out.splitlines()[0]
    assert "of the 8 that could be read" in skipped.out.splitlines()[0]
    assert "policy: skip" in skipped.out
    command("evaluate", tiny_checkpoint, damaged, "--max-bad-fraction", "7").assert_refused(2, "expected 0 to 1")


def test_decode_options_and_columns(command: Command, tiny_checkpoint: Path, tiny_videos: Path, tmp_path: Path) -> None:
    rows = [f"{tiny_videos.parent / row},{index}" for index, row in enumerate(tiny_videos.read_text().splitlines()[1:])]
    source = tmp_path / "list.csv"
    source.write_text("\n".join(["path,label,part_of,scene", *rows, ""]))
    columns = ("--split-column", "part_of", "--group-column", "scene")
    outcome = command("evaluate", tiny_checkpoint, source, *columns, "--split", "test", "--seek", "keyframe", "--json")
    protocol = outcome.document()["protocol"]
    assert (protocol["num_listed"], protocol["decode"]["seek"]) == (8, "keyframe")
    command("evaluate", tiny_checkpoint, source, "--group-column", "scenes").assert_refused(1, "no column 'scenes'")
    limited = command("evaluate", tiny_checkpoint, tiny_videos, "--max-frames", "10")
    limited.assert_refused(1, "2 of 24 videos of", "max_frames")


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
    command(*evaluation, tiny_videos, "--split", "tset").assert_refused(2, "'tset'; did you mean 'test'")
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


def start_three(*arguments: object) -> list[Outcome]:
    """The same command line in three processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "3"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "fewframes", "evaluate", *map(str, arguments)],
            env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    texts = [process.communicate(timeout=240) for process in processes]
    return [Outcome(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def test_three_processes_make_the_report_of_one(tiny_checkpoint: Path, damaged: Path, tmp_path: Path) -> None:
    outcomes = start_three(tiny_checkpoint, damaged, "--output", tmp_path / "three")
    assert [outcome.status for outcome in outcomes] == [1, 1, 1]
    assert [outcome.out != "" for outcome in outcomes] == [True, False, False], "one of them speaks"
    assert [outcome.err for outcome in outcomes[1:]] == ["", ""]
    together = read_report(tmp_path / "three" / "report.json")
    alone = evaluate(Classifier.load(tiny_checkpoint), read_manifest(damaged))
    assert together.videos == alone.videos
    assert together.listed == alone.listed
    assert together.failures == alone.failures
    refused = start_three(tiny_checkpoint, damaged, "--on-bad-video", "error")
    assert [outcome.status for outcome in refused] == [1, 1, 1]
    assert [outcome.err.count("error:") for outcome in refused] == [1, 0, 0]


def test_torchrun_without_a_place_to_meet(
    command: Command, tiny_checkpoint: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    command("evaluate", tiny_checkpoint, damaged).assert_refused(2, "WORLD_SIZE is 2, but RANK, MASTER_ADDR")
