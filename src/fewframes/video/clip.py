"""The one way from a source to a model's input: open, choose, decode, transform."""

from __future__ import annotations

import random

from torch import Tensor

from fewframes.records import Frames, Preprocess, Sampling
from fewframes.video.reader import open_video
from fewframes.video.sampling import sample_indices
from fewframes.video.source import VideoSource
from fewframes.video.transforms import preprocess

__all__ = ["load_clip", "load_frames"]


def load_frames(source: VideoSource, sampling: Sampling, rng: random.Random | None = None) -> Frames:
    """Open a video, choose frames by a rule, and decode just those.

    Args:
        source: path, bytes, or a binary file object.
        sampling: which frames.
        rng: only for the rule "random_in_segment".

    Raises:
        UnreadableVideo: the source is no video, is damaged, or cannot be opened.
    """
    with open_video(source) as reader:
        return reader.frames_at(sample_indices(sampling, reader.info, rng))


def load_clip(source: VideoSource, sampling: Sampling, spec: Preprocess) -> tuple[Tensor, Frames]:
    """A model's input for one video, as used by prediction, evaluation and validation alike.

    Returns:
        The clip, (T, 3, *spec.crop) float32, and the frames it was made from.
    """
    frames = load_frames(source, sampling)
    return preprocess(frames.pixels, spec), frames
