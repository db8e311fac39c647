"""Comes in: a path, bytes or a binary file. Goes out: a `VideoReader` that gives any frame of the video, exactly."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
import torch

from fewframes.errors import UsageError
from fewframes.records import Frames, VideoInfo
from fewframes.video.reader_pyav import PyavBackend
from fewframes.video.source import VideoSource, resolve_source

__all__ = ["DEFAULT_MAX_PIXELS", "Backend", "VideoReader", "open_video"]

# 8192 x 8192: above every camera and codec level in use, and 200 MB a frame once it is RGB.
DEFAULT_MAX_PIXELS = 64 * 1024 * 1024


class Backend(Protocol):
    """What a decoder offers to `VideoReader`; a second one is a second file with a class like this.

    Attributes:
        info: the video.
        seconds: when each frame is shown, ascending, the first at 0.0; one entry a frame.
    """

    info: VideoInfo
    seconds: Sequence[float]

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames at strictly ascending `indices`, all in range: (K, H, W, 3) uint8 RGB. Raises UnreadableVideo."""
        ...

    def close(self) -> None:
        """Free the file and the decoder; may be called twice."""
        ...


class VideoReader:
    """An open video; made by `open_video`, best used in a `with` statement.

    Not thread-safe: it owns one decoder, whose position every call moves. Give each thread and process its own.

    Attributes:
        info: what is known of the video; its size is that of the frames given out.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend: Backend | None = backend
        self.info = backend.info

    def frames_at(self, indices: Iterable[int]) -> Frames:
        """The frames with these numbers, in the order asked for; a number may come twice.

        Frame i is the i-th frame that the video shows, counted from 0, and its pixels do not depend on which other
        frames are asked for. Frames are upright (the container's rotation is applied), have square pixels (a pixel
        aspect within 1 % of square is left alone), and are full-range RGB; colour space and range are the file's own,
        and where it names none BT.709 from a height of 720 pixels on and BT.601 below. High dynamic range is
        converted, not tone-mapped. Asking for many frames at once costs the least: each stretch between two keyframes
        is decoded at most once, and only as far as needed.

        In a damaged file frames keep the numbers that the file's own list gives them; damage is an error if a frame
        that is asked for, or one that must be decoded for it, is missing.

        Args:
            indices: frame numbers, each in [0, info.num_frames).

        Returns:
            pixels (T, 3, H, W) uint8 (in channels-last memory), seconds (T,) float64, and the indices.

        Raises:
            UsageError: an index is out of range, or the reader is closed.
            UnreadableVideo: the file is damaged where these frames are.
        """
        wanted = tuple(operator.index(index) for index in indices)
        backend, num_frames = self._open_backend(), self.info.num_frames
        for index in wanted:
            if not 0 <= index < num_frames:
                raise UsageError(
                    f"frame {index} was asked for, but {self.info.path} has {num_frames} frames; "
                    f"expected 0 to {num_frames - 1}"
                )
        unique = sorted(set(wanted))
        pixels = backend.read(unique)
        if wanted != tuple(unique):
            pixels = pixels[[bisect.bisect_left(unique, index) for index in wanted]]
        seconds = [backend.seconds[index] for index in wanted]
        return Frames(
            pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
            seconds=torch.tensor(seconds, dtype=torch.float64),
            indices=wanted,
        )

    def frames_at_seconds(self, seconds: Iterable[float]) -> Frames:
        """The frame that is being shown at each of these times, in the order asked for.

        Args:
            seconds: times in [0, info.duration_seconds], the first frame's start being 0; the end gives the last frame.

        Returns:
            As `frames_at`; `seconds` says when each of those frames begins.

        Raises:
            UsageError: a time is outside the video, or the reader is closed.
            UnreadableVideo: the file is damaged where these frames are.
        """
        starts, duration = self._open_backend().seconds, self.info.duration_seconds
        indices = []
        for time in map(float, seconds):
            if not 0.0 <= time <= duration:
                raise UsageError(
                    f"the frame at {time:.6g} s was asked for, but {self.info.path} lasts {duration:.6g} s; "
                    f"expected 0 to {duration:.6g}"
                )
            indices.append(bisect.bisect_right(starts, time) - 1)
        return self.frames_at(indices)

    def close(self) -> None:
        """Free the file and the decoder; calling it again does nothing."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open_backend(self) -> Backend:
        if self._backend is None:
            raise UsageError(f"the reader of {self.info.path} is closed; open the video again")
        return self._backend


def open_video(source: VideoSource, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> VideoReader:
    """Open a video and find out exactly which frames it shows.

    All packets are listed once and one frame is decoded; the whole video is decoded here only where its packets do
    not tell its frames (formats other than MP4/MOV and Matroska/WebM, hidden frames, missing timestamps). Decoding
    uses one thread, so readers are safe in worker processes and servers. The first video track is read; cover
    pictures are no video.

    Args:
        source: a path, a URL that FFmpeg can open, a file's content, or a file open for binary reading; such a file
            is read from its start and left open. A pipe is read to its end first.
        max_pixels: refuse a video with larger frames before memory is taken for one.

    Returns:
        A reader, a context manager; close it.

    Raises:
        UnreadableVideo: there is no video to be had: no such file, not a video, sound only, encrypted, cut short, its
            codec unknown, its frames too large, or damaged from its beginning.
        UsageError: `source` is of none of these kinds, or `max_pixels` is below 1.
    """
    if max_pixels < 1:
        raise UsageError(f"max_pixels is {max_pixels}; expected at least 1")
    return VideoReader(PyavBackend(resolve_source(source), max_pixels=max_pixels))
