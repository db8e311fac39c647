"""Class numbers, names of list files and listed paths come in; class names, splits and sentences go out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fewframes.classes import label_lists, official_labels
from fewframes.data.importers.files import check_label, read_text_lines
from fewframes.errors import InvalidManifest, UnknownName

__all__ = [
    "class_at",
    "classes_if_numbers",
    "joined",
    "label_texts",
    "load_class_names",
    "missing_note",
    "named_labels",
    "numbers_as_classes",
    "split_of_name",
]

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_MOST_CLASSES = 100_000
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


def load_class_names(source: str) -> tuple[str, ...]:
    """Class names in label-index order.

    Args:
        source: an official list such as "kinetics400", or a file in UTF-8 with one name a line.

    Raises:
        InvalidManifest: an empty line inside the file, or a name twice.
        UnknownName: it is neither.
    """
    if source in label_lists():
        return official_labels(source)
    path = Path(source)
    if not path.is_file():
        raise UnknownName("file of class names or official list of them", source, label_lists())
    names = [line.strip() for line in read_text_lines(path)]
    while names and not names[-1]:
        names.pop()
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise InvalidManifest(f"{path} line {number}: empty; expected one class name a line, the first is class 0")
        if name in first:
            raise InvalidManifest(f"{path} line {number}: {name!r} stands on line {first[name]} too; expected it once")
        first[name] = number
    if not names:
        raise InvalidManifest(f"{path} is empty; expected one class name a line")
    return tuple(names)


def class_at(place: str, number: int, classes: Sequence[str]) -> str:
    """The name of a class number that counts from 0. Raises `InvalidManifest`, which begins with `place`."""
    if not 0 <= number < len(classes):
        raise InvalidManifest(
            f"{place}: the label is {number}, but there are {len(classes)} classes, 0 to {len(classes) - 1}"
        )
    return classes[number]


def numbers_as_classes(place: str, numbers: Iterable[int]) -> tuple[str, ...]:
    """The classes "0", "1", ... up to the highest number, so that a class's place in the list is its number.

    Raises:
        InvalidManifest: a number is below 0, or too high to be a class.
    """
    found = set(numbers)
    for number in (min(found, default=0), max(found, default=0)):
        if not 0 <= number < _MOST_CLASSES:
            raise InvalidManifest(f"{place}: a label is {number}; expected a class number, 0 to {_MOST_CLASSES - 1}")
    return tuple(map(str, range(max(found, default=-1) + 1)))


def label_texts(place: str, column: str, value: object) -> tuple[str, ...]:
    """The labels that a value of JSON or Parquet holds: a class name or number, a list of them, or none.

    Raises:
        InvalidManifest: it is something else, or a label stands in it twice; begins with `place` and `column`.
    """
    if value is None or value == "":
        return ()
    values = value if isinstance(value, list | tuple) else [value]
    for each in values:
        if isinstance(each, bool) or not isinstance(each, str | int) or not str(each).strip():
            raise InvalidManifest(f"{place}: {column} is {value!r}; expected a class name or number, or a list of them")
    texts = tuple(str(each).strip() for each in values)
    if len(set(texts)) != len(texts):
        raise InvalidManifest(f"{place}: a label occurs twice in {value!r}")
    return texts


def classes_if_numbers(place: str, labels: Iterable[str]) -> tuple[str, ...] | None:
    """`numbers_as_classes` if there are labels and all are whole numbers, otherwise None."""
    found = set(labels)
    if not found or not all(map(_WHOLE_NUMBER.fullmatch, found)):
        return None
    return numbers_as_classes(place, map(int, found))


def named_labels(place: str, labels: Sequence[str], classes: Mapping[str, int]) -> tuple[str, ...]:
    """Labels that are class names, or class numbers from 0 on, as class names.

    Args:
        place: messages begin with it.
        labels: texts; what is a class name is never taken for a number.
        classes: the numbers of the class names, in that order.

    Raises:
        InvalidManifest: a label is neither; the nearest name is told.
    """
    names = []
    for label in labels:
        if label in classes:
            names.append(label)
        elif _WHOLE_NUMBER.fullmatch(label):
            names.append(class_at(place, int(label), tuple(classes)))
        else:
            check_label(place, label, tuple(classes))
    return tuple(names)


def split_of_name(name: str) -> str | None:
    """The split that a file's or folder's name tells: "train", "val" or "test"; None if it tells none, or several."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def joined(folder: Path, name: str) -> Path | str:
    """A listed path below its folder; absolute paths and addresses such as https://... as they are."""
    return name if "://" in name else folder / name


def missing_note(paths: Iterable[Path | str]) -> str:
    """A sentence: how many of the listed files exist, and which is the first that does not; addresses do not count."""
    listed = list(dict.fromkeys(path for path in paths if isinstance(path, Path)))
    missing = [path for path in listed if not path.exists()]
    if not missing:
        return f"all {len(listed):,} listed files exist"
    return f"{len(missing):,} of {len(listed):,} listed files do not exist, the first is {missing[0]}"
