"""Every published recipe, with a tiny network of its own kind, takes real steps: its settings work together."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from fewframes.recipes import RECIPES
from fewframes.training.config import TrainConfig
from fewframes.training.loop import train
from tests.helpers.tiny import NUM_TEST, NUM_TRAIN, SHAPE

_VIT = ("num_frames=4", "image_size=16", "patch_size=8", "width=24", "depth=1", "heads=2")
SHAPES = {"stam": SHAPE, "vivit": (*_VIT, "temporal_depth=1"), "timesformer": _VIT}
PUBLISHED = tuple(name for name in RECIPES if name.partition("-")[0] in SHAPES)


def tiny(name: str, source: Path, output: Path, teacher: Path) -> TrainConfig:
    """The recipe in every setting but size, weights to start from, epochs and device."""
    config = RECIPES[name]()
    steps = (1,) if config.optim.schedule == "step" else ()
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data, source=str(source), workers=0, val_split="test" if config.data.val_fraction else ""
        ),
        model=dataclasses.replace(
            config.model, options=(*config.model.options, *SHAPES[name.partition("-")[0]]), init_from=""
        ),
        optim=dataclasses.replace(
            config.optim, batch_size=8, epochs=2, step_epochs=steps, warmup_epochs=min(config.optim.warmup_epochs, 1)
        ),
        distill=dataclasses.replace(config.distill, teacher=str(teacher) if config.distill.teacher else ""),
        output=str(output),
        device="cpu",
        precision="float32",
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_trains(name: str, tiny_videos: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = tiny(name, tiny_videos, tmp_path / "run", tiny_checkpoint)
    result = train(config, show=False)
    assert (result.num_train, result.num_skipped) == (NUM_TRAIN, 0)
    assert result.num_val == (0 if name == "stam-ucf101" else NUM_TEST)
    assert (tmp_path / "run" / "averaged").is_dir() == (config.average.decay > 0)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
