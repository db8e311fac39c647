"""Non-local networks on inflated ResNets."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.nonlocal_net import NonLocalNetConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Wang, Girshick, Gupta, He 2018, arXiv:1711.07971"
_README = "paper and README of the authors' repository"
_ZOO = "PySlowFast, list of models"
_CAFFE2 = "the published weights are Caffe2 files, which nothing here reads"
_SIZE = (256, 256)


def _card(
    name: str,
    config: NonLocalNetConfig,
    stride: int,
    published: tuple[Published, ...],
    *,
    cost: tuple[int, float, float],
    zoo: str = "",
    notes: str = "",
) -> ModelCard:
    return ModelCard(
        name=name,
        family="nonlocal_net",
        config=config,
        sampling=Sampling("clip", config.num_frames, stride=stride),
        preprocess=Preprocess(_SIZE, 256, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)),
        labels="kinetics400",
        source=f"{_PAPER}; PySlowFast, {zoo}" if zoo else _PAPER,
        code_licence="Apache-2.0" if zoo else "CC-BY-NC-4.0",
        published=published,
        views=(10, 3),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes="; ".join(each for each in (_CAFFE2, notes) if each),
    )


def _kinetics(top1: float, top5: float, source: str) -> tuple[Published, ...]:
    return tuple(
        Published("Kinetics-400", metric, percent, "10x3", source)
        for metric, percent in (("top-1", top1), ("top-5", top5))
    )


CARDS: tuple[ModelCard, ...] = (
    _card(
        "nonlocal_r50_8x8",
        NonLocalNetConfig(num_frames=8, image_size=_SIZE, time_stride=1),
        8,
        _kinetics(74.0, 91.1, _ZOO),
        cost=(35_401_936, 48.9148, 43.8145),
        zoo="I3D_NLN_8x8_R50",
    ),
    _card(
        "nonlocal_r50_32x2",
        NonLocalNetConfig(num_frames=32, image_size=_SIZE),
        2,
        _kinetics(74.9, 91.6, _README),
        cost=(35_401_936, 55.0804, 49.9801),
    ),
    _card(
        "nonlocal_r50_128x1",
        NonLocalNetConfig(num_frames=128, image_size=_SIZE),
        1,
        _kinetics(76.5, 92.7, _README),
        cost=(35_401_936, 281.5225, 199.9181),
    ),
    _card(
        "nonlocal_r101_128x1",
        NonLocalNetConfig(num_frames=128, image_size=_SIZE, blocks=(3, 4, 23, 3), res4_time_blocks=6),
        1,
        (
            Published("Kinetics-400", "top-1", 77.7, "10x3", "STAM paper, Table 1"),
            Published("Charades", "mAP", 37.5, "10x3", "STAM paper, Table 7, at 544 GFLOPs a view"),
        ),
        cost=(54_394_064, 359.1004, 277.496),
        notes="the published 359 GFLOPs and 54.3 M parameters (convolutions' and classifier's weights alone) fit only "
        "if in res4 just the first 6 of 23 blocks follow the pattern of inflation; all 23 give 378.4 and 59.1 M",
    ),
)
