"""TimeSformer files of Hugging Face: names, their JSON files, both ways, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fewframes.errors import InvalidCheckpoint
from fewframes.models.timesformer import Timesformer, TimesformerConfig
from fewframes.records import Preprocess
from fewframes.weights.adapters import timesformer_hf
from fewframes.weights.layouts import LAYOUTS
from fewframes.weights.loading import load_weights
from tests.helpers.golden import GOLDEN

GOLDENS = ("hf_timesformer_divided_a", "hf_timesformer_joint_a", "hf_timesformer_space_a")
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
TRAINED = {"image_mean": [0.45, 0.45, 0.45], "image_std": [0.225, 0.225, 0.225]}


def config_json(name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    stated: dict[str, Any] = json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8"))
    return {**stated, **changes}


@pytest.mark.parametrize("name", GOLDENS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    """Our export of a file of theirs is that file again, tensor for tensor."""
    file = GOLDEN / name / "model.safetensors"
    tensors = load_file(file)
    config = timesformer_hf.describe(tensors, {"config.json": config_json(name)}).config
    assert isinstance(config, TimesformerConfig)
    model = Timesformer(config)
    load_weights(model, file)
    exported = timesformer_hf.export(model.state_dict(), config)
    assert set(exported) == set(tensors)
    assert all(torch.equal(exported[each], tensors[each]) for each in tensors)


@pytest.mark.parametrize("name", GOLDENS)
def test_one_layout_knows_it(name: str) -> None:
    tensors = load_file(GOLDEN / name / "model.safetensors")
    assert [each.NAME for each in LAYOUTS.values() if each.is_layout(tensors)] == ["TimeSformer (Hugging Face)"]


@pytest.mark.parametrize("name", GOLDENS)
def test_what_a_folder_says_of_itself(name: str) -> None:
    tensors = load_file(GOLDEN / name / "model.safetensors")
    described = timesformer_hf.describe(tensors, {"config.json": config_json(name, layer_norm_eps=1e-7)})
    assert described.config == TimesformerConfig(
        num_classes=11,
        num_frames=5,
        image_size=(18, 18),
        patch_size=6,
        width=28,
        depth=2,
        heads=4,
        mlp_ratio=52 / 28,
        norm_eps=1e-7,
        attention={"d": "divided", "j": "joint", "s": "space"}[name.split("_")[2][0]],  # type: ignore[arg-type]
    )
    assert described.labels is None, "LABEL_0 and so on are no names"
    assert described.preprocess.mean == (0.45, 0.45, 0.45)


def test_no_config_json() -> None:
    tensors = load_file(GOLDEN / GOLDENS[0] / "model.safetensors")
    described = timesformer_hf.describe(tensors, {})
    assert described.config.num_frames == 5
    assert "there is no config.json: width / 64 heads, as published" in described.notes


def meta_tensors(num_classes: int) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        model = Timesformer(TimesformerConfig(num_classes=num_classes))
    return timesformer_hf.export(model.state_dict(), model.config)


@pytest.mark.parametrize("num_classes", [174, 400, 600])
@pytest.mark.parametrize("stated", [HALF, TRAINED])
def test_published_networks_have_the_mean_of_their_training(num_classes: int, stated: dict[str, Any]) -> None:
    described = timesformer_hf.describe(meta_tensors(num_classes), {"preprocessor_config.json": stated})
    assert (described.preprocess.mean, described.preprocess.std) == ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    assert any("says mean and std 0.5" in note for note in described.notes) == (stated is HALF)
    assert described.preprocess.channel_order == ("bgr" if num_classes == 174 else "rgb")
    assert (
        described.name
        == {174: "timesformer_base_ssv2", 400: "timesformer_base_k400", 600: "timesformer_base_k600"}[num_classes]
    )


def test_somebodys_own_network_has_the_mean_that_is_stated() -> None:
    described = timesformer_hf.describe(meta_tensors(7), {"preprocessor_config.json": HALF})
    assert (described.preprocess.mean, described.preprocess.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert "mean and std are those of preprocessor_config.json" in described.notes
    unused = timesformer_hf.describe(meta_tensors(7), {"preprocessor_config.json": {**HALF, "do_normalize": False}})
    assert unused.preprocess.mean == (0.45, 0.45, 0.45)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act 'gelu_new'; this network only has 'gelu'"),
        ({"attention_type": "joint_space_time"}, "tensors have attention divided, but joint is stated beside"),
        ({"attention_type": "axial"}, "tensors have attention divided, but axial is stated beside"),
        ({"image_size": 24}, "positions of 9 patches of 6x6 pixels, but 24x24 pixels are stated beside"),
    ],
)
def test_contradictions(changes: dict[str, Any], message: str) -> None:
    tensors = load_file(GOLDEN / GOLDENS[0] / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match=message):
        timesformer_hf.describe(tensors, {"config.json": config_json(GOLDENS[0], **changes)})


def test_an_oblong_network(tmp_path: Path) -> None:
    config = TimesformerConfig(
        num_classes=3, num_frames=2, image_size=(14, 35), patch_size=7, width=22, depth=1, heads=2
    )
    model = Timesformer(config)
    tensors = timesformer_hf.export(model.state_dict(), config)
    with pytest.raises(InvalidCheckpoint, match="positions of 10 patches of 7x7 pixels, but they are no square; name"):
        timesformer_hf.describe(tensors, {})
    preprocess = Preprocess((14, 35), 35, mean=(0.45,) * 3, std=(0.225,) * 3, antialias=False)
    beside = timesformer_hf.export_beside(config, ("a", "b", "c"), preprocess)
    assert beside["config.json"]["image_size"] == [14, 35]
    again = timesformer_hf.describe(tensors, beside)
    assert (again.config, again.labels, again.preprocess) == (config, ("a", "b", "c"), preprocess)
    save_file(tensors, tmp_path / "model.safetensors")
    assert len(load_weights(Timesformer(config), tmp_path / "model.safetensors").loaded) == len(tensors)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"1": "b", "0": "a"}, ("a", "b")),
        ({"0": "a", "2": "b"}, None),
        ({"0": "a", "1": "a"}, None),
        ({"0": "LABEL_0", "1": "LABEL_1"}, None),
        ({}, None),
    ],
)
def test_labels(labels: dict[str, str], expected: tuple[str, ...] | None) -> None:
    assert timesformer_hf.stated_labels({"id2label": labels}) == expected
    assert timesformer_hf.stated_labels({}) is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    tensors = load_file(GOLDEN / GOLDENS[0] / "model.safetensors")
    config = timesformer_hf.describe(tensors, {"config.json": config_json(GOLDENS[0])}).config
    del tensors["timesformer.encoder.layer.1.temporal_dense.weight"]
    tensors["timesformer.encoder.layer.1.output.dense.scale"] = torch.zeros(3)
    save_file(tensors, tmp_path / "model.safetensors")
    assert isinstance(config, TimesformerConfig)
    message = (
        r"encoder\.blocks\.1\.temporal_fc\.weight is missing; timesformer\.encoder\.layer\.1\.output\.dense\.scale"
    )
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(Timesformer(config), tmp_path / "model.safetensors")
