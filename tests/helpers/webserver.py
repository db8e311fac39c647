"""Files come in; a web server on this machine that serves them, well or badly, goes out, with a record of what it was
asked."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# What a page can do instead of answering properly: an error's status; ("redirect", status, address); "reset": break
# the connection; "cut": break it in the middle of the content.
Misdeed = int | str | tuple[str, int, str]


@dataclass
class Page:
    """One file of the server, and how it is served.

    Attributes:
        content: its bytes.
        etag: its version as the server states it.
        gives_parts: whether ranges are honoured.
        allows_head: whether HEAD is.
        says_length: whether the length is stated, or the content sent in chunks.
        first: misdeeds, one for each of the first requests.
        always: a misdeed for every request after those.
        edit: changes the headers of an answer, given the status.
        guard: gives the status to refuse a request's headers with, or None.
    """

    content: bytes = b""
    etag: str | None = '"1"'
    gives_parts: bool = True
    allows_head: bool = False
    says_length: bool = True
    first: list[Misdeed] = field(default_factory=list)
    always: Misdeed | None = None
    edit: Callable[[int, dict[str, str]], None] | None = None
    guard: Callable[[dict[str, str]], int | None] | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def part(self) -> tuple[int, int] | None:
        """[start, stop) of the range asked for."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) + 1) if found else None


@dataclass
class WebServer:
    """A running server; `sent` counts the bytes of content that it sent."""

    address: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    most_at_once: int = 0

    def add(self, path: str, content: bytes, **how: object) -> str:
        """Serve a file; returns its address."""
        self.pages[path] = Page(content, **how)  # type: ignore[arg-type]
        return self.address + path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    web: WebServer
    lock = threading.Lock()
    busy = 0

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        with self.lock:
            self.web.requests.append(request)
            type(self).busy += 1
            self.web.most_at_once = max(self.web.most_at_once, self.busy)
        try:
            page = self.web.pages.get(self.path.partition("?")[0])
            if page is None:
                self._refuse(404)
            elif page.guard is not None and (status := page.guard(headers)) is not None:
                self._refuse(status)
            elif not body and not page.allows_head:
                self._refuse(405)
            else:
                misdeed = page.first.pop(0) if page.first else page.always
                if misdeed is None or misdeed == "cut":
                    self._serve(page, request, body=body, cut=misdeed is not None)
                elif misdeed == "reset":
                    self._reset()
                elif isinstance(misdeed, tuple):
                    self._refuse(misdeed[1], page, {"Location": misdeed[2]})
                else:
                    assert isinstance(misdeed, int)
                    self._refuse(misdeed, page)
        finally:
            with self.lock:
                type(self).busy -= 1

    def _refuse(self, status: int, page: Page | None = None, more: dict[str, str] | None = None) -> None:
        headers = {"Content-Length": "0", **(more or {})}
        if page is not None and page.edit is not None:
            page.edit(status, headers)
        self._send_head(status, headers)

    def _send_head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _serve(self, page: Page, request: Request, *, body: bool, cut: bool) -> None:
        content, status = page.content, 200
        headers = {"ETag": page.etag} if page.etag is not None else {}
        if page.gives_parts and request.part is not None:
            start, stop = request.part[0], min(request.part[1], len(content))
            if start >= len(content):
                status, headers["Content-Range"], content = 416, f"bytes */{len(content)}", b""
            else:
                status, headers["Content-Range"] = 206, f"bytes {start}-{stop - 1}/{len(content)}"
                content = content[start:stop]
        if page.says_length:
            headers["Content-Length"] = str(len(content))
        else:
            headers["Transfer-Encoding"] = "chunked"
        if page.edit is not None:
            page.edit(status, headers)
        self._send_head(status, headers)
        if body:
            with contextlib.suppress(OSError):  # a client that has heard enough goes away
                self._send(content[: len(content) // 2] if cut else content, chunked=not page.says_length)
            if cut:
                self._reset()

    def _send(self, content: bytes, *, chunked: bool) -> None:
        for at in range(0, len(content), 1 << 16):
            piece = content[at : at + (1 << 16)]
            with self.lock:  # before it goes out: a client may have it, and ask how much was sent, in the next moment
                self.web.sent += len(piece)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # connections that break are part of the tests


@contextlib.contextmanager
def running_server(certificate: Path | None = None) -> Iterator[WebServer]:
    """A server for the time of a `with` statement; over TLS with a file that holds a certificate and its key."""
    handler = type("Handler", (_Handler,), {"lock": threading.Lock()})
    server = _Server(("127.0.0.1", 0), handler)
    scheme, host = ("http", "127.0.0.1") if certificate is None else ("https", "localhost")
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    handler.web = web = WebServer(f"{scheme}://{host}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def web() -> Iterator[WebServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that nobody vouches for but itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with; install it to test https://")
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "certificate.pem"
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = [openssl, "req", *options, *names, "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + made.read_bytes())
    return both
