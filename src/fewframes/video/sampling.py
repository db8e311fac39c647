"""Comes in: how many frames a video has. Goes out: which of them to look at, as ascending frame numbers."""

from __future__ import annotations

import math
import random
import struct

from fewframes.errors import UsageError
from fewframes.records import Sampling, VideoInfo

__all__ = ["official_indices", "random_in_segment_indices", "sample_indices", "uniform_indices"]


def uniform_indices(num_frames: int, count: int) -> tuple[int, ...]:
    """The centre of each of `count` equal segments of a video: `floor((k + 0.5) * num_frames / count)`.

    Integer arithmetic only, so nothing drifts however long the video is. A video with fewer than `count` frames
    repeats some of them; none is ever refused.

    Args:
        num_frames: frames in the video, >= 1.
        count: frames wanted, >= 1.

    Returns:
        `count` ascending frame numbers, each in [0, num_frames).

    Raises:
        UsageError: `num_frames` or `count` is below 1.
    """
    _check_counts(num_frames, count)
    return tuple((2 * k + 1) * num_frames // (2 * count) for k in range(count))


def random_in_segment_indices(num_frames: int, count: int, rng: random.Random) -> tuple[int, ...]:
    """One frame drawn uniformly from each of `count` equal segments [k * n / count, (k + 1) * n / count).

    In a video with fewer than `count` frames some segments hold no frame number; such a segment gives the frame that
    is being shown when it begins, so that frames repeat and stay in order.

    Args:
        num_frames: frames in the video, >= 1.
        count: frames wanted, >= 1.
        rng: source of randomness; one draw a segment.

    Returns:
        `count` ascending frame numbers, each in [0, num_frames).

    Raises:
        UsageError: `num_frames` or `count` is below 1.
    """
    _check_counts(num_frames, count)
    indices = []
    for k in range(count):
        first, end = _ceil_div(k * num_frames, count), _ceil_div((k + 1) * num_frames, count)
        indices.append(rng.randrange(first, end) if first < end else k * num_frames // count)
    return tuple(indices)


def official_indices(num_frames: int, fps: float, *, count: int, frames_per_second: float) -> tuple[int, ...]:
    """The frames that the STAM release evaluates: the first `count` steps of 1 / `frames_per_second` seconds.

    The step is `fps / frames_per_second` frames. A whole step takes every step-th frame; any other takes
    `floor(k * step)`, with step and product rounded to float32 as the release does. The release leaves out every
    video that is too short for `count` steps; here that is an error, so that no score silently loses videos.

    Args:
        num_frames: frames in the video, >= 1.
        fps: frames per second of the video, > 0.
        count: frames wanted, >= 1.
        frames_per_second: how densely the release samples: 1.6 for stam_16, 3.2 for stam_32, 6.4 for stam_64.

    Returns:
        `count` ascending frame numbers, each in [0, num_frames).

    Raises:
        UsageError: the video is too short for this rule, or an argument is out of range.

    Source: STAM release, evaluation code.
    """
    _check_counts(num_frames, count)
    for name, rate in (("fps", fps), ("frames_per_second", frames_per_second)):
        if not (math.isfinite(rate) and rate > 0):
            raise UsageError(f"{name} is {rate}; expected a number above 0")
    step = fps / frames_per_second
    if _steps(num_frames, fps, frames_per_second) < count:
        needed = (count - 1) * int(step) + 1 if step.is_integer() else max(1, math.floor(count * step) - 1)
        while _steps(needed, fps, frames_per_second) < count:
            needed += 1
        raise UsageError(
            f"the video has {num_frames} frames at {fps:.6g} per second, but sampling rule 'official' needs {needed} "
            f"for {count} frames at {frames_per_second:g} per second; the release leaves such a video out: "
            "use rule 'uniform' to keep it"
        )
    if step.is_integer():
        return tuple(k * int(step) for k in range(count))
    return tuple(math.floor(_float32(k * _float32(step))) for k in range(count))


def sample_indices(sampling: Sampling, info: VideoInfo, rng: random.Random | None = None) -> tuple[int, ...]:
    """The frame numbers that `sampling` chooses from the video described by `info`.

    Args:
        sampling: the rule and its settings.
        info: the video.
        rng: needed for rule "random_in_segment", ignored by the others.

    Returns:
        `sampling.num_frames` ascending frame numbers, each in [0, info.num_frames).

    Raises:
        UsageError: the rule needs `rng` and got none, or the video is too short for rule "official".
    """
    if sampling.rule == "official":
        assert sampling.frames_per_second is not None, "Sampling checks this"
        rate = sampling.frames_per_second
        return official_indices(info.num_frames, info.fps, count=sampling.num_frames, frames_per_second=rate)
    if sampling.rule == "random_in_segment":
        if rng is None:
            raise UsageError("sampling rule 'random_in_segment' got no rng; pass a random.Random")
        return random_in_segment_indices(info.num_frames, sampling.num_frames, rng)
    return uniform_indices(info.num_frames, sampling.num_frames)


def _steps(num_frames: int, fps: float, frames_per_second: float) -> int:
    """How many steps the release counts in a video; a whole step counts the last, incomplete one too."""
    step = fps / frames_per_second
    return math.ceil(num_frames / step) if step.is_integer() else math.floor(num_frames * frames_per_second / fps)


def _float32(value: float) -> float:
    """The nearest float32; the product of two of them is exact in float64, so one rounding gives float32's product."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


def _check_counts(num_frames: int, count: int) -> None:
    if num_frames < 1:
        raise UsageError(f"num_frames is {num_frames}; a video must have at least 1 frame to sample from")
    if count < 1:
        raise UsageError(f"count is {count}; expected at least 1 frame")
