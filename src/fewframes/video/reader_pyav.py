"""Comes in: a `Source` and frame numbers. Goes out: those frames as uint8 RGB, decoded by PyAV (FFmpeg), exactly."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fewframes.errors import UnreadableVideo
from fewframes.records import DecodeOptions, VideoInfo
from fewframes.video.bitstream import has_h264_lengths, is_h264_dead_end
from fewframes.video.demux_pyav import REMEDY, TELLING_FORMATS, Demuxer, IndexDisagrees
from fewframes.video.picture_pyav import PictureWriter
from fewframes.video.source import Source
from fewframes.video.timeline import TickedFrame, Timeline, timeline_from_frames, timeline_from_packets

__all__ = ["PyavBackend"]

# Frames that had to be decoded only to count them stay in memory up to this size, so that none is decoded twice.
_MAX_KEPT_BYTES = 64 * 1024 * 1024
# A decoder gives a frame only after some more packets; this many are fetched with those that are known to be needed.
_REORDERED_PACKETS = 4


class PyavBackend:
    """One open video and its decoder.

    Seeking never trusts the container's timestamps: packets are numbered in the order in which the file holds them,
    a jump starts the decoder at the packet of a keyframe, and every frame that comes out is checked against the
    frames that must come. Where that fails, all packets are decoded from the first on; where that fails too, the file
    is damaged.

    Args:
        source: what to open.
        decode: how, and what it may ask of this machine.

    Raises:
        UnreadableVideo: see `fewframes.video.reader.open_video`.
    """

    def __init__(self, source: Source, decode: DecodeOptions) -> None:
        self._source, self._max_pixels = source, decode.limits.max_pixels
        self._demuxer: Demuxer | None = None
        self._shortcuts = True  # whether packets may be left out: those before a keyframe, and those nothing needs
        self._counting = False  # whether frames are told apart by counting instead of by their times
        self._frames: Iterator[VideoFrame] | None = None  # what the decoder gives next
        self._fed = 0  # the packet it gets next
        self._origin = 0  # the packet it got first
        self._next = 0  # the frame that must come next
        self._settled = True  # whether a frame has come since the decoder was started
        self._latest: tuple[int, VideoFrame] | None = None  # the frame given last, and its number
        self._wanted, self._last_wanted = frozenset({0}), 0  # the frames that this reading is for
        self._stop: int | None = None  # the last packet that the decoder gets before it is drained; None: no such
        self._left_out: set[int] = set()  # frames not decoded since the decoder was started, as nothing needs them
        self._kept: list[VideoFrame] = []  # all frames, if they had to be decoded to be counted and are not too many
        self.packets_decoded = 0
        try:
            with self._typed_errors():
                self._demuxer = Demuxer(source, decode.limits)
                self._timeline, first = self._find_timeline()
                self._latest = (0, first)
                self._pictures = self._make_pictures(first)
        except BaseException:
            self.close()
            raise
        self.seconds: NDArray[np.float64] = self._timeline.seconds
        self.key_frames: NDArray[np.int64] = self._timeline.key_frames
        height, width = self._pictures.shape
        self.info = VideoInfo(
            path=source.name,
            num_frames=len(self.seconds),
            fps=self._timeline.fps,
            duration_seconds=self._timeline.duration_seconds,
            width=width,
            height=height,
            codec=self._demuxer.codec,
            variable_frame_rate=self._timeline.variable_frame_rate,
            rotation_degrees=self._pictures.orientation.rotation_degrees,
            size_bytes=self._demuxer.size_bytes,
            bytes_read=self._demuxer.bytes_read,
            packets_decoded=self.packets_decoded,
            decoder="pyav",
        )

    @property
    def bytes_read(self) -> int:
        """How much of the file was read so far."""
        return 0 if self._demuxer is None else self._demuxer.bytes_read

    # For a decoder that asks this one which frames there are, and how they are to look.

    @property
    def timeline(self) -> Timeline:
        """The frames and their times."""
        return self._timeline

    @property
    def pictures(self) -> PictureWriter:
        """What makes RGB pixels of a frame."""
        return self._pictures

    @property
    def stream_index(self) -> int:
        """Which of the file's tracks is read."""
        return self._opened().stream.index

    def first_frame(self) -> VideoFrame:
        """The frame shown first, as the decoder gives it."""
        return self._frame(0)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames at strictly ascending `indices`, all in range: (K, H, W, 3) uint8 RGB. Raises UnreadableVideo."""
        pixels = np.empty((len(indices), *self._pictures.shape, 3), dtype=np.uint8)
        with self._typed_errors():
            try:
                self._read_into(pixels, indices)
            except IndexDisagrees:
                self._list_all_packets()
                self._read_into(pixels, indices)
        return pixels

    def close(self) -> None:
        """Free the file and the decoder; may be called twice."""
        self._frames = self._latest = None
        self._kept = []
        if self._demuxer is not None:
            self._demuxer.close()
            self._demuxer = None

    # Opening

    def _find_timeline(self) -> tuple[Timeline, VideoFrame]:
        """The frames that the video shows, and the first of them."""
        demuxer = self._opened()
        rate = demuxer.stream.average_rate or demuxer.stream.guessed_rate
        promised = timeline_from_packets(demuxer.packets, demuxer.tick, rate) if demuxer.telling else None
        if promised is not None:
            self._timeline = promised
            try:
                return promised, self._frame(0)
            except UnreadableVideo:
                pass
            except IndexDisagrees:
                demuxer.list_all()
                return self._find_timeline()
        if demuxer.is_indexed:
            demuxer.list_all()
        return self._count_frames()

    def _count_frames(self) -> tuple[Timeline, VideoFrame]:
        """Decode all frames to learn which there are."""
        demuxer = self._opened()
        rate = demuxer.stream.average_rate or demuxer.stream.guessed_rate
        self._counting = True
        self._restart(0)
        frames: list[TickedFrame] = []
        first, num_bytes, kept = None, 0, []
        try:
            for frame in self._frames or ():
                frames.append(TickedFrame(frame.pts, frame.dts, frame.duration, bool(frame.key_frame)))
                first = first or frame
                num_bytes += sum(plane.buffer_size for plane in frame.planes)
                if num_bytes <= _MAX_KEPT_BYTES:
                    kept.append(frame)
        except av.FFmpegError as error:
            if first is not None:
                reason = f"decodes only up to frame {len(frames)}, the file is damaged there; {REMEDY}"
                raise self._unreadable(reason) from error
        if first is None:
            raise self._unreadable(f"not one of its {len(demuxer.packets.pts)} frames can be decoded; {REMEDY}")
        self._frames = None
        self._kept = kept if len(kept) == len(frames) else []
        return timeline_from_frames(frames, demuxer.tick, rate), first

    def _make_pictures(self, first: VideoFrame) -> PictureWriter:
        try:
            pictures = PictureWriter(first, self._opened().stream.sample_aspect_ratio)
        except ValueError as error:
            raise self._unreadable(f"it is to be shown {error}; re-encode it upright") from error
        height, width = pictures.shape
        if width * height > self._max_pixels:
            raise self._unreadable(
                f"its frames are {width} x {height}, above the limit of {self._max_pixels} pixels; raise max_pixels"
            )
        return pictures

    def _list_all_packets(self) -> None:
        """Go on without the file's index, which has proved wrong somewhere; the frames must stay the same."""
        demuxer, before = self._opened(), self._timeline
        demuxer.list_all()
        self._frames = self._latest = None
        timeline, _ = self._find_timeline()
        if not np.array_equal(before.seconds, timeline.seconds):
            raise self._unreadable(f"its packets are not where its index says; {REMEDY}")
        self._timeline = timeline

    # Decoding

    def _read_into(self, pixels: np.ndarray, indices: Sequence[int]) -> None:
        self._wanted, self._last_wanted = frozenset(indices), max(indices, default=0)
        if self._kept or not indices:
            for row, index in zip(pixels, indices, strict=True):
                self._pictures.write(self._kept[index], row)
            return
        runs, had_shortcuts = self._runs(indices), self._shortcuts
        # What the decoder still holds is asked for at once if the next frame is best had from a later keyframe; and
        # also after the last run, because what comes out then may show that a frame given before was damaged. It is
        # left in the decoder where the next call will probably go on: after a stretch of frames without gaps.
        goes_on = len(runs) == 1 and indices[-1] - indices[0] == len(indices) - 1
        if had_shortcuts:
            latest = None if self._latest is None else [self._latest[0]]
            more = _REORDERED_PACKETS if goes_on else 0
            self._opened().fetch([(first, last + more) for run, first, last in runs if run != latest])
        rows = iter(pixels)
        for run, _, last in runs:
            self._stop = None if goes_on or not self._shortcuts else last
            for index in run:
                self._pictures.write(self._frame(index), next(rows))
            if self._stop is not None and self._shortcuts:
                self._shortcuts = self._ends_well()
                self._frames = None
        if had_shortcuts and not self._shortcuts:
            self._latest = None
            self._read_into(pixels, indices)

    def _runs(self, indices: Sequence[int]) -> list[tuple[list[int], int, int]]:
        """The frames in runs that are decoded without a jump: which frames, and the first and last packet needed."""
        if not self._shortcuts or len(self._timeline.packets) == 0:
            return [(list(indices), 0, len(self._opened().packets.pts) - 1)]
        runs: list[tuple[list[int], int, int]] = []
        for index in indices:
            start, packet = int(self._timeline.starts[index]), int(self._timeline.packets[index])
            if runs and start <= runs[-1][2]:
                run, first, last = runs[-1]
                runs[-1] = ([*run, index], first, max(last, packet))
            else:
                runs.append(([index], start, packet))
        run, first, last = runs[0]
        if self._frames is not None and first <= self._fed and self._next <= run[0]:
            runs[0] = (run, max(first, min(self._fed, last)), last)  # the decoder goes on from where it is
        return runs

    def _frame(self, target: int) -> VideoFrame:
        """Decode up to frame `target`, from where the decoder is or from a keyframe, whichever is nearer."""
        if self._latest is not None and self._latest[0] == target:
            return self._latest[1]
        start = int(self._timeline.starts[target]) if self._shortcuts else 0
        if self._frames is None or target < self._next or start > self._fed:
            self._restart(start)
        try:
            for frame in self._frames or ():
                number = self._next if self._counting else self._timeline.number_at(frame.pts)
                if 0 <= number < self._next and not self._settled:
                    continue  # precedes the keyframe in presentation: may not be whole, and is not wanted
                while self._next < number and self._is_left_out(self._next):
                    self._next += 1
                if number != self._next or (self._shortcuts and frame.is_corrupt and not self._counting):
                    break
                self._settled = True
                self._next += 1
                if number == target:
                    self._latest = (target, frame)
                    return frame
        except av.FFmpegError:
            pass
        self._frames = None
        if self._shortcuts:
            self._shortcuts = False
            return self._frame(target)
        time, total = self._timeline.seconds[self._next], len(self._timeline.seconds)
        raise self._unreadable(
            f"decodes only up to frame {self._next} of {total} ({time:.1f} s of "
            f"{self._timeline.duration_seconds:.1f} s), the file is damaged there; {REMEDY}"
        )

    def _ends_well(self) -> bool:
        """Whether the frames that are left in the decoder, which is drained, are undamaged."""
        try:
            return not any(frame.is_corrupt for frame in self._frames or ())
        except av.FFmpegError:
            return False

    def _restart(self, start: int) -> None:
        """Make the decoder ready to be fed from packet `start` on."""
        self._frames = self._latest = None
        if self._shortcuts:
            self._opened().stream.codec_context.flush_buffers()
        else:
            self._opened().renew()  # what damage leaves in a decoder outlives a flush
        self._origin = self._fed = start
        self._next = int(np.argmax(self._timeline.starts == start)) if start else 0
        self._settled = start == 0
        self._left_out.clear()
        self._frames = self._decode()

    def _decode(self) -> Iterator[VideoFrame]:
        """All frames from packet `self._fed` on, in the order in which the decoder gives them."""
        demuxer, given = self._opened(), False
        header = demuxer.stream.codec_context.extradata
        self._tells_dead_ends = demuxer.codec == "h264" and has_h264_lengths(header)
        packets = demuxer.packets_from(self._fed)
        while True:
            if self._shortcuts and self._stop is not None and self._fed > self._stop:
                break
            packet = next(packets, None)
            if packet is None:
                break
            self._fed += 1
            if self._is_unneeded(packet):
                continue
            self.packets_decoded += 1
            try:
                frames = demuxer.stream.codec_context.decode(packet)
            except av.FFmpegError:
                # A broadcast that is recorded from mid-stream on is shown from its first whole frame.
                if self._counting and not given and demuxer.format_name not in TELLING_FORMATS:
                    continue
                raise
            given = given or bool(frames)
            yield from frames
        yield from demuxer.stream.codec_context.decode(None)

    def _is_unneeded(self, packet: Packet[VideoStream]) -> bool:
        """Whether a packet's frame is neither asked for nor referred to by another one, so that it need not be decoded.

        Frames after the last one asked for are decoded, as the next call may go on there.
        """
        if not self._shortcuts or self._counting or not self._tells_dead_ends:
            return False
        if not is_h264_dead_end(memoryview(packet)):
            return False
        number = self._timeline.number_at(packet.pts)
        if not 0 <= number < self._last_wanted or number in self._wanted:
            return False
        self._left_out.add(number)
        return True

    def _is_left_out(self, number: int) -> bool:
        """Whether this frame does not come because its packet was not given to the decoder."""
        beyond = self._shortcuts and self._stop is not None and self._fed > self._stop
        return number in self._left_out or (beyond and self._timeline.packets[number] > self._stop)

    # Errors

    def _opened(self) -> Demuxer:
        assert self._demuxer is not None, "VideoReader asks only an open backend"
        return self._demuxer

    def _unreadable(self, reason: str) -> UnreadableVideo:
        return UnreadableVideo(self._source.name, reason)

    @contextlib.contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Nothing of FFmpeg's own errors gets out."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise self._unreadable(_reason(error, self._source.header)) from error


def _reason(error: Exception, header: bytes) -> str:
    """One line for an error that opening or reading raised."""
    # FFmpeg's own "input/output error" is a length that its parser could not believe; a disk's comes as Python's.
    damaged = isinstance(error, av.FFmpegError) and error.errno == errno.EIO
    if damaged or isinstance(error, av.InvalidDataError | av.EOFError):
        if b"encv" in header:
            return "the video is encrypted; decrypt it first"
        if header[4:8] == b"ftyp":
            return f"its index (moov box) is missing or damaged, the file was probably cut short; {REMEDY}"
        return f"it is not a video file, or its beginning is damaged; name a video, or {REMEDY}"
    return str(getattr(error, "strerror", None) or error)
