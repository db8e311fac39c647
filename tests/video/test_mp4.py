"""What an MP4 file's own index says, against FFmpeg's packets of the same file; and indices that lie."""

from __future__ import annotations

import functools
import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewframes.video.mp4 import SampleTable, find_index, read_sample_tables
from fewframes.video.storage import MemoryBytes, RangeFile
from tests.helpers.painted import write_painted

KINDS: dict[str, dict[str, object]] = {
    "plain": {},
    "intra": {"gop": 1, "b_frames": 0},
    "mov": {"format": "mov"},
    "index_first": {"mux_options": {"movflags": "+faststart"}},
    "no_edits": {"mux_options": {"use_editlist": "0"}},
    "negative_offsets": {"mux_options": {"movflags": "+negative_cts_offsets"}},
    "open_groups": {"gop": 8, "codec_options": {"x264-params": "open-gop=1"}},
    "varying": {"ticks": [0, 40, 100, 110, 500, 540, 541, 900, 2000, 2040, 2100, 2200]},
    "hevc": {"codec": "libx265", "codec_options": {"x265-params": "log-level=none", "preset": "ultrafast"}},
}


@functools.cache
def made(kind: str) -> bytes:
    file = io.BytesIO()
    options = dict(KINDS[kind])
    ticks = options.get("ticks")
    path_like: object = file
    if kind == "index_first":
        return _moved_to_front(made("plain"))
    write_painted(path_like, len(ticks) if isinstance(ticks, list) else 30, **options)
    return file.getvalue()


def _moved_to_front(data: bytes) -> bytes:
    """The same file with its index before its content, the places in it corrected."""
    boxes = list(top_boxes(data))
    index = next(body for kind, body in boxes if kind == b"moov")
    rest = b"".join(body for kind, body in boxes if kind != b"moov")
    at = index.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", index, at)
    places = [place + len(index) for place in struct.unpack_from(f">{count}I", index, at + 4)]
    first = next(body for kind, body in boxes if kind == b"ftyp")
    moved = index[: at + 4] + struct.pack(f">{count}I", *places) + index[at + 4 + 4 * count :]
    return first + moved + rest[len(first) :]


def top_boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at : at + size]))
        at += size
    return found


def tables_of(data: bytes) -> list[SampleTable]:
    index = find_index(RangeFile(MemoryBytes(data)))
    assert index is not None
    return read_sample_tables(index)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_the_packets_that_ffmpeg_gives(kind: str) -> None:
    (table,) = tables_of(made(kind))
    with av.open(io.BytesIO(made(kind))) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert table.track_id == stream.id
        assert Fraction(1, table.timescale) == stream.time_base
    assert table.sizes.tolist() == [packet.size for packet in packets]
    assert table.positions.tolist() == [packet.pos for packet in packets]
    assert table.is_key.tolist() == [packet.is_keyframe for packet in packets]
    assert table.durations.tolist() == [packet.duration for packet in packets]
    for own, theirs in (
        (table.dts + table.offsets, [packet.pts for packet in packets]),
        (table.dts, [packet.dts for packet in packets]),
    ):
        assert len(set((own - np.array(theirs, np.int64)).tolist())) == 1  # up to one shift
    assert table.shows_every_sample
    assert table.num_descriptions == 1


def test_only_headers_and_the_index_are_read() -> None:
    data = made("plain")
    index = dict(top_boxes(data))[b"moov"]
    source = MemoryBytes(data)
    file = RangeFile(source)
    assert find_index(file) == index[8:]
    assert source.bytes_read == 16 * len(top_boxes(data)) + len(index)
    file.seek(data.index(index))
    assert file.read(len(index)) == index  # again, from memory
    assert source.bytes_read == 16 * len(top_boxes(data)) + len(index)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"moov",
        b"\0\0\0\x08",
        b"\x1a\x45\xdf\xa3" * 4,
        b"\0\0\0\x10ftypisom\0\0\0\0",
        b"\0\0\0\x04ftyp" + bytes(40),
    ],
    ids=["empty", "short", "shorter", "matroska", "no index", "size below the header"],
)
def test_other_files_have_no_index(data: bytes) -> None:
    assert find_index(RangeFile(MemoryBytes(data))) is None


def test_a_cut_index_is_none() -> None:
    data = made("plain")
    assert find_index(RangeFile(MemoryBytes(data[:-1]))) is None


def test_fragmented_files_list_no_samples() -> None:
    file = io.BytesIO()
    write_painted(file, 10, mux_options={"movflags": "frag_keyframe+empty_moov"})
    assert tables_of(file.getvalue()) == []


def test_large_sizes_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of 64 bits: the index behind such a box is found, and places beyond 4 GB are read."""
    data = made("plain")
    boxes = top_boxes(data)
    content = next(body for kind, body in boxes if kind == b"mdat")
    wide = struct.pack(">I4sQ", 1, b"mdat", len(content) + 8) + content[8:]
    rest = b"".join(wide if kind == b"mdat" else body for kind, body in boxes)
    (table,) = tables_of(rest)
    assert len(table.sizes) == 30
    index = dict(boxes)[b"moov"]
    at = index.index(b"stco") - 4
    (count,) = struct.unpack_from(">I", index, at + 12)
    places = struct.unpack_from(f">{count}I", index, at + 16)
    box = struct.pack(">I4sII", 16 + 8 * count, b"co64", 0, count)
    box += struct.pack(f">{count}Q", *(place + 2**40 for place in places))
    far = _with_box_replaced(index, b"stco", box)
    (there,) = read_sample_tables(far[8:])
    (here,) = read_sample_tables(index[8:])
    assert (there.positions - here.positions == 2**40).all()


def _with_box_replaced(index: bytes, kind: bytes, box: bytes) -> bytes:
    """The index with one box exchanged and the sizes of all around it corrected."""
    at = index.index(kind) - 4
    (size,) = struct.unpack_from(">I", index, at)
    changed = bytearray(index[:at] + box + index[at + size :])
    for outer in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = changed.index(outer) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", changed, place)[0] + len(box) - size)
    return bytes(changed)


# Edit lists: (duration in seconds, start in ticks, speed); the samples are shown from tick 1024 to 1024 + 29 * 512.
@pytest.mark.parametrize(
    ("edits", "all_shown"),
    [
        ([], True),
        ([(2.0, 1024, 1.0)], True),
        ([(2.0, 0, 1.0)], True),
        ([(0.5, -1, 1.0), (2.0, 1024, 1.0)], True),  # begins late
        ([(2.0, 1025, 1.0)], False),  # hides the first
        ([(1.0, 1024, 1.0)], False),  # hides the last
        ([(29 / 25, 1024, 1.0)], False),  # ends with the beginning of the last
        ([(0.0, 1024, 1.0)], False),
        ([(2.0, 1024, 0.5)], False),
        ([(1.0, 1024, 1.0), (1.0, 1024, 1.0)], False),  # twice
        ([(0.5, -1, 1.0)], False),  # nothing at all
    ],
)
def test_edit_lists(edits: list[tuple[float, int, float]], all_shown: bool) -> None:
    index = dict(top_boxes(made("plain")))[b"moov"]
    (count, scale) = (len(edits), 1000)
    box = struct.pack(">I4sII", 16 + 12 * count, b"elst", 0, count)
    for seconds, start, speed in edits:
        box += struct.pack(">IiI", round(seconds * scale), start, round(speed * 65536))
    at = index.index(b"elst") - 4
    (size,) = struct.unpack_from(">I", index, at)
    changed = bytearray(index[:at] + box + index[at + size :])
    for outer in (b"moov", b"trak", b"edts"):
        place = changed.index(outer) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", changed, place)[0] + len(box) - size)
    (table,) = read_sample_tables(bytes(changed[8:]))
    assert table.timescale == 12800
    assert (table.dts + table.offsets).min() == 1024
    assert table.shows_every_sample is all_shown


# Where in a box, counted from its name, which number is replaced.
@pytest.mark.parametrize(
    ("kind", "at", "value", "message"),
    [
        (b"stsz", 12, 2**32 - 1, "a table of 4294967295 numbers in"),
        (b"stsz", 12, 29, "of 30 samples, but there are 29"),
        (b"stts", 8, 2**31, "a table of 4294967296 numbers"),
        (b"stts", 12, 29, "durations of 29 samples, but there are 30"),
        (b"stts", 12, 2**32 - 1, "durations of -1 samples"),
        (b"stts", 16, 2**32 - 1, "duration is negative"),
        (b"ctts", 8, 999, "a table of 1998 numbers"),
        (b"ctts", 12, 999, "offsets of 1028 samples, but there are 30"),
        (b"stsc", 12, 2, "out of order"),
        (b"stsc", 16, 31, "out of order"),
        (b"stsc", 16, 29, "chunks hold 29 samples, but there are 30"),
        (b"stco", 8, 2**31, "a table of 2147483648 numbers"),
        (b"mdhd", 16, 0, "a clock without ticks"),
        (b"elst", 8, 10_000, "an edit list of 10000 lines"),
        (b"stss", 8, 2**31, "a table of 2147483648 numbers"),
    ],
)
def test_an_index_that_contradicts_itself(kind: bytes, at: int, value: int, message: str) -> None:
    index = bytearray(dict(top_boxes(made("plain")))[b"moov"])
    struct.pack_into(">I", index, index.index(kind) + at, value)
    with pytest.raises(ValueError, match=message):
        read_sample_tables(bytes(index[8:]))


def test_a_claim_of_uniform_samples_needs_their_times() -> None:
    """A few bytes can claim four thousand million samples; memory is not taken for them."""
    index = bytearray(dict(top_boxes(made("plain")))[b"moov"])
    struct.pack_into(">II", index, index.index(b"stsz") + 8, 7, 2**32 - 1)
    with pytest.raises(ValueError, match="4294967295 samples of 7 bytes, but 30 have a time"):
        read_sample_tables(bytes(index[8:]))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
def test_damage_is_a_value_error_or_a_table(seed: int, count: int, value: int) -> None:
    index = bytearray(dict(top_boxes(made("plain")))[b"moov"][8:])
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(index), count):
        index[place] = value
    try:
        tables = read_sample_tables(bytes(index))
    except ValueError:
        return
    for table in tables:
        assert len({len(table.sizes), len(table.dts), len(table.offsets), len(table.is_key), len(table.positions)}) == 1
        assert isinstance(table.shows_every_sample, bool)
