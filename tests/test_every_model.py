"""Every model of the catalogue: its card, its size to the last parameter, and a tiny twin that is put to use."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    "vivit_b16x2": (88.95, 451.5),
    "vivit_b16x2_factorised_encoder": (115.06, 283.3),
    "vivit_b16x2_factorised_attention": (117.32, 371.1),
    "vivit_b16x2_factorised_dot_product": (88.95, 276.2),
    "vivit_b16x2_average_pool": (86.70, 282.9),
    "vivit_l16x2": (307.5, 1436),
    "vivit_l16x2_288": (309.6, 2895),
    "vivit_l16x2_320": (310.9, 3957),
    "vivit_l16x2_factorised_encoder": (606.83, 992.5),
    "vivit_l16x2_factorised_encoder_128": (606.9, 3969),
    "vivit_l16x2_factorised_encoder_epic100": (354.90, 988.2),
    "vivit_h14x2": (636.95, 3958.8),
    "timesformer_base_k400": (121_566_352, 195.8),
    "timesformer_hr_k400": (122.02, 1702.7),
    "timesformer_large_k400": (121.63, 2379.9),
    "videomae_base_k400": (86_534_800, 180.3),
    "x3d_xs": (3_794_274, 0.84),
    "x3d_s": (3_794_274, 2.73),
    "x3d_m": (3_794_274, 6.18),
    "x3d_l": (6_153_384, 24.76),
    "x3d_xl": (11_095_840, 48.42),
    "slowfast_r50_8x8": (34_566_488, 65.71),
    "slowfast_r101_8x8": (62_826_968, 125.9),
    "i3d_r50_8x8": (28_043_472, 37.1),
    "slow_r50_8x8": (32_454_096, 54.5),
    "r2plus1d_r50_16x4": (28_107_600, 75.1),
    "r2plus1d_34": (63_697_175, 152.4),
    "r2plus1d_34_plain": (61_831_661, 150.4),
    "r2plus1d_18": (31.5, 40.5),
    "r3d_18": (33.4, 40.7),
    "mc3_18": (11.7, 43.3),
    "s3d": (8_320_048, 17.98),  # at 16 frames
    "mvit_v1_b": (36.6, 70.6),
    "mvit_v2_s": (34.5, 64.2),
    "swin3d_t": (28.2, 87.8),
    "swin3d_s": (49.8, 165.7),
    "swin3d_b": (88.0, 281.3),
    "nonlocal_r101_128x1": (54.3, 359),
}

# The same at the crop that training used: name -> side, 1e9 multiply-adds.
SAID_IN_TRAINING = {
    "x3d_xs": (160, 0.605),
    "x3d_s": (160, 1.963),
    "x3d_m": (224, 4.73),
    "x3d_l": (312, 18.37),
    "x3d_xl": (312, 35.84),
    "slowfast_r50_8x8": (224, 50.3),
}

# Encoders behind STAM: name of the card -> the encoder's width, parameters in millions, 1e9 multiply-adds a frame.
SAID_OF_ENCODERS = {
    "stam_16_tresnet_m": (2048, 29.34, 5.73),
    "stam_8_tresnet_l_v1": (2432, 53.56, 10.88),
    "stam_8_tresnet_l": (2048, 44.13, 8.81),
    "stam_16_resnet50": (2048, 23.51, 4.09),
}


@pytest.mark.parametrize("name", SAID)
def test_sizes_are_those_of_the_sources(name: str) -> None:
    parameters, gmacs = SAID[name]
    config: Any = card_of(name).config
    cost = cost_of(dataclasses.replace(config, num_frames=16) if name == "s3d" else config)
    if parameters >= 1e6:
        assert cost.num_parameters == parameters
    else:  # in millions, rounded as printed
        assert cost.num_parameters / 1e6 == pytest.approx(parameters, abs=0.1 if parameters * 10 % 1 == 0 else 0.0051)
    assert cost.macs / 1e9 == pytest.approx(gmacs, rel=0.005, abs=0.0051)


@pytest.mark.parametrize("name", SAID_IN_TRAINING)
def test_costs_in_training_are_those_of_the_sources(name: str) -> None:
    side, gmacs = SAID_IN_TRAINING[name]
    config: Any = card_of(name).config
    cost = cost_of(dataclasses.replace(config, image_size=(side, side)))
    assert cost.macs / 1e9 == pytest.approx(gmacs, rel=0.005, abs=0.0051)


@pytest.mark.parametrize("name", SAID_OF_ENCODERS)
def test_encoders_are_those_of_timm(name: str) -> None:
    width, parameters, gmacs = SAID_OF_ENCODERS[name]
    config: Any = card_of(name).config
    with torch.device("meta"):
        model: Any = build_from_config(config)
        frames = model.embed_frames(torch.zeros(1, 1, 3, *config.image_size))
    assert frames.shape[2] == width
    assert sum(each.numel() for each in model.encoder.parameters()) / 1e6 == pytest.approx(parameters, abs=0.0051)
    one, two = (cost_of(dataclasses.replace(config, num_frames=count, aggregator="mean")).macs for count in (1, 2))
    assert (two - one) / 1e9 == pytest.approx(gmacs, rel=0.005)


def test_the_page_of_models_is_the_catalogue() -> None:
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "model_table.py"
    check = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert (check.returncode, check.stderr) == (0, "")


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
