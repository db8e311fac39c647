"""TimeSformer in its published sizes, data sets and attention schemes."""

from __future__ import annotations

from typing import Literal

from fewframes.cards.card import ModelCard, Published
from fewframes.models.timesformer import TimesformerConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Bertasius, Wang, Torresani 2021, arXiv:2102.05095"
_LICENCE = "CC-BY-NC-4.0"
_RELEASE = "TimeSformer repository, list of models (trained anew for the release)"
_IN1K = "paper, starting from ImageNet-1k weights"
_DATASETS = {
    "k400": ("Kinetics-400", "kinetics400", 400),
    "k600": ("Kinetics-600", "kinetics600", 600),
    "ssv2": ("Something-Something v2", "ssv2", 174),
    "diving48": ("Diving48 V2", "diving48", 48),
}
# Side of the input in pixels, and every how many frames (at 30 a second) one is taken on Kinetics.
_SIZES = {"base": (224, 32), "hr": (448, 16), "large": (224, 4)}
_FIRST_CLIP = "the paper takes the middle clip, the released code the clip from the video's beginning (its first 8.5 s)"
_BGR = "the original code reads Something-Something frames as BGR and never reverses them, so these weights need BGR"


def _results(dataset: str, top1: float, top5: float | None, source: str) -> tuple[Published, ...]:
    first = Published(dataset, "top-1", top1, "1x3", source)
    return (first,) if top5 is None else (first, Published(dataset, "top-5", top5, "1x3", source))


def _card(
    size: str,
    data: str,
    num_frames: int,
    results: tuple[tuple[float, float | None, str], ...],
    *,
    cost: tuple[int, float, float],
    attention: Literal["divided", "joint", "space"] = "divided",
    notes: str = "",
) -> ModelCard:
    dataset, labels, num_classes = _DATASETS[data]
    side, stride = _SIZES[size]
    kinetics, released = data.startswith("k"), attention == "divided" and data != "diving48"
    hub = f"facebook/timesformer-{size}-finetuned-{data}"
    return ModelCard(
        name=f"timesformer_{size if attention == 'divided' else attention}_{data}",
        family="timesformer",
        config=TimesformerConfig(
            num_classes=num_classes, num_frames=num_frames, image_size=(side, side), attention=attention
        ),
        sampling=Sampling("clip_linspace", num_frames, stride=stride, stride_fps=30.0)
        if kinetics
        else Sampling("segment_middle", num_frames),
        preprocess=Preprocess(
            (side, side),
            side,
            mean=(0.45, 0.45, 0.45),
            std=(0.225, 0.225, 0.225),
            channel_order="bgr" if data == "ssv2" else "rgb",
            antialias=False,
        ),
        labels=labels,
        source=f"{_PAPER}; weights: {hub} on the Hugging Face hub, converted from the release" if released else _PAPER,
        code_licence=_LICENCE,
        weights_licence=_LICENCE if released else "",
        weights_url=f"https://huggingface.co/{hub}/resolve/main/pytorch_model.bin" if released else None,
        published=tuple(each for row in results for each in _results(dataset, *row)),
        views=(1, 3),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes="; ".join(each for each in (_FIRST_CLIP if kinetics else "", notes) if each),
    )


_UNRELEASED = "its weights were never published"
_DIVING = f"{_UNRELEASED}; which frames it looked at is not stated, an even spread is assumed"

CARDS: tuple[ModelCard, ...] = (
    _card(
        "base",
        "k400",
        8,
        ((78.0, 93.7, "paper"), (77.9, 93.2, _RELEASE), (75.8, None, _IN1K)),
        cost=(121_566_352, 195.8303, 189.8764),
    ),
    _card(
        "hr",
        "k400",
        16,
        ((79.7, 94.4, "paper"), (79.6, 94.0, _RELEASE), (77.8, None, _IN1K)),
        cost=(122_024_080, 1702.6857, 1517.2541),
    ),
    _card(
        "large",
        "k400",
        96,
        ((80.7, 94.7, "paper"), (80.6, 94.7, _RELEASE), (78.1, None, _IN1K)),
        cost=(121_633_936, 2379.857, 2277.8912),
    ),
    _card("base", "k600", 8, ((79.1, 94.4, "paper and release"),), cost=(121_720_152, 195.8304, 189.8766)),
    _card("hr", "k600", 16, ((81.8, 95.8, "paper and release"),), cost=(122_177_880, 1702.6858, 1517.2543)),
    _card("large", "k600", 96, ((82.2, 95.6, "paper and release"),), cost=(121_787_736, 2379.8571, 2277.8913)),
    _card(
        "base",
        "ssv2",
        8,
        ((59.5, None, "paper"), (59.1, 85.6, _RELEASE)),
        cost=(121_392_558, 195.8301, 189.8763),
        notes=_BGR,
    ),
    _card(
        "hr",
        "ssv2",
        16,
        ((62.5, None, "paper"), (61.8, 86.9, _RELEASE), (62.2, None, _IN1K)),
        cost=(121_850_286, 1702.6855, 1517.254),
        notes=_BGR,
    ),
    _card(
        "large",
        "ssv2",
        64,
        ((62.3, None, "paper"), (62.0, 87.5, _RELEASE), (62.4, None, _IN1K)),
        cost=(121_435_566, 1579.1914, 1518.6129),
        notes=_BGR,
    ),
    _card("base", "diving48", 8, ((74.9, None, "paper"),), cost=(121_295_664, 195.83, 189.8762), notes=_DIVING),
    _card("hr", "diving48", 16, ((78.0, None, "paper"),), cost=(121_753_392, 1702.6854, 1517.2539), notes=_DIVING),
    _card("large", "diving48", 96, ((81.0, None, "paper"),), cost=(121_363_248, 2379.8567, 2277.8909), notes=_DIVING),
    _card(
        "base",
        "k400",
        8,
        ((77.4, None, "paper"),),
        cost=(86_112_400, 179.5628, 134.1876),
        attention="joint",
        notes=f"58.5 on Something-Something v2; {_UNRELEASED}",
    ),
    _card(
        "base",
        "k400",
        8,
        ((76.9, None, "paper"),),
        cost=(86_106_256, 140.5048, 134.7822),
        attention="space",
        notes=f"36.6 on Something-Something v2, where order matters; {_UNRELEASED}",
    ),
)
