"""One row of a list comes in; its frames as JPEG images with their record, a piece of a tar shard, go out."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from fewframes.data.manifest import Video
from fewframes.data.reading import Reading, read_frames
from fewframes.errors import UsageError
from fewframes.records import DecodeOptions, Sampling
from fewframes.video.packed_clip import clip_members
from fewframes.video.transforms import resize_short_side

__all__ = ["PackOptions", "Subsampling", "encode_clip", "encode_images", "key_of"]

Subsampling = Literal["4:4:4", "4:2:0"]
_MOST_FRAMES = 1000
_EXACT = DecodeOptions()


@dataclass(frozen=True)
class PackOptions:
    """What a pack holds of each video.

    Attributes:
        frames: how many; the centres of equal segments of the row's part. Short videos repeat.
        short_side: pixels of the shorter side; smaller videos are not enlarged. None keeps the size.
        quality: of the JPEG images, 1 to 100.
        subsampling: "4:4:4" keeps the colour of every pixel, "4:2:0" that of every fourth.
        shard_bytes: a shard is closed before the clip that would make it larger.
        decode: how videos are decoded.
    """

    frames: int = 16
    short_side: int | None = 256
    quality: int = 95
    subsampling: Subsampling = "4:4:4"
    shard_bytes: int = 256 * 1024 * 1024
    decode: DecodeOptions = _EXACT

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= _MOST_FRAMES:
            raise UsageError(f"frames is {self.frames}; expected 1 to {_MOST_FRAMES}")
        if self.short_side is not None and self.short_side < 1:
            raise UsageError(f"short_side is {self.short_side}; expected at least 1 pixel")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality is {self.quality}; expected 1 to 100")
        if self.subsampling not in ("4:4:4", "4:2:0"):
            raise UsageError(f"subsampling is {self.subsampling!r}; expected 4:4:4 or 4:2:0")
        if self.shard_bytes < 1:
            raise UsageError(f"shard_bytes is {self.shard_bytes}; expected at least 1")
        if self.decode.seek != "exact":
            raise UsageError("a pack holds exact frames; leave --seek out")


def key_of(row: int) -> str:
    """The name of a row's clip, counted from 0."""
    return f"{row:08d}"


def encode_clip(video: Video, name: str, row: int, options: PackOptions) -> bytes:
    """Read one row's frames, exactly those that evaluation picks, and encode them.

    Args:
        video: the row.
        name: how its record names the source.
        row: its number in the list, from 0.
        options: what is kept of it.

    Returns:
        The members of the clip's shard; equal arguments give equal bytes.

    Raises:
        UnreadableVideo: the video cannot be read.
    """
    sampling = Sampling("uniform", options.frames)
    reading = read_frames(video.path, sampling, start=video.start, end=video.end, decode=options.decode)
    pixels = reading.frames.pixels
    if options.short_side is not None and min(pixels.shape[-2:]) > options.short_side:
        pixels = resize_short_side(pixels, options.short_side)
    record = {
        "path": name,
        "labels": list(video.labels),
        "split": video.split,
        "group": video.group,
        "start": video.start,
        "end": video.end,
        **_facts(reading, video.end),
        "sampling": "uniform",
        "quality": options.quality,
        "subsampling": options.subsampling,
        "resize": options.short_side,
        "width": pixels.shape[-1],
        "height": pixels.shape[-2],
    }
    images = encode_images(pixels, reading.frames.indices, options)
    return clip_members(key_of(row), record, images)


def encode_images(pixels: Tensor, indices: tuple[int, ...], options: PackOptions) -> list[bytes]:
    """JPEG files of (T, 3, H, W) uint8 frames; frames with the same number are encoded once."""
    done: dict[int, bytes] = {}
    for index, frame in zip(indices, pixels, strict=True):
        if index not in done:
            file = io.BytesIO()
            image = Image.fromarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()))
            image.save(file, "JPEG", quality=options.quality, subsampling=options.subsampling)
            done[index] = file.getvalue()
    return [done[index] for index in indices]


def _facts(reading: Reading, end: float | None) -> dict[str, object]:
    """Which frames these are, and of what video."""
    info = reading.info
    return {
        "indices": list(reading.frames.indices),
        "seconds": reading.frames.seconds.tolist(),
        "duration_seconds": info.duration_seconds if end is None else min(end, info.duration_seconds),
        "source": {
            "width": info.width,
            "height": info.height,
            "num_frames": info.num_frames,
            "fps": info.fps,
            "duration_seconds": info.duration_seconds,
            "codec": info.codec,
            "size_bytes": info.size_bytes,
            "decoder": info.decoder,
        },
    }
