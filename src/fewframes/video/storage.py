"""A file, bytes or a file object comes in; counted reads of byte ranges go out, and a file that FFmpeg can read."""

from __future__ import annotations

import bisect
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

__all__ = [
    "Block",
    "ByteReader",
    "FileBytes",
    "LocalBytes",
    "MemoryBytes",
    "PartBytes",
    "Range",
    "RangeFile",
    "Traffic",
    "cut_out",
    "merged",
    "ranges_of",
    "uncovered",
]

Range = tuple[int, int]  # [start, stop)
Block = tuple[int, bytes | memoryview]  # where some bytes begin, and the bytes


@dataclass
class Traffic:
    """What crossed the wire.

    Attributes:
        requests: how many were sent, with redirects and repetitions.
        bytes_read: of content, also of answers that broke off.
    """

    requests: int = 0
    bytes_read: int = 0


class ByteReader(Protocol):
    """Random access to the bytes of one source, which counts what it fetches."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    @property
    def bytes_read(self) -> int:
        """How many bytes were fetched so far."""
        ...

    def read_range(self, start: int, stop: int) -> bytes:
        """The bytes of [start, stop), fewer at the end of the source. Raises OSError or UnreadableVideo."""
        ...

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Several ranges at once, which a remote source fetches side by side. Raises as `read_range`."""
        ...

    def close(self) -> None:
        """Free what is held open; may be called twice."""
        ...


class MemoryBytes:
    """A source that is in memory already. `bytes_read` counts what a decoder looked at."""

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self._content = memoryview(content).cast("B")
        self.size, self.bytes_read = len(self._content), 0

    def read_range(self, start: int, stop: int) -> bytes:
        """See `ByteReader`."""
        found = bytes(self._content[start:stop])
        self.bytes_read += len(found)
        return found

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """See `ByteReader`."""
        return [self.read_range(*each) for each in ranges]

    def close(self) -> None:
        """See `ByteReader`."""


class LocalBytes:
    """A regular file on disk.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | os.O_CLOEXEC)
        self.size, self.bytes_read = os.fstat(self._handle).st_size, 0

    def read_range(self, start: int, stop: int) -> bytes:
        """See `ByteReader`."""
        pieces: list[bytes] = []
        # One call gives at most 2 GiB, and on network disks now and then less than asked for.
        while start < stop and (piece := os.pread(self._handle, stop - start, start)):
            pieces.append(piece)
            start += len(piece)
            self.bytes_read += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """See `ByteReader`."""
        return [self.read_range(*each) for each in ranges]

    def close(self) -> None:
        """See `ByteReader`."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class FileBytes:
    """A seekable binary file object of the caller's, which stays open.

    Raises:
        OSError, ValueError: it cannot be read or sought in.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size, self.bytes_read = file.seek(0, io.SEEK_END), 0

    def read_range(self, start: int, stop: int) -> bytes:
        """See `ByteReader`."""
        self._file.seek(start)
        pieces: list[bytes] = []
        # An unbuffered file may give less than asked for.
        while start < stop and (piece := self._file.read(stop - start)):
            pieces.append(piece)
            start += len(piece)
            self.bytes_read += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """See `ByteReader`."""
        return [self.read_range(*each) for each in ranges]

    def close(self) -> None:
        """See `ByteReader`."""


class PartBytes:
    """A range of another source, such as a file in a tar file, as a source of its own.

    Args:
        whole: the other source; closed with this one.
        start: where the range begins in it.
        stop: where it ends, at most `whole.size`.
    """

    def __init__(self, whole: ByteReader, start: int, stop: int) -> None:
        self._whole, self._start = whole, start
        self._read_before = whole.bytes_read
        self.size = stop - start

    @property
    def bytes_read(self) -> int:
        """See `ByteReader`; what had been fetched of the other source before does not count."""
        return self._whole.bytes_read - self._read_before

    def read_range(self, start: int, stop: int) -> bytes:
        """See `ByteReader`."""
        return self._whole.read_range(*self._moved(start, stop))

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """See `ByteReader`."""
        return self._whole.read_ranges([self._moved(*each) for each in ranges])

    def close(self) -> None:
        """See `ByteReader`."""
        self._whole.close()

    def _moved(self, start: int, stop: int) -> Range:
        start = min(start, self.size)
        return self._start + start, self._start + max(start, min(stop, self.size))


class RangeFile:
    """A `ByteReader` as the file object that FFmpeg reads, with a store of ranges fetched beforehand.

    What lies in the store is given from there, so that it is fetched, and counted, once.

    Args:
        source: where the bytes come from; closed by its owner, not with this file.
    """

    def __init__(self, source: ByteReader) -> None:
        self.source = source
        self._at = 0
        self._pinned: list[Block] = []  # kept for good
        self._fetched: list[Block] = []  # kept until the next fetch
        self._blocks: list[Block] = []  # both, ascending; none overlaps another
        self._starts: list[int] = []

    def peek(self, start: int, size: int) -> bytes:
        """At most `size` bytes from `start` on, from the store if they lie there; does not move."""
        stop = min(start + size, self.source.size)
        content = cut_out(self._blocks, start, stop)
        return content + self.source.read_range(start + len(content), stop) if len(content) < stop - start else content

    def pin(self, start: int, stop: int) -> bytes:
        """Fetch [start, stop) and keep it for good."""
        content = cut_out([*self._blocks, *self._missing([(start, stop)])], start, stop)
        # What is pinned already is not kept twice.
        view = memoryview(content)
        new = uncovered([(start, start + len(content))], ranges_of(self._pinned))
        self._pinned += [(begin, view[begin - start : end - start]) for begin, end in new]
        self._set_fetched(self._fetched)
        return content

    def fetch(self, ranges: Sequence[Range]) -> None:
        """Fetch these ranges at once and keep them until the next call."""
        wanted = merged(ranges)
        new = self._missing(wanted)
        still: list[Block] = []
        for at, block in self._fetched:
            dropped = uncovered([(at, at + len(block))], wanted)
            kept = uncovered([(at, at + len(block))], dropped)
            still += [(start, bytes(block[start - at : stop - at])) for start, stop in kept]
        self._set_fetched([*still, *new])

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in [0, size] or beyond."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.source.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; fewer at the end, and where the store begins or ends."""
        stop = self.source.size if size is None or size < 0 else min(self._at + size, self.source.size)
        if stop <= self._at:
            return b""
        content = self._from_store(self._at, stop - self._at)
        if not content:
            content = self.source.read_range(self._at, self._next_start(self._at, stop))
        self._at += len(content)
        return content

    def _from_store(self, start: int, size: int) -> bytes:
        at = bisect.bisect_right(self._starts, start) - 1
        if at < 0:
            return b""
        inside = start - self._starts[at]
        return bytes(self._blocks[at][1][inside : inside + size])

    def _next_start(self, start: int, stop: int) -> int:
        """Where the store begins again behind `start`, at most `stop`."""
        at = bisect.bisect_right(self._starts, start)
        return min(stop, self._starts[at]) if at < len(self._starts) else stop

    def _missing(self, ranges: Sequence[Range]) -> list[Block]:
        """Fetch what the store lacks of these ranges, which ascend and do not overlap."""
        gaps = uncovered(ranges, ranges_of(self._blocks))
        contents = self.source.read_ranges(gaps) if gaps else []
        return [(start, content) for (start, _), content in zip(gaps, contents, strict=True)]

    def _set_fetched(self, fetched: list[Block]) -> None:
        held = ranges_of(self._pinned)
        self._fetched = [
            (start, block[start - at : stop - at])
            for at, block in fetched
            for start, stop in uncovered([(at, at + len(block))], held)
        ]
        self._blocks = sorted((*self._pinned, *self._fetched), key=lambda block: block[0])
        self._starts = [start for start, _ in self._blocks]


def ranges_of(blocks: Sequence[Block]) -> list[Range]:
    """Where blocks lie, ascending."""
    return sorted((at, at + len(block)) for at, block in blocks)


def merged(ranges: Sequence[Range], *, near: int = 0) -> list[Range]:
    """The same bytes as ascending ranges that neither touch nor overlap, and those at most `near` between them."""
    joined: list[Range] = []
    for start, stop in sorted(each for each in ranges if each[0] < each[1]):
        if joined and start <= joined[-1][1] + near:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def uncovered(ranges: Sequence[Range], covered: Sequence[Range]) -> list[Range]:
    """What `covered` leaves of each of `ranges`; both ascend, and neither overlaps itself."""
    starts, left = [start for start, _ in covered], []
    for begin, end in ranges:
        at = max(0, bisect.bisect_right(starts, begin) - 1)
        while begin < end and at < len(covered) and covered[at][0] < end:
            if covered[at][0] > begin:
                left.append((begin, covered[at][0]))
            begin = max(begin, covered[at][1])
            at += 1
        if begin < end:
            left.append((begin, end))
    return left


def cut_out(blocks: Sequence[Block], start: int, stop: int) -> bytes:
    """The bytes of [start, stop) from blocks that do not overlap, up to the first that is in none of them."""
    pieces: list[bytes | memoryview] = []
    for at, block in sorted(blocks, key=lambda block: block[0]):
        if at <= start < min(stop, at + len(block)):
            pieces.append(block[start - at : stop - at])
            start += len(pieces[-1])
    return b"".join(pieces)
