from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.video.timeline import (
    NO_TIME,
    PacketTable,
    TickedFrame,
    Timeline,
    timeline_from_frames,
    timeline_from_packets,
)

TICK = Fraction(1, 1000)


def packets(*rows: tuple[int | None, str], duration: int = 0) -> PacketTable:
    """Packets from their times and marks: K keyframe, D discarded."""
    return PacketTable(
        pts=np.array([NO_TIME if pts is None else pts for pts, _ in rows], np.int64),
        durations=np.full(len(rows), duration),
        is_key=np.array(["K" in marks for _, marks in rows], bool),
        is_shown=np.array(["D" not in marks for _, marks in rows], bool),
    )


def told(*rows: tuple[int | None, str], duration: int = 0) -> Timeline:
    timeline = timeline_from_packets(packets(*rows, duration=duration), TICK, None)
    assert timeline is not None
    return timeline


def test_frames_are_sorted_by_presentation_and_start_at_zero() -> None:
    timeline = told((100, "K"), (220, ""), (140, ""), (180, ""), (260, "K"), (300, ""))
    assert tuple(timeline.seconds.tolist()) == (0.0, 0.04, 0.08, 0.12, 0.16, 0.2)
    assert tuple(timeline.starts.tolist()) == (0, 0, 0, 0, 4, 4)
    assert [timeline.number_at(pts) for pts in (100, 140, 180, 220, 260, 300)] == [0, 1, 2, 3, 4, 5]
    assert [timeline.number_at(pts) for pts in (99, 101, 301, None, -(2**63), 2**64)] == [-1] * 6
    assert timeline.packets.tolist() == [0, 2, 3, 1, 4, 5]
    assert timeline.key_frames.tolist() == [0, 4]
    assert timeline.duration_seconds == 0.24
    assert timeline.fps == 25.0
    assert not timeline.variable_frame_rate


def test_what_precedes_a_keyframe_in_presentation_starts_at_the_one_before() -> None:
    # An open group: the frames at 120 and 160 follow the keyframe of 200 in the file, but may refer to 80.
    timeline = told((0, "K"), (80, ""), (40, ""), (200, "K"), (120, ""), (160, ""), (240, ""))
    assert tuple(timeline.starts.tolist()) == (0, 0, 0, 0, 0, 3, 3)


def test_discarded_packets_are_no_frames_but_decoding_starts_at_them() -> None:
    timeline = told((-80, "KD"), (-40, "D"), (0, ""), (40, ""))
    assert tuple(timeline.seconds.tolist()) == (0.0, 0.04)
    assert tuple(timeline.starts.tolist()) == (0, 0)


def test_the_last_frame_lasts_as_its_packet_says_or_as_the_gap_before_it() -> None:
    assert told((0, "K"), (40, ""), duration=70).duration_seconds == 0.11
    assert told((0, "K"), (30, ""), (80, "")).duration_seconds == 0.13
    assert told((0, "K")).duration_seconds == 0.04
    one = timeline_from_packets(packets((7, "K")), TICK, Fraction(10))
    assert one is not None
    assert (one.duration_seconds, one.fps) == (0.1, 10.0)


@pytest.mark.parametrize(
    ("gaps", "varies"), [((33, 34, 33), False), ((33, 35, 33), True), ((40, 40), False), ((40, 80), True)]
)
def test_one_tick_of_rounding_is_no_variable_rate(gaps: tuple[int, ...], varies: bool) -> None:
    times = [sum(gaps[:k]) for k in range(len(gaps) + 1)]
    assert told((0, "K"), *((time, "") for time in times[1:])).variable_frame_rate is varies


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(0, "KD")],  # nothing is shown
        [(0, ""), (40, "K")],  # does not begin with a keyframe
        [(0, "K"), (None, "")],  # a frame without a time
        [(0, "K"), (40, ""), (40, "")],  # two at one time
        [(80, "K"), (0, ""), (120, "")],  # shown before the first keyframe: may not be whole
    ],
)
def test_packets_that_cannot_tell_say_so(rows: list[tuple[int | None, str]]) -> None:
    assert timeline_from_packets(packets(*rows), TICK, None) is None


@given(st.lists(st.integers(1, 500), max_size=40), st.integers(-1000, 1000))
def test_any_ascending_times_are_kept(gaps: list[int], first: int) -> None:
    times = [first + sum(gaps[:k]) for k in range(len(gaps) + 1)]
    timeline = told((first, "K"), *((time, "") for time in times[1:]))
    assert tuple(timeline.seconds.tolist()) == tuple((time - first) / 1000 for time in times)
    assert timeline.duration_seconds > timeline.seconds[-1]
    assert timeline.fps == pytest.approx(len(times) / timeline.duration_seconds)


def test_counted_frames_take_the_first_times_that_ascend() -> None:
    good = timeline_from_frames([TickedFrame(5, 9, 0, True), TickedFrame(45, 8, 0, True)], TICK, None)
    assert tuple(good.seconds.tolist()) == (0.0, 0.04)
    by_decoding = timeline_from_frames([TickedFrame(5, 0, 0, True), TickedFrame(5, 30, 0, True)], TICK, None)
    assert tuple(by_decoding.seconds.tolist()) == (0.0, 0.03)
    no_times = timeline_from_frames([TickedFrame(None, None, 0, True)] * 3, TICK, Fraction(10))
    assert tuple(no_times.seconds.tolist()) == (0.0, 0.1, 0.2)
    assert no_times.fps == 10.0
    for timeline in (good, by_decoding, no_times):
        assert timeline.number_at(5) == -1
        assert set(timeline.starts) == {0}
