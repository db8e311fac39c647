"""What happens during a run comes in; lines of JSON on disk and a live line in the terminal go out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["RunLog", "read_log"]


class RunLog:
    """Appends to log.jsonl and keeps a progress bar; a context manager.

    Args:
        path: the file; lines beyond `from_step` are cut off, since they are about to be repeated.
        total_steps: of the whole run.
        from_step: steps already done.
        show: whether to show the bar and the messages.
    """

    def __init__(self, path: Path, *, total_steps: int, from_step: int = 0, show: bool = True) -> None:
        kept = [line for line in read_log(path) if int(str(line.get("step", 0))) <= from_step] if from_step else []
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not show,
        )
        self._task = self._progress.add_task("", total=total_steps, completed=from_step, epoch="", status="")

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()

    def step(self, epoch: int, loss: float) -> None:
        """Move the bar by one step."""
        self._progress.update(self._task, advance=1, epoch=epoch + 1, status=f"loss {loss:.3f}")

    def write(self, record: Mapping[str, object]) -> None:
        """Append one line; it is on disk when this returns."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self._progress.disable:
            self._progress.console.print(text, highlight=False, markup=False)


def read_log(path: Path) -> list[dict[str, object]]:
    """All lines of a run's log; an unfinished last line, left by a killed run, is passed over. Empty if no file."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
