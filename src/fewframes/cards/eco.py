"""ECO, light and full."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.eco import EcoConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Zolfaghari, Singh, Brox 2018, arXiv:1804.09066"
_LITE = Published(
    "Kinetics-400",
    "top-1",
    64.4,
    "1x1",
    "paper, as quoted in issues 37 and 42 of the authors' repository; users of the PyTorch port measured 62.1 and 58.5",
)
_UCF = Published("UCF101", "top-1", 93.6, "", "STAM paper, Table 6, at 20.8 videos a second; the frames are not stated")
# Values of 0 to 255 less the mean, blue first: as Caffe's image networks had it.
_PREPROCESS = Preprocess(
    (224, 224),
    None,
    mean=(123 / 255, 117 / 255, 104 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="bgr",
    resize_to=(240, 320),
)


def _card(name: str, config: EcoConfig, published: tuple[Published, ...], cost: tuple[int, float]) -> ModelCard:
    return ModelCard(
        name=name,
        family="eco",
        config=config,
        sampling=Sampling("uniform", config.num_frames),
        preprocess=_PREPROCESS,
        labels="kinetics400",
        source=f"{_PAPER}; network files of the authors' repository",
        code_licence="MIT",
        published=published,
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[1],
        notes="the published weights are Caffe files, and those of a port to PyTorch whose network is another one",
    )


CARDS: tuple[ModelCard, ...] = (
    _card("eco_lite_4f", EcoConfig(num_frames=4, variant="lite", dropout=0.3), (), (37_503_856, 11.6218)),
    _card("eco_lite_16f", EcoConfig(variant="lite", dropout=0.3), (_LITE,), (37_503_856, 46.4865)),
    _card("eco_full_16f", EcoConfig(), (_UCF,), (47_502_128, 64.413)),
    _card("eco_full_32f", EcoConfig(num_frames=32), (), (47_502_128, 128.8253)),
)
