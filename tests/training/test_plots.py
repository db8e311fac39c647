"""What a run's folder shows beside its numbers: curves, the machine, and TensorBoard's files."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fewframes.training.loop as loop
from fewframes.errors import UsageError
from fewframes.training.environment import note_start
from fewframes.training.loop import TrainResult, train
from fewframes.training.plots import write_curves
from tests.helpers.tiny import tiny_config


def log_of(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def height_of(path: Path) -> int:
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 10, "something is drawn"
        return image.height


def test_a_panel_for_each_curve(tmp_path: Path) -> None:
    steps = [{"step": step, "loss": 3.0 / step, "lr": 1e-3} for step in range(1, 6)]
    gaps = [{"step": 6, "loss": None, "lr": 1e-3}, {"step": 7, "loss": float("nan"), "lr": 1e-3}]
    validations = [{"step": 5, "validation": {"top1": 50.0}, "validation_averaged": {"top1": 75.0}}]
    heights = []
    for records in ([], steps, [*steps, *gaps, *validations]):
        heights.append(height_of(write_curves(log_of(tmp_path, *records), tmp_path / "curves.png")))
    assert heights[0] < heights[1] < heights[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "log.jsonl"]


def test_a_run_draws_its_curves(tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def drawing(log: Path, target: Path) -> Path:
        drawn.append(len(log.read_text().splitlines()))
        return write_curves(log, target)

    monkeypatch.setattr(loop, "write_curves", drawing)
    monkeypatch.setattr(loop, "_SECONDS_BETWEEN_CURVES", 0.0)
    train(tiny_config(tiny_videos, tmp_path / "run"), show=False)
    assert len(drawn) == 4, "after each epoch, and at the end"
    assert drawn[0] < drawn[1] < drawn[2] == drawn[3]


def test_the_environment_of_each_start(tiny_run: TrainResult, tmp_path: Path) -> None:
    content = json.loads((tiny_run.last.parent / "environment.json").read_text())
    assert (
        content["manifest_sha256"]
        == json.loads((tiny_run.last / "model.json").read_text())["provenance"]["manifest_sha256"]
    )
    (start,) = content["starts"]
    assert (start["from_step"], start["processes"], start["devices"]) == (0, 1, ["cpu"])
    assert {"fewframes", "torch", "av"} <= set(start["packages"])
    for step, devices in ((0, ["cuda:0", "cuda:1"]), (7, ["cpu"]), (9, ["cpu"])):
        path = note_start(tmp_path, step=step, devices=devices, manifest_sha256="abc")
    starts = json.loads(path.read_text())["starts"]
    assert [(each["from_step"], each["processes"]) for each in starts] == [(0, 2), (7, 1), (9, 1)]
    path.write_text("{")
    note_start(tmp_path, step=11, devices=["cpu"], manifest_sha256="abc")
    assert [each["from_step"] for each in json.loads(path.read_text())["starts"]] == [11]


class Writer:
    """Stands for TensorBoard's."""

    written: list[tuple[str, float, int]]
    opened: list[tuple[str, int | None]]

    def __init__(self, folder: str, purge_step: int | None) -> None:
        Writer.opened.append((folder, purge_step))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        Writer.written.append((name, value, step))

    def close(self) -> None:
        Writer.written.append(("closed", 0.0, -1))


def test_tensorboard(tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretended = ModuleType("torch.utils.tensorboard")
    pretended.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", pretended)
    Writer.written, Writer.opened = [], []
    config = tiny_config(tiny_videos, tmp_path / "run", tensorboard=True)
    result = train(config, show=False)
    assert Writer.opened == [(str(tmp_path / "run" / "tensorboard"), None)]
    assert [step for name, _, step in Writer.written if name == "loss"] == [1, 2, 3, 4, 5, 6]
    assert [step for name, _, step in Writer.written if name == "validation/top1"] == [2, 4, 6]
    assert Writer.written[-1][0] == "closed"
    train(dataclasses.replace(config, tensorboard=True), resume=True, show=False)
    assert Writer.opened[1][1] == 7
    assert result.epochs == 3


def test_tensorboard_that_is_not_there(tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    message = r"tensorboard is on, but its package is not installed; install fewframes\[tensorboard\], or leave it out"
    with pytest.raises(UsageError, match=message):
        train(tiny_config(tiny_videos, tmp_path / "run", tensorboard=True), show=False)
    assert not (tmp_path / "run").exists()
