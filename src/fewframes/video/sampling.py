"""Comes in: how many frames a video has. Goes out: which of them to look at, as ascending frame numbers."""

from __future__ import annotations

import math
import random
import struct
from fractions import Fraction
from typing import Literal

from fewframes.errors import UsageError
from fewframes.records import Sampling, VideoInfo

__all__ = [
    "Placement",
    "clip_indices",
    "clip_linspace_indices",
    "clip_start",
    "clip_step",
    "official_indices",
    "random_in_segment_indices",
    "sample_indices",
    "segment_middle_indices",
    "uniform_indices",
    "view_indices",
]

Placement = Literal["even", "slowfast"]

# Mean rates are quotients of floats: 25 may come as 24.999999999999996, and rounding down would then take the frame
# before. This moves a frame by less than a twentieth of one in a day of video.
_LARGEST_DENOMINATOR = 1_000_000


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
    _check_rate("fps", fps)
    _check_rate("frames_per_second", frames_per_second)
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


def segment_middle_indices(num_frames: int, count: int, rng: random.Random | None = None) -> tuple[int, ...]:
    """The middle frame of each of `count` segments between rounded borders, as SlowFast and TimeSformer sample.

    Border k is `round(k * (num_frames - 1) / count)`, halves to even, in float64 as there; frame k is
    `(border k + border k+1) // 2`. The last segment ends at the last frame, so no frame is beyond it.

    Args:
        num_frames: frames in the video, >= 1.
        count: frames wanted, >= 1.
        rng: training: each frame is drawn uniformly from its segment, both borders included. None: the middles.

    Returns:
        `count` ascending frame numbers, each in [0, num_frames); a short video repeats frames.

    Raises:
        UsageError: `num_frames` or `count` is below 1.

    Source: the Something-Something V2 data sets of PySlowFast and TimeSformer.
    """
    _check_counts(num_frames, count)
    size = (num_frames - 1) / count
    borders = [round(size * k) for k in range(count + 1)]
    if rng is None:
        return tuple((borders[k] + borders[k + 1]) // 2 for k in range(count))
    return tuple(rng.randint(borders[k], borders[k + 1]) for k in range(count))


def clip_step(fps: float, *, stride: int, stride_fps: float | None) -> Fraction:
    """How many of a video's frames lie from one frame of a clip to the next: `stride * fps / stride_fps`, exactly.

    Both rates are taken as the nearest fraction with a denominator up to a million: 29.97002997002997 is 30000/1001.

    Args:
        fps: frames per second of the video, > 0; not looked at if `stride_fps` is None.
        stride: >= 1.
        stride_fps: the frames per second in which `stride` counts, > 0; None: the video's own frames.

    Raises:
        UsageError: a rate is not a number above 0.
    """
    if stride_fps is None:
        return Fraction(stride)
    return stride * _exact_rate("fps", fps) / _exact_rate("stride_fps", stride_fps)


def clip_start(
    num_frames: int, window: Fraction, *, clip: int = 0, num_clips: int = 1, placement: Placement = "even"
) -> Fraction:
    """Where clip number `clip` of `num_clips` begins, in frames from the video's first.

    With `room = max(0, num_frames - window)`, "even" is `room * clip / (num_clips - 1)`, so that the first clip begins
    with the video and the last one ends with it, and `room / 2`, the middle, for a single clip. "slowfast" is
    `room * clip / num_clips`: a single clip begins with the video, and the last of several does not reach its end.

    Args:
        num_frames: frames in the video, >= 1.
        window: frames that a clip spans, count * step.
        clip: in [0, num_clips).
        num_clips: >= 1.
        placement: "even" (ViViT and the papers) or "slowfast" (the SlowFast and TimeSformer code).

    Raises:
        UsageError: an argument is out of range.

    Source: DMVR's linearly spaced test windows; PySlowFast's decoder without offset sampling.
    """
    _check_counts(num_frames, num_clips)
    if not 0 <= clip < num_clips:
        raise UsageError(f"clip is {clip} of {num_clips}; expected 0 to {num_clips - 1}")
    room = max(Fraction(0), num_frames - window)
    if placement == "slowfast":
        return room * clip / num_clips
    return room / 2 if num_clips == 1 else room * clip / (num_clips - 1)


def clip_indices(num_frames: int, start: Fraction, *, count: int, step: Fraction) -> tuple[int, ...]:
    """Frames one step apart: `floor(start + k * step)`, exactly, but never beyond the last frame.

    Args:
        num_frames: frames in the video, >= 1.
        start: see `clip_start`; >= 0.
        count: frames wanted, >= 1.
        step: see `clip_step`; > 0.

    Returns:
        `count` ascending frame numbers, each in [0, num_frames); a video that ends too early repeats its last frame.

    Raises:
        UsageError: `num_frames` or `count` is below 1.

    Source: ViViT (DMVR) for a whole step, where a video that is too short would begin anew instead.
    """
    _check_counts(num_frames, count)
    return tuple(min(math.floor(start + k * step), num_frames - 1) for k in range(count))


def clip_linspace_indices(num_frames: int, start: Fraction, *, count: int, step: Fraction) -> tuple[int, ...]:
    """Frames spread from the first to the last frame of a window of `count * step` frames.

    That is `linspace(start, start + window - 1, count)` rounded down, so they are more than one step apart: 8 frames
    with a step of 32 lie 36 or 37 apart. Computed in float32 as `torch.linspace` does on a processor that multiplies
    and adds in one rounding. A window of less than one frame gives the frame that is shown at its start.

    Args:
        num_frames: frames in the video, >= 1.
        start: see `clip_start`; >= 0.
        count: frames wanted, >= 1.
        step: see `clip_step`; > 0.

    Returns:
        `count` ascending frame numbers, each in [0, num_frames); a video that ends too early repeats its last frame.

    Raises:
        UsageError: `num_frames` or `count` is below 1.

    Source: the decoders of PySlowFast and TimeSformer; they take the window from the frames that they have decoded,
        and so may begin it up to one frame later where `start` is not whole.
    """
    _check_counts(num_frames, count)
    first, last = _float32(float(start)), _float32(float(start + max(count * step - 1, Fraction(0))))
    gap = _float32(_float32(last - first) / (count - 1)) if count > 1 else 0.0
    # From both ends to the middle, as torch does; float64 holds product and sum before the one rounding.
    values = [first + gap * k if k < count // 2 or count == 1 else last - gap * (count - 1 - k) for k in range(count)]
    return tuple(min(int(_float32(value)), num_frames - 1) for value in values)


def view_indices(
    sampling: Sampling, info: VideoInfo, *, clip: int = 0, num_clips: int = 1, placement: Placement = "even"
) -> tuple[int, ...]:
    """The frame numbers of clip number `clip` of `num_clips`, for tests that average over several clips.

    Args:
        sampling: a clip rule; any other looks at the whole video, so it has one clip.
        info: the video.
        clip: in [0, num_clips).
        num_clips: >= 1.
        placement: where the clips begin; see `clip_start`.

    Returns:
        `sampling.num_frames` ascending frame numbers, each in [0, info.num_frames).

    Raises:
        UsageError: several clips of a rule that has one, an argument out of range, or as `sample_indices`.
    """
    if sampling.stride is None:
        if (clip, num_clips) != (0, 1):
            raise UsageError(
                f"clip {clip} of {num_clips} asked for, but sampling rule {sampling.rule!r} looks at the whole video; "
                "expected 0 of 1"
            )
        return sample_indices(sampling, info)
    step = clip_step(info.fps, stride=sampling.stride, stride_fps=sampling.stride_fps)
    window = sampling.num_frames * step
    start = clip_start(info.num_frames, window, clip=clip, num_clips=num_clips, placement=placement)
    return _frames_from(start, sampling, info.num_frames, step)


def sample_indices(sampling: Sampling, info: VideoInfo, rng: random.Random | None = None) -> tuple[int, ...]:
    """The frame numbers that `sampling` chooses from the video described by `info`.

    With `rng`, as in training, the rules that leave room for chance draw from it: "clip" and "clip_linspace" begin
    anywhere that keeps their frames inside the video (one draw, however short it is), "segment_middle" takes any frame
    of each segment.

    Args:
        sampling: the rule and its settings.
        info: the video.
        rng: needed for rule "random_in_segment", ignored by "uniform" and "official".

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
    if sampling.rule == "segment_middle":
        return segment_middle_indices(info.num_frames, sampling.num_frames, rng)
    if sampling.stride is not None:
        return view_indices(sampling, info) if rng is None else _random_clip(sampling, info, rng, sampling.stride)
    return uniform_indices(info.num_frames, sampling.num_frames)


def _random_clip(sampling: Sampling, info: VideoInfo, rng: random.Random, stride: int) -> tuple[int, ...]:
    """A clip that begins anywhere: every first frame that fits is as likely as any other."""
    _check_counts(info.num_frames, sampling.num_frames)
    step = clip_step(info.fps, stride=stride, stride_fps=sampling.stride_fps)
    # DMVR keeps the last frame inside the video, PySlowFast the whole window.
    steps = sampling.num_frames - (sampling.rule == "clip")
    room = max(Fraction(0), info.num_frames - steps * step)
    return _frames_from(Fraction(rng.random()) * room, sampling, info.num_frames, step)


def _frames_from(start: Fraction, sampling: Sampling, num_frames: int, step: Fraction) -> tuple[int, ...]:
    choose = clip_indices if sampling.rule == "clip" else clip_linspace_indices
    return choose(num_frames, start, count=sampling.num_frames, step=step)


def _exact_rate(name: str, rate: float) -> Fraction:
    _check_rate(name, rate)
    exact = Fraction(rate).limit_denominator(_LARGEST_DENOMINATOR)
    return exact if exact > 0 else Fraction(rate)


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


def _check_rate(name: str, rate: float) -> None:
    if not (math.isfinite(rate) and rate > 0):
        raise UsageError(f"{name} is {rate}; expected a number above 0")
