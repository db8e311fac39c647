"""The log of a run: each step once, also after an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.errors import UsageError
from fewframes.report.logs import read_training_log
from fewframes.training.log import Pace, RunLog

LINES = [{"step": 1, "loss": 2.0}, {"step": 2, "validation": {"top1": 50.0}}, {"step": 3, "loss": 1.0}]


def written(path: Path) -> Path:
    with RunLog(path, total_steps=9, show=False) as log:
        for record in LINES:
            log.write(record)
            assert read_training_log(path)[-1] == record, "readable while the run goes on"
    return path


def test_a_new_run_starts_a_new_log(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl")
    assert read_training_log(path) == LINES
    with RunLog(path, total_steps=9, show=False):
        assert read_training_log(path) == []


def test_what_will_be_repeated_is_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl")
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    with RunLog(path, total_steps=9, from_step=2, show=False) as log:
        log.write({"step": 3, "loss": 1.5})
    assert read_training_log(path) == [*LINES[:2], {"step": 3, "loss": 1.5}]


def test_a_lost_log_begins_anew(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log.jsonl", total_steps=9, from_step=5, show=False) as log:
        log.write({"step": 6})
    assert read_training_log(tmp_path / "log.jsonl") == [{"step": 6}]


def test_a_damaged_log_is_not_thrown_away(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl")
    path.write_text("x\n" + path.read_text())
    with pytest.raises(UsageError, match="line 1 of the training log"):
        RunLog(path, total_steps=9, from_step=2, show=False)
    assert path.read_text().startswith("x\n")


def test_messages_only_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for show in (True, False):
        with RunLog(tmp_path / "log.jsonl", total_steps=3, show=show) as log:
            log.step(0, 1.25, Pace())
            log.say("[bold]50 %[/bold]")
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.strip() == ("[bold]50 %[/bold]" if show else "")


def test_mean_loss_since_it_was_asked(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log.jsonl", total_steps=5, show=False) as log:
        for loss in (1.0, None, 2.0):
            log.step(0, loss, Pace())
        assert log.mean_loss() == 1.5
        assert log.mean_loss() == 0.0
        log.step(1, 4.0, Pace())
        assert log.mean_loss() == 4.0


def test_the_pace_since_it_was_asked(tmp_path: Path) -> None:
    with RunLog(tmp_path / "log.jsonl", total_steps=5, show=False) as log:
        log.step(0, 1.0, Pace(8, 1.0, 3.0, 0.4, 100, 20))
        log.step(0, None, Pace(0, 1.0, 0.0, 0.0, 5, 1))
        assert log.pace() == pytest.approx(
            {
                "samples_per_second": 1.6,
                "data_wait_share": 0.4,
                "decode_ms_per_clip": 50.0,
                "bytes_read": 105,
                "packets_decoded": 21,
            }
        )
        log.step(0, 1.0, Pace(2, 0.0, 5.0, 0.1, 7, 3))
        assert log.pace()["bytes_read"] == 7
        assert log.epoch_pace() == "20% waiting for data, decoding 50.0 ms a clip", "both lines together"
        assert log.epoch_pace() == "0% waiting for data"
        assert set(log.pace().values()) == {0}


def test_a_process_that_does_not_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "log.jsonl")
    before = path.read_bytes()
    with RunLog(path, total_steps=5, from_step=1, show=False, writes=False) as log:
        log.write({"step": 2, "loss": 7.0})
        log.say("nothing")
    assert path.read_bytes() == before
    assert capsys.readouterr().err == ""
