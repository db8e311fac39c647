"""VideoFolder: metadata files of three kinds, folders as labels, and which of the two counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewframes.data.importers.huggingface import HuggingFaceImport, read_huggingface
from fewframes.data.manifest import Video
from fewframes.errors import InvalidManifest, UnknownName, UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def metadata(folder: Path, kind: str, rows: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"metadata.{kind}"
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="Parquet lists need the extra `parquet`")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        names = list(rows[0])
        lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_metadata_file_for_each_split(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "train/0001.mp4", "train/deep/0002.mp4", "validation/0003.mp4", "train/walk/unlisted.mp4")
    train = metadata(
        tmp_path / "train",
        kind,
        [
            {"file_name": "0001.mp4", "label": "run", "text": "x"},
            {"file_name": "deep/0002.mp4", "label": "a|b", "text": "y"},
        ],
    )
    metadata(tmp_path / "validation", kind, [{"file_name": "0003.mp4", "label": "run", "text": "z"}])
    test = metadata(tmp_path / "test", kind, [{"file_name": "0004.mp4", "label": "walk", "text": "z"}])
    manifest = read_huggingface(HuggingFaceImport(tmp_path))
    assert manifest.videos == (
        Video(tmp_path / "test/0004.mp4", ("walk",), "test"),
        Video(tmp_path / "train/0001.mp4", ("run",), "train"),
        Video(tmp_path / "train/deep/0002.mp4", ("a|b",), "train"),
        Video(tmp_path / "validation/0003.mp4", ("run",), "val"),
    )
    assert manifest.classes is None
    assert manifest.labels == ("a|b", "run", "walk")
    switched = "switches the labels of folders off; labels are its column label; not used: text"
    assert manifest.notes == (
        f"1 of 4 listed files do not exist, the first is {tmp_path}/test/0004.mp4",
        f"{test} {switched}",
        f"{train} {switched}",
        f"{tmp_path}/validation/metadata.{kind} {switched}",
        f"1 videos are in no metadata file and were passed over, the first is {tmp_path}/train/walk/unlisted.mp4",
    )


def test_one_metadata_file_at_the_top(tmp_path: Path) -> None:
    metadata(
        tmp_path,
        "csv",
        [{"file_name": f"{folder}/a.mp4", "label": "x"} for folder in ("training", "walk", "data/test", "dev")],
    )
    assert [video.split for video in read_huggingface(HuggingFaceImport(tmp_path)).videos] == [
        *("train", None, "test", "val")
    ]


def test_several_labels_in_a_list(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"file_name": "a.mp4", "labels": ["walk", "wave"]},
        {"file_name": "b.mp4", "labels": []},
        {"file_name": "c.mp4", "labels": None},
    ]
    for kind in ("jsonl", "parquet"):
        path = metadata(tmp_path, kind, rows)
        manifest = read_huggingface(HuggingFaceImport(tmp_path))
        assert [video.labels for video in manifest.videos] == [("walk", "wave"), (), ()]
        path.unlink()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_numbers_as_labels(tmp_path: Path, kind: str) -> None:
    metadata(tmp_path, kind, [{"file_name": "a.mp4", "label": 10}, {"file_name": "b.mp4", "label": 2}])
    manifest = read_huggingface(HuggingFaceImport(tmp_path))
    assert [video.label for video in manifest.videos] == ["10", "2"]
    assert manifest.indices_of(manifest.labels) == [10, 2]
    manifest = read_huggingface(HuggingFaceImport(tmp_path, classes="ucf101"))
    assert [video.label for video in manifest.videos] == ["Biking", "Archery"]
    (tmp_path / "names.txt").write_text("walk\nrun\n")
    with pytest.raises(
        InvalidManifest, match=rf"metadata\.{kind} (line|row) [12]: the label is 10, but there are 2 classes"
    ):
        read_huggingface(HuggingFaceImport(tmp_path, classes=str(tmp_path / "names.txt")))


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = metadata(tmp_path, "csv", [{"video": "a.mp4", "action": "run", "label": "x"}])
    with pytest.raises(InvalidManifest, match=r"no column 'file_name' in video,action,label; name it as file_column"):
        read_huggingface(HuggingFaceImport(tmp_path))
    manifest = read_huggingface(HuggingFaceImport(tmp_path, "action", "video"))
    assert manifest.videos == (Video(tmp_path / "a.mp4", ("run",)),)
    assert (
        manifest.notes[1] == f"{path} switches the labels of folders off; labels are its column action; not used: label"
    )
    with pytest.raises(InvalidManifest, match=r"metadata\.csv: unknown column 'actoin'; did you mean 'action'"):
        read_huggingface(HuggingFaceImport(tmp_path, "actoin", "video"))


def test_metadata_without_labels(tmp_path: Path) -> None:
    touch(tmp_path, "walk/a.mp4")
    path = metadata(tmp_path, "csv", [{"file_name": "walk/a.mp4", "caption": "a walk"}])
    manifest = read_huggingface(HuggingFaceImport(tmp_path))
    assert manifest.videos == (Video(tmp_path / "walk/a.mp4", ()),), "the folder's name does not count"
    assert manifest.notes[1] == (
        f"{path} switches the labels of folders off and has none itself: its rows have no label; not used: caption"
    )


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "training/walk/a.mp4", "training/run/take 2/b.mp4", "dev/run/c.webm", "dev/loose.mp4")
    touch(tmp_path, "README.md", "dev/run/.hidden.mp4")
    manifest = read_huggingface(HuggingFaceImport(tmp_path))
    assert manifest.videos == (
        Video(tmp_path / "dev/loose.mp4", (), "val"),
        Video(tmp_path / "dev/run/c.webm", ("run",), "val"),
        Video(tmp_path / "training/run/take 2/b.mp4", ("take 2",), "train"),
        Video(tmp_path / "training/walk/a.mp4", ("walk",), "train"),
    )
    assert manifest.notes == (
        "there is no metadata file: labels are the folders' names",
        f"1 videos lie in no class folder and have no label, the first is {tmp_path}/dev/loose.mp4",
    )


def test_class_folders_without_splits(tmp_path: Path) -> None:
    touch(tmp_path, "test/a.mp4", "walk/b.mp4")
    assert [(video.label, video.split) for video in read_huggingface(HuggingFaceImport(tmp_path)).videos] == [
        ("test", None),
        ("walk", None),
    ], "a class may be called test"
    touch(tmp_path / "k", "val/skiing_crosscountry/a.mp4", "val/abseiling/a.mp4")
    manifest = read_huggingface(HuggingFaceImport(tmp_path / "k", classes="kinetics400"))
    assert manifest.indices_of(manifest.labels) == [0, 309]
    assert {video.split for video in manifest.videos} == {"val"}


def test_damaged_folders(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="holds neither videos nor a metadata file; expected such as"):
        read_huggingface(HuggingFaceImport(tmp_path))
    with pytest.raises(UsageError, match=r"the folder of videos .* does not exist"):
        read_huggingface(HuggingFaceImport(tmp_path / "absent"))
    metadata(tmp_path, "csv", [{"file_name": "a.mp4", "label": "x"}])
    metadata(tmp_path, "jsonl", [{"file_name": "a.mp4", "label": "x"}]).touch()
    with pytest.raises(InvalidManifest, match=r"holds metadata\.csv and metadata\.jsonl; keep one of them"):
        read_huggingface(HuggingFaceImport(tmp_path))
    (tmp_path / "metadata.csv").unlink()
    path = metadata(tmp_path, "jsonl", [{"file_name": "a.mp4", "label": "x"}, {"file_name": None, "label": "x"}])
    with pytest.raises(InvalidManifest, match=r"metadata\.jsonl line 2: file_name is None; expected a path"):
        read_huggingface(HuggingFaceImport(tmp_path))
    metadata(tmp_path, "jsonl", [{"file_name": "a.mp4", "label": 1.5}])
    with pytest.raises(
        InvalidManifest, match=r"metadata\.jsonl line 1: label is 1\.5; expected a class name or number"
    ):
        read_huggingface(HuggingFaceImport(tmp_path))
    path.write_text("{")
    with pytest.raises(InvalidManifest, match=r"metadata\.jsonl line 1: not JSON"):
        read_huggingface(HuggingFaceImport(tmp_path))
    path.unlink()
    (tmp_path / "metadata.csv").write_text("file_name,label\n")
    with pytest.raises(InvalidManifest, match=r"metadata\.csv lists no videos; expected rows of file_name and label"):
        read_huggingface(HuggingFaceImport(tmp_path))
    (tmp_path / "metadata.csv").write_text("file_name,label\na.mp4,Archerie\n")
    with pytest.raises(
        InvalidManifest, match=r"metadata\.csv line 2: the label 'Archerie' .* nearest one is 'Archery'"
    ):
        read_huggingface(HuggingFaceImport(tmp_path, classes="ucf101"))
    with pytest.raises(UnknownName, match="'ucf1001'"):
        read_huggingface(HuggingFaceImport(tmp_path, classes="ucf1001"))


def test_a_video_listed_twice(tmp_path: Path) -> None:
    metadata(tmp_path, "csv", [{"file_name": "a.mp4", "label": "x"}] * 2)
    manifest = read_huggingface(HuggingFaceImport(tmp_path))
    assert manifest.notes[-1] == f"1 lines list a video again that was listed before, the first is {tmp_path}/a.mp4"
