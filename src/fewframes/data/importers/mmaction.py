"""Lists of MMAction2, of videos or of folders of frames, come in; labelled videos go out."""

from __future__ import annotations

from collections.abc import Sequence
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

__all__ = ["MmactionImport", "read_mmaction"]


@dataclass(frozen=True)
class MmactionImport:
    """Read lists of MMAction2: a path and class numbers a line, or a folder of frames, its length and class numbers.

    Example: fewframes data import mmaction k400_val_list_videos.txt --videos k400/val --classes label_map.txt
    """

    lists: tuple[Path, ...]
    """The files; a file's name tells its split."""
    videos: Path | None = None
    """Folder that relative paths belong to (data_prefix). By default that of each list."""
    classes: str = ""
    """Class names: a label_map.txt with one name a line, or an official list such as kinetics400. By default the
    numbers."""
    kind: Literal["auto", "videos", "frames"] = "auto"
    """Whether lines name videos or folders of frames. By default frames if the first path is a folder, or
    has no video's ending."""


class _Line(NamedTuple):
    place: str
    path: Path | str
    numbers: tuple[int, ...]
    split: str | None


def read_mmaction(options: MmactionImport) -> Manifest:
    """Read `path label [label ...]` or `folder total_frames label [label ...]` lines; labels count from 0.

    All numbers at a line's end are numbers, so paths may hold spaces; a path that ends in a number behind a space is
    recognised if it exists, or if it stands in double quotes. Several labels make a row with several labels. A folder
    of frames becomes a row whose path is that folder. Without `classes`, the labels are the numbers as text.

    Raises:
        InvalidManifest: no such file, a line without a class number, a number without a name.
        UnknownName: there are no such `classes`.
        UsageError: no list was given.
    """
    if not options.lists:
        raise UsageError("no list was given; name at least one, such as k400_val_list_videos.txt")
    lines: list[_Line] = []
    kinds: dict[str, None] = {}
    for path in options.lists:
        found, kind = _read(path, options)
        lines += found
        kinds[kind] = None
    source = ", ".join(map(str, options.lists))
    notes: list[str] = []
    if options.classes:
        classes = load_class_names(options.classes)
    else:
        classes = numbers_as_classes(source, (number for line in lines for number in line.numbers))
        notes.append("the list names no classes: the labels are its numbers; name them with `classes`")
    if "frames" in kinds:
        notes.append("rows are folders of frames; the numbers of frames in the list are not used")
    videos = [_video(line, classes) for line in lines]
    notes = [missing_note(video.path for video in videos), *notes, *repeat_notes(videos)]
    return Manifest(source, tuple(videos), tuple(notes), classes)


def _video(line: _Line, classes: Sequence[str]) -> Video:
    labels = tuple(class_at(line.place, number, classes) for number in line.numbers)
    if len(set(labels)) != len(labels):
        raise InvalidManifest(f"{line.place}: a class number occurs twice in {' '.join(map(str, line.numbers))}")
    return Video(line.path, labels, line.split)


def _read(path: Path, options: MmactionImport) -> tuple[list[_Line], str]:
    texts = {number: text.strip() for number, text in enumerate(read_text_lines(path), start=1) if text.strip()}
    if not texts:
        raise InvalidManifest(f"{path} is empty; expected lines such as: abseiling/a.mp4 0")
    folder = options.videos or path.parent
    kind = _kind(next(iter(texts.values())), folder) if options.kind == "auto" else options.kind
    split = split_of_name(path.stem)
    lines = []
    for number, text in texts.items():
        place = f"{path} line {number}"
        name, numbers = _parts(text, folder, least=2 if kind == "frames" else 1)
        if len(numbers) < (2 if kind == "frames" else 1):
            wanted = "folder 120 0" if kind == "frames" else "abseiling/a.mp4 0"
            raise InvalidManifest(
                f"{place}: {text!r} has no class number; a list of {kind} has lines such as: {wanted}"
            )
        lines.append(_Line(place, joined(folder, name), numbers[1:] if kind == "frames" else numbers, split))
    return lines, kind


def _kind(text: str, folder: Path) -> Literal["videos", "frames"]:
    name, _ = _parts(text, folder, least=1)
    is_video = Path(name).suffix.lower() in VIDEO_SUFFIXES and not (folder / name).is_dir()
    return "videos" if is_video else "frames"


def _parts(text: str, folder: Path, *, least: int) -> tuple[str, tuple[int, ...]]:
    """The path of a line, and the whole numbers behind it, of which it should have at least `least`."""
    quoted, end = _quoted_start(text)
    if quoted is not None:
        fields = text[end:].split()
        return (quoted, tuple(map(int, fields))) if all(map(_is_number, fields)) else (text, ())
    words = text.split()
    numbers = 0
    while numbers < len(words) - 1 and _is_number(words[-1 - numbers]):
        numbers += 1
    name = _without_words(text, numbers)
    if numbers > least and not _exists(folder, name):
        for fewer in range(numbers - 1, least - 1, -1):
            if _exists(folder, _without_words(text, fewer)):
                name, numbers = _without_words(text, fewer), fewer
                break
    return name, tuple(map(int, words[len(words) - numbers :]))


def _quoted_start(text: str) -> tuple[str | None, int]:
    """The path in double quotes that a line begins with, and where it ends; None if it begins with none."""
    end = text.rfind('"')
    if not text.startswith('"') or end == 0:
        return None, 0
    return text[1:end].replace('""', '"'), end + 1


def _without_words(text: str, count: int) -> str:
    """A line without its last words, the spaces inside it as they are."""
    return text.rsplit(None, count)[0] if count else text


def _exists(folder: Path, name: str) -> bool:
    return "://" in name or (folder / name).exists()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
