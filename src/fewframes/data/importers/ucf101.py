"""The lists of UCF101 and a folder of videos come in; a list of labelled videos of one split goes out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewframes.classes import official_labels
from fewframes.data.importers.files import VideoFiles, check_folder, check_label, count_notes, read_text_lines
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest

__all__ = ["Ucf101Import", "read_ucf101"]

_PUBLISHED = {
    1: {"train": (9_537,), "test": (3_783,)},
    2: {"train": (9_586,), "test": (3_734,)},
    3: {"train": (9_624,), "test": (3_696,)},
}


@dataclass(frozen=True)
class Ucf101Import:
    """Read the lists of UCF101 for action recognition: classInd.txt, trainlist0k.txt and testlist0k.txt.

    The label index is that of classInd.txt minus one, which sorted folders do not give: they swap Hammering with
    HammerThrow and JumpingJack with JumpRope. The clips cut from one longer video, such as "Archery g01", are a group.

    Example: fewframes data import ucf101 UCF-101 ucfTrainTestlist --split 1 --output ucf101.csv
    """

    videos: Path
    """Folder of the videos: UCF-101, with a folder for each class; other endings than .avi will do."""
    annotations: Path
    """Folder of the lists: ucfTrainTestlist."""
    split: Literal[1, 2, 3] = 1
    """Which of the three pairs of train and test list; published results are the mean of all three."""


def read_ucf101(options: Ucf101Import) -> Manifest:
    """The videos of one pair of lists, train before test, whether or not their files exist.

    The class is the folder in the list, never the file name: HandstandPushups holds v_HandStandPushups_g01_c01.avi.

    Raises:
        InvalidManifest: a list is damaged, says another class than the path, lists a video twice, or a group has
            videos in both lists.
        UsageError: one of the folders does not exist.
    """
    check_folder(options.annotations, "folder of lists")
    classes = official_labels("ucf101")
    notes = _check_class_list(options.annotations / "classInd.txt", classes)
    files = VideoFiles(options.videos)
    index = {label: number for number, label in enumerate(classes, start=1)}
    videos: list[Video] = []
    seen: dict[str, str] = {}
    split_of: dict[str, str] = {}
    for split in ("train", "test"):
        list_file = options.annotations / f"{split}list0{options.split}.txt"
        before = len(videos)
        for number, line in enumerate(read_text_lines(list_file), start=1):
            if not line.strip():
                continue
            place = f"{list_file} line {number}"
            name, label, group = _read_line(place, line, index)
            if name in seen:
                raise InvalidManifest(f"{place}: {name} was listed before, at {seen[name]}; expected each video once")
            seen[name] = place
            if split_of.setdefault(group, split) != split:
                raise InvalidManifest(
                    f"{place}: {name} is for testing, but other videos of the group {group} are for training; "
                    "clips of one longer video must not be torn apart: take both lists from the same pair"
                )
            path = files.locate(name, name.rpartition("/")[2])
            videos.append(Video(path, (label,), split, group))
        if len(videos) == before:
            raise InvalidManifest(f"{list_file} lists no videos; expected lines such as Archery/v_Archery_g01_c01.avi")
    counts = count_notes(f"UCF101 split {options.split}", videos, _PUBLISHED[options.split])
    return Manifest(str(options.annotations), tuple(videos), (*notes, *counts, files.note()), classes)


def _check_class_list(file: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Raise unless classInd.txt says the official names and numbers; a note if there is no such file."""
    if not file.is_file():
        return (f"there is no {file}: the official class numbers were taken",)
    found = [line.split() for line in read_text_lines(file)]
    for number, fields in enumerate(found, start=1):
        if fields and (number > len(classes) or fields != [str(number), classes[number - 1]]):
            expected = f"{number} {classes[number - 1]}" if number <= len(classes) else "no more lines"
            raise InvalidManifest(f"{file} line {number}: {' '.join(fields)!r}; expected {expected!r}")
    count = sum(map(bool, found))
    if count != len(classes):
        raise InvalidManifest(f"{file} has {count} classes; expected the {len(classes)} of UCF101")
    return ()


def _read_line(place: str, line: str, index: dict[str, int]) -> tuple[str, str, str]:
    """Name, class and group of a line such as "Archery/v_Archery_g08_c01.avi 3"; test lists have no numbers."""
    name, *numbers = line.split()
    label, slash, file = name.partition("/")
    if not slash or len(numbers) > 1:
        raise InvalidManifest(f"{place}: {line.strip()!r}; expected Class/file.avi, and the class number if any")
    check_label(place, label, index)
    if numbers and numbers != [str(index[label])]:
        raise InvalidManifest(f"{place}: {label} has the number {numbers[0]}; expected {index[label]}, counted from 1")
    group = re.search(r"_(g\d+)_c\d+\.\w+$", file)
    if group is None:
        raise InvalidManifest(f"{place}: {file} names no group; expected an ending such as _g01_c01.avi")
    return name, label, f"{label} {group[1]}"
