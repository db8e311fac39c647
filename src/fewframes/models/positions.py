"""What a loader must know of a network's learned positions, so that it can fit those of another size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["PositionTable"]


@dataclass(frozen=True)
class PositionTable:
    """One learned table: a tensor (1, has_class + t * rows * columns, D), t-major, then rows, then columns.

    Attributes:
        name: of the tensor in the state dict.
        has_class: whether the class token's position comes first.
        grid: (t, rows, columns); t is 1 for a table over space only, rows and columns are 1 for one over time only.
        mode: how its authors fit it to another size: "smooth" (bicubic in space, linear in time) or "nearest".
    """

    name: str
    has_class: bool
    grid: tuple[int, int, int]
    mode: Literal["smooth", "nearest"] = "smooth"

    @property
    def num_tokens(self) -> int:
        """Rows of the table."""
        t, rows, columns = self.grid
        return self.has_class + t * rows * columns
