"""Names of timm's ViT."""

from __future__ import annotations

import dataclasses

from timm.models.vision_transformer import VisionTransformer

from fewframes.models.stam import Stam
from fewframes.weights.adapters import vit
from tests.weights.release import TINY, release_shapes


def test_names() -> None:
    assert vit.translate_name("cls_token") == "encoder.cls_token"
    assert vit.translate_name("blocks.3.mlp.fc1.weight") == "encoder.blocks.3.mlp.fc1.weight"
    assert vit.translate_name("norm.weight") == "encoder.norm.weight"
    assert vit.translate_name("head.bias") == "head.bias"


def test_layout() -> None:
    mean = dataclasses.replace(TINY, aggregator="mean")
    assert vit.is_layout(release_shapes(mean))
    assert vit.is_layout(release_shapes(mean, version=1))
    timms = VisionTransformer(img_size=12, patch_size=4, embed_dim=10, depth=1, num_heads=5, num_classes=0)
    assert vit.is_layout(timms.state_dict())
    assert not vit.is_layout(release_shapes(TINY))
    assert not vit.is_layout(Stam(mean).state_dict())
    assert not vit.is_layout(dict.fromkeys(["cls_token", "pos_embed"]))  # type: ignore[arg-type]


def test_every_tensor_has_its_place() -> None:
    mean = dataclasses.replace(TINY, aggregator="mean")
    ours = {name: tuple(value.shape) for name, value in Stam(mean).state_dict().items()}
    assert {vit.translate_name(name): shape for name, shape in release_shapes(mean).items()} == ours
