from __future__ import annotations

import io

import av
import pytest

from fewframes.video.bitstream import has_h264_lengths, is_h264_dead_end, shows_frame
from tests.helpers.painted import write_painted


def units(*headers: int) -> memoryview:
    """H.264 units of 3 bytes with these first bytes, each behind its length."""
    return memoryview(b"".join(b"\0\0\0\x03" + bytes([header, 9, 9]) for header in headers))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([0x01], True),  # a slice that nothing refers to
        ([0x41], False),
        ([0x65], False),  # a keyframe's slice
        ([0x06, 0x01], True),  # behind a message
        ([0x06, 0x67, 0x41], False),
        ([0x06], False),
    ],
)
def test_dead_ends_by_hand(headers: list[int], expected: bool) -> None:
    assert is_h264_dead_end(units(*headers)) is expected


@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\x01", b"\xff\xff\xff\xff\x06", b"\0\0\0\0" * 3])
def test_damaged_packets_are_no_dead_ends(data: bytes) -> None:
    assert not is_h264_dead_end(memoryview(data))


def test_dead_ends_are_b_frames() -> None:
    file = io.BytesIO()
    write_painted(file, 25, b_frames=2, gop=100, codec_options={"x264-params": "b-pyramid=none"})
    with av.open(io.BytesIO(file.getvalue())) as container:
        stream = container.streams.video[0]
        assert has_h264_lengths(stream.codec_context.extradata)
        packets = [packet for packet in container.demux(stream) if packet.size]
        dead_ends = {packet.pts for packet in packets if is_h264_dead_end(memoryview(packet))}
        frames = [frame for packet in [*packets, None] for frame in stream.codec_context.decode(packet)]
    assert dead_ends == {frame.pts for frame in frames if frame.pict_type == av.video.frame.PictureType.B}
    assert len(dead_ends) == 16


def test_lengths_need_an_mp4_header() -> None:
    assert has_h264_lengths(b"\x01\x64\x00\x1f\xff\xe1")
    assert not has_h264_lengths(b"\x01\x64\x00\x1f\xfd\xe1")  # lengths of 2 bytes
    assert not has_h264_lengths(b"\0\0\0\x01\x67\x64")  # start codes
    assert not has_h264_lengths(None)


@pytest.mark.parametrize(
    ("data", "codec", "expected"),
    [
        (b"\x10\0\0", "vp8", True),
        (b"\x00\0\0", "vp8", False),
        (b"\x82\0\0", "vp9", True),  # show_frame
        (b"\x88\0\0", "vp9", True),  # show_existing_frame
        (b"\x84\0\0", "vp9", False),
        (b"\x84\0\xc1", "vp9", True),  # several in one
        (b"\xb1\0\0", "vp9", True),  # profile 3, one bit further
        (b"\xb2\0\0", "vp9", False),
    ],
)
def test_shown_frames_by_hand(data: bytes, codec: str, expected: bool) -> None:
    assert shows_frame(memoryview(data), codec) is expected
