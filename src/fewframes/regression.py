"""Predicted and true numbers come in, sums of errors are kept; mean absolute and root mean square error go out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fewframes.errors import UsageError

__all__ = ["RegressionMetrics"]

_STATE_KEYS = ("absolute_sum", "num_failed", "num_values", "square_sum")


class RegressionMetrics:
    """Errors of predicted numbers, in the targets' unit, over the videos that could be read.

    A video that could not be read has no error that could be counted; `num_failed` says how many there were, and is to
    be reported beside the errors. Sums are float64, so the order of merging moves a result by its last bits at most.
    """

    def __init__(self) -> None:
        self.num_values = 0
        self.num_failed = 0
        self._absolute_sum = 0.0
        self._square_sum = 0.0

    def update(self, predictions: Tensor, targets: Tensor, *, mask_B: Tensor | None = None) -> None:
        """Count one batch of videos that could be read.

        Args:
            predictions: (B,) or (B, R), any device.
            targets: of the very same shape.
            mask_B: (B,) bool; rows that are False are padding: neither counted nor checked. None counts every row.

        Raises:
            UsageError: a shape does not fit, or a number is NaN or infinite. Nothing of the batch has been counted.
        """
        if predictions.shape != targets.shape or predictions.ndim not in (1, 2):
            raise UsageError(
                f"predictions have shape {tuple(predictions.shape)}, targets {tuple(targets.shape)}; "
                "expected the same, (B,) or (B, R)"
            )
        errors = predictions.detach().cpu().double() - targets.detach().cpu().double()
        if mask_B is not None:
            if tuple(mask_B.shape) != (predictions.shape[0],) or mask_B.dtype != torch.bool:
                raise UsageError(
                    f"mask has shape {tuple(mask_B.shape)} and dtype {mask_B.dtype}; "
                    f"expected bool ({predictions.shape[0]},)"
                )
            errors = errors[mask_B.detach().cpu()]
        if not bool(errors.isfinite().all()):
            raise UsageError("predictions or targets hold NaN or infinite values; expected finite numbers")
        self.num_values += errors.numel()
        self._absolute_sum += float(errors.abs().sum())
        self._square_sum += float(errors.square().sum())

    def add_failures(self, count: int) -> None:
        """Count listed videos that could not be read."""
        if count < 0:
            raise UsageError(f"{count} videos could not be read; expected at least 0")
        self.num_failed += count

    def merge(self, other: RegressionMetrics) -> None:
        """Add what another one has counted."""
        self.num_values += other.num_values
        self.num_failed += other.num_failed
        self._absolute_sum += other._absolute_sum
        self._square_sum += other._square_sum

    def state_dict(self) -> dict[str, Tensor]:
        """All sums as float64 tensors of one number; adding states over processes merges them."""
        return {
            "absolute_sum": torch.tensor(self._absolute_sum, dtype=torch.float64),
            "num_failed": torch.tensor(float(self.num_failed), dtype=torch.float64),
            "num_values": torch.tensor(float(self.num_values), dtype=torch.float64),
            "square_sum": torch.tensor(self._square_sum, dtype=torch.float64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor | float]) -> RegressionMetrics:
        """Rebuild from `state_dict()`; tensors on any device, or numbers.

        Raises:
            UsageError: a key is missing or unknown, or a number is negative or not finite.
        """
        if set(state) != set(_STATE_KEYS):
            raise UsageError(f"metrics state has keys {sorted(state)}; expected {sorted(_STATE_KEYS)}")
        values = {name: float(state[name]) for name in _STATE_KEYS}
        if not all(0 <= value < math.inf for value in values.values()):
            raise UsageError(f"metrics state holds {values}; expected finite numbers of at least 0")
        metrics = cls()
        metrics.num_values, metrics.num_failed = int(values["num_values"]), int(values["num_failed"])
        metrics._absolute_sum, metrics._square_sum = values["absolute_sum"], values["square_sum"]
        return metrics

    @property
    def mean_absolute_error(self) -> float:
        """MAE, over all numbers of all videos. Raises UsageError if there are none."""
        return self._absolute_sum / self._count()

    @property
    def root_mean_square_error(self) -> float:
        """RMSE, over all numbers of all videos. Raises UsageError if there are none."""
        return math.sqrt(self._square_sum / self._count())

    def _count(self) -> int:
        if self.num_values == 0:
            raise UsageError(f"no error over 0 numbers ({self.num_failed} videos could not be read); check the list")
        return self.num_values
