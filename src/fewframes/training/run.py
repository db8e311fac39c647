"""What a run is made of: its videos, its network and everything around it, fixed from its first step to its last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import nn

from fewframes.data.dataset import TrainingClips
from fewframes.data.manifest import Manifest
from fewframes.training.config import TrainConfig
from fewframes.training.distill import Teacher
from fewframes.training.ema import WeightAverage
from fewframes.training.parallel import World, clips_per_process, whole
from fewframes.training.state import Stateful
from fewframes.training.targets import Targets
from fewframes.weights.checkpoint import CheckpointInfo

__all__ = ["Run", "TrainData"]


@dataclass(frozen=True)
class TrainData:
    """The videos of a run.

    Attributes:
        train: to learn from.
        val: to choose the best checkpoint on; None trains without validation.
        labels: class names in label-index order: those of the training videos, sorted.
        notes: what a reader should know, a sentence each.
    """

    train: Manifest
    val: Manifest | None
    labels: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """What stays the same from the first step of a run to its last.

    Attributes:
        config: all settings.
        data: the videos.
        info: the network's record.
        model: the network itself.
        network: the same network as precision and processes want it called.
        optimizer: over its parameters.
        fabric: device and precision.
        world: the processes.
        clips: random views of the training videos.
        targets: what the network is to say about them.
        teacher: whose answers are learnt, too; None for the targets alone.
        average: of the weights; None keeps none.
        scaler: of float16's gradients; None for other precisions.
        copy: a whole network for validation and checkpoints, if the weights are parted among processes; else None.
        notes: what a reader should know, a sentence each.
    """

    config: TrainConfig
    data: TrainData
    info: CheckpointInfo
    model: nn.Module
    network: _FabricModule
    optimizer: torch.optim.Optimizer
    fabric: Fabric
    world: World
    clips: TrainingClips
    targets: Targets
    teacher: Teacher | None
    average: WeightAverage | None
    scaler: torch.amp.GradScaler | None
    copy: nn.Module | None
    notes: tuple[str, ...]

    @property
    def output(self) -> Path:
        """The run's folder."""
        return Path(self.config.output)

    @property
    def log_path(self) -> Path:
        """The run's log."""
        return self.output / "log.jsonl"

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self.clips) // self.config.optim.batch_size)

    @property
    def total_steps(self) -> int:
        """Batches in all."""
        return self.steps_per_epoch * self.config.optim.epochs

    @property
    def clips_per_process(self) -> int:
        """Clips of a batch that each process gets."""
        return clips_per_process(self.config, self.world.size)

    @property
    def also_saved(self) -> Mapping[str, Stateful]:
        """What belongs to the run's state beside the network and the optimiser."""
        return also_saved(self.average, self.scaler)

    def whole_model(self) -> nn.Module:
        """The network with all of its present weights, for validation and checkpoints; all processes have to ask."""
        self.world.same_buffers(self.model)
        if self.copy is None:
            return self.model
        self.copy.load_state_dict(whole(self.model.state_dict()))
        return self.copy


def also_saved(average: WeightAverage | None, scaler: torch.amp.GradScaler | None) -> Mapping[str, Stateful]:
    """Those of them that there are, by the names that a saved state has for them."""
    kept: dict[str, Stateful | None] = {"average": average, "scaler": scaler}
    return {name: value for name, value in kept.items() if value is not None}
