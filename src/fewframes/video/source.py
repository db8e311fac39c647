"""Comes in: what a caller names as a video. Goes out: a `Source`: what to open, its name, and how long it should be."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import Limits
from fewframes.video.address import hide_secrets, is_address, local_path, scheme_of
from fewframes.video.remote import RemoteBytes, RemotePart
from fewframes.video.storage import ByteReader, FileBytes, LocalBytes, MemoryBytes, PartBytes
from fewframes.video.tarfiles import find_member, split_member

__all__ = ["Source", "VideoSource", "promised_bytes", "resolve_source"]

# What a caller may name as a video.
VideoSource = str | Path | bytes | BinaryIO

_HEADER_BYTES = 4096
_PIECE_BYTES = 1024 * 1024
_TAR_HEADER_BYTES = 4096  # what a request fetches at least for the headers of a remote tar file
_LOST_SLASH = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/[^/]")
_LIMITS = Limits()
_MATROSKA_HEADER, _MATROSKA_SEGMENT = 0x1A45DFA3, 0x18538067


@dataclass(frozen=True)
class Source:
    """A video that exists and is not empty, before any decoder has looked at it.

    Attributes:
        open: gives its bytes, anew with each call; the caller closes them.
        name: how messages name it.
        header: its first bytes.
        missing_bytes: how many bytes it lacks of the length that its own header states; 0 if none or not stated.
    """

    open: Callable[[], ByteReader]
    name: str
    header: bytes
    missing_bytes: int


def resolve_source(source: VideoSource, *, limits: Limits = _LIMITS) -> Source:
    """Find out what can be opened, without decoding anything.

    Args:
        source: a path; an address, see docs/where-videos-live.md; "-" for standard input; a file's content; or a file
            open for binary reading.
        limits: `max_buffer_bytes` bounds what must be kept in memory because it can be read only once.

    Raises:
        UnreadableVideo: no such file, no permission, a folder, nothing in it, too long to be kept, or no connection.
        UsageError: `source` is of none of these kinds, or an address of an unknown kind or with a password.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_bytes(source, f"<{len(source)} bytes>")
    if isinstance(source, str | os.PathLike):
        return _from_name(os.fsdecode(source), limits)
    if not callable(getattr(source, "read", None)) or hasattr(source, "encoding"):
        kind = type(source).__name__
        raise UsageError(f"cannot read a video from {kind}; expected a path, bytes or a file open for binary reading")
    return _from_file(source, str(getattr(source, "name", "<file object>")), limits)


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


def _from_name(name: str, limits: Limits) -> Source:
    if name == "-":
        return _from_standard_input(limits)
    if not is_address(name):
        return _from_path(name, limits)
    scheme = scheme_of(name)
    if scheme == "file":
        return _from_path(local_path(name), limits)
    return _from_tar(name, limits) if scheme == "tar" else _from_remote(name, limits)


def _from_path(path: str, limits: Limits) -> Source:
    with _typed_errors(path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return _from_folder(path)
        if not stat.S_ISREG(status.st_mode):
            with open(path, "rb", buffering=0) as pipe:
                return _from_bytes(_read_to_end(pipe, path, limits), path)
        return _described(lambda: LocalBytes(path), path)


def _from_folder(path: str) -> Source:
    raise UnreadableVideo(path, "it is a folder; name a video file")


def _from_standard_input(limits: Limits) -> Source:
    file: TextIO | None = sys.stdin  # None in a process without one
    if file is None or file.closed or file.isatty():
        raise UsageError("standard input is no file and no pipe; write something like `fewframes ... - < clip.mp4`")
    return _from_file(file.buffer, "<standard input>", limits)


def _from_file(file: BinaryIO, name: str, limits: Limits) -> Source:
    try:
        if file.seekable():
            return _described(lambda: FileBytes(file), name)
        return _from_bytes(_read_to_end(file, name, limits), name)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UnreadableVideo(name, f"reading the file object failed: {error}") from error


def _from_bytes(content: bytes | bytearray | memoryview, name: str) -> Source:
    return _described(lambda: MemoryBytes(content), name)


def _from_remote(address: str, limits: Limits) -> Source:
    opened = RemoteBytes(address, limits=limits)
    return _described(lambda: RemoteBytes(address, file=opened.file), hide_secrets(address))


def _from_tar(address: str, limits: Limits) -> Source:
    member, archive = split_member(address)
    if is_address(archive) and scheme_of(archive) != "file":
        return _from_remote_tar(address, member, archive, limits)
    path = local_path(archive) if is_address(archive) else archive
    with _typed_errors(address):
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableVideo(address, f"{path} is no regular file; name a tar file")
        key = (os.path.abspath(path), status.st_size, status.st_mtime_ns)
        start, stop = find_member(member, name=address, key=key, open_archive=lambda: LocalBytes(path))
        return _described(lambda: PartBytes(LocalBytes(path), start, stop), address)


def _from_remote_tar(address: str, member: str, archive: str, limits: Limits) -> Source:
    name = hide_secrets(address)
    file = RemoteBytes(archive, limits=limits, least_bytes=_TAR_HEADER_BYTES).file

    def open_archive() -> RemoteBytes:
        return RemoteBytes(archive, file=file, least_bytes=_TAR_HEADER_BYTES)

    key = (archive, file.size, file.version)
    part = RemotePart(file, *find_member(member, name=name, key=key, open_archive=open_archive))
    return _described(lambda: RemoteBytes(archive, file=part), name)


def _read_to_end(file: BinaryIO | io.RawIOBase, name: str, limits: Limits) -> bytearray:
    """Everything that comes; memory is taken only for what has come, and never for more than the limit."""
    content, limit = bytearray(), limits.max_buffer_bytes
    while (piece := file.read(min(_PIECE_BYTES, limit + 1 - len(content)))) != b"":
        if piece is None:
            raise OSError("it gives nothing yet; open it for blocking reads")
        content += piece
        if len(content) > limit:
            raise UnreadableVideo(
                name,
                f"it can be read only once, and has more than the {limit} bytes that are kept in memory; "
                "save it to a file first, or raise max_buffer_bytes",
            )
    if not content:
        raise UnreadableVideo(name, "nothing came (0 bytes); a pipe can be read only once")
    return content


@contextlib.contextmanager
def _typed_errors(name: str) -> Iterator[None]:
    """What the system says of a local file, in one line."""
    try:
        yield
    except FileNotFoundError as error:
        # `Path("https://host/clip.mp4")` is the path "https:/host/clip.mp4".
        lost = _LOST_SLASH.match(str(error.filename or name))
        remedy = "give an address as text, since a Path loses one of its slashes" if lost else "check the path"
        raise UnreadableVideo(name, f"no such file; {remedy}") from error
    except PermissionError as error:
        raise UnreadableVideo(name, "permission denied") from error
    except (OSError, ValueError) as error:
        raise UnreadableVideo(name, str(getattr(error, "strerror", None) or error)) from error


def _described(open_bytes: Callable[[], ByteReader], name: str) -> Source:
    """Look at the first bytes of a source."""
    content = open_bytes()
    try:
        if content.size == 0:
            raise UnreadableVideo(name, "the file is empty (0 bytes); download it again")
        header = content.read_range(0, _HEADER_BYTES)
        missing = max(0, (promised_bytes(header) or 0) - content.size)
    finally:
        content.close()
    return Source(open=open_bytes, name=name, header=header, missing_bytes=missing)
