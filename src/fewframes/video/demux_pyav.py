"""A `Source` comes in; its video track's compressed packets go out, by number, from anywhere in the file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from fewframes.errors import UnreadableVideo
from fewframes.records import Limits
from fewframes.video.bitstream import shows_frame
from fewframes.video.mp4 import SampleTable, find_index, read_sample_tables
from fewframes.video.packet_index import PacketIndex, join_tables
from fewframes.video.source import Source
from fewframes.video.storage import RangeFile
from fewframes.video.timeline import NO_TIME, PacketTable

__all__ = ["REMEDY", "TELLING_FORMATS", "Demuxer", "IndexDisagrees"]

_MP4, _MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
# In these containers one packet is one frame of these codecs, except where `shows_frame` and the timeline object.
TELLING_FORMATS = (_MP4, _MATROSKA)
_TELLING_CODECS = frozenset({"av1", "ffv1", "h264", "hevc", "mjpeg", "prores", "vp8", "vp9", "vvc"})
_MAY_HIDE = ("vp8", "vp9")  # some of their packets show nothing, which only their content tells
_PROGRESSIVE = (0, 1)  # FFmpeg's field orders "unknown" and "progressive"

# Packets of videos up to this size stay in memory, so that going back costs no reading.
_MAX_HELD_BYTES = 256 * 1024 * 1024
# Planned reads are fetched ahead up to this size; more are read as they come.
_MAX_FETCHED_BYTES = 32 * 1024 * 1024
# Packets this near to each other are fetched together with what lies between them, such as sound.
_NEAR_BYTES = 32 * 1024

REMEDY = "download it again or re-encode it"
_ENCRYPTED = "the video is encrypted; decrypt it first"


class IndexDisagrees(Exception):
    """A packet is not what the file's own index says of it."""


class Demuxer:
    """The packets of a file's first video track that is not a cover picture.

    They are numbered in the order in which the file holds them. For an MP4 or MOV file whose index lists its samples
    they are found there, and only those asked for are read; otherwise all are read once at opening, and kept if they
    are not too many.

    Args:
        source: what to open.
        limits: refuse what asks for more.

    Attributes:
        stream: the track; anew after each jump back in a file that is read from its start.
        codec: FFmpeg's name of it.
        tick: the track's clock, seconds.
        telling: whether each packet is one frame.
        packets: what the container says of them.

    Raises:
        UnreadableVideo: there is no such track, it is cut short, encrypted, or larger than the limits.
        av.FFmpegError, OSError: FFmpeg cannot open it.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._bytes = source.open()
        self._container: InputContainer | None = None
        self._retired: list[InputContainer] = []  # to which packets belong that are kept
        self._index: PacketIndex | None = None
        self._held: list[Packet[VideoStream]] | None = None
        self._reading: Iterator[Packet[VideoStream]] = iter(())
        self._read = 0  # the number of the packet that is read next
        try:
            tables = self._sample_tables()
            self.stream = self._open()
            self._check_stream()
            self.codec = self.stream.codec_context.codec.canonical_name
            self.tick = self.stream.time_base or Fraction(1, 90_000)
            self.telling = (
                self.format_name in TELLING_FORMATS
                and self.codec in _TELLING_CODECS
                and self.stream.codec_context.field_order in _PROGRESSIVE
            )
            found = self._find_packets(tables)
            self.packets = found if found is not None else self._list_packets()
        except BaseException:
            self.close()
            raise

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the container."""
        name: str = self._opened().format.name
        return name

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self._bytes.size

    @property
    def bytes_read(self) -> int:
        """How much of it was read so far."""
        return self._bytes.bytes_read

    @property
    def is_indexed(self) -> bool:
        """Whether only the packets asked for are read."""
        return self._index is not None

    def packets_from(self, start: int) -> Iterator[Packet[VideoStream]]:
        """The packets from number `start` on. Only the iterator that was asked for last may be used.

        Raises:
            IndexDisagrees: a packet is not what the file's index says; `list_all` helps.
            av.FFmpegError, OSError: reading failed.
        """
        if self._held is not None:
            yield from itertools.islice(self._held, start, None)
            return
        if self._index is not None:
            if start != self._read:
                self._jump(start)
            yield from self._indexed_from(self._index, start)
            return
        if start < self._read:
            self.stream = self._open()
            self._reading, self._read = self._demux(), 0
        while (packet := next(self._reading, None)) is not None:
            self._read += 1
            if self._read > start:
                yield packet

    def fetch(self, spans: Sequence[tuple[int, int]]) -> None:
        """Read the packets of these spans of numbers, each [first, last], at once, if that is worth while."""
        if self._index is None:
            return
        ranges: list[tuple[int, int]] = []
        for first, last in spans:
            begins = self._index.positions[first : last + 1]
            order = np.argsort(begins, kind="stable")
            ends = (begins + self._index.sizes[first : last + 1])[order]
            begins = begins[order]
            breaks = np.flatnonzero(begins[1:] - ends[:-1] > _NEAR_BYTES)
            ranges += zip(begins[np.append(0, breaks + 1)].tolist(), ends[np.append(breaks, -1)].tolist(), strict=True)
        if sum(stop - start for start, stop in ranges) <= _MAX_FETCHED_BYTES:
            self._file.fetch(ranges)

    def renew(self) -> None:
        """Open the file anew, with a new decoder; packets that are kept stay as they are."""
        if self._held is not None and self._container is not None:
            self._retired.append(self._container)
            self._container = None
        self.stream = self._open()
        self._read = 0
        self._reading = self._demux()

    def list_all(self) -> None:
        """Stop believing the file's index: read all packets, which gives `packets` anew."""
        self._index = None
        self.packets = self._list_packets()

    def close(self) -> None:
        """Free the file; may be called twice."""
        self._held = None
        self._reading = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None
        while self._retired:
            self._retired.pop().close()
        self._bytes.close()

    # Opening

    def _sample_tables(self) -> list[SampleTable] | None:
        """What the file's own index says, kept in memory for FFmpeg; None if it has none that can be understood."""
        self._file = RangeFile(self._bytes)
        index = find_index(self._file)
        if index is None:
            return None
        try:
            tables = read_sample_tables(index)
        except ValueError:
            return None  # FFmpeg may make something of it
        for table in tables:
            self._check_count(len(table.sizes))
            self._check_size(*table.claimed_size)
        return tables

    def _open(self) -> VideoStream:
        """Open the container anew; returns its first video stream that is not a cover picture."""
        self._reading = iter(())
        if self._container is not None:
            self._container.close()
        self._is_used = False  # whether packets have been read since
        self._file.seek(0)
        # A playlist must not make this process open addresses or other files.
        options = {"max_pixels": str(self._limits.max_pixels), "protocol_whitelist": "none"}
        file: object = self._file  # PyAV takes any object with read, seek and tell
        self._container = av.open(file, mode="r", options=options, metadata_errors="replace")
        videos = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos:
            kinds = " and ".join(sorted({s.type for s in self._container.streams}))
            raise self._unreadable(f"it has no video track, only {kinds or 'an empty header'}; name a video")
        for stream in self._container.streams:
            if stream is not videos[0]:
                stream.discard = Discard.all
        context = videos[0].codec_context
        if context is not None:
            context.thread_count = 1
            context.thread_type = "NONE"
            context.options = {"max_pixels": str(self._limits.max_pixels)}
        return videos[0]

    def _check_stream(self) -> None:
        context = self.stream.codec_context
        if context is None:
            raise self._unreadable(f"there is no decoder for its codec, or its header is damaged; {REMEDY}")
        if context.codec_tag == "encv":
            raise self._unreadable(_ENCRYPTED)
        self._check_size(context.width, context.height)

    def _find_packets(self, tables: list[SampleTable] | None) -> PacketTable | None:
        """The packets as the file's index lists them; None if it does not, or not in a way that FFmpeg confirms."""
        if not tables or not self.telling or self.codec in _MAY_HIDE or self.format_name != _MP4:
            return None
        table = next((each for each in tables if each.track_id == self.stream.id), None)
        if table is None or table.num_descriptions != 1 or len(table.sizes) == 0:
            return None
        if self.tick != Fraction(1, table.timescale):
            return None
        found = join_tables(table, self.stream)
        if found is None:
            return None
        packets, index = found
        self._check_index_not_cut(packets, index)
        reading = self._demux()
        first = next(reading, None)
        if first is None or first.pts is None or first.has_sidedata("encryption_info"):
            return None
        if first.pos != index.positions[0] or first.size != index.sizes[0]:
            return None
        shift = first.pts - int(packets.pts[0])
        self._index = index
        self._reading, self._read = itertools.chain((first,), reading), 0
        return PacketTable(packets.pts + shift, packets.durations, packets.is_key, packets.is_shown)

    def _list_packets(self) -> PacketTable:
        """Read all packets once, and keep them if they are not too many; raises if the file is cut short."""
        pts: list[int] = []
        durations: list[int] = []
        keys: list[bool] = []
        shown: list[bool] = []
        num_bytes, num_corrupt = 0, 0
        if self._is_used:
            self.stream = self._open()
        self._held = []
        for packet in self._demux():
            if not pts and packet.has_sidedata("encryption_info"):
                raise self._unreadable(_ENCRYPTED)
            pts.append(NO_TIME if packet.pts is None else packet.pts)
            durations.append(packet.duration or 0)
            keys.append(packet.is_keyframe)
            shown.append(not packet.is_discard)
            num_bytes += packet.size
            num_corrupt += packet.is_corrupt
            self._check_count(len(pts))
            if self.codec in _MAY_HIDE and not shows_frame(memoryview(packet), self.codec):
                self.telling = False
            if num_bytes > _MAX_HELD_BYTES:
                self._held = None
            if self._held is not None:
                self._held.append(packet)
        self._read = len(pts)
        table = PacketTable(
            np.array(pts, np.int64), np.array(durations, np.int64), np.array(keys, bool), np.array(shown, bool)
        )
        self._check_not_cut(table, num_corrupt)
        if not pts:
            raise self._unreadable(f"its video track holds no frame; {REMEDY}")
        return table

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._limits.max_pixels:
            raise self._unreadable(
                f"its frames are {width} x {height}, above the limit of {self._limits.max_pixels} pixels; "
                "raise max_pixels"
            )

    def _check_count(self, count: int) -> None:
        if count > self._limits.max_frames:
            raise self._unreadable(
                f"it claims {count} frames, above the limit of {self._limits.max_frames}; raise max_frames"
            )

    def _check_index_not_cut(self, packets: PacketTable, index: PacketIndex) -> None:
        whole = index.positions + index.sizes <= self._bytes.size
        if not whole.all():
            self._raise_cut(packets, first_missing=int(np.argmin(whole)), total=int(packets.is_shown.sum()))

    def _check_not_cut(self, packets: PacketTable, num_corrupt: int) -> None:
        """Raise if the container promises more than the file holds; two signs must agree, as each alone can mislead."""
        stream, missing = self.stream, self._source.missing_bytes
        held, stated = self._held_seconds(packets), self._stated_seconds()
        count = len(packets.pts)
        if self.format_name == _MP4:
            index = list(stream.index_entries) if len(stream.index_entries) > count else []
            beyond = any(entry.pos + entry.size > self._bytes.size for entry in index)
            cut, total = beyond or (bool(index) and num_corrupt > 0), sum(not entry.is_discard for entry in index)
        elif missing and self.format_name == _MATROSKA:
            cut, total = not stated or held * (1 + Fraction(3, 2 * max(1, count))) < stated, 0
        else:
            cut, total = missing > 0 and stream.frames > count, stream.frames
        if cut:
            self._raise_cut(packets, first_missing=count, total=total, num_corrupt=num_corrupt)

    def _raise_cut(self, packets: PacketTable, *, first_missing: int, total: int, num_corrupt: int = 0) -> None:
        left = max(0, int(packets.is_shown[:first_missing].sum()) - num_corrupt)
        kept = PacketTable(*(column[:first_missing] for column in vars(packets).values()))
        held, stated = self._held_seconds(kept), self._stated_seconds()
        of_total = f" of {total}" if total else ""
        of_stated = f" of {float(stated):.1f} s" if stated else ""
        raise self._unreadable(
            f"holds only {left}{of_total} frames ({float(held):.1f} s{of_stated}), the file is cut short; {REMEDY}"
        )

    def _held_seconds(self, packets: PacketTable) -> Fraction:
        times = packets.pts[packets.pts != NO_TIME]
        if len(times) == 0:
            return Fraction(0)
        return (int(times.max()) - int(times.min()) + int(packets.durations[-1])) * self.tick

    def _stated_seconds(self) -> Fraction:
        stream, container = self.stream, self._opened()
        return stream.duration * self.tick if stream.duration else Fraction(container.duration or 0, av.time_base)

    # Reading

    def _jump(self, start: int) -> None:
        """Let reading begin at packet `start` or a little before it."""
        self._opened().seek(int(self.packets.pts[start]), stream=self.stream, backward=True, any_frame=False)
        self._reading, self._read = self._demux(), -1

    def _indexed_from(self, index: PacketIndex, start: int) -> Iterator[Packet[VideoStream]]:
        # Asked for anew each time: FFmpeg crashes if one goes on reading what has been closed in the meantime.
        while (packet := next(self._reading, None)) is not None:
            number = self._read
            if number < 0 or packet.pos != index.positions[number]:
                number = index.number_at(packet.pos)
            expected = number == self._read or (self._read < 0 and 0 <= number <= start)
            if not expected or packet.pts != self.packets.pts[number] or packet.size != index.sizes[number]:
                self._read = -1
                raise IndexDisagrees
            self._read = number + 1 if number + 1 < len(index.positions) else -1
            if number >= start:
                yield packet
        self._read = -1

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        """The video's packets in file order, without the empty ones, which a decoder takes for the end."""
        self._is_used = True
        packets = self._opened().demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except IndexError:
                # PyAV counts the streams when it begins; one that a broadcast brings later makes it stumble at the end,
                # when all packets have been given.
                return
            if packet is None:
                return
            if packet.size:
                yield packet

    def _opened(self) -> InputContainer:
        assert self._container is not None, "VideoReader asks only an open backend"
        return self._container

    def _unreadable(self, reason: str) -> UnreadableVideo:
        return UnreadableVideo(self._source.name, reason)
