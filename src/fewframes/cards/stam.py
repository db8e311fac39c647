"""STAM and its ablations."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.stam import StamConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Sharir, Noy, Zelnik-Manor 2021, arXiv:2103.13915"
_UNPUBLISHED = "in the paper's Table 4; its weights were never published"
_FULL = Preprocess((224, 224), 256)


def _stam(
    num_frames: int, top1: float, cost: tuple[int, float, float], *, released: bool = True, notes: str = ""
) -> ModelCard:
    url = f"https://miil-public-eu.oss-eu-central-1.aliyuncs.com/model-zoo/STAM/v2/stam_{num_frames}.pth"
    return ModelCard(
        name=f"stam_{num_frames}",
        family="stam",
        config=StamConfig(num_frames=num_frames),
        sampling=Sampling("uniform", num_frames),
        preprocess=_FULL,
        labels="kinetics400",
        source=f"{_PAPER}; weights: STAM release, version 2",
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0" if released else "",
        weights_url=url if released else None,
        published=(Published("Kinetics-400", "top-1", top1, "1x1", "paper, Table 4"),),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes=notes,
    )


CARDS: tuple[ModelCard, ...] = (
    _stam(4, 74.1, (119_196_304, 70.4179, 67.5564), released=False, notes=_UNPUBLISHED),
    _stam(8, 77.1, (119_199_376, 140.8028, 135.0794), notes="the release's README says 77.5"),
    _stam(16, 79.3, (119_205_520, 281.5734, 270.1255)),
    _stam(32, 79.9, (119_217_808, 563.1183, 540.2177), notes="the release's README says 79.95"),
    _stam(64, 80.5, (119_242_384, 1126.2221, 1080.4022)),
    ModelCard(
        name="vit_mean_16",
        family="stam",
        config=StamConfig(num_frames=16, aggregator="mean"),
        sampling=Sampling("uniform", 16),
        preprocess=_FULL,
        labels="kinetics400",
        source=f"{_PAPER}, Table 2, the same encoder with mean pooling",
        code_licence="Apache-2.0",
        published=(Published("Kinetics-400", "top-1", 75.1, "1x1", "paper, Table 2"),),
        num_parameters=86_106_256,
        gmacs=281.0093,
        gmacs_without_attention_products=269.564,
        notes="its weights were never published",
    ),
)
