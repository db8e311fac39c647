"""A CSV, JSON-lines or Parquet file, or a folder, comes in; a checked `Manifest` goes out, and back into a file."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fewframes.data.folders import read_class_folders
from fewframes.data.manifest import Manifest, Video, path_from, path_within
from fewframes.errors import InvalidManifest, UnknownName, UsageError

if TYPE_CHECKING:
    import types

__all__ = ["LABEL_SEPARATOR", "classes_file_of", "read_manifest", "read_table", "write_manifest"]

LABEL_SEPARATOR = "|"
_COLUMNS = ("path", "label", "start", "end", "split", "group", "weight")
_FORMATS = (".csv", ".jsonl", ".parquet")
_NEAR = 0.75  # a column whose name is this like a known one is taken for a slip of the pen ...
_PROPER = ("bend", "height", "send", "state", "trend")  # ... but these are words of their own
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_Row = tuple[str, Mapping[str, object]]  # where it is, such as "line 7", and its values by column


@dataclass(frozen=True)
class _Columns:
    """Which columns hold the split and the group."""

    split: str
    group: str


def read_manifest(source: str | Path, *, split_column: str = "split", group_column: str = "group") -> Manifest:
    """Read a list of labelled videos.

    The columns are `path,label[,start,end,split,group,weight]`. In CSV several labels stand in one field, parted by
    "|"; JSON lines and Parquet take a text or a list of texts. An empty label is none. In CSV, spaces around a field do
    not count. Paths are relative to the list; addresses such as https://... and tar://... stay as they are. If a file
    of the same name with the ending `.labels.txt` lies beside the list, it holds all class names, one a line, in
    label-index order. Columns that are not used are noted.

    Args:
        source: a .csv, .jsonl or .parquet file; or a folder that holds such a file named "manifest"; or a folder of
            class folders, optionally below train, val and test.
        split_column: which column says the split; columns whose names begin with "split" are alternatives.
        group_column: which column says the group.

    Raises:
        InvalidManifest: there is no such file, it is no such list, or it is empty.
    """
    path = Path(source)
    if path.is_dir():
        path = next((path / f"manifest{suffix}" for suffix in _FORMATS if (path / f"manifest{suffix}").is_file()), path)
    if path.is_dir():
        manifest = read_class_folders(path)
    elif path.is_file():
        manifest = _read_file(path, _Columns(split_column, group_column))
    else:
        raise InvalidManifest(f"no list of videos at {path}; expected a CSV file or a folder of class folders")
    if not manifest.videos:
        raise InvalidManifest(f"{path} lists no videos; expected path,label lines, or class folders with videos")
    return manifest


def write_manifest(manifest: Manifest, path: str | Path) -> Path:
    """Write a list so that `read_manifest` gives the same videos and classes; the list at once or not at all.

    Paths below the list's folder are written relative to it, others whole. Columns that no video uses are left out.

    Args:
        manifest: the list.
        path: ends in .csv, .jsonl or .parquet. If the manifest states its classes, they are written beside it; if not,
            the classes of an older list of that name are removed.

    Raises:
        InvalidManifest: a video or the classes are such that no list could be read back.
        UsageError: another ending; a path, label, split or group that CSV cannot hold ("|" in a label, spaces around
            a text); a file that cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in _FORMATS:
        raise UsageError(f"{target} ends in {target.suffix or 'nothing'}; expected {', '.join(_FORMATS)}")
    folder = os.path.join(os.path.abspath(target.parent), "")
    rows = [_row_of(video, folder) for video in manifest.videos]
    for number, row in enumerate(rows, start=1):
        _video(target, f"video {number}", row, _Columns("split", "group"))
    used = [name for name in _COLUMNS if name in ("path", "label") or any(name in row for row in rows)]
    classes_file = classes_file_of(target)
    if manifest.classes is not None:
        _check_classes(manifest, manifest.classes, classes_file)
    try:
        if kind == ".jsonl":
            content = "".join(map(_json_line, rows)).encode()
        else:
            content = _csv_bytes(rows, used) if kind == ".csv" else _parquet_bytes(rows, used)
    except UnicodeEncodeError as error:
        raise UsageError(f"{target}: {error.object!r} is no valid text; write a .jsonl file instead") from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if manifest.classes is None:
            classes_file.unlink(missing_ok=True)
        else:
            _write(classes_file, "".join(f"{name}\n" for name in manifest.classes).encode())
        return _write(target, content)
    except OSError as error:
        raise UsageError(f"cannot write {target} ({error.strerror or error}); choose another place") from error


def classes_file_of(path: Path) -> Path:
    """Where the class names of a list lie: beside it."""
    return path.with_name(f"{path.stem}.labels.txt")


def read_table(path: Path) -> tuple[list[str], list[_Row]]:
    """A .csv, .jsonl or .parquet file: its columns, and of each row the place, such as "line 7", and the values.

    Values of a CSV file are texts without the spaces around them, or None where a field is empty.

    Raises:
        InvalidManifest: it cannot be read as such a file, or it is empty.
        UsageError: a Parquet file where pyarrow is not installed.
    """
    read = {".jsonl": _jsonl_rows, ".parquet": _parquet_rows}.get(path.suffix.lower(), _csv_rows)
    try:
        return read(path)
    except OSError as error:
        raise InvalidManifest(f"cannot read {path}: {error.strerror or error}") from error


def _read_file(path: Path, columns: _Columns) -> Manifest:
    header, rows = read_table(path)
    kind = path.suffix.lower()
    if kind == ".jsonl":  # a line need not hold what it says nothing about
        header = list({"path": None, "label": None} | dict.fromkeys(header))
    unused = _check_header(path, header, columns)
    split = LABEL_SEPARATOR if kind not in (".jsonl", ".parquet") else None
    videos = tuple(_video(path, where, row, columns, label_separator=split) for where, row in rows)
    notes = (f"columns of {path} that are not used: {', '.join(unused)}",) if unused else ()
    manifest = Manifest(str(path), videos, notes)
    return replace(manifest, classes=_read_classes(manifest, classes_file_of(path)))


def _csv_rows(path: Path) -> tuple[list[str], list[_Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidManifest(f"{path} is not a CSV file in UTF-8 ({error}); save it as one") from error
    if not lines:
        raise InvalidManifest(f"{path} is empty; expected a header such as path,label,split")
    header = [name.strip() for name in lines[0][1]]
    rows: list[_Row] = []
    for line, row in lines[1:]:
        if not row:
            continue
        if len(row) != len(header):
            raise InvalidManifest(
                f"{path} line {line}: {len(row)} fields, expected {len(header)} ({','.join(header)}); "
                "put a path that holds a comma in double quotes"
            )
        rows.append((f"line {line}", {name: value.strip() or None for name, value in zip(header, row, strict=True)}))
    return header, rows


def _jsonl_rows(path: Path) -> tuple[list[str], list[_Row]]:
    rows: list[_Row] = []
    header: dict[str, None] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"{path} is not in UTF-8 ({error}); save it so") from error
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidManifest(f"{path} line {number}: not JSON ({error}); expected one object a line") from error
        if not isinstance(values, dict):
            raise InvalidManifest(f"{path} line {number}: expected an object with path and label")
        header.update(dict.fromkeys(values))
        rows.append((f"line {number}", values))
    if not rows:
        raise InvalidManifest(f'{path} is empty; expected lines such as {{"path": "a.mp4", "label": "walk"}}')
    return list(header), rows


def _parquet_rows(path: Path) -> tuple[list[str], list[_Row]]:
    parquet = _pyarrow("pyarrow.parquet")
    try:
        table = parquet.read_table(path)
    except _pyarrow("pyarrow").ArrowException as error:
        raise InvalidManifest(f"{path} is not a Parquet file ({str(error).splitlines()[0]})") from error
    return list(table.column_names), [(f"row {number}", row) for number, row in enumerate(table.to_pylist(), start=1)]


def _check_header(path: Path, header: Sequence[str], columns: _Columns) -> list[str]:
    """The columns that are not used; raises where one is missing, twice there, or probably misspelt."""
    for name in ("path", "label"):
        if name not in header:
            raise InvalidManifest(
                f"{path}: no column {name!r} in {','.join(header)}; expected path,label[,split]; "
                "lists of other forms are read by `fewframes data import`"
            )
    absent = [name for name in _COLUMNS if name not in header]
    unused = []
    for name in header:
        if name in (*_COLUMNS, columns.split, columns.group) or name.startswith("split"):
            continue
        near = difflib.get_close_matches(name.lower(), absent, n=1, cutoff=_NEAR)
        if near and name.lower() not in _PROPER:
            raise InvalidManifest(f"{path}: unknown column {name!r}; did you mean {near[0]!r}?")
        unused.append(name)
    if len(set(header)) != len(header):
        raise InvalidManifest(f"{path}: a column occurs twice in {','.join(header)}")
    splits = [name for name in header if name.startswith("split")]
    if columns.split not in header and (splits or columns.split != "split"):
        raise InvalidManifest(
            f"{path}: no column {columns.split!r}; choose the split column among: {', '.join(splits) or 'none'}"
        )
    if columns.group not in header and columns.group != "group":
        raise InvalidManifest(f"{path}: no column {columns.group!r} for the groups; it has {', '.join(header)}")
    return unused


def _video(
    path: Path, where: str, row: Mapping[str, object], columns: _Columns, *, label_separator: str | None = None
) -> Video:
    place = f"{path} {where}"
    name = row.get("path")
    if not isinstance(name, str) or not name.strip():
        raise InvalidManifest(f"{place}: empty path; expected a file's name")
    start, end = _number(place, row, "start"), _number(place, row, "end")
    if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
        raise InvalidManifest(f"{place}: start is {start} and end is {end}; expected seconds with 0 <= start < end")
    weight = _number(place, row, "weight")
    if weight is not None and weight <= 0:
        raise InvalidManifest(f"{place}: weight is {weight}; expected a number above 0")
    return Video(
        path=path_from(name, path.parent),
        labels=_labels(place, row.get("label"), label_separator),
        split=_text(place, row, columns.split),
        group=_text(place, row, columns.group),
        start=start,
        end=end,
        weight=1.0 if weight is None else weight,
    )


def _labels(place: str, value: object, separator: str | None) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    labels: object = value
    if isinstance(value, str):
        labels = [value] if separator is None else [each.strip() for each in value.split(separator)]
    if not isinstance(labels, list | tuple) or not all(isinstance(label, str) and label for label in labels):
        raise InvalidManifest(f"{place}: label is {value!r}; expected one text, or several")
    if len(set(labels)) != len(labels):
        raise InvalidManifest(f"{place}: a label occurs twice in {value!r}")
    return tuple(labels)


def _text(place: str, row: Mapping[str, object], column: str) -> str | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise InvalidManifest(f"{place}: {column} is {value!r}; expected a text")


def _number(place: str, row: Mapping[str, object], column: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidManifest(f"{place}: {column} is {value!r}; expected a number")
    return number


def _read_classes(manifest: Manifest, file: Path) -> tuple[str, ...] | None:
    if not file.is_file():
        return None
    try:
        classes = tuple(filter(None, map(str.strip, file.read_text(encoding="utf-8-sig").split("\n"))))
    except UnicodeDecodeError as error:
        raise InvalidManifest(f"{file} is not in UTF-8 ({error}); save it so") from error
    except OSError as error:
        raise InvalidManifest(f"cannot read {file}: {error.strerror or error}") from error
    _check_classes(manifest, classes, file)
    return classes


def _check_classes(manifest: Manifest, classes: tuple[str, ...], file: Path) -> None:
    """Raise unless the names can stand one a line, each once, and every label is among them."""
    known = set(classes)
    if len(known) != len(classes):
        raise InvalidManifest(f"{file}: a class occurs twice; expected each name once, in label-index order")
    for name in classes:
        if not name or name != name.strip() or "\n" in name or "\r" in name:
            raise InvalidManifest(f"{file}: {name!r} cannot stand on a line of its own; rename the class")
    for video in manifest.videos:
        for label in video.labels:
            if label not in known:
                raise InvalidManifest(
                    f"{manifest.source}: the label of {video.path} is not in {file.name}: "
                    f"{UnknownName('label', label, classes)}"
                )


def _row_of(video: Video, folder: str) -> dict[str, object]:
    """What is written of a video, only the values that say something; `folder` is that of the list, and ends in /."""
    row: dict[str, object] = {"path": path_within(video.path, folder)}
    # A list for one label that is empty: `_labels` refuses it, where an empty text would stand for no label.
    row["label"] = video.labels[0] if len(video.labels) == 1 and video.labels[0] else list(video.labels)
    optional = {"start": video.start, "end": video.end, "split": video.split, "group": video.group}
    row.update({name: value for name, value in optional.items() if value not in (None, "")})
    if video.weight != 1.0:
        row["weight"] = video.weight
    return row


def _json_line(row: Mapping[str, object]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    # Half of a surrogate pair, as in a file name that is no UTF-8, survives as an escape only.
    return (json.dumps(row) if _HALF_A_PAIR.search(text) else text) + "\n"


def _csv_bytes(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    lines = [_csv_line(columns)]
    for row in rows:
        labels = row["label"] if isinstance(row["label"], list) else [row["label"]]
        if any(LABEL_SEPARATOR in str(label) for label in labels):
            raise UsageError(f"the label of {row['path']} holds {LABEL_SEPARATOR!r}; write a .jsonl file instead")
        for value in (*labels, *(row.get(name) for name in ("path", "split", "group"))):
            if isinstance(value, str) and value != value.strip():
                raise UsageError(f"CSV cannot hold the spaces around {value!r}; write a .jsonl file instead")
        written = {**row, "label": LABEL_SEPARATOR.join(map(str, labels))}
        lines.append(_csv_line([written.get(name, "") for name in columns]))
    return "".join(lines).encode()


def _csv_line(values: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)  # so that it quotes each of the two
    return text.getvalue().removesuffix("\r\n") + "\n"


def _parquet_bytes(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    arrow, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    single = all(isinstance(row["label"], str) for row in rows)
    types = dict.fromkeys(("start", "end", "weight"), arrow.float64())
    types["label"] = arrow.string() if single else arrow.list_(arrow.string())
    values = {name: [row.get(name) for row in rows] for name in columns}
    if not single:
        values["label"] = [[label] if isinstance(label, str) else label for label in values["label"]]
    schema = arrow.schema([(name, types.get(name, arrow.string())) for name in columns])
    file = io.BytesIO()
    parquet.write_table(arrow.table(values, schema=schema), file)
    return file.getvalue()


def _pyarrow(name: str) -> types.ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError("Parquet lists need pyarrow; install it: pip install 'fewframes[parquet]'") from error


def _write(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        return part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
