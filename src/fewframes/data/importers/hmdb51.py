"""The lists of HMDB51 and a folder of videos come in; a list of labelled videos of one split goes out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewframes.classes import official_labels
from fewframes.data.importers.files import (
    VideoFiles,
    check_folder,
    check_label,
    count_notes,
    group_notes,
    read_text_lines,
)
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest

__all__ = ["Hmdb51Import", "read_hmdb51"]

_SPLITS = {"1": "train", "2": "test"}
_PUBLISHED = {"train": (51 * 70,), "test": (51 * 30,)}


@dataclass(frozen=True)
class Hmdb51Import:
    """Read the lists of HMDB51: {class}_test_split{1,2,3}.txt, one for each of the 51 classes.

    The clips cut from one source, which the file name begins with, are a group within their class.

    Example: fewframes data import hmdb51 hmdb51_org testTrainMulti_7030_splits --split 1 --output hmdb51.csv
    """

    videos: Path
    """Folder of the unpacked videos, with a folder for each class; other endings than .avi will do."""
    annotations: Path
    """Folder of the lists: testTrainMulti_7030_splits."""
    split: Literal[1, 2, 3] = 1
    """Which of the three splits; published results are the mean of all three."""


def read_hmdb51(options: Hmdb51Import) -> Manifest:
    """The training and test videos of one split, class by class, whether or not their files exist.

    Videos marked 0 belong to neither part of the split: they are left out, and a note counts them.

    Raises:
        InvalidManifest: a list is missing, damaged, of a class that is not official, or lists a video twice.
        UsageError: one of the folders does not exist.
    """
    check_folder(options.annotations, "folder of lists")
    classes = official_labels("hmdb51")
    ending = f"_test_split{options.split}.txt"
    for file in sorted(options.annotations.glob(f"*{ending}")):
        check_label(str(file), file.name.removesuffix(ending), classes)
    missing = [label for label in classes if not (options.annotations / f"{label}{ending}").is_file()]
    if missing:
        raise InvalidManifest(
            f"{options.annotations} lacks the lists of {len(missing)} of {len(classes)} classes, "
            f"the first is {missing[0]}{ending}"
        )
    files = VideoFiles(options.videos)
    videos: list[Video] = []
    unused = 0
    for label in classes:
        list_file = options.annotations / f"{label}{ending}"
        seen: dict[str, int] = {}
        for number, line in enumerate(read_text_lines(list_file), start=1):
            if not line.strip():
                continue
            name, mark = _read_line(f"{list_file} line {number}", line)
            if seen.setdefault(name, number) != number:
                raise InvalidManifest(f"{list_file} line {number}: {name} was listed before, in line {seen[name]}")
            if mark == "0":
                unused += 1
                continue
            path = files.locate(f"{label}/{name}", name)
            videos.append(Video(path, (label,), _SPLITS[mark], _group_of(name, label)))
    if not videos:
        raise InvalidManifest(f"{options.annotations} marks no video 1 for training or 2 for testing")
    return Manifest(str(options.annotations), tuple(videos), _notes(options, videos, unused, files), classes)


def _read_line(place: str, line: str) -> tuple[str, str]:
    """Name and mark of a line such as "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 "."""
    fields = line.strip().rsplit(None, 1)
    if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
        raise InvalidManifest(f"{place}: {line.strip()!r}; expected a file name and 1 (train), 2 (test) or 0 (neither)")
    return fields[0], fields[1]


def _group_of(name: str, label: str) -> str | None:
    """Class and source of a name such as {source}_{class}_{body}_{camera}_{people}_{view}_{quality}_{number}.avi."""
    source = re.fullmatch(rf"(.+)_{re.escape(label)}_[a-z]+_[a-z]+_np\d+_[a-z]+_[a-z]+_\d+\.\w+", name)
    return None if source is None else f"{label} {source[1]}"


def _notes(options: Hmdb51Import, videos: list[Video], unused: int, files: VideoFiles) -> tuple[str, ...]:
    title = f"HMDB51 split {options.split}"
    ungrouped = sum(video.group is None for video in videos)
    return (
        *count_notes(title, videos, _PUBLISHED),
        f"{title}: {unused:,} videos are marked 0, for neither training nor testing, and were left out",
        *((f"{ungrouped:,} file names do not tell their source, so they have no group",) if ungrouped else ()),
        *group_notes(videos, "sources"),
        files.note(),
    )
