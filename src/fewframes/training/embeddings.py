"""Tensors and what they were computed from come in; shards on disk keep them, and what is intact comes back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from fewframes.data.listing import file_keys, is_remote
from fewframes.data.manifest import Video
from fewframes.errors import UsageError
from fewframes.report.serial import write_atomically
from fewframes.video.address import local_path
from fewframes.video.tarfiles import split_member

__all__ = ["EmbeddingCache", "digest_of", "tensors_sha256", "video_identity"]

# A killed process loses what it had not yet written: at most so many entries, or those of so many seconds.
_SHARD_ENTRIES, _SHARD_SECONDS = 64, 10.0
_ABOUT = "about.json"
_STALE_SECONDS = 3600.0


class EmbeddingCache:
    """Small tensors by key, in shards that appear whole and whose names are the SHA-256 of their bytes.

    A shard that was cut short, changed or copied badly no longer has its name's digest: it is deleted, and its entries
    count as absent. Any number of processes may write into the same folder.

    Args:
        folder: shards of different origins lie in folders of their own below it.
        origin: what all entries were computed with, plain JSON values; another origin never sees them.

    Attributes:
        folder: where this origin's shards lie.
        num_damaged: shards that were found damaged so far.
    """

    def __init__(self, folder: str | Path, origin: Mapping[str, Any]) -> None:
        self.folder = Path(folder) / digest_of(origin)[:24]
        self.num_damaged = 0
        self._waiting: dict[str, Tensor] = {}
        self._written = time.monotonic()
        self._about = json.dumps(origin, indent=1, sort_keys=True) + "\n"
        self._remove_leftovers()

    def load(self, keys: Iterable[str]) -> dict[str, Tensor]:
        """Those of the keys that are kept, each with its tensor, bit for bit what was put in."""
        wanted, found = set(keys), dict[str, Tensor]()
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                content = path.read_bytes()
            except OSError:
                self.num_damaged += 1
                continue
            if hashlib.sha256(content).hexdigest() != path.stem:
                self.num_damaged += 1
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            # Copies, since a shard's tensors share its memory, and most of it may not be wanted.
            found.update({key: tensor.clone() for key, tensor in load(content).items() if key in wanted})
        return found

    def put(self, key: str, tensor: Tensor) -> None:
        """Keep one more entry; it reaches the disk with its shard, at the latest with `flush`."""
        self._waiting[key] = tensor.detach().cpu().contiguous()
        if len(self._waiting) >= _SHARD_ENTRIES or time.monotonic() - self._written >= _SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Raises UsageError if the folder cannot be written."""
        if self._waiting:
            if not (self.folder / _ABOUT).exists():
                write_atomically(self.folder / _ABOUT, self._about)
            content = save(self._waiting)
            write_atomically(self.folder / f"{hashlib.sha256(content).hexdigest()}.safetensors", content)
            self._waiting.clear()
        self._written = time.monotonic()

    def _remove_leftovers(self) -> None:
        """Delete what killed processes left half written; what is young may be another process's, which goes on."""
        for path in self.folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()


def digest_of(value: object) -> str:
    """The SHA-256 of plain JSON values, 64 hexadecimal digits; equal for equal values whatever their order in dicts."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of named tensors: names, shapes, types and every bit; not of the order or of the device."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def video_identity(video: Video) -> list[Any]:
    """What tells one version of a listed part of a video from another, as plain JSON values.

    For a file: its path, length and time of change; for a folder of images, that of all its files; for a file in a tar
    file, that of the tar file. Of a remote video only the address is known: it is taken to stay the same.
    """
    name = str(video.path)
    part = [name, video.start, video.end]
    place = _local_file(name)
    if place is None:
        return [*part, "remote"]
    (key,) = file_keys([place])
    return [key, *part, _state(place)]


def _local_file(name: str) -> Path | None:
    """Where on this machine a listed video lies; None if it lies elsewhere or its address is not understood."""
    try:
        if name.lower().startswith("tar://"):
            name = split_member(name)[1]
        if name.lower().startswith("file://"):
            name = local_path(name)
    except UsageError:
        return None
    return None if is_remote(name) else Path(name)


def _state(place: Path) -> list[Any]:
    try:
        if not place.is_dir():
            found = place.stat()
            return [found.st_size, found.st_mtime_ns]
        with os.scandir(place) as entries:
            files = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries)
        return [list(map(list, files))]
    except OSError:
        return ["absent"]
