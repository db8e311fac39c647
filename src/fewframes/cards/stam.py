"""STAM and its ablations: literal facts go out, one card for each published network and each that the paper names."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.stam import StamConfig
from fewframes.models.stam_inblock import StamInBlockConfig
from fewframes.models.stam_joint import StamJointConfig
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


def _ablation(
    name: str,
    config: StamConfig | StamInBlockConfig | StamJointConfig,
    where: str,
    cost: tuple[int, float, float],
    *,
    published: tuple[Published, ...] = (),
    notes: str,
) -> ModelCard:
    return ModelCard(
        name=name,
        family="stam",
        config=config,
        sampling=Sampling("uniform", config.num_frames),
        preprocess=_FULL,
        labels="kinetics400",
        source=f"{_PAPER}, {where}",
        code_licence="Apache-2.0",
        published=published,
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
    _ablation(
        "vit_mean_16",
        StamConfig(num_frames=16, aggregator="mean"),
        "Table 2, the same encoder with mean pooling",
        (86_106_256, 281.0093, 269.564),
        published=(Published("Kinetics-400", "top-1", 75.1, "1x1", "paper, Table 2"),),
        notes="its weights were never published",
    ),
    _ablation(
        "stam_16_paper",
        StamConfig(num_frames=16, aggregator="paper"),
        "section 3, the temporal transformer as written (pre-norm, GELU)",
        (128_648_848, 281.7339, 270.286),
        notes="not published: the paper's figures are those of the released code, whose aggregator differs (stam_16)",
    ),
    _ablation(
        "stam_16_joint",
        StamJointConfig(num_frames=16),
        "equations 1 to 5, attention over all patches of all frames",
        (88_364_176, 449.6751, 268.29),
        notes='not published: the paper calls it "prohibitively large"; one class token for the clip is our choice',
    ),
    _ablation(
        "stam_16_inblock",
        StamInBlockConfig(num_frames=16),
        "section 3, attention over time after that over space in each block",
        (114_485_392, 371.1768, 358.802),
        notes='"slightly worse" and dearer, says the paper, without figures; class tokens and pooling are our choice',
    ),
)
