"""A scan.json holds the whole report, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fewframes.data.scan_store import read_scan, scan_from_json, scan_to_json
from fewframes.errors import UsageError
from fewframes.records import Failure, VideoInfo
from fewframes.scan_records import ClassCount, Duplicate, FileScan, LabelConflict, Leak, RepeatedRow, ScanReport

INFO = VideoInfo("a.mp4", 9, 3.0, 3.0, 8, 6, "h264", True, 90, size_bytes=77, bytes_read=5, packets_decoded=2)
REPORT = ScanReport(
    source="list.csv",
    list_sha256="00",
    decode="full",
    num_rows=4,
    num_usable_rows=2,
    files=(FileScan("a.mp4", 2, 77, INFO, 8, "ab", "damaged"), FileScan("b\udcff.mp4", 1, error="no such file")),
    failures=(Failure("a.mp4", "damaged"), Failure("a.mp4", "beyond", 1.0, None)),
    cut_parts=(Failure("a.mp4", "cut", None, 3.5),),
    duplicates=(Duplicate("ab", 77, ("a.mp4", "c.mp4")),),
    leaks=(Leak("group", "g", ("test", "train"), ("a.mp4", "c.mp4")),),
    conflicts=(LabelConflict((("x",), ("x", "y")), ("a.mp4",), None, 2.0),),
    repeated=(RepeatedRow("a.mp4", None, None, 2),),
    class_counts=(ClassCount("x", None, 2, 1), ClassCount(None, "train", 0, 0)),
    notes=("a note",),
)


def test_there_and_back(tmp_path: Path) -> None:
    plain = scan_to_json(REPORT)
    assert plain["files"][0]["info"]["codec"] == "h264"
    path = tmp_path / "scan.json"
    path.write_text(json.dumps(plain, indent=1))
    assert read_scan(path) == REPORT
    assert scan_from_json(scan_to_json(replace(REPORT, files=(), notes=()))) == replace(REPORT, files=(), notes=())


@pytest.mark.parametrize(
    "change",
    [{"files": 3}, {"files": [3]}, {"leaks": [{"kind": "group"}]}, {"new": 1}, {"conflicts": None}, {"notes": None}],
)
def test_other_json_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"not the report of a scan: .*; expected the scan\.json of this version"):
        scan_from_json({**scan_to_json(REPORT), **change})
    with pytest.raises(UsageError, match="not the report of a scan"):
        scan_from_json({})


@pytest.mark.parametrize(("content", "message"), [("{", "Expecting property name"), ("[]", "it holds a list")])
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "scan.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=rf"cannot read the scan .*scan\.json.*{message}"):
        read_scan(path)
    with pytest.raises(UsageError, match=r"cannot read the scan .*absent\.json"):
        read_scan(tmp_path / "absent.json")
