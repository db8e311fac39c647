"""The published rules for clips and segments: numbers by hand, torch's own linspace, and what holds for any video."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fewframes.errors import UsageError
from fewframes.records import Sampling, SamplingRule, VideoInfo
from fewframes.video.sampling import (
    clip_indices,
    clip_linspace_indices,
    clip_start,
    clip_step,
    sample_indices,
    segment_middle_indices,
    view_indices,
)

lengths = st.integers(1, 10**7)  # the most that Limits allows
counts = st.integers(1, 130)
strides = st.integers(1, 40)
rates = st.one_of(st.sampled_from([12.0, 23.976, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 60.0]), st.floats(0.5, 240.0))
clip_rules = st.sampled_from(("clip", "clip_linspace"))
VIVIT = Sampling("clip", 32, stride=2, stride_fps=25.0)
TIMESFORMER = Sampling("clip_linspace", 8, stride=32, stride_fps=30.0)


def info(num_frames: int, fps: float) -> VideoInfo:
    return VideoInfo("a.mp4", num_frames, fps, num_frames / fps, 8, 6, "h264", False, 0)


def starts(num_frames: int, window: int, num_clips: int, placement: Literal["even", "slowfast"]) -> list[Fraction]:
    numbers = range(num_clips)
    return [clip_start(num_frames, Fraction(window), clip=i, num_clips=num_clips, placement=placement) for i in numbers]


def test_vivit_by_hand() -> None:
    # 250 frames at 25 a second: a window of 64 from (250 - 64) / 2 = 93.
    assert sample_indices(VIVIT, info(250, 25.0)) == tuple(range(93, 157, 2))
    # At 30 a second the step is 2.4 and the window 76.8 frames, from (300 - 76.8) / 2 = 111.6.
    assert sample_indices(VIVIT, info(300, 30.0))[:6] == (111, 114, 116, 118, 121, 123)
    # (251 - 64) / 2 = 93.5
    assert sample_indices(VIVIT, info(251, 25.0)) == tuple(range(93, 157, 2))


def test_a_clip_counts_the_videos_own_frames_where_no_rate_is_given() -> None:
    own = Sampling("clip", 4, stride=3)
    assert sample_indices(own, info(20, 25.0)) == sample_indices(own, info(20, 7.0)) == (4, 7, 10, 13)
    assert sample_indices(Sampling("clip_linspace", 4, stride=3), info(20, 7.0)) == (4, 7, 11, 15)


@pytest.mark.parametrize("fps", [25.0, 24.999999999999996, 25.000000000000004])
def test_a_mean_rate_that_is_not_quite_whole_moves_no_frame(fps: float) -> None:
    """In plain floats the second half of the clip would be one frame early."""
    assert sample_indices(VIVIT, info(250, fps)) == tuple(range(93, 157, 2))
    assert clip_step(fps, stride=2, stride_fps=25.0) == 2


def test_the_step_is_exact() -> None:
    assert clip_step(30000 / 1001, stride=2, stride_fps=25.0) == Fraction(2 * 30000, 1001 * 25)
    assert clip_step(12.0, stride=1, stride_fps=7.5) == Fraction(8, 5)
    assert clip_step(float("nan"), stride=3, stride_fps=None) == 3
    assert clip_step(1e-9, stride=1, stride_fps=1e-9) == 1, "smaller than the finest fraction"


def test_a_short_video_repeats_its_last_frame() -> None:
    assert sample_indices(Sampling("clip", 5, stride=2), info(4, 25.0)) == (0, 2, 3, 3, 3)
    assert sample_indices(Sampling("clip", 5, stride=2), info(1, 25.0)) == (0, 0, 0, 0, 0)
    # linspace(0, 9, 4) = 0, 3, 6, 9
    assert sample_indices(Sampling("clip_linspace", 4, stride=2, stride_fps=10.0), info(5, 12.5)) == (0, 3, 4, 4)


def test_a_slow_video_repeats_frames_that_are_being_shown() -> None:
    """At 5 frames a second, a clip at 25 changes every fifth frame."""
    assert sample_indices(Sampling("clip", 7, stride=1, stride_fps=25.0), info(10, 5.0)) == (4, 4, 4, 4, 5, 5, 5)
    # A window of less than one frame does not run backwards.
    assert sample_indices(Sampling("clip_linspace", 4, stride=1, stride_fps=25.0), info(10, 5.0)) == (4, 4, 4, 4)


def test_timesformer_by_hand() -> None:
    offsets = (0, 36, 72, 109, 145, 182, 218, 255)
    assert clip_linspace_indices(300, Fraction(0), count=8, step=Fraction(32)) == offsets
    # (300 - 256) / 2 = 22
    assert sample_indices(TIMESFORMER, info(300, 30.0)) == tuple(22 + offset for offset in offsets)
    # At 60 a second the window is 512 frames, 511 / 7 = 73 apart.
    assert sample_indices(TIMESFORMER, info(600, 60.0)) == tuple(range(44, 556, 73))
    # 256 frames are wanted of 200.
    assert sample_indices(TIMESFORMER, info(200, 30.0)) == (0, 36, 72, 109, 145, 182, 199, 199)


def test_the_stride_of_the_name_is_not_what_linspace_gives() -> None:
    clip = Sampling("clip", 8, stride=32, stride_fps=30.0)
    assert sample_indices(clip, info(300, 30.0)) == tuple(range(22, 278, 32))
    assert sample_indices(TIMESFORMER, info(300, 30.0)) != sample_indices(clip, info(300, 30.0))


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch rounds products there")
@given(lengths, rates, counts, strides, st.sampled_from([None, 25.0, 30.0]), st.floats(0, 1, exclude_max=True))
@example(300, 30.0, 8, 32, 30.0, 0.5)
@example(10**7, 240.0, 130, 40, 1.0, 0.999)
def test_linspace_is_torchs(
    num_frames: int, fps: float, count: int, stride: int, stride_fps: float | None, place: float
) -> None:
    step = clip_step(fps, stride=stride, stride_fps=stride_fps)
    start = Fraction(place) * max(Fraction(0), num_frames - count * step)
    last = max(start, start + count * step - 1)
    reference = torch.linspace(float(start), float(last), count).clamp(0, num_frames - 1).long()
    assert clip_linspace_indices(num_frames, start, count=count, step=step) == tuple(reference.tolist())


@given(lengths, rates, counts, strides, st.integers(0, 9))
def test_slowfasts_own_expressions(num_frames: int, fps: float, count: int, stride: int, clip: int) -> None:
    """The decoder's arithmetic, in floats; ours is exact until torch's float32, so a frame may differ at the border."""
    window = stride * count / 30 * fps
    start = max(num_frames - window, 0) * clip / 10
    values = np.linspace(np.float64(start), np.float64(max(start, start + window - 1)), count).clip(0, num_frames - 1)
    sampling = Sampling("clip_linspace", count, stride=stride, stride_fps=30.0)
    found = view_indices(sampling, info(num_frames, fps), clip=clip, num_clips=10, placement="slowfast")
    slack = 1e-5 + num_frames * 2.0**-22
    assert (np.abs(np.array(found) - np.floor(values)) <= 1 + slack).all()
    whole_apart = np.abs(values - np.round(values)) > slack
    assert (np.array(found) == np.floor(values))[whole_apart].all()


@given(clip_rules, lengths, rates, counts, strides, st.sampled_from([None, 25.0, 30.0]), st.integers(0, 2**32))
def test_clips_are_ascending_in_range_and_complete(
    rule: SamplingRule, num_frames: int, fps: float, count: int, stride: int, stride_fps: float | None, seed: int
) -> None:
    sampling, video = Sampling(rule, count, stride=stride, stride_fps=stride_fps), info(num_frames, fps)
    for indices in (sample_indices(sampling, video), sample_indices(sampling, video, random.Random(seed))):
        assert len(indices) == count
        assert list(indices) == sorted(indices)
        assert 0 <= indices[0] <= indices[-1] < num_frames


@given(lengths, counts, strides)
def test_a_clip_lies_in_the_middle(num_frames: int, count: int, stride: int) -> None:
    indices = sample_indices(Sampling("clip", count, stride=stride), info(num_frames, 25.0))
    window = count * stride
    if window <= num_frames:
        before, after = indices[0], num_frames - (indices[0] + window)
        assert after - before in (0, 1)
        assert indices == tuple(range(before, before + window, stride))
    else:
        assert indices == tuple(min(k * stride, num_frames - 1) for k in range(count))


def test_several_clips_by_hand() -> None:
    assert starts(100, 40, 4, "even") == [0, 20, 40, 60]
    assert starts(100, 40, 1, "even") == [30]
    assert starts(101, 40, 1, "even") == [Fraction(61, 2)]
    assert starts(100, 40, 4, "slowfast") == [0, 15, 30, 45]
    assert starts(100, 40, 1, "slowfast") == [0], "the beginning, not the middle"
    assert starts(30, 40, 3, "even") == starts(30, 40, 3, "slowfast") == [0, 0, 0]


def test_views_of_one_video_by_hand() -> None:
    # 250 - 64 = 186 frames of room: 0, 62, 124, 186.
    found = [view_indices(VIVIT, info(250, 25.0), clip=i, num_clips=4) for i in range(4)]
    assert found == [tuple(range(first, first + 64, 2)) for first in (0, 62, 124, 186)]
    # 300 - 256 = 44 frames of room, 4.4 from clip to clip.
    first, last = (
        view_indices(TIMESFORMER, info(300, 30.0), clip=i, num_clips=10, placement="slowfast") for i in (0, 9)
    )
    assert first == (0, 36, 72, 109, 145, 182, 218, 255)
    assert last == (39, 76, 112, 148, 185, 221, 258, 294), "from 39.6; the last 5 frames are never seen"


@given(clip_rules, lengths, rates, counts)
def test_one_view_is_what_prediction_looks_at(rule: SamplingRule, num_frames: int, fps: float, count: int) -> None:
    sampling, video = Sampling(rule, count, stride=3, stride_fps=25.0), info(num_frames, fps)
    assert view_indices(sampling, video) == sample_indices(sampling, video)


@given(lengths, st.integers(1, 200), st.integers(1, 12))
def test_even_clips_reach_both_ends_and_slowfasts_do_not(num_frames: int, window: int, num_clips: int) -> None:
    even, slowfast = starts(num_frames, window, num_clips, "even"), starts(num_frames, window, num_clips, "slowfast")
    room = max(0, num_frames - window)
    assert even == [room - start for start in reversed(even)], "its own mirror image"
    assert slowfast[0] == 0
    assert slowfast[-1] == room - Fraction(room, num_clips)
    if num_clips > 1:
        assert (even[0], even[-1]) == (0, room)
    for positions in (even, slowfast):
        assert len({after - before for before, after in itertools.pairwise(positions)}) <= 1


def test_views_that_cannot_be() -> None:
    for clip, num_clips in ((-1, 3), (3, 3), (1, 1)):
        with pytest.raises(UsageError, match=rf"clip is {clip} of {num_clips}; expected 0 to {num_clips - 1}"):
            view_indices(VIVIT, info(250, 25.0), clip=clip, num_clips=num_clips)
    with pytest.raises(UsageError, match="count is 0"):
        clip_start(9, Fraction(2), num_clips=0)
    with pytest.raises(UsageError, match="clip 1 of 4 asked for, but sampling rule 'uniform' looks at the whole video"):
        view_indices(Sampling("uniform", 3), info(9, 25.0), clip=1, num_clips=4)
    assert view_indices(Sampling("uniform", 3), info(9, 25.0)) == (1, 4, 7)


def test_random_clips_begin_everywhere_they_fit() -> None:
    rng, video = random.Random(0), info(11, 25.0)
    found = {sample_indices(Sampling("clip", 3, stride=2), video, rng) for _ in range(300)}
    assert found == {(first, first + 2, first + 4) for first in range(7)}, "the last one ends with the video"
    # The window of 6 frames stays inside: it begins before 5, and its last frame is 5 later.
    found = {sample_indices(Sampling("clip_linspace", 2, stride=3), video, rng) for _ in range(300)}
    assert found == {(first, first + 5) for first in range(5)}


def test_random_clips_are_uniform_and_reproducible() -> None:
    rng, counted = random.Random(3), [0] * 5
    for _ in range(5000):
        counted[sample_indices(Sampling("clip", 2, stride=2), info(7, 25.0), rng)[0]] += 1
    assert all(880 < number < 1120 for number in counted), "four standard deviations around 1000"
    sampling = Sampling("clip_linspace", 5, stride=7, stride_fps=30.0)
    first = sample_indices(sampling, info(300, 29.0), random.Random(7))
    assert first == sample_indices(sampling, info(300, 29.0), random.Random(7))
    assert first != sample_indices(sampling, info(300, 29.0), random.Random(8))


@pytest.mark.parametrize("rule", ["clip", "clip_linspace"])
@pytest.mark.parametrize("num_frames", [1, 5, 400])
def test_one_draw_whatever_the_video(rule: SamplingRule, num_frames: int) -> None:
    used, counted = random.Random(5), random.Random(5)
    sample_indices(Sampling(rule, 6, stride=2), info(num_frames, 25.0), used)
    counted.random()
    assert used.getstate() == counted.getstate()


def test_segment_middles_by_hand() -> None:
    # 17 - 1 = 16 frames in 4 segments: borders 0, 4, 8, 12, 16.
    assert segment_middle_indices(17, 4) == (2, 6, 10, 14)
    # 11 - 1 = 10 in 4: 0, 2.5, 5, 7.5, 10 round to 0, 2, 5, 8, 10.
    assert segment_middle_indices(11, 4) == (1, 3, 6, 9)
    # Halves to even: 2.5 to 2 above, 1.5 to 2 here: 0, 1.5, 3.
    assert segment_middle_indices(4, 2) == (1, 2)
    # A short video: borders 0, 0.25, 0.5, 0.75, 1 round to 0, 0, 0, 1, 1.
    assert segment_middle_indices(2, 4) == (0, 0, 0, 1)
    assert segment_middle_indices(1, 3) == (0, 0, 0)
    assert sample_indices(Sampling("segment_middle", 4), info(11, 12.0)) == (1, 3, 6, 9)


def test_segment_middles_are_not_uniform() -> None:
    assert sample_indices(Sampling("uniform", 8), info(100, 12.0)) != segment_middle_indices(100, 8)


@given(lengths, counts)
def test_segment_middles_follow_numpys_rounding(num_frames: int, count: int) -> None:
    borders = [int(np.round(float(num_frames - 1) / count * k)) for k in range(count + 1)]
    expected = tuple((borders[k] + borders[k + 1]) // 2 for k in range(count))
    assert segment_middle_indices(num_frames, count) == expected


@given(lengths, counts, st.integers(0, 2**32))
def test_segments_are_ascending_in_range_and_complete(num_frames: int, count: int, seed: int) -> None:
    middles = segment_middle_indices(num_frames, count)
    drawn = sample_indices(Sampling("segment_middle", count), info(num_frames, 12.0), random.Random(seed))
    for indices in (middles, drawn):
        assert len(indices) == count
        assert list(indices) == sorted(indices)
        assert 0 <= indices[0] <= indices[-1] < num_frames
    half = (num_frames - 1) / count / 2 + 1.5  # to either border, both of them rounded
    assert all(abs(drawn_frame - middle) <= half for drawn_frame, middle in zip(drawn, middles, strict=True))


def test_random_segments_include_both_borders() -> None:
    rng = random.Random(0)
    found = {segment_middle_indices(9, 2, rng) for _ in range(600)}
    assert found == {(first, second) for first in range(5) for second in range(4, 9)}


def test_what_cannot_be_sampled() -> None:
    for count, num_frames, message in ((0, 9, "count is 0"), (3, 0, "num_frames is 0")):
        with pytest.raises(UsageError, match=message):
            segment_middle_indices(num_frames, count)
        for choose in (clip_indices, clip_linspace_indices):
            with pytest.raises(UsageError, match=message):
                choose(num_frames, Fraction(0), count=count, step=Fraction(1))
    for rng in (None, random.Random(0)):
        with pytest.raises(UsageError, match="num_frames is 0"):
            sample_indices(VIVIT, VideoInfo("a", 0, 25.0, 0.0, 8, 6, "h264", False, 0), rng)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="fps is"):
            clip_step(rate, stride=2, stride_fps=25.0)
        with pytest.raises(UsageError, match="stride_fps is"):
            clip_step(25.0, stride=2, stride_fps=rate)
