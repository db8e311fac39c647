"""What can be scanned: lists, class folders, any folder; and one name for each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.data.folders import read_class_folders
from fewframes.data.listing import file_keys, is_remote, list_videos
from fewframes.data.manifest import Video
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import InvalidManifest


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_lists_are_read_as_lists(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4", "b.mp4")
    (tmp_path / "manifest.csv").write_text("path,label,split1,who\nx/a.mp4,one,train,g\n")
    for source in (tmp_path, tmp_path / "manifest.csv"):
        found = list_videos(source, split_column="split1", group_column="who")
        assert found == read_manifest(source, split_column="split1", group_column="who")
        assert found.videos == (Video(tmp_path / "x/a.mp4", ("one",), "train", "g"),)


def test_class_folders_are_read_as_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/x/a.mp4", "train/y/b.mp4", "test/x/c.mp4")
    assert list_videos(tmp_path) == read_class_folders(tmp_path)


def test_any_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.MP4", "a.mkv", "notes.txt", ".hidden.mp4")
    found = list_videos(str(tmp_path))
    assert found.videos == (Video(tmp_path / "a.mkv", ()), Video(tmp_path / "b.MP4", ()))
    assert found.labels == ()
    assert found.notes == (
        f"files in {tmp_path} that are no videos by their names and were passed over: 1",
        f"videos in {tmp_path} that lie in no class folder and so have no label: 2",
    )


def test_a_folder_of_both(tmp_path: Path) -> None:
    touch(tmp_path, "walk/a.mp4", "loose.mp4")
    found = list_videos(tmp_path)
    assert found.videos == (Video(tmp_path / "loose.mp4", ()), Video(tmp_path / "walk/a.mp4", ("walk",)))
    assert found.notes == (f"videos in {tmp_path} that lie in no class folder and so have no label: 1",)


def test_results_are_no_input(tmp_path: Path) -> None:
    touch(tmp_path, "walk/a.mp4", "out/scan.html", "out/deep/x.mp4", "outside/b.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    found = list_videos(tmp_path, leave_out=tmp_path / "out")
    assert [video.path.name for video in found.videos if isinstance(video.path, Path)] == ["b.mp4", "a.mp4"]
    assert found.notes == ()
    assert len(list_videos(tmp_path).videos) == 4


def test_nothing_to_scan(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(InvalidManifest, match=r"holds no videos; expected files that end in one of \.3gp, .*\.wmv"):
        list_videos(tmp_path)
    with pytest.raises(InvalidManifest, match=r"no list of videos at .*absent"):
        list_videos(tmp_path / "absent")


def test_one_name_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "real/a.mp4", "real/b.mp4")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "c.mp4").symlink_to("a.mp4")
    monkeypatch.chdir(tmp_path)
    paths = ["real/a.mp4", "link/a.mp4", "link/../real/a.mp4", tmp_path / "real" / "a.mp4", "./real//a.mp4"]
    assert file_keys(paths) == [str(tmp_path.resolve() / "real/a.mp4")] * 5
    assert len(set(file_keys(["real/a.mp4", "real/b.mp4", "real/c.mp4"]))) == 3, "a link is a file of its own"
    assert file_keys(["https://x/../a.mp4", "real/gone.mp4"]) == [
        "https://x/../a.mp4",
        str(tmp_path.resolve() / "real/gone.mp4"),
    ]
    assert [is_remote(each) for each in ("https://x", "tar://a::b", "c:/x", Path("a/b"))] == [True, True, False, False]
