"""Progress bars: items come in, the same items go out, while a terminal shows how far they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

__all__ = ["track"]

T = TypeVar("T")


def track(items: Iterable[T], description: str, *, total: int, show: bool) -> Iterable[T]:
    """The items, with a bar on standard error if that is a terminal and `show` is set; it vanishes when done."""
    console = Console(stderr=True)
    return rich_track(
        items, description, total=total, console=console, disable=not (show and console.is_terminal), transient=True
    )
