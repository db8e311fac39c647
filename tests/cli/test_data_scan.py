"""`fewframes data scan`: what is printed and written, and that it may be killed at any moment."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest, write_manifest
from fewframes.data.scan_store import read_scan, scan_from_json
from tests.helpers.command import Command
from tests.helpers.painted import write_painted

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ("scan.json", "scan.html", "clean.csv", "bad.csv")


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of six rows: two whole files, one of them in two parts, a copy in another split, a missing, a bad one."""
    folder = tmp_path_factory.mktemp("cli_scan")
    write_painted(folder / "a b.mp4", 20, rate=10)
    write_painted(folder / "c.mp4", 12, rate=10)
    shutil.copy(folder / "a b.mp4", folder / "copy.mp4")
    (folder / "bad.mp4").write_text("no video")
    rows = (
        ("a b.mp4", ("walk",), "train", 0.0, 1.0),
        ("a b.mp4", ("run",), "train", 7.0, None),
        ("copy.mp4", ("jump",), "test", 0.0, 1.0),
        ("c.mp4", ("run",), "test", None, None),
        ("gone.mp4", ("run",), "test", None, None),
        ("bad.mp4", ("run",), "train", None, None),
    )
    videos = tuple(Video(folder / name, labels, split, "g1", start, end) for name, labels, split, start, end in rows)
    return write_manifest(Manifest("m", videos, classes=("walk", "run", "jump", "sit")), folder / "list.csv")


def test_a_summary_and_its_files(command: Command, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "scan"
    outcome = command("data", "scan", listed, "--output", out, "--workers", 1, "--decode", "full")
    assert outcome.status == 1
    assert outcome.err == f"clean list: {out}/clean.csv\nreport: {out}/scan.html\n"
    for part in (
        "3 of 6 listed videos can be used",
        "no such file; check the path",
        "it is not a video file",
        "the part from 7 s lies beyond its end, 2 s; correct the list",
        "jump / walk",
    ):
        assert part in outcome.out
    report = read_scan(out / "scan.json")
    assert (report.num_rows, report.num_usable_rows, len(report.files), report.decode) == (6, 3, 5, "full")
    assert [(leak.kind, leak.splits) for leak in report.leaks] == [
        ("content", ("test", "train")),
        ("group", ("test", "train")),
    ]
    clean, original = read_manifest(out / "clean.csv"), read_manifest(listed)
    assert clean.videos == (original.videos[0], original.videos[2], original.videos[3])
    assert clean.classes == ("walk", "run", "jump", "sit")
    with (out / "bad.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            *([failure.path, failure.reason] for failure in report.failures),
        ]
    assert len(report.failures) == 3
    assert "copy.mp4" in (out / "scan.html").read_text(encoding="utf-8")


def test_json_is_the_whole_report(command: Command, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    outcome = command("data", "scan", listed, "--output", out, "--workers", 1, "--json")
    assert outcome.status == 1
    assert scan_from_json(outcome.document()) == read_scan(out / "scan.json")
    before = {name: (out / name).read_bytes() for name in RESULTS}
    journal = (out / "scan.journal.jsonl").read_bytes()
    again = command("data", "scan", listed, "--output", out, "--json")
    assert again.document() == outcome.document()
    assert {name: (out / name).read_bytes() for name in RESULTS} == before
    assert (out / "scan.journal.jsonl").read_bytes() == journal, "nothing was done again"


def test_nothing_is_written_unless_asked_for(command: Command, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_painted(videos / "a.mp4", 5)
    outcome = command("data", "scan", videos, "--workers", 1)
    assert outcome.status == 0
    assert "1 of 1 listed video can be used" in outcome.out
    assert outcome.err == f"note: videos in {videos} that lie in no class folder and so have no label: 1\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["videos", "a.mp4"]
    # The results of a scan that lie among the videos are no part of them.
    first = command("data", "scan", videos, "--workers", 1, "--output", videos / "out", "--json")
    assert command("data", "scan", videos, "--workers", 1, "--output", videos / "out", "--json") == first
    assert first.status == 0


def test_a_clean_list_that_csv_cannot_hold(command: Command, tmp_path: Path) -> None:
    write_painted(tmp_path / "a.mp4", 5)
    listed = tmp_path / "list.jsonl"
    listed.write_text(json.dumps({"path": "a.mp4", "label": "up|down"}) + "\n")
    out = tmp_path / "out"
    out.mkdir()
    (out / "clean.csv").write_text("of another scan")
    outcome = command("data", "scan", listed, "--workers", 1, "--output", out)
    assert f"clean list: {out}/clean.jsonl\n" in outcome.err
    assert read_manifest(out / "clean.jsonl").videos == read_manifest(listed).videos
    assert not (out / "clean.csv").exists()


def test_nothing_is_usable(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    outcome = command("data", "scan", tmp_path, "--workers", 1, "--output", tmp_path / "out")
    assert outcome.status == 1
    assert "0 of 1 listed video can be used" in outcome.out
    assert (tmp_path / "out" / "clean.csv").read_text() == "path,label\n"


def test_wrong_usage(command: Command, listed: Path, tmp_path: Path) -> None:
    scan = ("data", "scan")
    command(*scan, tmp_path / "gone").assert_refused(1, "no list of videos at")
    command(*scan, listed, "--timeout", 0).assert_refused(2, "the timeout is 0 s; expected a number above 0")
    command(*scan, listed, "--workers", 0).assert_refused(2, "workers is 0; expected at least 1")
    command(*scan, listed, "--memory-gib", -1).assert_refused(2, "the memory limit is -1073741824 bytes")
    command(*scan, listed, "--split-column", "fold").assert_refused(1, "no column 'fold'")
    command(*scan, listed, "--output", listed).assert_refused(2, "cannot write", "choose a folder")
    outcome = command(*scan, listed, "--decode", "everything")
    assert (outcome.status, outcome.out) == (2, "")
    assert "probe" in outcome.err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_killed_again_and_again(tmp_path: Path) -> None:
    """kill -9 in the middle, over and over: the end is that of a scan left alone, and nothing is done twice."""
    folder = tmp_path / "videos"
    for number in range(3):
        write_painted(tmp_path / f"{number}.mp4", 30 + number)
    for number in range(15):
        (folder / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        path = folder / f"class{number % 2}" / f"{number}.mp4"
        shutil.copy(tmp_path / f"{number % 3}.mp4", path)
        if number % 7 == 0:
            path.write_bytes(path.read_bytes()[: -100 * number - 500])
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert start(folder, alone).wait() == 1
    journal, kills = killed / "scan.journal.jsonl", 0
    expected = len((alone / "scan.journal.jsonl").read_bytes().splitlines())
    while True:
        goal = size(journal) + 2000  # some five lines more
        process = start(folder, killed)
        while process.poll() is None and size(journal) < goal:
            time.sleep(0.001)
        if process.poll() is not None:
            break
        children = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        wait_until_gone(children)
        # The moment in which the system stops, too: half a line.
        with journal.open("ab") as file:
            file.write(b'{"by": "torn')
    assert process.returncode == 1
    assert kills >= 2  # a busy machine looks seldom
    for name in RESULTS:
        assert (killed / name).read_bytes() == (alone / name).read_bytes(), name
    done = Counter(json.dumps(json.loads(line)["task"]) for line in journal.read_bytes().splitlines())
    assert set(done.values()) == {1}
    assert len(done) == expected == len(set(done))


def start(source: Path, output: Path) -> subprocess.Popen[bytes]:
    code = "import sys; from fewframes.cli.data_scan import run; sys.exit(run(sys.argv[1:], 'scan'))"
    arguments = [str(source), "--output", str(output), "--workers", "2", "--decode", "full"]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, cwd=ROOT)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def wait_until_gone(pids: list[int]) -> None:
    for _ in range(1500):
        left = [pid for pid in pids if is_running(pid)]
        if not left:
            return
        time.sleep(0.02)
    raise AssertionError(f"processes {left} are still there")


def is_running(pid: int) -> bool:
    """One that has ended and that nobody has asked for its exit status runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
