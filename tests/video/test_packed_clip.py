"""A shard is a plain tar file in which each clip is found with its images, and damage is told."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.errors import UnreadableVideo
from fewframes.records import Limits
from fewframes.video.packed_clip import (
    CLIP_LAYOUT,
    PackedClip,
    clip_address,
    clip_members,
    find_clip,
    record_range,
    shard_end,
    split_address,
)
from fewframes.video.storage import MemoryBytes

Images = list[bytes]


def record(count: int, **changes: object) -> dict[str, Any]:
    facts = {"seconds": [0.5 * number for number in range(count)], "duration_seconds": 0.5 * count}
    return {**facts, "width": 7, "height": 5, **changes}


def shard_of(clips: dict[str, Images], **changes: object) -> bytes:
    shard, records = b"", {}
    for key, images in clips.items():
        members = clip_members(key, record(len(images), **changes), images)
        records[key] = record_range(members, len(shard))
        shard += members
    return shard + shard_end(records)


def find(shard: bytes, key: str, **limits: int) -> PackedClip:
    return find_clip(MemoryBytes(shard), f"{key}.json", "the clip", Limits(**limits))


def test_addresses() -> None:
    assert clip_address("00000012", "/a b/pack-00000.tar") == "tar://00000012.json::/a b/pack-00000.tar"
    assert split_address("tar://00000012.json::/a b/pack-00000.tar") == ("00000012.json", "/a b/pack-00000.tar")
    assert split_address("tar://k.json::https://host/p.tar") == ("k.json", "https://host/p.tar")
    for other in ("tar://clip.mp4::p.tar", "tar://k.json", "tar://k.json::", "k.json::p.tar", "/k.json", ""):
        assert split_address(other) is None


def test_a_shard_by_hand() -> None:
    shard = shard_of({"k": [b"A" * 3, b"B" * 600]})
    with tarfile.open(fileobj=io.BytesIO(shard)) as file:
        assert file.getnames() == ["k.json", "k.000.jpg", "k.001.jpg", "__index__"]
        stored = json.loads(file.extractfile("k.json").read())  # type: ignore[union-attr]
        index = file.extractfile("__index__").read()  # type: ignore[union-attr]
        assert all((member.mtime, member.uid, member.mode) == (0, 0, 0o644) for member in file)
    assert stored == {
        "layout": CLIP_LAYOUT,
        "seconds": [0.0, 0.5],
        "duration_seconds": 1.0,
        "width": 7,
        "height": 5,
        "frames": [
            {"name": "k.000.jpg", "size_bytes": 3, "crc32": zlib.crc32(b"AAA")},
            {"name": "k.001.jpg", "size_bytes": 600, "crc32": zlib.crc32(b"B" * 600)},
        ],
    }
    size = len(json.dumps(stored, separators=(",", ":")))
    assert size < 512
    assert index.startswith(b"k.json 512 %d\n  " % size)
    assert index.endswith(b" 000000000000512\n")
    # Header and record; header and image; header and two blocks of image; header and index; two empty blocks.
    assert len(shard) == 512 * (2 + 2 + 3 + 2 + 2)
    clip = find(shard, "k")
    assert clip.names == ("k.000.jpg", "k.001.jpg")
    assert clip.ranges == ((1536, 1539), (2560, 3160))
    assert (clip.width, clip.height, clip.duration_seconds, clip.size_bytes) == (7, 5, 1.0, size + 603)
    assert clip.seconds.tolist() == [0.0, 0.5]


@given(st.lists(st.lists(st.binary(min_size=1, max_size=1100), min_size=1, max_size=5), min_size=1, max_size=30))
def test_every_clip_is_found_with_its_images(clips: list[Images]) -> None:
    named = {f"{number:08d}": images for number, images in enumerate(clips)}
    shard = shard_of(named)
    with tarfile.open(fileobj=io.BytesIO(shard)) as file:
        by_tar = {member.name: file.extractfile(member).read() for member in file}  # type: ignore[union-attr]
    for key, images in named.items():
        clip = find(shard, key)
        assert [shard[start:stop] for start, stop in clip.ranges] == images
        assert [by_tar[name] for name in clip.names] == images
        assert clip.checksums == tuple(map(zlib.crc32, images))


def test_opening_a_clip_reads_little_of_a_shard_of_any_length() -> None:
    images = [bytes([number]) * 2000 for number in range(16)]
    reader = MemoryBytes(shard_of({f"{number:08d}": images for number in range(40)}))
    clip = find_clip(reader, "00000020.json", "the clip", Limits())
    assert reader.bytes_read < 4096 + 2048
    assert clip.ranges[0][0] > 20 * 16 * 2048


def test_an_index_that_is_longer_than_the_first_read() -> None:
    records = {f"{number:08d}": (512 * number, 500) for number in range(5000)}
    members = clip_members("00004999", record(1), [b"x"])
    padding = bytes(512 * 4998)
    shard = padding + members + shard_end({**records, "00004999": record_range(members, len(padding))})
    assert len(shard_end(records)) > 10 * 4096
    assert find(shard, "00004999").ranges[0][1] <= len(shard)


def test_more_than_a_thousand_images_keep_their_order_by_name() -> None:
    names = find(shard_of({"k": [b"x"] * 1001}), "k").names
    assert names == tuple(sorted(names))
    assert names[-1] == "k.1000.jpg"


def test_a_clip_that_is_not_there() -> None:
    shard = shard_of({"00000010": [b"x"], "00000100": [b"y"]})
    for key in ("0000001", "10", "00000011", ""):
        with pytest.raises(UnreadableVideo, match=rf"cannot read the clip: the shard holds no {key}\.json"):
            find(shard, key)


@pytest.mark.parametrize("left", [0, 1, 500, 1024, 1500, 2048])
def test_what_is_no_whole_shard(left: int) -> None:
    with pytest.raises(UnreadableVideo, match="the shard has no index; expected one that `fewframes data pack` wrote"):
        find(shard_of({"k": [b"x" * 300]})[:left], "k")


def test_other_tar_files_have_no_index() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("k.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"{}"))
    with pytest.raises(UnreadableVideo, match="no index"):
        find(file.getvalue(), "k")


@given(at=st.integers(0, 10**6), value=st.integers(1, 255))
def test_a_damaged_byte_never_gives_other_frames(at: int, value: int) -> None:
    images = [b"A" * 3, b"B" * 600]
    whole = shard_of({"k": images, "l": [b"C"]})
    at %= len(whole)
    shard = whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :]
    try:
        clip = find(shard, "k")
    except UnreadableVideo:
        return
    found = [shard[start:stop] for start, stop in clip.ranges]
    told = [zlib.crc32(image) != checksum for image, checksum in zip(found, clip.checksums, strict=True)]
    assert any(told) or found == images[: len(found)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"layout": "another"}, "layout 'another', expected 'fewframes clip 1'"),
        ({"seconds": [0.0]}, "do not belong together"),
        ({"seconds": 3}, "do not belong together"),
        ({"seconds": [0.5, 0.0]}, "its times do not ascend"),
        ({"seconds": [-1.0, 0.0]}, "its times do not ascend"),
        ({"seconds": [0.0, None]}, "its times do not ascend"),
        ({"seconds": [0.0, {}]}, "TypeError"),
        ({"duration_seconds": 0.5}, "it ends at 0.5 s, before its last frame"),
        ({"duration_seconds": None}, "TypeError"),
        ({"width": 0}, "0 is no whole number of at least 1"),
        ({"height": 5.0}, "5.0 is no whole number of at least 1"),
        ({"width": True}, "True is no whole number of at least 1"),
    ],
)
def test_a_record_that_cannot_be_true(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(UnreadableVideo, match=f"its record is damaged .*{reason}"):
        find(shard_of({"k": [b"x", b"y"]}, **changes), "k")


def test_times_may_repeat() -> None:
    clip = find(shard_of({"k": [b"x", b"x", b"y"]}, seconds=[0.0, 0.0, 1.0]), "k")
    np.testing.assert_array_equal(clip.seconds, [0.0, 0.0, 1.0])


def test_limits() -> None:
    shard = shard_of({"k": [b"x"] * 6})
    assert len(find(shard, "k", max_frames=6, max_pixels=35).names) == 6
    with pytest.raises(UnreadableVideo, match="claims 6 frames, above the limit of 5; raise max_frames"):
        find(shard, "k", max_frames=5)
    with pytest.raises(UnreadableVideo, match="are 7 x 5, above the limit of 34 pixels; raise max_pixels"):
        find(shard, "k", max_pixels=34)
    with pytest.raises(UnreadableVideo, match="its index has 512 bytes, above the limit of 511; raise max_buffer"):
        find(shard, "k", max_buffer_bytes=511)
    with pytest.raises(UnreadableVideo, match=r"its record has \d+ bytes, above the limit of 512; raise max_buffer"):
        find(shard_of({"k": [b"x"] * 12}), "k", max_buffer_bytes=512)


def test_images_beyond_the_shards_end() -> None:
    members = clip_members("k", record(1), [b"x" * 9000])
    shard = members[:2048] + shard_end({"k": record_range(members, 0)})
    with pytest.raises(UnreadableVideo, match="the shard is cut short; copy it anew"):
        find(shard, "k")


def test_an_index_that_leads_astray() -> None:
    shard = shard_of({"k": [b"x"]})
    wrong = shard.replace(b"k.json 512 ", b"k.json x12 ")
    with pytest.raises(UnreadableVideo, match="no index"):
        find(wrong, "k")
    with pytest.raises(UnreadableVideo, match="its record is damaged"):
        find(shard.replace(b"k.json 512 ", b"k.json 513 "), "k")
