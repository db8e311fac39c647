"""The address of a file on a web server comes in; its length, version and byte ranges go out, by aiohttp.

Every answer is checked: that it is the part asked for, of the same file as before, and not compressed. fsspec's own
reading of web servers believes whatever comes back, and follows redirects anywhere; its event loop is used.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import re
import ssl
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp
import fsspec.asyn
import yarl

from fewframes.errors import UnreadableVideo
from fewframes.video.address import HTTP_SCHEMES, hide_secrets
from fewframes.video.storage import Range, Traffic

__all__ = ["HttpFile"]

_Result = TypeVar("_Result")

_SIDE_BY_SIDE = 8  # requests at a time for one reader
_LARGEST_REQUEST = 8 * 1024 * 1024  # a larger range is fetched in parts, so that little is lost where one breaks off
_MAX_REDIRECTS = 5
_TRIES = 4
_FIRST_PAUSE_SECONDS = 0.5  # before the second try; doubled for each further one
_LONGEST_PAUSE_SECONDS = 30.0
_CONNECT_SECONDS, _SILENCE_SECONDS = 20.0, 30.0

_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSED, _GONE, _PASSING = (401, 403, 407), (404, 410), (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)", re.IGNORECASE)
_DOWNLOAD = "download the file and name the copy"

# One for each process: connections are shared by all readers in it. A forked child must neither use nor close those of
# its parent, so they stay here, under the parent's number.
_sessions: dict[int, aiohttp.ClientSession] = {}


class _TryAgain(Exception):
    """What may pass: a connection that broke, a server that is overloaded. Its text is the reason."""

    def __init__(self, reason: str, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


@dataclass(frozen=True)
class _Answer:
    """Content, what it is part of, and by what the server tells versions apart; without parts it is the whole file."""

    content: bytearray
    size: int
    version: str


class HttpFile:
    """A file at an http:// or https:// address; see `fewframes.video.remote.RemoteFile`.

    Args:
        address: without user and password.
        first_bytes: that are fetched to learn the length of the file, at least one.
        max_buffer_bytes: refuse a longer file if the server gives no parts of it.

    Attributes:
        size: length in bytes.
        version: what the server tells versions of the file apart by.
        head: the first bytes, or all.
        opening: what that cost.

    Raises:
        UnreadableVideo: it cannot be had.
    """

    def __init__(self, address: str, *, first_bytes: int, max_buffer_bytes: int) -> None:
        self._address = self._now_at = address
        self._name = hide_secrets(address)
        self._max_buffer_bytes = max_buffer_bytes
        self.opening = Traffic()
        self._is_open = False
        answer = _run(self._get(0, first_bytes, self.opening))
        self.size, self.version, self.head = answer.size, answer.version, memoryview(answer.content)
        self._is_open = True

    def fetch(self, ranges: Sequence[Range], traffic: Traffic) -> list[bytes]:
        """See `fewframes.video.remote.RemoteFile`."""
        return _run(self._get_all(ranges, traffic))

    async def _get_all(self, ranges: Sequence[Range], traffic: Traffic) -> list[bytes]:
        turn = asyncio.Semaphore(_SIDE_BY_SIDE)

        async def one(start: int, stop: int) -> bytearray:
            async with turn:
                return (await self._get(start, stop, traffic)).content

        parts = [_parts(*each) for each in ranges]
        tasks = [asyncio.ensure_future(one(*part)) for each in parts for part in each]
        try:
            contents = iter(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [b"".join(next(contents) for _ in each) for each in parts]

    async def _get(self, start: int, stop: int, traffic: Traffic) -> _Answer:
        """[start, stop), or less at the end of the file; tried anew where that may help."""
        pause = _FIRST_PAUSE_SECONDS
        for remaining in reversed(range(_TRIES)):
            try:
                return await self._try(start, stop, traffic)
            except _TryAgain as error:
                if remaining == 0:
                    raise self._unreadable(f"{error} ({_TRIES} times in a row); try again later") from error
                # Workers that were refused together must not come back together.
                wait = max(pause * random.uniform(0.5, 1.0), error.pause_seconds)
            await asyncio.sleep(min(wait, _LONGEST_PAUSE_SECONDS))
            pause *= 2
        raise AssertionError("the last try returns or raises")

    async def _try(self, start: int, stop: int, traffic: Traffic) -> _Answer:
        try:
            return await self._follow(start, stop, traffic)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError, ssl.SSLError) as error:
            detail = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
            reason = f"no safe connection: {_one_line(detail)}; check the address, or name the server's certificate "
            raise self._unreadable(reason + "authority in SSL_CERT_FILE") from error
        except aiohttp.ClientConnectorDNSError as error:
            reason = f"the host {error.host} is not known; check the address and the connection to the network"
            raise self._unreadable(reason) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ConnectionResetError):
                raise _TryAgain("the connection broke") from error
            # The loop's own text names the call, not the cause.
            detail = os.strerror(error.os_error.errno) if error.os_error.errno else _one_line(error.os_error)
            reason = f"cannot connect to {error.host}, port {error.port}: {detail}; check the address"
            raise self._unreadable(reason) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise _TryAgain(f"no connection within {_CONNECT_SECONDS:.0f} s") from error
        except TimeoutError as error:
            raise _TryAgain(f"the server was silent for {_SILENCE_SECONDS:.0f} s") from error
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError) as error:
            raise _TryAgain("the connection broke") from error
        except (aiohttp.InvalidURL, aiohttp.ClientResponseError, ValueError) as error:
            detail = error.message if isinstance(error, aiohttp.ClientResponseError) else type(error).__name__
            raise self._unreadable(f"the server gives no proper answer ({_one_line(detail)})") from error
        except aiohttp.ClientError as error:
            raise self._unreadable(f"the transfer failed ({type(error).__name__})") from error

    async def _follow(self, start: int, stop: int, traffic: Traffic) -> _Answer:
        """One request, and those that redirects lead to."""
        address, num_redirects = self._now_at, 0
        session = _session()
        # "identity": a compressed answer's ranges are not those of the file.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        while True:
            # Users and passwords from ~/.netrc go to the host that they are for, as each hop is a request of its own.
            request = session.get(_quoted(address), headers=headers, allow_redirects=False, trace_request_ctx=traffic)
            async with request as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    num_redirects += 1
                    address = self._redirected(address, response.headers["Location"], num_redirects)
                elif response.status in (*_REFUSED, *_GONE) and address == self._now_at != self._address:
                    # Where a redirect led may be valid for some time only.
                    address = self._now_at = self._address
                else:
                    answer = await self._read(response, start, stop, traffic)
                    self._now_at = address
                    return answer

    def _redirected(self, address: str, location: str, number: int) -> str:
        target = urljoin(address, location)
        parts = urlsplit(target)
        if parts.scheme not in HTTP_SCHEMES or not parts.hostname or "@" in parts.netloc:
            raise self._unreadable(
                f"the server redirects to {hide_secrets(target)}, which is refused; only http:// and https:// "
                "addresses without a password are followed"
            )
        if urlsplit(address).scheme == "https" and parts.scheme == "http":
            raise self._unreadable(
                f"the server redirects from https:// to {hide_secrets(target)}, which is refused, as others could read "
                "and change it on the way; name an address that stays encrypted"
            )
        if number > _MAX_REDIRECTS:
            raise self._unreadable(f"the server redirects more than {_MAX_REDIRECTS} times in a row; check the address")
        return target

    async def _read(self, response: aiohttp.ClientResponse, start: int, stop: int, traffic: Traffic) -> _Answer:
        """The content of an answer that is no redirect, checked."""
        if response.status == 206:
            return await self._read_part(response, start, stop, traffic)
        if response.status in (200, 416) and self._is_open:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            self._check_same(_version(response), int(found[3]) if found and found[3] != "*" else None)
            raise self._unreadable("the server gave parts of the file, but no longer does; try again later")
        if response.status == 200:
            return await self._read_whole(response, traffic)
        if response.status == 416:  # no byte of the file is in the range asked for, which begins at 0: it is empty
            return _Answer(bytearray(), 0, _version(response))
        reason = f"{response.status} {response.reason or ''}".strip()
        if response.status in _PASSING:
            wait = response.headers.get("Retry-After", "")
            raise _TryAgain(f"the server answers {reason}", float(wait) if wait.isdecimal() else 0.0)
        if response.status in _GONE:
            raise self._unreadable(f"the server has no such file ({reason}); check the address")
        if response.status in _REFUSED:
            raise self._unreadable(
                f"the server refuses access ({reason}); credentials are taken from ~/.netrc or the file that NETRC "
                "names, and a signed address may have expired"
            )
        raise self._unreadable(f"the server answers {reason}; check the address")

    async def _read_part(self, response: aiohttp.ClientResponse, start: int, stop: int, traffic: Traffic) -> _Answer:
        self._check_plain(response)
        stated = response.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(stated.strip())
        if found is None or found[1] is None or found[3] == "*":
            what = stated or "no Content-Range"
            raise self._unreadable(
                f"the server does not say which part of how many bytes it sends ({what}); {_DOWNLOAD}"
            )
        first, end, size = int(found[1]), int(found[2]) + 1, int(found[3])
        self._check_same(_version(response), size)
        if first != start or end != min(stop, size):
            asked = f"{start}-{min(stop, size) - 1}"
            raise self._unreadable(f"the server sends another part than asked for ({stated}, not {asked}); {_DOWNLOAD}")
        content = await self._content(response, end - start, traffic)
        if content is None or len(content) != end - start:
            length = "more" if content is None else f"{len(content)} bytes"
            raise self._unreadable(
                f"the server sends {length} instead of the {end - start} that it states; {_DOWNLOAD}"
            )
        return _Answer(content, size, _version(response))

    async def _read_whole(self, response: aiohttp.ClientResponse, traffic: Traffic) -> _Answer:
        """The first answer of a server that gives no parts."""
        self._check_plain(response)
        limit = self._max_buffer_bytes
        too_long = (response.content_length or 0) > limit
        content = None if too_long else await self._content(response, limit, traffic)
        if content is None:
            length = f"{response.content_length} bytes" if response.content_length else "more"
            raise self._unreadable(
                f"the server gives no parts of the file, and it has {length}, above the limit of {limit} that are kept "
                f"in memory; {_DOWNLOAD}, or raise max_buffer_bytes"
            )
        return _Answer(content, len(content), _version(response))

    async def _content(self, response: aiohttp.ClientResponse, limit: int, traffic: Traffic) -> bytearray | None:
        """All of it; None if it is longer than `limit`."""
        content = bytearray()
        async for chunk in response.content.iter_any():
            traffic.bytes_read += len(chunk)
            if len(content) + len(chunk) > limit:
                return None
            content += chunk
        return content

    def _check_plain(self, response: aiohttp.ClientResponse) -> None:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise self._unreadable(
                f"the server sends the file compressed ({encoding}) though asked not to; {_DOWNLOAD}"
            )

    def _check_same(self, version: str, size: int | None) -> None:
        """Raise if an answer belongs to another version of the file than the first."""
        if not self._is_open:
            return
        if size is not None and size != self.size:
            was, now = f"{self.size} bytes", f"{size} bytes"
        elif version != self.version:
            was, now = self.version or "no version", version or "none"
        else:
            return
        raise self._unreadable(f"the file changed while it was read (it had {was}, now {now}); read it again")

    def _unreadable(self, reason: str) -> UnreadableVideo:
        return UnreadableVideo(self._name, reason)


def _version(response: aiohttp.ClientResponse) -> str:
    """By what the server tells versions of a file apart; a weak tag says less, but is no other tag."""
    return response.headers.get("ETag", response.headers.get("Last-Modified", "")).removeprefix("W/")


def _parts(start: int, stop: int) -> list[Range]:
    return [(at, min(at + _LARGEST_REQUEST, stop)) for at in range(start, stop, _LARGEST_REQUEST)]


def _quoted(address: str) -> yarl.URL:
    """The address as the server gets it: what is encoded stays as it is, since signatures depend on it."""
    address = address.partition("#")[0]
    return yarl.URL(address, encoded=address.isascii() and address.isprintable() and " " not in address)


def _one_line(detail: object) -> str:
    return " ".join(str(detail).split())


def _session() -> aiohttp.ClientSession:
    """This process's connections; called on the event loop only."""
    session = _sessions.get(os.getpid())
    if session is None:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_count_request)
        session = _sessions[os.getpid()] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS),
            auto_decompress=False,
            trace_configs=[trace],
            trust_env=True,  # ~/.netrc, and HTTP_PROXY and the like
        )
        atexit.register(_close_session)
    return session


async def _count_request(
    session: aiohttp.ClientSession, context: SimpleNamespace, sent: aiohttp.TraceRequestHeadersSentParams
) -> None:
    """Count what was sent, also where aiohttp repeats a request by itself."""
    traffic: Traffic = context.trace_request_ctx
    traffic.requests += 1


def _close_session() -> None:
    session = _sessions.pop(os.getpid(), None)
    if session is not None:
        _run(session.close())


def _run(work: Coroutine[object, object, _Result]) -> _Result:
    """Wait for work on fsspec's event loop, which runs in a thread of its own and is made anew after a fork."""
    future = asyncio.run_coroutine_threadsafe(work, fsspec.asyn.get_loop())
    try:
        return future.result()
    finally:
        future.cancel()  # if the wait was interrupted
