"""Names of the STAM release."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fewframes.models.stam import Stam, StamConfig
from fewframes.weights.adapters import stam
from tests.weights.release import TINY, release_shapes


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("cls_token", "encoder.cls_token"),
        ("pos_embed", "encoder.pos_embed"),
        ("patch_embed.proj.weight", "encoder.patch_embed.proj.weight"),
        ("blocks.11.attn.qkv.bias", "encoder.blocks.11.attn.qkv.bias"),
        ("norm.bias", "encoder.norm.bias"),
        ("aggregate.cls_token", "aggregate.cls_token"),
        ("aggregate.pos_embed", "aggregate.pos_embed"),
        ("aggregate.transformer_enc.layers.5.self_attn.in_proj_weight", "aggregate.layers.5.attn.qkv.weight"),
        ("aggregate.transformer_enc.layers.12.self_attn.in_proj_bias", "aggregate.layers.12.attn.qkv.bias"),
        ("aggregate.transformer_enc.layers.0.self_attn.out_proj.bias", "aggregate.layers.0.attn.proj.bias"),
        ("aggregate.transformer_enc.layers.0.linear2.weight", "aggregate.layers.0.linear2.weight"),
        ("aggregate.transformer_enc.layers.0.norm1.weight", "aggregate.layers.0.norm1.weight"),
        ("aggregate.transformer_enc.norm.weight", "aggregate.norm.weight"),
        ("head.weight", "head.weight"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    assert stam.translate_name(theirs) == ours


@pytest.mark.parametrize("config", [TINY, StamConfig(num_frames=32)])
def test_every_tensor_has_its_place(config: StamConfig) -> None:
    with torch.device("meta"):
        ours = {name: tuple(value.shape) for name, value in Stam(config).state_dict().items()}
    assert {stam.translate_name(name): shape for name, shape in release_shapes(config).items()} == ours


def test_a_release_file_has_228_tensors() -> None:
    assert len(release_shapes(StamConfig())) == 228
    assert len(release_shapes(StamConfig(), version=1)) == 216


def test_layout() -> None:
    assert stam.is_layout(release_shapes(TINY))
    assert stam.is_layout(release_shapes(TINY, version=1))
    assert not stam.is_layout(release_shapes(dataclasses.replace(TINY, aggregator="mean")))
    assert not stam.is_layout(Stam(TINY).state_dict())
    assert not stam.is_layout([])
