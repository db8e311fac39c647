"""TSM on ResNet-50 as published for Kinetics."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.tsm import TsmConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Lin, Gan, Han 2019, arXiv:1811.08383"
_RELEASE = "TSM repository, README"
_FILES = "https://file.lzhu.me/projects/tsm/models/TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment"


def _card(
    name: str,
    sampling: Sampling,
    file: str,
    results: tuple[tuple[float, str, str], ...],
    *,
    gmacs: float,
    dense: bool = False,
    notes: str = "",
) -> ModelCard:
    side = 256 if dense else 224
    return ModelCard(
        name=name,
        family="tsm",
        config=TsmConfig(num_frames=sampling.num_frames, image_size=(side, side)),
        sampling=sampling,
        preprocess=Preprocess((side, side), 256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        labels="kinetics400",
        source=f"{_PAPER}; weights: TSM repository",
        code_licence="MIT",
        weights_licence="MIT",
        weights_url=f"{_FILES}{file}.pth",
        published=tuple(Published("Kinetics-400", "top-1", percent, of, source) for percent, of, source in results),
        views=(10, 3) if dense else (1, 1),
        num_parameters=24_327_632,
        gmacs=gmacs,
        gmacs_without_attention_products=gmacs,
        notes=notes,
    )


CARDS: tuple[ModelCard, ...] = (
    _card(
        "tsm_r50_8f",
        Sampling("uniform", 8),
        "8_e50",
        ((71.2, "1x1", _RELEASE), (72.8, "1x10", _RELEASE)),
        gmacs=32.7036,
    ),
    _card(
        "tsm_r50_16f",
        Sampling("uniform", 16),
        "16_e50",
        ((72.6, "1x1", _RELEASE), (73.7, "1x10", _RELEASE), (74.7, "", "STAM paper, Table 1: 65 GFLOPs, 10 views")),
        gmacs=65.4073,
        notes="the 10 crops are the corners and the centre, each mirrored too",
    ),
    _card(
        "tsm_r50_8f_dense",
        Sampling("clip", 8, stride=8),
        "8_e100_dense",
        ((74.1, "10x3", _RELEASE),),
        gmacs=42.713,
        dense=True,
        notes="trained and tested on clips of 64 neighbouring frames, as non-local networks are",
    ),
)
