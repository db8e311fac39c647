"""Bad videos: each counted once, and never more of them than the cap allows."""

from __future__ import annotations

import pickle
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.bad_videos import BadVideos
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import TooManyBadVideos, UnreadableVideo, UsageError
from fewframes.records import BadVideoPolicy, Failure, OnBadVideo


def counter(listed: int, on_bad_video: OnBadVideo, fraction: float = 0.01, source: str = "list.csv") -> BadVideos:
    manifest = Manifest(source, tuple(Video(f"{index}.mp4", ("a",)) for index in range(listed)))
    return BadVideos(BadVideoPolicy(on_bad_video, fraction), manifest)


def failure(index: int) -> Failure:
    return Failure(f"{index}.mp4", f"reason {index}")


def test_error_stops_at_the_first() -> None:
    bad = counter(1000, "error")
    message = r"^cannot read 7\.mp4: reason 7; repair or remove it, or use --on-bad-video skip$"
    with pytest.raises(UnreadableVideo, match=message):
        bad.add(7, failure(7))
    with pytest.raises(UnreadableVideo, match=r"^cannot read a\.mp4: the part 2 to 5\.5 s: damaged; repair"):
        bad.add(8, Failure("a.mp4", "damaged", 2.0, 5.5))


def test_the_names_of_the_options_are_the_caller_s() -> None:
    manifest = Manifest("list.csv", (Video("a.mp4", ("a",)),))
    for on_bad_video, message in (("error", "use --data.on-bad-video skip"), ("skip", "raise --data.max-bad-fraction")):
        bad = BadVideos(BadVideoPolicy(on_bad_video, 0.0, "--data."), manifest)  # type: ignore[arg-type]
        with pytest.raises((UnreadableVideo, TooManyBadVideos), match=message):
            bad.add(0, failure(0))


@pytest.mark.parametrize("on_bad_video", ["skip", "count-as-wrong"])
def test_the_cap(on_bad_video: OnBadVideo) -> None:
    bad = counter(250, on_bad_video)
    assert bad.allowed == 3, "2.5 videos are rounded up"
    assert [bad.add(index, failure(index)) for index in (4, 9, 4, 2)] == [True, True, False, True]
    assert bad.failures == (failure(4), failure(9), failure(2))
    with pytest.raises(TooManyBadVideos) as caught:
        bad.add(100, failure(100))
    assert str(caught.value) == (
        "4 of 250 videos of list.csv could not be read so far, more than the 3 that --max-bad-fraction 0.01 allows; "
        "first 4.mp4 (reason 4), 9.mp4 (reason 9), 2.mp4 (reason 2); repair or remove them, or raise --max-bad-fraction"
    )
    assert caught.value.failures == (failure(4), failure(9), failure(2), failure(100))
    assert caught.value.exit_status == 1
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.failures) == (str(caught.value), caught.value.failures)


def test_a_list_that_exists_can_be_scanned(tmp_path: Path) -> None:
    bad = counter(9, "skip", 0.0, source=str(tmp_path))
    with pytest.raises(TooManyBadVideos, match=f"find them all with `fewframes data scan {tmp_path}`"):
        bad.add(3, failure(3))


@given(listed=st.integers(1, 5000), percent=st.integers(0, 100))
def test_the_cap_is_the_share_rounded_up(listed: int, percent: int) -> None:
    allowed = counter(listed, "skip", percent / 100).allowed
    assert allowed == ceil(Fraction(percent, 100) * listed)
    assert percent == 0 or allowed >= 1, "one bad video never stops the work"


def test_going_on_with_what_was_known() -> None:
    first = counter(250, "skip")
    first.add(4, failure(4))
    manifest = Manifest("list.csv", tuple(Video(f"{index}.mp4", ("a",)) for index in range(250)))
    second = BadVideos(first.policy, manifest, known=first.found)
    assert second.add(4, failure(4)) is False
    second.add(5, failure(5))
    assert len(first.found) == 1, "its own count"
    with pytest.raises(TooManyBadVideos, match="4 of 250"):
        BadVideos(first.policy, manifest, known={index: failure(index) for index in range(4)}).check()


def test_parts_are_named() -> None:
    bad = counter(9, "skip", 0.0)
    with pytest.raises(TooManyBadVideos, match=r"first a\.mp4 from 2 s \(damaged\)"):
        bad.add(0, Failure("a.mp4", "damaged", 2.0))


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_impossible_caps(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"max_bad_fraction is .*; expected 0 to 1"):
        BadVideoPolicy("skip", fraction)
