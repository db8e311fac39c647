"""The one way from a source to a model's input: open, choose, decode, transform."""

from __future__ import annotations

import random
from dataclasses import replace

from torch import Tensor

from fewframes.records import DecodeOptions, Frames, Preprocess, Sampling
from fewframes.video.reader import VideoReader, open_video
from fewframes.video.sampling import sample_indices
from fewframes.video.source import VideoSource
from fewframes.video.transforms import preprocess

__all__ = ["choose_indices", "load_clip", "load_frames"]

_EXACT = DecodeOptions()


def load_frames(
    source: VideoSource,
    sampling: Sampling,
    rng: random.Random | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    decode: DecodeOptions = _EXACT,
) -> Frames:
    """Open a video, choose frames by a rule, and decode just those.

    Args:
        source: path, address, bytes, or a binary file object.
        sampling: which frames.
        rng: only in training; see `sample_indices`.
        start: seconds; only frames from here on count. None: from the first.
        end: seconds; only frames before this count. None: to the last.
        decode: how to decode.

    Raises:
        UnreadableVideo: the source is no video, is damaged, cannot be opened, or ends before `start`.
    """
    with open_video(source, decode=decode) as reader:
        return reader.frames_at(choose_indices(reader, sampling, rng, start=start, end=end))


def choose_indices(
    reader: VideoReader,
    sampling: Sampling,
    rng: random.Random | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
) -> tuple[int, ...]:
    """The frame numbers that a rule chooses in an open video, or in the part of it from `start` to `end` seconds."""
    if start is None and end is None:
        return sample_indices(sampling, reader.info, rng)
    part = reader.frames_between(start, end)
    duration = len(part) / reader.info.fps
    info = replace(reader.info, num_frames=len(part), duration_seconds=duration)
    return tuple(part[index] for index in sample_indices(sampling, info, rng))


def load_clip(
    source: VideoSource,
    sampling: Sampling,
    spec: Preprocess,
    *,
    start: float | None = None,
    end: float | None = None,
    decode: DecodeOptions = _EXACT,
) -> tuple[Tensor, Frames]:
    """A model's input for one video, as used by prediction, evaluation and validation alike.

    Args:
        source: path, address, bytes, or a binary file object.
        sampling: which frames.
        spec: how they become the model's input.
        start: as for `load_frames`.
        end: as for `load_frames`.
        decode: how to decode.

    Returns:
        The clip, (T, 3, *spec.crop) float32, and the frames it was made from.
    """
    frames = load_frames(source, sampling, start=start, end=end, decode=decode)
    return preprocess(frames.pixels, spec), frames
