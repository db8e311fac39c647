"""What a network costs, against counts by hand and the paper's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewframes.benchmark import measure_cost
from fewframes.catalog import build_model
from fewframes.models.stam import Stam, StamConfig


def test_a_tiny_network_by_hand() -> None:
    config = StamConfig(
        num_classes=13,
        num_frames=7,
        image_size=(10, 15),
        patch_size=5,
        width=6,
        depth=2,
        heads=3,
        mlp_ratio=2.5,
        temporal_depth=1,
        temporal_heads=2,
        temporal_mlp_width=11,
    )
    d, patches, tokens, frames, steps, inner = 6, 6, 7, 7, 8, 15
    embed = patches * d * 3 * 5 * 5
    block = tokens * (3 * d * d + d * d + 2 * d * inner)
    products = 2 * tokens * tokens * d
    # The temporal layer likewise; only the class token goes on to the head.
    layer = steps * (4 * d * d + 2 * d * 11)
    linear = frames * (embed + 2 * block) + layer + d * 13
    cost = measure_cost(Stam(config), (7, 3, 10, 15))
    assert cost.macs_without_attention_products == linear
    assert cost.macs == linear + frames * 2 * products + 2 * steps * steps * d
    norms = 2 * 2 * d
    in_block = norms + 3 * d * d + 3 * d + d * d + d + 2 * d * inner + inner + d
    encoder = d + tokens * d + d * 75 + d + 2 * in_block + 2 * d
    temporal = d + steps * d + norms + 4 * d * d + 4 * d + 2 * d * 11 + 11 + d + 2 * d
    assert cost.num_parameters == encoder + temporal + d * 13 + 13


@pytest.mark.parametrize(
    ("name", "with_products", "without"),
    [("stam_16", 281.57, 270.13), ("stam_32", 563.12, 540.2), ("stam_64", 1126.22, 1080.4)],
)
def test_the_papers_networks(name: str, with_products: float, without: float) -> None:
    """The paper's 270, 540 and 1080 GFLOPs are multiply-adds without the products inside attention."""
    with torch.device("meta"):
        model = build_model(name)
    cost = measure_cost(model, (int(name.removeprefix("stam_")), 3, 224, 224))
    assert cost.macs / 1e9 == pytest.approx(with_products, abs=0.01)
    assert cost.macs_without_attention_products / 1e9 == pytest.approx(without, abs=0.1 if name != "stam_16" else 0.01)


def test_counting_leaves_the_network_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(3 * 2 * 5 * 7), nn.Linear(210, 11))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost = measure_cost(model, (2, 3, 5, 7))
    assert cost.macs == cost.macs_without_attention_products == 210 * 11
    assert cost.num_parameters == 2 * 210 + 210 * 11 + 11
    assert [module.training for module in model] == [True, False, True, True]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_a_failed_count_leaves_the_network_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(210, 11)).train()
    with pytest.raises(RuntimeError):
        measure_cost(model, (2, 3, 5, 8))
    assert model.training
