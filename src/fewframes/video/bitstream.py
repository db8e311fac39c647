"""Comes in: the bytes of one compressed packet. Goes out: what its first bits say of the frame in it."""

from __future__ import annotations

__all__ = ["has_h264_lengths", "is_h264_dead_end", "shows_frame"]

_H264_SLICES = (1, 2, 3, 4, 5)


def shows_frame(data: memoryview, codec: str) -> bool:
    """Whether a VP8 or VP9 packet shows a frame; some only carry one that later frames refer to.

    Args:
        data: the packet, at least one byte.
        codec: "vp8" or "vp9".
    """
    first = data[0]
    if codec == "vp8":
        return bool(first & 0x10)
    if data[-1] & 0xE0 == 0xC0:
        return True  # several frames in one packet, of which the last is shown
    # The bits show_existing_frame and show_frame; profile 3 has one bit more before them.
    return bool(first & (0x05 if first & 0x30 == 0x30 else 0x0A))


def has_h264_lengths(extradata: bytes | None) -> bool:
    """Whether an H.264 stream with this header puts a length of 4 bytes before each of its units, as MP4 does."""
    return extradata is not None and len(extradata) > 4 and extradata[0] == 1 and extradata[4] & 3 == 3


def is_h264_dead_end(data: memoryview) -> bool:
    """Whether no other frame refers to the frame in this packet of a stream with `has_h264_lengths`."""
    at = 0
    while at + 4 < len(data):
        header = data[at + 4]
        if header & 0x1F in _H264_SLICES:
            return header & 0x60 == 0
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return False
