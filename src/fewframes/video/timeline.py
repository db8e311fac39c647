"""Timestamps of packets or of decoded frames come in; a `Timeline` goes out: which frames there are, and when."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_TIME", "PacketTable", "TickedFrame", "Timeline", "timeline_from_frames", "timeline_from_packets"]

NO_TIME = -(2**63)  # as FFmpeg writes it
_ASSUMED_RATE = Fraction(25)  # for a single frame in a container that states no rate at all
_LONGEST = 2**62  # ticks; a file that claims more is not believed


@dataclass(frozen=True)
class PacketTable:
    """What a container says of its video's packets, in decoding order.

    Attributes:
        pts: (P,) int64, presentation times in ticks; `NO_TIME` where the container states none.
        durations: (P,) int64 ticks; 0 where not stated.
        is_key: (P,) bool, whether decoding can start here.
        is_shown: (P,) bool, False if an edit list drops it, so that it is decoded but not shown.
    """

    pts: NDArray[np.int64]
    durations: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    is_shown: NDArray[np.bool_]


class TickedFrame(NamedTuple):
    """A decoded frame's times in ticks: presentation and decoding (or None), duration or 0; and if it is a keyframe."""

    pts: int | None
    dts: int | None
    duration: int
    is_key: bool


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames that a video shows, in presentation order.

    Attributes:
        seconds: (N,) float64, when each is shown, the first at 0.0; strictly ascending.
        duration_seconds: to the end of the last frame.
        fps: mean frames per second.
        variable_frame_rate: whether the gaps differ by more than one tick.
        key_frames: the numbers of those frames that are decoded without any other, ascending.
        ticks: (N,) int64, presentation times; empty where frames can only be counted from the first one on.
        packets: (N,) int64, the number of each frame's packet; empty where unknown.
        starts: (N,) int64, the number of the packet from which each frame can be decoded.
    """

    seconds: NDArray[np.float64]
    duration_seconds: float
    fps: float
    variable_frame_rate: bool
    key_frames: NDArray[np.int64]
    ticks: NDArray[np.int64]
    packets: NDArray[np.int64]
    starts: NDArray[np.int64]

    def number_at(self, pts: int | None) -> int:
        """The number of the frame shown at exactly this time in ticks; -1 if there is none."""
        if pts is None or not -_LONGEST < pts < 2 * _LONGEST:
            return -1
        at = int(self.ticks.searchsorted(pts))
        return at if at < len(self.ticks) and self.ticks[at] == pts else -1


def timeline_from_packets(packets: PacketTable, tick: Fraction, rate: Fraction | None) -> Timeline | None:
    """The timeline that packets promise, or None if they cannot tell which frames will come out of them.

    They can if each has a time of its own, the first is a keyframe, and none is shown before the first: what precedes
    a keyframe in presentation but follows it in the file may need frames that this file does not have.

    Args:
        packets: all of the video's, in decoding order; each gives one frame.
        tick: seconds.
        rate: frames per second as the container states it, if it does.
    """
    times = packets.pts
    if not packets.is_shown.any() or not packets.is_key[0]:
        return None
    by_time = np.argsort(times, kind="stable")
    in_order = times[by_time]
    if in_order[0] == NO_TIME or int(in_order[-1]) - int(in_order[0]) > _LONGEST or (np.diff(in_order) == 0).any():
        return None
    shown = by_time[packets.is_shown[by_time]]
    ticks = times[shown]
    if ticks[0] < times[0]:
        return None
    keys = np.flatnonzero(packets.is_key)
    if (np.diff(times[keys]) <= 0).any():
        keys = keys[:1]
    # The last keyframe that neither is shown after the frame nor follows it in the file.
    at = np.minimum(np.searchsorted(times[keys], ticks, side="right"), np.searchsorted(keys, shown, side="right")) - 1
    access = _Access(np.flatnonzero(packets.is_key[shown]), ticks, shown, keys[np.maximum(at, 0)])
    return _timeline(ticks, int(packets.durations[shown[-1]]), tick, rate, access)


def timeline_from_frames(frames: Sequence[TickedFrame], tick: Fraction, rate: Fraction | None) -> Timeline:
    """The timeline of frames that were all decoded; each is found again by counting from the first.

    Their order is the decoder's. Times are the presentation times if those ascend, else the decoding times if those
    do (some AVI files), else frames are spaced evenly by `rate`.

    Args:
        frames: at least one, in the order in which the decoder gave them.
        tick: seconds.
        rate: frames per second as the container states it, if it does.
    """
    none = np.zeros(0, np.int64)
    keys = np.flatnonzero([frame.is_key for frame in frames])
    access = _Access(keys, none, none, np.zeros(len(frames), np.int64))
    for times in ([frame.pts for frame in frames], [frame.dts for frame in frames]):
        known = [time for time in times if time is not None]
        ascend = all(before < after for before, after in itertools.pairwise(known))
        if len(known) == len(frames) and ascend and known[-1] - known[0] < _LONGEST:
            return _timeline(np.array(known, np.int64), frames[-1].duration, tick, rate, access)
    rate = rate or _ASSUMED_RATE
    return _timeline(np.arange(len(frames)), 1, 1 / rate, rate, access)


class _Access(NamedTuple):
    """How frames are found: see `Timeline`."""

    key_frames: NDArray[np.int64]
    ticks: NDArray[np.int64]
    packets: NDArray[np.int64]
    starts: NDArray[np.int64]


def _timeline(
    ticks: NDArray[np.int64], last_duration: int, tick: Fraction, rate: Fraction | None, access: _Access
) -> Timeline:
    gaps = np.diff(ticks)
    last: Fraction | int = (
        last_duration if last_duration > 0 else int(gaps[-1]) if len(gaps) else 1 / (rate or _ASSUMED_RATE) / tick
    )
    duration = (int(ticks[-1]) - int(ticks[0]) + last) * tick
    return Timeline(
        seconds=(ticks - ticks[0]).astype(np.float64) * tick.numerator / tick.denominator,
        duration_seconds=float(duration),
        fps=float(len(ticks) / duration),
        variable_frame_rate=len(gaps) > 0 and int(gaps.max() - gaps.min()) > 1,
        key_frames=access.key_frames,
        ticks=access.ticks,
        packets=access.packets,
        starts=access.starts,
    )
