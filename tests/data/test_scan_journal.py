"""The journal of a scan: torn lines, other versions, changed files, limits, two runs at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data import scan_journal
from fewframes.data.scan_file import FileTask, Finding
from fewframes.data.scan_journal import Journal, Stamp
from fewframes.data.scan_workers import TaskLimits
from fewframes.errors import UsageError
from fewframes.records import VideoInfo

LIMITS = TaskLimits(60.0, 1000)
INFO = VideoInfo("a.mp4", 9, 3.0, 3.0, 8, 6, "h264", True, 90, size_bytes=77, bytes_read=5, packets_decoded=2)
VIDEO = FileTask("video", "/x/a b\udcff.mp4", "full")
HASH = FileTask("hash", "/x/a b\udcff.mp4", "full")
STAMP = (77, 1_700_000_000_123_456_789)
OK = Finding(INFO, 9)


def write(path: Path, *entries: tuple[FileTask, Stamp, Finding], limits: TaskLimits = LIMITS) -> None:
    with Journal(path, limits) as journal:
        for entry in entries:
            journal.add(*entry)


def known(path: Path, task: FileTask, stamp: Stamp = STAMP, limits: TaskLimits = LIMITS) -> Finding | None:
    with Journal(path, limits) as journal:
        return journal.find(task, stamp)


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    bad = Finding(INFO, 3, error="damaged at “4”")
    digest = Finding(sha256="ab")
    remote = FileTask("video", "https://x/a.mp4", "probe")
    write(path, (VIDEO, STAMP, OK), (HASH, STAMP, digest))
    write(path, (replace(VIDEO, path="b"), STAMP, bad), (remote, None, OK))
    assert known(path, VIDEO) == OK
    assert known(path, HASH) == digest
    assert known(path, replace(VIDEO, path="b")) == bad
    assert known(path, remote, None) == OK
    assert len(path.read_bytes().splitlines()) == 4


def test_what_it_depends_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, (VIDEO, STAMP, OK), (HASH, STAMP, Finding(sha256="ab")))
    assert known(path, replace(VIDEO, decode="probe")) is None
    assert known(path, VIDEO, (78, STAMP[1])) is None, "another size"
    assert known(path, VIDEO, (77, STAMP[1] + 1)) is None, "a nanosecond later"
    assert known(path, VIDEO, None) is None
    assert known(path, replace(VIDEO, path="/x/c.mp4")) is None
    assert known(path, replace(HASH, decode="probe")) == Finding(sha256="ab"), "decoding does not change a digest"


def test_another_version_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, (VIDEO, STAMP, OK))
    for name in ("fewframes", "av"):
        with monkeypatch.context() as patch:
            original = scan_journal.version
            patch.setattr(scan_journal, "version", lambda each, n=name, o=original: o(each) + "x" * (each == n))
            assert known(path, VIDEO) is None
    assert known(path, VIDEO) == OK


def test_the_last_finding_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, (VIDEO, STAMP, OK), (VIDEO, STAMP, Finding(error="x")))
    assert known(path, VIDEO) == Finding(error="x")


def test_what_may_pass_is_not_written_down(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, (VIDEO, STAMP, Finding(error="permission denied", cause="system")))
    assert known(path, VIDEO) is None
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("cause", "limits", "holds"),
    [
        ("time", TaskLimits(60.0, 1000), True),
        ("time", TaskLimits(59.0, None), True),
        ("time", TaskLimits(60.5, 1000), False),
        ("memory", TaskLimits(99.0, 1000), True),
        ("memory", TaskLimits(60.0, 999), True),
        ("memory", TaskLimits(60.0, 1001), False),
        ("memory", TaskLimits(60.0, None), False),
        ("content", TaskLimits(1e6, None), True),
    ],
)
def test_more_time_or_memory_is_another_chance(tmp_path: Path, cause: str, limits: TaskLimits, holds: bool) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, (VIDEO, STAMP, Finding(error="x", cause=cause)))  # type: ignore[arg-type]
    assert (known(path, VIDEO, limits=limits) is not None) == holds
    unlimited = tmp_path / "unlimited.jsonl"
    write(unlimited, (VIDEO, STAMP, Finding(error="x", cause="memory")), limits=TaskLimits(60.0, None))
    assert known(unlimited, VIDEO, limits=limits) is not None


@given(st.integers(0, 2000))
def test_a_torn_end_costs_one_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    tasks = [replace(VIDEO, path=f"/x/{number}.mp4") for number in range(4)]
    write(path, *((task, STAMP, OK) for task in tasks))
    content = path.read_bytes()
    kept = content[: max(len(content) - cut, 0)]
    path.write_bytes(kept)
    whole = kept.count(b"\n")
    with Journal(path, LIMITS) as journal:
        assert [journal.find(task, STAMP) for task in tasks] == [OK] * whole + [None] * (4 - whole)
        for task in tasks[whole:]:
            journal.add(task, STAMP, OK)
    assert path.read_bytes() == content, "as if nothing had happened"


@pytest.mark.parametrize(
    "line",
    [b"\0" * 50, b"{", b"[1, 2]", b"\xff\xfe", b'{"by": null}', b"null", b'"text"', b"{}", b'{"task": [1]}', b"1"],
)
def test_lines_that_are_none_are_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, (VIDEO, STAMP, OK))
    path.write_bytes(line + b"\n" + path.read_bytes() + line + b"\n")
    assert known(path, VIDEO) == OK


def test_fields_of_another_layout_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, (VIDEO, STAMP, OK))
    line = json.loads(path.read_text())
    for change in ({"finding": {"info": {"path": "x"}}}, {"stamp": 3}, {"task": ["video"]}, {"finding": {"new": 1}}):
        path.write_text(json.dumps({**line, **change}) + "\n")
        assert known(path, VIDEO) is None


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "journal.jsonl"
    with Journal(path, LIMITS), pytest.raises(UsageError, match=r"another scan is writing .*journal\.jsonl; wait"):
        Journal(path, LIMITS)
    Journal(path, LIMITS).close()


def test_it_is_brought_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(scan_journal.os, "fsync", synced.append)
    with Journal(tmp_path / "journal.jsonl", LIMITS) as journal:
        for number in range(130):
            journal.add(replace(VIDEO, path=str(number)), STAMP, OK)
        assert len(synced) == 2, "every 64 lines"
    assert len(synced) == 3
    journal.close()
    assert len(synced) == 3


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*journal\.jsonl: .*; choose a folder that can be written"):
        Journal(tmp_path / "file" / "journal.jsonl", LIMITS)
    with Journal(tmp_path / "journal.jsonl", LIMITS) as journal:

        def full(file: int, content: bytes) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(scan_journal.os, "write", full)
            with pytest.raises(UsageError, match=r"journal\.jsonl: No space left on device; make room"):
                journal.add(VIDEO, STAMP, OK)
        parts = []
        write_part = scan_journal.os.write

        def by_bits(file: int, content: bytes) -> int:
            parts.append(1)
            return write_part(file, content[:50])

        monkeypatch.setattr(scan_journal.os, "write", by_bits)
        journal.add(VIDEO, STAMP, OK)
    assert len(parts) > 3
    assert known(tmp_path / "journal.jsonl", VIDEO) == OK
