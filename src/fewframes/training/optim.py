"""A network and its settings come in; an optimiser and its learning rate over time go out."""

from __future__ import annotations

import math

import torch
from torch import nn

from fewframes.training.config import OptimConfig

__all__ = ["build_optimizer", "learning_rate_factor", "parameter_groups", "set_learning_rate"]


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, object]]:
    """Sort parameters by how they learn.

    Weight matrices and convolutions decay; norms, biases, class tokens and positions do not. Everything outside the
    frame encoder (aggregator, head) has `temporal_lr_factor` times the learning rate; in a network without a frame
    encoder that is its head.

    Returns:
        Groups for a torch optimiser with "name", "params", "lr", "base_lr" and "weight_decay"; none is empty, and each
        parameter is in exactly one.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    named = dict(model.named_parameters())
    heads: tuple[str, ...] = getattr(model, "head_names", ())
    has_encoder = any(name.startswith("encoder.") for name in named)
    for name, parameter in named.items():
        decays = parameter.ndim > 1 and name.endswith("weight")  # tokens and positions are bare parameters
        in_encoder = name.startswith("encoder.") if has_encoder else name not in heads
        groups.setdefault((in_encoder, decays), []).append(parameter)
    result: list[dict[str, object]] = []
    for (in_encoder, decays), parameters in groups.items():
        lr = config.lr if in_encoder else config.lr * config.temporal_lr_factor
        part = "encoder" if in_encoder else "temporal and head"
        result.append(
            {
                "name": f"{part}, {'decay' if decays else 'no decay'}",
                "params": parameters,
                "lr": lr,
                "base_lr": lr,
                "weight_decay": config.weight_decay if decays else 0.0,
            }
        )
    return result


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`."""
    return torch.optim.AdamW(parameter_groups(model, config), lr=config.lr, betas=(0.9, config.beta2))


def learning_rate_factor(step: int, *, steps_per_epoch: int, config: OptimConfig) -> float:
    """What the peak learning rate is multiplied with at a step.

    Rises linearly over the warm-up, reaching 1 at its last step, then falls along half a cosine that reaches
    `final_lr_factor` at the last step.

    Args:
        step: from 0, of epochs * steps_per_epoch.
        steps_per_epoch: steps of the optimiser in an epoch.
        config: the schedule.
    """
    total = config.epochs * steps_per_epoch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup + 1) / max(total - warmup, 1)
    return config.final_lr_factor + (1 - config.final_lr_factor) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its own peak, "base_lr"."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
