"""Records come in, plain dicts go out and back; and the one way in which a report's files reach the disk."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewframes.errors import UsageError
from fewframes.records import EvaluationReport, Failure, Prediction, ReadCost, Scores, VideoResult

__all__ = ["flatten", "from_json", "read_report", "to_json", "write_atomically", "write_json"]


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names: {"a": {"b": 1}} -> {"a.b": 1}. An empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {prefix + name: value}
    return flat


def to_json(record: EvaluationReport | Prediction | Failure) -> dict[str, Any]:
    """Every field of a record as dicts, lists, strings, numbers, booleans and None, in the order of its fields.

    Raises:
        UsageError: a value (of the protocol) has no plain form, or is NaN or infinite.
    """
    return {
        field.name: _plain(getattr(record, field.name), f"{type(record).__name__}.{field.name}")
        for field in dataclasses.fields(record)
    }


def from_json(data: Mapping[str, Any]) -> EvaluationReport:
    """Rebuild an `EvaluationReport` from `to_json`, also after a trip through a JSON file.

    Raises:
        UsageError: a field is missing, unknown or of the wrong form, the tables do not fit the number of classes, or
            the evaluation was stopped and has no scores.
    """
    if "stopped" in data:
        raise UsageError(f"not an evaluation report: the evaluation was stopped: {data['stopped']}")
    _check_fields(data, EvaluationReport)
    try:
        report = EvaluationReport(
            model=str(data["model"]),
            data=str(data["data"]),
            labels=tuple(str(label) for label in data["labels"]),
            listed=_scores(data["listed"]),
            decoded=_scores(data["decoded"]),
            confusion=tuple(tuple(int(count) for count in row) for row in data["confusion"]),
            class_totals=tuple(int(count) for count in data["class_totals"]),
            class_correct=tuple(int(count) for count in data["class_correct"]),
            failures=tuple(Failure(**_check_fields(each, Failure)) for each in data["failures"]),
            videos=tuple(_video(each) for each in data["videos"]),
            protocol=dict(data["protocol"]),
            seconds=float(data["seconds"]),
            reading=None if data.get("reading") is None else ReadCost(**_check_fields(data["reading"], ReadCost)),
        )
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"not an evaluation report: {error}; expected what fewframes evaluate writes") from error
    num_classes = len(report.labels)
    sizes = {len(report.confusion), len(report.class_totals), len(report.class_correct), *map(len, report.confusion)}
    if sizes != {num_classes}:
        raise UsageError(f"not an evaluation report: {num_classes} labels but tables of {sorted(sizes)} classes")
    return report


def read_report(path: str | os.PathLike[str]) -> EvaluationReport:
    """Read an evaluation that `write_json` wrote.

    Raises:
        UsageError: the file is absent or is not an evaluation report.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the report {path}: {error}; expected a JSON file of an evaluation") from error
    if not isinstance(data, dict):
        raise UsageError(f"cannot read the report {path}: it holds a {type(data).__name__}, expected one JSON object")
    return from_json(data)


def write_json(path: str | os.PathLike[str], record: EvaluationReport | Prediction) -> Path:
    """Write a record as indented JSON; ASCII only, so that paths of any bytes survive. Returns the path."""
    return write_atomically(path, json.dumps(to_json(record), indent=1, allow_nan=False) + "\n")


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a whole file or none of it: a reader never sees half, and a failure leaves the old file as it was.

    Args:
        path: where to; missing folders are made.
        content: bytes, or text that is stored as UTF-8.

    Returns:
        The path.

    Raises:
        UsageError: the folder or file cannot be written.
    """
    target = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError("it is a folder")
        # Beside the target: os.replace is atomic only within one file system.
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:80]}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, _mode_of(target))
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error}; choose a path that can be written") from error
    return target


def _mode_of(target: Path) -> int:
    """Permissions that a plain open() would have left; mkstemp alone would hide the file from everyone else."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _plain(value: object, where: str) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if hasattr(value, "tolist"):  # numpy and torch arrays and scalars
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(f"{where} is {value}; JSON knows only finite numbers")
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name), where) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each, f"{where}[{key!r}]") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, where) for each in value]
    raise UsageError(f"{where} is a {type(value).__name__}; expected text, numbers, lists or dicts")


def _check_fields(data: object, kind: type) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise UsageError(f"not an evaluation report: {kind.__name__} is a {type(data).__name__}, expected an object")
    fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(kind)}
    if missing := sorted(name for name, needed in fields.items() if needed and name not in data):
        raise UsageError(f"not an evaluation report: {kind.__name__} lacks {', '.join(missing)}")
    if unknown := sorted(set(data) - set(fields)):
        raise UsageError(f"not an evaluation report: {kind.__name__} has no field {', '.join(unknown)}")
    return dict(data)


def _scores(data: object) -> Scores:
    fields = _check_fields(data, Scores)
    return Scores(**{**fields, "num_videos": int(fields["num_videos"])})


def _video(data: object) -> VideoResult:
    fields = _check_fields(data, VideoResult)
    for name in ("predicted", "scores", "frame_indices"):
        fields[name] = tuple(fields.get(name, ()))
    return VideoResult(**fields)
