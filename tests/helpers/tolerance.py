"""Every tolerance of the tests, with its reason; two tensors come in, their largest difference or a failure goes out.

The network's values here are of order 1, so absolute bounds say the same as relative ones and stay meaningful near 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Float32 against numbers that another implementation computed in float32. The golden files' own float32 values differ
# from float64 arithmetic by up to 1.2e-6; the order of additions (fused attention, another CPU) costs as much again.
PARITY = 1e-5

# A mistake worth the name (another eps, another GELU, two axes swapped) moves the golden numbers by more than this, so
# that a wrong implementation can never pass at PARITY.
MISTAKE = 5e-5

# The same numbers in another grouping, such as two clips in one batch or one after the other: matrix products choose
# their order of additions by the shape, so the last bits differ, a few float32 epsilons (1.2e-7) of values of order 1.
REGROUPED = 1e-6

# A formula of a few float32 operations against numbers worked out by hand.
BY_HAND = 1e-6


def difference(actual: Tensor, expected: Tensor) -> float:
    """The largest absolute difference, in float64; shapes must agree, and NaN counts as infinite."""
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    gap = (actual.detach().double() - expected.detach().double()).abs()
    return float(torch.nan_to_num(gap, nan=torch.inf).max())


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Fail, naming the largest difference, if two tensors differ by more than `tolerance` anywhere."""
    found = difference(actual, expected)
    assert found <= tolerance, f"largest difference {found:.3g}, allowed {tolerance:.3g}"
