"""A config and torchrun's environment come in; devices, processes and a network that spans them go out."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils.checkpoint import checkpoint

from fewframes.data.loader import Shard
from fewframes.errors import FewframesError, UsageError
from fewframes.training.config import TrainConfig

__all__ = [
    "World",
    "blocks_of",
    "clips_per_process",
    "has_batch_norm",
    "open_fabric",
    "open_scaler",
    "parted",
    "recompute_blocks",
    "synchronise_batch_norm",
    "whole",
    "whole_copy",
    "world_of",
]

_BLOCK_LISTS = ("blocks", "layers", "stages", "features")
_ENVIRONMENT = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_CPU = torch.device("cpu")

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run; each sees the same methods called in the same order, or all of them wait for ever.

    Attributes:
        rank: of this process.
        size: how many there are.
        device: where this one's numbers are.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and shows."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's share of a list."""
        return Shard(self.rank, self.size, equal_batches=True)

    def add_up(self, *values: float) -> tuple[float, ...]:
        """The sums over all processes, in float64: the same bits in each of them. Alone, the values as they are."""
        if self.size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(sums)
        return tuple(sums.tolist())

    def gather(self, value: T) -> list[T]:
        """What each process has, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def first_does(self, work: Callable[[], T]) -> T:
        """Let the first process do something; the others wait, and get its answer or its error.

        Raises:
            FewframesError: as the work does.
        """
        if self.size == 1:
            return work()
        answer: list[Any] = [None]
        if self.is_first:
            try:
                answer = [work()]
            except FewframesError as error:
                answer = [error]
        torch.distributed.broadcast_object_list(answer, src=0)
        if isinstance(answer[0], FewframesError):
            raise answer[0]
        result: T = answer[0]
        return result

    def same_buffers(self, model: nn.Module) -> None:
        """Give every process the buffers of the first one: the running means and variances of batch norms."""
        if self.size > 1:
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, src=0)


def open_fabric(config: TrainConfig, scaler: torch.amp.GradScaler | None = None) -> Fabric:
    """The device and precision of this process; with torchrun, joined to the others.

    Raises:
        UsageError: the device cannot be used here, or settings do not fit to it or to the number of processes; before
            this process joins the others, so that none of them waits for it.
    """
    # It announces the precision that was asked for; warnings still come through.
    for name in ("rank_zero", "distributed"):
        logging.getLogger(f"lightning_fabric.utilities.{name}").setLevel(logging.WARNING)
    settings: dict[str, Any] = {"accelerator": config.device}
    if config.precision == "float16":
        settings["plugins"] = [MixedPrecision("16-mixed", _device_type(config), scaler)]
    else:
        settings["precision"] = "bf16-mixed" if config.precision == "bfloat16" else "32-true"
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1:
        settings |= _joined(config, size, settings.pop("plugins", []))
    elif config.scale.strategy == "fsdp":
        raise UsageError("scale.strategy fsdp parts a network among processes; start them with torchrun, or use ddp")
    else:
        settings["devices"] = 1
    if config.scale.sync_batchnorm and _device_type(config) != "cuda":
        raise UsageError("scale.sync_batchnorm works on GPUs only; leave it out")
    clips_per_process(config, size)
    try:
        fabric = Fabric(**settings)
    except RuntimeError as error:
        raise UsageError(f"--device {config.device} cannot be used here; try --device cpu") from error
    if size > 1:
        fabric.launch()
    return fabric


def _joined(config: TrainConfig, size: int, plugins: list[Any]) -> dict[str, Any]:
    absent = [name for name in _ENVIRONMENT if name not in os.environ]
    if absent:
        raise UsageError(
            f"WORLD_SIZE is {size} but {', '.join(absent)} not set; start the processes with torchrun, "
            "or unset WORLD_SIZE for one process"
        )
    local = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    if config.scale.strategy == "fsdp":
        strategy: Any = ModelParallelStrategy(_part, data_parallel_size=size, tensor_parallel_size=1)
    else:
        strategy = DDPStrategy()
        # Of axes of length 1, such as a class token's, whose strides mean nothing.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    # Named, since Fabric would take SLURM's variables for its own under srun.
    plugins = [*plugins, TorchElasticEnvironment()]
    return {"strategy": strategy, "devices": local, "num_nodes": size // local, "plugins": plugins}


def open_scaler(config: TrainConfig) -> torch.amp.GradScaler | None:
    """What keeps the small gradients of float16 from vanishing; None for other precisions.

    Raises:
        UsageError: float16 with fsdp.
    """
    if config.precision != "float16":
        return None
    if config.scale.strategy == "fsdp":
        raise UsageError("precision float16 does not go with scale.strategy fsdp; use bfloat16")
    return torch.amp.GradScaler(_device_type(config))


def _device_type(config: TrainConfig) -> Literal["cpu", "cuda", "mps"]:
    if config.device != "auto":
        return config.device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def world_of(fabric: Fabric) -> World:
    """The processes that `open_fabric` joined."""
    return World(fabric.global_rank, fabric.world_size, fabric.device)


def clips_per_process(config: TrainConfig, world_size: int) -> int:
    """How many clips of a batch each process gets.

    Raises:
        UsageError: the batch cannot be shared out evenly.
    """
    batch_size, accumulate = config.optim.batch_size, config.optim.accumulate
    if batch_size % (world_size * accumulate):
        raise UsageError(
            f"optim.batch_size {batch_size} is not a multiple of {world_size} processes x optim.accumulate "
            f"{accumulate}; it is the batch of all processes together"
        )
    return batch_size // world_size


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The modules with weights in lists named blocks, layers, stages or features; outermost ones only."""
    found: list[nn.Module] = []
    for name, child in model.named_children():
        if name in _BLOCK_LISTS and isinstance(child, nn.ModuleList | nn.Sequential):
            found += [block for block in child.children() if next(block.parameters(), None) is not None]
        else:
            found += blocks_of(child)
    return found


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a network has batch norms, whose training depends on how a batch is parted."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def recompute_blocks(model: nn.Module) -> int:
    """Let blocks keep only their input for the gradient. Names of tensors stay; returns how many blocks do so.

    Blocks with batch norms are left as they are: a second pass would count twice in their running statistics.

    Raises:
        UsageError: there is no such block.
    """
    blocks = [block for block in blocks_of(model) if not has_batch_norm(block)]
    if not blocks:
        raise UsageError(
            "scale.recompute_blocks needs lists of blocks, layers, stages or features without batch norms, and this "
            "network has none; use a larger optim.accumulate to save memory"
        )
    for block in blocks:
        block.forward = _recomputed(block.forward)
    return len(blocks)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever the block takes and returns
        if not torch.is_grad_enabled():
            return forward(*inputs, **options)
        return checkpoint(once, *inputs, use_reentrant=False, **options)

    def once(*inputs: Any, **options: Any) -> Any:  # noqa: ANN401 - see above
        # Some blocks write into a list that they are given, such as SlowFast's pathways.
        return forward(*(list(each) if isinstance(each, list) else each for each in inputs), **options)

    return run


def synchronise_batch_norm(model: nn.Module) -> nn.Module:
    """The network whose batch norms take their statistics over all processes, on GPUs; names of tensors stay."""
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


def _part(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Part each block's tensors among the processes, then what is left."""
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])
    return model


def whole(value: Any) -> Any:  # noqa: ANN401 - any tree of plain values
    """The same tree of dicts and lists with every parted tensor put together, which all processes have to ask for."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: whole(each) for key, each in value.items()}
    return [whole(each) for each in value] if isinstance(value, list) else value


def parted(value: Any, like: Any) -> Any:  # noqa: ANN401 - any tree of plain values
    """The same tree with every tensor parted as the one at its place in `like` is; the reverse of `whole`."""
    if isinstance(value, Tensor) and isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    if isinstance(value, Mapping) and isinstance(like, Mapping):
        return {key: parted(each, like.get(key)) for key, each in value.items()}
    return value


def whole_copy(model: nn.Module) -> nn.Module:
    """A copy of the network that stays whole, for validation and checkpoints of one that is parted."""
    return copy.deepcopy(model).requires_grad_(False)
