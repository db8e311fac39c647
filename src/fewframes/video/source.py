"""Comes in: what a caller names as a video. Goes out: a `Source`: what to open, its name, and how long it should be."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fewframes.errors import UnreadableVideo, UsageError

__all__ = ["Source", "VideoSource", "promised_bytes", "resolve_source"]

# What a caller may name as a video.
VideoSource = str | Path | bytes | BinaryIO

_HEADER_BYTES = 4096
_MATROSKA_HEADER, _MATROSKA_SEGMENT = 0x1A45DFA3, 0x18538067


@dataclass(frozen=True)
class Source:
    """A video that exists and is not empty, before any decoder has looked at it.

    Attributes:
        target: what a decoder opens: an address with its protocol, or a seekable binary file.
        name: how messages name it.
        header: its first bytes; empty for a URL.
        missing_bytes: how many bytes it lacks of the length that its own header states; 0 if none or not stated.
    """

    target: str | BinaryIO
    name: str
    header: bytes
    missing_bytes: int


def resolve_source(source: VideoSource) -> Source:
    """Find out what can be opened, without decoding anything.

    Raises:
        UnreadableVideo: no such file, no permission, a folder, or nothing in it.
        UsageError: `source` is not a path, bytes or a binary file.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source), f"<{len(source)} bytes>")
    if isinstance(source, str) and "://" in source:
        return Source(target=source, name=source, header=b"", missing_bytes=0)
    if isinstance(source, str | os.PathLike):
        return _from_path(os.fspath(source))
    if not callable(getattr(source, "read", None)) or hasattr(source, "encoding"):
        kind = type(source).__name__
        raise UsageError(f"cannot read a video from {kind}; expected a path, bytes or a file open for binary reading")
    name = str(getattr(source, "name", "<file object>"))
    try:
        return _from_file(source if source.seekable() else io.BytesIO(source.read()), name)
    except (OSError, ValueError, TypeError) as error:
        raise UnreadableVideo(name, f"reading the file object failed: {error}") from error


def promised_bytes(header: bytes) -> int | None:
    """The least length in bytes that a file with these first bytes states for itself; None if it states none.

    Known are Matroska and WebM (length of the segment) and AVI (length of the first RIFF chunk). MP4 states it only
    in its index, which a decoder reads.
    """
    if header[:4] == b"RIFF" and header[8:12] == b"AVI ":
        size = int.from_bytes(header[4:8], "little")
        return size + 8 if 0 < size < 0xFFFFFFFF else None
    try:
        kind, at = _ebml_number(header, 0, keep_marker=True)
        if kind != _MATROSKA_HEADER:
            return None
        size, at = _ebml_number(header, at, keep_marker=False)
        kind, at = _ebml_number(header, at + size, keep_marker=True)
        size_at = at
        size, at = _ebml_number(header, at, keep_marker=False)
    except IndexError:
        return None
    # A length of only one-bits means "not known": a live recording.
    unknown = size == (1 << 7 * (at - size_at)) - 1
    return None if kind != _MATROSKA_SEGMENT or unknown else at + size


def _ebml_number(header: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """The number of variable length at `at`, and where it ends; its first one-bit says how many bytes it has."""
    length = 9 - header[at].bit_length()
    if length > 8 or at + length > len(header):
        raise IndexError
    number = int.from_bytes(header[at : at + length], "big")
    return (number if keep_marker else number & ((1 << 7 * length) - 1)), at + length


def _from_path(path: str) -> Source:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableVideo(path, "it is a folder; name a video file")
        if not stat.S_ISREG(status.st_mode):
            with open(path, "rb") as pipe:
                return _from_file(io.BytesIO(pipe.read()), path)
        with open(path, "rb") as file:
            found = _from_file(file, path)
    except FileNotFoundError as error:
        raise UnreadableVideo(path, "no such file; check the path") from error
    except PermissionError as error:
        raise UnreadableVideo(path, "permission denied") from error
    except (OSError, ValueError) as error:
        raise UnreadableVideo(path, str(getattr(error, "strerror", None) or error)) from error
    # The prefix keeps FFmpeg from taking "part:1.mp4" for a protocol.
    return Source(target=f"file:{path}", name=path, header=found.header, missing_bytes=found.missing_bytes)


def _from_file(file: BinaryIO, name: str) -> Source:
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise UnreadableVideo(name, "the file is empty (0 bytes); download it again")
    file.seek(0)
    header = file.read(_HEADER_BYTES)
    file.seek(0)
    missing = max(0, (promised_bytes(header) or 0) - size)
    return Source(target=file, name=name, header=header, missing_bytes=missing)
