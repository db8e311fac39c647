from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.video.source import promised_bytes, resolve_source

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
    assert resolve_source(path).target == f"file:{path}"
    assert resolve_source(str(path)).name == str(path)
    assert resolve_source(b"data").name == "<4 bytes>"
    assert resolve_source(io.BytesIO(b"data")).name == "<file object>"
    assert resolve_source("https://a.example/b.mp4").target == "https://a.example/b.mp4"
