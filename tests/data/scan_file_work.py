"""What the processes of a scan's tests do instead of, or besides, looking at files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fewframes.data.scan_file import FileTask, Finding, do_task

from .scan_work import misbehave


def misbehave_with_files(task: FileTask, alive: Callable[[], None]) -> Finding:
    """As a scan does, but files are what their names say."""
    name = Path(task.path).stem
    if task.kind == "video" and name in ("hang", "killed", "crash"):
        misbehave(name, alive)
    return do_task(task, alive)


def write_down(task: FileTask, alive: Callable[[], None]) -> Finding:
    """As a scan does, leaving a line for each task in the file that the environment names."""
    with open(os.environ["SCAN_WORK_LOG"], "a", encoding="utf-8") as file:
        file.write(f"{task.kind} {task.path}\n")
    return do_task(task, alive)
