"""Diving48: version 2 and its vocabulary, and version 1, which is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewframes.classes import official_labels
from fewframes.data.importers.diving48 import Diving48Import, read_diving48
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError

from . import assert_survives_writing, put, touch

CLASSES = official_labels("diving48")
VOCABULARY = [label.split("+") for label in CLASSES]


def entry(name: str, label: object) -> dict[str, object]:
    return {"vid_name": name, "label": label, "start_frame": 0, "end_frame": 93}


TRAIN = [entry("_8Vy3dlHg2w_00000", 0), entry("-x_y-z12345_00011", 47)]
TEST = [entry("AbC_00002", 12)]


def annotations(folder: Path, **content: object) -> Path:
    for name, value in content.items():
        put(folder / f"Diving48_{name}.json", json.dumps(value))
    return folder


def read(folder: Path, **content: object) -> Manifest:
    return read_diving48(Diving48Import(touch(folder / "rgb"), annotations(folder / "annotations", **content)))


def test_rows_of_version_2(tmp_path: Path) -> None:
    videos = touch(tmp_path / "rgb", "_8Vy3dlHg2w_00000.mp4", "more/AbC_00002.mp4")
    manifest = read(tmp_path, V2_train=TRAIN, V2_test=TEST, vocab=VOCABULARY, train=[entry("old", 1)])
    assert manifest.videos == (
        Video(videos / "_8Vy3dlHg2w_00000.mp4", ("Back+15som+05Twis+FREE",), "train", "_8Vy3dlHg2w"),
        Video(videos / "-x_y-z12345_00011.mp4", ("Reverse+Dive+NoTwis+TUCK",), "train", "-x_y-z12345"),
        Video(videos / "more/AbC_00002.mp4", (CLASSES[12],), "test", "AbC"),
    ), "no start and end: a clip is a sample as a whole; version 1 beside it is not read"
    assert manifest.classes == CLASSES
    assert manifest.notes == (
        "Diving48 version 2: 2 train, 1 test",
        "Diving48 version 2: 2 train videos are listed where the published list has 15,027",
        "Diving48 version 2: 1 test videos are listed where the published list has 1,970",
        f"1 of 3 listed videos are not in {videos}, the first is {videos / '-x_y-z12345_00011.mp4'}",
    )
    assert_survives_writing(manifest, tmp_path)


def test_one_list_without_vocabulary(tmp_path: Path) -> None:
    manifest = read(tmp_path, V2_test=TEST)
    vocabulary = tmp_path / "annotations/Diving48_vocab.json"
    assert manifest.notes[0] == f"there is no {vocabulary}: the official class numbers were taken"
    assert not any("train" in note for note in manifest.notes)


def test_a_competition_in_both_lists_is_said(tmp_path: Path) -> None:
    notes = read(tmp_path, V2_train=[entry("a_00001", 1)], V2_test=[entry("a_00002", 1), entry("alone", 2)]).notes
    assert "1 competitions have clips in several splits, the first is a" in notes


@pytest.mark.parametrize("content", [{"train": TRAIN}, {"V2_train": TRAIN, "test": TEST}])
def test_version_1_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    with pytest.raises(
        InvalidManifest, match=r"Diving48_(train|test)\.json is of version 1, whose labels .*; get Diving48_V2_"
    ):
        read(tmp_path, **content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"V2_train": [*TRAIN, entry("a", 48)]}, r"V2_train\.json entry 3: a has the label 48; expected a number"),
        ({"V2_train": [entry("a", -1)]}, "entry 1: a has the label -1; expected"),
        ({"V2_train": [entry("a", "7")]}, "entry 1: a has the label '7'; expected"),
        ({"V2_train": [entry("a", True)]}, "entry 1: a has the label True; expected"),
        ({"V2_train": [{"vid_name": "a"}]}, "entry 1: a has the label None; expected"),
        ({"V2_train": [{"label": 1}]}, r"entry 1: no vid_name in \{'label': 1\}; expected an object"),
        ({"V2_train": [entry("", 1)]}, "entry 1: no vid_name in"),
        ({"V2_train": ["a"]}, "entry 1: no vid_name in a; expected"),
        ({"V2_train": {"a": 1}}, r"V2_train\.json: expected a list of entries"),
        ({"V2_train": TRAIN, "V2_test": TRAIN}, r"V2_test\.json entry 1: _8Vy.* was listed before, at .* entry 1"),
        ({"V2_train": []}, r"lists no videos; expected Diving48_V2_train\.json or Diving48_V2_test\.json"),
        ({}, "annotations lists no videos; expected"),
        ({"V2_train": TRAIN, "vocab": VOCABULARY[:47]}, r"vocab\.json: expected a list of 48 dives"),
        ({"V2_train": TRAIN, "vocab": {"a": 1}}, r"vocab\.json: expected a list of 48 dives"),
        ({"V2_train": TRAIN, "vocab": VOCABULARY[::-1]}, r"the number 0 is 'Reverse\+Dive\+NoTwis\+TUCK'; exp"),
        ({"V2_train": TRAIN, "vocab": [7] * 48}, r"vocab\.json: the number 0 is '7'; expected 'Back\+15som"),
    ],
)
def test_damaged_files(tmp_path: Path, content: dict[str, object], message: str) -> None:
    (tmp_path / "annotations").mkdir()
    with pytest.raises(InvalidManifest, match=message):
        read(tmp_path, **content)


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the folder of annotations .*absent does not exist"):
        read_diving48(Diving48Import(touch(tmp_path / "rgb"), tmp_path / "absent"))
    with pytest.raises(UsageError, match=r"the folder of videos .*absent does not exist"):
        read_diving48(Diving48Import(tmp_path / "absent", touch(tmp_path / "annotations")))
