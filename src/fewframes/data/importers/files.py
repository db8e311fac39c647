"""Annotation files and a folder of videos come in; checked rows, found paths and sentences about both go out."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fewframes.data.folders import VIDEO_SUFFIXES, visible_files
from fewframes.data.manifest import Video
from fewframes.errors import InvalidManifest, UsageError

__all__ = [
    "Row",
    "VideoFiles",
    "check_folder",
    "check_label",
    "count_notes",
    "group_notes",
    "read_csv_rows",
    "read_json",
    "read_text_lines",
    "repeat_notes",
]


@dataclass(frozen=True)
class Row:
    """One line of an annotation file.

    Attributes:
        place: the file and the line, such as "train.csv line 7"; messages begin with it.
        values: the fields by column, without the blanks around them.
    """

    place: str
    values: Mapping[str, str]


def check_folder(folder: Path, what: str) -> None:
    """Raise `UsageError` unless this is a folder; `what` says which one, such as "folder of videos"."""
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"the {what} {folder} {found}; expected a folder")


def read_text_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, with or without a byte order mark, ended by LF or CRLF; blanks stay.

    A line's number is its index + 1. Raises `InvalidManifest` if there is no such file, or not in UTF-8.
    """
    lines = _read_text(path).replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_csv_rows(path: Path, *, columns: Sequence[str] | None = None, delimiter: str = ",") -> list[Row]:
    """The rows of a CSV file whose first line names the columns, in any order; empty lines are passed over.

    Args:
        path: a file in UTF-8, with or without a byte order mark, ended by LF or CRLF.
        columns: the names where the file has no header line.
        delimiter: what parts the fields.

    Raises:
        InvalidManifest: no such file, not CSV in UTF-8, a line with more or fewer fields than columns, no header line,
            or a column twice in it.
    """
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True, delimiter=delimiter)
    rows: list[Row] = []
    names = None if columns is None else list(columns)
    try:
        for fields in reader:
            place = f"{path} line {reader.line_num}"
            if not any(field.strip() for field in fields):
                continue
            if names is None:
                names = [field.strip() for field in fields]
                if len(set(names)) != len(names):
                    raise InvalidManifest(f"{place}: a column occurs twice in {','.join(names)}")
                continue
            if len(fields) != len(names):
                raise InvalidManifest(f"{place}: {len(fields)} fields, expected {len(names)} ({','.join(names)})")
            rows.append(Row(place, dict(zip(names, map(str.strip, fields), strict=True))))
    except csv.Error as error:
        raise InvalidManifest(f"{path} line {reader.line_num}: not CSV ({error})") from error
    if names is None:
        raise InvalidManifest(f"{path} is empty; expected a line that names the columns")
    return rows


def read_json(path: Path) -> object:
    """What a JSON file holds. Raises `InvalidManifest` if there is no such file, or it is not JSON in UTF-8."""
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise InvalidManifest(f"{path} line {error.lineno}: not JSON ({error.msg})") from error


def check_label(place: str, label: str, classes: Collection[str]) -> None:
    """Raise `InvalidManifest` unless a label is, letter for letter, one of the classes; the nearest one is named.

    For long lists give the classes as a dict or set, which finds a label at once.
    """
    if label in classes:
        return
    near = difflib.get_close_matches(label, classes, n=1, cutoff=0.5)
    hint = f"the nearest one is {near[0]!r}" if near else f"such as {next(iter(classes))!r}"
    raise InvalidManifest(f"{place}: the label {label!r} is none of the {len(classes)} classes; {hint}")


class VideoFiles:
    """Where the listed videos lie below a folder, which is searched once.

    Args:
        folder: the folder of videos. Raises `UsageError` if it is none.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder, "folder of videos")
        self.folder = folder
        self._asked = 0
        self._missing: list[Path] = []
        self._by_stem: dict[str, list[PurePosixPath]] = {}
        for file in visible_files(folder):
            if file.suffix.lower() in VIDEO_SUFFIXES:
                inside = PurePosixPath(file.relative_to(folder).as_posix())
                self._by_stem.setdefault(inside.stem, []).append(inside)

    def find(self, *names: str) -> Path | None:
        """The file for the first name that fits one, or None.

        A name fits a file whose path ends with it, folder by folder: "run/a.mp4" fits train/run/a.mp4, not sprun/a.mp4.
        If no file has the name's ending, or it has none, any other video ending will do: a.webm for "a.avi".

        Raises:
            InvalidManifest: a name fits several files equally well.
        """
        absent = ""  # Many names differ in their folders only: what fits none of them is looked up once.
        for name in names:
            if absent and name.endswith(absent):
                continue
            *folders, last = name.split("/")
            stem, dot, ending = last.rpartition(".")
            if f".{ending.lower()}" not in VIDEO_SUFFIXES:
                stem, dot, ending = last, "", ""
            fits = self._by_stem.get(stem, [])
            if not fits:
                absent = f"/{last}"
                continue
            if folders:
                fits = [file for file in fits if list(file.parts[-1 - len(folders) : -1]) == folders]
            fits = [file for file in fits if file.suffix == dot + ending] or fits
            fits = [file for file in fits if len(file.parts) == 1 + len(folders)] or fits
            if len(fits) > 1:
                raise InvalidManifest(
                    f"two files in {self.folder} may be the video {name}: {fits[0]} and {fits[1]}; "
                    "give the folder that holds only one of them"
                )
            if fits:
                return self.folder / fits[0]
        return None

    def locate(self, expected: str, *others: str, before: Sequence[str] = ()) -> Path:
        """The file that `find` gives for these names, or else where it is expected to lie; missing ones are counted.

        Names in `before` are tried before the expected one.
        """
        self._asked += 1
        found = self.find(*before, expected, *others)
        if found is not None:
            return found
        self._missing.append(self.folder / expected)
        return self._missing[-1]

    def note(self) -> str:
        """A sentence: how many of the videos asked for by `locate` exist, and which is the first that does not."""
        if not self._missing:
            return f"all {self._asked:,} listed videos are in {self.folder}"
        return (
            f"{len(self._missing):,} of {self._asked:,} listed videos are not in {self.folder}, "
            f"the first is {self._missing[0]}"
        )


def count_notes(
    title: str, videos: Iterable[Video], published: Mapping[str, Sequence[int]] | None = None
) -> tuple[str, ...]:
    """Sentences: how many videos each split lists, and where that is not what was published.

    Args:
        title: what is counted, such as "UCF101 split 1".
        videos: the rows.
        published: the known numbers of each split; several where copies differ.
    """
    counts = Counter(video.split or "no split" for video in videos)
    notes = [f"{title}: " + (", ".join(f"{count:,} {split}" for split, count in counts.items()) or "no videos")]
    for split, known in (published or {}).items():
        if known and counts[split] not in known:
            numbers = " or ".join(f"{number:,}" for number in sorted(known))
            have = "copies have" if len(known) > 1 else "list has"
            notes.append(f"{title}: {counts[split]:,} {split} videos are listed where the published {have} {numbers}")
    return tuple(notes)


def group_notes(videos: Iterable[Video], what: str) -> tuple[str, ...]:
    """A sentence if groups have videos in several splits; `what` names the groups, such as "source videos"."""
    splits: dict[str, set[str | None]] = {}
    for video in videos:
        if video.group is not None:
            splits.setdefault(video.group, set()).add(video.split)
    torn = [group for group, found in splits.items() if len(found) > 1]
    if not torn:
        return ()
    return (f"{len(torn):,} {what} have clips in several splits, the first is {torn[0]}",)


def repeat_notes(videos: Iterable[Video]) -> tuple[str, ...]:
    """A sentence if the same part of the same file is listed more than once."""
    counts = Counter((video.path, video.start, video.end) for video in videos)
    again = [(key[0], count) for key, count in counts.items() if count > 1]
    if not again:
        return ()
    extra = sum(count - 1 for _, count in again)
    return (f"{extra:,} lines list a video again that was listed before, the first is {again[0][0]}",)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidManifest(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"{path} is not in UTF-8 ({error}); save it so") from error
