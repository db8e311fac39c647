"""Ways to end a run in the middle: inside this process at its n-th step on the disk, or a process by SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_STEPS = ("fsync", "replace", "write", "ftruncate", "unlink", "rmdir", "mkdir")
_SECONDS = 300.0  # a machine may be busy; this only keeps a hanging run from hanging the tests


class Stopped(BaseException):
    """What stands for the end of the process; nothing catches it."""


def stop_at_step(patch: pytest.MonkeyPatch, step: int, *, after: bool) -> None:
    """Let the n-th step on the disk from now on, counted from 0, be the last one: not done, or just done.

    Nothing is cleaned up afterwards, as if the process were gone: every further step is refused, too.
    """
    steps = 0

    def stopping(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            nonlocal steps
            steps += 1
            if steps <= step:
                return original(*arguments, **options)
            if steps == step + 1 and after:
                original(*arguments, **options)
            raise Stopped

        return call

    for name in _STEPS:
        patch.setattr(os, name, stopping(getattr(os, name)))


def tree(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every file below a folder and its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in without}


def kill_when(condition: Callable[[], bool], module: str, *arguments: object) -> bool:
    """Run a verb in a process of its own and kill it as soon as the condition holds.

    Only the process itself is killed; its workers have to end by themselves, which is waited for.

    Returns:
        Whether it was killed before it was done.
    """
    code = f"import sys; from {module} import run; sys.exit(run(sys.argv[1:], 'fewframes'))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + _SECONDS
    try:
        while process.poll() is None and not condition():
            assert time.monotonic() < deadline, "the run neither ends nor gets on"
            time.sleep(0.002)
    finally:
        was_running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    while _has_members(process.pid):
        assert time.monotonic() < deadline, "its workers go on without it"
        time.sleep(0.01)
    assert was_running or process.returncode in (0, 1), errors.decode()
    return was_running


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
