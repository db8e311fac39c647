"""Lines of a run's log come in; TensorBoard's event files go out, if its package is there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewframes.errors import UsageError
from fewframes.report.serial import flatten

__all__ = ["Board", "find_writer"]


class Board:
    """Writes every number of the log as a scalar under its name.

    Args:
        folder: for the event files.
        from_step: what was written for later steps is marked as void.

    Raises:
        UsageError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, from_step: int = 0) -> None:
        self._writer = find_writer()(str(folder), purge_step=from_step + 1 if from_step else None)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one line of the log."""
        for name, value in flatten(record).items():
            if (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and math.isfinite(value)
                and name != "step"
            ):
                self._writer.add_scalar(name.replace(".", "/"), value, record["step"])

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def find_writer() -> Any:  # noqa: ANN401 - a class of a package that may be absent
    """TensorBoard's writer.

    Raises:
        UsageError: its package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "tensorboard is on, but its package is not installed; install fewframes[tensorboard], or leave it out: "
            "log.jsonl and curves.png have the same numbers"
        ) from error
    return SummaryWriter
