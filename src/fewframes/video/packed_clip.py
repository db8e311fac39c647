"""Clips as JPEG images come in and the bytes of a tar shard go out; a shard comes in and one clip's record goes out.

A shard is a tar file in the manner of WebDataset: for each clip the member KEY.json, its record, and then its images
KEY.000.jpg, KEY.001.jpg, ... The last member, which such readers pass over, is an index of the records: lines of
"KEY.json OFFSET SIZE", filled up with blanks, whose last line is its own length. It ends where the two empty blocks
begin that end a tar file, so it is found at once, and a clip is opened without a search through the shard.
"""

from __future__ import annotations

import json
import math
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewframes.errors import UnreadableVideo
from fewframes.records import Limits
from fewframes.video.storage import ByteReader

__all__ = [
    "CLIP_LAYOUT",
    "PackedClip",
    "clip_address",
    "clip_members",
    "find_clip",
    "record_range",
    "shard_end",
    "split_address",
]

CLIP_LAYOUT = "fewframes clip 1"

_BLOCK = 512
_END_BLOCKS = bytes(2 * _BLOCK)
_INDEX_NAME = "__index__"
_TRAILER_BYTES = 16  # the last line of the index, its length
_TAIL_BYTES = 4096  # read at once; the index of 80 clips
_SCHEME, _SEPARATOR, _RECORD_SUFFIX = "tar://", "::", ".json"
_NO_SHARD = "the shard has no index; expected one that `fewframes data pack` wrote whole"


@dataclass(frozen=True, eq=False)
class PackedClip:
    """Where a clip's images lie in its shard, and what its record says of them.

    Attributes:
        names: of its images, in order.
        ranges: [start, stop) of each image's bytes in the shard.
        checksums: CRC-32 of each image's bytes.
        seconds: (N,) float64, when each frame is shown in the video that it was taken from; ascending.
        duration_seconds: when the packed part of that video ends; above `seconds`.
        width: of every image, pixels.
        height: of every image, pixels.
        size_bytes: of the record and the images.
    """

    names: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    checksums: tuple[int, ...]
    seconds: NDArray[np.float64]
    duration_seconds: float
    width: int
    height: int
    size_bytes: int


def clip_address(key: str, shard: str) -> str:
    """How a list names the clip `key` of a shard."""
    return f"{_SCHEME}{key}{_RECORD_SUFFIX}{_SEPARATOR}{shard}"


def split_address(address: str) -> tuple[str, str] | None:
    """The record's name and the shard of a clip's address; None if it is no such address."""
    member, separator, shard = address.removeprefix(_SCHEME).partition(_SEPARATOR)
    is_clip = address.startswith(_SCHEME) and separator and shard and member.endswith(_RECORD_SUFFIX)
    return (member, shard) if is_clip else None


def clip_members(key: str, record: Mapping[str, object], images: Sequence[bytes]) -> bytes:
    """One clip as a piece of a tar file; equal arguments give equal bytes.

    Args:
        key: name of the clip; letters, digits, "-" and "_", at most 80.
        record: what is known of the clip, plain JSON values; must hold "seconds", "duration_seconds", "width" and
            "height" as `PackedClip` has them, a time for each image. Layout and images are added to it.
        images: JPEG files.

    Returns:
        The piece, a multiple of 512 bytes.
    """
    digits = max(3, len(str(len(images) - 1)))
    names = [f"{key}.{number:0{digits}d}.jpg" for number in range(len(images))]
    frames = [
        {"name": name, "size_bytes": len(image), "crc32": zlib.crc32(image)}
        for name, image in zip(names, images, strict=True)
    ]
    whole = {"layout": CLIP_LAYOUT, **record, "frames": frames}
    content = json.dumps(whole, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    members = [_member(f"{key}{_RECORD_SUFFIX}", content), *map(_member, names, images)]
    return b"".join(members)


def record_range(members: bytes, start: int) -> tuple[int, int]:
    """Where the record of a clip begins in its shard, and its length, for a piece that begins at `start`."""
    header = tarfile.TarInfo.frombuf(members[:_BLOCK], "utf-8", "strict")
    return start + _BLOCK, header.size


def shard_end(records: Mapping[str, tuple[int, int]]) -> bytes:
    """What follows the clips of a shard: its index, and the end of a tar file.

    Args:
        records: key of each clip -> where its record begins in the shard, and its length.
    """
    lines = "".join(f"{key}{_RECORD_SUFFIX} {start} {size}\n" for key, (start, size) in records.items()).encode()
    length = -(-(len(lines) + _TRAILER_BYTES) // _BLOCK) * _BLOCK
    content = lines + b" " * (length - len(lines) - _TRAILER_BYTES) + b"%015d\n" % length
    return _member(_INDEX_NAME, content) + _END_BLOCKS


def find_clip(shard: ByteReader, member: str, address: str, limits: Limits) -> PackedClip:
    """Look a clip up in its shard's index and read its record.

    Args:
        shard: the tar file.
        member: name of the record.
        address: how messages name the clip.
        limits: refuse what asks for more.

    Raises:
        UnreadableVideo: there is no such clip, its record is damaged or beyond the limits, or the shard is cut short.
    """
    try:
        start, size = _look_up(shard, member, address, limits)
        _check_length(address, "record", size, limits)
        content = shard.read_range(start, start + size)
    except OSError as error:
        raise UnreadableVideo(address, str(error.strerror or error)) from error
    try:
        clip = _parse(json.loads(content), start + _padded(size), size)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = f"its record is damaged ({type(error).__name__}: {error}); pack it again, or copy it anew"
        raise UnreadableVideo(address, reason) from error
    if len(clip.names) > limits.max_frames:
        raise UnreadableVideo(
            address, f"it claims {len(clip.names)} frames, above the limit of {limits.max_frames}; raise max_frames"
        )
    if clip.width * clip.height > limits.max_pixels:
        raise UnreadableVideo(
            address,
            f"its frames are {clip.width} x {clip.height}, above the limit of {limits.max_pixels} pixels; "
            "raise max_pixels",
        )
    if clip.ranges[-1][1] > shard.size:
        raise UnreadableVideo(address, "the shard is cut short; copy it anew")
    return clip


def _look_up(shard: ByteReader, member: str, address: str, limits: Limits) -> tuple[int, int]:
    """Where a record begins in its shard, and its length."""
    tail_start = max(0, shard.size - _TAIL_BYTES)
    tail = shard.read_range(tail_start, shard.size)
    at = len(tail) - len(_END_BLOCKS)
    trailer = tail[max(0, at - _TRAILER_BYTES) : max(0, at)]
    if not trailer.strip().isdigit() or any(tail[at:]):
        raise UnreadableVideo(address, _NO_SHARD)
    stop = tail_start + at
    start = stop - int(trailer)
    if start < 0:
        raise UnreadableVideo(address, _NO_SHARD)
    _check_length(address, "index", stop - start, limits)
    index = tail[start - tail_start : at] if start >= tail_start else shard.read_range(start, tail_start) + tail[:at]
    line_start = (b"\n" + index).find(b"\n" + member.encode() + b" ")
    if line_start < 0:
        raise UnreadableVideo(address, f"the shard holds no {member}; check the address")
    fields = index[line_start : index.index(b"\n", line_start)].rsplit(b" ", 2)
    if len(fields) != 3 or not (fields[1].isdigit() and fields[2].isdigit()):
        raise UnreadableVideo(address, _NO_SHARD)
    return int(fields[1]), int(fields[2])


def _check_length(address: str, what: str, size: int, limits: Limits) -> None:
    if size > limits.max_buffer_bytes:
        raise UnreadableVideo(
            address,
            f"its {what} has {size} bytes, above the limit of {limits.max_buffer_bytes}; raise max_buffer_bytes",
        )


def _parse(record: dict[str, object], images_start: int, record_size: int) -> PackedClip:
    """The clip that a record describes; raises ValueError, TypeError or KeyError where it describes none."""
    if record["layout"] != CLIP_LAYOUT:
        raise ValueError(f"layout {record['layout']!r}, expected {CLIP_LAYOUT!r}")
    frames, times = record["frames"], record["seconds"]
    if not isinstance(frames, list) or not isinstance(times, list) or len(frames) != len(times) or not frames:
        raise ValueError("frames and seconds do not belong together")
    ranges = []
    at = images_start
    for frame in frames:
        size = _whole(frame["size_bytes"])
        ranges.append((at + _BLOCK, at + _BLOCK + size))
        at += _BLOCK + _padded(size)
    seconds = np.array(times, dtype=np.float64)
    duration = float(record["duration_seconds"])  # type: ignore[arg-type]
    if not np.isfinite(seconds).all() or (np.diff(seconds) < 0).any() or seconds[0] < 0:
        raise ValueError("its times do not ascend")
    if not seconds[-1] < duration < math.inf:
        raise ValueError(f"it ends at {duration} s, before its last frame")
    return PackedClip(
        names=tuple(str(frame["name"]) for frame in frames),
        ranges=tuple(ranges),
        checksums=tuple(_whole(frame["crc32"], least=0) for frame in frames),
        seconds=seconds,
        duration_seconds=duration,
        width=_whole(record["width"]),
        height=_whole(record["height"]),
        size_bytes=record_size + sum(stop - start for start, stop in ranges),
    )


def _whole(value: object, *, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{value!r} is no whole number of at least {least}")
    return value


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _member(name: str, content: bytes) -> bytes:
    """One file of a tar file; nothing in it tells who wrote it or when."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(_padded(len(content)) - len(content))
