"""A folder as Hugging Face datasets' VideoFolder reads it comes in; labelled videos go out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewframes.data.folders import VIDEO_SUFFIXES, visible_files
from fewframes.data.importers.files import check_folder, repeat_notes
from fewframes.data.importers.folder import named_after
from fewframes.data.importers.listing import (
    classes_if_numbers,
    joined,
    label_texts,
    load_class_names,
    missing_note,
    named_labels,
    split_of_name,
)
from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_table
from fewframes.errors import InvalidManifest, UnknownName

__all__ = ["HuggingFaceImport", "read_huggingface"]

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_LABEL_COLUMNS = ("label", "labels")


@dataclass(frozen=True)
class HuggingFaceImport:
    """Read a VideoFolder of Hugging Face datasets: class folders, or videos beside a metadata.csv, .jsonl or .parquet.

    Example: fewframes data import huggingface my_dataset --label-column action --output list.csv
    """

    videos: Path
    """The folder, with or without train, validation and test below it."""
    label_column: str = ""
    """The metadata's column of labels. By default label, or else labels."""
    file_column: str = "file_name"
    """The metadata's column of paths, which are relative to the metadata file."""
    classes: str = ""
    """Class names in label-index order: an official list such as kinetics400, or a file with one name a line. By
    default the labels that occur, sorted."""


@dataclass(frozen=True)
class _Row:
    place: str
    path: Path | str
    labels: tuple[str, ...]
    split: str | None


def read_huggingface(options: HuggingFaceImport) -> Manifest:
    """Read a VideoFolder. A metadata file switches the labels of folders off, as it does in Hugging Face datasets.

    Labels may be class names or numbers, one or a list. Numbers stand for `classes`; without those they stay numbers,
    as text. The splits of folders such as training, validation and eval become "train", "val" and "test".

    Raises:
        InvalidManifest: two metadata files in one folder, one that cannot be read or lacks a column, a label that is
            none of the classes, or no videos.
        UnknownName: there are no such `classes`.
        UsageError: there is no such folder.
    """
    root = options.videos
    check_folder(root, "folder of videos")
    files = visible_files(root)
    metadata = [file for file in files if file.name in _METADATA]
    for folder in {file.parent for file in metadata}:
        names = [file.name for file in metadata if file.parent == folder]
        if len(names) > 1:
            raise InvalidManifest(f"{folder} holds {' and '.join(names)}; keep one of them")
    return _from_metadata(options, metadata, files) if metadata else _from_folders(options, files)


def _from_folders(options: HuggingFaceImport, files: Sequence[Path]) -> Manifest:
    """The label is the name of the folder that a video lies in; splits are folders at the top, or there are none."""
    root = options.videos
    found = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    if not found:
        raise InvalidManifest(f"{root} holds neither videos nor a metadata file; expected such as train/walk/a.mp4")
    folders = [file.relative_to(root).parts[:-1] for file in found]
    with_splits = all(_split(parts[:1]) for parts in folders)
    videos = []
    for file, parts in zip(found, folders, strict=True):
        inside = parts[1:] if with_splits else parts
        videos.append(Video(file, inside[-1:], _split(parts[:1]) if with_splits else None))
    notes = ["there is no metadata file: labels are the folders' names"]
    loose = [video.path for video in videos if not video.labels]
    if loose:
        notes.append(f"{len(loose):,} videos lie in no class folder and have no label, the first is {loose[0]}")
    manifest = Manifest(str(root), tuple(videos), tuple(notes))
    return named_after(manifest, options.classes) if options.classes else manifest


def _from_metadata(options: HuggingFaceImport, metadata: Sequence[Path], files: Sequence[Path]) -> Manifest:
    rows: list[_Row] = []
    notes: list[str] = []
    for file in metadata:
        found, more = _read(file, options)
        rows += found
        notes += more
    if not rows:
        raise InvalidManifest(f"{metadata[0]} lists no videos; expected rows of {options.file_column} and label")
    listed = {row.path for row in rows}
    unlisted = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES and file not in listed]
    if unlisted:
        count = f"{len(unlisted):,} videos are in no metadata file"
        notes.append(f"{count} and were passed over, the first is {unlisted[0]}")
    if options.classes:
        classes: tuple[str, ...] | None = load_class_names(options.classes)
    else:
        classes = classes_if_numbers(str(options.videos), (label for row in rows for label in row.labels))
    index = {name: number for number, name in enumerate(classes or ())}
    videos = [
        Video(row.path, named_labels(row.place, row.labels, index) if classes else row.labels, row.split)
        for row in rows
    ]
    notes = [missing_note(video.path for video in videos), *notes, *repeat_notes(videos)]
    return Manifest(str(options.videos), tuple(videos), tuple(notes), classes)


def _read(file: Path, options: HuggingFaceImport) -> tuple[list[_Row], list[str]]:
    header, rows = read_table(file)
    if options.file_column not in header:
        raise InvalidManifest(
            f"{file}: no column {options.file_column!r} in {','.join(header)}; name it as file_column"
        )
    column = options.label_column or next((name for name in _LABEL_COLUMNS if name in header), "")
    if options.label_column and options.label_column not in header:
        raise InvalidManifest(f"{file}: {UnknownName('column', options.label_column, header)}")
    others = [name for name in header if name not in (options.file_column, column)]
    note = f"{file} switches the labels of folders off; labels are its column {column}"
    if not column:
        note = f"{file} switches the labels of folders off and has none itself: its rows have no label"
    notes = [note + (f"; not used: {', '.join(others)}" if others else "")]
    inside = file.parent.relative_to(options.videos).parts
    found = []
    for where, row in rows:
        name = row.get(options.file_column)
        if not isinstance(name, str) or not name.strip():
            raise InvalidManifest(f"{file} {where}: {options.file_column} is {name!r}; expected a path")
        labels = label_texts(f"{file} {where}", column, row.get(column)) if column else ()
        split = _split((*inside, *Path(name).parts[:-1]))
        found.append(_Row(f"{file} {where}", joined(file.parent, name), labels, split))
    return found, notes


def _split(parts: Sequence[str]) -> str | None:
    """The split of the first folder that is called like one."""
    return next(filter(None, (split_of_name(part) for part in parts if part.isalpha())), None)
