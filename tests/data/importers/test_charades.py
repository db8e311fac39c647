"""Charades: the labels of a video, the parts of its actions, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.classes import official_labels
from fewframes.data.importers.charades import CharadesImport, read_charades
from fewframes.data.manifest import Video
from fewframes.data.manifest_io import read_manifest, write_manifest
from fewframes.errors import InvalidManifest, UsageError

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
TRAIN = (
    HEADER
    # Quoted texts hold commas, quotes and line ends; actions overlap, stand in any order and come twice.
    + 'YSKX3,OUKK,Bedroom,7,7,Yes,"A ""person"", in bed.\nThey wake; c001 1 2","bed;phone","x, y",'
    "c156 20.00 30.10;c015 0.00 12.60;c092 11.90 21.20;c015 25.00 28.00,32.00\n"
    + "46GP8,HR43,Kitchen,,,No,script,,,,24.83\n"
    + "N11GT,HR43,Stairs,5,6,Yes,s,o,d,c000 0.00 11.00;,13.00\n"
)
TEST = (
    HEADER + "Q8UJ8,BYOM,Hallway,6,6,Yes,s,o,d,c004 2.50 40.00;c005 30.00 31.00;c006 8.00 8.00;c007 9 7;c008 3 30,30\n"
)
NAMES = official_labels("charades")


@pytest.fixture
def charades(tmp_path: Path) -> Path:
    (tmp_path / "Charades_v1_train.csv").write_text(TRAIN)
    (tmp_path / "Charades_v1_test.csv").write_text("\ufeff" + TEST.replace("\n", "\r\n"))
    (tmp_path / "videos").mkdir()
    for name in ("YSKX3", "Q8UJ8"):
        (tmp_path / "videos" / f"{name}.mp4").touch()
    return tmp_path


def test_the_official_names() -> None:
    # Charades_v1_classes.txt: c000 Holding some clothes, c015 ..., c156.
    assert (len(NAMES), NAMES[0], NAMES[15], NAMES[156]) == (
        157,
        "Holding some clothes",
        "Holding a phone/camera",
        "Someone is eating something",
    )


def test_a_row_for_each_video(charades: Path) -> None:
    videos = charades / "videos"
    manifest = read_charades(CharadesImport(videos, charades))
    assert manifest.classes == NAMES
    assert manifest.videos == (
        Video(videos / "YSKX3.mp4", (NAMES[15], NAMES[92], NAMES[156]), "train", "OUKK"),
        Video(videos / "46GP8.mp4", (), "train", "HR43"),
        Video(videos / "N11GT.mp4", (NAMES[0],), "train", "HR43"),
        Video(videos / "Q8UJ8.mp4", (NAMES[4], NAMES[5], NAMES[6], NAMES[7], NAMES[8]), "test", "BYOM"),
    )
    assert manifest.notes == (
        f"2 of 4 listed videos are not in {videos}, the first is {videos}/46GP8.mp4",
        "the split test of Charades is its public validation set",
        "1 videos without any action have no label",
        "Charades: 3 train, 1 test",
        "Charades: 3 train videos are listed where the published list has 7,985",
        "Charades: 1 test videos are listed where the published list has 1,863",
    )


def test_a_row_for_each_action(charades: Path) -> None:
    videos = charades / "videos"
    manifest = read_charades(CharadesImport(videos, charades, segments=True))
    first, third, last = videos / "YSKX3.mp4", videos / "N11GT.mp4", videos / "Q8UJ8.mp4"
    assert manifest.videos == (
        Video(first, (NAMES[156],), "train", "OUKK", 20.0, 30.1),
        Video(first, (NAMES[15],), "train", "OUKK", 0.0, 12.6),
        Video(first, (NAMES[92],), "train", "OUKK", 11.9, 21.2),
        Video(first, (NAMES[15],), "train", "OUKK", 25.0, 28.0),
        Video(third, (NAMES[0],), "train", "HR43", 0.0, 11.0),
        # c004 ends at 40 s in a video of 30 s; c005 begins at its end, c006 has no length, c007 runs backwards.
        Video(last, (NAMES[4],), "test", "BYOM", 2.5, 30.0),
        Video(last, (NAMES[8],), "test", "BYOM", 3.0, 30.0),
    )
    assert manifest.notes[2:] == (
        "1 videos without any action have no row",
        "1 actions run past the end of their video and were cut there",
        "3 actions have no length inside their video and were left out",
        "Charades actions: 5 train, 2 test",
    )


def test_a_video_without_a_length_is_not_cut(charades: Path) -> None:
    (charades / "Charades_v1_test.csv").write_text(HEADER + "A,P,,,,,,,,c004 2.50 40.00,\n")
    manifest = read_charades(CharadesImport(charades / "videos", charades, segments=True))
    assert [(video.start, video.end) for video in manifest.videos if video.split == "test"] == [(2.5, 40.0)]


def test_one_file(charades: Path) -> None:
    manifest = read_charades(CharadesImport(charades / "videos", charades / "Charades_v1_test.csv"))
    assert [(video.split, len(video.labels)) for video in manifest.videos] == [("test", 5)]
    (charades / "Charades_v1_train.csv").rename(charades / "mine.csv")
    manifest = read_charades(CharadesImport(charades / "videos", charades / "mine.csv"))
    assert {video.split for video in manifest.videos} == {None}
    assert read_charades(CharadesImport(charades / "videos", charades)).notes[-1].startswith("Charades: 1 test")


@pytest.mark.parametrize("segments", [False, True])
def test_written_and_read(charades: Path, segments: bool) -> None:
    manifest = read_charades(CharadesImport(charades / "videos", charades, segments=segments))
    again = read_manifest(write_manifest(manifest, charades / "list.csv"))
    assert (again.videos, again.classes) == (manifest.videos, NAMES)


def test_frame_lists_of_pyslowfast(charades: Path) -> None:
    content = 'original_vido_id video_id frame_id path labels\nYSKX3 0 0 YSKX3/YSKX3-000001.jpg ""\n'
    (charades / "Charades_v1_train.csv").write_text(content)
    with pytest.raises(InvalidManifest, match=r"train\.csv is a list of single frames .* Charades_v1_train\.csv and"):
        read_charades(CharadesImport(charades / "videos", charades))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ("c157 1 2", r"csv line 2: the label 'c157' is none of the 157 classes; the nearest one is 'c15[0-9]'"),
        ("92 1 2", r"csv line 2: the label '92' is none of the 157 classes"),
        ("c092 1", r"csv line 2: the action 'c092 1' is not class, start and end; e\.g\. c092 11\.9 21\.2"),
        ("c092 1 2 3", r"csv line 2: the action 'c092 1 2 3' is not"),
        ("c092 1 2,c093 1 2", r"csv line 2: 12 fields, expected 11"),
        ("c092 one 2", r"csv line 2: 'one' is no time; expected seconds, 0 or more"),
        ("c092 -1 2", r"csv line 2: '-1' is no time"),
        ("c092 1 nan", r"csv line 2: 'nan' is no time"),
    ],
)
def test_damaged_actions(charades: Path, actions: str, message: str) -> None:
    (charades / "Charades_v1_train.csv").write_text(f"{HEADER}A,P,,,,,,,,{actions},30\n")
    for segments in (False, True):
        with pytest.raises(InvalidManifest, match=message):
            read_charades(CharadesImport(charades / "videos", charades, segments=segments))


def test_damaged_files(charades: Path) -> None:
    options = CharadesImport(charades / "videos", charades / "Charades_v1_train.csv")
    options.annotations.write_text("id,scene,actions,length\nA,Kitchen,,3\n")
    with pytest.raises(InvalidManifest, match=r"no column 'subject' in id,scene,actions,length; expected Charades_v1"):
        read_charades(options)
    options.annotations.write_text(f"{HEADER},P,,,,,,,,c092 1 2,30\n")
    with pytest.raises(InvalidManifest, match=r"csv line 2: the column 'id' is empty"):
        read_charades(options)
    options.annotations.write_text(f"{HEADER}A,P,,,,,,,,c092 1 2,long\n")
    with pytest.raises(InvalidManifest, match=r"csv line 2: 'long' is no time"):
        read_charades(CharadesImport(options.videos, options.annotations, segments=True))
    options.annotations.unlink()
    with pytest.raises(InvalidManifest, match=r"cannot read .*Charades_v1_train\.csv: No such file"):
        read_charades(options)
    with pytest.raises(InvalidManifest, match=r"videos holds none of Charades_v1_train\.csv and Charades_v1_test\.csv"):
        read_charades(CharadesImport(charades / "videos", charades / "videos"))
    with pytest.raises(UsageError, match=r"the folder of videos .*absent does not exist; expected a folder"):
        read_charades(CharadesImport(charades / "absent", charades))
