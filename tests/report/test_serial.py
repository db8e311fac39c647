"""Round trips, refusals, and files that are written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fewframes.errors import UsageError
from fewframes.records import EvaluationReport, Failure, Prediction, Preprocess, ReadCost
from fewframes.report.serial import from_json, read_report, to_json, write_atomically, write_json

from .samples import make_report

FAILURES = (Failure('bad\udcff "x".mp4', "no video stream"),)


def test_every_field_survives_the_round_trip(tmp_path: Path) -> None:
    report = make_report(["a", "b", "ü"], failures=FAILURES)
    data = to_json(report)
    assert list(data) == [field.name for field in dataclasses.fields(EvaluationReport)]
    assert from_json(json.loads(json.dumps(data))) == report
    path = write_json(tmp_path / "deep" / "report.json", report)
    assert read_report(path) == report
    assert path.read_bytes().isascii()
    again = write_json(tmp_path / "again.json", read_report(path))
    assert again.read_bytes() == path.read_bytes()


def test_protocols_become_plain() -> None:
    protocol = {
        "path": Path("a/b"),
        "preprocess": Preprocess((224, 196), 256),
        "crop": (1, 2),
        "mean": np.array([0.5, 0.25]),
        "count": np.int64(3),
        "nothing": None,
    }
    plain = to_json(dataclasses.replace(make_report(["a", "b"]), protocol=protocol))["protocol"]
    assert plain["path"] == "a/b"
    assert plain["preprocess"]["crop"] == [224, 196]
    assert (plain["crop"], plain["mean"], plain["count"], plain["nothing"]) == ([1, 2], [0.5, 0.25], 3, None)
    assert type(plain["count"]) is int


def test_predictions_become_plain() -> None:
    prediction = Prediction("a.mp4", ("x",), (0.75,), (3, 9), (0.1, 0.3), (1.5, -0.5))
    assert to_json(prediction) == {
        "path": "a.mp4",
        "labels": ["x"],
        "scores": [0.75],
        "frame_indices": [3, 9],
        "frame_seconds": [0.1, 0.3],
        "logits": [1.5, -0.5],
        "frame_attention": None,
        "start": None,
        "end": None,
        "bytes_read": 0,
        "size_bytes": None,
    }
    assert to_json(Failure("a.mp4", "cut", 2.0)) == {"path": "a.mp4", "reason": "cut", "start": 2.0, "end": None}


def test_parts_and_costs_survive_the_round_trip() -> None:
    report = make_report(["a", "b"], failures=[Failure("a.mp4", "cut", 2.0, 3.5)])
    videos = (dataclasses.replace(report.videos[0], start=1.0, end=2.0, frame_indices=(3, 5)), *report.videos[1:])
    report = dataclasses.replace(report, videos=videos, reading=ReadCost(1.5, 0.25, 10, None, 7))
    assert from_json(json.loads(json.dumps(to_json(report)))) == report


def test_reports_of_earlier_versions_are_read() -> None:
    report = make_report(["a", "b"], failures=FAILURES)
    data = to_json(report)
    del data["reading"]
    for row in (*data["failures"], *data["videos"]):
        del row["start"], row["end"]
    assert from_json(data) == report


def test_a_stopped_evaluation_is_no_report() -> None:
    with pytest.raises(UsageError, match="not an evaluation report: the evaluation was stopped: 3 of 9 videos"):
        from_json({"stopped": "3 of 9 videos", "failures": []})


@pytest.mark.parametrize(("value", "message"), [(object(), r"protocol\['x'\] is a object"), (float("nan"), "is nan")])
def test_what_json_cannot_say_is_refused(value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        to_json(dataclasses.replace(make_report(["a", "b"]), protocol={"x": value}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("videos", None, "lacks videos"),
        ("surprise", 1, "no field surprise"),
        ("listed", {"top1": 1.0}, "Scores lacks"),
        ("confusion", [[1]], r"2 labels but tables of \[1, 2\] classes"),
        ("confusion", 3, "not an evaluation report"),
        ("seconds", "soon", "not an evaluation report: could not convert"),
        ("failures", ["x"], "Failure is a str"),
        ("failures", [{"path": "x"}], "Failure lacks reason"),
        ("reading", {"bytes_read": 1}, "ReadCost lacks decode_seconds"),
    ],
)
def test_damaged_reports_are_refused(key: str, value: object, message: str) -> None:
    data = to_json(make_report(["a", "b"]))
    if value is None:
        del data[key]
    else:
        data[key] = value
    with pytest.raises(UsageError, match=message):
        from_json(data)


def test_files_that_are_no_reports(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the report .*absent"):
        read_report(tmp_path / "absent.json")
    (tmp_path / "half.json").write_text('{"model": ')
    with pytest.raises(UsageError, match="cannot read the report"):
        read_report(tmp_path / "half.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UsageError, match="holds a list"):
        read_report(tmp_path / "list.json")


def test_writing_replaces_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    assert write_atomically(target, "älter") == target
    os.chmod(target, 0o640)
    write_atomically(target, b"\x00new")
    assert target.read_bytes() == b"\x00new"
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_atomically(tmp_path / "page.html", "old")

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UsageError, match=r"cannot write .*page\.html: no space left"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        write_atomically(tmp_path, "x")
