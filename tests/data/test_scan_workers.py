"""Processes that hang, crash, are killed or take too much: the others go on, and each is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewframes.data.scan_workers import Lost, TaskLimits, run_in_workers
from fewframes.errors import UsageError

from .scan_work import misbehave

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
MIB = 1 << 20


def outcome(*tasks: str, workers: int = 2, seconds: float = 4, memory: int | None = None) -> dict[str, str | Lost]:
    return dict(run_in_workers(misbehave, tasks, workers=workers, limits=TaskLimits(seconds, memory)))


def test_every_task_has_its_own_answer() -> None:
    tasks = [f"task {number}" for number in range(40)]
    assert outcome(*tasks) == {task: task.upper() for task in tasks}
    assert outcome(*tasks[:3], workers=7) == {task: task.upper() for task in tasks[:3]}
    assert outcome() == {}


def test_one_process_after_the_other_is_lost_and_the_rest_goes_on() -> None:
    bad = ("hang", "killed", "crash", "exit", "raise", "spin")
    answers = outcome("a", *(each for name in bad for each in (name, f"after {name}")), "slow 60")
    assert {task: answer for task, answer in answers.items() if not isinstance(answer, Lost)} == {
        task: task.upper() for task in ("a", *(f"after {name}" for name in bad), "slow 60")
    }, "slow work that goes on is no hang"
    lost = {task: answer for task, answer in answers.items() if isinstance(answer, Lost)}
    assert set(lost) == set(bad)
    assert {name: lost[name].cause for name in bad} == {
        "hang": "time",
        "spin": "time",
        "killed": "system",
        "crash": "memory",
        "exit": "memory",
        "raise": "memory",
    }
    assert lost["hang"].reason == "no progress in 4 s, so its process was stopped; give it longer with --timeout"
    assert lost["killed"].reason == "its process was killed, probably because the machine ran out of memory"
    assert lost["crash"].reason.startswith("it crashed its process (Segmentation fault)")
    assert lost["exit"].reason == "its process ended with status 3 and gave no answer"
    assert lost["raise"].reason == "ValueError: two lines"


@LINUX
def test_memory_is_limited_for_each_task() -> None:
    answers = outcome("allocate 20", "allocate 200", "allocate 21", memory=100 * MIB, workers=1, seconds=60)
    assert answers["allocate 20"] == "20"
    assert answers["allocate 21"] == "21", "a new process, or one that has given the memory back"
    reason = "it takes more memory than 0.0977 GiB; give it more with --memory-gib"
    assert answers["allocate 200"] == Lost("memory", reason)
    assert outcome("allocate 200", memory=None, seconds=60) == {"allocate 200": "200"}


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken = []

    def endless() -> Iterator[str]:
        for number in range(1_000_000):
            taken.append(number)
            yield f"task {number}"

    answers = run_in_workers(misbehave, endless(), workers=2, limits=TaskLimits(5, None))
    for _ in range(10):
        next(answers)
    answers.close()
    assert 10 <= len(taken) <= 13


@LINUX
def test_no_process_is_left_when_the_work_is_given_up(tmp_path: Path) -> None:
    answers = run_in_workers(misbehave, [f"pid {tmp_path}/pid", "a"], workers=2, limits=TaskLimits(100, None))
    next(answers)
    pid = wait_for_pid(tmp_path / "pid")
    assert Path(f"/proc/{pid}").exists()
    answers.close()
    assert not Path(f"/proc/{pid}").exists()


@LINUX
def test_no_process_is_left_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "from fewframes.data.scan_workers import TaskLimits, run_in_workers\n"
        "from tests.data.scan_work import misbehave\n"
        f"list(run_in_workers(misbehave, ['pid {tmp_path}/pid'], workers=1, limits=TaskLimits(500, None)))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    pid = wait_for_pid(tmp_path / "pid")
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until_gone(pid)


def test_refusals() -> None:
    with pytest.raises(UsageError, match="workers is 0; expected at least 1"):
        outcome("a", workers=0)
    with pytest.raises(UsageError, match="the timeout is 0 s; expected a number above 0"):
        TaskLimits(0, None)
    with pytest.raises(UsageError, match="the timeout is inf s"):
        TaskLimits(float("inf"), None)
    with pytest.raises(UsageError, match="the memory limit is 0 bytes; expected at least 1, or none"):
        TaskLimits(1, 0)


def test_processes_that_cannot_start_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    # What it imports is not there, for the new processes only.
    monkeypatch.setattr(misbehave, "__module__", "tests.data.scan_work_that_is_absent")
    monkeypatch.setitem(sys.modules, "tests.data.scan_work_that_is_absent", sys.modules["tests.data.scan_work"])
    with pytest.raises(UsageError, match="processes cannot be started: its process ended with status 1"):
        outcome("a")


def wait_for_pid(path: Path) -> int:
    for _ in range(3000):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError("the process did not start")


def wait_until_gone(pid: int) -> None:
    for _ in range(1500):
        try:
            # One that has ended and that nobody has asked for its exit status is gone as well.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")
