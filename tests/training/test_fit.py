"""The choice of a mode, its explanation and its settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fewframes.errors import UsageError
from fewframes.recipes import RECIPES
from fewframes.training.config import DataConfig, ModelConfig, TrainConfig
from fewframes.training.fit import Asked, Choice, Facts, Mode, choose, settings_for

TRAINED = Facts(
    name="stam_16",
    num_train=200,
    weights="start.pth",
    encoder_is_trained=True,
    aggregator_is_new=False,
    one_by_one=True,
    has_linear_layers=True,
    on_gpu=False,
)
RANDOM = replace(TRAINED, name="stam_8", weights="", encoder_is_trained=False, aggregator_is_new=True)


@pytest.mark.parametrize(
    ("num_train", "on_gpu", "changes", "mode", "because"),
    [
        (200, False, {}, "probe", "because this is a CPU"),
        (100_000, False, {}, "probe", "because this is a CPU"),
        (499, True, {}, "probe", "because 499 training videos would be learnt by heart"),
        (500, True, {}, "adapter", "because there are 500 training videos and a GPU"),
        (4999, True, {"has_linear_layers": False}, "probe", "learnt by heart"),
        (5000, True, {}, "full", "because there are 5,000 training videos and a GPU"),
        (200, True, {"one_by_one": False}, "full", "because stam_16 does not encode frames one by one"),
        (200, False, {"one_by_one": False}, "full", "because stam_16 does not encode frames one by one"),
    ],
)
def test_the_choice(num_train: int, on_gpu: bool, changes: dict[str, bool], mode: str, because: str) -> None:
    choice = choose(replace(TRAINED, num_train=num_train, on_gpu=on_gpu, **changes), "auto")
    assert choice.mode == mode
    assert choice.reasons[0] == "Starting from start.pth."
    assert because in choice.reasons[1]
    assert 2 <= len(choice.reasons) <= 3
    assert all(reason.endswith(".") for reason in choice.reasons)


@pytest.mark.parametrize("asked", ["probe", "adapter", "full"])
def test_what_was_asked_for(asked: Mode) -> None:
    choice = choose(TRAINED, asked)
    assert choice.mode == asked
    assert choice.reasons[1].startswith(f"{asked.capitalize()}, as asked: ")


@pytest.mark.parametrize("asked", ["auto", "full"])
def test_random_weights_are_trained_whole(asked: Asked) -> None:
    choice = choose(RANDOM, asked)
    assert choice.mode == "full"
    assert (
        "from random weights, because there are no trained weights: a frame encoder that was never" in choice.reasons[0]
    )
    part = choose(replace(RANDOM, weights="head.pth"), asked)
    assert "because head.pth leaves the frame encoder untrained" in part.reasons[0]


@pytest.mark.parametrize("asked", ["probe", "adapter"])
def test_random_weights_are_never_frozen(asked: Mode) -> None:
    with pytest.raises(UsageError, match=rf"--mode {asked} keeps the frame encoder frozen, but .* --init-from FILE"):
        choose(RANDOM, asked)


def test_networks_that_cannot() -> None:
    with pytest.raises(UsageError, match=r"stam_16 does not encode frames one by one.* use --mode full"):
        choose(replace(TRAINED, one_by_one=False), "probe")
    with pytest.raises(UsageError, match=r"no frame encoder with linear layers.* use --mode full"):
        choose(replace(TRAINED, has_linear_layers=False), "adapter")


def settings(mode: Mode, facts: Facts, *, epochs: int = 0, lr: float = 0.0) -> TrainConfig:
    base = replace(
        RECIPES["finetune" if facts.weights else "small"](),
        data=DataConfig(source="videos", cache_frames=32),
        model=ModelConfig("stam_8"),
        output="runs/x",
        seed=3,
        device="cpu",
    )
    return settings_for(base, Choice(mode, ()), facts, epochs=epochs, lr=lr)


@pytest.mark.parametrize(
    ("num_train", "batch", "epochs"), [(12, 8, 100), (200, 16, 47), (300, 32, 60), (20_000, 32, 10)]
)
def test_a_probe_takes_a_few_hundred_steps(num_train: int, batch: int, epochs: int) -> None:
    config = settings("probe", replace(TRAINED, num_train=num_train))
    assert (config.optim.batch_size, config.optim.epochs) == (batch, epochs)
    assert (config.optim.accumulate, config.precision, config.data.cache_frames) == (1, "float32", 0)
    assert (config.output, config.seed, config.device, config.model.name) == ("runs/x", 3, "cpu", "stam_8")


def test_rates_of_the_parts() -> None:
    def rates(facts: Facts, mode: Mode = "probe") -> tuple[float, float, float]:
        optim = settings(mode, facts).optim
        temporal = optim.lr * optim.temporal_lr_factor
        return optim.lr * optim.encoder_lr_factor, temporal, temporal * optim.head_lr_factor

    assert rates(TRAINED)[1:] == pytest.approx((1e-4, 1e-3))
    assert rates(replace(TRAINED, aggregator_is_new=True))[1:] == pytest.approx((3e-4, 1e-3))
    assert rates(TRAINED, "adapter") == pytest.approx((5e-4, 1e-4, 1e-3))


def test_parts_of_a_batch_fit_the_machine() -> None:
    cpu, gpu = TRAINED, replace(TRAINED, on_gpu=True, num_train=900)
    assert settings("adapter", cpu).optim.accumulate == 8
    assert (settings("adapter", gpu).optim.accumulate, settings("adapter", gpu).precision) == (4, "bfloat16")
    assert (settings("full", gpu).optim.batch_size, settings("full", gpu).optim.accumulate) == (64, 8)
    assert settings("full", gpu).precision == RECIPES["finetune"]().precision
    assert settings("full", cpu).precision == "float32"


def test_a_fine_tuning_follows_the_size_of_the_data() -> None:
    recipe = RECIPES["finetune"]().optim
    large = settings("full", replace(TRAINED, num_train=10_000)).optim
    assert (large.batch_size, large.lr, large.epochs) == (recipe.batch_size, pytest.approx(recipe.lr), 13)
    small = settings("full", TRAINED).optim
    assert (small.batch_size, small.lr, small.epochs) == (16, pytest.approx(recipe.lr / 2), recipe.epochs)


def test_from_scratch_there_are_enough_steps_and_enough_memory() -> None:
    optim = settings("full", RANDOM).optim
    assert (optim.batch_size, optim.epochs, optim.accumulate) == (16, 116, 1)
    assert settings("full", RANDOM).data.cache_frames == 32
    assert settings("full", replace(RANDOM, num_train=1001)).data.cache_frames == 0


def test_epochs_and_rates_that_were_asked_for() -> None:
    for mode in ("probe", "adapter", "full"):
        config = settings(mode, TRAINED, epochs=4, lr=0.5)
        assert (config.optim.epochs, config.optim.lr, config.optim.lr_reference_batch) == (4, 0.5, 0)
        assert config.optim.warmup_epochs == pytest.approx(0.4)
