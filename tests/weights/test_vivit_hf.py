"""ViViT files of Hugging Face: both naming schemes, their JSON files, both ways, refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.models.vivit import Vivit, VivitConfig, build_vivit
from fewframes.records import Preprocess, Sampling
from fewframes.weights.adapters import vivit_hf
from fewframes.weights.convert import convert
from fewframes.weights.layouts import layout_of
from fewframes.weights.loading import load_weights
from tests.helpers.golden import GOLDEN

FOLDER = GOLDEN / "hf_vivit_a"
# What the processor's constructor gives if nothing else is asked for.
DEFAULTS: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": 20},
    "do_rescale": True,
    "rescale_factor": 1 / 127.5,
    "offset": True,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return load_file(FOLDER / "model.safetensors")


def config_json(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {**json.loads((FOLDER / "config.json").read_text(encoding="utf-8")), **changes}


def beside(processor: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    files = {"config.json": config_json(**changes)}
    return files if processor is None else {**files, "preprocessor_config.json": processor}


def network(tensors: dict[str, Tensor]) -> Vivit:
    config = vivit_hf.describe(tensors, beside()).config
    assert isinstance(config, VivitConfig)
    model = build_vivit(config)
    assert isinstance(model, Vivit)
    return model


def in_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that transformers 5 has in memory."""
    names = (
        ("encoder.layer", "layers"),
        ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    )
    result = {}
    for name, value in tensors.items():
        for old, new in names:
            name = name.replace(old, new)
        result[name] = value
    return result


def bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The base model on its own, with the pooler that nothing here needs."""
    kept = {name.removeprefix("vivit."): value for name, value in tensors.items() if name.startswith("vivit.")}
    return {**kept, "pooler.dense.weight": torch.zeros(28, 28), "pooler.dense.bias": torch.zeros(28)}


def test_there_and_back(tensors: dict[str, Tensor]) -> None:
    model = network(tensors)
    load_weights(model, FOLDER)
    exported = vivit_hf.export(model.state_dict(), model.config)
    assert set(exported) == set(tensors)
    assert all(torch.equal(exported[each], tensors[each]) for each in tensors)


def test_both_naming_schemes_are_one_network(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    first, second = network(tensors), network(tensors)
    load_weights(first, FOLDER)
    renamed = in_memory(tensors)
    assert "vivit.layers.2.attention.o_proj.bias" in renamed
    assert layout_of(renamed) is layout_of(tensors)
    save_file(renamed, tmp_path / "model.safetensors")
    report = load_weights(second, tmp_path)
    assert not (report.newly_initialised or report.unused)
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("scheme", [dict, in_memory])
def test_a_base_model_without_a_head(scheme: Any, tensors: dict[str, Tensor], tmp_path: Path) -> None:  # noqa: ANN401
    save_file(scheme(bare(tensors)), tmp_path / "model.safetensors")
    report = load_weights(network(tensors), tmp_path)
    assert report.layout == "ViViT (Hugging Face)"
    assert set(report.newly_initialised) == {"head.weight", "head.bias"}
    assert set(report.unused) == {"pooler.dense.weight", "pooler.dense.bias"}


def test_no_biases_are_zero_biases(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    ends = ("query.bias", "key.bias", "value.bias")
    save_file(
        {name: value for name, value in tensors.items() if not name.endswith(ends)}, tmp_path / "model.safetensors"
    )
    model = network(tensors)
    report = load_weights(model, tmp_path)
    assert not report.newly_initialised
    assert any("attn.qkv.bias" in note for note in report.notes)
    assert not model.state_dict()["encoder.blocks.0.attn.qkv.bias"].any()


def test_what_a_folder_says_of_itself(tensors: dict[str, Tensor]) -> None:
    named = {str(index): f"class {index}" for index in range(11)}
    described = vivit_hf.describe(tensors, beside(id2label=named, layer_norm_eps=1e-7))
    assert described.config == VivitConfig(
        num_classes=11,
        num_frames=10,
        image_size=(18, 18),
        patch_size=6,
        width=28,
        depth=3,
        heads=4,
        mlp_ratio=52 / 28,
        norm_eps=1e-7,
    )
    assert described.labels == tuple(named.values())
    assert described.sampling == Sampling("clip", 10, stride=2, stride_fps=25.0)
    assert described.preprocess == Preprocess((18, 18), 20, HALF, HALF, antialias=False)
    assert vivit_hf.describe(tensors, beside()).labels is None, "LABEL_0 is a stand-in"


def test_without_config_json_the_published_rule_is_taken(tensors: dict[str, Tensor]) -> None:
    described = vivit_hf.describe(tensors, {})
    assert described.config.num_frames == 10
    assert described.config.image_size == (18, 18)
    assert described.notes == ("there is no config.json: 5x3x3 tokens and width / 64 heads are assumed",)


def test_the_published_network_is_recognised() -> None:
    with torch.device("meta"):
        state = build_vivit(VivitConfig()).state_dict()
    tensors = vivit_hf.export(state, VivitConfig())
    for files in (
        {},
        vivit_hf.export_beside(VivitConfig(), [str(each) for each in range(400)], Preprocess((224, 224), 256)),
    ):
        described = vivit_hf.describe(tensors, {"config.json": files["config.json"]} if files else {})
        assert (described.name, described.config) == ("vivit_b16x2", VivitConfig())
        assert described.sampling == Sampling("clip", 32, stride=2, stride_fps=25.0)
        assert described.preprocess == Preprocess((224, 224), 256, HALF, HALF, antialias=False)


def as_400_classes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "classifier.weight": torch.zeros(400, 28), "classifier.bias": torch.zeros(400)}


def test_the_processors_second_normalisation_is_left_out_for_kinetics(tensors: dict[str, Tensor]) -> None:
    described = vivit_hf.describe(as_400_classes(tensors), beside(DEFAULTS))
    assert (described.preprocess.mean, described.preprocess.std) == (HALF, HALF)
    assert described.notes == (
        "preprocessor_config.json normalises twice, to [-3, 1] with its own defaults; "
        "the network was trained on [-1, 1], used here",
    )


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, 0.75, 0.25),  # x / 127.5 - 1, then (x - 0.5) / 0.5: from -3 to 1
        ({"do_normalize": False}, 0.5, 0.5),
        ({"offset": False, "rescale_factor": 1 / 255, "image_mean": [0.1, 0.1, 0.1]}, 0.1, 0.5),
        ({"offset": False, "rescale_factor": 1 / 255, "do_normalize": False}, 0.0, 1.0),
    ],
)
def test_somebodys_own_network_keeps_its_transform(
    changes: dict[str, Any], mean: float, std: float, tensors: dict[str, Tensor]
) -> None:
    described = vivit_hf.describe(tensors, beside({**DEFAULTS, **changes, "size": {"shortest_edge": 23}}))
    assert described.preprocess == Preprocess((18, 18), 23, (mean,) * 3, (std,) * 3, antialias=False)
    assert (described.notes != ()) == (changes == {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "config.json says hidden_act 'gelu'; this network only has 'gelu_fast'"),
        ({"num_frames": 12}, r"config.json says \(6, 3, 3\) tokens, but the file has 45 positions"),
        ({"image_size": [18, 24]}, r"config.json says \(5, 3, 4\) tokens"),
    ],
)
def test_contradictions(changes: dict[str, Any], message: str, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(InvalidCheckpoint, match=message):
        vivit_hf.describe(tensors, beside(**changes))


@pytest.mark.parametrize("activation", ["gelu_fast", "gelu_new", "gelu_pytorch_tanh"])
def test_other_names_of_the_same_activation(activation: str, tensors: dict[str, Tensor]) -> None:
    assert vivit_hf.describe(tensors, beside(hidden_act=activation)).config.width == 28


@pytest.mark.parametrize("changes", [{"variant": "factorised_encoder"}, {"tubelet_frames": 1, "num_sampled_frames": 8}])
def test_networks_that_transformers_does_not_have(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(VivitConfig(width=24, depth=1, heads=2, num_frames=8, image_size=(32, 32)), **changes)
    model = build_vivit(config)
    assert not vivit_hf.fits(model)
    with pytest.raises(UsageError, match='transformers only has the ViViT of the variant "spacetime" with tubelets'):
        vivit_hf.export(model.state_dict(), config)
    with pytest.raises(UsageError, match="convert to another layout"):
        vivit_hf.export_beside(config, [], Preprocess((32, 32), 36))


@pytest.mark.parametrize(("half", "offset"), [(HALF, True), ((0.4, 0.5, 0.6), False)])
def test_the_processor_that_we_write_normalises_once(half: Any, offset: bool, tensors: dict[str, Tensor]) -> None:  # noqa: ANN401
    config = network(tensors).config
    preprocess = Preprocess((18, 18), 21, half, HALF, antialias=False)
    written = vivit_hf.export_beside(config, [f"class {index}" for index in range(11)], preprocess)
    processor = written["preprocessor_config.json"]
    assert (processor["offset"], processor["do_normalize"]) == (offset, not offset)
    described = vivit_hf.describe(tensors, written)
    assert described.preprocess == preprocess
    assert described.config == config
    assert described.notes == ()


def test_what_transformers_makes_of_the_processor_that_we_write(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    """White frames become 1 and black ones -1, as the network was trained."""
    from transformers import VivitImageProcessor

    preprocess = Preprocess((18, 18), 20, HALF, HALF, antialias=False)
    written = vivit_hf.export_beside(network(tensors).config, [], preprocess)["preprocessor_config.json"]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written), encoding="utf-8")
    processor = VivitImageProcessor.from_pretrained(tmp_path)
    frames = [torch.full((3, 24, 30), value, dtype=torch.uint8) for value in (0, 255)]
    values = processor([[frame.permute(1, 2, 0).numpy() for frame in frames]], return_tensors="pt")["pixel_values"]
    assert values.shape == (1, 2, 3, 18, 18)
    assert values[0].flatten(1).mean(1).tolist() == pytest.approx([-1.0, 1.0])


def test_through_scenic_and_back(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    convert(FOLDER, tmp_path / "own")
    convert(tmp_path / "own", tmp_path / "scenic.safetensors", to="vivit")
    flax = load_file(tmp_path / "scenic.safetensors")
    assert flax["Transformer/encoderblock_0/MultiHeadDotProductAttention_0/query/kernel"].shape == (28, 4, 7)
    convert(tmp_path / "own", tmp_path / "hf", to="vivit_hf")
    again = load_file(tmp_path / "hf" / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in tensors.items())
    assert len(again) == len(tensors)
