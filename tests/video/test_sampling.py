from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fewframes.errors import UsageError
from fewframes.records import Sampling, VideoInfo
from fewframes.video.sampling import official_indices, random_in_segment_indices, sample_indices, uniform_indices

lengths = st.integers(1, 10**12)
short_lengths = st.integers(1, 400)
counts = st.integers(1, 130)


def info(num_frames: int, fps: float) -> VideoInfo:
    return VideoInfo("a.mp4", num_frames, fps, num_frames / fps, 8, 6, "h264", False, 0)


@pytest.mark.parametrize(
    ("num_frames", "count", "expected"),
    [
        (300, 16, (9, 28, 46, 65, 84, 103, 121, 140, 159, 178, 196, 215, 234, 253, 271, 290)),
        (10, 1, (5,)),
        (9, 1, (4,)),
        (4, 2, (1, 3)),
        (5, 3, (0, 2, 4)),
        (3, 6, (0, 0, 1, 1, 2, 2)),
        (1, 4, (0, 0, 0, 0)),
    ],
)
def test_uniform_by_hand(num_frames: int, count: int, expected: tuple[int, ...]) -> None:
    assert uniform_indices(num_frames, count) == expected


@given(lengths, counts)
def test_uniform_is_ascending_in_range_and_complete(num_frames: int, count: int) -> None:
    indices = uniform_indices(num_frames, count)
    assert len(indices) == count
    assert list(indices) == sorted(indices)
    assert indices[0] >= 0
    assert indices[-1] < num_frames


@given(lengths, counts)
def test_uniform_index_holds_the_centre_of_its_segment(num_frames: int, count: int) -> None:
    for k, index in enumerate(uniform_indices(num_frames, count)):
        # index <= (k + 0.5) * num_frames / count < index + 1, without rounding
        assert 2 * count * index <= (2 * k + 1) * num_frames < 2 * count * (index + 1)


@given(lengths, counts)
def test_uniform_is_its_own_mirror_image_up_to_centres_between_frames(num_frames: int, count: int) -> None:
    indices = uniform_indices(num_frames, count)
    for k, (index, opposite) in enumerate(zip(indices, reversed(indices), strict=True)):
        centre_is_between_frames = (2 * k + 1) * num_frames % (2 * count) == 0
        assert index + opposite == num_frames - (0 if centre_is_between_frames else 1)


@given(counts)
def test_uniform_of_as_many_frames_as_wanted_is_all_of_them(count: int) -> None:
    assert uniform_indices(count, count) == tuple(range(count))


@given(counts, st.integers(1, 50))
def test_uniform_repeats_each_frame_of_a_short_video_equally(num_frames: int, times: int) -> None:
    expected = tuple(frame for frame in range(num_frames) for _ in range(times))
    assert uniform_indices(num_frames, num_frames * times) == expected


@given(lengths, counts)
def test_uniform_steps_never_drift(num_frames: int, count: int) -> None:
    indices = uniform_indices(num_frames, count)
    steps = {after - before for before, after in itertools.pairwise(indices)}
    assert steps <= {num_frames // count, num_frames // count + 1}


@given(short_lengths, counts, st.integers(0, 2**32))
@example(11, 10, 0)
def test_random_draws_from_its_own_segment(num_frames: int, count: int, seed: int) -> None:
    indices = random_in_segment_indices(num_frames, count, random.Random(seed))
    assert len(indices) == count
    assert list(indices) == sorted(indices)
    for k, index in enumerate(indices):
        assert 0 <= index < num_frames
        if num_frames >= count:
            assert k * num_frames <= index * count < (k + 1) * num_frames
        else:
            assert k * num_frames // count <= index <= (k + 1) * num_frames // count


@given(st.integers(1, 40), st.integers(1, 12))
def test_random_reaches_every_frame_of_a_long_enough_video(num_frames: int, count: int) -> None:
    rng = random.Random(0)
    seen = {index for _ in range(300) for index in random_in_segment_indices(num_frames, count, rng)}
    if num_frames >= count:
        assert seen == set(range(num_frames))


def test_random_is_reproducible_and_varies() -> None:
    first = random_in_segment_indices(300, 16, random.Random(7))
    assert first == random_in_segment_indices(300, 16, random.Random(7))
    assert first != random_in_segment_indices(300, 16, random.Random(8))


def test_official_equals_the_release_in_every_golden_case(golden_dir: Path) -> None:
    cases = json.loads((golden_dir / "stam_frame_indices_a" / "cases.json").read_text())["cases"]
    assert len(cases) == 60
    for case in cases:
        arguments = {"count": case["frames_per_clip"], "frames_per_second": case["frame_rate"]}
        if case["indices"] == "dropped":
            with pytest.raises(UsageError):
                official_indices(case["num_frames"], case["fps"], **arguments)
        else:
            assert list(official_indices(case["num_frames"], case["fps"], **arguments)) == case["indices"], case


def test_official_by_hand() -> None:
    indices = official_indices(300, 30.0, count=16, frames_per_second=1.6)
    assert indices == (0, 18, 37, 56, 75, 93, 112, 131, 150, 168, 187, 206, 225, 243, 262, 281)
    # 24 / 1.6 is 15 exactly, the release's other branch: 15 * 15 + 1 frames are enough.
    assert official_indices(226, 24.0, count=16, frames_per_second=1.6) == tuple(range(0, 226, 15))


@pytest.mark.parametrize(
    ("num_frames", "fps", "needed"), [(299, 30.0, 300), (299, 30000 / 1001, 300), (225, 24.0, 226), (249, 25.0, 250)]
)
def test_official_names_what_a_short_video_lacks(num_frames: int, fps: float, needed: int) -> None:
    with pytest.raises(UsageError, match=rf"needs {needed} for 16 frames.*leaves such a video out.*'uniform'"):
        official_indices(num_frames, fps, count=16, frames_per_second=1.6)
    assert len(official_indices(needed, fps, count=16, frames_per_second=1.6)) == 16


@given(st.integers(1, 5000), st.floats(1.0, 240.0), counts, st.floats(0.1, 30.0))
def test_official_needs_exactly_what_it_says(num_frames: int, fps: float, count: int, rate: float) -> None:
    try:
        indices = official_indices(num_frames, fps, count=count, frames_per_second=rate)
    except UsageError as error:
        needed = int(str(error).split(" needs ")[1].split()[0])
        assert needed > num_frames
        assert len(official_indices(needed, fps, count=count, frames_per_second=rate)) == count
        with pytest.raises(UsageError):
            official_indices(needed - 1, fps, count=count, frames_per_second=rate)
    else:
        assert len(indices) == count
        assert list(indices) == sorted(indices)
        assert 0 <= indices[0] <= indices[-1] < num_frames


def test_sample_indices_follows_the_rule() -> None:
    video = info(300, 30.0)
    assert sample_indices(Sampling("uniform", 16), video) == uniform_indices(300, 16)
    official = Sampling("official", 16, frames_per_second=1.6)
    assert sample_indices(official, video) == official_indices(300, 30.0, count=16, frames_per_second=1.6)
    drawn = sample_indices(Sampling("random_in_segment", 16), video, random.Random(3))
    assert drawn == random_in_segment_indices(300, 16, random.Random(3))


def test_random_rule_without_a_generator_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got no rng; pass a random\.Random"):
        sample_indices(Sampling("random_in_segment", 16), info(300, 30.0))


@pytest.mark.parametrize("call", [uniform_indices, lambda n, f: random_in_segment_indices(n, f, random.Random(0))])
def test_counts_below_one_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match="num_frames is 0"):
        call(0, 16)
    with pytest.raises(UsageError, match="count is 0"):
        call(16, 0)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_official_refuses_impossible_rates(fps: float) -> None:
    with pytest.raises(UsageError, match="fps is"):
        official_indices(300, fps, count=16, frames_per_second=1.6)
    with pytest.raises(UsageError, match="frames_per_second is"):
        official_indices(300, 30.0, count=16, frames_per_second=fps)
