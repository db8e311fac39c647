"""Our own names pass as they are."""

from __future__ import annotations

import dataclasses

import pytest

from fewframes.models.stam import Stam
from fewframes.weights.adapters import own, stam, vit
from tests.weights.release import TINY


@pytest.mark.parametrize("aggregator", ["official", "paper", "mean"])
def test_each_network_of_ours_is_recognised_by_one_layout(aggregator: str) -> None:
    names = Stam(dataclasses.replace(TINY, aggregator=aggregator)).state_dict()
    assert [layout for layout in (own, stam, vit) if layout.is_layout(names)] == [own]


def test_names_pass() -> None:
    assert own.translate_name("encoder.norm.weight") == "encoder.norm.weight"
    assert not own.is_layout(["encoder.cls_token"])
