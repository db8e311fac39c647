"""torchrun's environment comes in; this process's share of the work goes out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fewframes.errors import UsageError

if TYPE_CHECKING:
    from fewframes.data.loader import Shard

__all__ = ["joined_processes", "own_device"]

_ENVIRONMENT = ("RANK", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def joined_processes() -> Iterator[Shard]:
    """Join the processes that torchrun started, for the time of a `with` statement; without torchrun, be alone.

    They exchange plain values only, on the CPU.

    Raises:
        UsageError: WORLD_SIZE says that there are several, but not how to meet them.
    """
    from fewframes.data.loader import Shard

    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Shard()
        return
    missing = [name for name in _ENVIRONMENT if name not in os.environ]
    if missing:
        raise UsageError(f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set; start with torchrun")

    from torch import distributed

    distributed.init_process_group("gloo")
    try:
        yield Shard(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def own_device(device: str) -> str:
    """A GPU of its own for each process of a machine, if just "cuda" was asked for."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device
