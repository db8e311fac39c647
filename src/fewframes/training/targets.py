"""A batch comes in, what the network is to say about its clips goes out, and how wrong it is.

The loop does not know the task: it asks a `Targets` for the targets of a batch and for their losses. Targets are looked
up in the main process by the clips' places in the list, so they never travel through the processes that read videos;
only a single label does, since a mirrored clip may have another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from fewframes.data.loader import Batch
from fewframes.errors import UsageError
from fewframes.training.losses import cross_entropy, weighted_cross_entropy_sum
from fewframes.training.mixing import soft_targets

__all__ = ["SingleLabel", "Targets", "balanced_class_weights"]


class Targets(Protocol):
    """What a kind of task has to say. Everything follows its arguments to their device."""

    def of(self, batch: Batch) -> Tensor:
        """The targets of the clips at `batch.indices`, (B, ...), on the CPU; B may be 0."""

    def soft(self, targets: Tensor) -> Tensor:
        """The same as numbers that may be blended, (B, ...) float32; `losses` takes these too."""

    def losses(self, logits_BK: Tensor, targets: Tensor) -> Tensor:
        """How wrong each clip's answer is, (B,) float32 whatever autocast did."""

    def loss_sum(self, logits_BK: Tensor, targets: Tensor, weights_B: Tensor) -> Tensor:
        """The losses of some clips, each times its weight, added up: a scalar."""


class SingleLabel:
    """One class a video, and cross-entropy.

    Args:
        num_classes: K.
        label_smoothing: 0 to 1.
        class_weights_K: what the loss of a clip of each class is multiplied with; None is 1. Nothing is divided by
            them, so a batch of rare classes counts for more.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        label_smoothing: float = 0.0,
        class_weights_K: Tensor | None = None,
    ) -> None:
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.class_weights_K = class_weights_K

    def of(self, batch: Batch) -> Tensor:
        """(B,) int64: the label that each clip was drawn with."""
        return batch.labels

    def soft(self, targets: Tensor) -> Tensor:
        """(B, K) shares of classes."""
        return soft_targets(targets, (self.num_classes,))

    def losses(self, logits_BK: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropies; `targets` are classes (B,) or shares of classes (B, K)."""
        return cross_entropy(
            logits_BK,
            targets,
            label_smoothing=self.label_smoothing,
            class_weights_K=self._weights_beside(logits_BK),
        )

    def loss_sum(self, logits_BK: Tensor, targets: Tensor, weights_B: Tensor) -> Tensor:
        """Where all weights are 1, torch's fused sum, and so the very bits of a list without weights."""
        return weighted_cross_entropy_sum(
            logits_BK,
            targets,
            weights_B,
            label_smoothing=self.label_smoothing,
            class_weights_K=self._weights_beside(logits_BK),
        )

    def _weights_beside(self, logits_BK: Tensor) -> Tensor | None:
        return None if self.class_weights_K is None else self.class_weights_K.to(logits_BK.device)


def balanced_class_weights(labels: Sequence[int], num_classes: int) -> Tensor:
    """N / (K * videos of the class), (K,) float32: their mean over the N listed videos is 1.

    Raises:
        UsageError: a class has no video.
    """
    counts_K = torch.bincount(torch.tensor(list(labels), dtype=torch.int64), minlength=num_classes)
    if bool((counts_K == 0).any()):
        missing = int((counts_K == 0).nonzero()[0])
        raise UsageError(f"class {missing} has no training video, so it has no balanced weight; add some or remove it")
    return (len(labels) / (num_classes * counts_K.double())).float()
