from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.video import tarfiles
from fewframes.video.reader import open_video
from fewframes.video.remote import RemoteBytes
from fewframes.video.source import resolve_source
from fewframes.video.storage import MemoryBytes
from fewframes.video.tarfiles import find_member, split_member
from tests.helpers.painted import read_numbers, write_painted
from tests.helpers.webserver import Request, WebServer, web

__all__ = ["web"]  # a fixture


@pytest.fixture(autouse=True)
def no_indexes() -> None:
    tarfiles._indexes.clear()


def packed(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as archive:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return made.getvalue()


def found(archive: bytes, member: str) -> bytes:
    start, stop = find_member(member, name="tar://x", key=archive, open_archive=lambda: MemoryBytes(archive))
    return archive[start:stop]


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=150).filter(
    lambda name: name not in (".", "..")
)


@given(
    st.dictionaries(NAMES, st.binary(max_size=1500), min_size=1, max_size=6),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_every_member_is_where_the_index_says(files: dict[str, bytes], format: int) -> None:
    archive = packed(files, format)
    for name, content in files.items():
        assert found(archive, name) == content


def test_one_member_by_hand() -> None:
    archive = packed({"a": b"x" * 513, "b": b"yz"}, tarfile.USTAR_FORMAT)
    find = {"name": "t", "key": "by hand", "open_archive": lambda: MemoryBytes(archive)}
    assert find_member("a", **find) == (512, 1025)  # type: ignore[arg-type]
    assert find_member("b", **find) == (2048, 2050)  # type: ignore[arg-type]  # header at 1536


def test_the_last_of_several_with_one_name_counts_and_a_leading_dot_does_not(tmp_path: Path) -> None:
    archive = packed({"./a": b"old", "b": b"other"})
    path = tmp_path / "a.tar"
    path.write_bytes(archive)
    with tarfile.open(path, "a") as opened:
        header = tarfile.TarInfo("a")
        header.size = 3
        opened.addfile(header, io.BytesIO(b"new"))
    for member in ("a", "./a"):
        assert found(path.read_bytes(), member) == b"new"


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("clips/b.mp", r"has no member 'clips/b\.mp'; did you mean 'clips/b\.mp4'\?"),
        ("link", r"the member 'link' is a link to 'clips/a\.mp4'; name that"),
        ("hard", r"the member 'hard' is a link to 'clips/a\.mp4'; name that"),
        ("clips", "the member 'clips' is no file; name a video file"),
    ],
)
def test_members_that_cannot_be_read(member: str, reason: str) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, kind in (
            ("clips", tarfile.DIRTYPE),
            ("clips/a.mp4", tarfile.REGTYPE),
            ("clips/b.mp4", tarfile.REGTYPE),
        ):
            header = tarfile.TarInfo(name)
            header.type = kind
            archive.addfile(header)
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE)):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "clips/a.mp4"
            archive.addfile(header)
    with pytest.raises(UnreadableVideo, match=f"cannot read tar://x: .*{reason}"):
        found(made.getvalue(), member)


def test_a_file_stored_with_holes_is_refused() -> None:
    header = tarfile.TarInfo("a")
    header.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,5,100,5"}
    header.pax_headers["GNU.sparse.size"] = "105"
    header.size = 10
    archive = header.tobuf(tarfile.PAX_FORMAT) + b"x" * 10 + bytes(502 + 1024)
    with pytest.raises(
        UnreadableVideo, match="is stored with holes, in several pieces; pack it again without --sparse"
    ):
        found(archive, "a")


@pytest.mark.parametrize(
    ("pack", "kind", "remedy"),
    [(gzip.compress, "gzip", "gunzip"), (bz2.compress, "bzip2", "bunzip2"), (lzma.compress, "xz", "unxz")],
)
def test_compressed_tar_files_are_refused_by_their_content(pack: object, kind: str, remedy: str) -> None:
    assert callable(pack)
    reason = rf"is compressed \({kind}\), so that no part of it can be read alone; run {remedy} first"
    with pytest.raises(UnreadableVideo, match=reason):
        found(pack(packed({"a": b"a"})), "a")


@pytest.mark.parametrize("content", [b"no tar file at all" * 100, b"", packed({"a": b"a" * 3000})[:700]])
def test_what_is_no_whole_tar_file(content: bytes) -> None:
    with pytest.raises(
        UnreadableVideo, match=r"is damaged, cut short or none at all|is cut short, as the tar file ends"
    ):
        found(content, "a")


def test_a_tar_file_cut_in_its_last_member_says_by_how_much() -> None:
    archive = packed({"a": b"a" * 700, "b": b"b" * 700})
    cut = archive[: archive.rindex(b"b") - 99]
    with pytest.raises(UnreadableVideo, match=r"damaged, cut short or none|'b' is cut short, as the tar file ends 100"):
        found(cut, "b")


def test_an_empty_tar_file() -> None:
    with pytest.raises(UnreadableVideo, match="has no member 'a'; it holds no file at all"):
        found(packed({}), "a")


def test_the_index_is_read_once_for_each_content_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfiles, "_MAX_INDEXES", 2)
    archive, opened = packed({"a": b"1", "b": b"2"}), []

    def open_archive() -> MemoryBytes:
        opened.append(1)
        return MemoryBytes(archive)

    def look(key: object) -> int:
        find_member("a", name="x", key=key, open_archive=open_archive)
        return len(opened)

    assert [look(key) for key in "AABACAB"] == [1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tar://a.mp4::/x/b.tar", ("a.mp4", "/x/b.tar")),
        ("TAR://c/a.mp4::http://[::1]:80/b.tar", ("c/a.mp4", "http://[::1]:80/b.tar")),
    ],
)
def test_addresses(address: str, expected: tuple[str, str]) -> None:
    assert split_member(address) == expected


@pytest.mark.parametrize("address", ["tar://a.mp4", "tar://::b.tar", "tar://a::", "tar://"])
def test_addresses_without_a_member_or_a_tar_file(address: str) -> None:
    with pytest.raises(
        UsageError, match=r"names no file in a tar file; expected something like tar://folder/clip\.mp4::"
    ):
        split_member(address)


def test_no_tar_files_in_tar_files() -> None:
    with pytest.raises(UsageError, match="names a tar file in a tar file, which is not read; unpack the outer one"):
        split_member("tar://a.mp4::tar://b.tar::c.tar")


# As sources of videos


def painted() -> bytes:
    file = io.BytesIO()
    write_painted(file, 40)
    return file.getvalue()


def test_a_video_in_a_local_tar_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, path = painted(), tmp_path / "clips.tar"
    path.write_bytes(packed({"notes.txt": b"n" * 999, "clips/a.mp4": video, "z": b"z"}))
    monkeypatch.chdir(tmp_path)
    for archive in (str(path), "clips.tar", f"file://{path}"):
        with open_video(f"tar://clips/a.mp4::{archive}") as reader:
            assert reader.info.path == f"tar://clips/a.mp4::{archive}"
            assert reader.info.size_bytes == len(video)
            assert read_numbers(reader.frames_at([3, 33]).pixels) == [3, 33]
    assert len(tarfiles._indexes) == 1


def test_a_tar_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(packed({"a": b"one", "b": b"two"}))
    address = f"tar://b::{path}"
    assert resolve_source(address).open().read_range(0, 9) == b"two"
    path.write_bytes(packed({"b": b"two", "a": b"one"}))
    os.utime(path, (1, 1))
    assert resolve_source(address).open().read_range(0, 9) == b"two"


def test_local_tar_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"cannot read tar://a::.*none\.tar: no such file; check the path"):
        resolve_source(f"tar://a::{tmp_path}/none.tar")
    with pytest.raises(UnreadableVideo, match="is no regular file; name a tar file"):
        resolve_source(f"tar://a::{tmp_path}")
    path = tmp_path / "a.tar"
    path.write_bytes(packed({"a": b""}))
    with pytest.raises(UnreadableVideo, match=r"the file is empty \(0 bytes\)"):
        resolve_source(f"tar://a::{path}")


def test_a_video_in_a_remote_tar_file_costs_its_own_parts(web: WebServer) -> None:
    video = painted()
    files = {f"{number}.bin": bytes([number]) * 300_000 for number in range(5)}
    archive = packed({**files, "a.mp4": video, **{f"{number}.end": b"x" * 300_000 for number in range(5)}})
    address = f"tar://a.mp4::{web.add('/clips.tar', archive)}?token=secret"
    for _ in range(2):
        source = resolve_source(address)
        assert source.name == f"tar://a.mp4::{web.address}/clips.tar?token=***"
        content = source.open()
        assert (content.size, content.read_range(0, len(video))) == (len(video), video)
        assert content.bytes_read == 4096 + len(video)
        content.close()
    with open_video(address) as reader:
        assert read_numbers(reader.frames_at([3, 33]).pixels) == [3, 33]
        assert reader.info.bytes_read == 4096 + len(video)
        assert reader.info.size_bytes == len(video)
    # The headers are read once; to open the tar file and the video takes one request each.
    headers = len(web.requests) - 3 * 2
    assert headers <= 11
    assert web.sent == 3 * (4096 + len(video)) + sum(part_length(each) for each in web.requests[1 : 1 + headers])


def part_length(request: Request) -> int:
    assert request.part is not None
    return request.part[1] - request.part[0]


def test_a_long_video_in_a_remote_tar_file(web: WebServer) -> None:
    video = bytes(number % 251 for number in range(500_000))
    archive = packed({"a": b"a" * 999, "b": video, "c": b"c"})
    content = resolve_source(f"tar://b::{web.add('/clips.tar', archive)}").open()
    ranges = [(0, 9), (100_000, 100_100), (499_990, 600_000)]
    assert content.read_ranges(ranges) == [video[start:stop] for start, stop in ranges]
    assert content.read_range(499_000, 600_000) == video[499_000:]
    assert content.read_range(250_000, 250_001) == video[250_000:250_001]
    assert content.size == 500_000


def test_a_server_without_parts_sends_the_tar_file_whole(web: WebServer) -> None:
    archive = packed({"a": b"a" * 999, "b": b"content"})
    source = resolve_source(f"tar://b::{web.add('/clips.tar', archive, gives_parts=False)}")
    assert source.open().read_range(0, 99) == b"content"
    assert len(web.requests) == 1


def test_a_remote_tar_file_that_changes_has_another_index(web: WebServer) -> None:
    address = web.add("/clips.tar", packed({"a": b"one", "b": b"two"}))
    assert resolve_source(f"tar://a::{address}").open().read_range(0, 9) == b"one"
    web.pages["/clips.tar"].content = packed({"b": b"two", "a": b"one"})
    web.pages["/clips.tar"].etag = '"2"'
    assert resolve_source(f"tar://a::{address}").open().read_range(0, 9) == b"one"
    assert RemoteBytes(address).file.version == '"2"'
