"""ViViT files flattened from scenic's Flax checkpoints: names, sizes, both ways, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewframes.cards.vivit import CARDS
from fewframes.errors import InvalidCheckpoint
from fewframes.models.vivit import VivitConfig, build_vivit
from fewframes.weights.adapters import vivit_scenic
from fewframes.weights.adapters.vivit_scenic import file_grid, guess_grid
from fewframes.weights.layouts import LAYOUTS
from fewframes.weights.loading import load_weights
from tests.helpers.golden import GOLDEN
from tests.helpers.golden_vivit import SCENIC, golden_vivit

NAME = "ViViT (scenic, flattened Flax tree)"


def tensors_of(name: str) -> dict[str, Tensor]:
    return load_file(golden_vivit(name).weights)


@pytest.mark.parametrize("name", SCENIC)
def test_there_and_back(name: str) -> None:
    """Our export of a file of theirs is that file again, tensor for tensor."""
    golden, tensors = golden_vivit(name), tensors_of(name)
    exported = vivit_scenic.export(golden.model().state_dict(), golden.config)
    assert set(exported) == set(tensors)
    assert all(torch.equal(exported[each], tensors[each]) for each in tensors)


FILES = [path for folder in sorted(GOLDEN.iterdir()) for path in folder.glob("*.safetensors") if "io" not in path.stem]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.parent.name)
def test_at_most_one_layout_knows_a_file(file: Path) -> None:
    known = [each.NAME for each in LAYOUTS.values() if each.is_layout(load_file(file))]
    assert len(known) <= 1
    assert (NAME in known) == (file.parent.name in SCENIC)
    assert ("ViViT (Hugging Face)" in known) == (file.parent.name == "hf_vivit_a")


@pytest.mark.parametrize("prefix", ["", "params/", "optimizer/target/", "optimizer/target/params/", "target/"])
@pytest.mark.parametrize("dots", [False, True])
def test_every_way_to_write_the_names(prefix: str, dots: bool, tmp_path: Path) -> None:
    golden = golden_vivit("vivit_m2_a")
    tensors = {prefix + name: value for name, value in tensors_of("vivit_m2_a").items()}
    if prefix.startswith("optimizer"):
        tensors["optimizer/state/param_states/cls_SpatialTransformer/momentum"] = torch.zeros(1, 1, 28)
    if dots:
        tensors = {name.replace("/", "."): value for name, value in tensors.items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    model = build_vivit(golden.config)
    report = load_weights(model, tmp_path / "weights.safetensors")
    assert report.layout == NAME
    assert not report.newly_initialised
    expected = ("optimizer/state/param_states/cls_SpatialTransformer/momentum",) if prefix.startswith("opt") else ()
    assert report.unused == expected
    state = golden.model().state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vivit_m1_a", {"heads": 7}, "the file's encoder has 4 heads, the network's 7; build the network with the fi"),
        ("vivit_m2_a", {"temporal_heads": None}, "the file's temporal has 7 heads, the network's 4"),
        ("vivit_m4_a", {"variant": "spacetime"}, 'variant "factorised_dot_product", the network is "spacetime"; build'),
        ("vivit_m1_a", {"variant": "factorised_dot_product"}, 'variant "spacetime", the network is "factorised_dot'),
        ("vivit_m3_space_time_a", {"variant": "spacetime"}, 'variant "factorised_attention", the network is "space'),
        ("vivit_m2_avgpool_a", {"temporal_depth": 1}, "does not fit this model: temporal.cls_token is missing"),
        ("vivit_m2_a", {"temporal_depth": 0}, r"temporal.norm.bias \(28\) is left over"),
        ("vivit_m1_a", {"depth": 2}, r"encoder.blocks.2.norm1.bias \(28\) is left over"),
        ("vivit_m1_a", {"tubelet_frames": 5}, r"patch_embed.proj.weight is \(28, 3, 2, 6, 6\), expected \(28, 3, 5, "),
    ],
)
def test_what_does_not_fit(name: str, changes: dict[str, Any], message: str) -> None:
    golden = golden_vivit(name)
    model = build_vivit(dataclasses.replace(golden.config, **changes))
    with pytest.raises(InvalidCheckpoint, match=message):
        load_weights(model, golden.weights)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    tensors = tensors_of("vivit_m1_a")
    del tensors["Transformer/encoderblock_1/MultiHeadDotProductAttention_0/key/kernel"]
    tensors["Transformer/surprise"] = torch.zeros(3)
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"blocks.1.attn.qkv.weight is missing; .*query.*left over"):
        load_weights(build_vivit(golden_vivit("vivit_m1_a").config), tmp_path / "weights.safetensors")


def test_another_network_size_is_interpolated_and_said() -> None:
    golden = golden_vivit("vivit_m1_a")
    model = build_vivit(dataclasses.replace(golden.config, num_frames=8, num_classes=5))
    report = load_weights(model, golden.weights)
    assert report.resized == ("encoder.pos_embed: (1, 46, 28) -> (1, 37, 28)",)
    assert set(report.newly_initialised) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("tokens", "options", "grid"),
    [
        (3136, {}, (16, 14, 14)),
        (3136, {"num_frames": 8}, (16, 14, 14)),  # not (4, 28, 28), which the network's time would allow
        (3136, {"num_frames": 8, "image_size": (288, 288)}, (16, 14, 14)),
        (6400, {}, (16, 20, 20)),
        (6400, {"image_size": (320, 320)}, (16, 20, 20)),
        (4096, {"patch_size": 14}, (16, 16, 16)),
        (120, {"image_size": (48, 64)}, (10, 3, 4)),
        (121, {}, (1, 11, 11)),
    ],
)
def test_the_grid_of_a_file(tokens: int, options: dict[str, Any], grid: tuple[int, int, int]) -> None:
    assert file_grid(tokens, VivitConfig(**options)) == grid


@pytest.mark.parametrize(
    ("tokens", "patch", "grid"),
    [
        (3136, 16, (16, 14, 14)),
        (5184, 16, (16, 18, 18)),
        (4096, 14, (16, 16, 16)),
        (45, 6, (5, 3, 3)),
        (7, 6, (7, 1, 1)),
    ],
)
def test_the_likeliest_grid(tokens: int, patch: int, grid: tuple[int, int, int]) -> None:
    assert guess_grid(tokens, patch) == grid


@pytest.mark.parametrize("name", SCENIC)
def test_what_a_file_says_of_itself(name: str) -> None:
    config, described = golden_vivit(name).config, vivit_scenic.describe(tensors_of(name), {})
    if name == "vivit_m1_nonsquare_a":
        assert described.notes == ("the file does not state its grid of tokens; 15x2x2 is assumed",)
        return
    unknown: dict[str, Any] = {}
    if config.num_sampled_frames:
        unknown["num_frames"] = 32
    if "avgpool" in name:
        unknown["num_frames"] = 48
    if config.variant == "factorised_attention":
        unknown["attention_order"] = "time_space"
    assert described.config == dataclasses.replace(config, **unknown)
    assert described.preprocess.mean == described.preprocess.std == (0.5, 0.5, 0.5)
    assert described.labels is None


@pytest.mark.parametrize(
    "card", [card for card in CARDS if card.config.variant != "factorised_attention"], ids=lambda c: c.name
)
def test_full_size_files_are_recognised_as_what_they_are(card: Any) -> None:  # noqa: ANN401
    with torch.device("meta"):
        state = build_vivit(card.config).state_dict()
    described = vivit_scenic.describe(vivit_scenic.export(state, card.config), {})
    assert (described.name, described.config) == (card.name, card.config)
    assert (described.sampling, described.preprocess) == (card.sampling, card.preprocess)
