"""Lists of MMAction2: videos with one or several classes, folders of frames, spaces everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.data.importers.mmaction import MmactionImport, read_mmaction
from fewframes.data.manifest import Video
from fewframes.errors import InvalidManifest, UsageError


def listed(folder: Path, content: str, name: str = "k400_val_list_videos.txt") -> Path:
    (folder / name).write_text(content)
    return folder / name


def rows(path: Path, options: MmactionImport | None = None) -> list[tuple[str, tuple[str, ...]]]:
    manifest = read_mmaction(options or MmactionImport((path,)))
    return [(str(video.path).removeprefix(f"{path.parent}/"), video.labels) for video in manifest.videos]


def test_a_list_of_videos(tmp_path: Path) -> None:
    path = listed(tmp_path, "abseiling/a.mp4 0\nair drumming/b  c 7.mp4 1\r\n\nzumba/d.mp4 399\n")
    (tmp_path / "v" / "abseiling").mkdir(parents=True)
    (tmp_path / "v" / "abseiling" / "a.mp4").touch()
    manifest = read_mmaction(MmactionImport((path,), tmp_path / "v", "kinetics400"))
    assert manifest.videos == (
        Video(tmp_path / "v/abseiling/a.mp4", ("abseiling",), "val"),
        Video(tmp_path / "v/air drumming/b  c 7.mp4", ("air drumming",), "val"),
        Video(tmp_path / "v/zumba/d.mp4", ("zumba",), "val"),
    )
    assert manifest.notes == (f"2 of 3 listed files do not exist, the first is {tmp_path}/v/air drumming/b  c 7.mp4",)
    assert len(manifest.labels) == 400


def test_several_classes(tmp_path: Path) -> None:
    names = listed(tmp_path, "walk\nwave\njump\n", "label_map.txt")
    path = listed(tmp_path, 'a 5.mp4 2 0\nb.mp4 1\n"c 9" 0\n')
    options = MmactionImport((path,), classes=str(names))
    assert rows(path, options) == [("a 5.mp4", ("jump", "walk")), ("b.mp4", ("wave",)), ("c 9", ("walk",))]
    with pytest.raises(InvalidManifest, match=r"videos\.txt line 2: the label is 3, but there are 3 classes"):
        rows(listed(tmp_path, "a.mp4 2 0\nb.mp4 0 3\n"), options)
    with pytest.raises(InvalidManifest, match=r"videos\.txt line 1: a class number occurs twice in 1 1"):
        rows(listed(tmp_path, "a.mp4 1 1\n"), options)


def test_folders_of_frames(tmp_path: Path) -> None:
    path = listed(tmp_path, "walk/some clip 120 5\nrun/b 64 0\n", "sthv2_train_list_rawframes.txt")
    manifest = read_mmaction(MmactionImport((path,)))
    assert manifest.videos == (
        Video(tmp_path / "walk/some clip", ("5",), "train"),
        Video(tmp_path / "run/b", ("0",), "train"),
    )
    assert manifest.classes == tuple("012345"), "the number of frames is not a class"
    assert manifest.notes[1:] == (
        "the list names no classes: the labels are its numbers; name them with `classes`",
        "rows are folders of frames; the numbers of frames in the list are not used",
    )
    several = listed(tmp_path, "walk/a 120 5 0\n")
    assert rows(several) == [("walk/a", ("5", "0"))]


def test_a_folder_that_is_called_like_a_video(tmp_path: Path) -> None:
    path = listed(tmp_path, "a.mp4 120 5\n")
    assert rows(path) == [("a.mp4", ("120", "5"))], "several classes"
    (tmp_path / "a.mp4").mkdir()
    assert rows(path) == [("a.mp4", ("5",))], "a folder of 120 frames"
    assert rows(path, MmactionImport((path,), kind="videos")) == [("a.mp4", ("120", "5"))]


def test_numbers_that_belong_to_the_path(tmp_path: Path) -> None:
    path = listed(tmp_path, "walk 3 120 5\n")
    assert rows(path) == [("walk", ("120", "5"))], "nothing on disk tells otherwise"
    (tmp_path / "walk 3").mkdir()
    assert rows(path) == [("walk 3", ("5",))]
    (tmp_path / "walk").mkdir()
    assert rows(path) == [("walk", ("120", "5"))]
    assert rows(listed(tmp_path, '"walk 3" 120 5\n')) == [("walk 3", ("5",))]
    # A number is never all of a line's path.
    (tmp_path / "12").mkdir()
    assert rows(listed(tmp_path, "12 120 5\n")) == [("12", ("5",))]


def test_several_lists(tmp_path: Path) -> None:
    train = listed(tmp_path, "a.mp4 0\n", "ucf101_train_split_1_videos.txt")
    val = listed(tmp_path, "b.mp4 1\na.mp4 0\n", "ucf101_val_split_1_videos.txt")
    manifest = read_mmaction(MmactionImport((train, val)))
    assert [video.split for video in manifest.videos] == ["train", "val", "val"]
    assert manifest.notes[-1] == f"1 lines list a video again that was listed before, the first is {tmp_path}/a.mp4"


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (
            "a.mp4 0\nb.mp4\n",
            "auto",
            r"line 2: 'b\.mp4' has no class number; a list of videos has lines such as: absei",
        ),
        (
            "a 120 0\nb 120\n",
            "auto",
            r"line 2: 'b 120' has no class number; a list of frames has lines such as: folder",
        ),
        ("a.mp4 0\n", "frames", r"line 1: 'a\.mp4 0' has no class number; a list of frames"),
        ("a.mp4 zero\n", "auto", r"line 1: 'a\.mp4 zero' has no class number"),
        ("a.mp4 -1\n", "videos", r"line 1: 'a\.mp4 -1' has no class number"),
        ('"a.mp4" zero\n', "auto", r"line 1: '\"a\.mp4\" zero' has no class number"),
        ("a.mp4 123456\n", "auto", r"a label is 123456; expected a class number"),
        ("", "auto", r"is empty; expected lines such as: abseiling/a\.mp4 0"),
    ],
)
def test_damaged_lists(tmp_path: Path, content: str, kind: str, message: str) -> None:
    path = listed(tmp_path, content)
    with pytest.raises(InvalidManifest, match=rf"videos\.txt.*{message}"):
        rows(path, MmactionImport((path,), kind=kind))  # type: ignore[arg-type]


def test_no_lists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no list was given; name at least one"):
        read_mmaction(MmactionImport(()))
    with pytest.raises(InvalidManifest, match=r"cannot read .*absent\.txt"):
        read_mmaction(MmactionImport((tmp_path / "absent.txt",)))
    (tmp_path / "list.pkl").write_bytes(b"\x80\x04\x95")
    with pytest.raises(InvalidManifest, match=r"list\.pkl is not in UTF-8"):
        read_mmaction(MmactionImport((tmp_path / "list.pkl",)))
