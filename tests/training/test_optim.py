"""The optimiser's groups and the learning rate over time, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewframes.catalog import build_model
from fewframes.training.config import OptimConfig
from fewframes.training.optim import build_optimizer, learning_rate_factor, parameter_groups, set_learning_rate

SHAPE = {"num_classes": 5, "num_frames": 3, "image_size": 16, "patch_size": 8, "width": 24, "depth": 2, "heads": 2}
CONFIG = OptimConfig(lr=0.01, temporal_lr_factor=10.0, weight_decay=0.3, beta2=0.97)


def model(aggregator: str = "official") -> torch.nn.Module:
    return build_model("stam_4", **SHAPE, temporal_depth=1, temporal_heads=2, aggregator=aggregator)


@pytest.mark.parametrize("aggregator", ["official", "paper", "mean"])
def test_each_parameter_learns_in_one_group(aggregator: str) -> None:
    network = model(aggregator)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    seen = []
    for group in parameter_groups(network, CONFIG):
        assert group["params"], "no group is empty"
        for parameter in group["params"]:  # type: ignore[attr-defined]
            name = names[id(parameter)]
            seen.append(name)
            weights = name.endswith("weight") and "norm" not in name
            assert group["weight_decay"] == (0.3 if weights else 0.0), name
            assert group["lr"] == group["base_lr"] == (0.01 if name.startswith("encoder.") else 0.1), name
    assert sorted(seen) == sorted(names.values())


def test_what_never_decays() -> None:
    network = model()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = {str(group["name"]): group["params"] for group in parameter_groups(network, CONFIG)}
    still = {names[id(p)] for name, params in groups.items() if "no decay" in name for p in params}  # type: ignore[attr-defined]
    assert {"encoder.cls_token", "encoder.pos_embed", "aggregate.cls_token", "aggregate.pos_embed"} <= still
    assert {"head.bias", "encoder.norm.weight", "encoder.norm.bias", "encoder.patch_embed.proj.bias"} <= still
    assert {"head.weight", "encoder.patch_embed.proj.weight"}.isdisjoint(still)
    assert set(groups) == {
        "encoder, decay",
        "encoder, no decay",
        "temporal and head, decay",
        "temporal and head, no decay",
    }


def test_adamw_as_configured() -> None:
    optimizer = build_optimizer(model(), CONFIG)
    assert type(optimizer) is torch.optim.AdamW
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.97)}
    set_learning_rate(optimizer, 0.25)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.0025, 0.025])
    set_learning_rate(optimizer, 1.0)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.01, 0.1])


def factors(steps_per_epoch: int, **settings: float) -> list[float]:
    config = OptimConfig(**settings)  # type: ignore[arg-type]
    total = steps_per_epoch * config.epochs
    return [learning_rate_factor(step, steps_per_epoch=steps_per_epoch, config=config) for step in range(total)]


def test_learning_rate_by_hand() -> None:
    # Ten steps: two of warm-up, then half a cosine over eight, from 1 to 0.1.
    found = factors(5, epochs=2, warmup_epochs=0.4, final_lr_factor=0.1)
    cosine = [0.1 + 0.45 * (1 + math.cos(math.pi * eighths / 8)) for eighths in range(1, 9)]
    assert found == pytest.approx([0.5, 1.0, *cosine])
    assert found[5] == pytest.approx(0.55)
    assert found[9] == pytest.approx(0.1)


def test_learning_rate_at_the_edges() -> None:
    assert factors(4, epochs=1, warmup_epochs=0, final_lr_factor=0) == pytest.approx(
        [0.853553, 0.5, 0.146447, 0], abs=1e-6
    )
    assert factors(4, epochs=1, warmup_epochs=1) == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors(2, epochs=2, warmup_epochs=50) == pytest.approx([0.25, 0.5, 0.75, 1.0]), "warm-up to the end"
    assert factors(1, epochs=1, warmup_epochs=0, final_lr_factor=0.5) == [0.5]
    assert factors(3, epochs=1, warmup_epochs=0, final_lr_factor=1.0) == [1.0, 1.0, 1.0]


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 12), st.floats(0, 1))
def test_rises_then_falls(steps_per_epoch: int, epochs: int, warmup: float, final: float) -> None:
    found = factors(steps_per_epoch, epochs=epochs, warmup_epochs=warmup, final_lr_factor=final)
    peak = found.index(max(found))
    assert all(0 <= value <= 1 + 1e-12 for value in found)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert all(later <= earlier + 1e-12 for earlier, later in zip(found[peak:], found[peak + 1 :], strict=False))
