"""The address of a file on a web server or in an object store comes in; counted reads of its byte ranges go out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fewframes.errors import UsageError
from fewframes.records import Limits
from fewframes.video.address import HTTP_SCHEMES, check_remote, hide_secrets, scheme_of
from fewframes.video.storage import Block, Range, Traffic, cut_out, merged, ranges_of, uncovered

__all__ = ["RemoteBytes", "RemoteFile", "RemotePart"]

# The first request fetches this much of the file, in which most indexes of short clips lie; each later one at least
# this much, and twice as much each time that reading goes on where the last one ended.
_LEAST_BYTES = 64 * 1024
_MOST_AHEAD_BYTES = 4 * 1024 * 1024
# What was fetched is kept up to this size, so that reading on from it does not fetch it again.
_MAX_KEPT_BYTES = 16 * 1024 * 1024
# Ranges this near to each other are fetched together: a request costs about as many bytes.
_NEAR_BYTES = 4 * 1024
_LIMITS = Limits()


class RemoteFile(Protocol):
    """One file somewhere else, opened; it has no position, so that several readers may share it."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        ...

    @property
    def version(self) -> str:
        """What the server tells versions of the file apart by; empty if by nothing."""
        ...

    @property
    def head(self) -> bytes | memoryview:
        """Its first bytes; all of them if the server gives no parts."""
        ...

    @property
    def opening(self) -> Traffic:
        """What opening it cost."""
        ...

    def fetch(self, ranges: Sequence[Range], traffic: Traffic) -> list[bytes]:
        """These ranges, each whole, side by side. Raises UnreadableVideo."""
        ...


class RemotePart:
    """A range of a remote file, such as a file in a tar file, as a `RemoteFile` of its own.

    Args:
        whole: the file that it is a part of.
        start: where it begins in that file.
        stop: where it ends.

    Raises:
        UnreadableVideo: its beginning cannot be had.
    """

    def __init__(self, whole: RemoteFile, start: int, stop: int) -> None:
        self._whole, self._start = whole, start
        self.size, self.version = stop - start, whole.version
        self.opening = Traffic(whole.opening.requests, whole.opening.bytes_read)
        self.head = memoryview(whole.head)[start:stop]
        if len(self.head) < min(self.size, _LEAST_BYTES):
            head = self.fetch([(0, min(self.size, _LEAST_BYTES))], self.opening)
            self.head = memoryview(head[0])

    def fetch(self, ranges: Sequence[Range], traffic: Traffic) -> list[bytes]:
        """See `RemoteFile`."""
        return self._whole.fetch([(self._start + start, self._start + stop) for start, stop in ranges], traffic)


class RemoteBytes:
    """A file at an address, read by ranges; a `ByteReader`.

    Args:
        address: as in docs/where-videos-live.md.
        limits: `max_buffer_bytes` bounds what is kept of a file whose server gives no parts.
        file: the same file, if it was opened before; what that cost counts for this reader too.
        least_bytes: what a request fetches at least.

    Attributes:
        file: the opened file, for other readers of it.
        size: length in bytes.

    Raises:
        UsageError: there is no such kind of address, it holds a password, or a package for it is not installed.
        UnreadableVideo: there is no such file, no permission, or no connection.
    """

    def __init__(
        self,
        address: str,
        *,
        limits: Limits = _LIMITS,
        file: RemoteFile | None = None,
        least_bytes: int = _LEAST_BYTES,
    ) -> None:
        self.file = _open_file(address, limits, least_bytes) if file is None else file
        self.size = self.file.size
        self._traffic = Traffic(self.file.opening.requests, self.file.opening.bytes_read)
        self._least_bytes = self._ahead = least_bytes
        self._went_to = len(self.file.head)  # where the last fetch ended
        self._kept: list[Block] = []  # oldest first; none overlaps another or the head

    @property
    def requests(self) -> int:
        """How many requests were sent, with redirects and repetitions."""
        return self._traffic.requests

    @property
    def bytes_read(self) -> int:
        """How many bytes of content crossed the wire."""
        return self._traffic.bytes_read

    def read_range(self, start: int, stop: int) -> bytes:
        """See `ByteReader`; fetches more than is asked for, so that reading on in small steps is no request each."""
        held = self._held()
        gaps = uncovered(merged([(start, min(stop, self.size))]), ranges_of(held))
        if gaps:
            begin = gaps[0][0]
            self._ahead = min(2 * self._ahead, _MOST_AHEAD_BYTES) if begin == self._went_to else self._least_bytes
            self._went_to = min(max(gaps[-1][1], begin + self._ahead), self.size)
            held += self._fetch(uncovered([(begin, self._went_to)], ranges_of(held)))
        return cut_out(held, start, stop)

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """See `ByteReader`; fetches these ranges, and what little lies between those that are near to each other."""
        held = self._held()
        wanted = merged([(start, min(stop, self.size)) for start, stop in ranges], near=_NEAR_BYTES)
        held += self._fetch(uncovered(wanted, ranges_of(held)))
        held.sort(key=lambda block: block[0])
        return [cut_out(held, start, stop) for start, stop in ranges]

    def close(self) -> None:
        """See `ByteReader`."""
        self._kept.clear()

    def _held(self) -> list[Block]:
        return sorted(((0, self.file.head), *self._kept), key=lambda block: block[0])

    def _fetch(self, ranges: Sequence[Range]) -> list[Block]:
        contents = self.file.fetch(ranges, self._traffic) if ranges else []
        new: list[Block] = [(start, content) for (start, _), content in zip(ranges, contents, strict=True)]
        self._kept += new
        while sum(len(block) for _, block in self._kept) > _MAX_KEPT_BYTES:
            self._kept.pop(0)
        return new


def _open_file(address: str, limits: Limits, first_bytes: int) -> RemoteFile:
    scheme = scheme_of(address)
    check_remote(address)
    try:
        if scheme in HTTP_SCHEMES:
            from fewframes.video.remote_http import HttpFile

            return HttpFile(address, first_bytes=first_bytes, max_buffer_bytes=limits.max_buffer_bytes)
        from fewframes.video.remote_store import StoreFile

        return StoreFile(address, first_bytes=first_bytes)
    except ImportError as error:
        packages = {"gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
        what = packages.get(scheme, "'fewframes[remote]'")
        raise UsageError(f"{hide_secrets(address)} needs a package that is missing; run pip install {what}") from error
