"""Comes in: a video. Goes out: its frames by the shortest way, every packet in file order, nothing of ours in between.

The reader is judged by this: it knows no index, seeks nowhere, skips nothing, and converts pictures on its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.stream import Disposition

# The matrix that a stated colour space means to swscale; where none is stated, BT.709 from 720 rows on, BT.601 below.
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
SQUARE_ENOUGH = Fraction(1, 100)
SKEWED = 0.01


@dataclass(frozen=True)
class PlainVideo:
    """What a plain decode says of a video.

    Attributes:
        tick: the track's clock, seconds; 0 where there is no video.
        rate: mean frames per second as the container states it, or None.
        num_packets: compressed packets of the track.
        frames: (digest of the picture, pts, dts) of each frame; no digest if the picture was not wanted.
        damaged_at: frames that came before the first error of demuxer or decoder; None if there was none.
        num_corrupt: frames that the decoder itself calls corrupt.
        shape: (height, width) of the first picture; None if there is none.
    """

    tick: Fraction
    rate: Fraction | None
    num_packets: int
    frames: tuple[tuple[bytes, int | None, int | None], ...]
    damaged_at: int | None
    num_corrupt: int = 0
    shape: tuple[int, int] | None = None

    @property
    def pictures(self) -> list[bytes]:
        """The digest of each frame's picture."""
        return [frame[0] for frame in self.frames]

    @property
    def times_ascend(self) -> bool:
        """Whether each frame has a presentation time after the one before it."""
        return all(a[1] is not None and b[1] is not None and a[1] < b[1] for a, b in itertools.pairwise(self.frames))

    @property
    def seconds(self) -> list[float]:
        """When each frame is shown, the first at 0; evenly spaced if the times do not ascend."""
        if self.times_ascend:
            first = self.frames[0][1] or 0
            return [float(((pts or 0) - first) * self.tick) for _, pts, _ in self.frames]
        assert self.rate is not None, "frames without times in a container without a rate"
        return [float(number / self.rate) for number in range(len(self.frames))]


def digest(picture: np.ndarray) -> bytes:
    """What tells (H, W, 3) pictures apart, size included."""
    return hashlib.blake2b(
        repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes(), digest_size=16
    ).digest()


def decode_plainly(
    source: Path | BinaryIO, *, most: int | None = None, wanted: Collection[int] | None = None, hold: bool = False
) -> PlainVideo:
    """Decode a video from its first packet to its last, or until `most` frames; pictures of all or `wanted` frames.

    What cannot be decoded is left out and noted. Threads are not used: they lose more frames around damage.

    Args:
        source: the video.
        most: stop after so many frames.
        wanted: the numbers of the frames whose pictures are digested; None: of all.
        hold: keep all frames in memory to the end. A decoder that cannot decode a part of a picture may leave there
            what its memory held before: an older frame. While all are held it gets fresh memory for each, so that
            pictures that come out otherwise than without `hold` are those that the file alone does not determine.
    """
    nothing = PlainVideo(Fraction(0), None, 0, (), None)
    file = f"file:{source}" if isinstance(source, Path) else source
    try:
        container = av.open(file, metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError:
        return nothing
    with container:
        videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not videos or videos[0].codec_context is None:
            return nothing
        stream, aspect = videos[0], videos[0].sample_aspect_ratio
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        walk = _Walk(container, stream)
        frames, shape, matrix = [], None, None
        held: list[av.VideoFrame] = []
        for number, frame in enumerate(itertools.islice(walk.frames(), most)):
            matrix = matrix or display_matrix(frame)
            if hold:
                held.append(frame)
            try:
                picture = upright(frame, aspect, matrix) if wanted is None or number in wanted else None
            except av.FFmpegError:  # damage named a colour space that nothing converts
                walk.damaged_at, picture = number if walk.damaged_at is None else min(walk.damaged_at, number), None
            shape = shape or (None if picture is None else picture.shape[:2])
            frames.append((b"" if picture is None else digest(picture), frame.pts, frame.dts))
        tick, rate = stream.time_base or Fraction(0), stream.average_rate or stream.guessed_rate
        return PlainVideo(tick, rate, walk.num_packets, tuple(frames), walk.damaged_at, walk.num_corrupt, shape)


class _Walk:
    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self._container, self._stream = container, stream
        self.num_packets, self.num_frames, self.num_corrupt = 0, 0, 0
        self.damaged_at: int | None = None

    def frames(self) -> Iterator[av.VideoFrame]:
        packets = self._packets()
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                self.num_packets += packet.size > 0
                found = self._stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                if self.damaged_at is None:
                    self.damaged_at = self.num_frames
                continue
            self.num_frames += len(found)
            self.num_corrupt += sum(frame.is_corrupt for frame in found)
            yield from found

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        # A track that a broadcast, good or damaged, begins later makes PyAV stumble once it has given everything, the
        # empty packet at the end of this track included.
        with contextlib.suppress(IndexError):
            yield from self._container.demux(self._stream)


def upright(frame: av.VideoFrame, aspect: Fraction | None, turn: Sequence[int]) -> np.ndarray:
    """A decoded frame as (H, W, 3) RGB as it is to be seen: square pixels, then the display matrix, pixel by pixel."""
    if not aspect or abs(aspect - 1) <= SQUARE_ENOUGH:
        aspect = Fraction(1)
    width = int(frame.width * aspect + Fraction(1, 2))
    matrix = MATRICES.get(int(frame.colorspace), 1 if frame.height >= 720 else 5)
    rgb = frame.reformat(width=width, format="rgb24", src_colorspace=None if frame.format.is_rgb else matrix)
    return place(rgb.to_ndarray(), turn)


def display_matrix(frame: av.VideoFrame) -> Sequence[int]:
    """The frame's display matrix (a, b, c, d), scaled to -1, 0 and 1; the identity if it has none."""
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(bytes(side), dtype=np.int32)[:5].astype(float).tolist()
            size = math.hypot(a, b) * math.hypot(c, d)
            if size > 0 and abs(a * c + b * d) <= SKEWED * size:  # else it is no rotation: nobody can have meant it
                return [round(value) for value in (*_unit(a, b), *_unit(c, d))]
    return [1, 0, 0, 1]


def _unit(x: float, y: float) -> tuple[float, float]:
    return x / math.hypot(x, y), y / math.hypot(x, y)


def place(image: np.ndarray, matrix: Sequence[int]) -> np.ndarray:
    """Move every pixel from (x, y) to (a x + c y, b x + d y), as ISO/IEC 14496-12 defines the display matrix."""
    a, b, c, d = matrix
    if abs(a * d - b * c) != 1 or (a, b, c, d) == (1, 0, 0, 1):
        return image
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    across, down = (a * x, d * y) if a else (c * y, b * x)
    across, down = across - across.min(), down - down.min()
    placed = np.empty((int(down.max()) + 1, int(across.max()) + 1, 3), image.dtype)
    placed[down, across] = image
    return placed
