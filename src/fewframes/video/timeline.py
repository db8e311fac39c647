"""Comes in: timestamps of packets or of decoded frames. Goes out: a `Timeline`: which frames there are, and when."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

__all__ = ["PacketRecord", "TickedFrame", "Timeline", "timeline_from_frames", "timeline_from_packets"]

_ASSUMED_RATE = Fraction(25)  # for a single frame in a container that states no rate at all


class PacketRecord(NamedTuple):
    """What a container says of one packet, in decoding order.

    Attributes:
        pts: presentation time in ticks; None if the container states none.
        duration: ticks; 0 if not stated.
        is_key: whether decoding can start here.
        is_shown: False if an edit list drops it, so that it is decoded but not shown.
    """

    pts: int | None
    duration: int
    is_key: bool
    is_shown: bool


class TickedFrame(NamedTuple):
    """The times of one decoded frame, in ticks: presentation, decoding (either may be missing), and duration or 0."""

    pts: int | None
    dts: int | None
    duration: int


@dataclass(frozen=True)
class Timeline:
    """The frames that a video shows, in presentation order.

    Attributes:
        seconds: when each is shown, the first at 0.0; strictly ascending.
        duration_seconds: to the end of the last frame.
        fps: mean frames per second.
        variable_frame_rate: whether the gaps differ by more than one tick.
        number_of: presentation ticks -> frame number; empty where frames can only be counted from the first one on.
        starts: for each frame, the number of the packet from which it can be decoded.
    """

    seconds: tuple[float, ...]
    duration_seconds: float
    fps: float
    variable_frame_rate: bool
    number_of: Mapping[int | None, int]
    starts: tuple[int, ...]


def timeline_from_packets(packets: Sequence[PacketRecord], tick: Fraction, rate: Fraction | None) -> Timeline | None:
    """The timeline that packets promise, or None if they cannot tell which frames will come out of them.

    They can if each has a time of its own, the first is a keyframe, and none is shown before the first: what precedes
    a keyframe in presentation but follows it in the file may need frames that this file does not have.

    Args:
        packets: all of the video's, in decoding order; each gives one frame.
        tick: seconds.
        rate: frames per second as the container states it, if it does.
    """
    shown = [packet for packet in packets if packet.is_shown]
    if not shown or not packets[0].is_key:
        return None
    times = [packet.pts for packet in packets if packet.pts is not None]
    if len(set(times)) != len(packets):
        return None
    order = sorted(
        (packet.pts, number) for number, packet in enumerate(packets) if packet.is_shown and packet.pts is not None
    )
    if order[0][0] < times[0]:
        return None
    keys = [(times[number], number) for number, packet in enumerate(packets) if packet.is_key]
    if keys != sorted(keys):
        keys = keys[:1]
    starts = []
    for time, number in order:
        at = bisect.bisect_right(keys, time, key=lambda key: key[0]) - 1
        while at > 0 and keys[at][1] > number:
            at -= 1
        starts.append(keys[max(at, 0)][1])
    ticks = [time for time, _ in order]
    number_of: dict[int | None, int] = {time: number for number, time in enumerate(ticks)}
    return _timeline(ticks, packets[order[-1][1]].duration, tick, rate, (number_of, tuple(starts)))


def timeline_from_frames(frames: Sequence[TickedFrame], tick: Fraction, rate: Fraction | None) -> Timeline:
    """The timeline of frames that were all decoded; each is found again by counting from the first.

    Their order is the decoder's. Times are the presentation times if those ascend, else the decoding times if those
    do (some AVI files), else frames are spaced evenly by `rate`.

    Args:
        frames: at least one, in the order in which the decoder gave them.
        tick: seconds.
        rate: frames per second as the container states it, if it does.
    """
    from_the_first: tuple[dict[int | None, int], tuple[int, ...]] = ({}, (0,) * len(frames))
    for times in ([frame.pts for frame in frames], [frame.dts for frame in frames]):
        ticks = [time for time in times if time is not None]
        if len(ticks) == len(frames) and all(a < b for a, b in itertools.pairwise(ticks)):
            return _timeline(ticks, frames[-1].duration, tick, rate, from_the_first)
    rate = rate or _ASSUMED_RATE
    return _timeline(list(range(len(frames))), 1, 1 / rate, rate, from_the_first)


def _timeline(
    ticks: list[int],
    last_duration: int,
    tick: Fraction,
    rate: Fraction | None,
    access: tuple[Mapping[int | None, int], tuple[int, ...]],
) -> Timeline:
    gaps = [after - before for before, after in itertools.pairwise(ticks)]
    last: Fraction | int = (
        last_duration if last_duration > 0 else gaps[-1] if gaps else 1 / (rate or _ASSUMED_RATE) / tick
    )
    duration = (ticks[-1] - ticks[0] + last) * tick
    return Timeline(
        seconds=tuple((time - ticks[0]) * tick.numerator / tick.denominator for time in ticks),
        duration_seconds=float(duration),
        fps=float(len(ticks) / duration),
        variable_frame_rate=bool(gaps) and max(gaps) - min(gaps) > 1,
        number_of=access[0],
        starts=access[1],
    )
