"""The half after the frames: a config comes in, the aggregator it asks for goes out, and what may enter it is checked.

Shared by all networks that encode frames one by one: `Stam` and `StamTimm`.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from fewframes.errors import UsageError
from fewframes.models.aggregators import (
    MeanAggregator,
    OfficialAggregator,
    PaperAggregator,
    init_time_positions_,
)
from fewframes.models.checks import check_choice, check_share, check_whole
from fewframes.models.layers import init_transformer_
from fewframes.models.positions import PositionTable

__all__ = [
    "Aggregator",
    "TemporalConfig",
    "build_aggregator",
    "check_frames",
    "check_temporal_heads",
    "check_temporal_numbers",
    "init_aggregator_",
    "time_tables",
]

Aggregator = OfficialAggregator | PaperAggregator | MeanAggregator


class TemporalConfig(Protocol):
    """What a config says of its aggregator; each field is explained in `StamConfig`."""

    @property
    def num_frames(self) -> int:
        """T."""

    @property
    def norm_eps(self) -> float:
        """Of the "paper" aggregator's norms; the "official" one has 1e-5."""

    @property
    def aggregator(self) -> Literal["official", "paper", "mean"]:
        """As released, as written in the paper, or the average."""

    @property
    def temporal_depth(self) -> int:
        """Layers."""

    @property
    def temporal_heads(self) -> int:
        """Heads of each layer."""

    @property
    def temporal_mlp_width(self) -> int | None:
        """Inner width of the MLPs; None for the usual one."""

    @property
    def temporal_dropout(self) -> float:
        """Of the "official" aggregator, while training."""


def check_temporal_numbers(config: TemporalConfig) -> None:
    """Raise `UsageError` unless all that a config says of its aggregator makes sense, whatever the width."""
    check_choice(config, "aggregator", ("official", "paper", "mean"))
    if config.aggregator != "mean":
        check_whole(config, ("temporal_depth", "temporal_heads"))
    if config.temporal_mlp_width is not None:
        check_whole(config, ("temporal_mlp_width",))
    if not config.norm_eps > 0:
        raise UsageError(f"norm_eps is {config.norm_eps}; expected a number above 0")
    check_share(config, ("temporal_dropout",))


def check_temporal_heads(config: TemporalConfig, width: int) -> None:
    """Raise `UsageError` unless the aggregator's heads divide the frame embedding's width."""
    if config.aggregator != "mean" and width % config.temporal_heads:
        raise UsageError(f"width is {width}; expected a multiple of temporal_heads, {config.temporal_heads}")


def build_aggregator(config: TemporalConfig, width: int) -> Aggregator:
    """The aggregator that a config asks for, (B, T, D) -> (B, D), with D = `width`; see `init_aggregator_`."""
    if config.aggregator == "official":
        return OfficialAggregator(
            config.num_frames,
            width,
            depth=config.temporal_depth,
            heads=config.temporal_heads,
            mlp_width=config.temporal_mlp_width or 2048,
            dropout=config.temporal_dropout,
        )
    if config.aggregator == "paper":
        return PaperAggregator(
            config.num_frames,
            width,
            depth=config.temporal_depth,
            heads=config.temporal_heads,
            mlp_width=config.temporal_mlp_width or 4 * width,
            norm_eps=config.norm_eps,
        )
    return MeanAggregator()


def init_aggregator_(aggregate: Aggregator, generator: torch.Generator | None = None) -> None:
    """Draw an aggregator's weights anew, in place; positions start as waves."""
    init_transformer_(aggregate, generator)
    if not isinstance(aggregate, MeanAggregator):
        init_time_positions_(aggregate.pos_embed)


def time_tables(config: TemporalConfig) -> tuple[PositionTable, ...]:
    """The learned positions of the module `aggregate`: of frames in the clip, if there are any."""
    if config.aggregator == "mean":
        return ()
    return (PositionTable("aggregate.pos_embed", has_class=True, grid=(config.num_frames, 1, 1)),)


def check_frames(frames_BTD: Tensor, config: TemporalConfig, width: int) -> None:
    """Raise `UsageError` unless these are frame embeddings (B, T, D) of the right T and D; the mean takes any T."""
    if frames_BTD.ndim != 3 or frames_BTD.shape[2] != width:
        raise UsageError(
            f"the frame embeddings are {tuple(frames_BTD.shape)}; expected (B, T, {width}), as embed_frames gives them"
        )
    num_frames = frames_BTD.shape[1]
    if num_frames < 1 or (config.aggregator != "mean" and num_frames != config.num_frames):
        raise UsageError(
            f"the clip has {num_frames} frames but the model needs {config.num_frames}; "
            f"sample with count={config.num_frames}"
        )
