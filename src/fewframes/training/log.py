"""What happens during a run comes in; lines of JSON on disk and a live line in the terminal go out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fewframes.report.logs import read_training_log
from fewframes.report.serial import write_atomically

__all__ = ["RunLog"]


class RunLog:
    """Appends to log.jsonl and keeps a progress bar; a context manager.

    Args:
        path: the file; lines beyond `from_step` are cut off, since they are about to be repeated.
        total_steps: of the whole run.
        from_step: steps already done.
        show: whether to show messages and, on a terminal, the bar.
    """

    def __init__(self, path: Path, *, total_steps: int, from_step: int = 0, show: bool = True) -> None:
        before = read_training_log(path) if from_step and path.exists() else []
        kept = [record for record in before if record["step"] <= from_step]
        write_atomically(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = path.open("a", encoding="utf-8")
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not (show and console.is_terminal),
        )
        self._show = show
        self._losses: list[float] = []
        self._task = self._progress.add_task("", total=total_steps, completed=from_step, epoch="", status="")

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._file.close()

    def step(self, epoch: int, loss: float | None) -> None:
        """Move the bar by one step; the loss is None if not one video of the batch could be read."""
        if loss is None:
            self._progress.update(self._task, advance=1, epoch=epoch + 1)
            return
        self._losses.append(loss)
        self._progress.update(self._task, advance=1, epoch=epoch + 1, status=f"loss {loss:.3f}")

    def mean_loss(self) -> float:
        """The mean of the losses given to `step` since the last call; 0 if there were none."""
        mean = sum(self._losses) / max(len(self._losses), 1)
        self._losses.clear()
        return mean

    def write(self, record: Mapping[str, object]) -> None:
        """Append one line; every record has a "step". It has left this process when this returns."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        """Print a line on standard error, above the bar."""
        if self._show:
            self._progress.console.print(text, highlight=False, markup=False)
