"""How a run is carried out: processes, averages, mixing, balance and guards, as plain frozen values; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fewframes.errors import UsageError

__all__ = ["AverageConfig", "BalanceConfig", "DistillConfig", "GuardsConfig", "MixConfig", "ScaleConfig"]


@dataclass(frozen=True)
class MixConfig:
    """Batches in which each clip is mixed with the one at its place in the reversed batch; one draw a batch.

    In several processes each mixes the clips of its own share of the batch.

    Attributes:
        mixup_alpha: of Beta(alpha, alpha), from which the share of a blend is drawn; 0 is no mixup.
        cutmix_alpha: the same for the area of a pasted box; 0 is no cutmix. With both, a coin is tossed for each batch.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        _check_at_least(0, {"mix.mixup_alpha": self.mixup_alpha, "mix.cutmix_alpha": self.cutmix_alpha})

    @property
    def is_on(self) -> bool:
        """Whether anything is mixed at all."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0


@dataclass(frozen=True)
class BalanceConfig:
    """What is done about classes with few videos; either of the two, since together they would do it twice.

    Attributes:
        sampling: "listed" visits each video once an epoch; "balanced" draws as many, as often from each class as from
            any other: videos of rare classes several times, of common ones not in every epoch.
        class_weights: "balanced" multiplies the loss of a clip by N / (K * its class's videos), of N videos in K
            classes: 1 on average over the list.
    """

    sampling: Literal["listed", "balanced"] = "listed"
    class_weights: Literal["none", "balanced"] = "none"

    def __post_init__(self) -> None:
        if self.sampling == "balanced" and self.class_weights == "balanced":
            raise UsageError(
                "balance.sampling and balance.class_weights are both balanced, which would count rare classes twice; "
                "leave one of them"
            )


@dataclass(frozen=True)
class AverageConfig:
    """A moving average of the weights, validated beside the weights themselves.

    Attributes:
        decay: of the average at each step, below 1, such as 0.9997; it looks back over about 1 / (1 - decay) steps. 0
            keeps none.
        warm_up: let the decay rise from near 0, so that the random start does not stay in the average of a short run.
    """

    decay: float = 0.0
    warm_up: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise UsageError(f"average.decay is {self.decay}; expected 0 to below 1, such as 0.9997; 0 is none")


@dataclass(frozen=True)
class DistillConfig:
    """A trained model whose answers about the same clips are learnt beside the labels.

    The loss of a clip is its cross-entropy plus `alpha` times `temperature` squared times the divergence of the
    network's answer from the teacher's, both softened by `temperature`.

    Attributes:
        teacher: a checkpoint folder, or a catalogue name with published weights; empty is none. It knows the same
            classes.
        alpha: how much its answers count.
        temperature: above 0; the higher, the more its less likely classes count.
    """

    teacher: str = ""
    alpha: float = 5.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_at_least(0, {"distill.alpha": self.alpha})
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"distill.temperature is {self.temperature}; expected above 0, such as 1")


@dataclass(frozen=True)
class GuardsConfig:
    """When a run stops by itself, and what it keeps. These may be changed when a run is taken up again.

    Attributes:
        skip_bad_steps: so many steps in all whose loss or gradient is not finite are left out, named in the log; one
            more stops the run. 0 stops at the first.
        stop_after_epochs: stop once the validation accuracy has not risen for so many epochs; 0 never does.
        keep_epochs: keep a checkpoint of each of the last so many epochs in epochs/; 0 keeps none.
    """

    skip_bad_steps: int = 0
    stop_after_epochs: int = 0
    keep_epochs: int = 0

    def __post_init__(self) -> None:
        _check_at_least(
            0,
            {
                "guards.skip_bad_steps": self.skip_bad_steps,
                "guards.stop_after_epochs": self.stop_after_epochs,
                "guards.keep_epochs": self.keep_epochs,
            },
        )


@dataclass(frozen=True)
class ScaleConfig:
    """How the work is spread over processes, and memory saved. These may be changed when a run is taken up again.

    How many processes there are is torchrun's to say.

    Attributes:
        strategy: "ddp" keeps the whole network in each process; "fsdp" parts weights, gradients and the optimiser's
            state among them.
        sync_batchnorm: take a batch norm's mean and variance over all processes, on GPUs; otherwise each process
            normalises its own part, and the running ones of the first process are used.
        recompute_blocks: keep only what enters a block, and compute the rest again for the gradient: far less memory,
            about a third more time, the same gradient.
    """

    strategy: Literal["ddp", "fsdp"] = "ddp"
    sync_batchnorm: bool = False
    recompute_blocks: bool = False


def _check_at_least(lowest: float, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        if not lowest <= value < math.inf:
            raise UsageError(f"{name} is {value}; expected at least {lowest}")
