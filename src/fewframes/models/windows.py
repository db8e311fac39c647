"""Heads of the networks that pytorchvideo builds: a map of logits comes in, one vector of logits per clip goes out."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from fewframes.errors import UsageError

__all__ = ["builder_of", "check_window", "logits_over_windows", "window_cells"]

# Every one of these networks makes a map of one cell per 32 x 32 pixels, rounded up.
_CELL = 32


class WindowedConfig(Protocol):
    """A config with a head that looks through windows."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    @property
    def window(self) -> tuple[int, int] | None:
        """(height, width) in pixels of what the head looks at at once; None: the whole image."""


def builder_of(module: str, name: str) -> Callable[..., Any]:
    """A function of pytorchvideo, such as "create_x3d" of "pytorchvideo.models.x3d".

    Raises:
        UsageError: pytorchvideo is not installed.
    """
    with warnings.catch_warnings():
        # fvcore, which pytorchvideo needs, scripts a loss function when it is imported; nothing here uses that one.
        warnings.filterwarnings("ignore", message=r"`?torch\.jit\.script`? is deprecated")
        try:
            builder: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            raise UsageError(f"this network needs pytorchvideo ({error}); install fewframes[baselines]") from error
    return builder


def check_window(config: WindowedConfig) -> None:
    """Raise `UsageError` unless the window is (height, width) in pixels, or None."""
    window = config.window
    if window is not None and (len(window) != 2 or not all(_is_whole(side) for side in window)):
        raise UsageError(
            f"window is {'x'.join(map(str, window))}; "
            "expected height and width in pixels, whole numbers of at least 1, or None"
        )


def window_cells(config: WindowedConfig) -> tuple[int, int]:
    """Rows and columns of the feature map that the head looks at at once."""
    height, width = (
        min(side, whole) for side, whole in zip(config.window or config.image_size, config.image_size, strict=True)
    )
    return math.ceil(height / _CELL), math.ceil(width / _CELL)


def logits_over_windows(logits_BKTHW: Tensor) -> Tensor:
    """Join what the head says in each window: (B, K, T, H, W) logits of T*H*W windows -> (B, K) float32 logits.

    The published results average the probabilities of all windows, not their logits. One window's logits are returned
    as they are; of several, the logarithm of that average, which softmax turns into the average.

    Source: evaluation of X3D and SlowFast in PySlowFast ("fully convolutional inference").
    """
    logits_BKM = logits_BKTHW.flatten(2).float()
    num_windows = logits_BKM.shape[2]
    if num_windows == 1:
        return logits_BKM.squeeze(2)
    return logits_BKM.log_softmax(1).logsumexp(2) - math.log(num_windows)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
