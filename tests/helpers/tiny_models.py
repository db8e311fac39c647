"""A catalogue name comes in, the card of a tiny network of the same make goes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fewframes.architectures import architecture_of
from fewframes.cards.card import ModelCard
from fewframes.catalog import adapted_card, card_of, list_models

# By architecture: options that make a network small enough for a training step in about a second. What tells one
# variant from another (a kind of attention, an aggregator) is left as the card has it.
_VIT = {"image_size": (24, 40), "patch_size": 8, "width": 24, "depth": 2, "heads": 3, "mlp_ratio": 1.5}
_AGGREGATOR = {"temporal_depth": 2, "temporal_heads": 4, "temporal_mlp_width": 29}

TINY_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "eco": {"num_frames": 5, "image_size": (37, 47), "width": 0.06},
    "mvit": {"num_frames": 6, "image_size": (32, 64), "width": 8, "heads": 2, "depths": (1, 2, 1, 1)},
    "nonlocal_net": {
        "num_frames": 5,
        "image_size": (37, 53),
        "blocks": (1, 2, 3, 1),
        "width": 6,
        "nonlocal_res3": (1,),
        "nonlocal_res4": (0, 2),
        "res4_time_blocks": 2,
    },
    "resnet3d": {"num_frames": 5, "image_size": (48, 80), "window": (32, 64), "depths": (1, 2, 1, 2), "width": 4},
    "s3d": {"num_frames": 8, "image_size": (18, 35)},
    "slowfast": {"num_frames": 12, "image_size": (48, 80), "window": (32, 64), "depths": (1, 1, 2, 1), "width": 16},
    "stam": {"num_frames": 4, **_VIT, **_AGGREGATOR},
    "stam_inblock": {"num_frames": 4, **_VIT},
    "stam_joint": {"num_frames": 4, **_VIT},
    "stam_timm": {"num_frames": 4, "image_size": (32, 64), "encoder": "test_resnet", **_AGGREGATOR},
    "swin3d": {
        "num_frames": 5,
        "image_size": (18, 34),
        "width": 12,
        "depths": (2, 2),
        "heads": (2, 3),
        "window": (2, 3, 5),
    },
    "timesformer": {"num_frames": 4, **_VIT},
    "tsm": {"num_frames": 5, "image_size": (37, 53), "blocks": (1, 2, 3, 1), "width": 11},
    "video_resnet": {"num_frames": 3, "image_size": (10, 14), "depths": (1, 1, 1, 1)},
    "videomae": {"num_frames": 6, **_VIT},
    "vivit": {"num_frames": 8, **_VIT, "heads": 4},
    "x3d": {
        "num_frames": 5,
        "image_size": (48, 80),
        "window": (32, 64),
        "width_factor": 0.7,
        "depth_factor": 0.3,
        "head_width": 11,
    },
}


def tiny_card(name: str, **changes: Any) -> ModelCard:  # noqa: ANN401
    """The card with every size small and 7 classes."""
    options = TINY_OPTIONS[architecture_of(card_of(name).config)]
    return adapted_card(name, **{"num_classes": 7, **options, **changes})


def tiny_names() -> list[str]:
    """One name for each network that is different when it is tiny."""
    found: dict[object, str] = {}
    for name in list_models():
        config = tiny_card(name).config
        found.setdefault((architecture_of(config), repr(dataclasses.asdict(config))), name)  # type: ignore[call-overload]
    return list(found.values())
