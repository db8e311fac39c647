"""A network and its settings come in; an optimiser and its learning rate over time go out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import nn

from fewframes.errors import UsageError
from fewframes.training.config import OptimConfig

__all__ = [
    "build_optimizer",
    "describe_groups",
    "learning_rate_factor",
    "parameter_groups",
    "peak_learning_rate",
    "set_learning_rate",
]

_ENCODER = ("encoder.", "patch_embed.")  # ViViT cuts its patches in front of the encoder
# The outermost number is the block: encoder.blocks.3., net.layer4.1. (the stage of a ResNet), network.features.2.
_BLOCK = re.compile(r"(?:^|[._])(?:(?:blocks|layers?|stages|features)\.|layer)\d+\.")


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, object]]:
    """Sort parameters by how they learn.

    Weight matrices and convolutions decay; norms, biases, class tokens and positions do not (the TimeSformer release
    lets all of them decay). Everything outside the frame encoder (aggregator, head) has `temporal_lr_factor` times the
    learning rate; in a network without a frame encoder that is its head. The head is a part of its own only if it has
    a factor of its own.

    With `layer_decay` the encoder's learning rate falls with the distance from its end: what is defined before its
    first block (patches, class token, positions, a CNN's stem) is level 0, its n blocks are levels 1 to n, what comes
    after them (the last norm) is level n + 1, and level l has `layer_decay ** (n + 1 - l)` times the learning rate. A
    block is what the outermost number in a parameter's name counts: `blocks.N`, `layers.N`, `layerN`, `stages.N` or
    `features.N`. In CNNs those are mostly stages, each of which has one rate. Temporal parts inside an encoder's block
    belong to the block.

    Returns:
        Groups for a torch optimiser with "name", "params", "lr", "base_lr" and "weight_decay"; none is empty, and each
        parameter is in exactly one.

    Raises:
        UsageError: there is a `layer_decay` but no block.

    Source: layer decay as in BEiT (Bao et al. 2021) and VideoMAE.
    """
    lr = peak_learning_rate(config)
    parts = _parts(model, config)
    groups: dict[str, dict[str, object]] = {}
    grouped: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part, factor = parts[name]
        decays = parameter.ndim > 1 and name.endswith("weight")  # tokens and positions are bare parameters
        group = f"{part}, {'decay' if decays else 'no decay'}"
        grouped.setdefault(group, []).append(parameter)
        groups[group] = {
            "name": group,
            "params": grouped[group],
            "lr": lr * factor,
            "base_lr": lr * factor,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
    return list(groups.values())


def describe_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, object]]:
    """What `parameter_groups` makes of a network, in plain values, to be shown before a run.

    Returns:
        One dict for each group with "name", "lr" (its peak), "weight_decay", "num_tensors" and "num_parameters".
    """
    described = []
    for group in parameter_groups(model, config):
        parameters = group["params"]
        assert isinstance(parameters, list)
        described.append(
            {
                "name": group["name"],
                "lr": group["lr"],
                "weight_decay": group["weight_decay"],
                "num_tensors": len(parameters),
                "num_parameters": sum(parameter.numel() for parameter in parameters),
            }
        )
    return described


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over `parameter_groups`.

    AdamW shrinks weights apart from the gradient; SGD adds the decay to the gradient, as ViViT's and TimeSformer's
    recipes do.
    """
    groups, lr = parameter_groups(model, config), peak_learning_rate(config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=config.nesterov)
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, config.beta2))


def peak_learning_rate(config: OptimConfig) -> float:
    """The peak learning rate before any factor: `lr`, scaled linearly if it is meant for another batch size.

    Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1.
    """
    if config.lr_reference_batch:
        return config.lr * config.batch_size / config.lr_reference_batch
    return config.lr


def learning_rate_factor(step: int, *, steps_per_epoch: int, config: OptimConfig) -> float:
    """What the peak learning rate is multiplied with at a step.

    Rises linearly over the warm-up, reaching 1 at its last step. Then it falls along half a cosine that reaches
    `final_lr_factor` at the last step, or to a tenth from each of `step_epochs` on, or stays.

    Args:
        step: from 0, of epochs * steps_per_epoch.
        steps_per_epoch: steps of the optimiser in an epoch.
        config: the schedule.
    """
    total = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step":
        return 1 / 10.0 ** sum(step >= epoch * steps_per_epoch for epoch in config.step_epochs)
    progress = (step - warmup + 1) / max(total - warmup, 1)
    return config.final_lr_factor + (1 - config.final_lr_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its own peak, "base_lr"."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def _parts(model: nn.Module, config: OptimConfig) -> dict[str, tuple[str, float]]:
    """Of each parameter: the part of the network that it is in, and that part's factor of the learning rate."""
    names = [name for name, _ in model.named_parameters()]
    heads: tuple[str, ...] = getattr(model, "head_names", ())
    has_encoder = any(name.startswith("encoder.") for name in names)
    encoder = [name for name in names if (name.startswith(_ENCODER) if has_encoder else name not in heads)]
    parts = dict.fromkeys(names, ("temporal and head", config.temporal_lr_factor))
    if config.head_lr_factor != 1:
        for name in names:
            is_head = name in heads
            factor = config.temporal_lr_factor * (config.head_lr_factor if is_head else 1.0)
            parts[name] = ("head" if is_head else "temporal", factor)
    if config.layer_decay == 1:
        return parts | dict.fromkeys(encoder, ("encoder", config.encoder_lr_factor))
    levels, top = _levels(encoder)
    for name, level in levels.items():
        factor = config.encoder_lr_factor * config.layer_decay ** (top - level)
        parts[name] = (f"encoder level {level} of {top}", factor)
    return parts


def _levels(names: Sequence[str]) -> tuple[dict[str, int], int]:
    """The level of each of an encoder's parameters, given in the order in which they are defined; and the top level."""
    blocks: dict[str, int] = {}
    levels: dict[str, int] = {}
    after: list[str] = []
    for name in names:
        found = _BLOCK.search(name)
        if found is not None:
            levels[name] = blocks.setdefault(name[: found.end()], len(blocks) + 1)
            after = []
        else:
            levels[name] = len(blocks)
            after.append(name)
    if not blocks:
        raise UsageError(
            "optim.layer_decay needs numbered blocks (blocks.N, layers.N, layerN, stages.N or features.N) among the "
            f"parameters, but the first is {next(iter(names), 'none')}; expected optim.layer_decay 1 for this network"
        )
    top = len(blocks) + 1
    return {**levels, **dict.fromkeys(after, top)}, top
