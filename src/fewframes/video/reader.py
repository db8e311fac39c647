"""Comes in: a path, bytes or a binary file. Goes out: a `VideoReader` that gives any frame of the video, exactly."""

from __future__ import annotations

import bisect
import operator
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Frames, VideoInfo
from fewframes.video.reader_images import ImagesBackend, is_image_folder, is_packed_clip
from fewframes.video.reader_pyav import PyavBackend
from fewframes.video.reader_torchcodec import TorchcodecBackend, choose_decoder
from fewframes.video.source import VideoSource, resolve_source

__all__ = ["Backend", "VideoReader", "open_video"]

_EXACT = DecodeOptions()


class Backend(Protocol):
    """What a decoder offers to `VideoReader`; a second one is a second file with a class like this.

    Attributes:
        info: the video.
        seconds: (N,) float64, when each frame is shown, ascending, the first at 0.0.
        key_frames: the numbers of the frames that are decoded without any other, ascending.
        bytes_read: how much of the source was read so far.
        packets_decoded: compressed packets that were given to the decoder so far.
    """

    info: VideoInfo
    seconds: NDArray[np.float64]
    key_frames: NDArray[np.int64]
    packets_decoded: int

    @property
    def bytes_read(self) -> int:
        """See above."""
        ...

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

    def __init__(self, backend: Backend, *, seek: Literal["exact", "keyframe"] = "exact") -> None:
        self._backend: Backend | None = backend
        self._snaps = seek == "keyframe"
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
        that is asked for, or one that must be decoded for it, is missing. A picture that the decoder gives spoilt, but
        without an error, comes as it is.

        Where the video was opened with `seek="keyframe"`, the nearest keyframe at or before each frame is given
        instead, and `indices` and `seconds` say which it is.

        Args:
            indices: frame numbers, each in [0, info.num_frames).

        Returns:
            pixels (T, 3, H, W) uint8 (in channels-last memory), seconds (T,) float64, the indices, and what it cost.

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
        if self._snaps:
            wanted = tuple(_keyframe_at_or_before(index, backend.key_frames) for index in wanted)
        unique = sorted(set(wanted))
        bytes_before, packets_before = backend.bytes_read, backend.packets_decoded
        pixels = backend.read(unique)
        if wanted != tuple(unique):
            pixels = pixels[[bisect.bisect_left(unique, index) for index in wanted]]
        seconds = [backend.seconds[index] for index in wanted]
        return Frames(
            pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
            seconds=torch.tensor(seconds, dtype=torch.float64),
            indices=wanted,
            bytes_read=backend.bytes_read - bytes_before,
            packets_decoded=backend.packets_decoded - packets_before,
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

    def frames_between(self, start: float | None, end: float | None) -> range:
        """The numbers of the frames that begin in [start, end) seconds; None stands for the video's own start or end.

        A part that lies between two frames gives the one that is being shown at `start`, so that no part is empty. What
        reaches beyond the video's end is cut off there.

        Raises:
            UsageError: not 0 <= start < end, or the reader is closed.
            UnreadableVideo: the video ends at or before `start`.
        """
        starts, info = self._open_backend().seconds, self.info
        begin = 0.0 if start is None else start
        if begin < 0 or (end is not None and end <= begin):
            raise UsageError(f"the part from {start} to {end} s of {info.path}; expected 0 <= start < end")
        if begin >= info.duration_seconds:
            raise UnreadableVideo(
                info.path,
                f"the part from {begin:.6g} s on lies beyond its end, {info.duration_seconds:.6g} s; correct the list",
            )
        first = bisect.bisect_left(starts, begin)
        last = len(starts) if end is None else bisect.bisect_left(starts, end)
        return range(first, last) if first < last else range(first - 1, first)

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


def _keyframe_at_or_before(index: int, key_frames: NDArray[np.int64]) -> int:
    """The frame itself if no keyframe comes before it, as in what is left of an open group of pictures."""
    at = int(np.searchsorted(key_frames, index, side="right")) - 1
    return int(key_frames[at]) if at >= 0 else index


def open_video(source: VideoSource, *, decode: DecodeOptions = _EXACT) -> VideoReader:
    """Open a video and find out exactly which frames it shows.

    For MP4 and MOV files only the index and one frame are read here, and later only what the frames asked for need.
    In other files, and fragmented ones, all packets are listed once. The whole video is decoded here only where its
    packets do not tell its frames (formats other than MP4/MOV and Matroska/WebM, hidden frames, missing timestamps).
    Decoding uses one thread, so readers are safe in worker processes and servers. The first video track is read;
    cover pictures are no video.

    Args:
        source: a path; an address (http, https, s3 and its like, file, tar://MEMBER::SHARD); "-" for standard input;
            a file's content; a file open for binary reading, which is read from its start and left open; or a folder
            of numbered images. What cannot be read twice, such as a pipe, is kept in memory, up to a limit.
        decode: how to decode, and what a video may ask of this machine.

    Returns:
        A reader, a context manager; close it.

    Raises:
        UnreadableVideo: there is no video to be had: no such file, not a video, sound only, encrypted, cut short, its
            codec unknown, its frames too large, or damaged from its beginning.
        UsageError: `source` is of none of these kinds, or the options do not fit together.
    """
    backend: Backend
    if is_packed_clip(source):
        backend = ImagesBackend.from_pack(str(source), decode)
    elif is_image_folder(source):
        backend = ImagesBackend.from_folder(os.fspath(source), decode)  # type: ignore[arg-type]
    elif choose_decoder(decode) == "torchcodec":
        backend = TorchcodecBackend(resolve_source(source, limits=decode.limits), decode)
    else:
        backend = PyavBackend(resolve_source(source, limits=decode.limits), decode)
    return VideoReader(backend, seek=decode.seek)
