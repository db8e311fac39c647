"""VideoMAE's classifiers in their published sizes and data sets."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.videomae import VideomaeConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Tong, Song, Wang, Wang 2022, arXiv:2203.12602"
_LICENCE = "CC-BY-NC-4.0"
_LIST = "VideoMAE repository, list of models"
# Width, depth, heads.
_SHAPES = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16), "huge": (1280, 32, 16)}
_NOTE = (
    "pre-trained on the same videos without labels; the weights on the hub are the release's, for which Hugging Face's "
    "code takes norm_eps=1e-12 and pool_norm_eps=1e-5 instead of the 1e-6 of their training, which changes next to "
    "nothing; the hub holds the same weights as model.safetensors for some sizes"
)


def _card(
    size: str, data: str, *, results: tuple[float, float], cost: tuple[int, float, float], notes: str = ""
) -> ModelCard:
    kinetics = data == "k400"
    dataset, num_classes = ("Kinetics-400", 400) if kinetics else ("Something-Something v2", 174)
    hub = f"MCG-NJU/videomae-{size}-finetuned-{'kinetics' if kinetics else 'ssv2'}"
    width, depth, heads = _SHAPES[size]
    views = (5, 3) if kinetics else (2, 3)
    return ModelCard(
        name=f"videomae_{size}_{data}",
        family="videomae",
        config=VideomaeConfig(num_classes=num_classes, width=width, depth=depth, heads=heads),
        # On Something-Something the second of the two clips takes exactly the centres of 16 equal segments.
        sampling=Sampling("clip", 16, stride=4) if kinetics else Sampling("uniform", 16),
        preprocess=Preprocess((224, 224), 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), antialias=False),
        labels="kinetics400" if kinetics else "ssv2",
        source=f"{_PAPER}; weights: {hub} on the Hugging Face hub, converted from the release",
        code_licence=_LICENCE,
        weights_licence=_LICENCE,
        weights_url=f"https://huggingface.co/{hub}/resolve/main/pytorch_model.bin",
        published=tuple(
            Published(dataset, metric, percent, "x".join(map(str, views)), _LIST)
            for metric, percent in zip(("top-1", "top-5"), results, strict=True)
        ),
        views=views,
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[2],
        notes="; ".join(each for each in (notes, _NOTE) if each),
    )


CARDS: tuple[ModelCard, ...] = (
    _card("small", "k400", results=(79.0, 93.8), cost=(22_033_936, 56.8781, 34.2194)),
    _card(
        "base",
        "k400",
        results=(81.5, 95.1),
        cost=(86_534_800, 180.3449, 135.0275),
        notes="an earlier list gives 80.9 and 94.7 for the same file",
    ),
    _card(
        "large",
        "k400",
        results=(85.2, 96.8),
        cost=(304_270_736, 596.8331, 475.9868),
        notes="an earlier list gives 84.7 and 96.5 for the same file",
    ),
    _card("huge", "k400", results=(86.6, 97.1), cost=(632_119_440, 1190.9941, 989.5836)),
    _card("small", "ssv2", results=(66.8, 90.3), cost=(21_946_926, 56.878, 34.2193)),
    _card(
        "base",
        "ssv2",
        results=(70.8, 92.4),
        cost=(86_361_006, 180.3447, 135.0274),
        notes="an earlier list gives 70.6 and 92.6 for the same file",
    ),
)
