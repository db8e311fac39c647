"""What happens during a run comes in; lines of JSON on disk and a live line in the terminal go out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fewframes.report.logs import read_training_log
from fewframes.report.serial import write_atomically
from fewframes.training.board import Board

__all__ = ["Pace", "RunLog"]


@dataclass
class Pace:
    """How fast some steps went, and what reading their clips took.

    Attributes:
        clips: that were trained on.
        wait_seconds: waiting for the next batch.
        work_seconds: everything else.
        decode_seconds: opening and decoding, added up over the processes that read.
        bytes_read: how much of the files was read.
        packets_decoded: compressed packets that were given to decoders.
    """

    clips: int = 0
    wait_seconds: float = 0.0
    work_seconds: float = 0.0
    decode_seconds: float = 0.0
    bytes_read: int = 0
    packets_decoded: int = 0

    def add(self, other: Pace) -> None:
        """Take further steps in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def wait_share(self) -> float:
        """The share of the time that was spent waiting for data, 0 to 1."""
        return self.wait_seconds / max(self.wait_seconds + self.work_seconds, 1e-9)

    @property
    def decode_ms_per_clip(self) -> float:
        """Milliseconds of one reader for one clip; 0 for clips from memory."""
        return 1000 * self.decode_seconds / max(self.clips, 1)

    def values(self) -> dict[str, float]:
        """What a line of the log says."""
        return {
            "samples_per_second": self.clips / max(self.wait_seconds + self.work_seconds, 1e-9),
            "data_wait_share": self.wait_share,
            "decode_ms_per_clip": self.decode_ms_per_clip,
            "bytes_read": self.bytes_read,
            "packets_decoded": self.packets_decoded,
        }


class RunLog:
    """Appends to log.jsonl and keeps a progress bar; a context manager.

    Args:
        path: the file; lines beyond `from_step` are cut off, since they are about to be repeated.
        total_steps: of the whole run.
        from_step: steps already done.
        show: whether to show messages and, on a terminal, the bar.
        writes: whether this process is the one that writes the file.
        board: also write every line for TensorBoard.
    """

    def __init__(
        self,
        path: Path,
        *,
        total_steps: int,
        from_step: int = 0,
        show: bool = True,
        writes: bool = True,
        board: Board | None = None,
    ) -> None:
        self._file: TextIO | None = None
        self._board = board
        if writes:
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
        self._since_line, self._since_epoch = Pace(), Pace()
        self._task = self._progress.add_task("", total=total_steps, completed=from_step, epoch="", status="")

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def step(self, epoch: int, loss: float | None, pace: Pace) -> None:
        """Move the bar by one step; the loss is None if not one video of the batch could be read."""
        self._since_line.add(pace)
        self._since_epoch.add(pace)
        if loss is not None:
            self._losses.append(loss)
        shown = "" if loss is None else f"loss {loss:.3f}, "
        status = f"{shown}{self._since_epoch.wait_share:.0%} waiting for data"
        self._progress.update(self._task, advance=1, epoch=epoch + 1, status=status)

    def pace(self) -> dict[str, float]:
        """How fast the steps since the last call went."""
        values, self._since_line = self._since_line.values(), Pace()
        return values

    def epoch_pace(self) -> str:
        """How the steps since the last call waited and read, in words."""
        pace, self._since_epoch = self._since_epoch, Pace()
        decoding = f", decoding {pace.decode_ms_per_clip:.1f} ms a clip" if pace.decode_seconds else ""
        return f"{pace.wait_share:.0%} waiting for data{decoding}"

    def mean_loss(self) -> float:
        """The mean of the losses given to `step` since the last call; 0 if there were none."""
        mean = sum(self._losses) / max(len(self._losses), 1)
        self._losses.clear()
        return mean

    def write(self, record: Mapping[str, object]) -> None:
        """Append one line; every record has a "step". It has left this process when this returns."""
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if self._board is not None:
            self._board.write(record)

    def say(self, text: str) -> None:
        """Print a line on standard error, above the bar."""
        if self._show:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)  # paths stay whole
