"""X3D: literal facts go out, one card for each published size."""

from __future__ import annotations

from fewframes.cards.card import ModelCard, Published
from fewframes.models.x3d import X3dConfig
from fewframes.records import Preprocess, Sampling

__all__ = ["CARDS"]

_PAPER = "Feichtenhofer 2020, arXiv:2004.04730"
_URL = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
_LISTS = {
    "paper": "paper, Table 4",
    "slowfast": "PySlowFast model zoo",
    "here": "pytorchvideo model zoo, these weights",
}
_NOTE = (
    "costs are at the test crop; the 10x1 results are at the training crop; weights are covered by the repository's "
    "licence"
)


def _x3d(
    size: str,
    factors: tuple[float, float],
    clip: tuple[int, int],
    crops: tuple[int, int],
    *,
    results: tuple[tuple[str, str, float, str], ...],
    cost: tuple[int, float],
) -> ModelCard:
    """A card from width and depth factors, frames x stride at 30 per second, and crops of training and test."""
    released = size != "xl"
    return ModelCard(
        name=f"x3d_{size}",
        family="x3d",
        config=X3dConfig(
            num_frames=clip[0],
            image_size=(crops[1], crops[1]),
            window=(crops[0], crops[0]),
            width_factor=factors[0],
            depth_factor=factors[1],
        ),
        sampling=Sampling("clip_linspace", clip[0], stride=clip[1], stride_fps=30.0),
        preprocess=Preprocess(
            (crops[1], crops[1]), crops[1], mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225), antialias=False
        ),
        labels="kinetics400",
        source=f"{_PAPER}; network and weights: pytorchvideo",
        code_licence="Apache-2.0",
        weights_licence="Apache-2.0" if released else "",
        weights_url=f"{_URL}/X3D_{size.upper()}.pyth" if released else None,
        published=tuple(
            Published("Kinetics-400", metric, percent, views, _LISTS[source])
            for source, metric, percent, views in results
        ),
        views=(10, 3),
        num_parameters=cost[0],
        gmacs=cost[1],
        gmacs_without_attention_products=cost[1],
        output="probabilities",
        notes=_NOTE if released else "its weights were never published; costs are at the test crop",
    )


CARDS: tuple[ModelCard, ...] = (
    _x3d(
        "xs",
        (2.0, 2.2),
        (4, 12),
        (160, 182),
        results=(
            ("slowfast", "top-1", 69.5, "10x3"),
            ("slowfast", "top-1", 68.7, "10x1"),
            ("here", "top-1", 69.12, "10x3"),
            ("here", "top-5", 88.63, "10x3"),
        ),
        cost=(3_794_274, 0.8439),
    ),
    _x3d(
        "s",
        (2.0, 2.2),
        (13, 6),
        (160, 182),
        results=(
            ("slowfast", "top-1", 73.5, "10x3"),
            ("slowfast", "top-1", 73.1, "10x1"),
            ("here", "top-1", 73.33, "10x3"),
            ("here", "top-5", 91.27, "10x3"),
        ),
        cost=(3_794_274, 2.727),
    ),
    _x3d(
        "m",
        (2.0, 2.2),
        (16, 5),
        (224, 256),
        results=(
            ("slowfast", "top-1", 76.2, "10x3"),
            ("slowfast", "top-1", 75.1, "10x1"),
            ("paper", "top-1", 76.0, "10x3"),
            ("here", "top-1", 75.94, "10x3"),
            ("here", "top-5", 92.72, "10x3"),
        ),
        cost=(3_794_274, 6.1857),
    ),
    _x3d(
        "l",
        (2.0, 5.0),
        (16, 5),
        (312, 356),
        results=(
            ("slowfast", "top-1", 77.5, "10x3"),
            ("slowfast", "top-1", 76.9, "10x1"),
            ("here", "top-1", 77.44, "10x3"),
            ("here", "top-5", 93.31, "10x3"),
        ),
        cost=(6_153_384, 24.7776),
    ),
    _x3d(
        "xl",
        (2.9, 5.0),
        (16, 5),
        (312, 356),
        results=(("paper", "top-1", 79.1, "10x3"),),
        cost=(11_095_840, 48.4237),
    ),
)
