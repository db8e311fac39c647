from __future__ import annotations

import socket
import threading
import time

import pytest

from fewframes.errors import UnreadableVideo
from fewframes.records import Limits
from fewframes.video import remote_http
from fewframes.video.remote import RemoteBytes
from tests.helpers.webserver import Page, WebServer, web

__all__ = ["web"]  # a fixture

CONTENT = bytes(number * 31 % 251 for number in range(300_007))
KIB = 1024


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(remote_http, "_LONGEST_PAUSE_SECONDS", 0.0)


def opened(address: str, **limits: int) -> RemoteBytes:
    return RemoteBytes(address, limits=Limits(**limits))


def test_only_the_parts_asked_for_are_fetched_and_counted(web: WebServer) -> None:
    reader = opened(web.add("/a.mp4", CONTENT))
    assert (reader.size, reader.file.version) == (300_007, '"1"')
    assert (reader.bytes_read, reader.requests) == (64 * KIB, 1)
    assert reader.read_range(0, 4 * KIB) == CONTENT[: 4 * KIB]
    assert reader.requests == 1
    assert reader.read_ranges([(200_000, 200_010), (100_000, 100_020), (300_000, 400_000)]) == [
        CONTENT[200_000:200_010],
        CONTENT[100_000:100_020],
        CONTENT[300_000:],
    ]
    assert (reader.bytes_read, reader.requests) == (64 * KIB + 37, 4)
    assert web.sent == reader.bytes_read
    assert len(web.requests) == reader.requests
    assert [request.part for request in web.requests[1:]] != []
    assert {request.part for request in web.requests} == {
        (0, 64 * KIB),
        (100_000, 100_020),
        (200_000, 200_010),
        (300_000, 300_007),
    }
    assert {(request.method, request.headers["accept-encoding"]) for request in web.requests} == {("GET", "identity")}


def test_requests_run_side_by_side_but_not_too_many(web: WebServer) -> None:
    def wait(_: dict[str, str]) -> None:
        time.sleep(0.05)

    reader = opened(web.add("/a.mp4", CONTENT, guard=wait))
    ranges = [(start, start + 1) for start in range(70_000, 290_000, 10_000)]
    assert reader.read_ranges(ranges) == [CONTENT[start:stop] for start, stop in ranges]
    assert 2 <= web.most_at_once <= 8


def test_large_ranges_come_in_pieces(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = opened(web.add("/a.mp4", CONTENT))
    monkeypatch.setattr(remote_http, "_LARGEST_REQUEST", 100_000)
    assert reader.read_range(70_000, 290_000) == CONTENT[70_000:290_000]
    assert sorted(request.part or (0, 0) for request in web.requests[1:]) == [
        (70_000, 170_000),
        (170_000, 270_000),
        (270_000, 290_000),
    ]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_server_without_parts_sends_the_whole_file_once(web: WebServer, says_length: bool) -> None:
    reader = opened(web.add("/a.mp4", CONTENT, gives_parts=False, says_length=says_length))
    assert reader.read_ranges([(0, 10), (299_999, 400_000)]) == [CONTENT[:10], CONTENT[299_999:]]
    assert reader.read_range(150_000, 150_001) == CONTENT[150_000:150_001]
    assert (reader.size, reader.bytes_read, reader.requests) == (300_007, 300_007, 1)


@pytest.mark.parametrize(("says_length", "stated"), [(True, "300007 bytes"), (False, "more")])
def test_a_whole_file_above_the_limit_is_refused_before_it_is_kept(
    web: WebServer, says_length: bool, stated: str
) -> None:
    address = web.add("/a.mp4", CONTENT, gives_parts=False, says_length=says_length)
    assert opened(address, max_buffer_bytes=300_007).bytes_read == 300_007
    reason = f"gives no parts of the file, and it has {stated}, above the limit of 300006 .* or raise max_buffer_bytes"
    with pytest.raises(UnreadableVideo, match=reason):
        opened(address, max_buffer_bytes=300_006)
    # With parts, no limit applies.
    assert opened(web.add("/b.mp4", CONTENT), max_buffer_bytes=1).size == 300_007


@pytest.mark.parametrize("gives_parts", [True, False])
def test_an_empty_file_has_no_bytes(web: WebServer, gives_parts: bool) -> None:
    reader = opened(web.add("/a.mp4", b"", gives_parts=gives_parts))
    assert (reader.size, reader.read_range(0, 10), reader.requests) == (0, b"", 1)


def test_a_file_shorter_than_the_first_request(web: WebServer) -> None:
    reader = opened(web.add("/a.mp4", b"0123456789"))
    assert (reader.size, reader.read_range(3, 99), reader.bytes_read, reader.requests) == (10, b"3456789", 10, 1)


# Answers that are not what was asked for


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ("bytes 1-65536/300007", r"another part than asked for \(bytes 1-65536/300007, not 0-65535\)"),
        ("bytes 0-65534/300007", r"another part than asked for \(bytes 0-65534/300007, not 0-65535\)"),
        ("bytes 0-65535/60000", r"another part than asked for \(bytes 0-65535/60000, not 0-59999\)"),
        ("bytes 0-65535/*", r"does not say which part of how many bytes it sends \(bytes 0-65535/\*\)"),
        ("octets 0-65535/300007", r"does not say which part of how many bytes it sends \(octets 0-65535/300007\)"),
        ("", r"does not say which part of how many bytes it sends \(no Content-Range\)"),
    ],
)
def test_wrong_content_ranges_are_refused(web: WebServer, stated: str, reason: str) -> None:
    address = web.add("/a.mp4", CONTENT, edit=lambda _, headers: headers.update({"Content-Range": stated}))
    with pytest.raises(UnreadableVideo, match=f"{reason}; download the file and name the copy"):
        opened(address)


def test_a_wrong_part_later_is_refused(web: WebServer) -> None:
    reader = opened(web.add("/a.mp4", CONTENT))
    web.pages["/a.mp4"].edit = lambda _, headers: headers.update({"Content-Range": "bytes 0-9/300007"})
    with pytest.raises(UnreadableVideo, match=r"another part than asked for \(bytes 0-9/300007, not 100000-100009\)"):
        reader.read_ranges([(100_000, 100_010)])


def test_less_content_than_stated_is_refused(web: WebServer) -> None:
    def shorten(_: int, headers: dict[str, str]) -> None:
        headers["Content-Range"] = "bytes 0-9/10"

    with pytest.raises(UnreadableVideo, match="sends 5 bytes instead of the 10 that it states"):
        opened(web.add("/a.mp4", b"01234", edit=shorten))


def test_more_content_than_stated_is_refused(web: WebServer) -> None:
    def lengthen(_: int, headers: dict[str, str]) -> None:
        headers["Content-Range"] = "bytes 0-9/10"

    with pytest.raises(UnreadableVideo, match="sends more instead of the 10 that it states"):
        opened(web.add("/a.mp4", b"0123456789ab", edit=lengthen))


@pytest.mark.parametrize("gives_parts", [True, False])
def test_compressed_answers_are_refused(web: WebServer, gives_parts: bool) -> None:
    def compress(_: int, headers: dict[str, str]) -> None:
        headers["Content-Encoding"] = "gzip"

    with pytest.raises(UnreadableVideo, match=r"sends the file compressed \(gzip\) though asked not to"):
        opened(web.add("/a.mp4", CONTENT, gives_parts=gives_parts, edit=compress))


def change_etag(page: Page) -> None:
    page.etag = '"2"'


def change_size(page: Page) -> None:
    page.content += b"more"


def change_date(page: Page) -> None:
    page.etag = None
    page.edit = lambda _, headers: headers.update({"Last-Modified": "today"})


def stop_giving_parts(page: Page) -> None:
    page.gives_parts = False
    page.etag = '"2"'


def shrink(page: Page) -> None:
    page.content = page.content[:1000]


@pytest.mark.parametrize(
    ("change", "was", "now"),
    [
        (change_etag, '"1"', '"2"'),
        (change_size, "300007 bytes", "300011 bytes"),
        (change_date, '"1"', "today"),
        (stop_giving_parts, '"1"', '"2"'),
        (shrink, "300007 bytes", "1000 bytes"),
    ],
)
def test_a_file_that_changes_is_an_error(web: WebServer, change: object, was: str, now: str) -> None:
    assert callable(change)
    reader = opened(web.add("/a.mp4", CONTENT))
    change(web.pages["/a.mp4"])
    with pytest.raises(UnreadableVideo, match=rf"changed while it was read \(it had {was}, now {now}\); read it again"):
        reader.read_range(200_000, 200_001)


def test_a_weak_tag_is_no_change(web: WebServer) -> None:
    reader = opened(web.add("/a.mp4", CONTENT, etag='W/"1"'))
    web.pages["/a.mp4"].etag = '"1"'
    assert reader.read_range(200_000, 200_001) == CONTENT[200_000:200_001]


def test_a_server_that_stops_giving_parts(web: WebServer) -> None:
    reader = opened(web.add("/a.mp4", CONTENT))
    web.pages["/a.mp4"].gives_parts = False
    with pytest.raises(UnreadableVideo, match="gave parts of the file, but no longer does"):
        reader.read_range(200_000, 200_001)
    assert web.sent < 2 * len(CONTENT)


# Servers and networks that fail


@pytest.mark.parametrize("misdeed", ["reset", "cut", 500, 502, 503, 429])
def test_what_may_pass_is_tried_again(web: WebServer, misdeed: int | str) -> None:
    reader = opened(web.add("/a.mp4", CONTENT, first=[misdeed, misdeed]))
    assert reader.requests == len(web.requests) >= 3
    web.pages["/a.mp4"].first = [misdeed]
    assert reader.read_range(100_000, 200_000) == CONTENT[100_000:200_000]
    assert reader.requests == len(web.requests) >= 5
    assert reader.bytes_read <= web.sent
    if misdeed == "cut":
        assert reader.bytes_read > 64 * KIB + 100_000  # what was lost was sent nevertheless


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        ("reset", "the connection broke"),
        ("cut", "the connection broke"),
        (500, "the server answers 500 Internal Server Error"),
        (503, "the server answers 503 Service Unavailable"),
    ],
)
def test_four_tries_are_all(web: WebServer, misdeed: int | str, reason: str) -> None:
    address = web.add("/a.mp4", CONTENT, always=misdeed)
    with pytest.raises(UnreadableVideo, match=rf"{reason} \(4 times in a row\); try again later"):
        opened(address)
    # aiohttp itself repeats a request on a connection that had been used and turns out to be broken.
    assert 4 <= len(web.requests) <= (8 if misdeed == "reset" else 4)


def test_the_pauses_grow_and_a_server_may_ask_for_longer_ones(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(remote_http.asyncio, "sleep", note)
    monkeypatch.setattr(remote_http, "_FIRST_PAUSE_SECONDS", 4.0)
    monkeypatch.setattr(remote_http, "_LONGEST_PAUSE_SECONDS", 20.0)
    opened(web.add("/a.mp4", CONTENT, first=[503, 503, 503]))
    assert [low <= pause <= 2 * low for low, pause in zip((2, 4, 8), pauses, strict=True)] == [True] * 3
    pauses.clear()
    opened(web.add("/b.mp4", CONTENT, first=[503], edit=lambda _, headers: headers.update({"Retry-After": "17"})))
    opened(web.add("/b.mp4", CONTENT, first=[503], edit=lambda _, headers: headers.update({"Retry-After": "3600"})))
    opened(web.add("/b.mp4", CONTENT, first=[503], edit=lambda _, headers: headers.update({"Retry-After": "soon"})))
    assert pauses[:2] == [17.0, 20.0]
    assert 2 <= pauses[2] <= 4


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, r"the server has no such file \(404 Not Found\); check the address"),
        (410, r"the server has no such file \(410 Gone\)"),
        (401, r"refuses access \(401 Unauthorized\); credentials are taken from ~/\.netrc"),
        (403, r"refuses access \(403 Forbidden\); .* a signed address may have expired"),
        (400, "the server answers 400 Bad Request; check the address"),
        (418, "the server answers 418"),
    ],
)
def test_refusals_are_final_and_said_in_one_line(web: WebServer, status: int, reason: str) -> None:
    address = web.add("/a.mp4", CONTENT, always=status)
    with pytest.raises(UnreadableVideo, match=reason) as caught:
        opened(address)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"cannot read {address}: ")
    assert len(web.requests) == 1


def test_hosts_that_are_not_there() -> None:
    with pytest.raises(UnreadableVideo, match=r"the host no-such-host\.invalid is not known; check the address"):
        opened("http://no-such-host.invalid/a.mp4")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(UnreadableVideo, match=rf"cannot connect to 127\.0\.0\.1, port {port}: Connection refused"):
            opened(f"http://127.0.0.1:{port}/a.mp4")


def test_a_silent_server_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "_SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(remote_http, "_sessions", {})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.mp4"
        with pytest.raises(UnreadableVideo, match=r"the server was silent for 0 s \(4 times in a row\)"):
            opened(address)
    remote_http._close_session()


def test_something_else_than_a_web_server() -> None:
    def greet(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=greet, args=(server,))
        thread.start()
        with pytest.raises(UnreadableVideo, match=r"the server gives no proper answer \("):
            opened(f"http://127.0.0.1:{server.getsockname()[1]}/a.mp4")
        thread.join()
