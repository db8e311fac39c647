"""Lists of `path label` lines, as SlowFast, VideoMAE and TimeSformer read them, come in; labelled videos go out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from fewframes.data.folders import VIDEO_SUFFIXES
from fewframes.data.importers.files import read_text_lines, repeat_notes
from fewframes.data.importers.listing import (
    class_at,
    joined,
    load_class_names,
    missing_note,
    numbers_as_classes,
    split_of_name,
)
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError

__all__ = ["FrameListsImport", "read_frame_lists"]

# In this order: a path may hold spaces where commas or tabs part the fields, but no number ends in a comma.
_SEPARATORS: Mapping[str, str] = {"tab": "\t", "comma": ",", "space": " "}
_IN_FOLDER = ("train.csv", "val.csv", "test.csv")
_TRIED = 100


@dataclass(frozen=True)
class FrameListsImport:
    """Read lists of SlowFast, VideoMAE, TimeSformer and the like: on each line a path and a class number.

    Example: fewframes data import frame-lists train.csv val.csv --classes kinetics400 --output list.csv
    """

    lists: tuple[Path, ...]
    """The files; a file's name tells its split. Or a folder that holds train.csv, val.csv or test.csv."""
    videos: Path | None = None
    """Folder that relative paths belong to. By default that of each list."""
    classes: str = ""
    """Class names: an official list such as kinetics400, or a file with one name a line. By default the numbers."""
    separator: Literal["auto", "space", "comma", "tab"] = "auto"
    """What parts the fields. By default what fits every line; a path may hold it too."""
    frame_counts: Literal["auto", "present", "absent"] = "auto"
    """Whether a number of frames stands before the class number. By default if it does so on every line."""


class _Line(NamedTuple):
    place: str
    path: str
    number: int


def read_frame_lists(options: FrameListsImport) -> Manifest:
    """Read `path label` or `path frames label` lines; the label is a class number from 0 on.

    A line is parted at its last separators, so that paths may hold spaces; they may also stand in double quotes.
    Without `classes`, the labels are the numbers as text.

    Raises:
        InvalidManifest: no such file, a file of another form, a line without a class number, a number without a name.
        UnknownName: there are no such `classes`.
        UsageError: no list was given.
    """
    classes = load_class_names(options.classes) if options.classes else None
    found: list[tuple[_Line, Path | str, str | None]] = []
    notes: list[str] = []
    for path in _files(options.lists):
        lines, counted = _read(path, options)
        folder = options.videos or path.parent
        found += [(line, joined(folder, line.path), split_of_name(path.stem)) for line in lines]
        if counted:
            notes.append(f"the numbers of frames in {path} are not used")
    if classes is None:
        names = numbers_as_classes(", ".join(map(str, options.lists)), (line.number for line, _, _ in found))
        notes.append("the list names no classes: the labels are its numbers; name them with `classes`")
    else:
        names = classes
    videos = [Video(path, (class_at(line.place, line.number, names),), split) for line, path, split in found]
    notes = [missing_note(video.path for video in videos), *notes, *repeat_notes(videos)]
    return Manifest(", ".join(map(str, options.lists)), tuple(videos), tuple(notes), names)


def _files(lists: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in lists:
        if not path.is_dir():
            files.append(path)
            continue
        inside = [path / name for name in _IN_FOLDER if (path / name).is_file()]
        if not inside:
            raise InvalidManifest(f"{path} holds none of {', '.join(_IN_FOLDER)}; give the list files themselves")
        files += inside
    if not files:
        raise UsageError("no list was given; name at least one, such as train.csv")
    return files


def _read(path: Path, options: FrameListsImport) -> tuple[list[_Line], bool]:
    """The lines of one file, and whether they hold numbers of frames."""
    texts = {number: text.strip() for number, text in enumerate(read_text_lines(path), start=1) if text.strip()}
    if not texts:
        raise InvalidManifest(f"{path} is empty; expected lines such as: videos/a.mp4 12")
    _check_form(path, next(iter(texts.values())))
    separator = _separator(path, texts, options.separator)
    # A field for each line: (what stands before the class number, the class number).
    parted = {number: _part(text, separator) for number, text in texts.items()}
    heads = [head for head, _ in filter(None, parted.values())]
    folder = options.videos or path.parent
    counted = options.frame_counts == "present" or (
        options.frame_counts == "auto" and _have_frame_counts(heads, separator, folder)
    )
    lines = []
    for number, fields in parted.items():
        place = f"{path} line {number}"
        assert fields is not None, "_separator fits every line"
        name = fields[0]
        if counted:
            shorter = _part(name, separator)
            if shorter is None:
                raise InvalidManifest(f"{place}: no number of frames before the class number in {texts[number]!r}")
            name = shorter[0]
        lines.append(_Line(place, _unquoted(name), fields[1]))
    return lines, counted


def _check_form(path: Path, first: str) -> None:
    """Raise if the first line is that of a list which another importer reads."""
    if "youtube_id" in first:
        raise InvalidManifest(f"{path} is an official Kinetics list; read it with `fewframes data import kinetics`")
    if first.startswith(("original_vido_id", "original_video_id")):
        raise InvalidManifest(
            f"{path} is a PySlowFast list of Charades' single frames; give Charades_v1_train.csv and "
            "Charades_v1_test.csv to `fewframes data import charades`"
        )
    if {"path", "label"} <= {name.strip() for name in first.split(",")}:
        raise InvalidManifest(f"{path} names its columns path and label: it needs no import, every command reads it")


def _separator(path: Path, texts: Mapping[int, str], wanted: str) -> str:
    """The separator that parts every line into a path and a class number."""
    tried = list(_SEPARATORS) if wanted == "auto" else [wanted]
    wrong: dict[str, list[int]] = {}
    for name in tried:
        wrong[name] = [number for number, text in texts.items() if _part(text, _SEPARATORS[name]) is None]
        if not wrong[name]:
            return _SEPARATORS[name]
    best = min(tried, key=lambda name: len(wrong[name]))
    number = wrong[best][0]
    raise InvalidManifest(
        f"{path} line {number}: {texts[number]!r} is no path and class number parted by a {best}; "
        "expected such as: videos/a.mp4 12"
    )


def _part(text: str, separator: str) -> tuple[str, int] | None:
    """What stands before the last separator, and the whole number behind it; None if it is none."""
    head, found, tail = text.rpartition(separator)
    head, tail = head.strip(), tail.strip()
    sign_and_digits = tail.removeprefix("-")
    if not found or not head or not (sign_and_digits.isascii() and sign_and_digits.isdigit()):
        return None
    return head, int(tail)


def _have_frame_counts(heads: Sequence[str], separator: str, folder: Path) -> bool:
    """Whether each path is followed by a number that does not belong to it."""
    shorter = [_part(head, separator) for head in heads]
    if not all(shorter):
        return False
    if any(Path(each[0]).suffix.lower() in VIDEO_SUFFIXES for each in shorter if each):
        return True
    # Folders of frames whose names end in numbers, "walk 3", look the same: then the disk decides, if it can.
    longer = any(Path(folder, _unquoted(head)).exists() for head in heads[:_TRIED])
    return not longer or any(Path(folder, _unquoted(each[0])).exists() for each in shorter[:_TRIED] if each)


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if quoted else text
