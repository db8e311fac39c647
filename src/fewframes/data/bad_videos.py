"""Videos that cannot be read come in; they are counted, each once, and the work stops when they are too many."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from fewframes.data.manifest import Manifest
from fewframes.errors import TooManyBadVideos, UnreadableVideo
from fewframes.records import BadVideoPolicy, Failure, part_text

__all__ = ["BadVideos"]

_NAMED = 3


class BadVideos:
    """The listed videos that could not be read: the one policy of training, validation, evaluation and prediction.

    A line of the list counts once, however often it is tried; a file that is listed in several parts counts once for
    each part that failed.

    Args:
        policy: what to do about them, and how many are too many.
        manifest: the list.
        known: those found before an interruption, by their place in the list.

    Attributes:
        found: place in the list -> failure, in the order in which they were met.
        allowed: how many may fail.
    """

    def __init__(
        self, policy: BadVideoPolicy, manifest: Manifest, *, known: Mapping[int, Failure] | None = None
    ) -> None:
        self.policy, self.source, self.listed = policy, manifest.source, len(manifest.videos)
        self.found: dict[int, Failure] = dict(known or {})
        # Without rounding first, 0.07 x 100 = 7.000000000000001 would allow 8.
        self.allowed = math.ceil(round(policy.max_bad_fraction * self.listed, 6))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """All of them, each once, in the order in which they were met."""
        return tuple(self.found.values())

    def add(self, index: int, failure: Failure) -> bool:
        """Count a video by its place in the list. Returns whether it was new.

        Raises:
            UnreadableVideo: the policy is "error".
            TooManyBadVideos: this one is above the cap.
        """
        if self.policy.on_bad_video == "error":
            part = part_text(failure.start, failure.end)
            reason = f"the part {part}: {failure.reason}" if part else failure.reason
            remedy = f"repair or remove it, or use {self._option('on-bad-video')} skip"
            raise UnreadableVideo(failure.path, f"{reason}; {remedy}")
        if index in self.found:
            return False
        self.found[index] = failure
        self.check()
        return True

    def check(self) -> None:
        """Raise `TooManyBadVideos` if there are more than the cap allows."""
        if len(self.found) > self.allowed:
            raise TooManyBadVideos(self._too_many(), self.failures)

    def _too_many(self) -> str:
        first = ", ".join(f"{_name(failure)} ({failure.reason})" for failure in self.failures[:_NAMED])
        cap = self._option("max-bad-fraction")
        scan = f"find them all with `fewframes data scan {self.source}`, " if Path(self.source).exists() else ""
        return (
            f"{len(self.found)} of {self.listed} videos of {self.source} could not be read so far, more than the "
            f"{self.allowed} that {cap} {self.policy.max_bad_fraction:g} allows; first {first}; "
            f"{scan}repair or remove them, or raise {cap}"
        )

    def _option(self, name: str) -> str:
        return f"{self.policy.option_prefix}{name}"


def _name(failure: Failure) -> str:
    return f"{failure.path} {part_text(failure.start, failure.end)}".rstrip()
