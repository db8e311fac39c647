from __future__ import annotations

import datetime
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fewframes.errors import UnreadableVideo
from fewframes.video import remote_store
from fewframes.video.reader import open_video
from fewframes.video.remote import RemoteBytes
from tests.helpers.painted import read_numbers, write_painted
from tests.helpers.remote_child import read_in_child
from tests.helpers.webserver import Page, WebServer, web

__all__ = ["web"]  # a fixture

CONTENT = bytes(number * 31 % 251 for number in range(300_007))
KIB = 1024


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    store = fsspec.filesystem("memory")
    store.pipe("/clips/a.mp4", CONTENT)
    yield store
    store.rm("/clips", recursive=True)


def test_only_the_parts_asked_for_are_fetched_and_counted(memory: MemoryFileSystem) -> None:
    reader = RemoteBytes("memory://clips/a.mp4")
    assert (reader.size, reader.bytes_read) == (300_007, 64 * KIB)
    assert reader.read_range(0, 9) == CONTENT[:9]
    ranges = [(200_000, 200_010), (100_000, 100_020), (300_000, 400_000)]
    assert reader.read_ranges(ranges) == [CONTENT[start:stop] for start, stop in ranges]
    assert reader.bytes_read == 64 * KIB + 37
    assert reader.requests == 2 + 3 + 1  # length and head; parts; whether the file is still the same


def test_an_empty_file_and_short_ones(memory: MemoryFileSystem) -> None:
    memory.pipe("/clips/empty.mp4", b"")
    reader = RemoteBytes("memory://clips/empty.mp4")
    assert (reader.size, reader.read_range(0, 5), reader.bytes_read) == (0, b"", 0)
    memory.pipe("/clips/short.mp4", b"0123456789")
    assert RemoteBytes("memory://clips/short.mp4").read_range(5, 20) == b"56789"


@pytest.mark.parametrize(
    ("content", "reason"), [(CONTENT + b"more", "it had 300007 bytes, now 300011"), (CONTENT, "it had 20.*, now 20")]
)
def test_a_file_that_changes_is_an_error(memory: MemoryFileSystem, content: bytes, reason: str) -> None:
    reader = RemoteBytes("memory://clips/a.mp4")
    memory.pipe("/clips/a.mp4", content)
    with pytest.raises(UnreadableVideo, match=rf"changed while it was read \({reason}"):
        reader.read_range(200_000, 200_001)


def test_a_file_that_is_removed_or_never_was(memory: MemoryFileSystem) -> None:
    reader = RemoteBytes("memory://clips/a.mp4")
    memory.rm("/clips/a.mp4")
    with pytest.raises(UnreadableVideo, match="the store has no such file; check the address"):
        reader.read_range(200_000, 200_001)
    with pytest.raises(UnreadableVideo, match=r"cannot read memory://clips/b\.mp4: the store has no such file"):
        RemoteBytes("memory://clips/b.mp4")
    memory.mkdir("/clips/folder")
    with pytest.raises(UnreadableVideo, match="it is a folder; name a video file"):
        RemoteBytes("memory://clips/folder")


def test_what_a_store_does_wrong_is_said_in_one_line(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = RemoteBytes("memory://clips/a.mp4")

    def short(*_: object, **__: object) -> list[bytes]:
        return [b"x"]

    def fail(*_: object, **__: object) -> list[bytes]:
        raise RuntimeError("no luck at https://h/a?X-Amz-Signature=abc\nat all")

    def refuse(*_: object, **__: object) -> dict[str, object]:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", short)
    with pytest.raises(UnreadableVideo, match="sends 1 bytes instead of the 65536 asked for"):
        reader.read_range(100_000, 100_001)
    monkeypatch.setattr(MemoryFileSystem, "cat_ranges", fail)
    with pytest.raises(UnreadableVideo, match=r"cannot be read \(RuntimeError: no luck .*Signature=\*\*\*\)"):
        reader.read_range(100_000, 100_001)
    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with pytest.raises(UnreadableVideo, match="refuses access; credentials are taken from"):
        reader.read_range(100_000, 100_001)
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *_: {"size": None})
    with pytest.raises(UnreadableVideo, match="does not say how long the file is"):
        RemoteBytes("memory://clips/a.mp4")


def test_every_kind_of_store_says_where_credentials_come_from() -> None:
    from fewframes.video.address import STORE_SCHEMES

    assert set(remote_store._CREDENTIALS) == set(STORE_SCHEMES)


# S3, by a small double of it


def guard(headers: dict[str, str]) -> int | None:
    return None if "Credential=AKTEST/" in headers.get("authorization", "") else 403


def s3_headers(status: int, headers: dict[str, str]) -> None:
    changed = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    headers["Last-Modified"] = changed.strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.fixture
def s3(web: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WebServer]:
    pytest.importorskip("s3fs", reason="S3 needs s3fs; pip install 'fewframes[remote]'")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.address)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    kept: dict[tuple[object, ...], object] = {}
    monkeypatch.setattr(remote_store, "_stores", kept)
    web.pages["/bucket/clips/a.mp4"] = Page(CONTENT, allows_head=True, guard=guard, edit=s3_headers)
    nothing = b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
    web.pages["/bucket"] = Page(nothing, etag=None, guard=guard)
    yield web


def test_s3_parts(s3: WebServer) -> None:
    reader = RemoteBytes("s3://bucket/clips/a.mp4")
    assert (reader.size, reader.bytes_read, reader.requests) == (300_007, 64 * KIB, 2)
    ranges = [(start, start + 5) for start in range(70_000, 290_000, 20_000)]
    assert reader.read_ranges(ranges) == [CONTENT[start:stop] for start, stop in ranges]
    assert reader.bytes_read == s3.sent == 64 * KIB + 5 * len(ranges)
    assert reader.requests == len(s3.requests) == 2 + len(ranges) + 1
    assert s3.most_at_once <= 8
    assert "secret" not in str([request.headers for request in s3.requests])


def test_s3_videos(s3: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_painted(path, 40)
    s3.pages["/bucket/v.mp4"] = Page(path.read_bytes(), allows_head=True, guard=guard, edit=s3_headers)
    with open_video("s3://bucket/v.mp4") as reader:
        assert read_numbers(reader.frames_at([7, 30]).pixels) == [7, 30]
        assert reader.info.bytes_read == reader.info.size_bytes == path.stat().st_size


def test_s3_files_that_are_missing_or_change(s3: WebServer) -> None:
    with pytest.raises(UnreadableVideo, match=r"cannot read s3://bucket/b\.mp4: the store has no such file"):
        RemoteBytes("s3://bucket/b.mp4")
    reader = RemoteBytes("s3://bucket/clips/a.mp4")
    s3.pages["/bucket/clips/a.mp4"].etag = '"2"'
    with pytest.raises(UnreadableVideo, match=r'changed while it was read \(it had "1", now "2"\)'):
        reader.read_range(200_000, 200_001)


@pytest.mark.parametrize("key", ["AKOTHER", ""])
def test_s3_credentials_come_from_the_environment(s3: WebServer, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if key:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    else:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UnreadableVideo, match="refuses access; credentials are taken from AWS_ACCESS_KEY_ID") as caught:
        RemoteBytes("s3://bucket/clips/a.mp4")
    assert "\n" not in str(caught.value)


def test_s3_public_buckets(s3: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "s3", {"anon": True})  # what FSSPEC_S3_ANON=true sets when fsspec is imported
    s3.pages["/bucket/clips/a.mp4"].guard = lambda headers: 403 if "authorization" in headers else None
    assert RemoteBytes("s3://bucket/clips/a.mp4").size == 300_007


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_s3_in_other_processes(s3: WebServer, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method} processes")
    reader = RemoteBytes("s3://bucket/clips/a.mp4")
    inherited = reader if method == "fork" else None
    arguments = ("s3://bucket/clips/a.mp4", inherited, CONTENT)
    process = multiprocessing.get_context(method).Process(target=read_in_child, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert reader.read_range(200_000, 200_010) == CONTENT[200_000:200_010]
