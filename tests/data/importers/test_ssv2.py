"""Something-Something v2: templates, both names of the files, and the classes that a mirror changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewframes.classes import official_labels
from fewframes.data.importers.ssv2 import NO_FLIP_NOTE, Ssv2Import, read_ssv2
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError

from . import assert_survives_writing, put, touch

CLASSES = official_labels("ssv2")
LABELS = {label: str(number) for number, label in enumerate(CLASSES)}
LONG = "something-something-v2-"


def entry(identity: str, template: str) -> dict[str, object]:
    return {"id": identity, "label": "pushing cup from left to right", "template": template, "placeholders": ["cup"]}


TRAIN = [
    entry("78687", "Pushing [something] from left to right"),
    entry("42326", "Putting [number of] [something] onto [something]"),
]
VALIDATION = [entry("74225", "Turning the camera left while filming [something]")]
TEST = [{"id": "1420"}, {"id": "3347"}]


def folder_of(folder: Path, prefix: str = LONG, **content: object) -> Path:
    for name, value in {"labels": LABELS, **content}.items():
        put(folder / f"{prefix}{name}.json", value if isinstance(value, str) else json.dumps(value))
    return folder


def read(folder: Path, **content: object) -> Manifest:
    return read_ssv2(Ssv2Import(touch(folder / "videos"), folder_of(folder / "labels", **content)))


@pytest.mark.parametrize("prefix", [LONG, ""])
def test_rows_by_either_name(tmp_path: Path, prefix: str) -> None:
    videos = touch(tmp_path / "videos", "78687.webm", "20bn/74225.webm", "1420.mp4")
    annotations = folder_of(tmp_path / "labels", prefix, train=TRAIN, validation=VALIDATION, test=TEST)
    manifest = read_ssv2(Ssv2Import(videos, annotations))
    assert manifest.videos == (
        Video(videos / "78687.webm", ("Pushing something from left to right",), "train"),
        Video(videos / "42326.webm", ("Putting number of something onto something",), "train"),
        Video(videos / "20bn/74225.webm", ("Turning the camera left while filming something",), "val"),
        Video(videos / "1420.mp4", (), "test"),
        Video(videos / "3347.webm", (), "test"),
    )
    assert manifest.classes == CLASSES
    assert [manifest.labels.index(video.label) for video in manifest.videos[:3]] == [93, 102, 166]
    assert manifest.notes == (
        "classes tell left from right: train without horizontal flips, or with --augment.flip-pairs",
        "Something-Something v2: 2 train, 1 val, 2 test",
        "Something-Something v2: 2 train videos are listed where the published list has 168,913",
        "Something-Something v2: 1 val videos are listed where the published list has 24,777",
        "Something-Something v2: 2 test videos are listed where the published list has 27,157",
        f"2 of 5 listed videos are not in {videos}, the first is {videos / '42326.webm'}",
    )
    assert_survives_writing(manifest, tmp_path)


def test_one_list_is_enough(tmp_path: Path) -> None:
    manifest = read(tmp_path, validation=VALIDATION)
    assert [video.split for video in manifest.videos] == ["val"]
    assert not any("train videos" in note or "test videos" in note for note in manifest.notes)
    assert NO_FLIP_NOTE in manifest.notes


def test_every_class_is_its_template(tmp_path: Path) -> None:
    templates = [label.replace("something", "[something]").replace("number of", "[number of]") for label in CLASSES]
    manifest = read(tmp_path, train=[entry(str(n), template) for n, template in enumerate(templates)])
    assert tuple(video.label for video in manifest.videos) == CLASSES


def test_ids_as_numbers(tmp_path: Path) -> None:
    manifest = read(tmp_path, train=[{**entry("0", "Holding [something]"), "id": 7}])
    assert manifest.videos[0].path == tmp_path / "videos/7.webm"


def renumbered(**numbers: object) -> dict[str, object]:
    return {**LABELS, **numbers}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": renumbered(**{CLASSES[2]: "3"})}, r"labels\.json: 'Bending .* has the number 3; expected 2"),
        ({"labels": {**LABELS, "Bending something!": "174"}}, r"labels\.json: the label 'Bending something!' is none"),
        ({"labels": dict(list(LABELS.items())[:-2])}, "lacks 2 of 174 classes, the first is 'Unfolding something'"),
        ({"labels": list(CLASSES)}, r"labels\.json: expected an object such as"),
        ({"train": {"id": "1"}}, r"train\.json: expected a list of entries with id and template"),
        ({"train": [*TRAIN, {"id": "1"}]}, r"train\.json entry 3: the id 1 has no template"),
        ({"train": [{"id": "1", "template": None}]}, r"entry 1: the id 1 has no template"),
        ({"train": [{"template": "Holding [something]"}]}, r"train\.json entry 1: no id in \{'template'"),
        ({"train": ["1"]}, r"entry 1: no id in 1; expected an object"),
        ({"train": [{"id": "", "template": "x"}]}, "entry 1: no id in"),
        (
            {"train": [entry("1", "Holdin [something]")]},
            "entry 1: the label 'Holdin something' .* is 'Holding something'",
        ),
        ({"train": [entry("1", "holding [something]")]}, "the label 'holding something' .* is 'Holding something'"),
        ({"train": [TRAIN[0], TRAIN[0]]}, r"train\.json entry 2: the id 78687 was listed before, in .*train\.json"),
        (
            {"train": TRAIN, "test": [{"id": "78687"}]},
            r"test\.json entry 1: the id 78687 was listed before, in .*train",
        ),
        ({"train": "[{]"}, r"train\.json line 1: not JSON"),
        ({"train": []}, r"labels lists no videos; expected something-something-v2-train\.json"),
        ({}, "lists no videos; expected"),
    ],
)
def test_damaged_files(tmp_path: Path, content: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read(tmp_path, **content)


def test_which_file_is_meant(tmp_path: Path) -> None:
    folder_of(tmp_path / "labels", "", train=TRAIN)
    with pytest.raises(InvalidManifest, match=rf"labels has both {LONG}labels\.json and labels\.json; leave only one"):
        read(tmp_path, train=TRAIN)
    with pytest.raises(InvalidManifest, match=rf"videos has neither {LONG}labels\.json nor labels\.json"):
        read_ssv2(Ssv2Import(tmp_path / "videos", tmp_path / "videos"))
    with pytest.raises(UsageError, match=r"the folder of annotations .*absent does not exist"):
        read_ssv2(Ssv2Import(tmp_path / "videos", tmp_path / "absent"))
