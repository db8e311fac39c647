"""A few synthetic videos and a network trained on them in a second, made once for all tests of a process."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from fewframes.training.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from fewframes.training.loop import TrainResult, train
from fewframes.video.synthetic import synthesize

# The networks here are so small that a second thread only waits, and on a busy machine waits a hundred times longer
# than it works. The variable says the same to processes that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

NUM_TRAIN, NUM_TEST, CLASSES = 16, 8, ("fall", "move_left", "move_right", "rise")
# The release's aggregator, with dropout, on 3 frames of 16 x 16 pixels.
SHAPE = (
    "num_frames=3",
    "image_size=16",
    "patch_size=8",
    "width=24",
    "depth=1",
    "heads=2",
    "temporal_depth=1",
    "temporal_heads=2",
    "temporal_mlp_width=40",
    "temporal_dropout=0.2",
)


def tiny_config(source: Path | str, output: Path | str, **changes: Mapping[str, Any] | Any) -> TrainConfig:  # noqa: ANN401
    """Three epochs over 12 of the 16 videos, in steps of 8 and 4 clips, each in parts of 4; 4 videos validate.

    Args:
        source: the list of videos.
        output: the run's folder.
        changes: settings of the run; for data, model, augment and optim, a dict of what is to be changed there.
    """
    config = TrainConfig(
        data=DataConfig(source=str(source), val_fraction=0.25, workers=0),
        model=ModelConfig(name="stam_4", options=SHAPE),
        optim=OptimConfig(lr=3e-3, epochs=3, warmup_epochs=0.5, batch_size=8, accumulate=2),
        output=str(output),
        device="cpu",
        log_every_steps=1,
    )
    values = {
        name: dataclasses.replace(getattr(config, name), **value) if isinstance(value, Mapping) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(config, **values)


def weights_of(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint folder."""
    return load_file(checkpoint / "weights.safetensors")


def state_of(run: Path) -> dict[str, Any]:
    """The saved state of a run."""
    state: dict[str, Any] = torch.load(run / "resume.pt", weights_only=True)
    return state


def same_bits(left: object, right: object) -> bool:
    """Whether two trees of dicts and lists are equal, their tensors bit for bit."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_bits(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_bits, left, right))
    return type(left) is type(right) and left == right


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 16 training and 8 test videos of 4 classes."""
    folder = tmp_path_factory.mktemp("tiny") / "videos"
    return synthesize(folder, num_videos=NUM_TRAIN, num_test_videos=NUM_TEST, classes=len(CLASSES))


@pytest.fixture(scope="session")
def tiny_run(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The uninterrupted run of `tiny_config`; not to be changed."""
    return train(tiny_config(tiny_videos, tmp_path_factory.mktemp("tiny") / "run"), show=False)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_run: TrainResult) -> Path:
    """Its best checkpoint; not to be changed."""
    return tiny_run.best
