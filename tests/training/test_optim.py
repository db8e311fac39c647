"""The optimiser's groups and the learning rate over time, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewframes.catalog import build_model
from fewframes.errors import UsageError
from fewframes.training.config import OptimConfig
from fewframes.training.optim import (
    build_optimizer,
    describe_groups,
    learning_rate_factor,
    parameter_groups,
    peak_learning_rate,
    set_learning_rate,
)

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


def named_groups(network: torch.nn.Module, config: OptimConfig) -> dict[str, tuple[str, float]]:
    """Each parameter's group and learning rate."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: (str(group["name"]), float(group["lr"]))  # type: ignore[arg-type]
        for group in parameter_groups(network, config)
        for parameter in group["params"]  # type: ignore[attr-defined]
    }


def named(*names: str, head: str = "head.weight") -> torch.nn.Module:
    """A network that has nothing but parameters of these names, and a head."""
    root = torch.nn.Module()
    for name in (*names, head):
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_parameter(last, torch.nn.Parameter(torch.zeros(2, 3)))
    root.head_names = (head,)  # type: ignore[assignment]
    return root


def test_defaults_are_the_plain_adamw() -> None:
    """The groups in their order, and the very bits after some steps, of an optimiser put together by hand."""
    config = OptimConfig(lr=0.01, weight_decay=0.3)
    ends = []
    for by_hand in (False, True):
        network = model()
        with torch.no_grad():
            generator = torch.Generator().manual_seed(5)
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if by_hand:
            groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
            for name, parameter in network.named_parameters():
                key = (name.startswith("encoder."), parameter.ndim > 1 and name.endswith("weight"))
                groups.setdefault(key, []).append(parameter)
            settings = [{"params": each, "weight_decay": 0.3 * decays} for (_, decays), each in groups.items()]
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(settings, lr=0.01, betas=(0.9, 0.999))
        else:
            optimizer = build_optimizer(network, config)
        for _ in range(3):
            for parameter in network.parameters():
                parameter.grad = parameter.detach().sin()
            optimizer.step()
        ends.append(([len(group["params"]) for group in optimizer.param_groups], list(network.parameters())))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(left, right) for left, right in zip(ends[0][1], ends[1][1], strict=True))


def test_parts_by_hand() -> None:
    config = OptimConfig(lr=1.0, encoder_lr_factor=0.5, temporal_lr_factor=10.0, head_lr_factor=3.0)
    found = named_groups(model(), config)
    assert found["encoder.blocks.1.attn.qkv.weight"] == ("encoder, decay", 0.5)
    assert found["encoder.cls_token"] == ("encoder, no decay", 0.5)
    assert found["aggregate.layers.0.linear1.weight"] == ("temporal, decay", 10.0)
    assert found["aggregate.pos_embed"] == ("temporal, no decay", 10.0)
    assert found["head.weight"] == ("head, decay", 30.0)
    assert found["head.bias"] == ("head, no decay", 30.0)
    assert len(found) == len(list(model().parameters()))
    without_encoder = named_groups(named("net.conv.weight", "net.norm.weight"), config)
    assert without_encoder == {
        "net.conv.weight": ("encoder, decay", 0.5),
        "net.norm.weight": ("encoder, decay", 0.5),
        "head.weight": ("head, decay", 30.0),
    }


def test_layer_decay_by_hand() -> None:
    # Two blocks: 0.5 ** 3 before them, 0.5 ** 2, 0.5 ** 1, and the full rate after them.
    found = named_groups(model(), OptimConfig(lr=8.0, temporal_lr_factor=3.0, layer_decay=0.5))
    assert found["encoder.patch_embed.proj.weight"] == ("encoder level 0 of 3, decay", 1.0)
    assert found["encoder.cls_token"] == found["encoder.pos_embed"] == ("encoder level 0 of 3, no decay", 1.0)
    assert found["encoder.blocks.0.mlp.fc1.weight"] == ("encoder level 1 of 3, decay", 2.0)
    assert found["encoder.blocks.1.norm1.bias"] == ("encoder level 2 of 3, no decay", 4.0)
    assert found["encoder.norm.weight"] == ("encoder level 3 of 3, no decay", 8.0)
    assert found["aggregate.layers.0.linear1.weight"] == ("temporal and head, decay", 24.0)
    assert found["head.bias"] == ("temporal and head, no decay", 24.0)
    assert len(found) == len(list(model().parameters()))


@pytest.mark.parametrize(
    ("levels", "top"),
    [
        # A ResNet: its stem, its stages; numbers inside a stage do not count.
        ({"stem.0.weight": 0, "layer1.0.conv1.weight": 1, "layer1.1.conv1.weight": 1, "layer2.0.conv1.weight": 2}, 3),
        ({"encoder.net.conv1.weight": 0, "encoder.net.layer1.0.w": 1, "encoder.net.layer4.1.w": 2}, 3),
        # pytorchvideo: the blocks of pathways lie inside a stage.
        (
            {
                "network.blocks.0.multipathway_blocks.0.conv.weight": 1,
                "network.blocks.0.multipathway_blocks.1.conv.weight": 1,
                "network.blocks.1.multipathway_blocks.0.res_blocks.2.branch2.conv_a.weight": 2,
                "network.blocks.4.multipathway_blocks.1.res_blocks.0.branch2.conv_a.weight": 3,
            },
            4,
        ),
        # torchvision's Swin, timm's ConvNeXt.
        ({"patch_embed.proj.weight": 0, "features.0.1.attn.qkv.weight": 1, "features.1.norm.weight": 2}, 3),
        ({"encoder.net.stem.0.weight": 0, "encoder.net.stages.0.blocks.2.w": 1, "encoder.net.stages.3.w": 2}, 3),
        # Two stacks one after the other, with a norm between them that belongs to the first.
        (
            {
                "a.token": 0,
                "a.blocks.0.weight": 1,
                "a.blocks.1.weight": 2,
                "a.norm.weight": 2,
                "b.blocks.0.weight": 3,
                "b.norm.weight": 4,
            },
            4,
        ),
        # ViViT: patches in front of the encoder.
        ({"patch_embed.proj.weight": 0, "encoder.cls_token": 0, "encoder.blocks.0.w": 1, "encoder.norm.weight": 2}, 2),
        # Counted in the order in which they are defined, whatever their numbers.
        ({"pos_embed": 0, "blocks.3.w": 1, "blocks.12.w": 2, "blocks.2.w": 3, "fc.weight": 4, "fc.bias": 4}, 4),
    ],
)
def test_levels_of_other_networks(levels: dict[str, int], top: int) -> None:
    found = named_groups(named(*levels), OptimConfig(lr=3.0, layer_decay=0.5))
    for name, level in levels.items():
        assert found[name][0].startswith(f"encoder level {level} of {top}, "), name
        assert found[name][1] == pytest.approx(3.0 * 0.5 ** (top - level)), name
    assert found["head.weight"][1] == 3.0


def test_layer_decay_needs_blocks() -> None:
    with pytest.raises(UsageError, match=r"layer_decay needs numbered blocks .* the first is conv1\.weight"):
        parameter_groups(named("conv1.weight", "conv2.weight"), OptimConfig(layer_decay=0.5))


def test_groups_in_plain_values() -> None:
    network = model()
    described = describe_groups(network, CONFIG)
    assert [group["name"] for group in described] == [group["name"] for group in parameter_groups(network, CONFIG)]
    by_name = {str(group.pop("name")): group for group in described}
    head_and_temporal = by_name["temporal and head, decay"]
    assert (head_and_temporal["lr"], head_and_temporal["weight_decay"]) == (0.1, 0.3)
    assert sum(int(str(group["num_parameters"])) for group in described) == sum(p.numel() for p in network.parameters())
    assert sum(int(str(group["num_tensors"])) for group in described) == len(list(network.parameters()))
    small = describe_groups(named("encoder.cls_token", "encoder.blocks.0.weight"), OptimConfig(layer_decay=0.5, lr=4.0))
    assert small == [
        {"name": "encoder level 0 of 2, no decay", "lr": 1.0, "weight_decay": 0, "num_tensors": 1, "num_parameters": 6},
        {"name": "encoder level 1 of 2, decay", "lr": 2.0, "weight_decay": 1e-3, "num_tensors": 1, "num_parameters": 6},
        {"name": "temporal and head, decay", "lr": 4.0, "weight_decay": 1e-3, "num_tensors": 1, "num_parameters": 6},
    ]


def test_linear_scaling_by_hand() -> None:
    # The author of STAM: 1e-5 for a batch of 64, and 2.5e-6 for 16.
    config = OptimConfig(lr=1e-5, lr_reference_batch=64, batch_size=16, temporal_lr_factor=10.0)
    assert peak_learning_rate(config) == pytest.approx(2.5e-6)
    found = named_groups(model(), config)
    assert found["encoder.cls_token"][1] == pytest.approx(2.5e-6)
    assert found["head.weight"][1] == pytest.approx(2.5e-5)
    assert peak_learning_rate(OptimConfig(lr=1e-5, batch_size=16)) == 1e-5


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        # Weight 2, gradient 1, decay 0.5: 1 + 0.5 * 2 = 2, so 2 - 0.1 * 2 = 1.8; then 1.9 + 0.9 * 2 = 3.7.
        ({}, 1.8, 1.43),
        ({"momentum": 0.0}, 1.8, 1.61),
        # Ahead along the momentum: 2 + 0.9 * 2 = 3.8, then 1.81 + 0.9 * (1.81 + 0.9 * 2) = 5.059.
        ({"nesterov": True}, 1.62, 1.1141),
    ],
)
def test_sgd_by_hand(settings: dict[str, float], first: float, second: float) -> None:
    network = named()
    (weight,) = network.parameters()
    config = OptimConfig(optimizer="sgd", lr=0.1, weight_decay=0.5, **settings)  # type: ignore[arg-type]
    optimizer = build_optimizer(network, config)
    assert type(optimizer) is torch.optim.SGD
    with torch.no_grad():
        weight.fill_(2.0)
    for expected in (first, second):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert weight.detach().flatten().tolist() == pytest.approx([expected] * 6)


def factors(steps_per_epoch: int, **settings: object) -> list[float]:
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


def test_steps_by_hand() -> None:
    # TimeSformer: a tenth after 11 epochs, a hundredth after 14 of 15; here with two steps an epoch.
    found = factors(2, schedule="step", step_epochs=(11, 14), epochs=15, warmup_epochs=0)
    assert found == [1.0] * 22 + [0.1] * 6 + [0.01] * 2
    found = factors(4, schedule="step", step_epochs=(1, 2), epochs=3, warmup_epochs=0.5)
    assert found == [0.5, 1.0, 1.0, 1.0] + [0.1] * 4 + [0.01] * 4


def test_constant_by_hand() -> None:
    assert factors(4, schedule="constant", epochs=2, warmup_epochs=0.5) == [0.5] + [1.0] * 7


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 12), st.floats(0, 1))
def test_rises_then_falls(steps_per_epoch: int, epochs: int, warmup: float, final: float) -> None:
    found = factors(steps_per_epoch, epochs=epochs, warmup_epochs=warmup, final_lr_factor=final)
    peak = found.index(max(found))
    assert all(0 <= value <= 1 + 1e-12 for value in found)
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert all(later <= earlier + 1e-12 for earlier, later in zip(found[peak:], found[peak + 1 :], strict=False))
