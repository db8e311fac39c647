from __future__ import annotations

import functools
import io
import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fsspec.registry import _registry

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits
from fewframes.video import remote as remote_module
from fewframes.video.reader import open_video
from fewframes.video.remote import RemoteBytes
from fewframes.video.sampling import uniform_indices
from fewframes.video.storage import Range, Traffic
from tests.helpers.painted import read_numbers, write_painted
from tests.helpers.webserver import WebServer, web

__all__ = ["web"]  # a fixture

SIZE = 1_000_003
CONTENT = (bytes(range(251)) * (SIZE // 251 + 1))[:SIZE]


class Recorded:
    """A remote file that notes what it is asked for."""

    def __init__(self, head: int) -> None:
        self.size, self.version, self.head = SIZE, "1", CONTENT[:head]
        self.opening = Traffic(1, head)
        self.calls: list[list[Range]] = []

    def fetch(self, ranges: Sequence[Range], traffic: Traffic) -> list[bytes]:
        self.calls.append(list(ranges))
        contents = [CONTENT[start:stop] for start, stop in ranges]
        traffic.requests += len(ranges)
        traffic.bytes_read += sum(map(len, contents))
        return contents


def made(head: int = 100, least: int = 1000) -> tuple[RemoteBytes, Recorded]:
    file = Recorded(head)
    return RemoteBytes("http://host/a", file=file, least_bytes=least), file


def test_small_steps_cost_few_requests_which_grow() -> None:
    reader, file = made()
    for at in range(0, 40_000, 10):
        assert reader.read_range(at, at + 10) == CONTENT[at : at + 10]
    assert file.calls == [[(100, 2100)], [(2100, 6100)], [(6100, 14100)], [(14100, 30100)], [(30100, 62100)]]
    assert (reader.requests, reader.bytes_read) == (6, 62_100)


def test_jumping_fetches_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, file = made()
    for at in (500_000, 300_000, 700_000, 300_990):
        assert reader.read_range(at, at + 10) == CONTENT[at : at + 10]
    assert file.calls == [[(500_000, 501_000)], [(300_000, 301_000)], [(700_000, 701_000)]]
    assert reader.read_range(499_500, 499_600) == CONTENT[499_500:499_600]
    assert file.calls[3:] == [[(499_500, 500_000)]]  # up to what is at hand
    assert reader.read_range(300_500, 302_500) == CONTENT[300_500:302_500]
    assert file.calls[4:] == [[(301_000, 302_500)]]
    assert reader.read_range(SIZE - 5, SIZE + 5) == CONTENT[-5:]
    assert file.calls[5:] == [[(SIZE - 5, SIZE)]]
    monkeypatch.setattr(remote_module, "_MAX_KEPT_BYTES", 2000)
    reader.read_range(900_000, 900_001)
    assert reader.read_range(500_000, 500_001) == CONTENT[500_000:500_001]
    assert file.calls[7:] == [[(500_000, 501_000)]]  # what was fetched first was dropped


def test_reading_ahead_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "_MOST_AHEAD_BYTES", 3000)
    reader, file = made()
    for at in range(0, 10_000, 100):
        reader.read_range(at, at + 100)
    assert file.calls == [[(100, 2100)], [(2100, 5100)], [(5100, 8100)], [(8100, 11_100)]]


def test_near_ranges_are_fetched_together_and_others_exactly() -> None:
    reader, file = made()
    ranges = [(50, 200), (90_000, 90_010), (94_106, 94_110), (98_207, 98_300), (5, 6), (SIZE, SIZE + 1), (7, 7)]
    assert reader.read_ranges(ranges) == [CONTENT[start:stop] for start, stop in ranges]
    assert file.calls == [[(100, 200), (90_000, 94_110), (98_207, 98_300)]]
    assert reader.read_ranges([(0, 100)]) == [CONTENT[:100]]
    assert len(file.calls) == 1


def test_readers_of_one_file_count_alone_and_each_what_opening_cost() -> None:
    reader, file = made()
    reader.read_range(5000, 5001)
    other = RemoteBytes("http://host/a", file=reader.file)
    assert (other.requests, other.bytes_read) == (1, 100)
    assert (reader.requests, reader.bytes_read) == (2, 1100)
    assert file.opening == Traffic(1, 100)


@pytest.mark.parametrize(
    ("module", "address", "remedy"),
    [
        ("aiohttp", "http://host/a.mp4", r"pip install 'fewframes\[remote\]'"),
        ("fsspec", "memory://a.mp4", r"pip install 'fewframes\[remote\]'"),
        ("s3fs", "s3://bucket/a.mp4", r"pip install 'fewframes\[remote\]'"),
        ("gcsfs", "gs://bucket/a.mp4", "pip install gcsfs"),
        ("adlfs", "abfs://box@account/a.mp4", "pip install adlfs"),
    ],
)
def test_a_missing_package_is_named(module: str, address: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for scheme in ("s3", "gs", "abfs"):  # fsspec remembers what it has imported
        monkeypatch.delitem(_registry, scheme, raising=False)
    for ours in ("fewframes.video.remote_http", "fewframes.video.remote_store"):
        monkeypatch.delitem(sys.modules, ours, raising=False)
    with pytest.raises(UsageError, match=f"{address} needs a package that is missing; run {remedy}"):
        RemoteBytes(address)


def test_addresses_are_checked_before_anything_is_opened() -> None:
    with pytest.raises(UsageError, match="videos are not read from ftp:// addresses"):
        RemoteBytes("ftp://host/a.mp4")
    with pytest.raises(UsageError, match="holds a user name or a password"):
        RemoteBytes("http://user:password@127.0.0.1:1/a.mp4")


# Videos


@functools.cache
def video(kind: str) -> bytes:
    """400 frames of some kilobytes each, as every one is whole by itself."""
    options = {"mux_options": {"movflags": "+faststart"}} if kind == "front" else {}
    format, codec = ("matroska", "ffv1") if kind == "matroska" else ("mov", "mjpeg")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        size = (120, 160) if kind == "matroska" else (480, 640)
        write_painted(path, 400, gop=1, b_frames=0, format=format, codec=codec, size=size, **options)
        return path.read_bytes()


@pytest.mark.parametrize("kind", ["front", "back", "matroska"])
def test_sixteen_frames_of_an_address_are_those_of_the_file(web: WebServer, kind: str) -> None:
    content = video(kind)
    address = web.add("/a.mov", content)
    indices = uniform_indices(400, 16)
    with open_video(address) as remote, open_video(content) as local:
        assert remote.info.path == address
        far, near = remote.frames_at(indices), local.frames_at(indices)
        assert torch.equal(far.pixels, near.pixels)
        assert torch.equal(far.seconds, near.seconds)
        total = remote.info.bytes_read + far.bytes_read
        assert remote.info.size_bytes == len(content)
    assert read_numbers(far.pixels) == list(indices)
    assert total == web.sent <= len(content)
    if kind != "matroska":
        assert total < 0.5 * len(content)
        assert len(web.requests) <= 4 + 16


def test_a_short_clip_comes_in_one_request(web: WebServer) -> None:
    file = io.BytesIO()
    write_painted(file, 40)
    assert len(file.getvalue()) < 64 * 1024
    with open_video(web.add("/a.mp4", file.getvalue())) as reader:
        assert read_numbers(reader.frames_at([3, 33]).pixels) == [3, 33]
        assert reader.info.bytes_read == len(file.getvalue())
    assert len(web.requests) == 1


def test_a_server_without_parts_gives_the_same_frames_within_the_limit(web: WebServer) -> None:
    address = web.add("/a.mov", video("back"), gives_parts=False)
    with open_video(address) as reader:
        assert read_numbers(reader.frames_at([0, 399]).pixels) == [0, 399]
        assert reader.info.bytes_read == reader.info.size_bytes == len(video("back"))
    assert len(web.requests) == 1
    with pytest.raises(UnreadableVideo, match=r"gives no parts .* above the limit of 1000 "):
        RemoteBytes(address, limits=Limits(max_buffer_bytes=1000))


def test_what_breaks_while_decoding_is_told_by_its_cause(web: WebServer) -> None:
    with open_video(web.add("/a.mov", video("back"))) as reader:
        web.pages["/a.mov"].etag = '"2"'
        with pytest.raises(UnreadableVideo, match=r'the file changed while it was read \(it had "1", now "2"\)'):
            reader.frames_at([300])


def is_readable(path: Path) -> bool:
    if path.stat().st_size > 2_000_000:
        return False
    try:
        open_video(path).close()
    except UnreadableVideo:
        return False
    return True


def test_real_videos_over_http(web: WebServer, data_dir: Path) -> None:
    paths = list(itertools.islice(filter(is_readable, sorted(data_dir.rglob("*.mp4"))), 4))
    if not paths:
        pytest.skip(f"no MP4 files in {data_dir}")
    for path in paths:
        address = web.add(f"/{path.name}", path.read_bytes())
        with open_video(address) as remote, open_video(path) as local:
            indices = uniform_indices(local.info.num_frames, 16)
            assert torch.equal(remote.frames_at(indices).pixels, local.frames_at(indices).pixels)
            assert remote.info.size_bytes == path.stat().st_size


def test_keyframe_seeking_over_http(web: WebServer) -> None:
    with open_video(web.add("/a.mov", video("back")), decode=DecodeOptions(seek="keyframe")) as reader:
        assert read_numbers(reader.frames_at([77]).pixels) == [77]
