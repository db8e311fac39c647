"""Golden numbers of scenic's ViViT: the name of a folder in tests/golden comes in, a network and its numbers go out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from fewframes.models.vivit import VivitConfig, build_vivit
from fewframes.weights.loading import load_weights
from tests.helpers.golden import GOLDEN

SCENIC = (
    "vivit_m1_a",
    "vivit_m1_nonsquare_a",
    "vivit_m1_sampling_a",
    "vivit_m2_a",
    "vivit_m2_avgpool_a",
    "vivit_m3_space_time_a",
    "vivit_m3_time_space_a",
    "vivit_m4_a",
)
VARIANTS = {
    "spacetime": "spacetime",
    "factorized_encoder": "factorised_encoder",
    "factorized_self_attention_block": "factorised_attention",
    "factorized_dot_product_attention": "factorised_dot_product",
}


@dataclass(frozen=True, eq=False)
class GoldenVivit:
    """One network of the original code, and what it made of one batch of clips.

    Attributes:
        config: the same network in our terms.
        weights: a file in the original's names.
        clip: (B, T, 3, H, W) input.
        encoded: (B, S, D) all tokens after the last norm; None for model 2.
        video: (B, D) what the head gets.
        logits: (B, K).
    """

    config: VivitConfig
    weights: Path
    clip: Tensor
    encoded: Tensor | None
    video: Tensor
    logits: Tensor

    def model(self) -> nn.Module:
        """Our network with the golden weights, loaded strictly, in eval mode."""
        model = build_vivit(self.config)
        report = load_weights(model, self.weights)
        assert not report.newly_initialised
        assert not report.unused
        assert not report.resized
        return model.eval()


@cache
def golden_vivit(name: str) -> GoldenVivit:
    """Read one of `SCENIC`."""
    stated: dict[str, Any] = json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(GOLDEN / name / "io.safetensors")
    return GoldenVivit(
        config=config_of(stated),
        weights=GOLDEN / name / "weights.safetensors",
        clip=tensors["input"].permute(0, 1, 4, 2, 3),
        encoded=tensors.get("encoded"),
        video=tensors["prelogits"],
        logits=tensors["logits"],
    )


def config_of(stated: dict[str, Any]) -> VivitConfig:
    """Our config of a network that a golden config.json describes."""
    height, width, *tubelet = stated["patch"]
    temporal: dict[str, Any] = {}
    variant = VARIANTS[stated.get("attention_type") or stated["type"]]
    if "temporal_layers" in stated:
        temporal["temporal_depth"] = stated["temporal_layers"]
        if stated["temporal_layers"]:
            temporal |= {"temporal_heads": stated["temporal_heads"], "temporal_mlp_width": stated["temporal_mlp"]}
    return VivitConfig(
        num_classes=stated["num_classes"],
        num_frames=stated["frames"],
        image_size=(stated["height"], stated["width"]),
        variant=variant,  # type: ignore[arg-type]
        tubelet_frames=tubelet[0] if tubelet else 1,
        patch_size=height if height == width else (height, width),
        num_sampled_frames=stated.get("n_sampled_frames"),
        width=stated["hidden_size"],
        depth=stated["num_layers"],
        heads=stated["num_heads"],
        mlp_ratio=stated["mlp_dim"] / stated["hidden_size"],
        attention_order=stated.get("attention_order", "space_time"),
        **temporal,
    )
