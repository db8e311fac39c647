"""Whole scans: real files in real processes, interrupted, resumed, killed."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fewframes.data import scan as scan_module
from fewframes.data.listing import list_videos
from fewframes.data.manifest import Manifest, Video
from fewframes.data.scan import ScanOptions, scan
from fewframes.data.scan_findings import usable_rows
from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import Failure
from fewframes.scan_records import Duplicate, ScanReport
from fewframes.video.reader import open_video
from tests.helpers.painted import write_painted

from .scan_file_work import misbehave_with_files, write_down

# They hold frames, but fewer than they promise.
REFUSED = ("malformed/", "no_duration_or_absurd/file_type__fixture2.mkv", "rotation/mp4parse_capi__no_timescale.mp4")
TWO = ScanOptions(workers=2)
FULL = ScanOptions(decode="full", workers=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven files: two copies, another of their size, one of another, a text, an empty one, one that is cut short."""
    folder = tmp_path_factory.mktemp("scan")
    write_painted(folder / "a.mp4", 20, rate=10)
    write_painted(folder / "other.mkv", 9, rate=25, format="matroska", ticks=[0, 40, 80, 120, 200, 240, 280, 320, 500])
    shutil.copy(folder / "a.mp4", folder / "copy.mp4")
    content = (folder / "a.mp4").read_bytes()
    # Of the same length and readable, but not the same: the name of the encoder in its free text.
    assert b"Lavf" in content
    (folder / "same_size.mp4").write_bytes(content.replace(b"Lavf", b"Evil"))
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    return folder


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every task that is done leaves a line in this file."""
    path = tmp_path / "log"
    path.touch()
    monkeypatch.setenv("SCAN_WORK_LOG", str(path))
    monkeypatch.setattr(scan_module, "do_task", write_down)
    return path


def names(report: ScanReport) -> dict[str, str | None]:
    return {Path(file.path).name: file.error for file in report.files}


def test_what_a_scan_finds(videos: Path) -> None:
    manifest = list_videos(videos)
    report = scan(manifest, FULL)
    assert {name for name, error in names(report).items() if error is None} == {
        "a.mp4",
        "copy.mp4",
        "same_size.mp4",
        "other.mkv",
    }
    assert [Path(failure.path).name for failure in report.failures] == ["cut.mp4", "empty.mp4", "text.mp4"]
    by_name = {Path(file.path).name: file for file in report.files}
    with open_video(videos / "other.mkv") as reader:
        assert by_name["other.mkv"].info == replace(reader.info, size_bytes=(videos / "other.mkv").stat().st_size)
    assert by_name["other.mkv"].decoded_frames == 9
    digests = {name: file.sha256 for name, file in by_name.items()}
    assert digests["a.mp4"] == digests["copy.mp4"] != digests["same_size.mp4"] is not None
    assert {name for name, digest in digests.items() if digest} == {"a.mp4", "copy.mp4", "same_size.mp4"}
    size = (videos / "a.mp4").stat().st_size
    copies = (str(videos / "a.mp4"), str(videos / "copy.mp4"))
    assert report.duplicates == (Duplicate(str(digests["a.mp4"]), size, copies),)
    assert [file.path for file in report.files] == [str(video.path) for video in manifest.videos], "the list's order"
    assert (report.num_rows, report.num_usable_rows) == (7, 4)
    # What is called usable can be read, and nothing else can.
    clean = {video.path for video in usable_rows(manifest, report).videos}
    for video in manifest.videos:
        try:
            with open_video(video.path) as reader:
                reader.frames_at(range(reader.info.num_frames))
            assert video.path in clean
        except UnreadableVideo as error:
            assert video.path not in clean
            assert names(report)[Path(video.path).name] == error.reason


def test_each_file_is_opened_once(videos: Path, logged: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(videos)
    a = videos / "a.mp4"
    rows = (
        Video(a, ("x",), "train", start=0.0, end=1.0),
        Video(videos / "other.mkv", ("y",), "test"),
        Video(tmp_path / "link" / "a.mp4", ("x",), "train", start=1.0, end=1.5),
        Video(a, ("x",), "test", start=1.4),
        Video(a, ("x",), "test", start=2.0),
        Video(videos / "gone.mp4", ("x",)),
        Video(videos, ("x",)),
    )
    report = scan(Manifest("m", rows), TWO)
    assert sorted(logged.read_text().splitlines()) == sorted(
        f"video {videos}/{name}" for name in ("a.mp4", "other.mkv")
    )
    assert [(file.path, file.num_rows) for file in report.files] == [
        (str(a), 4),
        (str(videos / "other.mkv"), 1),
        (str(videos / "gone.mp4"), 1),
        (str(videos), 1),
    ]
    assert report.failures == (
        Failure(str(a), "the part from 2 s lies beyond its end, 2 s; correct the list", 2.0, None),
        Failure(str(videos / "gone.mp4"), "no such file; check the path"),
        Failure(str(videos), "it is not a regular file; name a video file"),
    )
    assert [(leak.kind, leak.splits) for leak in report.leaks] == [("file", ("test", "train"))]
    # The same parts can be read as are called usable.
    with open_video(a) as reader:
        for row in (rows[0], rows[2], rows[3]):
            assert len(reader.frames_between(row.start, row.end)) > 0
        with pytest.raises(UnreadableVideo, match="lies beyond its end"):
            reader.frames_between(2.0, None)


def test_a_second_scan_does_nothing_twice(videos: Path, logged: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(videos, tmp_path / "copy")
    manifest, journal = list_videos(folder), tmp_path / "journal.jsonl"
    first = scan(manifest, TWO, journal=journal)
    done = Counter(logged.read_text().splitlines())
    assert sorted(done.values()) == [1] * 10, "seven files, three digests"
    assert scan(manifest, TWO, journal=journal) == first
    assert Counter(logged.read_text().splitlines()) == done
    assert scan(manifest, TWO) == first, "without a journal"
    logged.write_text("")
    # Full decoding looks at videos again, and not at digests.
    full = scan(manifest, FULL, journal=journal)
    assert Counter(line.split()[0] for line in logged.read_text().splitlines()) == {"video": 7}
    logged.write_text("")
    assert [replace(file, decoded_frames=None) for file in full.files] == list(first.files)
    # What changed is looked at again, and so is what is new; what has gone is missing.
    (folder / "text.mp4").write_bytes((folder / "a.mp4").read_bytes())
    os.utime(folder / "other.mkv", ns=(1, 1))
    (folder / "copy.mp4").rename(folder / "moved.mp4")
    changed = scan(list_videos(folder), TWO, journal=journal)
    log = {line.replace(str(folder), "") for line in logged.read_text().splitlines()}
    assert log == {f"{kind} /{name}" for kind, name in [("video", "text.mp4"), ("video", "other.mkv")]} | {
        "hash /text.mp4",
        "video /moved.mp4",
        "hash /moved.mp4",
    }
    assert [len(each.paths) for each in changed.duplicates] == [3]
    gone = scan(manifest, TWO, journal=journal)
    assert names(gone)["copy.mp4"] == "no such file; check the path"


def test_files_that_hang_or_crash_are_failed_files(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "do_task", misbehave_with_files)
    for name in ("hang", "killed", "crash", "good"):
        shutil.copy(videos / "a.mp4", tmp_path / f"{name}.mp4")
    journal = tmp_path / "journal.jsonl"
    report = scan(list_videos(tmp_path), replace(FULL, timeout=10.0), journal=journal)
    errors = names(report)
    assert errors["good.mp4"] is None
    assert "no progress in 10 s" in str(errors["hang.mp4"])
    assert "was killed" in str(errors["killed.mp4"])
    assert "crashed its process" in str(errors["crash.mp4"])
    assert [len(each.paths) for each in report.duplicates] == [4], "they are compared all the same"
    # With more time, and once they behave, those are looked at again that may fare better.
    monkeypatch.undo()
    again = scan(list_videos(tmp_path), replace(FULL, timeout=30.0), journal=journal)
    assert {name for name, error in names(again).items() if error is not None} == {"crash.mp4"}


def test_content_that_cannot_be_read_is_noted(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(videos, tmp_path / "v")
    original = scan_module._look_up

    def gone_after_that(key: str) -> scan_module._OnDisk:
        found = original(key)
        if key.endswith("copy.mp4"):
            Path(key).unlink()
        return found

    monkeypatch.setattr(scan_module, "_look_up", gone_after_that)
    report = scan(list_videos(tmp_path / "v"), TWO)
    assert report.duplicates == ()
    assert report.notes == (
        f"videos in {tmp_path}/v that lie in no class folder and so have no label: 7",
        f"1 files could not be compared with others of their size, such as {tmp_path}/v/copy.mp4",
    )


def test_refusals(videos: Path) -> None:
    manifest = list_videos(videos)
    with pytest.raises(UsageError, match="workers is 0; expected at least 1"):
        scan(manifest, ScanOptions(workers=0))
    with pytest.raises(UsageError, match="the timeout is -1 s"):
        scan(manifest, ScanOptions(timeout=-1))


def test_real_files(data_dir: Path) -> None:
    """Against what a full decode by ffmpeg said of those that are not long: see expected.csv beside them."""
    folder = data_dir / "fixtures"
    with (folder / "expected.csv").open(encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    frames_of = {path: int(row["decoded_frames"].replace("N/A", "0") or 0) for path, row in rows.items()}
    small = [path for path, row in rows.items() if int(row["w"] or 0) < 700 or path.endswith("corrupted.mp4")]
    short = [path for path in small if frames_of[path] < 100]
    report = scan(Manifest("fixtures", tuple(Video(folder / path, ()) for path in short)), FULL)
    assert len(report.files) > 30
    for path, found in zip(short, report.files, strict=True):
        if found.error is None:
            assert found.info is not None
            assert found.decoded_frames == found.info.num_frames, path
            assert frames_of[path] in (found.decoded_frames, 0), path  # that ffmpeg knew no VVC
        else:
            assert frames_of[path] == 0 or path.startswith(REFUSED), path
    damaged = next(found for path, found in zip(short, report.files, strict=True) if path.endswith("corrupted.mp4"))
    assert damaged.decoded_frames == 28
    assert len(report.duplicates) >= 1
