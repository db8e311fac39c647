"""Moments in Time: categories that are not alphabetical, folders with +, and two versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.classes import official_labels
from fewframes.data.importers.moments import MomentsImport, read_moments
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError

from . import assert_survives_writing, put, touch

V1 = official_labels("moments_in_time_v1")
V2 = (*(f"category {number:03d}" for number in reversed(range(304))), "asking, really")
TRAIN = (
    "clapping/flickr-2-6-5-7-1_42.mp4,clapping,4,1\r\n"
    "adult+female+singing/yt-9q-c_181.mp4,adult+female+singing,3,0\r\n"
    "praying/same_1.mp4,praying,3,0\r\n"
)
VALIDATION = 'dropping/same_1.mp4,dropping,12,0\n"clapping/a, b_7.mp4",clapping,9,1\n'


def categories(names: tuple[str, ...]) -> str:
    return "".join(f"{name},{number}\n" for number, name in enumerate(names))


def annotations(folder: Path, **content: str) -> Path:
    names = {"categories": "moments_categories.txt", "train": "trainingSet.csv", "val": "validationSet.csv"}
    for key, text in content.items():
        put(folder / names[key], text)
    return folder


def read(folder: Path, **content: str) -> Manifest:
    given = annotations(folder / "annotations", **{"categories": categories(V1), **content})
    return read_moments(MomentsImport(touch(folder / "videos"), given))


def test_rows_of_version_1(tmp_path: Path) -> None:
    videos = touch(
        tmp_path / "videos",
        "training/clapping/flickr-2-6-5-7-1_42.mp4",
        "adult+female+singing/yt-9q-c_181.mp4",
        "validation/dropping/same_1.mp4",
        "validation/clapping/a, b_7.mp4",
    )
    manifest = read(tmp_path, train=TRAIN, val=VALIDATION)
    assert manifest.videos == (
        Video(videos / "training/clapping/flickr-2-6-5-7-1_42.mp4", ("clapping",), "train"),
        Video(videos / "adult+female+singing/yt-9q-c_181.mp4", ("adult+female+singing",), "train"),
        # Another category's file of the same name is not taken.
        Video(videos / "training/praying/same_1.mp4", ("praying",), "train"),
        Video(videos / "validation/dropping/same_1.mp4", ("dropping",), "val"),
        Video(videos / "validation/clapping/a, b_7.mp4", ("clapping",), "val"),
    )
    assert manifest.classes == V1
    numbers = [manifest.labels.index(video.label) for video in manifest.videos]
    assert numbers == [0, V1.index("adult+female+singing"), 1, 2, 0], "not alphabetical"
    assert manifest.notes == (
        "Moments in Time v1, 339 classes: 3 train, 2 val",
        f"1 of 5 listed videos are not in {videos}, the first is {videos / 'training/praying/same_1.mp4'}",
    )
    assert_survives_writing(manifest, tmp_path)


def test_version_2_has_the_order_of_its_file(tmp_path: Path) -> None:
    lines = sorted(categories(V2).splitlines(keepends=True), key=len, reverse=True)
    manifest = read(tmp_path, categories="\ufeff" + "".join(lines), val="x/a.mp4,category 300,3,0\n")
    assert manifest.classes == V2
    assert manifest.labels.index(manifest.videos[0].label) == 3
    assert manifest.videos[0].path == tmp_path / "videos/validation/x/a.mp4"
    assert manifest.notes[0] == "Moments in Time v2, 305 classes: 1 val"
    assert_survives_writing(manifest, tmp_path)


def test_a_line_twice_stays_and_is_said(tmp_path: Path) -> None:
    manifest = read(tmp_path, train=2 * "clapping/a.mp4,clapping,4,1\n")
    assert len(manifest.videos) == 2
    assert manifest.notes[1].startswith("1 lines list a video again that was listed before, the first is ")


SWAPPED = categories((V1[1], V1[0], *V1[2:]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": "clap/a.mp4,clap,3,0\n"}, r"trainingSet\.csv line 1: the label 'clap' .* nearest one is 'clapping'"),
        ({"train": "x/a.mp4,adult female singing,3,0\n"}, r"the nearest one is 'adult\+female\+singing'"),
        ({"train": "\nclapping/a.mp4,clapping\n"}, r"trainingSet\.csv line 2: 2 fields, expected 4 \(filename,label,"),
        ({"train": ",clapping,3,0\n"}, r"line 1: the file is ''; expected category/name\.mp4"),
        (
            {"train": "/clapping/a.mp4,clapping,3,0\n"},
            r"line 1: the file is '/clapping/a\.mp4'; expected category/name",
        ),
        (
            {"train": "filename,label,positive,negative\n"},
            r"trainingSet\.csv line 1: the label 'label' is none of the 339",
        ),
        ({"train": ""}, r"lists no videos; expected trainingSet\.csv or validationSet\.csv"),
        ({}, r"lists no videos; expected trainingSet\.csv or validationSet\.csv"),
        ({"categories": SWAPPED}, r"moments_categories\.txt: the number 0 is 'praying'; in v1 it is 'clapping'"),
        (
            {"categories": categories(V1[:338])},
            r"moments_categories\.txt has 338 categories; expected 339 \(v1\) or 305",
        ),
        ({"categories": "clapping 0\n"}, r"line 1: 'clapping 0'; expected category,number"),
        ({"categories": "\nclapping,-1\n"}, r"line 2: 'clapping,-1'; expected category,number"),
        ({"categories": "a,0\nb,0\n"}, r"line 2: the category or number in 'b,0' was given before"),
        ({"categories": "a,0\na,1\n"}, r"line 2: the category or number in 'a,1' was given before"),
        ({"categories": categories(V1).replace(",7\n", ",339\n")}, "no category has the number 7; expected 0 to 338"),
    ],
)
def test_damaged_files(tmp_path: Path, content: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read(tmp_path, **content)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    touch(tmp_path / "videos")
    given = annotations(tmp_path / "annotations", train=TRAIN)
    with pytest.raises(InvalidManifest, match=r"cannot read .*moments_categories\.txt: No such file"):
        read_moments(MomentsImport(tmp_path / "videos", given))
    with pytest.raises(UsageError, match=r"the folder of annotations .*absent does not exist"):
        read_moments(MomentsImport(tmp_path / "videos", tmp_path / "absent"))
