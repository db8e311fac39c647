"""Whole experiments: a name comes in, a complete training config goes out."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from fewframes.recipes.demo import demo_mean, demo_stam
from fewframes.recipes.finetune import finetune
from fewframes.recipes.small import small
from fewframes.training.config import TrainConfig

__all__ = ["RECIPES"]

RECIPES: Mapping[str, Callable[[], TrainConfig]] = MappingProxyType(
    {"small": small, "finetune": finetune, "demo-stam": demo_stam, "demo-mean": demo_mean}
)
