"""ViViT: what was released, and the variants that exist only as numbers in the paper."""

from __future__ import annotations

from typing import Any

from fewframes.cards.card import ModelCard, Published
from fewframes.models.vivit_config import VivitConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Arnab, Dehghani, Heigold, Sun, Lučić, Schmid 2021, arXiv:2103.15691"
_README = "release's README"
_DATASETS = {
    "k400": ("Kinetics-400", "kinetics400", 400),
    "k600": ("Kinetics-600", "kinetics600", 600),
    "ssv2": ("Something-Something v2", "ssv2", 174),
    "epic100": ("EPIC-KITCHENS-100", "epic100", 397),
}
_SIZES: dict[str, dict[str, Any]] = {
    "b": {},
    "l": {"width": 1024, "depth": 24, "heads": 16},
    "h": {"width": 1280, "depth": 32, "heads": 16, "patch_size": 14},
}
_HUB = "https://huggingface.co/google/vivit-b-16x2-kinetics400/resolve/main/model.safetensors"
_BUCKET = "https://storage.googleapis.com/scenic-bucket/vivit"
_FULL_RATE = "the frames a second of its training videos are not published; the video's own are taken"
_NO_FILES = "its weights were never published"

Result = tuple[str, float, str, str]


def _scenic(folder: str) -> str:
    return (
        f"released as a Flax checkpoint at {_BUCKET}/{folder}/checkpoint, which only Flax can read: flatten its tree "
        "into a .safetensors file first"
    )


def _card(
    name: str,
    results: tuple[Result, ...],
    *,
    cost: tuple[int, float, float],
    shape: dict[str, Any],
    data: str = "k400",
    views: tuple[int, int] = (4, 3),
    notes: str,
) -> ModelCard:
    """A card; `results` are (metric, percent, views, source), and `shape` is what differs from model 1 of size B."""
    dataset, labels, num_classes = _DATASETS[data]
    config = VivitConfig(num_classes=num_classes, **_SIZES[name[6]], **shape)
    side = config.image_size[0]
    kinetics, on_hub = data.startswith("k"), name == "vivit_b16x2"
    return ModelCard(
        name=name,
        family="vivit",
        config=config,
        sampling=Sampling(
            "clip",
            config.num_frames,
            stride=2 if kinetics else 1,
            stride_fps=25.0 if kinetics else None,
        ),
        preprocess=Preprocess(
            config.image_size,
            288 if data == "ssv2" else side * 256 // 224,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            antialias=False,
        ),
        labels=labels,
        source=f"{_PAPER}; weights: google/vivit-b-16x2-kinetics400 on the Hugging Face hub" if on_hub else _PAPER,
        code_licence="Apache-2.0",
        weights_licence="MIT" if on_hub else "",
        weights_url=_HUB if on_hub else None,
        published=tuple(Published(dataset, metric, percent, seen, source) for metric, percent, seen, source in results),
        views=views,
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes=notes if kinetics else f"{notes}; {_FULL_RATE}",
    )


_FE: dict[str, Any] = {"variant": "factorised_encoder"}
_ABLATION = "paper, ablation of model variants"
_ENCODING = "paper, ablation of input encodings"
_BEST = "paper, comparison with other methods"
_CROPS = "paper, ablation of the crop"
_COMPARED = "compared in the paper with the other variants, on Kinetics-400 and EPIC-KITCHENS-100 (action)"
_HUGE = f"model 1, as the paper's count of operations shows; started from images that are not public; {_NO_FILES}"
_LARGE = "its temporal encoder has 24 blocks, as in the released configuration; the paper's text says 4"

CARDS: tuple[ModelCard, ...] = (
    _card(
        "vivit_b16x2",
        (("top-1", 79.9, "4x3", _README), ("top-1", 80.0, "4x3", _ABLATION)),
        cost=(88_954_000, 451.5248, 270.1397),
        shape={},
        notes="the hub's weights were not tried when this was written, and neither the file's name nor its licence is "
        "confirmed; Hugging Face's processor normalises twice by default, the network was trained on [-1, 1]; "
        "EPIC-KITCHENS-100 action 43.1 in the paper",
    ),
    _card(
        "vivit_b16x2_factorised_encoder",
        (("top-1", 78.4, "4x3", _README), ("top-1", 78.8, "4x3", _ABLATION)),
        cost=(115_062_928, 283.342, 271.895),
        shape=_FE,
        notes=f"{_scenic('kinetics_400/vivit_base_16x2_fe')}; temporal depths of 1, 4, 8 and 12 gave 78.6, 78.8, 78.8 "
        "and 78.9 in the paper; EPIC-KITCHENS-100 action 43.7",
    ),
    _card(
        "vivit_b16x2_factorised_attention",
        (("top-1", 77.4, "4x3", _ABLATION),),
        cost=(117_319_312, 371.094, 292.251),
        shape={"variant": "factorised_attention"},
        notes=f"{_NO_FILES}; {_COMPARED}: 39.1",
    ),
    _card(
        "vivit_b16x2_factorised_dot_product",
        (("top-1", 76.3, "4x3", _ABLATION),),
        cost=(88_952_464, 276.1819, 270.0548),
        shape={"variant": "factorised_dot_product"},
        notes=f"{_NO_FILES}; {_COMPARED}: 39.5",
    ),
    _card(
        "vivit_b16x2_average_pool",
        (("top-1", 75.8, "4x3", _ABLATION),),
        cost=(86_696_080, 282.859, 271.4137),
        shape={**_FE, "temporal_depth": 0},
        notes=f"the factorised encoder without one over time; {_NO_FILES}; {_COMPARED}: 38.8",
    ),
    _card(
        "vivit_b16x4",
        (("top-1", 79.2, "4x3", _ENCODING),),
        cost=(88_929_424, 182.3373, 136.9622),
        shape={"tubelet_frames": 4},
        notes=f"with its tubelets started as the central frame; 77.6 inflated, 73.2 random; {_NO_FILES}",
    ),
    _card(
        "vivit_b16_uniform8",
        (("top-1", 78.5, "4x3", _ENCODING),),
        cost=(87_159_952, 179.5628, 134.1876),
        shape={"tubelet_frames": 1, "num_sampled_frames": 8},
        notes=f"uniform frame sampling: 8 of the 32 frames, each embedded like an image; {_NO_FILES}",
    ),
    _card(
        "vivit_l16x2",
        (("top-1", 80.3, "4x3", _CROPS),),
        cost=(307_508_624, 1435.9687, 952.2752),
        shape={},
        notes=_NO_FILES,
    ),
    _card(
        "vivit_l16x2_288",
        (("top-1", 80.7, "4x3", _CROPS),),
        cost=(309_605_776, 2895.3851, 1573.9717),
        shape={"image_size": (288, 288)},
        notes=f"{_NO_FILES}; the size before the crop is assumed to grow with it",
    ),
    _card(
        "vivit_l16x2_320",
        (("top-1", 81.0, "4x3", _CROPS),),
        cost=(310_850_960, 3956.9991, 1943.104),
        shape={"image_size": (320, 320)},
        notes=f"{_NO_FILES}; the size before the crop is assumed to grow with it; the paper's first version has 81.3",
    ),
    _card(
        "vivit_l16x2_factorised_encoder",
        (("top-1", 80.3, "4x3", _README),),
        cost=(606_827_920, 992.4737, 961.9389),
        shape={**_FE, "temporal_depth": 24},
        notes=f"{_scenic('kinetics_400/vivit_large_16x2_fe')}; {_LARGE}",
    ),
    _card(
        "vivit_l16x2_factorised_encoder_128",
        (
            ("top-1", 80.6, "1x1", _BEST),
            ("top-5", 92.7, "1x1", _BEST),
            ("top-1", 81.7, "1x3", _BEST),
            ("top-5", 93.8, "1x3", _BEST),
            ("top-1", 83.5, "1x3", f"{_BEST}, started from JFT"),
            ("top-5", 94.3, "1x3", f"{_BEST}, started from JFT"),
        ),
        cost=(606_877_072, 3969.1385, 3846.8483),
        shape={**_FE, "temporal_depth": 24, "num_frames": 128},
        views=(1, 3),
        notes=f"{_NO_FILES}; {_LARGE}, and only 24 fits the paper's count of operations; every second frame is assumed",
    ),
    _card(
        "vivit_l16x2_factorised_encoder_k600",
        (
            ("top-1", 81.6, "4x3", _README),
            ("top-1", 82.9, "", _BEST),
            ("top-5", 94.6, "", _BEST),
            ("top-1", 84.3, "", f"{_BEST}, started from JFT"),
            ("top-5", 94.9, "", f"{_BEST}, started from JFT"),
        ),
        cost=(607_032_920, 992.4739, 961.9391),
        shape={**_FE, "temporal_depth": 24},
        data="k600",
        notes=f"{_scenic('kinetics_600/vivit_large_16x2_fe')}; {_LARGE}",
    ),
    _card(
        "vivit_l16x2_factorised_encoder_epic100",
        (
            ("action top-1", 43.6, "4x1", _README),
            ("action top-1", 44.0, "", _BEST),
            ("verb top-1", 66.4, "", _BEST),
            ("noun top-1", 56.8, "", _BEST),
        ),
        cost=(354_900_365, 988.1837, 957.6607),
        shape={**_FE, "class_splits": (300, 97)},
        data="epic100",
        views=(4, 1),
        notes=f"{_scenic('epic_kitchens/vivit_large_16x2_fe')}; one head holds 300 nouns and then 97 verbs; "
        "an action is right if both are",
    ),
    _card(
        "vivit_l16x2_factorised_encoder_ssv2",
        (("top-1", 65.9, "", _BEST), ("top-5", 89.9, "", _BEST)),
        cost=(354_733_230, 1301.0261, 1249.0807),
        shape={**_FE, "image_size": (256, 256)},
        data="ssv2",
        notes=f"a configuration was released, with crops of 256 pixels and 4 temporal blocks; {_NO_FILES}",
    ),
    _card(
        "vivit_h14x2",
        (
            ("top-1", 84.9, "4x3", f"{_BEST}, started from JFT"),
            ("top-5", 95.8, "4x3", f"{_BEST}, started from JFT"),
        ),
        cost=(636_945_040, 3958.8364, 2583.7757),
        shape={},
        notes=_HUGE,
    ),
    _card(
        "vivit_h14x2_k600",
        (("top-1", 85.8, "4x3", f"{_BEST}, started from JFT"), ("top-5", 96.5, "4x3", f"{_BEST}, started from JFT")),
        cost=(637_201_240, 3958.8366, 2583.7759),
        shape={},
        data="k600",
        notes=_HUGE,
    ),
)
