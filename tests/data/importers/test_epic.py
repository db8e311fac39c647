"""EPIC-KITCHENS-100: times, two heads, class numbers, and the list of nouns that is not the challenge's."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.classes import official_labels
from fewframes.data.importers.epic import EpicImport, read_epic
from fewframes.data.manifest import Video
from fewframes.errors import InvalidManifest, UsageError

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
)
TRAIN = (
    HEADER
    + "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,3,door,8,['door'],[8]\n"
    # 50 frames a second: frames / 60 would say something else.
    + "P01_102_7,P01,P01_102,,00:01:02.345,01:00:00.5,3117,180025,\"put pan, lid\",put-on,1,pan,5,\"['pan', 'lid']\","
    '"[5, 6]"\n'
    + "P01_01_1,P01,P01_01,00:00:04.0,00:00:04.37,00:00:06.17,262,370,cut egg,cut,96,egg,299,['egg'],[299]\n"
)
VALIDATION = HEADER + "P18_02_3,P18,P18_02,,10:00:00.000,10:00:01,1,2,take tap,take,0,tap,0,['tap'],[0]\n"
TEST = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame\n"
    "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,0,113\n"
)
VERBS, NOUNS = official_labels("epic100_verbs"), official_labels("epic100_nouns")
ALL = tuple(f"verb:{name}" for name in VERBS) + tuple(f"noun:{name}" for name in NOUNS)


@pytest.fixture
def epic(tmp_path: Path) -> Path:
    (tmp_path / "EPIC_100_train.csv").write_text(TRAIN)
    (tmp_path / "EPIC_100_validation.csv").write_text(VALIDATION)
    (tmp_path / "EPIC_100_test_timestamps.csv").write_text(TEST)
    for name in ("P01/videos/P01_01.MP4", "P01/videos/P01_11.MP4", "P18_02.MP4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).touch()
    return tmp_path


def class_file(folder: Path, head: str, names: tuple[str, ...], suffix: str = "") -> None:
    rows = [f"{number},{name},\"['{name}', 'other']\",category\n" for number, name in enumerate(names)]
    path = folder / f"EPIC_100_{head}_classes{suffix}.csv"
    path.write_text("id,key,instances,category\n" + "".join(rows))


def test_rows_by_hand(epic: Path) -> None:
    videos = epic / "videos"
    manifest = read_epic(EpicImport(videos, epic))
    assert (VERBS[:4], VERBS[96], NOUNS[8], NOUNS[299]) == (
        ("take", "put", "wash", "open"),
        VERBS[-1],
        "drawer",
        NOUNS[-1],
    )
    first = videos / "P01/videos/P01_01.MP4"
    assert manifest.videos == (
        Video(first, ("verb:open", "noun:drawer"), "train", "P01", 0.14, 3.37),
        Video(videos / "P01/videos/P01_102.MP4", ("verb:put", "noun:pan"), "train", "P01", 62.345, 3600.5),
        Video(first, (f"verb:{VERBS[96]}", f"noun:{NOUNS[299]}"), "train", "P01", 4.37, 6.17),
        Video(videos / "P18_02.MP4", ("verb:take", "noun:tap"), "val", "P18", 36000.0, 36001.0),
        Video(videos / "P01/videos/P01_11.MP4", (), "test", "P01", 0.0, 1.89),
    )
    assert manifest.classes == ALL
    assert len(ALL) == 97 + 300
    assert manifest.notes == (
        f"1 of 4 listed videos are not in {videos}, the first is {videos}/P01/videos/P01_102.MP4",
        "EPIC-KITCHENS-100 actions: 3 train, 1 val, 1 test",
        "EPIC-KITCHENS-100 actions: 3 train videos are listed where the published list has 67,217",
        "EPIC-KITCHENS-100 actions: 1 val videos are listed where the published list has 9,668",
        "EPIC-KITCHENS-100 actions: 1 test videos are listed where the published list has 13,092",
        "1 rows of the split test have no labels; they are not published",
    )


@pytest.mark.parametrize(("heads", "classes", "labels"), [("verb", VERBS, ("put",)), ("noun", NOUNS, ("pan",))])
def test_one_head(epic: Path, heads: str, classes: tuple[str, ...], labels: tuple[str, ...]) -> None:
    manifest = read_epic(EpicImport(epic / "videos", epic, heads))  # type: ignore[arg-type]
    assert manifest.classes == classes
    assert manifest.videos[1].labels == labels
    assert manifest.videos[-1].labels == ()


def test_one_file(epic: Path) -> None:
    manifest = read_epic(EpicImport(epic / "videos", epic / "EPIC_100_validation.csv"))
    assert [video.split for video in manifest.videos] == ["val"]
    (epic / "EPIC_100_train.csv").rename(epic / "mine.csv")
    assert {video.split for video in read_epic(EpicImport(epic / "videos", epic / "mine.csv")).videos} == {None}
    assert [video.split for video in read_epic(EpicImport(epic / "videos", epic)).videos] == ["val", "test"]


def test_class_files_beside_have_to_agree(epic: Path) -> None:
    class_file(epic, "verb", VERBS)
    class_file(epic, "noun", NOUNS)
    class_file(epic, "noun", (*NOUNS, *"abcde"), "_v2")  # the published folder holds it too
    assert read_epic(EpicImport(epic / "videos", epic)).classes == ALL
    class_file(epic, "noun", (*NOUNS, *"abcde"))
    with pytest.raises(InvalidManifest, match=r"lists 305 noun classes that are not the 300 of the challenge .*_v2"):
        read_epic(EpicImport(epic / "videos", epic))
    class_file(epic, "noun", NOUNS)
    class_file(epic, "verb", (VERBS[1], VERBS[0], *VERBS[2:]))
    with pytest.raises(InvalidManifest, match=r"EPIC_100_verb_classes\.csv lists 97 verb classes that are not the 97"):
        read_epic(EpicImport(epic / "videos", epic / "EPIC_100_test_timestamps.csv"))
    with pytest.raises(InvalidManifest, match=r"noun_classes_v2\.csv lists classes, not videos; give one of EPIC_100"):
        read_epic(EpicImport(epic / "videos", epic / "EPIC_100_noun_classes_v2.csv"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",open,3,", ",open,97,", r"line 2: verb_class is '97', expected a number from 0 to 96$"),
        (",open,3,", ",open,open,", r"line 2: verb_class is 'open', expected a number from 0 to 96$"),
        (",open,3,", ",open,-1,", r"line 2: verb_class is '-1'"),
        (",open,3,", ",open,,", r"line 2: verb_class is ''"),
        (",egg,299,", ",egg,300,", r"line 4: noun_class is '300', .*0 to 299; numbers from 300 on belong to the _v2"),
        ("00:00:03.37", "3.37", r"line 2: stop_timestamp is '3\.37'; expected a time such as 00:01:02\.345"),
        ("00:00:03.37", "00:60:03.37", r"line 2: stop_timestamp is '00:60:03\.37'"),
        ("00:00:03.37", "202", r"line 2: stop_timestamp is '202'"),
        ("00:00:03.37", "00:00:00.14", r"line 2: the action starts at 0\.14 s and stops at 0\.14 s"),
        ("P01_01_0,P01,P01_01,", "P01_01_0,P01,,", r"line 2: the column 'video_id' is empty"),
        ("start_timestamp", "start", r"line 2: no column 'start_timestamp' in .*; expected those of EPIC_100_train"),
        ("noun_class", "nounclass", r"line 2: no column 'noun_class'"),
    ],
)
def test_damaged_rows(epic: Path, old: str, new: str, message: str) -> None:
    path = epic / "EPIC_100_train.csv"
    assert old in TRAIN
    path.write_text(TRAIN.replace(old, new, 1))
    with pytest.raises(InvalidManifest, match=rf"EPIC_100_train\.csv {message}"):
        read_epic(EpicImport(epic / "videos", epic))


def test_no_files(epic: Path) -> None:
    with pytest.raises(
        InvalidManifest, match=r"videos holds none of EPIC_100_train\.csv, EPIC_100_validation\.csv, EP"
    ):
        read_epic(EpicImport(epic / "videos", epic / "videos"))
    with pytest.raises(InvalidManifest, match=r"cannot read .*absent\.csv: No such file"):
        read_epic(EpicImport(epic / "videos", epic / "absent.csv"))
    with pytest.raises(UsageError, match=r"the folder of videos .* does not exist"):
        read_epic(EpicImport(epic / "absent", epic))
    for folder in ("a", "b"):
        (epic / "videos" / folder).mkdir()
        (epic / "videos" / folder / "P01_102.MP4").touch()
    with pytest.raises(InvalidManifest, match=r"two files in .* may be the video P01_102\.MP4: a/.* and b/"):
        read_epic(EpicImport(epic / "videos", epic))
