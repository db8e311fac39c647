"""Good files come in, or are made here; damaged copies of them go out, the same for the same seed."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.helpers.painted import write_painted

# One small file of every kind that the reader treats in its own way, and of every muxer that users meet.
MADE: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"count": 60, "gop": 20},
    "faststart.mp4": {"count": 60, "mux_options": {"movflags": "+faststart"}},
    "fragmented.mp4": {"count": 60, "mux_options": {"movflags": "frag_keyframe+empty_moov"}},
    "segments.mp4": {"count": 40, "mux_options": {"movflags": "frag_keyframe+dash+global_sidx"}},
    "negative_offsets.mp4": {"count": 40, "mux_options": {"movflags": "negative_cts_offsets"}},
    "open_groups.mp4": {"count": 60, "gop": 15, "codec_options": {"x264-params": "open-gop=1"}},
    "refreshed.mp4": {"count": 60, "gop": 30, "b_frames": 0, "codec_options": {"x264-params": "intra-refresh=1"}},
    "interlaced.mp4": {"count": 40, "codec_options": {"flags": "+ildct+ilme"}},
    "turned.mp4": {"count": 24, "clockwise": 90},
    "uneven.mp4": {"count": 30, "ticks": [number * 40 + number % 3 * 7 for number in range(30)]},
    "one_frame.mp4": {"count": 1},
    "hevc.mp4": {"count": 24, "codec": "libx265", "codec_options": {"x265-params": "log-level=none:pools=none"}},
    "av1.mp4": {"count": 24, "codec": "libsvtav1", "codec_options": {"preset": "12"}},
    "mpeg4.mp4": {"count": 40, "codec": "mpeg4"},
    "mjpeg.mov": {"count": 20, "format": "mov", "codec": "mjpeg", "b_frames": 0},
    "h264.mov": {"count": 40, "format": "mov"},
    "h264.3gp": {"count": 24, "format": "3gp"},
    "h264.mkv": {"count": 60, "format": "matroska"},
    "live.mkv": {"count": 30, "format": "matroska", "mux_options": {"live": "1"}},
    "ffv1.mkv": {"count": 20, "format": "matroska", "codec": "ffv1"},
    "vp9.webm": {"count": 30, "format": "webm", "codec": "libvpx-vp9", "codec_options": {"cpu-used": "8"}},
    "vp8.webm": {"count": 30, "format": "webm", "codec": "libvpx", "codec_options": {"auto-alt-ref": "1"}},
    "h264.ts": {"count": 40, "format": "mpegts"},
    "mpeg2.ts": {"count": 40, "format": "mpegts", "codec": "mpeg2video"},
    "mpeg1.mpg": {"count": 40, "format": "mpeg", "codec": "mpeg1video"},
    "mpeg4.avi": {"count": 40, "format": "avi", "codec": "mpeg4"},
    "mjpeg.avi": {"count": 20, "format": "avi", "codec": "mjpeg", "b_frames": 0},
    "h264.flv": {"count": 40, "format": "flv"},
    "wmv2.asf": {"count": 40, "format": "asf", "codec": "wmv2", "b_frames": 0},
    "vp8.ogv": {"count": 30, "format": "ogg", "codec": "libvpx"},
    "mpeg2.mxf": {"count": 30, "format": "mxf", "codec": "mpeg2video"},
    "mpeg4.nut": {"count": 30, "format": "nut", "codec": "mpeg4"},
    "h264.h264": {"count": 30, "format": "h264"},
    "picture.gif": {"count": 12, "format": "gif", "codec": "gif"},
}


class Field(NamedTuple):
    """A part of a header: [start, stop) bytes, and what it is."""

    name: str
    start: int
    stop: int


def make(name: str) -> bytes:
    """The content of one of `MADE`."""
    options = dict(MADE[name])
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    with tempfile.TemporaryDirectory() as folder:  # FFmpeg moves an index to the front only in a real file
        path = Path(folder) / "made"
        write_painted(path, options.pop("count"), **options)
        return path.read_bytes()


def mutate(data: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A damaged copy, and what was done to it."""
    fields = header_fields(data)
    damaged, done = bytearray(data), []
    for _ in range(1 if rng.random() < 0.85 else 2):
        kind = list(KINDS)[int(rng.integers(len(KINDS)))]
        inside = [field for field in fields if field.stop <= len(damaged)]
        done.append(f"{kind}: {KINDS[kind](damaged, rng, inside)}" if damaged else "nothing left")
    return bytes(damaged), "; ".join(done)


def _place(size: int, rng: np.random.Generator, longest: int = 4096) -> tuple[int, int]:
    """A stretch of a file, its length spread evenly over powers of two."""
    length = min(size, int(2 ** rng.uniform(0, np.log2(longest))))
    at = int(rng.integers(size - length + 1))
    return at, at + length


def _flip_few(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    places = [int(rng.integers(len(data) * 8)) for _ in range(int(rng.integers(1, 9)))]
    for place in places:
        data[place // 8] ^= 1 << place % 8
    return f"bits {places}"


def _flip_many(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    share = 10 ** rng.uniform(-4, -1.5)
    count = max(1, int(len(data) * share))
    for place in rng.integers(len(data) * 8, size=count).tolist():
        data[place // 8] ^= 1 << place % 8
    return f"{count} bits"


def _flip_header(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    field = _any_field(data, rng, fields)
    place = int(rng.integers(field.start * 8, field.stop * 8))
    data[place // 8] ^= 1 << place % 8
    return f"bit {place % 8} of byte {place // 8} in {field.name}"


def _garble_header(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    field = _any_field(data, rng, fields)
    start, stop = _place(field.stop - field.start, rng, 64)
    start, stop = field.start + start, field.start + stop
    data[start:stop] = rng.bytes(stop - start)
    return f"[{start}, {stop}) in {field.name}"


def _number(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    """A size, count or time becomes one of those that programs trip over."""
    field = _any_field(data, rng, fields)
    width = min(int(rng.choice([1, 2, 4, 4, 4, 8])), field.stop - field.start)
    steps = (field.stop - field.start - width) // width + 1
    at = field.start + width * int(rng.integers(steps))
    top = 1 << 8 * width
    old = int.from_bytes(data[at : at + width], "big")
    values = [0, 1, top - 1, top // 2, top // 2 - 1, old + 1, old - 1, old * 2, int(rng.integers(256))]
    new = values[int(rng.integers(len(values)))] % top
    data[at : at + width] = new.to_bytes(width, "big")
    return f"{old} -> {new}, {width} bytes at {at} in {field.name}"


def _any_field(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> Field:
    """Each kind of field is as likely as any other, however often it comes."""
    names = sorted({field.name for field in fields})
    if not names:
        return Field("beginning", 0, min(len(data), 512))
    name = names[int(rng.integers(len(names)))]
    same = [field for field in fields if field.name == name]
    return same[int(rng.integers(len(same)))]


def _cut(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    near_end = rng.random() < 0.3
    at = len(data) - int(rng.integers(1, 200)) if near_end else int(rng.integers(len(data)))
    del data[max(1, at) :]
    return f"cut at {at}"


def _zeros(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    start, stop = _place(len(data), rng)
    data[start:stop] = bytes(stop - start)
    return f"[{start}, {stop})"


def _noise(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    start, stop = _place(len(data), rng)
    data[start:stop] = rng.bytes(stop - start)
    return f"[{start}, {stop})"


def _swap(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    start, stop = _place(len(data), rng)
    other = int(rng.integers(len(data) - (stop - start) + 1))
    one, two = bytes(data[start:stop]), bytes(data[other : other + stop - start])
    data[start:stop] = two
    data[other : other + stop - start] = one
    return f"[{start}, {stop}) with {other}"


def _double(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    start, stop = _place(len(data), rng)
    to = int(rng.integers(len(data) + 1))
    data[to:to] = data[start:stop]
    return f"[{start}, {stop}) again at {to}"


def _remove(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    start, stop = _place(len(data), rng)
    del data[start:stop]
    return f"[{start}, {stop})"


def _lengthen(data: bytearray, rng: np.random.Generator, fields: list[Field]) -> str:
    length = int(2 ** rng.uniform(0, 17))
    start = int(rng.integers(len(data)))
    tail = (rng.bytes(length), bytes(length), bytes(data[start : start + length]))[int(rng.integers(3))]
    data += tail
    return f"{len(tail)} bytes"


KINDS: dict[str, Callable[[bytearray, np.random.Generator, list[Field]], str]] = {
    "few bits flipped": _flip_few,
    "many bits flipped": _flip_many,
    "header bit flipped": _flip_header,
    "header garbled": _garble_header,
    "header number": _number,
    "header number again": _number,
    "cut": _cut,
    "zeroed": _zeros,
    "garbled": _noise,
    "swapped": _swap,
    "doubled": _double,
    "removed": _remove,
    "lengthened": _lengthen,
}


# Where the headers are


def header_fields(data: bytes) -> list[Field]:
    """The headers of a file by name: boxes, elements, chunks; its beginning and end where the format is another."""
    if data[4:8] in (b"ftyp", b"moov", b"wide", b"mdat", b"styp"):
        return list(_boxes(data, 0, len(data)))
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return list(_elements(data, 0, len(data)))
    if data[:4] == b"RIFF":
        return list(_chunks(data, 12, len(data)))
    if data[:1] == b"\x47" and data[188:189] == b"\x47":
        heads = [Field("packet", at, at + 24) for at in range(0, len(data) - 24, 188)]
        return [Field("tables", 0, 376), *heads]
    return [Field("beginning", 0, min(1024, len(data))), Field("end", max(0, len(data) - 1024), len(data))]


_PARENT_BOXES = frozenset(b"moov trak mdia minf stbl edts mvex moof traf dinf udta".split())


def _boxes(data: bytes, at: int, end: int) -> Iterator[Field]:
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        stop = end if size < 8 else min(end, at + size)
        name = kind.decode("latin-1")
        yield Field(f"head of {name}", at, at + 8)
        if kind in _PARENT_BOXES:
            yield from _boxes(data, at + 8, stop)
        elif kind != b"mdat" and stop > at + 8:
            yield Field(name, at + 8, stop)
        at = stop


_PARENT_ELEMENTS = frozenset(
    number.to_bytes((number.bit_length() + 7) // 8, "big")
    for number in (0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0x114D9B74, 0x4DBB)
) | {b"\xae", b"\xe0", b"\xa0", b"\xbb", b"\xb7"}
_BLOCKS = (b"\xa3", b"\xa1")


def _elements(data: bytes, at: int, end: int) -> Iterator[Field]:
    while at + 2 <= end:
        kind = data[at : at + 9 - data[at].bit_length()]
        size_at = at + len(kind)
        if len(kind) > 4 or size_at >= end or data[size_at] == 0:
            return
        width = 9 - data[size_at].bit_length()
        size = int.from_bytes(data[size_at : size_at + width], "big") & (1 << 7 * width) - 1
        unknown = size == (1 << 7 * width) - 1
        start = size_at + width
        stop = end if unknown else min(end, start + size)
        yield Field(f"head of {kind.hex()}", at, start)
        if kind in _PARENT_ELEMENTS:
            yield from _elements(data, start, stop)
        elif stop > start:
            yield Field(kind.hex(), start, min(stop, start + 4) if kind in _BLOCKS else stop)
        at = stop


def _chunks(data: bytes, at: int, end: int) -> Iterator[Field]:
    while at + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, at)
        stop = min(end, at + 8 + size)
        yield Field(f"head of {kind.decode('latin-1')}", at, at + 8)
        if kind == b"LIST":
            yield from _chunks(data, at + 12, stop)
        elif not kind[:2].isdigit() and stop > at + 8:
            yield Field(kind.decode("latin-1"), at + 8, stop)
        at = stop + size % 2
