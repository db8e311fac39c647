"""The frozen records that travel between the floors; plain values in, plain values out, no behaviour but checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from fewframes.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import torch

__all__ = [
    "BadVideoPolicy",
    "DecodeOptions",
    "EvaluationReport",
    "Failure",
    "Frames",
    "Interpolation",
    "Limits",
    "OnBadVideo",
    "Prediction",
    "Preprocess",
    "ReadCost",
    "Sampling",
    "SamplingRule",
    "Scores",
    "VideoInfo",
    "VideoResult",
    "part_text",
]

SamplingRule = Literal["uniform", "random_in_segment", "official", "clip", "clip_linspace", "segment_middle"]
OnBadVideo = Literal["error", "skip", "count-as-wrong"]
Interpolation = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before any frame is decoded.

    Sizes are those of the frames that `frames_at` returns: after rotation and with square pixels.

    Attributes:
        path: the source as the caller named it.
        num_frames: how many frames the video shows, in presentation order; exact.
        fps: mean frames per second, `num_frames / duration_seconds`; > 0.
        duration_seconds: from the first frame's presentation to the end of the last frame's.
        width: pixels, after rotation and pixel aspect.
        height: pixels, after rotation and pixel aspect.
        codec: FFmpeg's name of the codec, such as "h264".
        variable_frame_rate: whether the gaps between frames differ by more than the container's clock tick.
        rotation_degrees: clockwise rotation that was applied, one of 0, 90, 180, 270.
        size_bytes: length of the file; None if the source does not tell it.
        bytes_read: how much of the file was read to find all this out.
        packets_decoded: compressed packets that were given to the decoder to find all this out.
        decoder: which decoder reads it, such as "pyav".
    """

    path: str
    num_frames: int
    fps: float
    duration_seconds: float
    width: int
    height: int
    codec: str
    variable_frame_rate: bool
    rotation_degrees: int
    size_bytes: int | None = None
    bytes_read: int = 0
    packets_decoded: int = 0
    decoder: str = "pyav"


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded frames in the order in which they were asked for.

    Attributes:
        pixels: (T, 3, H, W) uint8, RGB, 0 to 255.
        seconds: (T,) float64; when each frame is shown, the video's first frame at 0.
        indices: the T frame numbers in presentation order; with `DecodeOptions.seek` "keyframe" those that were given.
        bytes_read: how much of the file was read for them, beyond what opening had read.
        packets_decoded: compressed packets that were given to the decoder for them.
    """

    pixels: torch.Tensor
    seconds: torch.Tensor
    indices: tuple[int, ...]
    bytes_read: int = 0
    packets_decoded: int = 0


@dataclass(frozen=True)
class Limits:
    """What a video may ask of this machine; a header that claims more is refused before memory is taken for it.

    Attributes:
        max_pixels: of one frame, width times height as stored and as shown. The default, 8192 x 8192, is above every
            camera and codec level in use, and 200 MB a frame once it is RGB.
        max_frames: of one video. The default is 46 hours at 60 frames a second.
        max_buffer_bytes: of a source that has to be kept in memory whole, because it cannot be read twice: standard
            input, a pipe, a remote file without range reads.
    """

    max_pixels: int = 64 * 1024 * 1024
    max_frames: int = 10_000_000
    max_buffer_bytes: int = 1024 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("max_pixels", "max_frames", "max_buffer_bytes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least 1")


@dataclass(frozen=True)
class DecodeOptions:
    """How frames are decoded.

    Attributes:
        decoder: "pyav" (the default; its wheels carry FFmpeg), "torchcodec" (extra `torchcodec` and an installed
            FFmpeg), or "auto": torchcodec for a GPU, pyav for the CPU, where it costs less and gives the same.
        seek: "exact" gives the very frames asked for; "keyframe" gives, for each, the nearest keyframe at or before
            it, which is all that is decoded.
        device: where frames are decoded; other than "cpu" only with torchcodec, and only when asked for, as its
            colours differ.
        limits: what a video may ask of this machine.
    """

    decoder: Literal["pyav", "torchcodec", "auto"] = "pyav"
    seek: Literal["exact", "keyframe"] = "exact"
    device: str = "cpu"
    limits: Limits = Limits()


@dataclass(frozen=True)
class BadVideoPolicy:
    """What happens to listed videos that cannot be read.

    Attributes:
        on_bad_video: "error" stops at the first one. "skip" goes on without it. "count-as-wrong" (evaluation only)
            goes on too, and shows the score over every listed video as the only headline. No choice changes a
            denominator: an evaluation always counts every listed video.
        max_bad_fraction: the cap, 0 to 1: more than this share of the listed videos, rounded up to whole videos, stops
            the work. Above 0 a single bad video never does.
        option_prefix: what stands before these two names where the user sets them, for messages.
    """

    on_bad_video: OnBadVideo = "error"
    max_bad_fraction: float = 0.01
    option_prefix: str = "--"

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad_fraction <= 1:
            raise UsageError(f"max_bad_fraction is {self.max_bad_fraction}; expected 0 to 1")


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video a model looks at; see `fewframes.video.sampling`.

    Attributes:
        rule: over the whole video, "uniform" (centre of equal segments), "random_in_segment" (training only),
            "segment_middle" (the Something-Something rule of SlowFast and TimeSformer) or "official" (the STAM
            release: first `num_frames` steps of 1 / `frames_per_second`, short videos refused); in one stretch of it,
            "clip" (frames `stride` apart, the stretch in the middle) or "clip_linspace" (the same stretch, its frames
            spread from its first to its last as the SlowFast and TimeSformer code does).
        num_frames: frames a video, >= 1.
        frames_per_second: only for "official": 1.6 for stam_16, 3.2 for stam_32, 6.4 for stam_64.
        stride: only for the clip rules: how far a frame is from the one before, a whole number >= 1.
        stride_fps: only for the clip rules: the frames per second in which `stride` counts, > 0. None counts the
            video's own frames.
    """

    rule: SamplingRule
    num_frames: int
    frames_per_second: float | None = None
    stride: int | None = None
    stride_fps: float | None = None

    def __post_init__(self) -> None:
        if self.rule not in get_args(SamplingRule):
            raise UnknownName("sampling rule", self.rule, get_args(SamplingRule))
        if self.num_frames < 1:
            raise UsageError(f"sampling.num_frames is {self.num_frames}; expected at least 1")
        if (self.rule == "official") != (self.frames_per_second is not None):
            raise UsageError('sampling.frames_per_second belongs to rule "official", and to no other')
        if self.rule not in ("clip", "clip_linspace"):
            if self.stride is not None or self.stride_fps is not None:
                raise UsageError('sampling.stride and stride_fps belong to "clip" and "clip_linspace" alone')
            return
        if not isinstance(self.stride, int) or self.stride < 1:
            raise UsageError(f'sampling.stride is {self.stride}; rule "{self.rule}" needs a whole number of at least 1')
        if self.stride_fps is not None and not 0 < self.stride_fps < math.inf:
            raise UsageError(f"sampling.stride_fps is {self.stride_fps}; expected a number above 0, or None")


@dataclass(frozen=True)
class Preprocess:
    """How uint8 frames become a model's input; bound to the model and stored with its weights.

    The short side is resized to `resize_short`, or the frame to `resize_to` without keeping its aspect; the result is
    rounded to uint8, the centre is cropped to `crop`, values are scaled to [0, 1], then `(x - mean) / std` is applied
    per channel. With neither size, the whole frame is squeezed to `crop` without keeping its aspect.

    Attributes:
        crop: (height, width) of the model's input in pixels.
        resize_short: short side in pixels before the crop, >= both sides of `crop`, or None.
        mean: per channel, in the [0, 1] scale.
        std: per channel, in the [0, 1] scale, > 0.
        channel_order: what the model was trained on; frames themselves are always RGB.
        resize_to: (height, width) in pixels before the crop, >= those of `crop`, or None; excludes `resize_short`.
        interpolation: how pixels are interpolated when the size changes.
        antialias: whether shrinking averages over all pixels, as PIL does. Networks trained on tensors resized without
            it, such as torchvision's video models, need False.
    """

    crop: tuple[int, int]
    resize_short: int | None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"
    resize_to: tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise UsageError(f"preprocess.crop is {self.crop}; expected two sizes of at least 1 pixel")
        if self.resize_short is not None and self.resize_short < max(self.crop):
            raise UsageError(
                f"preprocess.resize_short is {self.resize_short} but the crop is {self.crop}; "
                "the short side must be at least as large as the crop"
            )
        if self.resize_to is not None and self.resize_short is not None:
            raise UsageError("preprocess has resize_short and resize_to; a frame is resized once: leave one out")
        if self.resize_to is not None and (self.resize_to[0] < self.crop[0] or self.resize_to[1] < self.crop[1]):
            raise UsageError(
                f"preprocess.resize_to is {self.resize_to} but the crop is {self.crop}; "
                "each side must be at least as large as the crop's"
            )
        if min(self.std) <= 0:
            raise UsageError(f"preprocess.std is {self.std}; expected values above 0")
        if self.interpolation not in get_args(Interpolation):
            raise UnknownName("preprocess.interpolation", self.interpolation, get_args(Interpolation))


@dataclass(frozen=True)
class Prediction:
    """What a model said of one video, and what it looked at.

    Attributes:
        path: the video.
        labels: the `top_k` class names, most likely first.
        scores: their probabilities (softmax), 0 to 1.
        frame_indices: the frames the model looked at.
        frame_seconds: when they are shown, seconds.
        logits: (K,) float32 of all classes, in the order of the model's labels.
        frame_attention: how much of the class token's attention each frame got, sums to 1; None if not asked for.
        start: the part of the video that was looked at begins here, seconds; None: where the video begins.
        end: it ends here, seconds; None: where the video ends.
        bytes_read: how much of the file was read, opening included.
        size_bytes: length of the file; None if the source does not tell it.
    """

    path: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    frame_indices: tuple[int, ...]
    frame_seconds: tuple[float, ...]
    logits: tuple[float, ...]
    frame_attention: tuple[float, ...] | None = None
    start: float | None = None
    end: float | None = None
    bytes_read: int = 0
    size_bytes: int | None = None


@dataclass(frozen=True)
class Failure:
    """One input that could not be used.

    Attributes:
        path: the input.
        reason: one line, without the path.
        start: the part that was wanted begins here, seconds; None: where the video begins.
        end: it ends here, seconds; None: where the video ends.
    """

    path: str
    reason: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class VideoResult:
    """One listed video's row of an evaluation.

    Attributes:
        path: the video.
        label: its true class name.
        predicted: the most likely class names, best first, at most 5; empty if the video failed.
        scores: their probabilities; empty if the video failed.
        error: why the video failed, one line; None if it was classified.
        frame_indices: the frames the model looked at; empty if the video failed.
        start: the listed part begins here, seconds; None: where the video begins.
        end: it ends here, seconds; None: where the video ends.
    """

    path: str
    label: str
    predicted: tuple[str, ...]
    scores: tuple[float, ...]
    error: str | None = None
    frame_indices: tuple[int, ...] = ()
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class ReadCost:
    """What it took to read the videos of an evaluation; videos that could not be read are not in it.

    Attributes:
        decode_seconds: opening and decoding, added up over readers that work side by side.
        wait_seconds: for how long the network stood still because no video was ready.
        bytes_read: how much of the files was read.
        size_bytes: how long those files are together; None if one of them does not tell.
        packets_decoded: compressed packets that were given to decoders.
    """

    decode_seconds: float
    wait_seconds: float
    bytes_read: int
    size_bytes: int | None
    packets_decoded: int


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent, 0 to 100, over one denominator.

    Attributes:
        num_videos: the denominator.
        top1: share of videos whose best class is right.
        top5: share of videos whose true class is among the five best (of all classes, if there are fewer).
        mean_class_accuracy: top-1 of each class that has videos, averaged with equal weight.
    """

    num_videos: int
    top1: float
    top5: float
    mean_class_accuracy: float


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found; the headline's denominator is every listed video.

    Attributes:
        model: name of the model or path of the checkpoint.
        data: the manifest or folder.
        labels: all class names in label-index order.
        listed: scores over every listed video; a video that could not be read counts as wrong.
        decoded: scores over the videos that could be read.
        confusion: (K, K) counts over the videos that could be read, rows are true classes.
        class_totals: (K,) listed videos of each class.
        class_correct: (K,) correctly classified videos of each class.
        failures: every video that could not be read, and why.
        videos: one row per listed video, in the order of the list.
        protocol: all settings that the scores depend on.
        seconds: wall time of the evaluation.
        reading: what reading the videos took; None where it was not measured.
    """

    model: str
    data: str
    labels: tuple[str, ...]
    listed: Scores
    decoded: Scores
    confusion: tuple[tuple[int, ...], ...]
    class_totals: tuple[int, ...]
    class_correct: tuple[int, ...]
    failures: tuple[Failure, ...]
    videos: tuple[VideoResult, ...]
    protocol: Mapping[str, object]
    seconds: float
    reading: ReadCost | None = None


def part_text(start: float | None, end: float | None) -> str:
    """A part of a video in words: "2 to 5.5 s", "from 2 s", "up to 5.5 s", or "" for the whole."""
    if start is None and end is None:
        return ""
    if end is None:
        return f"from {start:.6g} s"
    return f"up to {end:.6g} s" if start is None else f"{start:.6g} to {end:.6g} s"
