"""Lists of SlowFast and its relatives: separators, spaces in paths, third columns, numbers and names."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.importers.frame_lists import FrameListsImport, read_frame_lists
from fewframes.data.manifest import Video
from fewframes.errors import InvalidManifest, UnknownName, UsageError

SEPARATORS = {"space": " ", "comma": ",", "tab": "\t"}


def listed(folder: Path, content: str, name: str = "train.csv") -> Path:
    (folder / name).write_text(content)
    return folder / name


def rows(path: Path, options: FrameListsImport | None = None) -> list[tuple[str, str]]:
    manifest = read_frame_lists(options or FrameListsImport((path,)))
    return [(str(video.path).removeprefix(f"{path.parent}/"), video.label) for video in manifest.videos]


def test_a_list_of_slowfast(tmp_path: Path) -> None:
    path = listed(tmp_path, "abseiling/a.mp4 0\r\nair drumming/b c.mp4 1\r\n\r\n/data/zumba/d.mp4 399\r\n")
    (tmp_path / "abseiling").mkdir()
    (tmp_path / "abseiling" / "a.mp4").touch()
    manifest = read_frame_lists(FrameListsImport((path,), classes="kinetics400"))
    assert manifest.videos == (
        Video(tmp_path / "abseiling/a.mp4", ("abseiling",), "train"),
        Video(tmp_path / "air drumming/b c.mp4", ("air drumming",), "train"),
        Video(Path("/data/zumba/d.mp4"), ("zumba",), "train"),
    )
    assert manifest.classes is not None
    assert (len(manifest.classes), manifest.classes.index("zumba")) == (400, 399)
    assert manifest.notes == (f"2 of 3 listed files do not exist, the first is {tmp_path}/air drumming/b c.mp4",)


def test_numbers_without_names(tmp_path: Path) -> None:
    manifest = read_frame_lists(FrameListsImport((listed(tmp_path, "a.mp4 10\nb.mp4 2\n"),)))
    assert [video.label for video in manifest.videos] == ["10", "2"]
    assert manifest.classes == tuple(str(number) for number in range(11)), "by number, not 0, 1, 10, 2"
    assert manifest.indices_of(manifest.labels) == [10, 2]
    assert manifest.notes[1] == "the list names no classes: the labels are its numbers; name them with `classes`"


def test_names_in_a_file(tmp_path: Path) -> None:
    names = listed(tmp_path, "walk\nrun\njump\n", "names.txt")
    path = listed(tmp_path, "a.mp4 2\nb.mp4 0\n")
    options = FrameListsImport((path,), classes=str(names))
    assert rows(path, options) == [("a.mp4", "jump"), ("b.mp4", "walk")]
    listed(tmp_path, "a.mp4 2\nb.mp4 3\n")
    with pytest.raises(InvalidManifest, match=r"train\.csv line 2: the label is 3, but there are 3 classes, 0 to 2"):
        rows(path, options)
    with pytest.raises(UnknownName, match="'kinetics40'; did you mean"):
        rows(path, replace(options, classes="kinetics40"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a b.mp4 3\nc.mp4   4\n", [("a b.mp4", "3"), ("c.mp4", "4")]),
        ("a b.mp4,3\nc, d.mp4, 4\n", [("a b.mp4", "3"), ("c, d.mp4", "4")]),
        ("a b,c.mp4\t3\nd.mp4\t 4 \n", [("a b,c.mp4", "3"), ("d.mp4", "4")]),
        ("a,b.mp4 3\nc.mp4 4\n", [("a,b.mp4", "3"), ("c.mp4", "4")]),
        ("a,5 3\nc,5 4\n", [("a,5", "3"), ("c,5", "4")]),
        ('"a ""b"" 7" 3\n"c.mp4" 4\n', [('a "b" 7', "3"), ("c.mp4", "4")]),
        ('"a, b.mp4",3\nc.mp4,4\n', [("a, b.mp4", "3"), ("c.mp4", "4")]),
        (
            "s3://bucket/a b.mp4 3\nhttps://x.org/c.mp4?a=1,2 4\n",
            [("s3://bucket/a b.mp4", "3"), ("https://x.org/c.mp4?a=1,2", "4")],
        ),
        ("Ünï/ça.mp4 3\n日本/d.mp4 4\n", [("Ünï/ça.mp4", "3"), ("日本/d.mp4", "4")]),
        ("-dash.mp4 3\n'q'.mp4 4\n", [("-dash.mp4", "3"), ("'q'.mp4", "4")]),
    ],
)
def test_separators_are_found(tmp_path: Path, content: str, expected: list[tuple[str, str]]) -> None:
    assert rows(listed(tmp_path, content)) == expected


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters='"/'), min_size=1, max_size=9
)
PATHS = NAMES.map(str.strip).filter(bool).map(lambda name: f"{name}.mp4")


@given(
    st.lists(st.tuples(PATHS, st.integers(0, 99)), min_size=1, max_size=5),
    st.sampled_from(("space", "comma", "tab")),
    st.booleans(),
    st.sampled_from(("absent", "present", "auto")),
)
def test_any_path_comes_through(
    pairs: list[tuple[str, int]],
    separator: Literal["space", "comma", "tab"],
    told: bool,
    frame_counts: Literal["auto", "present", "absent"],
) -> None:
    mark = SEPARATORS[separator]
    middle = f"{mark}300" if frame_counts == "present" else ""
    with tempfile.TemporaryDirectory() as folder:
        path = listed(Path(folder), "".join(f"{name}{middle}{mark}{number}\n" for name, number in pairs))
        options = FrameListsImport((path,), None, "", separator if told else "auto", frame_counts)
        assert rows(path, options) == [(name, str(number)) for name, number in pairs]


def test_numbers_of_frames(tmp_path: Path) -> None:
    path = listed(tmp_path, "a.mp4 300 3\nb 2.mp4 250 4\n")
    manifest = read_frame_lists(FrameListsImport((path,)))
    assert [(video.path, video.label) for video in manifest.videos] == [
        (tmp_path / "a.mp4", "3"),
        (tmp_path / "b 2.mp4", "4"),
    ]
    assert manifest.notes[1] == f"the numbers of frames in {path} are not used"
    # Not on every line, so a part of the path.
    assert rows(listed(tmp_path, "a 300 3\nb 4\n")) == [("a 300", "3"), ("b", "4")]
    # Folders: on every line, so numbers of frames, unless the disk shows folders of that name.
    path = listed(tmp_path, "a 300 3\nb 250 4\n")
    assert rows(path) == [("a", "3"), ("b", "4")]
    (tmp_path / "b 250").mkdir()
    assert rows(path) == [("a 300", "3"), ("b 250", "4")]
    (tmp_path / "a").mkdir()
    assert rows(path) == [("a", "3"), ("b", "4")]
    assert rows(path, FrameListsImport((path,), frame_counts="absent")) == [("a 300", "3"), ("b 250", "4")]
    with pytest.raises(InvalidManifest, match=r"line 1: no number of frames before the class number in 'a\.mp4 3'"):
        rows(listed(tmp_path, "a.mp4 3\n"), FrameListsImport((path,), frame_counts="present"))


def test_several_lists_and_their_splits(tmp_path: Path) -> None:
    listed(tmp_path, "a.mp4 0\n", "train.csv")
    listed(tmp_path, "b.mp4,1\n", "val.csv")
    other = listed(tmp_path, "c.mp4 1\na.mp4 0\n", "mine.txt")
    manifest = read_frame_lists(FrameListsImport((tmp_path, other), videos=tmp_path / "videos"))
    found = [(str(video.path), video.split) for video in manifest.videos]
    folder = str(tmp_path / "videos")
    assert found == [
        (f"{folder}/a.mp4", "train"),
        (f"{folder}/b.mp4", "val"),
        (f"{folder}/c.mp4", None),
        (f"{folder}/a.mp4", None),
    ]
    assert manifest.notes[-1] == f"1 lines list a video again that was listed before, the first is {folder}/a.mp4"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidManifest, match=r"empty holds none of train\.csv, val\.csv, test\.csv"):
        read_frame_lists(FrameListsImport((tmp_path / "empty",)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "label,youtube_id,time_start,time_end,split\n",
            r"official Kinetics list; read it with `.* data import kinetics`",
        ),
        (
            "original_vido_id video_id frame_id path labels\n",
            "single frames; give Charades_v1_train.csv and .* charades`",
        ),
        ("path,label,split\na.mp4,walk,train\n", "names its columns path and label: it needs no import"),
        ("\n \n", r"is empty; expected lines such as: videos/a\.mp4 12"),
        ("a.mp4 1\nb.mp4\n", r"line 2: 'b\.mp4' is no path and class number parted by a space; expected such as"),
        ("a.mp4,1\nb.mp4,walk\nc.mp4,2\n", r"line 2: 'b\.mp4,walk' is no path and class number parted by a comma"),
        ("a.mp4\t1\nb.mp4 2\nc.mp4 3\n", r"line 1: 'a\.mp4\\t1' is no path and class number parted by a space"),
        ("a.mp4 1.5\n", r"line 1: 'a\.mp4 1\.5' is no path and class number"),
        (" 1\n", r"line 1: '1' is no path and class number"),
        ("a.mp4 ²\n", r"line 1: 'a\.mp4 ²' is no path"),
        ("a.mp4 -1\n", r"a label is -1; expected a class number, 0 to 99999"),
        ("a.mp4 20231205\n", r"a label is 20231205; expected a class number"),
    ],
)
def test_lists_of_another_form(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InvalidManifest, match=rf"train\.csv.*{message}"):
        rows(listed(tmp_path, content))


def test_no_lists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no list was given; name at least one"):
        read_frame_lists(FrameListsImport(()))
    with pytest.raises(InvalidManifest, match=r"cannot read .*absent\.csv: No such file"):
        read_frame_lists(FrameListsImport((tmp_path / "absent.csv",)))
    (tmp_path / "latin.csv").write_bytes("é.mp4 1\n".encode("latin-1"))
    with pytest.raises(InvalidManifest, match=r"latin\.csv is not in UTF-8"):
        read_frame_lists(FrameListsImport((tmp_path / "latin.csv",)))
    path = listed(tmp_path, "a.mp4,1\n")
    with pytest.raises(InvalidManifest, match="parted by a tab"):
        rows(path, FrameListsImport((path,), separator="tab"))
