"""Where a web server's answers may lead, what it may learn, and who may share its connections."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewframes.errors import UnreadableVideo
from fewframes.video import remote_http
from fewframes.video.remote import RemoteBytes
from fewframes.video.remote_http import HttpFile
from fewframes.video.storage import Traffic
from tests.helpers.remote_child import read_in_child
from tests.helpers.webserver import WebServer, certificate, running_server, web

__all__ = ["certificate", "web"]  # fixtures

CONTENT = bytes(number * 31 % 251 for number in range(300_007))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_http, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(remote_http, "_LONGEST_PAUSE_SECONDS", 0.0)


def opened(address: str) -> RemoteBytes:
    return RemoteBytes(address)


# Redirects


def test_redirects_are_followed_and_remembered(web: WebServer) -> None:
    web.add("/real/b.mp4", CONTENT)
    web.add("/step", b"", always=("redirect", 307, "real/b.mp4?part=1"))
    reader = opened(web.add("/a.mp4", b"", always=("redirect", 302, "/step")))
    assert reader.read_range(100_000, 100_001) == CONTENT[100_000:100_001]
    assert [request.path for request in web.requests] == ["/a.mp4", "/step", "/real/b.mp4?part=1", "/real/b.mp4?part=1"]
    assert reader.requests == 4


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_redirect_that_has_expired_is_asked_for_again(web: WebServer, status: int) -> None:
    web.add("/old.mp4", CONTENT)
    web.add("/new.mp4", CONTENT)
    reader = opened(web.add("/a.mp4", b"", first=[("redirect", 302, "/old.mp4")], always=("redirect", 302, "/new.mp4")))
    web.pages["/old.mp4"].always = status
    assert reader.read_range(100_000, 100_001) == CONTENT[100_000:100_001]
    web.pages["/new.mp4"].always = status
    with pytest.raises(UnreadableVideo, match=str(status)):
        reader.read_range(200_000, 200_001)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("ftp://host/a.mp4", "ftp://host/a.mp4"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("s3://bucket/a.mp4", "s3://bucket/a.mp4"),
        ("data:text/plain,hello", "data:text/plain,hello"),
        ("http://user:secret@127.0.0.1/a.mp4", r"http://\*\*\*@127.0.0.1/a.mp4"),
    ],
)
def test_redirects_elsewhere_are_refused(web: WebServer, location: str, shown: str) -> None:
    address = web.add("/a.mp4", b"", always=("redirect", 302, location))
    with pytest.raises(UnreadableVideo, match=f"redirects to {shown}, which is refused; only http") as caught:
        opened(address)
    assert "secret" not in str(caught.value)
    assert len(web.requests) == 1


def test_circles_of_redirects_end(web: WebServer) -> None:
    address = web.add("/a.mp4", b"", always=("redirect", 301, "/a.mp4"))
    with pytest.raises(UnreadableVideo, match="redirects more than 5 times in a row"):
        opened(address)
    assert len(web.requests) == 6


@pytest.fixture
def secure(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A server over TLS that is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(remote_http, "_sessions", {})
    with running_server(certificate) as server:
        yield server
    remote_http._close_session()


def test_from_http_to_https_but_not_back(web: WebServer, secure: WebServer) -> None:
    secure.add("/b.mp4", CONTENT)
    up = web.add("/a.mp4", b"", always=("redirect", 302, secure.address + "/b.mp4"))
    assert opened(up).read_range(100_000, 100_001) == CONTENT[100_000:100_001]
    web.add("/c.mp4", CONTENT)
    down = secure.add("/d.mp4", b"", always=("redirect", 302, web.address + "/c.mp4?token=abc"))
    reason = rf"redirects from https:// to {web.address}/c\.mp4\?token=\*\*\*, which is refused, as others could read"
    with pytest.raises(UnreadableVideo, match=reason):
        opened(down)
    assert all(request.path == "/a.mp4" for request in web.requests)


def test_certificates_that_nobody_vouches_for(certificate: Path) -> None:
    with running_server(certificate) as server:
        address = server.add("/a.mp4", CONTENT)
        with pytest.raises(UnreadableVideo, match=r"no safe connection: .*self.signed.* SSL_CERT_FILE"):
            opened(address)
    assert server.requests == []


def test_a_plain_server_at_a_secure_address(web: WebServer) -> None:
    with pytest.raises(UnreadableVideo, match=r"no safe connection: .*SSL"):
        opened(web.add("/a.mp4", CONTENT).replace("http://", "https://"))


# Credentials, names


def test_credentials_come_from_netrc_and_go_to_their_host_only(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guard(headers: dict[str, str]) -> int | None:
        return None if headers.get("authorization") == "Basic dXNlcjpwYXNzd29yZA==" else 401  # user:password

    address = web.add("/a.mp4", CONTENT, guard=guard)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login user password password\n")
    netrc.chmod(0o600)
    with pytest.raises(UnreadableVideo, match="refuses access"):
        opened(address)
    monkeypatch.setenv("NETRC", str(netrc))
    with pytest.raises(UnreadableVideo, match="refuses access"):
        opened(address)  # 127.0.0.1 is not the host that the password is for
    local = address.replace("127.0.0.1", "localhost")
    reader = opened(local)
    assert reader.read_range(100_000, 100_001) == CONTENT[100_000:100_001]

    # A redirect from that host to another one does not take the password along.
    web.requests.clear()
    web.add("/open.mp4", CONTENT)
    web.add("/b.mp4", b"", guard=guard, always=("redirect", 302, web.address + "/open.mp4"))
    opened(local.replace("/a.mp4", "/b.mp4"))
    assert ["authorization" in request.headers for request in web.requests] == [True, False]


def test_no_cookies_are_kept(web: WebServer) -> None:
    address = web.add("/a.mp4", CONTENT, edit=lambda _, headers: headers.update({"Set-Cookie": "who=me"}))
    opened(address).read_range(100_000, 100_001)
    assert not any("cookie" in request.headers for request in web.requests)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("/a%2Fb.mp4?X-Sig=a%2Bb%2F%3D&x=%7E", "/a%2Fb.mp4?X-Sig=a%2Bb%2F%3D&x=%7E"),
        ("/a b.mp4", "/a%20b.mp4"),
        ("/视频.mp4", "/%E8%A7%86%E9%A2%91.mp4"),
        ("/a.mp4#t=3", "/a.mp4"),
    ],
)
def test_addresses_are_sent_as_they_are_written(web: WebServer, written: str, asked: str) -> None:
    web.add(asked.partition("?")[0], CONTENT)
    opened(web.address + written)
    assert [request.path for request in web.requests] == [asked]


def test_secrets_are_hidden_in_errors(web: WebServer) -> None:
    with pytest.raises(UnreadableVideo) as caught:
        opened(web.address + "/a.mp4?id=7&X-Amz-Signature=abc123&token=t0")
    assert caught.value.path == web.address + "/a.mp4?id=7&X-Amz-Signature=***&token=***"


# Threads and processes


def read_two(address: str, expected: list[bytes]) -> bool:
    reader = RemoteBytes(address)
    return reader.read_ranges([(100_000, 100_100), (290_000, 290_100)]) == expected


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_have_connections_of_their_own(web: WebServer, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method} processes")
    address, expected = web.add("/a.mp4", CONTENT), [CONTENT[100_000:100_100], CONTENT[290_000:290_100]]
    reader = RemoteBytes(address)  # so that the parent's loop runs and its connections are open
    assert read_two(address, expected)
    context = multiprocessing.get_context(method)
    arguments = (address, reader if method == "fork" else None, CONTENT)
    children = [context.Process(target=read_in_child, args=arguments) for _ in range(2)]
    for process in children:
        process.start()
    assert read_two(address, expected)
    for process in children:
        process.join(60)
        assert process.exitcode == 0
    # The children did not take the parent's connections away.
    for start in range(80_000, 90_000, 1000):
        assert reader.read_range(start, start + 1) == CONTENT[start : start + 1]
    assert read_two(address, expected)


def test_threads_share_the_connections(web: WebServer) -> None:
    address, expected = web.add("/a.mp4", CONTENT), [CONTENT[100_000:100_100], CONTENT[290_000:290_100]]
    right: list[bool] = []
    threads = [threading.Thread(target=lambda: right.append(read_two(address, expected))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert right == [True] * 12


def test_one_opened_file_serves_several_readers(web: WebServer) -> None:
    file = HttpFile(web.add("/a.mp4", CONTENT), first_bytes=10, max_buffer_bytes=1)
    assert bytes(file.head) == CONTENT[:10]
    one, two = Traffic(), Traffic()
    assert file.fetch([(10, 30)], one) == [CONTENT[10:30]]
    assert file.fetch([(50, 55), (70, 71)], two) == [CONTENT[50:55], CONTENT[70:71]]
    assert (one, two, file.opening) == (Traffic(1, 20), Traffic(2, 6), Traffic(1, 10))
