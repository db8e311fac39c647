"""A video comes in; the frames that a rule chooses go out, with what they cost."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

from fewframes.records import DecodeOptions, Frames, Sampling, VideoInfo
from fewframes.video.address import hide_secrets, is_address
from fewframes.video.clip import choose_indices
from fewframes.video.reader import open_video
from fewframes.video.source import VideoSource

__all__ = ["Reading", "read_frames", "shown_name"]

_EXACT = DecodeOptions()


@dataclass(frozen=True, eq=False)
class Reading:
    """Some frames of a video, and what it took to get them.

    Attributes:
        frames: the frames.
        info: the video.
        seconds: wall time of opening and decoding.
    """

    frames: Frames
    info: VideoInfo
    seconds: float

    @property
    def bytes_read(self) -> int:
        """How much of the file was read, opening included."""
        return self.info.bytes_read + self.frames.bytes_read

    @property
    def packets_decoded(self) -> int:
        """Compressed packets that were given to the decoder, opening included."""
        return self.info.packets_decoded + self.frames.packets_decoded


def shown_name(path: Path | str) -> str:
    """How reports and messages name a listed video: as the list does, but without the secrets of a signed address."""
    name = str(path)
    return hide_secrets(name) if is_address(name) else name


def read_frames(
    source: VideoSource,
    sampling: Sampling,
    rng: random.Random | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    decode: DecodeOptions = _EXACT,
) -> Reading:
    """The frames that `fewframes.video.clip.load_frames` gives, with what is known of the video and what they cost.

    Training, evaluation and prediction all read here.

    Args:
        source: path, address, bytes, or a binary file object.
        sampling: which frames.
        rng: only in training; see `sample_indices`.
        start: seconds; only frames from here on count. None: from the first.
        end: seconds; only frames before this count. None: to the last.
        decode: how to decode.

    Raises:
        UnreadableVideo: the source is no video, is damaged, cannot be opened, or ends before `start`.
        UsageError: the video is too short for the rule "official", or the options do not fit together.
    """
    began = time.perf_counter()
    with open_video(source, decode=decode) as reader:
        frames = reader.frames_at(choose_indices(reader, sampling, rng, start=start, end=end))
    return Reading(frames, reader.info, time.perf_counter() - began)
