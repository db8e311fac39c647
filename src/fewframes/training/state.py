"""The state of a run that can be taken up again: written whole or not at all, read back strictly."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.records import Failure
from fewframes.report.serial import flatten, write_atomically
from fewframes.training.config import TrainConfig
from fewframes.training.parallel import parted, whole

__all__ = ["STATE_DAMAGES", "Progress", "Stateful", "config_as_dict", "load_state", "prepare_output", "save_state"]

_STATE, _CONFIG = "resume.pt", "config.json"
_NONE: Mapping[str, Any] = MappingProxyType({})
# What reading a damaged state may raise.
STATE_DAMAGES = (
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    pickle.UnpicklingError,
)
# Settings that may differ when a run is taken up again, since no number depends on them but for rounding.
# Until now no video was bad, or it was left out: that stays the same under either policy and any cap.
_FREE = (
    "output",
    "data.workers",
    "data.prefetch",
    "data.on_bad_video",
    "data.max_bad_fraction",
    "optim.accumulate",
    "device",
    "tensorboard",
    "log_every_steps",
    "save_every_steps",
)
_FREE_PARTS = ("guards.", "scale.")


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
        bad_steps: steps left out because their loss or gradient was not finite.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best_top1: float = -1.0
    best_epoch: int = -1
    num_skipped: int = 0
    bad_videos: dict[int, Failure] = field(default_factory=dict)
    bad_steps: int = 0


class Stateful(Protocol):
    """Whatever has a state of its own that a run needs to go on."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors."""

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Take up such a state."""


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
    # What an older version did not know yet was as it is now unless told otherwise.
    before = {**flatten(config_as_dict(TrainConfig())), **before}
    now = flatten(config_as_dict(config))
    changed = [
        name
        for name in sorted(before | now)
        if before.get(name) != now.get(name) and name not in _FREE and not name.startswith(_FREE_PARTS)
    ]
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
    others: Mapping[str, Stateful] = _NONE,
    writes: bool = True,
) -> None:
    """Write everything needed to go on, in one file that appears whole: the same file for any number of processes.

    No state of random numbers is needed, since all of them follow from the seed and the step.

    Args:
        folder: of the run.
        model: the network; where it is parted among processes, all of them have to call this.
        optimizer: over its parameters.
        progress: how far the run has come.
        manifest_sha256: of the list of videos.
        others: what else belongs to the state, by name.
        writes: whether this process is the one that writes.
    """
    content = {
        "model": whole(model.state_dict()),
        "optimizer": whole(optimizer.state_dict()),
        "progress": dataclasses.asdict(progress),
        "manifest_sha256": manifest_sha256,
        **{name: whole(other.state_dict()) for name, other in others.items()},
    }
    if not writes:
        return
    partial = folder / f".{_STATE}.{os.getpid()}.part"
    try:
        torch.save(content, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # before the old one goes, also if the power fails
        partial.replace(folder / _STATE)
    finally:
        partial.unlink(missing_ok=True)


def load_state(
    folder: Path,
    model: torch.nn.Module,
    *,
    optimizer: torch.optim.Optimizer,
    manifest_sha256: str,
    others: Mapping[str, Stateful] = _NONE,
) -> Progress:
    """Take up a run: fills the network, the optimiser and what else was saved.

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
            model.load_state_dict(parted(content["model"], model.state_dict()), strict=True)
            optimizer.load_state_dict(_parted_as_weights(content["optimizer"], optimizer))
            for name, other in others.items():
                other.load_state_dict(parted(content[name], other.state_dict()))
    except STATE_DAMAGES as error:
        raise InvalidCheckpoint(f"{path} is damaged ({type(error).__name__}); start again in another folder") from error
    if not same:
        raise UsageError(f"the list of videos has changed since {path} was written; choose another --output")
    return progress


def _parted_as_weights(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's state, parted as the weights that it belongs to are."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    kept = {
        place: {
            name: parted(value, weights[place]) if getattr(value, "shape", None) == weights[place].shape else value
            for name, value in values.items()
        }
        for place, values in state["state"].items()
    }
    return {**state, "state": kept}
