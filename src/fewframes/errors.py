"""Every error that a user or a file can cause; nothing comes in, typed exceptions go out.

FewframesError                 root; `exit_status` is what the command line returns
├── UsageError (ValueError)    a wrong option, name or value: exit status 2
│   └── UnknownName            a name that is not in a closed list; the nearest known one is suggested
├── UnreadableVideo            a file that is not a video, is damaged, or cannot be opened: exit status 1
├── TooManyBadVideos           more videos of a list cannot be read than the cap allows: exit status 1
├── WorkerDied                 a process that reads videos ended by itself, or was killed: exit status 1
├── InvalidManifest            a list of videos that cannot be read as one: exit status 1
├── InvalidCheckpoint          weights or a checkpoint folder that do not fit or are damaged: exit status 1
│   └── UnsafePickle           a pickle that holds more than tensors: refused, never run
├── DownloadFailed             a known file that could not be fetched: exit status 1
├── TrainingFailed             a run that cannot go on (loss not finite, nothing to train on): exit status 1
└── TrainingStopped            a run that a signal ended, to be taken up again: exit status 128 + the signal's number
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "DownloadFailed",
    "FewframesError",
    "InvalidCheckpoint",
    "InvalidManifest",
    "TooManyBadVideos",
    "TrainingFailed",
    "TrainingStopped",
    "UnknownName",
    "UnreadableVideo",
    "UnsafePickle",
    "UsageError",
    "WorkerDied",
]


class FewframesError(Exception):
    """Root of every error that a user or a file can cause; its text is one line: what, got, expected, remedy."""

    exit_status = 1


class UsageError(FewframesError, ValueError):
    """A wrong option, name or value given by the caller."""

    exit_status = 2


_MOST_NAMED = 30  # more than that nobody reads in one line


class UnknownName(UsageError):
    """A name that is not in a closed list.

    Args:
        kind: what the name should be, such as "model".
        name: what was given.
        known: the names that exist; the nearest ones are suggested.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(repr(each) for each in near)}?"
        else:
            more = len(self.known) - _MOST_NAMED
            rest = f" and {more} more" if more > 0 else ""
            hint = f"known: {', '.join(self.known[:_MOST_NAMED])}{rest}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")

    def __reduce__(self) -> tuple[type[UnknownName], tuple[str, str, tuple[str, ...]]]:
        """Travel between processes, as `UnreadableVideo` does."""
        return type(self), (self.kind, self.name, self.known)


class UnreadableVideo(FewframesError):
    """A source whose frames cannot be had.

    Args:
        path: the source as the caller named it.
        reason: one line without the path: what is wrong and, where one exists, the remedy.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"cannot read {self.path}: {reason}")

    def __reduce__(self) -> tuple[type[UnreadableVideo], tuple[str, str]]:
        """Travel between processes: the default would call the constructor with the whole message."""
        return type(self), (self.path, self.reason)


class TooManyBadVideos(FewframesError):
    """More videos of a list cannot be read than the cap allows.

    Args:
        message: one line: how many, the first ones with their reasons, and the remedies.
        failures: every `fewframes.records.Failure` so far, in the order in which they were met.
    """

    def __init__(self, message: str, failures: Sequence[Any]) -> None:
        self.failures = tuple(failures)
        super().__init__(message)

    def __reduce__(self) -> tuple[type[TooManyBadVideos], tuple[str, tuple[Any, ...]]]:
        """Travel between processes, as `UnreadableVideo` does."""
        return type(self), (str(self), self.failures)


class WorkerDied(FewframesError):
    """A process that reads videos ended by itself or was killed: names what it was reading, and the remedies."""


class InvalidManifest(FewframesError):
    """A list of videos that cannot be read as one: names the file, the line and the remedy."""


class InvalidCheckpoint(FewframesError):
    """Weights or a checkpoint folder that do not fit, or are damaged: names the file and the tensors."""


class UnsafePickle(InvalidCheckpoint):
    """A pickle that holds more than tensors and plain containers: refused, never run."""


class DownloadFailed(FewframesError):
    """A known file that could not be fetched: names the address and where to put the file by hand."""


class TrainingFailed(FewframesError):
    """A training run that cannot go on."""


class TrainingStopped(FewframesError):
    """A training run that a signal ended after it had saved its state.

    Args:
        message: one line: which signal, after which step, and how to go on.
        exit_status: what the command line returns, by custom 128 + the signal's number.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        self.exit_status = exit_status
        super().__init__(message)

    def __reduce__(self) -> tuple[type[TrainingStopped], tuple[str, int]]:
        """Travel between processes, as `UnreadableVideo` does."""
        return type(self), (str(self), self.exit_status)
