"""Recipes: complete, explained, and two of them equal but for one thing."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch

from fewframes.architectures import build_from_config
from fewframes.catalog import adapted_card, parse_options
from fewframes.recipes import RECIPES
from fewframes.training.config import TrainConfig


def test_the_names_that_the_command_line_offers() -> None:
    assert list(RECIPES) == ["small", "finetune", "demo-stam", "demo-mean"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    text = inspect.getdoc(RECIPES[name])
    assert text is not None
    assert text.splitlines()[0].endswith(".") or text.splitlines()[0].endswith(",")
    assert f"Command: fewframes train {name} " in text
    assert "\nSource: " in text


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_complete_run(name: str) -> None:
    config = RECIPES[name]()
    assert isinstance(config, TrainConfig)
    assert config == RECIPES[name](), "the same each time"
    assert config.data.source == "", "whose videos are for the caller to name"
    card = adapted_card(config.model.name, **parse_options(config.model.name, config.model.options), num_classes=7)
    with torch.device("meta"):
        network = build_from_config(card.config)
    size = {"finetune": 118_903_303, "small": 1_700_000, "demo-stam": 490_000, "demo-mean": 370_000}[name]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == pytest.approx(size, rel=0.0 if name == "finetune" else 0.15)


def test_the_demo_compares_one_thing() -> None:
    stam, mean = RECIPES["demo-stam"](), RECIPES["demo-mean"]()
    same = dataclasses.replace(mean, model=stam.model, output=stam.output)
    assert same == stam, "data, augmentation, optimiser and seed are equal"
    cards = [
        adapted_card(each.model.name, **parse_options(each.model.name, each.model.options)) for each in (stam, mean)
    ]
    differing = {
        field.name
        for field in dataclasses.fields(cards[0].config)
        if getattr(cards[0].config, field.name) != getattr(cards[1].config, field.name)
    }
    assert differing <= {"aggregator", "temporal_depth", "temporal_heads"}
    assert [card.config.aggregator for card in cards] == ["paper", "mean"]
    assert cards[0].sampling == cards[1].sampling
    assert cards[0].preprocess == cards[1].preprocess


def test_fine_tuning_as_the_release_did() -> None:
    config = RECIPES["finetune"]()
    assert (config.optim.lr, config.optim.batch_size, config.optim.weight_decay) == (1e-5, 64, 1e-3)
    assert (config.model.name, config.model.init_from) == ("stam_16", "stam_16")
    assert config.optim.warmup_epochs == config.optim.epochs / 10
