"""The demo as a function: two models on the same budget, and a report that shows both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fewframes.demo as demo
from fewframes.demo import run_demo
from fewframes.report.serial import read_report
from tests.helpers.tiny import weights_of


def test_the_demo_and_its_continuation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.os, "cpu_count", lambda: 1)
    said: list[str] = []
    train = demo.train

    def dies(*args: object, **kwargs: object) -> object:
        if any(line.startswith("3/4") for line in said):
            raise KeyboardInterrupt
        return train(*args, **kwargs)  # type: ignore[arg-type]

    settings = {"num_videos": 16, "num_test_videos": 8, "epochs": 1, "seed": 3}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(demo, "train", dies)
        run_demo(tmp_path, say=said.append, **settings)  # type: ignore[arg-type]
    stam = (tmp_path / "stam" / "resume.pt").stat().st_mtime_ns
    assert not (tmp_path / "report.html").exists()

    result = run_demo(tmp_path, **settings)  # type: ignore[arg-type]
    assert weights_of(tmp_path / "stam" / "best").keys() > weights_of(tmp_path / "mean" / "best").keys()
    assert (tmp_path / "stam" / "resume.pt").stat().st_mtime_ns == stam, "what was done is not done again"
    reports = {name: read_report(tmp_path / name / "report.json") for name in ("stam", "mean")}
    assert (result.stam_top1, result.mean_top1) == (reports["stam"].listed.top1, reports["mean"].listed.top1)
    assert result.num_videos == reports["stam"].listed.num_videos == reports["mean"].listed.num_videos == 8
    assert reports["stam"].protocol["manifest_sha256"] == reports["mean"].protocol["manifest_sha256"]
    assert reports["stam"].protocol["splits"] == ["test"]
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("stam", "mean")]
    assert {key for key in configs[0] if configs[0][key] != configs[1][key]} == {"model", "output"}
    assert configs[0]["seed"] == 3
    assert result.prediction.path == reports["stam"].videos[0].path
    assert result.prediction.frame_attention is not None
    assert result.report == tmp_path / "report.html"
    page = result.report.read_text()
    assert "mean pooling" in page
    assert "<svg" in page or "<img" in page
