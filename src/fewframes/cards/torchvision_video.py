"""torchvision's video networks, and the R(2+1)D-34 that its blocks make: literal facts go out, one card each."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.torchvision_cnn import S3dConfig, VideoResnetConfig
from fewframes.models.torchvision_transformer import MvitConfig, Swin3dConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_URL = "https://download.pytorch.org/models"
_IG65M = "https://github.com/moabitcoin/ig65m-pytorch/releases/download/v1.0.0"
_RESNETS = "Tran et al. 2018, arXiv:1711.11248"
_MEAN, _STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
_PREPROCESS = {
    VideoResnetConfig: Preprocess((112, 112), None, mean=_MEAN, std=_STD, resize_to=(128, 171), antialias=False),
    S3dConfig: Preprocess((224, 224), None, mean=_MEAN, std=_STD, resize_to=(256, 256), antialias=False),
    MvitConfig: Preprocess((224, 224), 256, mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225), antialias=False),
    Swin3dConfig: Preprocess((224, 224), 256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), antialias=False),
}
_PORTED = "torchvision took the weights over from the authors' repository, whose licence is stated"


def _card(
    name: str,
    config: VideoResnetConfig | S3dConfig | MvitConfig | Swin3dConfig,
    *,
    source: str,
    test: tuple[float, int],
    file: str,
    results: tuple[float, float],
    cost: tuple[int, float, float],
) -> ModelCard:
    """A card of a file of torchvision's; `test` is frames per second and clips."""
    ported = isinstance(config, MvitConfig | Swin3dConfig)
    return ModelCard(
        name=name,
        family="torchvision",
        config=config,
        sampling=Sampling("clip", config.num_frames, stride=1, stride_fps=test[0]),
        preprocess=_PREPROCESS[type(config)],
        labels="kinetics400",
        source=f"{source}; network and weights: torchvision",
        code_licence="BSD-3-Clause",
        weights_licence="Apache-2.0" if ported else "BSD-3-Clause",
        weights_url=f"{_URL}/{file}.pth",
        published=tuple(
            Published("Kinetics-400", metric, percent, f"{test[1]}x1", "torchvision, these weights")
            for metric, percent in zip(("top-1", "top-5"), results, strict=True)
        ),
        views=(test[1], 1),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes=_PORTED if ported else "",
    )


def _r2plus1d_34(name: str, config: VideoResnetConfig, cost: tuple[int, float], *, released: bool) -> ModelCard:
    table = "R(2+1)D paper, RGB, trained from scratch, in the network of Caffe2"
    zoo = "VMZ model zoo, pre-trained on IG-65M, these weights"
    results = (("top-1", 80.0, zoo), ("top-5", 94.2, zoo), ("top-1", 72.0, table), ("top-5", 90.0, table))
    return ModelCard(
        name=name,
        family="torchvision",
        config=config,
        sampling=Sampling("clip", 32, stride=1),
        preprocess=_PREPROCESS[VideoResnetConfig],
        labels="kinetics400",
        source=f"{_RESNETS}; network: torchvision's blocks"
        + ("; weights: VMZ, converted by ig65m-pytorch" if released else ""),
        code_licence="BSD-3-Clause",
        weights_licence="Apache-2.0" if released else "",
        weights_url=f"{_IG65M}/r2plus1d_34_clip32_ft_kinetics_from_ig65m-ade133f1.pth" if released else None,
        published=tuple(
            Published("Kinetics-400", metric, percent, "10x1", source)
            for metric, percent, source in (results if released else ())
        ),
        views=(10, 1),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[1],
        notes="the licence is that of VMZ, which published the weights; the converter's own is MIT"
        if released
        else "the same blocks without Caffe2's differences; its weights were never published",
    )


CARDS: tuple[ModelCard, ...] = (
    _card(
        "r2plus1d_18",
        VideoResnetConfig(),
        source=_RESNETS,
        test=(15.0, 5),
        file="r2plus1d_18-91a641e6",
        results=(67.463, 86.175),
        cost=(31_505_325, 40.5191, 40.5191),
    ),
    _card(
        "r3d_18",
        VideoResnetConfig(style="r3d"),
        source=_RESNETS,
        test=(15.0, 5),
        file="r3d_18-b3b3357e",
        results=(63.2, 83.479),
        cost=(33_371_472, 40.6966, 40.6966),
    ),
    _card(
        "mc3_18",
        VideoResnetConfig(style="mc3"),
        source=_RESNETS,
        test=(15.0, 5),
        file="mc3_18-a90a0ba3",
        results=(63.96, 84.13),
        cost=(11_695_440, 43.3426, 43.3426),
    ),
    _r2plus1d_34(
        "r2plus1d_34",
        VideoResnetConfig(num_frames=32, depths=(3, 4, 6, 3), mid_planes="caffe2", norm_eps=1e-3, norm_momentum=0.9),
        (63_697_175, 152.3557),
        released=True,
    ),
    _r2plus1d_34(
        "r2plus1d_34_plain",
        VideoResnetConfig(num_frames=32, depths=(3, 4, 6, 3)),
        (61_831_661, 150.4013),
        released=False,
    ),
    _card(
        "s3d",
        S3dConfig(),
        source="Xie et al. 2018, arXiv:1712.04851, without its gates (S3D, not S3D-G)",
        test=(15.0, 1),
        file="s3d-d76dad2f",
        results=(68.368, 88.05),
        cost=(8_320_048, 143.833, 143.833),
    ),
    _card(
        "mvit_v1_b",
        MvitConfig(style="v1"),
        source="Fan et al. 2021, arXiv:2104.11227",
        test=(7.5, 5),
        file="mvit_v1_b-dbeb1030",
        results=(78.477, 93.582),
        cost=(36_610_672, 70.5994, 56.1696),
    ),
    _card(
        "mvit_v2_s",
        MvitConfig(),
        source="Li et al. 2022, arXiv:2112.01526",
        test=(7.5, 5),
        file="mvit_v2_s-ae3be167",
        results=(80.757, 94.665),
        cost=(34_537_744, 64.2238, 49.4995),
    ),
    _card(
        "swin3d_t",
        Swin3dConfig(),
        source="Liu et al. 2022, arXiv:2106.13230",
        test=(15.0, 12),
        file="swin3d_t-7615ae03",
        results=(77.715, 93.519),
        cost=(28_158_070, 87.7642, 69.826),
    ),
    _card(
        "swin3d_s",
        Swin3dConfig(depths=(2, 2, 18, 2)),
        source="Liu et al. 2022, arXiv:2106.13230",
        test=(15.0, 12),
        file="swin3d_s-da41c237",
        results=(79.521, 94.158),
        cost=(49_816_678, 165.6823, 136.4148),
    ),
    _card(
        "swin3d_b",
        Swin3dConfig(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
        source="Liu et al. 2022, arXiv:2106.13230",
        test=(15.0, 12),
        file="swin3d_b_1k-24f7c7c6",
        results=(79.427, 94.386),
        cost=(88_048_984, 281.3328, 242.3095),
    ),
    _card(
        "swin3d_b_22k",
        Swin3dConfig(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
        source="Liu et al. 2022, arXiv:2106.13230, from an image network trained on ImageNet-22k",
        test=(15.0, 12),
        file="swin3d_b_22k-7c6ae6fa",
        results=(81.643, 95.574),
        cost=(88_048_984, 281.3328, 242.3095),
    ),
)
