"""Comes in: a `Source` and frame numbers. Goes out: those frames as uint8 RGB, decoded by PyAV (FFmpeg), exactly."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from fewframes.errors import UnreadableVideo
from fewframes.records import VideoInfo
from fewframes.video.bitstream import has_h264_lengths, is_h264_dead_end, shows_frame
from fewframes.video.picture_pyav import PictureWriter
from fewframes.video.source import Source
from fewframes.video.timeline import (
    PacketRecord,
    TickedFrame,
    Timeline,
    timeline_from_frames,
    timeline_from_packets,
)

__all__ = ["PyavBackend"]

# In these containers one packet is one frame of these codecs, except where `shows_frame` and the timeline object.
_MP4, _MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
_TELLING_FORMATS = (_MP4, _MATROSKA)
_TELLING_CODECS = frozenset({"av1", "ffv1", "h264", "hevc", "mjpeg", "prores", "vp8", "vp9", "vvc"})
_PROGRESSIVE = (0, 1)  # FFmpeg's field orders "unknown" and "progressive"

# Packets of videos up to this size stay in memory, so that going back costs no reading.
_MAX_HELD_BYTES = 256 * 1024 * 1024
# Frames that had to be decoded only to count them stay too, up to this size, so that none is decoded twice.
_MAX_KEPT_BYTES = 64 * 1024 * 1024

_REMEDY = "download it again or re-encode it"
_ENCRYPTED = "the video is encrypted; decrypt it first"


class PyavBackend:
    """One open video and its decoder.

    Seeking never trusts the container's timestamps: packets are numbered in the order in which the file holds them,
    a jump starts the decoder at the packet of a keyframe, and every frame that comes out is checked against the
    frames that must come. Where that fails, all packets are decoded from the first on; where that fails too, the file
    is damaged.

    Args:
        source: what to open.
        max_pixels: refuse larger frames.

    Raises:
        UnreadableVideo: see `fewframes.video.reader.open_video`.
    """

    def __init__(self, source: Source, *, max_pixels: int) -> None:
        self._source, self._max_pixels = source, max_pixels
        self._container: InputContainer | None = None
        self._held: list[Packet[VideoStream]] | None = None  # all packets, unless they are too many
        self._reading: Iterator[Packet[VideoStream]] = iter(())  # else where reading has got to,
        self._read = 0  # and how many packets it has passed
        self._shortcuts = True  # whether packets may be left out: those before a keyframe, and those nothing needs
        self._counting = False  # whether frames are told apart by counting instead of by their times
        self._frames: Iterator[VideoFrame] | None = None  # what the decoder gives next
        self._fed = 0  # the packet it gets next
        self._origin = 0  # the packet it got first
        self._next = 0  # the frame that must come next
        self._settled = True  # whether a frame has come since the decoder was started
        self._latest: tuple[int, VideoFrame] | None = None  # the frame given last, and its number
        self._wanted, self._last_wanted = frozenset({0}), 0  # the frames that this reading is for
        self._left_out: set[int] = set()  # frames not decoded since the decoder was started, as nothing needs them
        self._kept: list[VideoFrame] = []  # all frames, if they had to be decoded to be counted and are not too many
        try:
            with self._typed_errors():
                self._stream = self._open()
                self._check_stream()
                self._tick = self._stream.time_base or Fraction(1, 90_000)
                records = self._list_packets()
                self._timeline, first = self._find_timeline(records)
                self._latest = (0, first)
                self._pictures = self._make_pictures(first)
        except BaseException:
            self.close()
            raise
        self.seconds: Sequence[float] = self._timeline.seconds
        height, width = self._pictures.shape
        self.info = VideoInfo(
            path=source.name,
            num_frames=len(self.seconds),
            fps=self._timeline.fps,
            duration_seconds=self._timeline.duration_seconds,
            width=width,
            height=height,
            codec=self._codec,
            variable_frame_rate=self._timeline.variable_frame_rate,
            rotation_degrees=self._pictures.orientation.rotation_degrees,
        )

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames at strictly ascending `indices`, all in range: (K, H, W, 3) uint8 RGB. Raises UnreadableVideo."""
        pixels = np.empty((len(indices), *self._pictures.shape, 3), dtype=np.uint8)
        self._wanted, self._last_wanted = frozenset(indices), max(indices, default=0)
        with self._typed_errors():
            for row, index in zip(pixels, indices, strict=True):
                self._pictures.write(self._kept[index] if self._kept else self._frame(index), row)
        return pixels

    def close(self) -> None:
        """Free the file and the decoder; may be called twice."""
        self._frames = self._latest = self._held = None
        self._kept = []
        if self._container is not None:
            self._container.close()
            self._container = None

    # Opening

    def _open(self) -> VideoStream:
        """Open the container anew; returns its first video stream that is not a cover picture."""
        target = self._source.target
        options = {"max_pixels": str(self._max_pixels)}
        if not isinstance(target, str):
            target.seek(0)
        if not isinstance(target, str) or target.startswith("file:"):
            options["protocol_whitelist"] = "file"  # a playlist must not make this process open addresses
        if self._container is not None:
            self._container.close()
        self._container = av.open(target, mode="r", options=options, metadata_errors="replace")
        videos = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos:
            kinds = " and ".join(sorted({s.type for s in self._container.streams}))
            raise self._unreadable(f"it has no video track, only {kinds or 'an empty header'}; name a video")
        for stream in self._container.streams:
            if stream is not videos[0]:
                stream.discard = Discard.all
        return videos[0]

    def _check_stream(self) -> None:
        context = self._stream.codec_context
        if context is None:
            raise self._unreadable(f"there is no decoder for its codec, or its header is damaged; {_REMEDY}")
        if context.codec_tag == "encv":
            raise self._unreadable(_ENCRYPTED)
        self._codec = context.codec.canonical_name
        self._check_size(context.width, context.height)
        self._set_up_decoder()

    def _set_up_decoder(self) -> None:
        context = self._stream.codec_context
        context.thread_count = 1
        context.thread_type = "NONE"
        context.options = {"max_pixels": str(self._max_pixels)}

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise self._unreadable(
                f"its frames are {width} x {height}, above the limit of {self._max_pixels} pixels; raise max_pixels"
            )

    def _list_packets(self) -> list[PacketRecord]:
        """Read all packets once, and keep them if they are not too many; raises if the file is cut short."""
        self._telling = (
            self._opened().format.name in _TELLING_FORMATS
            and self._codec in _TELLING_CODECS
            and self._stream.codec_context.field_order in _PROGRESSIVE
        )
        may_hide = self._codec in ("vp8", "vp9")
        records: list[PacketRecord] = []
        num_bytes, num_corrupt = 0, 0
        self._held = []
        for packet in self._demux():
            if not records and packet.has_sidedata("encryption_info"):
                raise self._unreadable(_ENCRYPTED)
            records.append(PacketRecord(packet.pts, packet.duration or 0, packet.is_keyframe, not packet.is_discard))
            num_bytes += packet.size
            num_corrupt += packet.is_corrupt
            if may_hide and not shows_frame(memoryview(packet), self._codec):
                self._telling = False
            if num_bytes > _MAX_HELD_BYTES:
                self._held = None
            if self._held is not None:
                self._held.append(packet)
        self._read = len(records)
        self._check_not_cut(records, num_corrupt)
        if not records:
            raise self._unreadable(f"its video track holds no frame; {_REMEDY}")
        return records

    def _check_not_cut(self, records: Sequence[PacketRecord], num_corrupt: int) -> None:
        """Raise if the container promises more than the file holds; two signs must agree, as each alone can mislead."""
        container, stream, missing = self._opened(), self._stream, self._source.missing_bytes
        times = [record.pts for record in records if record.pts is not None]
        held = (max(times) - min(times) + records[-1].duration) * self._tick if times else Fraction(0)
        stated = stream.duration * self._tick if stream.duration else Fraction(container.duration or 0, av.time_base)
        if container.format.name == _MP4:
            index = list(stream.index_entries) if len(stream.index_entries) > len(records) else []
            beyond = any(entry.pos + entry.size > container.size for entry in index)
            cut, total = beyond or (bool(index) and num_corrupt > 0), sum(not entry.is_discard for entry in index)
        elif missing and container.format.name == _MATROSKA:
            cut, total = not stated or held * (1 + Fraction(3, 2 * max(1, len(records)))) < stated, 0
        else:
            cut, total = missing > 0 and stream.frames > len(records), stream.frames
        if cut:
            left = max(0, sum(record.is_shown for record in records) - num_corrupt)
            of_total = f" of {total}" if total else ""
            of_stated = f" of {float(stated):.1f} s" if stated else ""
            raise self._unreadable(
                f"decodes only up to frame {left}{of_total} ({float(held):.1f} s{of_stated}), "
                f"the file is cut short; {_REMEDY}"
            )

    def _find_timeline(self, records: Sequence[PacketRecord]) -> tuple[Timeline, VideoFrame]:
        """The frames that the video shows, and the first of them."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        promised = timeline_from_packets(records, self._tick, rate) if self._telling else None
        if promised is not None:
            self._timeline = promised
            with contextlib.suppress(UnreadableVideo):
                return promised, self._frame(0)
        self._counting = True
        self._restart(0)
        frames, first, num_bytes, kept = [], None, 0, []
        try:
            for frame in self._frames or ():
                frames.append(TickedFrame(frame.pts, frame.dts, frame.duration))
                first = first or frame
                num_bytes += sum(plane.buffer_size for plane in frame.planes)
                if num_bytes <= _MAX_KEPT_BYTES:
                    kept.append(frame)
        except av.FFmpegError as error:
            if first is not None:
                reason = f"decodes only up to frame {len(frames)}, the file is damaged there; {_REMEDY}"
                raise self._unreadable(reason) from error
        if first is None:
            raise self._unreadable(f"not one of its {len(records)} frames can be decoded; {_REMEDY}")
        self._frames = None
        self._kept = kept if len(kept) == len(frames) else []
        return timeline_from_frames(frames, self._tick, rate), first

    def _make_pictures(self, first: VideoFrame) -> PictureWriter:
        try:
            pictures = PictureWriter(first, self._stream.sample_aspect_ratio)
        except ValueError as error:
            raise self._unreadable(f"it is to be shown {error}; re-encode it upright") from error
        height, width = pictures.shape
        self._check_size(width, height)
        return pictures

    # Decoding

    def _frame(self, target: int) -> VideoFrame:
        """Decode up to frame `target`, from where the decoder is or from a keyframe, whichever is nearer."""
        if self._latest is not None and self._latest[0] == target:
            return self._latest[1]
        start = self._timeline.starts[target] if self._shortcuts else 0
        if self._frames is None or target < self._next or start > self._fed:
            self._restart(start)
        try:
            for frame in self._frames or ():
                number = self._next if self._counting else self._timeline.number_of.get(frame.pts, -1)
                if 0 <= number < self._next and not self._settled:
                    continue  # precedes the keyframe in presentation: may not be whole, and is not wanted
                while self._next < number and self._next in self._left_out:
                    self._next += 1
                if number != self._next or (self._origin > 0 and frame.is_corrupt):
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
            f"{self._timeline.duration_seconds:.1f} s), the file is damaged there; {_REMEDY}"
        )

    def _restart(self, start: int) -> None:
        """Make the decoder ready to be fed from packet `start` on."""
        self._frames = self._latest = None
        if self._held is None and start < self._read:
            self._stream = self._open()
            self._set_up_decoder()
            self._reading, self._read = self._demux(), 0
        else:
            self._stream.codec_context.flush_buffers()
        self._origin = self._fed = start
        self._next = self._timeline.starts.index(start) if start else 0
        self._settled = start == 0
        self._left_out.clear()
        self._frames = self._decode()

    def _decode(self) -> Iterator[VideoFrame]:
        """All frames from packet `self._fed` on, in the order in which the decoder gives them."""
        context = self._stream.codec_context
        leave_out = self._shortcuts and not self._counting and self._codec == "h264"
        leave_out = leave_out and has_h264_lengths(context.extradata)
        given = False
        for packet in self._packets_from(self._fed):
            self._fed += 1
            if leave_out and self._is_unneeded(packet):
                continue
            try:
                frames = context.decode(packet)
            except av.FFmpegError:
                # A broadcast that is recorded from mid-stream on is shown from its first whole frame.
                if self._counting and not given and self._opened().format.name not in _TELLING_FORMATS:
                    continue
                raise
            given = given or bool(frames)
            yield from frames
        yield from context.decode(None)

    def _is_unneeded(self, packet: Packet[VideoStream]) -> bool:
        """Whether a packet's frame is neither asked for nor referred to by another one, so that it need not be decoded.

        Frames after the last one asked for are decoded, as the next call may go on there.
        """
        number = self._timeline.number_of.get(packet.pts, -1)
        if not 0 <= number < self._last_wanted or number in self._wanted or not is_h264_dead_end(memoryview(packet)):
            return False
        self._left_out.add(number)
        return True

    def _packets_from(self, start: int) -> Iterator[Packet[VideoStream]]:
        if self._held is not None:
            yield from itertools.islice(self._held, start, None)
            return
        for packet in self._reading:
            self._read += 1
            if self._read > start:
                yield packet

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        """The video's packets in file order, without the empty ones, which a decoder takes for the end."""
        return (packet for packet in self._opened().demux(self._stream) if packet.size)

    # Errors

    def _opened(self) -> InputContainer:
        assert self._container is not None, "VideoReader asks only an open backend"
        return self._container

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
    if isinstance(error, av.InvalidDataError | av.EOFError):
        if b"encv" in header:
            return _ENCRYPTED
        if header[4:8] == b"ftyp":
            return f"its index (moov box) is missing or damaged, the file was probably cut short; {_REMEDY}"
        return f"it is not a video file, or its beginning is damaged; name a video, or {_REMEDY}"
    return str(getattr(error, "strerror", None) or error)
