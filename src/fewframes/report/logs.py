"""A training's log.jsonl comes in, its entries go out as dicts; needs nothing but the standard library."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fewframes.errors import UsageError

__all__ = ["read_training_log"]


def read_training_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read a JSONL log; a last line without its line end is left out, as a running training is still writing it.

    Raises:
        UsageError: the file cannot be read, or a finished line is not a JSON object (its number is named).
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the training log {path}: {error}; expected a JSONL file") from error
    entries = []
    for number, line in enumerate(lines[:-1], start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise UsageError(f"line {number} of the training log {path} is not a JSON object: {line[:60]!r}")
        entries.append(entry)
    return entries
