"""A folder of results belongs to one run at a time, and what ends a run leaves nothing half-done in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fewframes.data.jobs import (
    Journal,
    part_of,
    put_in_place,
    remove_list,
    run_jobs,
    stamp_of,
    write_failures,
    write_list,
)
from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest
from fewframes.data.scan_workers import Lost
from fewframes.errors import UsageError
from fewframes.records import Failure

NAME, VERB = "done.jsonl", "fewframes data test"


def journal(folder: Path) -> Journal:
    return Journal(folder, NAME, VERB)


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with journal(folder) as first:
        assert first.lines == []
        first.add({"n": 1})
        first.add({"n": 2, "name": "ünï"})
    with journal(folder) as second:
        assert second.lines == [{"n": 1}, {"n": 2, "name": "ünï"}]
        second.add({"n": 3})
    assert [line["n"] for line in journal(folder).lines] == [1, 2, 3]


@pytest.mark.parametrize("torn", [b'{"n": 3', b'{"n": 3}', b"\0\0\0\0\n", b"\n", b"3\n", b"[1]\n", b"\xff\n"])
def test_a_torn_line_is_cut_off_and_the_next_one_is_whole(tmp_path: Path, torn: bytes) -> None:
    with journal(tmp_path) as first:
        first.add({"n": 1})
    with (tmp_path / NAME).open("ab") as file:
        file.write(torn)
    with journal(tmp_path) as second:
        assert second.lines == [{"n": 1}]
        second.add({"n": 2})
    assert (tmp_path / NAME).read_bytes() == b'{"n":1}\n{"n":2}\n'


def test_nothing_is_believed_after_a_line_that_is_none(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"n":1}\nnonsense\n{"n":2}\n')
    with journal(tmp_path) as found:
        assert found.lines == [{"n": 1}]


def test_a_folder_that_holds_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    (tmp_path / ".x.part").touch()
    with pytest.raises(
        UsageError, match=r"is not empty \(it holds 'mine.txt'\) and was not made by fewframes data test"
    ):
        journal(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x.part", "mine.txt"]
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match=r"cannot write to .*file: "):
        journal(file)


def test_hidden_files_do_not_keep_a_folder_from_being_used(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    with journal(tmp_path) as mine:
        mine.add({})
    assert (tmp_path / ".DS_Store").exists()


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with journal(tmp_path), pytest.raises(UsageError, match="another fewframes data test is at work in"):
        journal(tmp_path)
    journal(tmp_path).close()


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from fewframes.data.jobs import Journal\n"
        f"journal = Journal(Path({str(tmp_path)!r}), {NAME!r}, {VERB!r}); journal.add({{'n': 1}})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with journal(tmp_path) as mine:
        assert mine.lines == [{"n": 1}]


def test_half_written_files_are_removed(tmp_path: Path) -> None:
    journal(tmp_path).close()
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    for name in (".x.mp4.part", "x.part", ".x.mp4"):
        (inside / name).touch()
    with journal(tmp_path):
        assert sorted(path.name for path in inside.iterdir()) == [".x.mp4", "x.part"]
        (inside / ".y.part").touch()
    assert sorted(path.name for path in inside.iterdir()) == [".x.mp4", "x.part"]


def test_closing_twice(tmp_path: Path) -> None:
    mine = journal(tmp_path)
    mine.close()
    (tmp_path / ".x.part").touch()
    mine.close()
    assert (tmp_path / ".x.part").exists(), "the folder is somebody else's by now"


def test_a_file_gets_its_name_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    assert part_of(path) == tmp_path / ".a.bin.part"
    path.write_bytes(b"old")
    part_of(path).write_bytes(b"new")
    put_in_place(path)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]
    with pytest.raises(FileNotFoundError):
        put_in_place(path)


def test_stamps(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"123")
    os.utime(path, ns=(5, 7))
    assert stamp_of(path) == stamp_of(str(path)) == (3, 7)
    assert stamp_of(tmp_path / "absent") is None
    assert stamp_of("https://host/a") is None
    assert stamp_of("a\0b") is None


def test_a_list_is_csv_unless_csv_cannot_hold_it(tmp_path: Path) -> None:
    plain = Manifest("x", (Video(tmp_path / "a.mp4", ("walk",)),), classes=("run", "walk"))
    assert write_list(plain, tmp_path) == tmp_path / "manifest.csv"
    assert read_manifest(tmp_path).labels == ("run", "walk")
    odd = Manifest("x", (Video(tmp_path / "a.mp4", ("a|b",)),), classes=("a|b",))
    assert write_list(odd, tmp_path) == tmp_path / "manifest.jsonl"
    assert read_manifest(tmp_path).videos[0].labels == ("a|b",), "no older list is left beside it"
    assert write_list(plain, tmp_path) == tmp_path / "manifest.csv"
    assert not (tmp_path / "manifest.jsonl").exists()
    remove_list(tmp_path)
    remove_list(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.labels.txt"]


def test_failures_are_listed_and_go_when_they_are_no_more(tmp_path: Path) -> None:
    assert write_failures(tmp_path, []) is None
    path = write_failures(tmp_path, [Failure("a,b.mp4", "gone"), Failure("c.mp4", 'it "is"', 1.5, None)])
    assert path == tmp_path / "failed.csv"
    assert path.read_text() == 'path,start,end,reason\n"a,b.mp4",,,gone\nc.mp4,1.5,,"it ""is"""\n'
    assert write_failures(tmp_path, []) is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match=r"cannot write .*failed\.csv: .*; make room"):
        write_failures(tmp_path / "absent", [Failure("a", "b")])


def double(task: int, alive: Callable[[], None]) -> tuple[int, int, bool]:
    alive()
    if task == 3:
        os.kill(os.getpid(), 9)
    return 2 * task, os.getpid(), threading.current_thread() is threading.main_thread()


def test_jobs_in_this_process_come_in_order() -> None:
    answers = list(run_jobs(double, [1, 2, 5], workers=0, timeout=1))
    assert answers == [(task, (2 * task, os.getpid(), True)) for task in (1, 2, 5)]


def test_jobs_in_worker_processes_come_as_they_are_ready_and_a_killed_one_is_told() -> None:
    answers = dict(run_jobs(double, list(range(6)), workers=2, timeout=60))
    assert sorted(answers) == list(range(6))
    lost = answers.pop(3)
    assert isinstance(lost, Lost)
    assert "was killed" in lost.reason
    for task, answer in answers.items():
        assert not isinstance(answer, Lost)
        assert answer[0] == 2 * task
        assert answer[1] != os.getpid()


@pytest.mark.parametrize("workers", [-1, 5000])
def test_a_wrong_number_of_workers_is_told_at_once(workers: int) -> None:
    with pytest.raises(UsageError, match=f"workers is {workers}; expected 0 to 1024"):
        run_jobs(double, [], workers=workers, timeout=1)


def test_a_wrong_timeout_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="timeout is 0 s; expected a number above 0"):
        run_jobs(double, [], workers=0, timeout=0)


def test_a_line_is_on_the_disk_before_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with journal(tmp_path) as mine:
        monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
        mine.add({"n": 1})
        assert synced == [len(b'{"n":1}\n')]
        assert json.loads((tmp_path / NAME).read_text()) == {"n": 1}


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with journal(tmp_path) as mine:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(UsageError, match="No space left on device; make room"):
            mine.add({"n": 1})
