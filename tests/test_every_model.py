"""Every model of the catalogue: its card, its size to the last parameter, and a tiny twin that is put to use."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from torch import Tensor, nn

from fewframes.architectures import ARCHITECTURES, architecture_of, build_from_config
from fewframes.benchmark import Cost, measure_cost
from fewframes.cards.card import ModelCard
from fewframes.catalog import CATALOG, QUOTED, build_model, card_of, list_models
from fewframes.classes import label_lists, official_labels
from fewframes.errors import UsageError
from fewframes.models.checks import ModelConfig
from tests.helpers.tiny_models import tiny_card, tiny_names
from tests.helpers.tolerance import REGROUPED, assert_close


@functools.cache
def cost_of(config: ModelConfig) -> Cost:
    with torch.device("meta"):
        model = build_from_config(config)
    return measure_cost(model, (config.num_frames, 3, *config.image_size))


@pytest.mark.parametrize("name", list_models())
def test_each_card_is_complete_and_fits_together(name: str) -> None:
    card = card_of(name)
    config, sampling, preprocess = card.config, card.sampling, card.preprocess
    assert card.name == name
    assert sampling.num_frames == config.num_frames
    assert preprocess.crop == config.image_size
    assert card.labels == "" or len(official_labels(card.labels)) == config.num_classes
    assert card.labels == "" or card.labels in label_lists()
    assert min(card.views) >= 1
    assert card.source
    assert card.code_licence
    assert (card.weights_url is None) == (card.weights_licence == "")
    assert card.published or card.notes, "either a published result or a word on why there is none"
    for each in card.published:
        assert 0 < each.percent < 100
        assert each.source
    assert card.output in ("logits", "probabilities")


@pytest.mark.parametrize("name", list_models())
def test_each_card_counts_its_network(name: str) -> None:
    card, cost = card_of(name), cost_of(card_of(name).config)
    counted = (cost.num_parameters, round(cost.macs / 1e9, 4), round(cost.macs_without_attention_products / 1e9, 4))
    assert (card.num_parameters, card.gmacs, card.gmacs_without_attention_products) == counted


# What the papers' own code and others' measurements say, name -> parameters, 1e9 multiply-adds a view; those are
# compared to 0.5 %. Parameters in millions where only those are known.
SAID: dict[str, tuple[float, float]] = {
    "stam_16": (119_205_520, 281.57),
    "stam_32": (119_217_808, 563.12),
    "stam_64": (119_242_384, 1126.22),
    "timesformer_base_k400": (121_566_352, 195.8),
    "timesformer_hr_k400": (122_024_080, 1702.7),
    "timesformer_large_k400": (121_633_936, 2379.9),
}


@pytest.mark.parametrize("name", SAID)
def test_sizes_are_those_of_the_sources(name: str) -> None:
    parameters, gmacs = SAID[name]
    cost = cost_of(card_of(name).config)
    if parameters >= 1e6:
        assert cost.num_parameters == parameters
    else:
        assert cost.num_parameters / 1e6 == pytest.approx(parameters, abs=0.005 + 0.0005 * parameters)
    assert cost.macs / 1e9 == pytest.approx(gmacs, rel=0.005)


@pytest.mark.parametrize("name", QUOTED)
def test_a_quoted_system_says_why_it_cannot_be_built(name: str) -> None:
    card = QUOTED[name]
    assert name not in CATALOG
    assert card.published
    assert all(each.source for each in card.published)
    with pytest.raises(UsageError, match=f"^{name} cannot be built, the catalogue only quotes its figures: "):
        build_model(name)


@functools.cache
def tiny(name: str) -> tuple[ModelCard, nn.Module]:
    card = tiny_card(name)
    return card, build_from_config(card.config, torch.Generator().manual_seed(3))


def clip_of(card: ModelCard, batch: int) -> Tensor:
    shape = (batch, card.config.num_frames, 3, *card.config.image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", tiny_names())
def test_a_training_step_reaches_every_parameter(name: str) -> None:
    card, model = tiny(name)
    model.train()
    model.zero_grad()
    logits = model(clip_of(card, 2))
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32
    nn.functional.cross_entropy(logits, torch.tensor([1, 4])).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize("name", tiny_names())
@torch.no_grad()
def test_it_is_deterministic_and_clips_do_not_meet(name: str) -> None:
    card, model = tiny(name)
    model.eval()
    clip = clip_of(card, 3)
    logits = model(clip)
    assert torch.equal(logits, model(clip))
    assert torch.isfinite(logits).all()
    alone = torch.cat([model(clip[index : index + 1]) for index in range(3)])
    assert_close(logits, alone, REGROUPED)


@pytest.mark.parametrize("name", tiny_names())
@torch.no_grad()
def test_it_exports_with_any_batch(name: str) -> None:
    card, model = tiny(name)
    model.eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (clip_of(card, 2),), dynamic_shapes=({0: batch},))
    for size in (1, 3):
        clip = clip_of(card, size)
        assert_close(exported.module()(clip), model(clip), REGROUPED)


@pytest.mark.parametrize("name", tiny_names())
def test_the_same_seed_gives_the_same_network(name: str) -> None:
    card, model = tiny(name)
    state = torch.random.get_rng_state()
    again = build_from_config(card.config, torch.Generator().manual_seed(3))
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in again.named_parameters())


def test_every_architecture_is_in_the_catalogue() -> None:
    assert {architecture_of(card.config) for card in CATALOG.values()} == set(ARCHITECTURES)
    for each in ARCHITECTURES.values():
        assert dataclasses.is_dataclass(each.config)
