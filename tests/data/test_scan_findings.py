"""Duplicates, leaks, conflicts, bad parts and counts, by hand and against a slow, plain search."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.listing import file_keys
from fewframes.data.manifest import Manifest, Video
from fewframes.data.scan_findings import count_classes, find_all, ordered_splits, usable_rows
from fewframes.errors import UsageError
from fewframes.records import Failure, VideoInfo
from fewframes.scan_records import ClassCount, Duplicate, FileScan, LabelConflict, Leak, RepeatedRow, ScanReport


def video(
    name: str, *labels: str, split: str | None = None, group: str | None = None, part: tuple[float | None, ...] = ()
) -> Video:
    start, end = part or (None, None)
    return Video(Path("/v") / name, labels, split, group, start, end)


def info(seconds: float = 10.0, fps: float = 10.0) -> VideoInfo:
    return VideoInfo("x", round(seconds * fps), fps, seconds, 64, 48, "h264", False, 0)


def report_of(*videos: Video, sha: dict[str, str] | None = None, **files: VideoInfo | str) -> ScanReport:
    """A report; files are 10 s long, or as given by their name without its ending: an info, or an error."""
    keys = file_keys(each.path for each in videos)
    scans = {}
    for each, key in zip(videos, keys, strict=True):
        given = files.get(Path(each.path).stem, info())
        known, error = (None, given) if isinstance(given, str) else (given, None)
        digest = (sha or {}).get(Path(each.path).stem)
        scans[key] = FileScan(str(each.path), keys.count(key), 1000, known, None, digest, error)
    return find_all(Manifest("list.csv", videos, ("a note",)), keys, scans, "probe")


def test_a_list_without_fault() -> None:
    videos = (video("a.mp4", "x", split="train", group="1"), video("b.mp4", "y", split="test", group="2"))
    report = report_of(*videos)
    assert (report.num_rows, report.num_usable_rows, len(report.files)) == (2, 2, 2)
    nothing = (report.failures, report.cut_parts, report.duplicates, report.leaks, report.conflicts, report.repeated)
    assert nothing == ((),) * 6
    assert (report.source, report.notes, report.decode) == ("list.csv", ("a note",), "probe")
    assert report.list_sha256 == Manifest("other", videos).sha256


def test_bad_files_and_parts() -> None:
    videos = (
        video("a.mp4", "x"),
        video("a.mp4", "x", part=(9.99, None)),
        video("a.mp4", "x", part=(10.0, None)),
        video("a.mp4", "x", part=(12.0, 15.0)),
        video("a.mp4", "x", part=(2.0, 10.1)),
        video("a.mp4", "x", part=(None, 10.2)),
        video("bad.mp4", "x"),
        video("bad.mp4", "y", part=(1.0, 2.0)),
    )
    report = report_of(*videos, bad="no such file; check the path")
    assert report.failures == (
        Failure("/v/a.mp4", "the part from 10 s lies beyond its end, 10 s; correct the list", 10.0, None),
        Failure("/v/a.mp4", "the part 12 to 15 s lies beyond its end, 10 s; correct the list", 12.0, 15.0),
        Failure("/v/bad.mp4", "no such file; check the path"),
    )
    assert report.cut_parts == (Failure("/v/a.mp4", "the part up to 10.2 s is cut off at its end, 10 s", None, 10.2),)
    assert report.num_usable_rows == 4
    manifest = Manifest("list.csv", videos, classes=("y", "x"))
    clean = usable_rows(manifest, report)
    assert clean.videos == (videos[0], videos[1], videos[4], videos[5])
    assert clean.classes == ("y", "x")
    assert [(file.path, file.num_rows) for file in report.files] == [("/v/a.mp4", 6), ("/v/bad.mp4", 2)]


def test_duplicates() -> None:
    videos = tuple(video(f"{name}.mp4", "x") for name in "dcbae")
    report = report_of(*videos, sha={"a": "1", "b": "2", "c": "1", "d": "2", "e": "3"}, b="damaged")
    assert report.duplicates == (
        Duplicate("1", 1000, ("/v/a.mp4", "/v/c.mp4")),
        Duplicate("2", 1000, ("/v/b.mp4", "/v/d.mp4")),
    )


def test_leaks_by_hand() -> None:
    videos = (
        video("whole.mp4", "x", split="train"),
        video("whole.mp4", "x", split="test"),
        video("parts.mp4", "x", split="train", part=(0.0, 5.0)),
        video("parts.mp4", "x", split="val", part=(4.9, 6.0)),
        video("parts.mp4", "x", split="test", part=(6.0, None)),
        video("apart.mp4", "x", split="train", part=(0.0, 5.0)),
        video("apart.mp4", "x", split="test", part=(5.0, 6.0)),
        video("inside.mp4", "x", split="train", part=(0.0, 9.0)),
        video("inside.mp4", "x", split="train", part=(1.0, 2.0)),
        video("inside.mp4", "x", split="test", part=(3.0, 4.0)),
        video("one.mp4", "x", split="train", group="g"),
        video("copy.mp4", "x", split="test", group="h"),
        video("other.mp4", "x", split="val", group="g"),
        video("none.mp4", "x", group="h"),
        video("none.mp4", "x", split="train"),
    )
    report = report_of(*videos, sha={"one": "1", "copy": "1", "whole": "2"})
    assert report.leaks == (
        Leak("file", "/v/whole.mp4", ("test", "train"), ("/v/whole.mp4",)),
        Leak("file", "/v/parts.mp4", ("train", "val"), ("/v/parts.mp4",)),
        Leak("file", "/v/inside.mp4", ("test", "train"), ("/v/inside.mp4",)),
        Leak("content", "/v/copy.mp4", ("test", "train"), ("/v/copy.mp4", "/v/one.mp4")),
        Leak("group", "g", ("train", "val"), ("/v/one.mp4", "/v/other.mp4")),
    )


rows = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["train", "val", "test", None]),
        st.sampled_from([None, 0.0, 1.0, 2.0, 3.0]),
        st.sampled_from([None, 0.5, 1.0, 1.5, 2.5]),
    ),
    max_size=9,
)


@given(rows)
def test_leaks_are_those_of_a_plain_search(rows: list[tuple[str, str | None, float | None, float | None]]) -> None:
    """Each pair of rows is compared; a and b are copies of each other."""
    spans = [(name, split, start or 0.0, (start or 0.0) + (length or 100.0)) for name, split, start, length in rows]
    videos = tuple(
        video(f"{name}.mp4", "x", split=split, part=(start, None if length is None else (start or 0.0) + length))
        for name, split, start, length in rows
    )
    torn: dict[str, tuple[set[str], set[str]]] = {}
    for name, split, start, end in spans:
        for other, other_split, other_start, other_end in spans:
            same = name == other or {name, other} == {"a", "b"}
            if same and None not in (split, other_split) and split != other_split:  # noqa: SIM102
                if start < other_end and other_start < end:
                    splits, paths = torn.setdefault("c" if name == "c" else "ab", (set(), set()))
                    splits.add(str(split))
                    paths.add(f"/v/{name}.mp4")
    found = {
        ("c" if leak.paths == ("/v/c.mp4",) else "ab"): (set(leak.splits), set(leak.paths))
        for leak in report_of(*videos, sha={"a": "1", "b": "1"}).leaks
    }
    assert found == torn


def test_conflicts() -> None:
    videos = (
        video("a.mp4", "x"),
        video("b.mp4", "y"),
        video("c.mp4", "x"),
        video("c.mp4"),
        video("d.mp4", "p", "q", part=(1.0, 2.0)),
        video("d.mp4", "q", "p", part=(1.0, 2.0)),
        video("d.mp4", "q", part=(1.0, 2.5)),
        video("e.mp4", "x", part=(1.0, 2.0)),
        video("e.mp4", "y", "x", part=(1.0, 2.0)),
    )
    report = report_of(*videos, sha={"a": "1", "b": "1"})
    assert report.conflicts == (
        LabelConflict((("x",), ("y",)), ("/v/a.mp4", "/v/b.mp4"), None, None),
        LabelConflict((("x",), ("x", "y")), ("/v/e.mp4",), 1.0, 2.0),
    )
    assert report.repeated == (
        RepeatedRow("/v/c.mp4", None, None, 2),
        RepeatedRow("/v/d.mp4", 1.0, 2.0, 2),
        RepeatedRow("/v/e.mp4", 1.0, 2.0, 2),
    )


def test_counts() -> None:
    videos = (
        video("a.mp4", "x", split="train"),
        video("b.mp4", "x", "y", split="train"),
        video("c.mp4", "y", split="test"),
        video("d.mp4", split="test"),
    )
    manifest = Manifest("m", videos, classes=("z", "y", "x"))
    assert count_classes(manifest, [True, False, True, True]) == (
        ClassCount("z", "train", 0, 0),
        ClassCount("z", "test", 0, 0),
        ClassCount("y", "train", 1, 0),
        ClassCount("y", "test", 1, 1),
        ClassCount("x", "train", 2, 1),
        ClassCount("x", "test", 0, 0),
        ClassCount(None, "train", 0, 0),
        ClassCount(None, "test", 1, 1),
    )


def test_order_of_splits() -> None:
    assert ordered_splits(["test", "zoo", None, "val", "all", "train", "test"]) == [
        "train",
        "val",
        "test",
        "all",
        "zoo",
        None,
    ]
    assert ordered_splits([]) == []


def test_the_scan_of_another_list_is_refused() -> None:
    report = report_of(video("a.mp4", "x"))
    with pytest.raises(UsageError, match=r"the scan of list\.csv is not of m as it is now; scan it again"):
        usable_rows(Manifest("m", (video("new.mp4", "x"),)), report)


def test_names_that_are_no_valid_text() -> None:
    videos = (video("\udcff.mp4", "x\udcff"), video("\udcfe.mp4", "x\udcff"))
    report = report_of(*videos)
    assert report.num_usable_rows == 2
    assert report.list_sha256 != report_of(*videos[:1]).list_sha256
    assert usable_rows(Manifest("m", videos), report).videos == videos
    with pytest.raises(UsageError, match="scan it again"):
        usable_rows(Manifest("m", videos[::-1]), report)
