from __future__ import annotations

import io
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import Limits
from fewframes.video.source import promised_bytes, resolve_source
from tests.helpers.webserver import WebServer, web

__all__ = ["web"]  # a fixture

EBML = bytes.fromhex("1a45dfa3") + b"\x84" + b"webm"  # an element of 4 bytes, 9 in all
SEGMENT = bytes.fromhex("18538067")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (EBML + SEGMENT + b"\x8a", 9 + 5 + 10),  # one byte of length: 10
        (EBML + SEGMENT + b"\x40\x80", 9 + 6 + 128),  # two bytes
        (EBML + SEGMENT + b"\x01" + (300).to_bytes(7, "big"), 9 + 12 + 300),  # eight bytes
        (EBML + SEGMENT + b"\x01" + b"\xff" * 7, None),  # a live recording: not known
        (EBML + SEGMENT + b"\xff", None),
        (EBML + bytes.fromhex("18538068") + b"\x8a", None),
        (EBML + SEGMENT, None),
        (b"RIFF" + (1000).to_bytes(4, "little") + b"AVI LIST", 1008),
        (b"RIFF" + (1000).to_bytes(4, "little") + b"WAVEfmt ", None),
        (b"RIFF" + bytes(4) + b"AVI LIST", None),
        (b"RIFF" + b"\xff" * 4 + b"AVI LIST", None),
        (b"\0\0\0\x20ftypisom", None),
        (b"", None),
    ],
)
def test_promised_bytes_by_hand(header: bytes, expected: int | None) -> None:
    assert promised_bytes(header) == expected


@given(st.binary(max_size=40), st.booleans())
def test_promised_bytes_takes_any_bytes(data: bytes, matroska: bool) -> None:
    promised = promised_bytes(EBML + data if matroska else data)
    assert promised is None or promised > 0


def test_missing_bytes_are_counted(tmp_path: Path) -> None:
    data = EBML + SEGMENT + b"\x8a" + b"0123"
    path = tmp_path / "a.webm"
    path.write_bytes(data)
    for source in (path, data, io.BytesIO(data)):
        found = resolve_source(source)
        assert found.missing_bytes == 6
        assert found.header == data


def test_complete_and_overlong_files_miss_nothing() -> None:
    for body in (b"0123456789", b"0123456789 and more"):
        assert resolve_source(EBML + SEGMENT + b"\x8a" + body).missing_bytes == 0


def test_names_and_targets(tmp_path: Path) -> None:
    path = tmp_path / "part:1.mp4"
    path.write_bytes(b"data")
    assert resolve_source(path).open().size == path.stat().st_size
    assert resolve_source(str(path)).name == str(path)
    assert resolve_source(b"data").name == "<4 bytes>"
    assert resolve_source(io.BytesIO(b"data")).name == "<file object>"


class Pipe(io.RawIOBase):
    """Gives `pieces` one after the other, once; None stands for "nothing yet"."""

    def __init__(self, *pieces: object) -> None:
        self._pieces = list(pieces)
        self.asked: list[int] = []

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> object:  # type: ignore[override]
        self.asked.append(size)
        return self._pieces.pop(0) if self._pieces else b""


def content_of(source: object, **limits: int) -> bytes:
    found = resolve_source(source, limits=Limits(**limits))  # type: ignore[arg-type]
    reader = found.open()
    try:
        return reader.read_range(0, reader.size)
    finally:
        reader.close()


def test_what_can_be_read_only_once_is_kept_whole_and_can_be_opened_again() -> None:
    source = resolve_source(Pipe(b"one", b"two", b"three"))  # type: ignore[arg-type]
    assert [source.open().read_range(0, 99) for _ in range(2)] == [b"onetwothree"] * 2
    assert source.header == b"onetwothree"


def test_the_limit_holds_while_reading() -> None:
    assert content_of(Pipe(b"12345", b"67890"), max_buffer_bytes=10) == b"1234567890"
    pipe = Pipe(b"12345", b"67890", b"1", b"never asked for")
    reason = (
        r"cannot read <file object>: it can be read only once, and has more than the 10 bytes that are kept in memory; "
        "save it to a file first, or raise max_buffer_bytes"
    )
    with pytest.raises(UnreadableVideo, match=reason):
        content_of(pipe, max_buffer_bytes=10)
    assert pipe.asked == [11, 6, 1]


def test_memory_is_not_taken_beyond_the_limit(tmp_path: Path) -> None:
    endless = Path("/dev/zero")
    if not endless.exists():
        pytest.skip("there is no /dev/zero here")
    tracemalloc.start()
    with pytest.raises(UnreadableVideo, match=r"cannot read /dev/zero: it can be read only once"):
        resolve_source(endless, limits=Limits(max_buffer_bytes=3_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 3_000_000


def test_the_limit_does_not_hold_for_what_can_be_read_by_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"0123456789")
    for source in (path, io.BytesIO(b"0123456789"), b"0123456789"):
        assert content_of(source, max_buffer_bytes=1) == b"0123456789"


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ((b"abc", None), "reading the file object failed: it gives nothing yet; open it for blocking reads"),
        (("text",), "reading the file object failed: "),
        ((), r"nothing came \(0 bytes\); a pipe can be read only once"),
    ],
)
def test_pipes_that_give_no_bytes(pieces: tuple[object, ...], reason: str) -> None:
    with pytest.raises(UnreadableVideo, match=reason):
        content_of(Pipe(*pieces))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes need POSIX")
def test_named_pipes(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"x" * 200_000,))
    writer.start()
    assert content_of(path) == b"x" * 200_000
    writer.join()


class Standard:
    """Standard input that is a pipe, a file or a terminal."""

    def __init__(self, file: io.IOBase, *, terminal: bool = False) -> None:
        self.buffer, self.closed, self._terminal = file, False, terminal

    def isatty(self) -> bool:
        return self._terminal


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Standard(Pipe(b"one", b"two")))
    assert resolve_source("-").name == "<standard input>"
    monkeypatch.setattr(sys, "stdin", Standard(Pipe(b"one", b"two")))
    assert content_of("-") == b"onetwo"
    with pytest.raises(
        UnreadableVideo, match=r"<standard input>: nothing came \(0 bytes\); a pipe can be read only once"
    ):
        content_of("-")
    monkeypatch.setattr(sys, "stdin", Standard(Pipe(b"one", b"two")))
    with pytest.raises(
        UnreadableVideo, match="<standard input>: it can be read only once, and has more than the 5 bytes"
    ):
        content_of("-", max_buffer_bytes=5)
    monkeypatch.setattr(sys, "stdin", Standard(io.BytesIO(b"a file that `<` opened")))
    assert [content_of("-", max_buffer_bytes=5) for _ in range(2)] == [b"a file that `<` opened"] * 2


@pytest.mark.parametrize("stdin", [None, Standard(Pipe(), terminal=True)])
def test_standard_input_that_is_no_file(stdin: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(UsageError, match="standard input is no file and no pipe; write something like"):
        resolve_source("-")


def test_a_file_that_is_called_like_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "-").write_bytes(b"content")
    monkeypatch.chdir(tmp_path)
    assert content_of("./-") == b"content"


def test_addresses(tmp_path: Path, web: WebServer) -> None:
    path = tmp_path / "a b.mp4"
    path.write_bytes(b"content")
    fsspec.filesystem("memory").pipe("/source/a.mp4", b"content")
    for address, name in (
        (f"file://{tmp_path}/a%20b.mp4", str(path)),
        (web.add("/a.mp4", b"content") + "?sig=s", f"{web.address}/a.mp4?sig=***"),
        ("memory://source/a.mp4", "memory://source/a.mp4"),
    ):
        assert resolve_source(address).name == name
        assert content_of(address) == b"content"


def test_addresses_are_opened_by_one_request(web: WebServer) -> None:
    source = resolve_source(web.add("/a.mp4", b"x" * 200_000))
    readers = [source.open() for _ in range(3)]
    assert len(web.requests) == 1
    assert [reader.bytes_read for reader in readers] == [64 * 1024] * 3
    assert [reader.read_range(100_000, 100_001) for reader in readers] == [b"x"] * 3
    assert source.header == b"x" * 4096


def test_remote_files_are_checked_for_missing_bytes(web: WebServer) -> None:
    data = EBML + SEGMENT + b"\x8a" + b"0123"
    assert resolve_source(web.add("/a.webm", data)).missing_bytes == 6
    with pytest.raises(UnreadableVideo, match=r"the file is empty \(0 bytes\)"):
        resolve_source(web.add("/b.webm", b""))


def test_addresses_that_are_refused() -> None:
    for address, reason in (
        ("rtsp://camera/1", "videos are not read from rtsp:// addresses"),
        ("http://me:secret@host/a.mp4", "holds a user name or a password"),
        ("file://host/a.mp4", "no address of a local file"),
        ("tar://a.mp4", "names no file in a tar file"),
    ):
        with pytest.raises(UsageError, match=reason) as caught:
            resolve_source(address)
        assert "secret" not in str(caught.value)


def test_an_address_that_was_made_a_path_loses_a_slash_and_says_so() -> None:
    with pytest.raises(UnreadableVideo, match="no such file; give an address as text, since a Path loses one of its"):
        resolve_source(Path("https://host/a.mp4"))
    with pytest.raises(UnreadableVideo, match="no such file; check the path"):
        resolve_source("part:1.mp4")


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="it is a folder; name a video file"):
        resolve_source(tmp_path)
    with pytest.raises(UnreadableVideo, match="it is a folder; name a video file"):
        resolve_source(f"file://{tmp_path}")
