"""The index of an MP4 or MOV file comes in; the place, size and times of every sample of a track go out.

FFmpeg tells a packet's presentation time only once it has read the packet, so that to number the frames of a file with
its help the whole file must be read. The index (the moov box) says it all in a thousandth of the bytes. Source: ISO/IEC
14496-12, sections 8.4 to 8.8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewframes.video.storage import RangeFile

__all__ = ["Edit", "SampleTable", "find_index", "read_sample_tables"]

_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"})
# What a file of this family can begin with.
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid"})
_MAX_TOP_BOXES = 256
_MAX_INDEX_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Edit:
    """One line of an edit list: `start` in ticks of the track (-1: nothing is shown), `duration` in seconds, speed."""

    start: int
    duration_seconds: float
    speed: float


@dataclass(frozen=True)
class SampleTable:
    """All samples of one track, in decoding order; a sample becomes a packet.

    Attributes:
        track_id: the track's number in the file.
        timescale: ticks a second.
        dts: (N,) int64, decoding times in ticks, before any edit.
        offsets: (N,) int64, presentation minus decoding time in ticks.
        durations: (N,) int64 ticks.
        is_key: (N,) bool.
        positions: (N,) int64, where in the file each begins.
        sizes: (N,) int64 bytes.
        edits: the edit list; empty if there is none.
        num_descriptions: how many different codec headers the samples refer to.
        claimed_size: width and height of a picture as the first of these says.
    """

    track_id: int
    timescale: int
    dts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    durations: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    positions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    edits: tuple[Edit, ...]
    num_descriptions: int
    claimed_size: tuple[int, int]

    @property
    def shows_every_sample(self) -> bool:
        """Whether the edit list, if any, hides no sample and shows none twice."""
        shown = [edit for edit in self.edits if edit.start >= 0]
        if not shown:
            return not self.edits
        if len(shown) > 1 or shown[0] is not self.edits[-1] or shown[0].speed != 1.0:
            return False
        pts = self.dts + self.offsets
        end = shown[0].start + shown[0].duration_seconds * self.timescale
        # A movie's clock is coarser than a track's: the end may have been rounded by a tick of it, a thousandth.
        return bool(shown[0].start <= pts.min() and pts.max() + self.timescale / 500 < end)


def find_index(file: RangeFile) -> bytes | None:
    """The content of the moov box, which the file keeps for later readers; None if this is no such file.

    Boxes are hopped over by their sizes, so that only headers and the index are read.

    Raises:
        OSError: reading failed.
    """
    at, size_of_file = 0, file.source.size
    for _ in range(_MAX_TOP_BOXES):
        header = file.peek(at, 16)
        if len(header) < 8:
            return None
        size, kind = struct.unpack(">I4s", header[:8])
        skip = 8
        if size == 1 and len(header) == 16:
            size, skip = struct.unpack(">Q", header[8:])[0], 16
        elif size == 0:
            size = size_of_file - at
        if size < skip or at + size > size_of_file or (at == 0 and kind not in _FIRST_BOXES):
            return None
        if kind == b"moov":
            return file.pin(at, at + size)[skip:] if size <= _MAX_INDEX_BYTES else None
        at += size
    return None


def read_sample_tables(index: bytes) -> list[SampleTable]:
    """The tables of all video tracks; empty for a fragmented file, whose samples are not listed in its index.

    Raises:
        ValueError: the index is damaged.
    """
    try:
        boxes = list(_boxes(memoryview(index)))
        if any(kind == b"mvex" for kind, _ in boxes):
            return []
        movie_scale = next((_timescale(body) for kind, body in boxes if kind == b"mvhd"), 0)
        tables = [_track(body, movie_scale) for kind, body in boxes if kind == b"trak"]
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"the index ends early or contradicts itself: {error}") from error
    return [table for table in tables if table is not None]


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        skip = 8
        if size == 1:
            (size,), skip = struct.unpack_from(">Q", data, at + 8), 16
        elif size == 0:
            size = len(data) - at
        if size < skip or at + size > len(data):
            raise ValueError(f"box {kind!r} of {size} bytes in {len(data) - at}")
        yield kind, data[at + skip : at + size]
        at += size


def _leaves(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    for kind, body in _boxes(data):
        if kind in _CONTAINERS:
            yield from _leaves(body)
        else:
            yield kind, body


def _track(data: memoryview, movie_scale: int) -> SampleTable | None:
    found: dict[bytes, memoryview] = {}
    for kind, body in _leaves(data):
        if kind == b"hdlr" and b"hdlr" in found:
            continue  # a MOV file has a second one, for its data
        found[kind] = body
    if b"hdlr" not in found or bytes(found[b"hdlr"][8:12]) != b"vide":
        return None
    if not {b"tkhd", b"mdhd", b"stts", b"stsc", b"stsd"} <= found.keys():
        return None
    sizes = _sizes(found)
    count = len(sizes)
    durations = _runs(found[b"stts"], count, "durations")
    offsets = _runs(found[b"ctts"], count, "offsets") if b"ctts" in found else np.zeros(count, np.int64)
    is_key = np.ones(count, bool)
    if b"stss" in found:
        keys = _numbers(found[b"stss"][8:], ">u4", *struct.unpack_from(">I", found[b"stss"], 4))
        is_key[:] = False
        is_key[keys[(keys >= 1) & (keys <= count)] - 1] = True
    if (durations < 0).any():
        raise ValueError("a sample's duration is negative")
    version = found[b"tkhd"][0]
    return SampleTable(
        track_id=struct.unpack_from(">I", found[b"tkhd"], 20 if version == 1 else 12)[0],
        timescale=_timescale(found[b"mdhd"]),
        dts=np.concatenate([np.zeros(min(count, 1), np.int64), np.cumsum(durations[:-1], dtype=np.int64)]),
        offsets=offsets,
        durations=durations,
        is_key=is_key,
        positions=_positions(found, sizes),
        sizes=sizes,
        edits=_edits(found[b"elst"], movie_scale) if b"elst" in found else (),
        num_descriptions=struct.unpack_from(">I", found[b"stsd"], 4)[0],
        claimed_size=struct.unpack_from(">HH", found[b"stsd"], 40) if len(found[b"stsd"]) >= 44 else (0, 0),
    )


def _timescale(body: memoryview) -> int:
    scale: int = struct.unpack_from(">I", body, 20 if body[0] == 1 else 12)[0]
    if scale == 0:
        raise ValueError("a clock without ticks")
    return scale


def _numbers(data: memoryview, kind: str, count: int) -> NDArray[np.int64]:
    """`count` numbers from the start of `data`. Raises ValueError if it holds fewer."""
    if count * np.dtype(kind).itemsize > len(data):
        raise ValueError(f"a table of {count} numbers in {len(data)} bytes")
    return np.frombuffer(data, kind, count).astype(np.int64)


def _sizes(found: dict[bytes, memoryview]) -> NDArray[np.int64]:
    if b"stsz" not in found:
        raise ValueError("no table of sample sizes")
    uniform, count = struct.unpack_from(">II", found[b"stsz"], 4)
    if uniform == 0:
        return _numbers(found[b"stsz"][12:], ">u4", count)
    listed = int(_numbers(found[b"stts"][8:], ">u4", 2 * struct.unpack_from(">I", found[b"stts"], 4)[0])[::2].sum())
    if listed != count:
        raise ValueError(f"{count} samples of {uniform} bytes, but {listed} have a time")
    return np.full(count, uniform, np.int64)


def _runs(body: memoryview, count: int, what: str) -> NDArray[np.int64]:
    """A table of (how many samples, value), as one value for each of `count` samples."""
    pairs = _numbers(body[8:], ">i4", 2 * struct.unpack_from(">I", body, 4)[0])
    repeats, values = pairs[::2], pairs[1::2]
    if (repeats < 0).any() or int(repeats.sum()) != count:
        raise ValueError(f"{what} of {int(repeats.sum())} samples, but there are {count}")
    return np.repeat(values, repeats)


def _positions(found: dict[bytes, memoryview], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each sample begins: chunks say where they are, runs of chunks how many samples each has."""
    wide = b"co64" in found
    table = found[b"co64"] if wide else found.get(b"stco", memoryview(b""))
    chunks = _numbers(table[8:], ">i8" if wide else ">u4", struct.unpack_from(">I", table, 4)[0])
    runs = _numbers(found[b"stsc"][8:], ">u4", 3 * struct.unpack_from(">I", found[b"stsc"], 4)[0]).reshape(-1, 3)
    firsts = np.append(runs[:, 0], len(chunks) + 1)
    if len(runs) == 0 or runs[0, 0] != 1 or (np.diff(firsts) < 0).any() or int(runs[:, 1].max()) > len(sizes):
        raise ValueError("the runs of chunks are out of order")
    per_chunk = np.repeat(runs[:, 1], np.diff(firsts))
    if int(per_chunk.sum()) != len(sizes):
        raise ValueError(f"chunks hold {int(per_chunk.sum())} samples, but there are {len(sizes)}")
    before = np.cumsum(sizes) - sizes  # bytes of all samples before each
    first_of_chunk = np.cumsum(per_chunk) - per_chunk
    filled = per_chunk > 0
    start = np.zeros(len(chunks), np.int64)
    start[filled] = chunks[filled] - before[first_of_chunk[filled]]
    return np.repeat(start, per_chunk) + before


def _edits(body: memoryview, movie_scale: int) -> tuple[Edit, ...]:
    if movie_scale == 0:
        raise ValueError("an edit list without the movie's clock")
    layout = ">Qqhh" if body[0] == 1 else ">Iihh"
    (count,), size = struct.unpack_from(">I", body, 4), struct.calcsize(layout)
    if 8 + count * size > len(body):
        raise ValueError(f"an edit list of {count} lines in {len(body)} bytes")
    lines = (struct.unpack_from(layout, body, 8 + number * size) for number in range(count))
    return tuple(
        Edit(start, duration / movie_scale, whole + fraction / 65536) for duration, start, whole, fraction in lines
    )
