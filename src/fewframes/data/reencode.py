"""One video comes in; the same frames at the same times, smaller and with near keyframes, go out as an MP4 file."""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Preprocess, VideoInfo
from fewframes.video.picture_pyav import PictureWriter
from fewframes.video.reader import VideoReader, open_video
from fewframes.video.transforms import resize_and_crop

__all__ = ["ENCODERS", "NoRoom", "Reencoded", "TranscodeOptions", "reencode", "tick_of"]

ENCODERS = {"h264": "libx264"}

_EXACT = DecodeOptions()
_CHUNK_BYTES = 64 * 1024 * 1024
_HD_HEIGHT = 720  # from here on untagged video is taken for BT.709, below for BT.601; what is written says it, too
_BT709, _BT601, _LIMITED_RANGE = 1, 5, 1
_WHITE = np.uint8(235)  # of limited range
_FINEST_TICK = 10_000_000  # ticks a second; finer clocks than that are rounding
_COMMON_TICK = 90_000
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)


class NoRoom(Exception):
    """Nothing more can be written; the other videos would fare no better. The text says why."""


@dataclass(frozen=True)
class TranscodeOptions:
    """How videos are encoded.

    Attributes:
        short_side: pixels of the shorter side, even; smaller videos are not enlarged. None keeps the size. The long
            side follows, and both are rounded to even numbers.
        gop: frames from one keyframe to the next; 1 makes every frame one.
        crf: quality, 0 (lossless or nearly so) to 51 (worst).
        codec: "h264", the one whose frames that nothing refers to can be left out when others are read.
        fps: None keeps every frame and its time; a number gives that many evenly spaced frames a second, each being
            the one that is shown at its time.
    """

    short_side: int | None = 256
    gop: int = 16
    crf: float = 20.0
    codec: Literal["h264"] = "h264"
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.short_side is not None and (self.short_side < 16 or self.short_side % 2):
            raise UsageError(f"short_side is {self.short_side}; expected an even number of at least 16")
        if not 1 <= self.gop <= 10_000:
            raise UsageError(f"gop is {self.gop}; expected 1 to 10000 frames from one keyframe to the next")
        if not 0 <= self.crf <= 51:
            raise UsageError(f"crf is {self.crf:g}; expected 0 (best) to 51 (worst)")
        if self.codec not in ENCODERS:
            raise UsageError(f"codec is {self.codec!r}; expected one of {', '.join(ENCODERS)}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UsageError(f"fps is {self.fps:g}; expected a number above 0, at most 1000")

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is written, both even, for frames of this width and height."""
        short = min(width, height)
        if self.short_side is None or short <= self.short_side:
            return _even(width), _even(height)
        return _even(Fraction(width * self.short_side, short)), _even(Fraction(height * self.short_side, short))


@dataclass(frozen=True)
class Reencoded:
    """What was written.

    Attributes:
        num_frames: frames.
        size_bytes: length of the new file.
        source_bytes: length of the old one; None if the source does not tell.
    """

    num_frames: int
    size_bytes: int
    source_bytes: int | None


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which frames are written, and when they are shown.

    Attributes:
        indices: of the source's frames, ascending; a frame may come again.
        seconds: (N,) float64, strictly ascending from 0.
        duration_seconds: to the end of the last one.
        tick: the clock of the new file, seconds.
        size: width and height.
    """

    indices: Sequence[int]
    seconds: NDArray[np.float64]
    duration_seconds: float
    tick: Fraction
    size: tuple[int, int]


def reencode(
    source: Path | str,
    target: Path,
    options: TranscodeOptions,
    *,
    decode: DecodeOptions = _EXACT,
    alive: Callable[[], None] = lambda: None,
) -> Reencoded:
    """Write a video anew and check what was written.

    Args:
        source: what to read; anything that `open_video` takes.
        target: the file to write; what is there is overwritten.
        options: how.
        decode: how to decode; frames are always exact.
        alive: called again and again while it makes progress.

    Raises:
        UnreadableVideo: the source cannot be read or cannot be encoded, or what was written is not the same video.
        NoRoom: the target cannot be written.
    """
    with open_video(source, decode=decode) as reader:
        plan = _plan(reader, options)
        try:
            _encode(reader, plan, target, options, alive)
        except (OSError, av.FFmpegError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            reason = getattr(error, "strerror", None) or error
            if getattr(error, "errno", None) in _FULL_DISK:
                raise NoRoom(f"{reason}") from error
            raise UnreadableVideo(reader.info.path, f"it cannot be encoded with {options.codec} ({reason})") from error
        source_info = reader.info
    _check(target, source_info, plan)
    return Reencoded(len(plan.indices), target.stat().st_size, source_info.size_bytes)


def tick_of(times: NDArray[np.float64]) -> Fraction:
    """The coarsest clock on which all these times fall exactly, in seconds; 1/90000 where there is none that is usual.

    Args:
        times: (N,) float64 seconds, each the float64 nearest to a fraction of whole numbers.
    """
    ticks_per_second = 1
    while (off := np.rint(times * ticks_per_second) / ticks_per_second != times).any():
        exact = Fraction(float(times[int(np.argmax(off))])).limit_denominator(_FINEST_TICK // 10)
        ticks_per_second = math.lcm(ticks_per_second, exact.denominator)
        if float(exact) != times[int(np.argmax(off))] or ticks_per_second > _FINEST_TICK:
            return Fraction(1, _COMMON_TICK)
    return Fraction(1, ticks_per_second)


def _plan(reader: VideoReader, options: TranscodeOptions) -> _Plan:
    info = reader.info
    indices: Sequence[int] = range(info.num_frames)
    seconds, duration = _times(reader), info.duration_seconds
    if options.fps is not None:
        count = max(1, math.ceil(duration * options.fps - 1e-6))
        wanted = np.arange(count) / options.fps
        indices = np.maximum(np.searchsorted(seconds, wanted, side="right") - 1, 0).tolist()
        seconds, duration = wanted, count / options.fps
    tick = tick_of(np.append(seconds, duration))
    if tick == Fraction(1, _COMMON_TICK):  # the end alone may be off the frames' clock
        tick = tick_of(seconds)
    if (np.diff(np.rint(seconds / float(tick))) < 1).any():
        raise UnreadableVideo(info.path, "it shows several frames at one time, which an MP4 file cannot")
    return _Plan(indices, seconds, duration, tick, options.size_of(info.width, info.height))


def _times(reader: VideoReader) -> NDArray[np.float64]:
    """(N,) float64 seconds, when each frame is shown."""
    return reader._open_backend().seconds


def _encode(
    reader: VideoReader, plan: _Plan, target: Path, options: TranscodeOptions, alive: Callable[[], None]
) -> None:
    ticks = np.rint(plan.seconds / float(plan.tick)).astype(np.int64).tolist()
    end = max(ticks[-1] + 1, round(plan.duration_seconds / plan.tick))
    hd = plan.size[1] >= _HD_HEIGHT
    matrix, reformatter = (_BT709 if hd else _BT601), VideoReformatter()
    lift = _find_lift(matrix, reformatter)
    mux = {"movflags": "+faststart", "video_track_timescale": str(plan.tick.denominator)}
    with av.open(str(target), "w", format="mp4", options=mux) as container:
        rate = Fraction(len(ticks) / plan.duration_seconds).limit_denominator(100_000)
        even = np.ptp(np.diff([*ticks, end])) <= 1
        stream = container.add_stream(
            ENCODERS[options.codec], rate=rate, options=_encoder_options(options, even_times=bool(even))
        )
        assert isinstance(stream, VideoStream), "libx264 encodes video"
        stream.width, stream.height = plan.size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base, context.thread_count = plan.tick, 1
        context.colorspace, context.color_range = matrix, _LIMITED_RANGE
        context.flags |= Flags.frame_duration
        for (start, stop), pixels in zip(
            itertools.pairwise([*ticks, end]), _pictures(reader, plan, alive), strict=True
        ):
            frame = _frame_of(pixels, matrix, lift, reformatter)
            frame.pts, frame.time_base, frame.duration = start, plan.tick, stop - start
            container.mux(stream.encode(frame))
            alive()
        container.mux(stream.encode())


def _frame_of(pixels: NDArray[np.uint8], matrix: int, lift: int, reformatter: VideoReformatter) -> av.VideoFrame:
    """(H, W, 3) uint8 RGB as yuv420p, its luma lifted."""
    yuv = reformatter.reformat(
        av.VideoFrame.from_ndarray(pixels, format="rgb24"),
        format="yuv420p",
        dst_colorspace=matrix,
        dst_color_range=_LIMITED_RANGE,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
        threads=1,
    ).to_ndarray()
    luma = yuv[: pixels.shape[0]]
    np.minimum(luma + np.uint8(lift), _WHITE, out=luma)
    frame = av.VideoFrame.from_ndarray(yuv, format="yuv420p")
    frame.colorspace, frame.color_range = matrix, _LIMITED_RANGE
    return frame


def _find_lift(matrix: int, reformatter: VideoReformatter) -> int:
    """How much brighter luma must be so that reading gives back what was encoded, on average over colours.

    FFmpeg's fast conversion to RGB, which the reader uses, rounds down, so that each generation would be a step darker.
    """
    colours = np.random.default_rng(0).integers(64, 192, (8, 16, 3), dtype=np.uint8)
    patches = np.ascontiguousarray(colours.repeat(16, axis=0).repeat(16, axis=1))
    frame = _frame_of(patches, matrix, 0, reformatter)
    read = np.empty_like(patches)
    PictureWriter(frame, None).write(frame, read)
    return max(0, round(float((patches.astype(np.float64) - read).mean()) * 219 / 255))


def _encoder_options(options: TranscodeOptions, *, even_times: bool) -> dict[str, str]:
    given = {
        "crf": f"{options.crf:g}",
        # Keyframes stand exactly where they are asked for, at no cut of the scene besides, so that costs are even.
        "g": str(options.gop),
        "keyint_min": str(options.gop),
        "sc_threshold": "0",
        # With AVX-512 this step of x264 gives other bytes each time; it would make files a tenth smaller.
        "x264-params": "mbtree=0",
    }
    # MP4 has no place for the duration of a frame that is not stored in the order in which it is shown.
    return given if even_times else {**given, "bf": "0"}


def _pictures(reader: VideoReader, plan: _Plan, alive: Callable[[], None]) -> Iterator[NDArray[np.uint8]]:
    """The planned frames in their new size, (H, W, 3) uint8, a few at a time in memory."""
    width, height = plan.size
    squeeze = Preprocess(crop=(height, width), resize_short=None)
    step = max(1, _CHUNK_BYTES // (3 * reader.info.width * reader.info.height))
    for first in range(0, len(plan.indices), step):
        frames = reader.frames_at(plan.indices[first : first + step])
        alive()
        for pixels in resize_and_crop(frames.pixels, squeeze).permute(0, 2, 3, 1):
            yield np.ascontiguousarray(pixels.numpy())


def _check(target: Path, source: VideoInfo, plan: _Plan) -> None:
    """Read the new file's index; raises UnreadableVideo unless it says what was planned."""
    try:
        with open_video(target) as reader:
            info, seconds = reader.info, _times(reader)
    except UnreadableVideo as error:
        raise UnreadableVideo(source.path, f"what was written cannot be read ({error.reason}); run it again") from error
    tick = float(plan.tick)
    if info.num_frames != len(plan.indices):
        found = f"{info.num_frames} frames, expected {len(plan.indices)}"
    elif (off := float(np.abs(seconds - plan.seconds).max())) > tick * 1.001:
        found = f"times that are off by up to {off:.6f} s"
    elif abs(info.duration_seconds - plan.duration_seconds) > tick * 1.001:
        found = f"a duration of {info.duration_seconds:.6f} s, expected {plan.duration_seconds:.6f} s"
    elif (info.width, info.height) != plan.size:
        found = f"frames of {info.width} x {info.height}, expected {plan.size[0]} x {plan.size[1]}"
    else:
        return
    raise UnreadableVideo(source.path, f"what was written has {found}; keep the original")


def _even(size: int | Fraction) -> int:
    """The nearest even number of at least 2; the larger one of two."""
    return max(2, 2 * math.floor(Fraction(size) / 2 + Fraction(1, 2)))
