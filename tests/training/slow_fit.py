"""`fewframes fit` that writes each embedding at once and takes its time for it, to be killed in the middle."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

import fewframes.training.embeddings as embeddings
from fewframes.training.embedder import FrameEmbedder


def run(arguments: Sequence[str], program: str) -> int:
    from fewframes.cli.fit import run as run_fit

    torch.set_num_threads(1)
    embed = FrameEmbedder.embed

    def slow(self: FrameEmbedder, clip: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return embed(self, clip)

    FrameEmbedder.embed = slow  # type: ignore[method-assign]
    embeddings._SHARD_ENTRIES = 1
    return run_fit(arguments, program)
