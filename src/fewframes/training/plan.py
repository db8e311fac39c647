"""A config comes in; what the run would do goes out, as plain values: nothing is trained, written or fetched."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.architectures import build_from_config
from fewframes.catalog import adapted_card, parse_options
from fewframes.training.config import TrainConfig
from fewframes.training.optim import describe_groups, peak_learning_rate
from fewframes.training.parallel import blocks_of, clips_per_process, has_batch_norm
from fewframes.training.run import TrainData
from fewframes.training.setup import read_data, training_view
from fewframes.training.state import config_as_dict
from fewframes.weights.checkpoint import CheckpointInfo

__all__ = ["MEMORY_FORMULA", "plan"]

MEMORY_FORMULA = (
    "4 bytes x parameters for each of weights, gradients, the optimiser's moments (AdamW 2, SGD with momentum 1) and "
    "the average; activations: what all layers give out for one clip (2 bytes a number in 16-bit precision; with "
    "recompute_blocks only what enters each block, and one block), x clips at a time"
)


def plan(config: TrainConfig) -> dict[str, Any]:
    """Read the list and build the network without its weights; say what training would do.

    Under torchrun, for that many processes; otherwise for one.

    Returns:
        "config", and what follows from it: "data", "model", "batch", "schedule", "groups", "memory", "sampling",
        "augment".

    Raises:
        UsageError, InvalidManifest, TooManyBadVideos: what the run itself would refuse.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    share = clips_per_process(config, processes)
    data = read_data(config)
    options = parse_options(config.model.name, config.model.options)
    card = adapted_card(config.model.name, **options, num_classes=len(data.labels))
    with torch.device("meta"):
        model = build_from_config(card.config)
    info = CheckpointInfo(card.name, card.config, card.sampling, card.preprocess, data.labels)
    view = training_view(config, data.labels, info)
    optim = config.optim
    steps = -(-len(data.train.videos) // optim.batch_size)
    height, width = info.preprocess.crop
    shape = (info.config.num_frames, 3, height, width)
    return {
        "config": config_as_dict(config),
        "data": _data(data),
        "model": {
            "name": card.name,
            "num_parameters": sum(each.numel() for each in model.parameters()),
            "starts_from": config.model.init_from or "random weights",
            "batch_norms": has_batch_norm(model),
            "clip": list(shape),
        },
        "batch": {
            "clips": optim.batch_size,
            "processes": processes,
            "strategy": config.scale.strategy if processes > 1 else "one process",
            "clips_per_process": share,
            "clips_at_a_time": share // optim.accumulate,
        },
        "schedule": {
            "epochs": optim.epochs,
            "steps_per_epoch": steps,
            "total_steps": steps * optim.epochs,
            "warmup_steps": min(round(optim.warmup_epochs * steps), steps * optim.epochs),
            "schedule": optim.schedule,
            "peak_lr": peak_learning_rate(optim),
        },
        "groups": describe_groups(model, optim),
        "memory": _memory(config, model, shape, clips=share // optim.accumulate, processes=processes),
        "sampling": {**dataclasses.asdict(view.sampling), "random_frames": view.random_frames},
        "augment": {**dataclasses.asdict(view.augment), "crop": list(info.preprocess.crop)},
    }


def _data(data: TrainData) -> dict[str, Any]:
    return {
        "num_train": len(data.train.videos),
        "num_val": 0 if data.val is None else len(data.val.videos),
        "num_classes": len(data.labels),
        "manifest_sha256": data.train.sha256,
        "notes": list(data.notes),
    }


def _memory(
    config: TrainConfig, model: nn.Module, clip_shape: tuple[int, int, int, int], *, clips: int, processes: int
) -> dict[str, Any]:
    """Bytes that one process needs, by what for; see `MEMORY_FORMULA`."""
    parts = processes if config.scale.strategy == "fsdp" else 1
    weights = 4 * sum(each.numel() for each in model.parameters()) // parts
    moments = 2 if config.optim.optimizer == "adamw" else int(config.optim.momentum > 0)
    numbers = _kept_numbers(model, clip_shape, recompute=config.scale.recompute_blocks)
    values = {
        "weights": weights,
        "gradients": weights,
        "optimizer": moments * weights,
        "average": weights if config.average.decay else 0,
        "activations": clips * numbers * (4 if config.precision == "float32" else 2),
    }
    return {**values, "total": sum(values.values()), "formula": MEMORY_FORMULA}


def _kept_numbers(model: nn.Module, clip_shape: tuple[int, int, int, int], *, recompute: bool) -> int:
    """How many numbers a network keeps of one clip for the gradient."""
    kept = 0
    inside: list[int] = []
    blocks = {block for block in blocks_of(model) if not has_batch_norm(block)} if recompute else set()
    within = {module: block for block in blocks for module in block.modules()}
    sums = dict.fromkeys(blocks, 0)

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401 - as torch calls it
        nonlocal kept
        size = sum(
            each.numel() for each in (output if isinstance(output, tuple) else (output,)) if isinstance(each, Tensor)
        )
        if module in blocks:
            kept += sum(each.numel() for each in inputs if isinstance(each, Tensor))
            inside.append(sums[module])
        elif not list(module.children()):
            if module in within:
                sums[within[module]] += size
            else:
                kept += size

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        # With gradients: without, torch's encoder layers take a way of their own, past the modules inside.
        model.eval()(torch.zeros((1, *clip_shape), device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return kept + max(inside, default=0)
