"""VideoMAE files of Hugging Face: names, their JSON files, both ways, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewframes.architectures import build_from_config
from fewframes.cards import videomae as cards
from fewframes.cards.card import ModelCard
from fewframes.errors import InvalidCheckpoint
from fewframes.models.timesformer import Timesformer, TimesformerConfig
from fewframes.models.videomae import Videomae, VideomaeConfig
from fewframes.weights.adapters import videomae_hf
from fewframes.weights.layouts import LAYOUTS
from fewframes.weights.loading import load_weights
from tests.helpers.golden import GOLDEN

GOLDENS = ("hf_videomae_meanpool_a", "hf_videomae_nomean_a")
QUERY = "videomae.encoder.layer.0.attention.attention.query."


def tensors_of(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / name / "model.safetensors")


def config_json(name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    stated: dict[str, Any] = json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8"))
    return {**stated, **changes}


def model_of(name: str) -> Videomae:
    config = videomae_hf.describe(tensors_of(name), {"config.json": config_json(name)}).config
    assert isinstance(config, VideomaeConfig)
    return Videomae(config)


@pytest.mark.parametrize("name", GOLDENS)
def test_there_and_back(name: str) -> None:
    """Our export of a file of theirs is that file again, tensor for tensor."""
    tensors, model = tensors_of(name), model_of(name)
    load_weights(model, GOLDEN / name)
    exported = videomae_hf.export(model.state_dict(), model.config)
    assert set(exported) == set(tensors)
    assert all(torch.equal(exported[each], tensors[each]) for each in tensors)


@pytest.mark.parametrize("name", GOLDENS)
def test_one_layout_knows_it(name: str) -> None:
    assert [each.NAME for each in LAYOUTS.values() if each.is_layout(tensors_of(name))] == ["VideoMAE (Hugging Face)"]


@pytest.mark.parametrize("name", GOLDENS)
def test_what_a_folder_says_of_itself(name: str) -> None:
    described = videomae_hf.describe(tensors_of(name), {"config.json": config_json(name)})
    assert described.config == VideomaeConfig(
        num_classes=11,
        num_frames=10,
        image_size=(18, 18),
        patch_size=6,
        tubelet_size=2,
        width=28,
        depth=2,
        heads=4,
        mlp_ratio=52 / 28,
        norm_eps=1e-12,
        pooling="mean" if name == GOLDENS[0] else "first",
        pool_norm_eps=1e-5,
    )
    assert described.labels is None
    assert described.preprocess.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("card", cards.CARDS, ids=lambda card: card.name)
def test_each_released_file_is_its_card_but_for_two_eps(card: ModelCard) -> None:
    with torch.device("meta"):
        model = build_from_config(card.config)
    assert isinstance(model, Videomae)
    described = videomae_hf.describe(videomae_hf.export(model.state_dict(), card.config), {})
    assert (described.name, described.sampling, described.preprocess) == (card.name, card.sampling, card.preprocess)
    assert isinstance(described.config, VideomaeConfig)
    assert (described.config.norm_eps, described.config.pool_norm_eps) == (1e-12, 1e-5)
    assert described.config.heads == model.config.heads
    assert "there is no config.json: the published number of heads assumed" in described.notes


def test_mean_and_std_are_those_that_are_stated() -> None:
    stated = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    beside = {"config.json": config_json(GOLDENS[0]), "preprocessor_config.json": stated}
    preprocess = videomae_hf.describe(tensors_of(GOLDENS[0]), beside).preprocess
    assert (preprocess.mean, preprocess.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.mark.parametrize("biased", [True, False])
def test_config_json_there_and_back(biased: bool) -> None:
    config = VideomaeConfig(
        num_classes=2, num_frames=6, image_size=(14, 35), patch_size=7, width=22, depth=1, heads=2, qv_bias=biased,
        norm_eps=1e-12, pool_norm_eps=1e-5,
    )  # fmt: skip
    tensors = videomae_hf.export(Videomae(config).state_dict(), config)
    preprocess = videomae_hf.describe(tensors, {}).preprocess
    beside = videomae_hf.export_beside(config, ("a", "b"), preprocess)
    assert beside["config.json"]["image_size"] == [14, 35]
    assert beside["config.json"]["qkv_bias"] is biased
    again = videomae_hf.describe(tensors, beside)
    assert (again.config, again.labels) == (config, ("a", "b"))


def test_another_activation_is_refused() -> None:
    with pytest.raises(InvalidCheckpoint, match="hidden_act 'gelu_fast'; this network only has 'gelu'"):
        videomae_hf.describe(tensors_of(GOLDENS[0]), {"config.json": config_json(GOLDENS[0], hidden_act="gelu_fast")})


def test_a_pre_training_is_no_classifier() -> None:
    tensors = {**tensors_of(GOLDENS[1]), "mask_token": torch.zeros(1, 1, 5), "decoder.norm.weight": torch.zeros(5)}
    with pytest.raises(InvalidCheckpoint, match="of pre-training, which has no classifier yet"):
        videomae_hf.describe(tensors, {"config.json": config_json(GOLDENS[1])})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, r"encoder\.blocks\.0\.attn\.qkv\.weight is missing"),
        (torch.zeros(28, 27), r"encoder\.blocks\.0\.attn\.qkv\.weight is missing"),
    ],
)
def test_a_damaged_file_is_refused(damage: Tensor | None, message: str, tmp_path: Path) -> None:
    """A network's fused projection needs queries, keys and values, all of one shape."""
    tensors = tensors_of(GOLDENS[0])
    key = QUERY.replace("query", "key") + "weight"
    if damage is None:
        del tensors[key]
    else:
        tensors[key] = damage
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(model_of(GOLDENS[0]), tmp_path / "model.safetensors")


def test_another_family_is_refused() -> None:
    config = TimesformerConfig(num_frames=2, image_size=(8, 8), patch_size=4, width=6, depth=1, heads=2)
    with pytest.raises(InvalidCheckpoint, match=r"VideoMAE \(Hugging Face\), which cannot fill a timesformer network"):
        load_weights(Timesformer(config), GOLDEN / GOLDENS[0])
