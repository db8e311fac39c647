"""A run comes in; what it was carried out with goes out: versions, machine and processes, one entry for each start."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fewframes.report.serial import write_atomically

__all__ = ["describe_environment", "note_start"]

_NAME = "environment.json"
_PACKAGES = (
    "fewframes",
    "torch",
    "torchvision",
    "lightning-fabric",
    "av",
    "torchcodec",
    "timm",
    "numpy",
    "safetensors",
)


def describe_environment() -> dict[str, Any]:
    """Versions and machine as plain values; nothing that names a person, a host or a folder."""
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
    }


def note_start(folder: Path, *, step: int, devices: Sequence[str], manifest_sha256: str) -> Path:
    """Add one start of a run to its environment.json; a damaged one begins anew. Returns its path.

    Args:
        folder: of the run.
        step: how many were done before.
        devices: of each process, by rank.
        manifest_sha256: of the list of training videos.
    """
    path = folder / _NAME
    starts: list[Any] = []
    if step:
        try:
            starts = list(json.loads(path.read_text(encoding="utf-8"))["starts"])
        except (OSError, ValueError, LookupError, TypeError):
            starts = []
    starts.append({"from_step": step, "processes": len(devices), "devices": list(devices), **describe_environment()})
    return write_atomically(path, json.dumps({"manifest_sha256": manifest_sha256, "starts": starts}, indent=1) + "\n")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
