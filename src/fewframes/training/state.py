"""The state of a run that can be taken up again: written whole or not at all, read back strictly."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.records import Failure
from fewframes.report.serial import flatten, write_atomically
from fewframes.training.config import TrainConfig

__all__ = ["Progress", "config_as_dict", "load_state", "prepare_output", "save_state"]

_STATE, _CONFIG = "resume.pt", "config.json"
_DAMAGES = (
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    pickle.UnpicklingError,
)
# Settings that may differ when a run is taken up again, since no number depends on them.
# Until now no video was bad, or it was left out: that stays the same under either policy and any cap.
_FREE = (
    "output",
    "data.workers",
    "data.prefetch",
    "data.on_bad_video",
    "data.max_bad_fraction",
    "log_every_steps",
    "save_every_steps",
)


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: the epoch under way, from 0.
        step_in_epoch: batches done in it.
        step: batches done in all.
        best_top1: best validation accuracy in percent so far; -1 before the first.
        best_epoch: when that was; -1 before the first.
        num_skipped: clips left out because their video could not be read.
        bad_videos: those training videos, each once, by their place in the list.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_top1: float = -1.0
    best_epoch: int = -1
    num_skipped: int = 0
    bad_videos: dict[int, Failure] = field(default_factory=dict)


def config_as_dict(config: TrainConfig) -> dict[str, Any]:
    """The config as plain JSON values."""
    result: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return result


def prepare_output(config: TrainConfig, *, resume: bool) -> bool:
    """Make the run's folder, or check that the run in it is this one.

    A run that ended before it saved anything has nothing to take up, so its settings may be changed.

    Returns:
        Whether there is a state to take up.

    Raises:
        UsageError: the folder holds a run and `resume` is off; or a run with other settings, each of which is named; or
            it cannot be made.
        InvalidCheckpoint: the record of the run's settings is damaged.
    """
    folder = Path(config.output)
    held, has_state = folder / _CONFIG, (folder / _STATE).exists()
    if held.exists() and not resume:
        raise UsageError(f"{folder} already holds a run; add --resume to go on with it, or choose another --output")
    if not (held.exists() and has_state):
        if has_state:
            raise InvalidCheckpoint(f"{folder} holds the state of a run without its {_CONFIG}; choose another --output")
        write_atomically(held, json.dumps(config_as_dict(config), indent=1) + "\n")
        return False
    try:
        before = flatten(json.loads(held.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidCheckpoint(f"{held} is damaged ({error}); choose another --output") from error
    now = flatten(config_as_dict(config))
    changed = [name for name in sorted(before | now) if before.get(name) != now.get(name) and name not in _FREE]
    if changed:
        listed = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in changed[:5])
        raise UsageError(f"{folder} holds a run with other settings ({listed}); choose another --output")
    return True


def save_state(
    folder: Path,
    model: torch.nn.Module,
    *,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    manifest_sha256: str,
) -> None:
    """Write everything needed to go on, in one file that appears whole."""
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": dataclasses.asdict(progress),
        "manifest_sha256": manifest_sha256,
    }
    partial = folder / f".{_STATE}.{os.getpid()}.part"
    try:
        torch.save(content, partial)
        partial.replace(folder / _STATE)
    finally:
        partial.unlink(missing_ok=True)


def load_state(
    folder: Path, model: torch.nn.Module, *, optimizer: torch.optim.Optimizer, manifest_sha256: str
) -> Progress:
    """Take up a run: fills the network and the optimiser.

    Raises:
        InvalidCheckpoint: the file is damaged.
        UsageError: the list of videos has changed since.
    """
    path = folder / _STATE
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        same = content["manifest_sha256"] == manifest_sha256
        values = dict(content["progress"])
        bad = {index: Failure(**failure) for index, failure in values.pop("bad_videos", {}).items()}
        progress = Progress(**values, bad_videos=bad)
        if same:
            model.load_state_dict(content["model"], strict=True)
            optimizer.load_state_dict(content["optimizer"])
    except _DAMAGES as error:
        raise InvalidCheckpoint(f"{path} is damaged ({type(error).__name__}); start again in another folder") from error
    if not same:
        raise UsageError(f"the list of videos has changed since {path} was written; choose another --output")
    return progress
