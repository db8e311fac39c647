"""Tar shards: names, labels and addresses; and what is cut, compressed, doubled or no video."""

from __future__ import annotations

import io
import json
import random
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.importers.webdataset import WebDatasetImport, expand_braces, read_webdataset
from fewframes.data.manifest import Video
from fewframes.data.manifest_io import read_manifest, write_manifest
from fewframes.errors import InvalidManifest, UnknownName, UsageError


def shard(path: Path, members: dict[str, bytes | str], *, form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else content.encode()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def read(*shards: Path | str, classes: str = "", label_key: str = "label") -> list[tuple[str, tuple[str, ...]]]:
    """Each row's member and labels."""
    manifest = read_webdataset(WebDatasetImport(tuple(map(str, shards)), classes, label_key))
    return [(str(video.path).removeprefix("tar://").split("::")[0], video.labels) for video in manifest.videos]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_two_shards(tmp_path: Path, form: int) -> None:
    deep = "a folder/" * 12 + "000001"  # longer than the 100 characters of a plain header
    first = shard(
        tmp_path / "k-train-000.tar",
        {"000000.mp4": b"v" * 700, "000000.cls": "10\n", f"{deep}.webm": b"w", f"{deep}.cls": "2"},
        form=form,
    )
    second = shard(tmp_path / "k-train-001.tar", {"000002.avi": b"", "000002.cls": "0", "000002.jpg": b"j"}, form=form)
    manifest = read_webdataset(WebDatasetImport((str(tmp_path / "k-train-{000..001}.tar"),)))
    assert manifest.videos == (
        Video(f"tar://000000.mp4::{first}", ("10",), "train"),
        Video(f"tar://{deep}.webm::{first}", ("2",), "train"),
        Video(f"tar://000002.avi::{second}", ("0",), "train"),
    )
    assert manifest.classes == tuple(map(str, range(11)))
    assert manifest.notes == ("labels are from key.cls (3)",)
    assert read(first, second, classes="ucf101") == [
        ("000000.mp4", ("Biking",)),
        (f"{deep}.webm", ("Archery",)),
        ("000002.avi", ("ApplyEyeMakeup",)),
    ]
    again = read_manifest(write_manifest(manifest, tmp_path / "list.csv"))
    assert (again.videos, again.classes) == (manifest.videos, manifest.classes)


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="./"), min_size=1, max_size=8)


@given(
    st.dictionaries(KEYS, st.tuples(st.binary(max_size=1500), st.sampled_from(("mp4", "webm", "MKV"))), min_size=1),
    st.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)),
)
def test_an_address_leads_to_the_bytes(samples: dict[str, tuple[bytes, str]], form: int) -> None:
    members: dict[str, bytes | str] = {}
    for number, (key, (content, ending)) in enumerate(samples.items()):
        members |= {f"x/{key}.json": json.dumps({"label": f"class {number}"}), f"x/{key}.{ending}": content}
    if any("::" in name for name in members):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = shard(Path(folder).resolve() / "s.tar", members, form=form)
        manifest = read_webdataset(WebDatasetImport((str(path),)))
        with tarfile.open(path) as tar:
            found = []
            for video in manifest.videos:
                member, place = str(video.path).removeprefix("tar://").split("::")
                assert place == str(path)
                file = tar.extractfile(member)
                assert file is not None
                found.append((file.read(), video.label))
    assert found == [(content, f"class {number}") for number, (content, _) in enumerate(samples.values())]


def test_where_labels_come_from(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "s.tar",
        {
            **{"a.mp4": b"", "a.txt": "a caption", "a.json": '{"label": "json"}', "a.cls": "cls"},
            **{"b.mp4": b"", "b.txt": "a caption", "b.json": '{"label": ["x", 3], "fps": 25}'},
            **{"c.json": '{"other": 1}', "c.mp4": b"", "c.txt": " text \n"},
            **{"d.mp4": b"", "d.json": "[1, 2]", "d.cls": "\n"},
            **{"e.mp4": b""},
        },
    )
    assert read(path) == [
        ("a.mp4", ("cls",)),
        ("b.mp4", ("x", "3")),
        ("c.mp4", ("text",)),
        ("d.mp4", ()),
        ("e.mp4", ()),
    ]
    assert read(path, label_key="other")[1:3] == [("b.mp4", ("a caption",)), ("c.mp4", ("1",))]
    manifest = read_webdataset(WebDatasetImport((str(path),)))
    assert manifest.classes is None
    assert manifest.notes == (
        "labels are from key.cls (1), key.json (1), key.txt (1)",
        f"2 videos have no label, the first is tar://d.mp4::{path}",
    )


def test_members_that_are_no_videos(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in (("v1.0/", tarfile.DIRTYPE), ("v1.0/b.mp4", tarfile.SYMTYPE), ("README", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            tar.addfile(member)
        for name in ("v1.0/a.mp4", "v1.0/._a.mp4", "v1.0/c.cls"):
            tar.addfile(tarfile.TarInfo(name))
        holes = tarfile.TarInfo("v1.0/d.mp4")  # a sparse member is no run of bytes
        holes.pax_headers = {"GNU.sparse.map": "0,0"}
        tar.addfile(holes)
    manifest = read_webdataset(WebDatasetImport((str(path),)))
    assert [video.path for video in manifest.videos] == [f"tar://v1.0/a.mp4::{path}"]
    assert manifest.notes == (
        f"1 videos have no label, the first is tar://v1.0/a.mp4::{path}",
        f"5 members or samples are no videos and were passed over, the first is {path}: v1.0/b.mp4",
    )
    with pytest.raises(InvalidManifest, match=r"no videos in 1 shards, the first is .*none\.tar; expected such as key"):
        read(shard(tmp_path / "none.tar", {"a.cls": "1"}))
    with pytest.raises(InvalidManifest, match=r"no videos in 1 shards"):
        read(shard(tmp_path / "none.tar", {}))


def test_doubles(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.mp4"))
    with pytest.raises(InvalidManifest, match=r"s\.tar: the member a\.mp4 occurs twice; write the shard anew"):
        read(tmp_path / "s.tar")
    two = shard(tmp_path / "two.tar", {"x.1.mp4": b"", "x.2.mp4": b""})
    with pytest.raises(
        InvalidManifest, match=r"two\.tar: x\.2\.mp4: its key has another video, x\.1\.mp4; a key ends at"
    ):
        read(two)
    one, other = shard(tmp_path / "1.tar", {"a.mp4": b""}), shard(tmp_path / "2.tar", {"a.mp4": b"", "b.mp4": b""})
    manifest = read_webdataset(WebDatasetImport((str(one), str(other), str(tmp_path / "[1].tar"))))
    assert len(manifest.videos) == 3, "a shard named twice is read once"
    assert manifest.notes[-1] == "1 keys are in several shards, the first is a"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.json": "{"}, r"s\.tar: a\.json: not JSON \("),
        ({"a.json": "[" * 100_000}, r"s\.tar: a\.json: not JSON \("),
        ({"a.json": '{"label": 1.5}'}, r"s\.tar: a\.json: label is 1\.5; expected a class name or number, or a list"),
        ({"a.json": '{"label": ["x", "x"]}'}, r"s\.tar: a\.json: a label occurs twice"),
        ({"a.cls": b"\xff"}, r"s\.tar: a\.cls: not in UTF-8 \("),
        ({"a.cls": "x" * (16 * 1024 * 1024 + 1)}, r"s\.tar: a\.cls: 16,777,217 bytes; expected a label"),
        ({"a.cls": "123456"}, r"s\.tar: a label is 123456; expected a class number"),
        ({"a::b.mp4": b""}, r"s\.tar: a::b\.mp4: a name with '::' cannot stand in an address"),
    ],
    ids=range(8),
)
def test_damaged_members(tmp_path: Path, members: dict[str, bytes | str], message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read(shard(tmp_path / "s.tar", {"a.mp4": b"", **members}))


def test_labels_that_are_no_classes(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", {"a.mp4": b"", "a.cls": "101"})
    with pytest.raises(InvalidManifest, match=rf"tar://a\.mp4::{path}: the label is 101, but there are 101 classes"):
        read(path, classes="ucf101")
    path = shard(tmp_path / "s.tar", {"a.mp4": b"", "a.cls": "Archerie"})
    with pytest.raises(InvalidManifest, match=r"the label 'Archerie' is none of the 101 .* nearest one is 'Archery'"):
        read(path, classes="ucf101")
    with pytest.raises(UnknownName, match="'ucf1001'"):
        read(path, classes="ucf1001")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_cut_shard_is_never_taken_for_a_whole_one(tmp_path: Path, form: int) -> None:
    members: dict[str, bytes | str] = {"ä.mp4": b"v" * 700, "ä.cls": "3", "b.mp4": b"w" * 512, "b.cls": "4"}
    path = shard(tmp_path / "s.tar", members, form=form)
    whole = path.read_bytes()
    expected = read(path)
    end = len(whole.rstrip(b"\0"))
    closed = -(-end // 512) * 512 + 512  # the members, and the first of the blocks that close the file
    for length in sorted({*range(0, len(whole), 97), *range(0, len(whole), 512), closed - 1, closed}):
        path.write_bytes(whole[:length])
        if length >= closed:
            assert read(path) == expected
        else:
            with pytest.raises(
                InvalidManifest, match=r"s\.tar is (no whole tar file \(.*\); it may be cut, |empty; )download it"
            ):
                read(path)


def test_bytes_changed_at_random(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", {"a.mp4": b"v" * 700, "a.json": '{"label": "x"}', "b.mp4": b"w", "b.cls": "4"})
    whole, draw = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(draw.choice((1, 3, 30))):
            content[draw.randrange(6 * 1024)] = draw.randrange(256)
        path.write_bytes(content)
        try:
            assert len(read(path)) <= 2
        except InvalidManifest:
            refused += 1
    assert 100 < refused < 400


def test_files_that_are_no_shards(tmp_path: Path) -> None:
    path = shard(tmp_path / "s.tar", {"a.mp4": b""})
    for kind in ("gz", "bz2", "xz"):
        packed = tmp_path / f"s.tar.{kind}"
        with tarfile.open(packed, f"w:{kind}") as tar:  # type: ignore[call-overload]
            tar.add(path, "a.mp4")
        with pytest.raises(InvalidManifest, match=rf"s\.tar\.{kind} is compressed, .*; write a plain tar file"):
            read(packed)
    (tmp_path / "text.tar").write_text("no tar file at all\n" * 100)
    with pytest.raises(InvalidManifest, match=r"text\.tar is no whole tar file \("):
        read(tmp_path / "text.tar")
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(InvalidManifest, match=r"1 of 1 shards do not exist, the first is .*folder\.tar"):
        read(tmp_path / "folder.tar")
    with pytest.raises(InvalidManifest, match=r"2 of 3 shards do not exist, the first is .*/t0\.tar"):
        read(path, tmp_path / "t{0..1}.tar")
    with pytest.raises(InvalidManifest, match=r"no files fit .*\*\.nothing; expected tar files"):
        read(tmp_path / "*.nothing")
    with pytest.raises(UsageError, match=r"https://x/s\.tar is an address; shards are read from disk: download them"):
        read("https://x/s.tar")
    with pytest.raises(UsageError, match="no shard was given"):
        read()


def test_patterns_with_stars_are_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", "c"):
        shard(tmp_path / f"x-{name}.tar", {f"{name}.mp4": b""})
    monkeypatch.chdir(tmp_path)
    assert [name for name, _ in read("x-*.tar")] == ["a.mp4", "b.mp4", "c.mp4"]
    assert [name for name, _ in read("x-{c,a}.tar")] == ["c.mp4", "a.mp4"]
    manifest = read_webdataset(WebDatasetImport(("x-a.tar",)))
    assert manifest.videos[0].path == f"tar://a.mp4::{tmp_path}/x-a.tar", "in full, so that the list may lie anywhere"
    shard(tmp_path / "{a,b}.tar", {"braces.mp4": b""})
    assert read("{a,b}.tar") == [("braces.mp4", ())], "a file of that very name comes first"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a{08..11}.tar", ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]),
        ("a{8..11}", ["a8", "a9", "a10", "a11"]),
        ("a{2..0}", ["a2", "a1", "a0"]),
        ("{x,yy,}z", ["xz", "yyz", "z"]),
        ("{a,b}-{0..1}", ["a-0", "a-1", "b-0", "b-1"]),
        ("a{b}c{}", ["a{b}c{}"]),
        ("a{0..b}", ["a{0..b}"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names


@given(st.integers(0, 99_999), st.integers(0, 200), st.integers(5, 8))
def test_braces_with_zeros(first: int, count: int, width: int) -> None:
    names = expand_braces(f"s-{{{first:0{width}d}..{first + count:0{width}d}}}.tar")
    assert names == [f"s-{number:0{width}d}.tar" for number in range(first, first + count + 1)]
