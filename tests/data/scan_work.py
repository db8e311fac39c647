"""What the processes of the workers' tests do, by the name of the task; processes import it from here, fast."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def misbehave(task: str, alive: Callable[[], None]) -> str:
    """Do what the task says; upper case is the answer of one that says nothing special."""
    kind, _, detail = task.partition(" ")
    if kind == "hang":
        time.sleep(1000)
    elif kind == "spin":
        while True:
            pass
    elif kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "crash":
        ctypes.string_at(0)
    elif kind == "exit":
        os._exit(3)
    elif kind == "allocate":
        return str(len(bytearray(int(detail) << 20)) >> 20)
    elif kind == "raise":
        raise ValueError("two\nlines")
    elif kind == "slow":
        for _ in range(int(detail)):
            time.sleep(0.1)
            alive()
    elif kind == "pid":
        Path(detail).write_text(str(os.getpid()))
        time.sleep(1000)
    return task.upper()
