"""Annotation files as they come, rows and paths as they go: ends of lines, marks, damage, and which file is meant."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.importers.files import (
    VideoFiles,
    check_folder,
    check_label,
    count_notes,
    group_notes,
    read_csv_rows,
    read_json,
    read_text_lines,
    repeat_notes,
)
from fewframes.data.manifest import Video
from fewframes.errors import InvalidManifest, UsageError

from . import put, touch


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_with_every_mark_and_end(tmp_path: Path, mark: str, end: str, last: bool) -> None:
    text = mark + end.join(["1 Ä", "", " b "]) + (end if last else "")
    assert read_text_lines(put(tmp_path / "list.txt", text)) == ["1 Ä", "", " b "]
    rows = read_csv_rows(
        put(tmp_path / "list.csv", mark + end.join(["b, a", "", '"x, ""y""",1']) + (end if last else ""))
    )
    assert [(row.place, dict(row.values)) for row in rows] == [
        (f"{tmp_path / 'list.csv'} line 3", {"b": 'x, "y"', "a": "1"})
    ]
    assert read_json(put(tmp_path / "list.json", mark + '{"Ä":' + end + "1}")) == {"Ä": 1}


def test_no_lines(tmp_path: Path) -> None:
    assert read_text_lines(put(tmp_path / "empty", "")) == []
    assert read_csv_rows(put(tmp_path / "header", "a,b\n")) == []
    assert read_csv_rows(put(tmp_path / "empty", ""), columns=("a",)) == []
    with pytest.raises(InvalidManifest, match="empty is empty; expected a line that names the columns"):
        read_csv_rows(put(tmp_path / "empty", "\n \n"))


field = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=6).map(str.strip)


@given(st.lists(st.tuples(field, field.filter(bool)), max_size=6))
def test_any_field_comes_back(pairs: list[tuple[str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(pairs)
    with tempfile.TemporaryDirectory() as folder:
        rows = read_csv_rows(put(Path(folder) / "list.csv", text.getvalue()), columns=("one", "two"))
    assert [(row.values["one"], row.values["two"]) for row in rows] == pairs
    assert [row.place.rpartition(" ")[2] for row in rows] == [str(number) for number in range(1, len(pairs) + 1)]


def test_columns_and_delimiter_of_ones_own(tmp_path: Path) -> None:
    rows = read_csv_rows(put(tmp_path / "list", 'a "b c"\n'), columns=("x", "y"), delimiter=" ")
    assert dict(rows[0].values) == {"x": "a", "y": "b c"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1\n", r"list line 2: 1 fields, expected 2 \(a,b\)"),
        ("a,b\n1,2\n\n1,2,3\n", r"list line 4: 3 fields, expected 2 \(a,b\)"),
        ("a,b, a\n", "list line 1: a column occurs twice in a,b,a"),
        ('a,b\n1,"2\n', "list line 2: not CSV"),
        ('a,b\n"1"x,2\n', "list line 2: not CSV"),
        (b"a,b\n1,\xe4\n", "list is not in UTF-8 .*; save it so"),
    ],
)
def test_damaged_csv(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read_csv_rows(put(tmp_path / "list", content))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for read in (read_text_lines, read_csv_rows, read_json):
        with pytest.raises(InvalidManifest, match=r"cannot read .*absent: No such file"):
            read(tmp_path / "absent")  # type: ignore[operator]
        with pytest.raises(InvalidManifest, match=r"cannot read .*: Is a directory"):
            read(tmp_path)  # type: ignore[operator]
    with pytest.raises(InvalidManifest, match=r"list\.json line 3: not JSON \(Expecting"):
        read_json(put(tmp_path / "list.json", '{\n"a": 1,\n}'))


def test_labels_are_matched_letter_for_letter() -> None:
    classes = ("passing American football", "skiing")
    check_label("here", "skiing", classes)
    for label in ("Skiing", "skiing ", "skiin"):
        with pytest.raises(InvalidManifest, match=rf"^here: the label '{label}' is none of the 2 .* one is 'skiing'$"):
            check_label("here", label, dict.fromkeys(classes))
    with pytest.raises(InvalidManifest, match=r"'qqq' is none of the 2 classes; such as 'passing American football'"):
        check_label("here", "qqq", classes)


def test_folders_have_to_be_there(tmp_path: Path) -> None:
    check_folder(tmp_path, "folder of videos")
    with pytest.raises(UsageError, match=r"the folder of lists .*absent does not exist; expected a folder"):
        check_folder(tmp_path / "absent", "folder of lists")
    with pytest.raises(UsageError, match=r"the folder of videos .*a\.csv is a file; expected a folder"):
        VideoFiles(put(tmp_path / "a.csv", ""))


def test_names_fit_from_the_end(tmp_path: Path) -> None:
    folder = touch(tmp_path, "train/run/a.mp4", "sprun/b.mp4", "c.MKV", "notes/d.txt", ".hidden/e.mp4", "f.x.avi")
    files = VideoFiles(folder)
    assert files.find("run/a.mp4") == files.find("a.mp4") == files.find("a") == folder / "train/run/a.mp4"
    assert files.find("train/run/a") == folder / "train/run/a.mp4"
    assert files.find("run/b.mp4") is None
    assert files.find("un/a.mp4") is None
    assert files.find("x/train/run/a.mp4") is None
    assert files.find("c.mp4") == folder / "c.MKV"
    assert files.find("x/c.mp4") is None
    assert files.find("d.txt") is None
    assert files.find("d") is None
    assert files.find("e.mp4") is None
    assert files.find("f.x.webm") == files.find("f.x") == folder / "f.x.avi"
    assert files.find("f") is None
    assert files.find("A.mp4") is None
    assert files.find("") is None
    assert files.find() is None
    assert files.find("2/b.mp4", "sprun/b.mp4") == files.find("n/b", "sprun/b") == folder / "sprun/b.mp4"
    assert files.find(".x", "f.x") == folder / "f.x.avi"
    assert files.find("absent", "run/b", "sprun/b", "a") == folder / "sprun/b.mp4", "the first name that fits"


def test_the_name_itself_goes_before_others_that_fit(tmp_path: Path) -> None:
    folder = touch(
        tmp_path, "a.mp4", "deep/a.mp4", "deep/b.avi", "deep/b.mp4", "one/c.mp4", "two/c.mp4", "d.avi", "d.webm"
    )
    files = VideoFiles(folder)
    assert files.find("a.mp4") == folder / "a.mp4"
    assert files.find("deep/a.mp4") == folder / "deep/a.mp4"
    assert files.find("b.mp4") == folder / "deep/b.mp4"
    assert files.find("two/c") == folder / "two/c.mp4"
    for name, first, second in (("c.mp4", "one/c.mp4", "two/c.mp4"), ("d.mp4", "d.avi", "d.webm")):
        with pytest.raises(InvalidManifest, match=rf"may be the video {name}: {first} and {second}; give the folder"):
            files.find(name)


def test_missing_videos_keep_a_place_and_are_counted(tmp_path: Path) -> None:
    folder = touch(tmp_path, "run/a.mp4", "b.mp4")
    files = VideoFiles(folder)
    assert files.locate("run/a.avi") == folder / "run/a.mp4"
    assert files.locate("walk/b.mp4", "b.mp4") == folder / "b.mp4"
    assert files.note() == f"all 2 listed videos are in {folder}"
    assert files.locate("run/-x.mp4", "-x.mp4") == folder / "run/-x.mp4"
    assert files.locate("run/y.mp4") == folder / "run/y.mp4"
    assert files.note() == f"2 of 4 listed videos are not in {folder}, the first is {folder / 'run/-x.mp4'}"


def video(name: str, split: str | None = None, group: str | None = None, start: float | None = None) -> Video:
    return Video(Path(name), ("x",), split, group, start)


def test_counts_beside_the_published_ones() -> None:
    videos = [*(video(str(n), "train") for n in range(1_200)), video("v", "val")]
    assert count_notes("Set", videos) == ("Set: 1,200 train, 1 val",)
    assert count_notes("Set", videos, {"train": (7, 1_200), "val": (1,)}) == ("Set: 1,200 train, 1 val",)
    assert count_notes("Set", videos, {"train": (1_300, 7), "val": (2,), "test": (3,)})[1:] == (
        "Set: 1,200 train videos are listed where the published copies have 7 or 1,300",
        "Set: 1 val videos are listed where the published list has 2",
        "Set: 0 test videos are listed where the published list has 3",
    )
    assert count_notes("Set", [video("a")]) == ("Set: 1 no split",)
    assert count_notes("Set", []) == ("Set: no videos",)


def test_groups_in_several_splits_are_said() -> None:
    whole = [video("a", "train", "g1"), video("b", "train", "g1"), video("c", "test", "g2"), video("d", "test")]
    assert group_notes([*whole, video("e", "train")], "sources") == ()
    torn = [*whole, video("f", "train", "g2"), video("g", "val", "g1")]
    assert group_notes(torn, "sources") == ("2 sources have clips in several splits, the first is g1",)


def test_repeated_videos_are_said() -> None:
    once = [video("a", start=1.0), video("a", start=2.0), video("b")]
    assert repeat_notes(once) == ()
    again = [*once, video("b"), video("b", "test"), video("a", start=2.0)]
    assert repeat_notes(again) == ("3 lines list a video again that was listed before, the first is a",)
