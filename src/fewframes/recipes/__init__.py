"""Whole experiments: a name comes in, a complete training config goes out."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from fewframes.recipes.demo import demo_mean, demo_stam
from fewframes.recipes.finetune import finetune
from fewframes.recipes.small import small
from fewframes.recipes.stam import stam_paper, stam_ucf101, stam_v1, stam_v2
from fewframes.recipes.timesformer import timesformer_k400, timesformer_ssv2
from fewframes.recipes.vivit import vivit_k400, vivit_k600, vivit_ssv2
from fewframes.training.config import TrainConfig

__all__ = ["RECIPES"]

RECIPES: Mapping[str, Callable[[], TrainConfig]] = MappingProxyType(
    {
        "small": small,
        "finetune": finetune,
        "demo-stam": demo_stam,
        "demo-mean": demo_mean,
        "stam-paper": stam_paper,
        "stam-v1": stam_v1,
        "stam-v2": stam_v2,
        "stam-ucf101": stam_ucf101,
        "vivit-k400": vivit_k400,
        "vivit-k600": vivit_k600,
        "vivit-ssv2": vivit_ssv2,
        "timesformer-k400": timesformer_k400,
        "timesformer-ssv2": timesformer_ssv2,
    }
)
