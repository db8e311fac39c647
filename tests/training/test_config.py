"""Settings: whatever cannot be is refused by its name before anything is done."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from typing import Any

import pytest

from fewframes.errors import UsageError
from fewframes.records import BadVideoPolicy
from fewframes.training.config import AugmentConfig, DataConfig, OptimConfig, TrainConfig


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("optim", "lr", -1e-3, r"optim\.lr is -0\.001; expected at least 0"),
        ("optim", "lr", math.nan, r"optim\.lr is nan; expected at least 0"),
        ("optim", "lr", math.inf, r"optim\.lr is inf; expected at least 0"),
        ("optim", "temporal_lr_factor", -1.0, r"optim\.temporal_lr_factor is -1\.0"),
        ("optim", "weight_decay", -0.1, r"optim\.weight_decay is -0\.1"),
        ("optim", "warmup_epochs", -1.0, r"optim\.warmup_epochs is -1\.0"),
        ("optim", "clip_norm", -1.0, r"optim\.clip_norm is -1\.0"),
        ("optim", "epochs", 0, r"optim\.epochs is 0; expected at least 1"),
        ("optim", "batch_size", 0, r"optim\.batch_size is 0; expected at least 1"),
        ("optim", "accumulate", 0, r"optim\.accumulate is 0; expected at least 1"),
        ("optim", "accumulate", 5, r"optim\.batch_size 32 is not a multiple of accumulate 5"),
        ("optim", "label_smoothing", 1.5, r"optim\.label_smoothing is 1\.5; expected 0 to 1"),
        ("optim", "final_lr_factor", -0.5, r"optim\.final_lr_factor is -0\.5; expected 0 to 1"),
        ("optim", "beta2", 1.5, r"optim\.beta2 is 1\.5; expected 0 to 1"),
        ("optim", "beta2", 1.0, r"optim\.beta2 is 1; expected a number below 1"),
        ("augment", "max_zoom", 0.9, r"augment\.max_zoom is 0\.9; expected at least 1\.0"),
        ("augment", "flip_probability", 2.0, r"augment\.flip_probability is 2\.0; expected 0 to 1"),
        ("data", "cache_frames", -1, r"data\.cache_frames is -1"),
        ("data", "workers", -1, r"data\.workers is -1"),
        ("data", "prefetch", 0, r"data\.prefetch is 0; expected at least 1"),
        ("data", "max_bad_fraction", 1.5, r"data\.max_bad_fraction is 1\.5; expected 0 to 1"),
        (
            "data",
            "on_bad_video",
            "count-as-wrong",
            r"on_bad_video is count-as-wrong, which belongs to evaluation: .*skip",
        ),
        ("data", "val_fraction", math.nan, r"data\.val_fraction is nan; expected 0 to 1"),
        ("", "validate_every", 0, "validate_every is 0; expected at least 1"),
        ("", "save_every_steps", -1, "save_every_steps is -1; expected at least 0"),
        ("", "log_every_steps", 0, "log_every_steps is 0; expected at least 1"),
        ("", "seed", -1, "seed is -1; expected at least 0"),
        ("", "seed", 2**32, "seed is 4294967296; expected at most 4294967295"),
    ],
)
def test_impossible_settings(part: str, name: str, value: object, message: str) -> None:
    parts = {"optim": OptimConfig(), "augment": AugmentConfig(), "data": DataConfig()}
    changed: dict[str, Any] = {part: dataclasses.replace(parts[part], **{name: value})} if part else {name: value}
    with pytest.raises(UsageError, match=message):
        TrainConfig(**changed)


def test_the_defaults_are_possible() -> None:
    config = TrainConfig()
    assert config == TrainConfig()
    assert hash(config) == hash(TrainConfig()), "plain frozen values"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


def test_the_policy_knows_how_its_options_are_called() -> None:
    policy = DataConfig(on_bad_video="skip", max_bad_fraction=0.5).policy
    assert policy == BadVideoPolicy("skip", 0.5, "--data.")
    assert DataConfig().policy == BadVideoPolicy("error", 0.01, "--data.")


def test_every_setting_is_explained() -> None:
    for kind in (TrainConfig, DataConfig, OptimConfig, AugmentConfig):
        assert kind.__doc__ is not None
        for field in dataclasses.fields(kind):
            assert f"\n        {field.name}: " in kind.__doc__, f"{kind.__name__}.{field.name}"


def test_needs_no_torch() -> None:
    code = "import sys, fewframes.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
