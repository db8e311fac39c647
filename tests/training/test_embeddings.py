"""Kept embeddings: what goes in comes back bit for bit or not at all, whatever happens to the disk in between."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fewframes.training.embeddings as embeddings
from fewframes.data.manifest import Video
from fewframes.training.embeddings import EmbeddingCache, digest_of, tensors_sha256, video_identity
from tests.helpers.killing import Stopped, stop_at_step

ORIGIN = {"encoder": "abc", "sampling": [1, 2.5, None]}


def some_tensors(count: int, *, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"{seed}-{index}": torch.randn(3, 5, generator=generator) for index in range(count)}


def shards_of(cache: EmbeddingCache) -> list[Path]:
    return sorted(cache.folder.glob("*.safetensors"))


def filled(folder: Path, tensors: dict[str, Tensor]) -> EmbeddingCache:
    cache = EmbeddingCache(folder, ORIGIN)
    for key, tensor in tensors.items():
        cache.put(key, tensor)
    cache.flush()
    return cache


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_what_goes_in_comes_back(tmp_path: Path) -> None:
    first, second = some_tensors(3), some_tensors(2, seed=1)
    filled(tmp_path, first)
    cache = filled(tmp_path, second)
    assert len(shards_of(cache)) == 2
    assert_same(
        EmbeddingCache(tmp_path, dict(reversed(ORIGIN.items()))).load([*first, *second, "absent"]), first | second
    )
    assert_same(cache.load(["0-1"]), {"0-1": first["0-1"]})
    assert cache.load([]) == {}


def test_another_origin_sees_nothing(tmp_path: Path) -> None:
    filled(tmp_path, some_tensors(2))
    other = EmbeddingCache(tmp_path, {**ORIGIN, "encoder": "abd"})
    assert other.load(some_tensors(2)) == {}
    assert not other.folder.exists(), "to look leaves no trace"
    other.put("key", torch.zeros(1))
    other.flush()
    assert json.loads((other.folder / "about.json").read_text()) == {**ORIGIN, "encoder": "abd"}


def test_views_of_a_larger_tensor_are_kept_alone(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    cache = filled(tmp_path, {"part": whole[:, 1]})
    assert torch.equal(cache.load(["part"])["part"], torch.tensor([[4.0, 5, 6, 7], [16, 17, 18, 19]]))
    assert shards_of(cache)[0].stat().st_size < 200


def test_shards_are_written_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "_SHARD_ENTRIES", 3)
    cache = EmbeddingCache(tmp_path, ORIGIN)
    for number, (key, tensor) in enumerate(some_tensors(7).items(), start=1):
        cache.put(key, tensor)
        assert len(shards_of(cache)) == number // 3
    assert len(cache.load(some_tensors(7))) == 6
    monkeypatch.setattr(embeddings, "_SHARD_SECONDS", 0.0)
    cache.put("last", torch.zeros(1))
    assert len(shards_of(cache)) == 3
    cache.flush()
    assert len(shards_of(cache)) == 3, "nothing waits, so there is nothing to write"


@pytest.mark.parametrize("harm", ["flip", "cut", "grow", "empty"])
def test_a_damaged_shard_is_absent(tmp_path: Path, harm: str) -> None:
    first, second = some_tensors(3), some_tensors(2, seed=1)
    cache = filled(tmp_path, first)
    (damaged,) = shards_of(cache)
    filled(tmp_path, second)
    content = bytearray(damaged.read_bytes())
    content[-5] ^= 1
    harmed = {"flip": content, "cut": content[:-9], "grow": content + b"\0", "empty": b""}
    damaged.write_bytes(harmed[harm])
    assert_same(cache.load([*first, *second]), second)
    assert cache.num_damaged == 1
    assert not damaged.exists()
    filled(tmp_path, first)
    assert_same(cache.load([*first, *second]), first | second)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(4))
def test_a_process_that_ends_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, after: bool) -> None:
    first, second = some_tensors(2), some_tensors(2, seed=1)
    cache = filled(tmp_path, first)
    with monkeypatch.context() as patch:
        stop_at_step(patch, step, after=after)
        try:
            for key, tensor in second.items():
                cache.put(key, tensor)
            cache.flush()
        except Stopped:
            pass
    again = EmbeddingCache(tmp_path, ORIGIN)
    found = again.load([*first, *second])
    assert_same(found, first | second if len(found) == 4 else first)
    assert again.num_damaged == 0, "whole or not at all"


def test_old_leftovers_are_removed(tmp_path: Path) -> None:
    cache = filled(tmp_path, some_tensors(1))
    old, young = cache.folder / ".old.tmp", cache.folder / ".young.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    EmbeddingCache(tmp_path, ORIGIN)
    assert (old.exists(), young.exists()) == (False, True), "the young one may be another process's"


def test_digests() -> None:
    assert digest_of({"a": 1, "b": [2, None]}) == digest_of({"b": (2, None), "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})
    tensors = {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([0.0])}
    same = tensors_sha256(dict(reversed(tensors.items())))
    assert same == tensors_sha256(tensors)
    others = (
        {**tensors, "w": tensors["w"].flatten()},
        {**tensors, "w": tensors["w"].T},
        {**tensors, "b": torch.tensor([-0.0])},
        {**tensors, "b": torch.tensor([0])},
        {"w": tensors["w"], "c": tensors["b"]},
    )
    assert len({same, *map(tensors_sha256, others)}) == 6
    assert tensors_sha256({"n": torch.tensor(3), "h": torch.ones(2, dtype=torch.bfloat16)})


def test_a_changed_file_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"12345")
    video = Video(path, ("x",))
    before = video_identity(video)
    assert video_identity(Video(path, ("another label",), split="val")) == before
    assert video_identity(replace(video, start=1.0)) != before
    assert video_identity(replace(video, end=1.0)) != video_identity(replace(video, start=1.0))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    touched = video_identity(video)
    assert touched != before
    path.write_bytes(b"123456")
    os.utime(path, ns=(0, 7))
    longer = video_identity(video)
    assert longer not in (before, touched)
    path.unlink()
    assert video_identity(video)[-1] == ["absent"]


def test_files_in_files(tmp_path: Path) -> None:
    folder, tar = tmp_path / "images", tmp_path / "all.tar"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"1")
    tar.write_bytes(b"tar")
    listed = [Video(folder, ("x",)), Video(f"tar://a.mp4::{tar}", ("x",)), Video(f"file://{tar}", ("x",))]
    before = list(map(video_identity, listed))
    (folder / "1.jpg").write_bytes(b"22")
    tar.write_bytes(b"other")
    assert all(old != new for old, new in zip(before, map(video_identity, listed), strict=True))
    remote = Video("https://example.org/a.mp4", ("x",))
    assert video_identity(remote) == [remote.path, None, None, "remote"]
    assert video_identity(Video("tar://a.mp4::https://example.org/a.tar", ("x",)))[-1] == "remote"
    assert video_identity(Video("tar://strange", ("x",)))[-1] == "remote"
