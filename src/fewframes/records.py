"""The frozen records that travel between the floors; plain values in, plain values out, no behaviour but checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fewframes.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = [
    "EvaluationReport",
    "Failure",
    "Frames",
    "Prediction",
    "Preprocess",
    "Sampling",
    "SamplingRule",
    "Scores",
    "VideoInfo",
    "VideoResult",
]

SamplingRule = Literal["uniform", "random_in_segment", "official"]


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


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded frames in the order in which they were asked for.

    Attributes:
        pixels: (T, 3, H, W) uint8, RGB, 0 to 255.
        seconds: (T,) float64; when each frame is shown, the video's first frame at 0.
        indices: the T frame numbers in presentation order.
    """

    pixels: torch.Tensor
    seconds: torch.Tensor
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video a model looks at; see `fewframes.video.sampling`.

    Attributes:
        rule: "uniform" (centre of equal segments), "random_in_segment" (training only) or "official" (the STAM
            release: first `num_frames` steps of 1 / `frames_per_second`, short videos refused).
        num_frames: frames a video, >= 1.
        frames_per_second: only for "official": 1.6 for stam_16, 3.2 for stam_32, 6.4 for stam_64.
    """

    rule: SamplingRule
    num_frames: int
    frames_per_second: float | None = None

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise UsageError(f"sampling.num_frames is {self.num_frames}; expected at least 1")
        if (self.rule == "official") != (self.frames_per_second is not None):
            raise UsageError('sampling.frames_per_second belongs to rule "official", and to no other')


@dataclass(frozen=True)
class Preprocess:
    """How uint8 frames become a model's input; bound to the model and stored with its weights.

    The short side is resized to `resize_short` (bilinear, antialiased, rounded to uint8), the centre is cropped to
    `crop`, values are scaled to [0, 1], then `(x - mean) / std` is applied per channel. With `resize_short` None the
    whole frame is squeezed to `crop` without keeping its aspect.

    Attributes:
        crop: (height, width) of the model's input in pixels.
        resize_short: short side in pixels before the crop, >= both sides of `crop`, or None.
        mean: per channel, in the [0, 1] scale.
        std: per channel, in the [0, 1] scale, > 0.
        channel_order: what the model was trained on; frames themselves are always RGB.
    """

    crop: tuple[int, int]
    resize_short: int | None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise UsageError(f"preprocess.crop is {self.crop}; expected two sizes of at least 1 pixel")
        if self.resize_short is not None and self.resize_short < max(self.crop):
            raise UsageError(
                f"preprocess.resize_short is {self.resize_short} but the crop is {self.crop}; "
                "the short side must be at least as large as the crop"
            )
        if min(self.std) <= 0:
            raise UsageError(f"preprocess.std is {self.std}; expected values above 0")


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
    """

    path: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    frame_indices: tuple[int, ...]
    frame_seconds: tuple[float, ...]
    logits: tuple[float, ...]
    frame_attention: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Failure:
    """One input that could not be used.

    Attributes:
        path: the input.
        reason: one line, without the path.
    """

    path: str
    reason: str


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
    """

    path: str
    label: str
    predicted: tuple[str, ...]
    scores: tuple[float, ...]
    error: str | None = None
    frame_indices: tuple[int, ...] = ()


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
