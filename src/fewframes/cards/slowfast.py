"""SlowFast, Slow, I3D and R(2+1)D with bottlenecks: literal facts go out, one card for each published network."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.resnet3d import Resnet3dConfig
from fewframes.models.slowfast import SlowFastConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_SLOWFAST = "Feichtenhofer, Fan, Malik, He 2019, arXiv:1812.03982"
_URL = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
_LISTS = {"paper": "paper", "slowfast": "PySlowFast model zoo", "here": "pytorchvideo model zoo, these weights"}
_NOTE = "costs are at the test crop; weights are covered by the repository's licence"


def _card(
    name: str,
    config: SlowFastConfig | Resnet3dConfig,
    *,
    stride: int,
    source: str,
    file: str,
    results: tuple[tuple[str, str, float], ...],
    cost: tuple[int, float],
) -> ModelCard:
    r2plus1d = isinstance(config, Resnet3dConfig) and config.style == "r2plus1d"
    return ModelCard(
        name=name,
        family="slowfast",
        config=config,
        sampling=Sampling("clip_linspace", config.num_frames, stride=stride, stride_fps=30.0),
        preprocess=Preprocess((256, 256), 256, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225), antialias=False),
        labels="kinetics400",
        source=f"{source}; network and weights: pytorchvideo",
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0",
        weights_url=f"{_URL}/{file}.pyth",
        published=tuple(
            Published("Kinetics-400", metric, percent, "10x3", _LISTS[where]) for where, metric, percent in results
        ),
        views=(10, 3),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[1],
        output="probabilities" if r2plus1d else "logits",
        notes=_NOTE,
    )


CARDS: tuple[ModelCard, ...] = (
    _card(
        "slowfast_r50_8x8",
        SlowFastConfig(),
        stride=2,
        source=_SLOWFAST,
        file="SLOWFAST_8x8_R50",
        results=(
            ("paper", "top-1", 77.0),
            ("slowfast", "top-1", 77.0),
            ("here", "top-1", 76.94),
            ("here", "top-5", 92.69),
        ),
        cost=(34_566_488, 65.7117),
    ),
    _card(
        "slowfast_r101_8x8",
        SlowFastConfig(depths=(3, 4, 23, 3), fusion_kernel=5),
        stride=2,
        source=_SLOWFAST,
        file="SLOWFAST_8x8_R101",
        results=(("paper", "top-1", 77.9), ("here", "top-1", 77.9), ("here", "top-5", 93.27)),
        cost=(62_826_968, 125.9083),
    ),
    _card(
        "slowfast_r101_16x8",
        SlowFastConfig(num_frames=64, depths=(3, 4, 23, 3), fusion_kernel=5, res4_time_blocks=6),
        stride=2,
        source=_SLOWFAST,
        file="SLOWFAST_16x8_R101_50_50",
        results=(("here", "top-1", 78.7), ("here", "top-5", 93.61)),
        cost=(53_774_808, 213.024),
    ),
    _card(
        "slow_r50_8x8",
        Resnet3dConfig(),
        stride=8,
        source=_SLOWFAST,
        file="SLOW_8x8_R50",
        results=(("slowfast", "top-1", 74.8), ("here", "top-1", 74.58), ("here", "top-5", 91.63)),
        cost=(32_454_096, 54.5208),
    ),
    _card(
        "i3d_r50_8x8",
        Resnet3dConfig(style="i3d"),
        stride=8,
        source="Carreira, Zisserman 2017, arXiv:1705.07750, with a ResNet in place of the Inception network",
        file="I3D_8x8_R50",
        results=(("slowfast", "top-1", 73.5), ("here", "top-1", 73.27), ("here", "top-5", 90.7)),
        cost=(28_043_472, 37.1061),
    ),
    _card(
        "r2plus1d_r50_16x4",
        Resnet3dConfig(num_frames=16, style="r2plus1d"),
        stride=4,
        source="Tran et al. 2018, arXiv:1711.11248",
        file="R2PLUS1D_16x4_R50",
        results=(("here", "top-1", 76.01), ("here", "top-5", 92.23)),
        cost=(28_107_600, 75.1484),
    ),
)
