"""Golden numbers: the name of a folder in tests/golden comes in, its weights, input and output go out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from fewframes.models.stam import Stam, StamConfig
from fewframes.weights.loading import load_weights

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
STAM_FIXTURES = ("stam_official_a", "stam_official_v1_a", "stam_official_ff2048_a", "stam_official_mean_a")


@dataclass(frozen=True, eq=False)
class GoldenStam:
    """One network of the STAM release, and what it made of one batch of clips.

    Attributes:
        config: the same network in our terms.
        weights: a file in the release's names.
        clip: (B, T, 3, H, W) input.
        frames: (B, T, D) frame embeddings.
        video: (B, D) output of the aggregator.
        logits: (B, K).
    """

    config: StamConfig
    weights: Path
    clip: Tensor
    frames: Tensor
    video: Tensor
    logits: Tensor

    def model(self) -> Stam:
        """Our network with the golden weights, loaded strictly, in eval mode."""
        model = Stam(self.config)
        report = load_weights(model, self.weights)
        assert not report.newly_initialised
        assert not report.unused
        assert not report.resized
        return model.eval()


@cache
def golden_stam(name: str) -> GoldenStam:
    """Read one of `STAM_FIXTURES`."""
    stated: dict[str, Any] = json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(GOLDEN / name / "io.safetensors")
    mean = stated["aggregate"] == "mean"
    config = StamConfig(
        num_classes=stated["num_classes"],
        num_frames=stated["frames"],
        image_size=(stated["img_size"], stated["img_size"]),
        patch_size=stated["patch_size"],
        width=stated["embed_dim"],
        depth=stated["depth"],
        heads=stated["num_heads"],
        mlp_ratio=stated["mlp_ratio"],
        qkv_bias=stated["qkv_bias"],
        norm_eps=stated["ln_eps"],
        aggregator="mean" if mean else "official",
        temporal_depth=stated["temporal_layers"] or 1,
        temporal_heads=stated["temporal_heads"] or 1,
        # Left out where it is the release's own 2048, which then tests our default.
        temporal_mlp_width=None if mean or stated["temporal_ff"] == 2048 else stated["temporal_ff"],
    )
    return GoldenStam(
        config=config,
        weights=GOLDEN / name / "weights.safetensors",
        clip=tensors["input"],
        frames=tensors["frame_embeddings"],
        video=tensors["video_embedding"],
        logits=tensors["logits"],
    )
