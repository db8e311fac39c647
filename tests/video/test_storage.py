from __future__ import annotations

import functools
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fewframes.video.remote as remote_module
from fewframes.video.remote import RemoteBytes
from fewframes.video.storage import (
    ByteReader,
    FileBytes,
    LocalBytes,
    MemoryBytes,
    PartBytes,
    RangeFile,
    cut_out,
    merged,
    uncovered,
)

SIZE = 1009
CONTENT = bytes(number * 31 % 251 for number in range(SIZE))


class Slow(io.RawIOBase):
    """A file that gives at most 7 bytes at a time, as an unbuffered one may."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 7))


@functools.cache
def local_path() -> str:
    folder = tempfile.TemporaryDirectory()
    local_path.folder = folder  # type: ignore[attr-defined]  # removed at exit
    path = Path(folder.name) / "content"
    path.write_bytes(CONTENT)
    return str(path)


def remote(least_bytes: int = 64 * 1024) -> RemoteBytes:
    fsspec.filesystem("memory").pipe("/storage/content", CONTENT)
    return RemoteBytes("memory://storage/content", least_bytes=least_bytes)


READERS: dict[str, Callable[[], ByteReader]] = {
    "memory": lambda: MemoryBytes(CONTENT),
    "bytearray": lambda: MemoryBytes(bytearray(CONTENT)),
    "local": lambda: LocalBytes(local_path()),
    "file": lambda: FileBytes(io.BytesIO(CONTENT)),
    "slow": lambda: FileBytes(Slow(CONTENT)),  # type: ignore[arg-type]
    "part": lambda: PartBytes(MemoryBytes(b"before" + CONTENT + b"after"), 6, 6 + SIZE),
    "remote": remote,
}
PLACES = st.integers(0, SIZE + 40)
RANGES = st.tuples(PLACES, PLACES).map(lambda pair: (min(pair), max(pair)))
STEPS = st.one_of(
    st.tuples(st.just("seek"), st.integers(-SIZE, SIZE + 40), st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END])),
    st.tuples(st.just("read"), st.one_of(st.none(), st.integers(-1, 400))),
    st.tuples(st.just("pin"), RANGES),
    st.tuples(st.just("peek"), PLACES, st.integers(0, 50)),
    st.tuples(st.just("fetch"), st.lists(RANGES, max_size=5)),
)
SMALL_RANGES = st.tuples(PLACES, st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair)))
SMALL_STEPS = st.one_of(
    st.tuples(st.just("seek"), st.integers(0, SIZE)),
    st.tuples(st.just("read"), st.integers(0, 9)),
    st.tuples(st.just("pin"), SMALL_RANGES),
    st.tuples(st.just("fetch"), st.lists(SMALL_RANGES, max_size=5)),
)


@pytest.mark.parametrize("kind", READERS)
@given(ranges=st.lists(RANGES, max_size=6))
def test_readers_give_the_bytes_of_ranges_cut_at_the_end(kind: str, ranges: list[tuple[int, int]]) -> None:
    reader = READERS[kind]()
    expected = [CONTENT[start:stop] for start, stop in ranges]
    assert reader.size == SIZE
    assert reader.read_ranges(ranges) == expected
    assert [reader.read_range(*each) for each in ranges] == expected
    if kind != "remote":
        assert reader.bytes_read == 2 * sum(map(len, expected))
    reader.close()
    reader.close()


@pytest.mark.parametrize("kind", READERS)
@given(steps=st.lists(STEPS, max_size=25))
def test_a_range_file_is_the_plain_file_and_fetches_nothing_twice(kind: str, steps: list[tuple[object, ...]]) -> None:
    """Against a model: the plain file, and which of its bytes lie in the store."""
    reader = READERS[kind]()
    file, plain = RangeFile(reader), io.BytesIO(CONTENT)
    before = reader.bytes_read
    pinned: set[int] = set()
    fetched: set[int] = set()
    cost = 0

    def inside(start: int, stop: int) -> set[int]:
        return set(range(start, min(stop, SIZE)))

    for step in steps:
        match step:
            case "seek", int(offset), int(whence):
                base = {io.SEEK_SET: 0, io.SEEK_CUR: plain.tell(), io.SEEK_END: SIZE}[whence]
                assert file.seek(offset, whence) == plain.seek(max(0, base + offset)) == file.tell()
            case "read", size:
                start = plain.tell()
                assert size is None or isinstance(size, int)
                content, most = file.read(size), plain.read(size)
                places = inside(start, start + len(content))
                # Either all from the store or nothing of it; less than asked for only where the store begins or ends.
                assert most.startswith(content)
                assert bool(content) == bool(most)
                assert places <= pinned | fetched or not places & (pinned | fetched)
                if content and len(content) < len(most):
                    assert start in pinned | fetched or start + len(content) in pinned | fetched
                cost += 0 if places <= pinned | fetched else len(places)
                plain.seek(file.tell())
                assert file.tell() == start + len(content)
            case "pin", (int(start), int(stop)):
                assert file.pin(start, stop) == CONTENT[start:stop]
                cost += len(inside(start, stop) - pinned - fetched)
                pinned |= inside(start, stop)
            case "peek", int(start), int(size):
                assert file.peek(start, size) == CONTENT[start : start + size]
                stored = 0
                while start + stored in pinned | fetched and stored < size:
                    stored += 1
                cost += len(inside(start + stored, start + size))
            case "fetch", list(ranges):
                file.fetch(ranges)
                wanted = set().union(*(inside(*each) for each in ranges))
                cost += len(wanted - pinned - fetched)
                fetched = wanted
    if kind == "remote":
        assert reader.bytes_read == before  # it all came with the first request
    else:
        assert reader.bytes_read == cost
    reader.close()


@settings(max_examples=300)
@given(steps=st.lists(SMALL_STEPS, max_size=12), least=st.integers(1, 20))
def test_a_remote_file_fetches_little_more_than_is_read(steps: list[tuple[object, ...]], least: int) -> None:
    """At most twice what a plain reader fetches, a least request for each step, and what lies between near ranges."""
    near = 5
    plain, reader = RangeFile(MemoryBytes(CONTENT)), remote(least)
    reader.file.head = b""  # type: ignore[misc]  # as if the file were far longer than the first request
    start = reader.bytes_read
    file = RangeFile(reader)
    with mock.patch.object(remote_module, "_NEAR_BYTES", near):
        for step in steps:
            name, *arguments = step
            if name == "pin":
                (arguments,) = arguments  # type: ignore[assignment]
            assert getattr(file, str(name))(*arguments) == getattr(plain, str(name))(*arguments)
            plain.seek(file.tell())
    assert reader.bytes_read - start <= 2 * plain.source.bytes_read + len(steps) * (least + 5 * near)


def test_what_is_pinned_is_not_hidden_by_what_is_fetched_inside_it() -> None:
    reader = MemoryBytes(CONTENT)
    file = RangeFile(reader)
    file.pin(0, 1000)
    file.fetch([(500, 600), (990, 1009)])
    assert reader.bytes_read == 1009
    file.seek(700)
    assert file.read(100) == CONTENT[700:800]
    file.seek(0)
    assert file.read() == CONTENT[:1000]
    assert file.read() == CONTENT[1000:]
    assert reader.bytes_read == 1009


def test_fetched_ranges_stay_until_the_next_call_and_pinned_ones_for_good() -> None:
    reader = MemoryBytes(CONTENT)
    file = RangeFile(reader)
    file.pin(0, 10)
    file.fetch([(20, 30), (25, 40)])
    assert reader.bytes_read == 30
    file.fetch([(35, 50)])
    assert reader.bytes_read == 40
    for start, cost in ((0, 40), (35, 40), (20, 45)):
        file.seek(start)
        assert file.read(5) == CONTENT[start : start + 5]
        assert reader.bytes_read == cost


def test_reading_stops_where_the_store_begins() -> None:
    file = RangeFile(MemoryBytes(CONTENT))
    file.fetch([(10, 20)])
    assert [len(file.read(100)) for _ in range(3)] == [10, 10, 100]


def test_the_store_asks_for_what_it_lacks_in_one_call() -> None:
    calls: list[list[tuple[int, int]]] = []

    class Recorded(MemoryBytes):
        def read_ranges(self, ranges: list[tuple[int, int]]) -> list[bytes]:  # type: ignore[override]
            calls.append(list(ranges))
            return super().read_ranges(ranges)

    file = RangeFile(Recorded(CONTENT))
    file.pin(100, 200)
    file.fetch([(50, 150), (180, 220), (300, 310), (305, 320)])
    assert calls == [[(100, 200)], [(50, 100), (200, 220), (300, 320)]]


@pytest.mark.parametrize(
    ("ranges", "near", "expected"),
    [
        ([], 0, []),
        ([(5, 5)], 9, []),
        ([(10, 20), (0, 5)], 0, [(0, 5), (10, 20)]),
        ([(10, 20), (0, 10)], 0, [(0, 20)]),
        ([(0, 30), (10, 20)], 0, [(0, 30)]),
        ([(0, 5), (10, 20), (26, 30)], 5, [(0, 20), (26, 30)]),
    ],
)
def test_merged_by_hand(ranges: list[tuple[int, int]], near: int, expected: list[tuple[int, int]]) -> None:
    assert merged(ranges, near=near) == expected


DISJOINT = st.lists(RANGES, max_size=8).map(merged)


@given(DISJOINT, DISJOINT)
def test_uncovered_is_the_difference_of_sets(ranges: list[tuple[int, int]], covered: list[tuple[int, int]]) -> None:
    left = uncovered(ranges, covered)
    assert left == sorted(left)
    assert all(start < stop for start, stop in left)

    def places(found: list[tuple[int, int]]) -> set[int]:
        return {place for each in found for place in range(*each)}

    assert places(left) == places(ranges) - places(covered)
    assert sum(stop - start for start, stop in left) == len(places(left))


def test_cut_out_by_hand() -> None:
    blocks = [(10, b"abcde"), (15, memoryview(b"fg")), (20, b"xyz")]
    assert cut_out(blocks, 12, 16) == b"cdef"
    assert cut_out(blocks, 12, 30) == b"cdefg"
    assert cut_out(blocks, 21, 99) == b"yz"
    assert cut_out(blocks, 9, 12) == b""
    assert cut_out(blocks, 14, 14) == b""


def test_a_local_file_is_closed_for_good(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    reader = LocalBytes(str(path))
    reader.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        reader.read_range(0, 1)


def test_a_file_that_shrinks_gives_less(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    reader = LocalBytes(str(path))
    os.truncate(path, 100)
    assert reader.read_range(90, 200) == CONTENT[90:100]
    assert RangeFile(reader).pin(90, 200) == CONTENT[90:100]
    reader.close()


def test_a_part_counts_only_its_own_reading() -> None:
    whole = MemoryBytes(CONTENT)
    whole.read_range(0, 77)
    part = PartBytes(whole, 100, 200)
    assert part.bytes_read == 0
    assert part.read_range(-0, 10) == CONTENT[100:110]
    assert part.read_range(90, 999) == CONTENT[190:200]
    assert part.read_range(100, 200) == part.read_range(300, 400) == b""
    assert part.bytes_read == 20
