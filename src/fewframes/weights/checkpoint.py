"""Our own checkpoints: a folder comes in, a network and everything needed to use it go out, and back."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from fewframes.architectures import ARCHITECTURES, architecture_of, build_from_config
from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.models.checks import ModelConfig
from fewframes.records import Preprocess, Sampling
from fewframes.weights.files import ARCHITECTURE_KEY, read_tensors, sha256_of

__all__ = ["INFO_NAME", "WEIGHTS_NAME", "CheckpointInfo", "load_checkpoint", "save_checkpoint", "stated_config"]

_FORMAT = 1
WEIGHTS_NAME, INFO_NAME = "weights.safetensors", "model.json"


@dataclass(frozen=True)
class CheckpointInfo:
    """Everything about a model but its weights: the content of model.json.

    Attributes:
        name: the catalogue name it was built from.
        config: the network's shape.
        sampling: which frames it looks at when it is used.
        preprocess: how frames become its input.
        labels: the K class names in label-index order.
        provenance: where it comes from, plain JSON values: versions, data, settings, scores.
    """

    name: str
    config: ModelConfig
    sampling: Sampling
    preprocess: Preprocess
    labels: tuple[str, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) != self.config.num_classes:
            raise UsageError(f"{len(self.labels)} labels for a model with {self.config.num_classes} classes")
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise UsageError(f"class names must differ; got {', '.join(twice[:5])} more than once")
        if self.sampling.num_frames != self.config.num_frames:
            raise UsageError(
                f"sampling takes {self.sampling.num_frames} frames but the model needs {self.config.num_frames}"
            )
        if self.preprocess.crop != self.config.image_size:
            raise UsageError(f"preprocess crops {self.preprocess.crop} but the model needs {self.config.image_size}")


def save_checkpoint(folder: str | Path, model: nn.Module, info: CheckpointInfo) -> None:
    """Write a checkpoint folder: weights.safetensors and model.json, which states the weights' SHA-256.

    The folder appears whole: it is written beside its place and then moved there, replacing an older checkpoint. If
    anything fails on the way, the older one stays.

    Raises:
        UsageError: the place is taken by something that is no checkpoint.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / INFO_NAME).is_file() and not (folder.is_dir() and _is_empty(folder)):
        raise UsageError(f"{folder} exists and is no checkpoint, so it is not replaced; choose another place")
    fresh, stale = (folder.with_name(f".{folder.name}.{os.getpid()}.{age}") for age in ("new", "old"))
    try:
        _write(fresh, model, info)
        if folder.exists():
            folder.rename(stale)
        fresh.rename(folder)
    except BaseException:
        if stale.exists() and not folder.exists():
            stale.rename(folder)
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(stale, ignore_errors=True)


def load_checkpoint(folder: str | Path) -> tuple[nn.Module, CheckpointInfo]:
    """Rebuild a network from a checkpoint folder alone; strict, and checked against the stated SHA-256.

    Returns:
        The network in eval mode on the CPU, and its record.

    Raises:
        InvalidCheckpoint: not a checkpoint folder, damaged, or with tensors missing, misshapen or left over.
    """
    folder = Path(folder)
    info, stated_sha256 = _read_info(folder)
    tensors = read_tensors(folder / WEIGHTS_NAME)
    model = build_from_config(info.config)
    _check_fit(folder, model, {name: tuple(value.shape) for name, value in tensors.items()})
    if sha256_of(folder / WEIGHTS_NAME) != stated_sha256:
        raise InvalidCheckpoint(
            f"{folder / WEIGHTS_NAME} is not the file that {INFO_NAME} was written for (SHA-256 differs); "
            "copy the folder again"
        )
    model.load_state_dict(tensors, strict=True)
    return model.eval(), info


def _write(folder: Path, model: nn.Module, info: CheckpointInfo) -> None:
    folder.mkdir(parents=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    metadata = {"format": "pt", ARCHITECTURE_KEY: architecture_of(info.config)}
    save_file(tensors, folder / WEIGHTS_NAME, metadata=metadata)
    content = {
        "format": _FORMAT,
        "architecture": architecture_of(info.config),
        **dataclasses.asdict(info),
        "weights_sha256": sha256_of(folder / WEIGHTS_NAME),
    }
    (folder / INFO_NAME).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def _read_info(folder: Path) -> tuple[CheckpointInfo, str]:
    path = folder / INFO_NAME
    if not path.is_file():
        raise InvalidCheckpoint(f"{folder} is no checkpoint: it has no {INFO_NAME}; name a folder that training wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        architecture = content.pop("architecture")
        if content.pop("format") != _FORMAT or architecture not in ARCHITECTURES:
            raise InvalidCheckpoint(f"{path} has another format or architecture; update fewframes")
        stated_sha256 = str(content.pop("weights_sha256"))
        config = content.pop("config")
        for name in ("num_classes", "num_frames", "image_size"):  # the rest has defaults, so that older records load
            config[name]
        info = CheckpointInfo(
            config=stated_config(architecture, config),
            sampling=Sampling(**content.pop("sampling")),
            preprocess=Preprocess(**_with_tuples(content.pop("preprocess"))),
            labels=tuple(content.pop("labels")),
            **content,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidCheckpoint(
            f"{path} is damaged ({type(error).__name__}: {error}); copy the folder again"
        ) from error
    return info, stated_sha256


def stated_config(architecture: str, values: dict[str, Any]) -> ModelConfig:
    """The config that a record's JSON values describe. Raises whatever wrong values make Python or the config raise."""
    config: ModelConfig = ARCHITECTURES[architecture].config(**_with_tuples(values))
    return config


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to tuples, at any depth."""
    return {name: _to_tuple(value) for name, value in values.items()}


def _to_tuple(value: object) -> object:
    return tuple(_to_tuple(each) for each in value) if isinstance(value, list) else value


def _check_fit(folder: Path, model: nn.Module, shapes: dict[str, tuple[int, ...]]) -> None:
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    problems = [f"{name} is missing" for name in expected if name not in shapes]
    problems += [f"{name} is left over" for name in shapes if name not in expected]
    problems += [
        f"{name} is {shapes[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in shapes and shapes[name] != shape
    ]
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise InvalidCheckpoint(f"{folder / WEIGHTS_NAME} does not fit {INFO_NAME}: {'; '.join(problems[:6])}{more}")
