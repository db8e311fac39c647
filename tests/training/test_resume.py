"""An interrupted run that is taken up again ends with the same bits as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fewframes.training.loop as loop
from fewframes.errors import UsageError
from fewframes.report.logs import read_training_log
from fewframes.training.loop import TrainResult, train
from tests.conftest import ROOT
from tests.helpers.tiny import same_bits, state_of, tiny_config, weights_of


class Killed(BaseException):
    """Stands for whatever ends a process."""


def dies_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which kills the run instead of its call with this number, from 0."""
    calls = 0

    def deadly(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call + 1:
            raise Killed
        return function(*args, **kwargs)

    return deadly


def assert_same_run(run: Path, uninterrupted: Path) -> None:
    assert same_bits(state_of(run), state_of(uninterrupted)), "weights, optimiser and progress"
    for checkpoint in ("last", "best"):
        assert same_bits(weights_of(run / checkpoint), weights_of(uninterrupted / checkpoint))
    logs = [read_training_log(folder / "log.jsonl") for folder in (run, uninterrupted)]
    for name in ("loss", "lr", "grad_norm", "validation"):
        found, expected = ([(line["step"], line[name]) for line in log if name in line] for log in logs)
        assert found == expected, "each step once, with the same numbers"
    assert [line["step"] for line in logs[0] if "loss" in line] == [1, 2, 3, 4, 5, 6]


# Two steps an epoch, three epochs: 2 and 4 die at the beginning of an epoch, 1, 3 and 5 in the middle of one.
@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("save_every_steps", [0, 1])
def test_killed_before_a_step(
    tiny_videos: Path,
    tiny_run: TrainResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    save_every_steps: int,
) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", save_every_steps=save_every_steps)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "_step", dies_at(step, loop._step))
        train(config, show=False)
    if save_every_steps or step >= 2:
        assert state_of(tmp_path / "run")["progress"]["step"] == (step if save_every_steps else step // 2 * 2)
    train(config, resume=True, show=False)
    assert_same_run(tmp_path / "run", tiny_run.last.parent)


@pytest.mark.parametrize(
    ("function", "call"), [("evaluate", 1), ("save_checkpoint", 2), ("save_state", 1), ("save_state", 2)]
)
@pytest.mark.parametrize("save_every_steps", [0, 1])
def test_killed_at_the_end_of_an_epoch(
    tiny_videos: Path,
    tiny_run: TrainResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    call: int,
    save_every_steps: int,
) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", save_every_steps=save_every_steps)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, function, dies_at(call, getattr(loop, function)))
        train(config, show=False)
    train(config, resume=True, show=False)
    assert_same_run(tmp_path / "run", tiny_run.last.parent)


def test_killed_again_and_again(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", save_every_steps=1)
    for _ in range(5):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(loop, "_step", dies_at(1, loop._step))
            train(config, resume=True, show=False)
    train(config, resume=True, show=False)
    assert_same_run(tmp_path / "run", tiny_run.last.parent)


def test_skipped_videos_are_counted_once(tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, *rows = tiny_videos.read_text().splitlines()
    rows = [str(tiny_videos.parent / row) for row in rows if row.endswith(",train")]
    (tmp_path / "broken.mp4").write_text("not a video")
    rows[6] = f"{tmp_path / 'broken.mp4'},{rows[6].split(',')[1]},train"
    (tmp_path / "list.csv").write_text("\n".join([header, *rows, ""]))
    data = {"val_fraction": 0.0, "on_bad_video": "skip"}
    config = tiny_config(tmp_path / "list.csv", tmp_path / "run", data=data, save_every_steps=1)
    for step in (0, 1, 1, 1):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(loop, "_step", dies_at(step, loop._step))
            train(config, resume=True, show=False)
    result = train(config, resume=True, show=False)
    assert result.num_skipped == 3
    assert [failure.path for failure in result.bad_videos] == [str(tmp_path / "broken.mp4")]
    assert sum("skipped" in line for line in read_training_log(result.log)) == 3


def test_a_finished_run_stays_as_it_is(tiny_videos: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run")
    first = train(config, show=False)
    state, log = state_of(tmp_path / "run"), first.log.read_text()
    again = train(config, resume=True, show=False)
    assert (again.best_top1, again.num_train) == (first.best_top1, first.num_train)
    assert same_bits(state_of(tmp_path / "run"), state)
    assert again.log.read_text() == log


def test_another_list_of_videos_is_refused(tiny_videos: Path, tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    header, *rows = tiny_videos.read_text().splitlines()
    rows = [str(tiny_videos.parent / row) for row in rows]
    source.write_text("\n".join([header, *rows, ""]))
    config = tiny_config(source, tmp_path / "run")
    train(config, show=False)
    source.write_text("\n".join([header, *rows[1:], ""]))
    with pytest.raises(UsageError, match="the list of videos has changed since"):
        train(config, resume=True, show=False)


SLOW_RUN = """
import sys, time
import fewframes.training.loop as loop
from tests.helpers.tiny import tiny_config
step = loop._step
def slow(*args):
    time.sleep(0.3)
    return step(*args)
loop._step = slow
loop.train(tiny_config(sys.argv[1], sys.argv[2], save_every_steps=1), show=False)
"""


def test_a_process_that_is_really_killed(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(tiny_videos), str(run)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not (run / "log.jsonl").exists() or (run / "log.jsonl").read_text().count('"loss"') < 3:
            assert process.poll() is None, "ended by itself"
            assert time.monotonic() < deadline, "never came to its third step"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert 2 <= state_of(run)["progress"]["step"] < 6
    train(tiny_config(tiny_videos, run, save_every_steps=1), resume=True, show=False)
    assert_same_run(run, tiny_run.last.parent)
