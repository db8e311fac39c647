"""UCF101: the official pairs of lists, the classes that sorted folders swap, and groups that must stay whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.classes import official_labels
from fewframes.data.importers.ucf101 import Ucf101Import, read_ucf101
from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import InvalidManifest, UsageError

from . import assert_survives_writing, put, touch

CLASSES = official_labels("ucf101")
CLASS_LIST = "".join(f"{number} {label}\r\n" for number, label in enumerate(CLASSES, start=1))
TRAIN = (
    "Hammering/v_Hammering_g08_c01.avi 35\r\n"
    "HammerThrow/v_HammerThrow_g08_c02.avi 36\r\n"
    "JumpingJack/v_JumpingJack_g08_c01.avi 47\r\n"
    "JumpRope/v_JumpRope_g08_c01.avi 48\r\n"
)
TEST = "HandstandPushups/v_HandStandPushups_g01_c01.avi\r\nHammering/v_Hammering_g01_c01.avi\r\n"


def lists(folder: Path, train: str = TRAIN, test: str = TEST, classes: str | None = CLASS_LIST, split: int = 1) -> Path:
    put(folder / f"trainlist0{split}.txt", train)
    put(folder / f"testlist0{split}.txt", test)
    if classes is not None:
        put(folder / "classInd.txt", classes)
    return folder


def read(folder: Path, **content: str) -> Manifest:
    return read_ucf101(Ucf101Import(touch(folder / "UCF-101"), lists(folder / "lists", **content)))


def test_rows_of_a_pair_of_lists(tmp_path: Path) -> None:
    videos = touch(tmp_path / "UCF-101", "Hammering/v_Hammering_g08_c01.avi", "v_HandStandPushups_g01_c01.mp4")
    manifest = read_ucf101(Ucf101Import(videos, lists(tmp_path / "lists")))
    assert manifest.videos == (
        Video(videos / "Hammering/v_Hammering_g08_c01.avi", ("Hammering",), "train", "Hammering g08"),
        Video(videos / "HammerThrow/v_HammerThrow_g08_c02.avi", ("HammerThrow",), "train", "HammerThrow g08"),
        Video(videos / "JumpingJack/v_JumpingJack_g08_c01.avi", ("JumpingJack",), "train", "JumpingJack g08"),
        Video(videos / "JumpRope/v_JumpRope_g08_c01.avi", ("JumpRope",), "train", "JumpRope g08"),
        Video(videos / "v_HandStandPushups_g01_c01.mp4", ("HandstandPushups",), "test", "HandstandPushups g01"),
        Video(videos / "Hammering/v_Hammering_g01_c01.avi", ("Hammering",), "test", "Hammering g01"),
    )
    assert manifest.classes == CLASSES
    # Sorted folders would give 35, 34, 47, 46.
    numbers = [manifest.labels.index(video.label) for video in manifest.videos]
    assert numbers == [34, 35, 46, 47, CLASSES.index("HandstandPushups"), 34]
    assert [sorted(CLASSES).index(video.label) for video in manifest.videos[:4]] == [35, 34, 47, 46]
    assert manifest.notes == (
        "UCF101 split 1: 4 train, 2 test",
        "UCF101 split 1: 4 train videos are listed where the published list has 9,537",
        "UCF101 split 1: 2 test videos are listed where the published list has 3,783",
        f"4 of 6 listed videos are not in {videos}, the first is {videos / 'HammerThrow/v_HammerThrow_g08_c02.avi'}",
    )
    assert_survives_writing(manifest, tmp_path)


def test_the_class_is_the_folder_even_if_the_file_says_another(tmp_path: Path) -> None:
    manifest = read(tmp_path, test="Archery/v_Hammering_g02_c01.avi\n")
    assert manifest.videos[-1].label == "Archery"
    assert manifest.videos[-1].group == "Archery g02"


def test_each_split_reads_its_own_lists(tmp_path: Path) -> None:
    touch(tmp_path / "UCF-101")
    for split in (1, 2, 3):
        lists(tmp_path / "lists", train=f"Archery/v_Archery_g1{split}_c01.avi 3\n", split=split)
    for split, published in ((1, "9,537"), (2, "9,586"), (3, "9,624")):
        manifest = read_ucf101(Ucf101Import(tmp_path / "UCF-101", tmp_path / "lists", split))  # type: ignore[arg-type]
        assert manifest.videos[0].group == f"Archery g1{split}"
        assert (
            manifest.notes[1]
            == f"UCF101 split {split}: 1 train videos are listed where the published list has {published}"
        )


def test_a_group_in_both_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidManifest,
        match=r"testlist01\.txt line 1: Hammering/v_Hammering_g08_c02\.avi is for testing, but other videos of the "
        "group Hammering g08 are for training",
    ):
        read(tmp_path, test="Hammering/v_Hammering_g08_c02.avi\n")
    # The same number in another class is another group.
    assert len(read(tmp_path, test="Archery/v_Archery_g08_c02.avi\n").videos) == 5


A, B = "Archery/v_Archery_g08_c01.avi", "Hammering/v_Hammering_g08_c01.avi"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": f"{B} 34\n"}, r"trainlist01\.txt line 1: Hammering has the number 34; expected 35, counted from 1"),
        ({"train": f"{A} 3\n{B} x\n"}, r"trainlist01\.txt line 2: Hammering has the number x; expected 35"),
        (
            {"train": "\nv_Archery_g08_c01.avi 3\n"},
            r"trainlist01\.txt line 2: 'v_Archery.* 3'; expected Class/file\.avi",
        ),
        ({"train": "Hammer/v_Hammer_g08_c01.avi 35\n"}, r"line 1: the label 'Hammer' .* nearest one is 'Hammering'"),
        ({"train": "archery/v_Archery_g08_c01.avi 3\n"}, r"the label 'archery' .* the nearest one is 'Archery'"),
        ({"train": "Archery/v_Archery.avi 3\n"}, r"line 1: v_Archery\.avi names no group; expected an ending such as"),
        ({"train": f"{A} 3\n{A} 3\n"}, r"line 2: .* was listed before, at .*trainlist01\.txt line 1; expected"),
        ({"train": "\n"}, r"trainlist01\.txt lists no videos; expected lines such as"),
        ({"test": f"{A} 4\n"}, r"testlist01\.txt line 1: Archery has the number 4; expected 3"),
        ({"test": f"{A} 3 1\n"}, r"testlist01\.txt line 1: '.* 3 1'; expected Class/file\.avi, and the class"),
        (
            {"classes": CLASS_LIST.replace("35 Hammering", "35 Hammer")},
            r"line 35: '35 Hammer'; expected '35 Hammering'",
        ),
        (
            {"classes": CLASS_LIST + "102 Sleeping\n"},
            r"classInd\.txt line 102: '102 Sleeping'; expected 'no more lines'",
        ),
        ({"classes": "1 ApplyEyeMakeup\n\n"}, r"classInd\.txt has 1 classes; expected the 101 of UCF101"),
        ({"classes": "0 ApplyEyeMakeup\n"}, r"line 1: '0 ApplyEyeMakeup'; expected '1 ApplyEyeMakeup'"),
    ],
)
def test_damaged_lists(tmp_path: Path, content: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read(tmp_path, **content)


def test_missing_lists_and_folders(tmp_path: Path) -> None:
    touch(tmp_path / "UCF-101")
    manifest = read_ucf101(Ucf101Import(tmp_path / "UCF-101", lists(tmp_path / "lists", classes=None)))
    class_list = tmp_path / "lists/classInd.txt"
    assert manifest.notes[0] == f"there is no {class_list}: the official class numbers were taken"
    with pytest.raises(InvalidManifest, match=r"cannot read .*trainlist02\.txt: No such file"):
        read_ucf101(Ucf101Import(tmp_path / "UCF-101", tmp_path / "lists", 2))
    with pytest.raises(UsageError, match=r"the folder of lists .*absent does not exist"):
        read_ucf101(Ucf101Import(tmp_path / "UCF-101", tmp_path / "absent"))
    with pytest.raises(UsageError, match=r"the folder of videos .*absent does not exist"):
        read_ucf101(Ucf101Import(tmp_path / "absent", tmp_path / "lists"))


@pytest.mark.parametrize("split", [1, 2, 3])
def test_real_lists_and_videos(data_dir: Path, split: int) -> None:
    manifest = read_ucf101(Ucf101Import(data_dir / "ucf6", data_dir / "ucf6/splits", split))  # type: ignore[arg-type]
    reference = read_manifest(data_dir / "ucf6", split_column=f"split{split}")
    expected = {
        (video.path, video.labels, video.split, f"{video.label} g{video.group:>02}") for video in reference.videos
    }
    assert {(video.path, video.labels, video.split, video.group) for video in manifest.videos} == expected
    assert len(manifest.videos) == len(reference.videos) == 731
    assert manifest.notes[-1] == f"all 731 listed videos are in {data_dir / 'ucf6'}"
