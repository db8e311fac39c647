"""A scan's report comes in, plain values for JSON go out; a scan.json comes in, the report goes out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fewframes.errors import UsageError
from fewframes.records import Failure, VideoInfo
from fewframes.scan_records import ClassCount, Duplicate, FileScan, LabelConflict, Leak, RepeatedRow, ScanReport

__all__ = ["read_scan", "scan_from_json", "scan_to_json"]

Record = TypeVar("Record")


def scan_to_json(report: ScanReport) -> dict[str, Any]:
    """Every field of a report as dicts, lists, texts, numbers, booleans and None."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(report), allow_nan=False))
    return plain


def scan_from_json(data: Mapping[str, Any]) -> ScanReport:
    """The report that `scan_to_json` was given.

    Raises:
        UsageError: a field is missing, unknown or of the wrong form.
    """
    try:
        return ScanReport(
            **{
                **data,
                "files": _each(data["files"], _file),
                "failures": _each(data["failures"], _maker(Failure)),
                "cut_parts": _each(data["cut_parts"], _maker(Failure)),
                "duplicates": _each(data["duplicates"], _maker(Duplicate, "paths")),
                "leaks": _each(data["leaks"], _maker(Leak, "splits", "paths")),
                "conflicts": _each(data["conflicts"], _conflict),
                "repeated": _each(data["repeated"], _maker(RepeatedRow)),
                "class_counts": _each(data["class_counts"], _maker(ClassCount)),
                "notes": tuple(data["notes"]),
            }
        )
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError(
            f"not the report of a scan: {error}; expected the scan.json of this version of fewframes data scan"
        ) from error


def read_scan(path: str | Path) -> ScanReport:
    """Read a scan.json.

    Raises:
        UsageError: the file cannot be read, or is no such report.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the scan {path}: {error}; expected the scan.json of a scan") from error
    if not isinstance(data, dict):
        raise UsageError(f"cannot read the scan {path}: it holds a {type(data).__name__}, expected one JSON object")
    return scan_from_json(data)


def _each(items: list[Any], make: Callable[[Any], Record]) -> tuple[Record, ...]:
    return tuple(map(make, items))


def _maker(kind: Callable[..., Record], *tuples: str) -> Callable[[Any], Record]:
    """What makes such a record from its plain fields; those named in `tuples` are sequences."""
    return lambda fields: kind(**{**fields, **{name: tuple(fields[name]) for name in tuples}})


def _file(fields: Mapping[str, Any]) -> FileScan:
    info = fields["info"]
    return FileScan(**{**fields, "info": None if info is None else VideoInfo(**info)})


def _conflict(fields: Mapping[str, Any]) -> LabelConflict:
    labels, paths = tuple(map(tuple, fields["labels"])), tuple(fields["paths"])
    return LabelConflict(**{**fields, "labels": labels, "paths": paths})
