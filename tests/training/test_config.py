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
        ("optim", "lr_reference_batch", -64, r"optim\.lr_reference_batch is -64; expected at least 0"),
        ("optim", "encoder_lr_factor", -1.0, r"optim\.encoder_lr_factor is -1\.0; expected at least 0"),
        ("optim", "head_lr_factor", math.nan, r"optim\.head_lr_factor is nan; expected at least 0"),
        ("optim", "layer_decay", 1.5, r"optim\.layer_decay is 1\.5; expected 0 to 1"),
        ("optim", "layer_decay", 0.0, r"optim\.layer_decay is 0; expected above 0 to 1, such as 0\.75"),
        ("optim", "momentum", -0.5, r"optim\.momentum is -0\.5; expected 0 to 1"),
        ("optim", "momentum", 1.0, r"optim\.momentum is 1; expected a number below 1"),
        ("optim", "nesterov", True, r"optim\.nesterov needs optim\.optimizer sgd with optim\.momentum above 0"),
        ("optim", "schedule", "step", r"schedule is step and optim\.step_epochs \[\]; expected step_epochs"),
        ("optim", "step_epochs", (11, 14), r"schedule is cosine and optim\.step_epochs \[11, 14\]"),
        ("augment", "max_zoom", 0.9, r"augment\.max_zoom is 0\.9; expected at least 1\.0"),
        ("augment", "flip_probability", 2.0, r"augment\.flip_probability is 2\.0; expected 0 to 1"),
        ("augment", "min_zoom", 0.0, r"augment\.min_zoom is 0\.0; expected above 0, at most augment\.max_zoom 1\.25"),
        ("augment", "min_zoom", 1.5, r"augment\.min_zoom is 1\.5"),
        ("augment", "min_zoom", math.nan, r"augment\.min_zoom is nan"),
        ("augment", "scale_jitter", (1.3, 0.9), r"augment\.scale_jitter is 1\.3 0\.9; expected a lower and an upper"),
        ("augment", "scale_jitter", (0.9, math.inf), r"augment\.scale_jitter is 0\.9 inf"),
        ("augment", "short_side", (320, 256), r"augment\.short_side is 320 256; expected two sizes in pixels"),
        ("augment", "cutout", 1.5, r"augment\.cutout is 1\.5; expected 0 to 1"),
        ("augment", "colour_jitter", -0.1, r"augment\.colour_jitter is -0\.1; expected 0 to 1"),
        ("augment", "colour_drop", math.nan, r"augment\.colour_drop is nan; expected 0 to 1"),
        ("augment", "flip_pairs", True, r"set augment\.flip_probability above 0, such as 0\.5"),
        ("augment", "randaugment_layers", 0, r"augment\.randaugment_layers is 0 .*expected at least 1 layer"),
        ("augment", "randaugment_magnitude", 31, r"randaugment_magnitude 31; .*magnitude of 0 to 30"),
        ("augment", "randaugment_layers", 3, r"but augment\.policy is none; set it to randaugment"),
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_epochs": (14, 11)}, r"step_epochs are \[14, 11\]; expected rising numbers from 1"),
        ({"step_epochs": (11, 11)}, r"step_epochs are \[11, 11\]; expected rising"),
        ({"step_epochs": (0, 11), "warmup_epochs": 0.0}, r"step_epochs are \[0, 11\]; expected rising"),
        ({"step_epochs": (2, 11)}, r"none within the warm-up of 3\.0 epochs"),
        ({"step_epochs": (11, 30)}, r"step_epochs \[11, 30\] do not end before the last of 30 epochs"),
    ],
)
def test_impossible_steps(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(optim=OptimConfig(schedule="step", **settings))


def test_the_published_schedules_are_possible() -> None:
    sgd: dict[str, Any] = {"optimizer": "sgd", "clip_norm": 1.0, "weight_decay": 0.0}
    TrainConfig(optim=OptimConfig(**sgd, lr=0.1, lr_reference_batch=64, warmup_epochs=2.5, final_lr_factor=0.0))
    TrainConfig(optim=OptimConfig(**sgd, schedule="step", step_epochs=(11, 14), epochs=15, warmup_epochs=0.0))
    TrainConfig(optim=OptimConfig(**sgd, schedule="step", step_epochs=(3,), nesterov=True))
    TrainConfig(optim=OptimConfig(schedule="constant", layer_decay=0.75, head_lr_factor=0.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "autoaugment", "colour_jitter": 0.8}, r"augment\.policy autoaugment changes colours itself"),
        ({"policy": "randaugment", "colour_drop": 0.1}, r"augment\.policy randaugment changes colours itself"),
        (
            {"policy": "autoaugment", "randaugment_magnitude": 5},
            r"augment\.policy is autoaugment; set it to randaugment",
        ),
        ({"short_side": (256, 320), "max_zoom": 1.3}, r"augment\.short_side and a zoom state the size twice"),
        ({"short_side": (256, 320), "min_zoom": 1.1}, r"augment\.short_side and a zoom state the size twice"),
    ],
)
def test_augmentations_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainConfig(augment=AugmentConfig(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"flip_probability": 0.5, "cutout": 0.5, "policy": "autoaugment"},  # STAM
        {"max_zoom": 1.0, "scale_jitter": (0.9, 1.33), "colour_jitter": 0.8, "colour_drop": 0.1},  # ViViT
        {"policy": "randaugment", "randaugment_layers": 3, "randaugment_magnitude": 15},
        {"short_side": (256, 320), "inverse_zoom": True, "flip_probability": 0.5, "flip_pairs": True},
        {"min_zoom": 0.9, "policy": "trivialaugment"},
    ],
)
def test_published_augmentations_are_possible(settings: dict[str, Any]) -> None:
    assert TrainConfig(augment=AugmentConfig(**settings)).augment == AugmentConfig(**settings)


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
