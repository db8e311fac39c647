"""What importers of lists share: class names by number, splits by name, labels of any kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.classes import official_labels
from fewframes.data.importers.listing import (
    class_at,
    classes_if_numbers,
    joined,
    label_texts,
    load_class_names,
    missing_note,
    named_labels,
    numbers_as_classes,
    split_of_name,
)
from fewframes.errors import InvalidManifest, UnknownName


def test_class_names(tmp_path: Path) -> None:
    assert load_class_names("kinetics400") == official_labels("kinetics400")
    path = tmp_path / "names.txt"
    path.write_text("\ufeffwalk \r\nrun, fast\r\njump\r\n\r\n")
    assert load_class_names(str(path)) == ("walk", "run, fast", "jump")
    path.write_text("walk\n\nrun\n")
    with pytest.raises(InvalidManifest, match=r"names\.txt line 2: empty; expected one class name a line"):
        load_class_names(str(path))
    path.write_text("walk\nrun\nwalk\n")
    with pytest.raises(InvalidManifest, match=r"names\.txt line 3: 'walk' stands on line 1 too"):
        load_class_names(str(path))
    path.write_text("\n\n")
    with pytest.raises(InvalidManifest, match=r"names\.txt is empty"):
        load_class_names(str(path))
    with pytest.raises(
        UnknownName, match=r"unknown file of class names or official list of them 'kinetic400'; did .*'kin"
    ):
        load_class_names("kinetic400")


def test_numbers() -> None:
    assert class_at("x", 0, "ab") == "a"
    assert class_at("x", 1, "ab") == "b"
    for number in (-1, 2):
        with pytest.raises(
            InvalidManifest, match=rf"^f line 3: the label is {number}, but there are 2 classes, 0 to 1$"
        ):
            class_at("f line 3", number, ("a", "b"))
    assert numbers_as_classes("x", [3, 0, 3]) == ("0", "1", "2", "3")
    assert numbers_as_classes("x", []) == ()
    for number in (-1, 100_000):
        with pytest.raises(InvalidManifest, match=rf"^f: a label is {number}; expected a class number, 0 to 99999"):
            numbers_as_classes("f", [5, number])
    assert classes_if_numbers("x", ["2", "0"]) == ("0", "1", "2")
    assert classes_if_numbers("x", ["2", "two"]) is None
    assert classes_if_numbers("x", []) is None


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_number_is_its_class_index(numbers: set[int]) -> None:
    classes = numbers_as_classes("x", numbers)
    assert [classes.index(str(number)) for number in sorted(numbers)] == sorted(numbers)
    assert len(classes) == max(numbers) + 1


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[("train", "train"), ("kinetics400_train_list_videos", "train"), ("val", "val"), ("k400-validation", "val")],
        *[("TEST", "test"), ("test01", "test"), ("sthv2_val_list", "val"), ("train_val", None), ("list", None)],
        *[("training drive", "train"), ("trainer", None), ("latest", None), ("", None)],
    ],
)
def test_splits_by_name(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


def test_labels_of_any_kind() -> None:
    assert label_texts("f", "label", None) == label_texts("f", "label", "") == label_texts("f", "label", []) == ()
    assert label_texts("f", "label", " walk ") == ("walk",)
    assert label_texts("f", "label", 3) == ("3",)
    assert label_texts("f", "label", ["walk", 0]) == ("walk", "0")
    for wrong in (True, 1.5, [None], {"a": 1}, " ", [["x"]]):
        with pytest.raises(InvalidManifest, match=r"^f: label is .*; expected a class name or number, or a list"):
            label_texts("f", "label", wrong)
    with pytest.raises(InvalidManifest, match="f: a label occurs twice in"):
        label_texts("f", "label", ["3", 3])


def test_labels_by_name_or_number() -> None:
    classes = {"walk": 0, "7": 1, "run": 2}
    assert named_labels("f", ("run", "0"), classes) == ("run", "walk")
    assert named_labels("f", ("7",), classes) == ("7",), "a name is never taken for a number"
    with pytest.raises(InvalidManifest, match="f: the label is 3, but there are 3 classes"):
        named_labels("f", ("3",), classes)
    with pytest.raises(
        InvalidManifest, match="f: the label 'walking' is none of the 3 classes; the nearest one is 'walk'"
    ):
        named_labels("f", ("walking",), classes)


def test_listed_files(tmp_path: Path) -> None:
    here, absent = tmp_path / "a.mp4", tmp_path / "b.mp4"
    here.touch()
    assert joined(tmp_path, "a.mp4") == here
    assert joined(tmp_path, "/x/a.mp4") == Path("/x/a.mp4")
    assert joined(tmp_path, "https://x/a.mp4") == "https://x/a.mp4"
    assert missing_note([here, tmp_path, here, "https://x/a.mp4"]) == "all 2 listed files exist"
    assert missing_note([here, absent, absent]) == f"1 of 2 listed files do not exist, the first is {absent}"
