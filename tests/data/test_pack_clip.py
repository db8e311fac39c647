"""A packed clip holds exactly the frames that evaluation picks, as faithful as its quality allows."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fewframes.data.manifest import Video
from fewframes.data.pack_clip import PackOptions, encode_clip, encode_images, key_of
from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits, Sampling
from fewframes.video.clip import load_frames
from fewframes.video.sampling import uniform_indices
from fewframes.video.synthetic import encode_video, render_video
from tests.helpers.painted import read_numbers, write_painted


def unpack(members: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """A clip's record and its images."""
    with tarfile.open(fileobj=io.BytesIO(members + bytes(1024))) as file:
        contents = [file.extractfile(member).read() for member in file]  # type: ignore[union-attr]
    return json.loads(contents[0]), contents[1:]


def pixels_of(images: list[bytes]) -> torch.Tensor:
    """(T, 3, H, W) uint8."""
    pictures = [np.asarray(Image.open(io.BytesIO(image))) for image in images]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def test_the_record_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write_painted(path, 40, rate=10)
    video = Video(path, ("run", "walk"), split="train", group="g7", start=1.0, end=3.0)
    record, images = unpack(encode_clip(video, "a/x.mp4", 12, PackOptions(frames=4)))
    frames = record.pop("frames")
    assert record == {
        "layout": "fewframes clip 1",
        "path": "a/x.mp4",
        "labels": ["run", "walk"],
        "split": "train",
        "group": "g7",
        "start": 1.0,
        "end": 3.0,
        "indices": [12, 17, 22, 27],  # of the 20 frames from 10 on: 2.5, 7.5, 12.5, 17.5 rounded down
        "seconds": [1.2, 1.7, 2.2, 2.7],
        "duration_seconds": 3.0,
        "source": {
            "width": 64,
            "height": 48,
            "num_frames": 40,
            "fps": 10.0,
            "duration_seconds": 4.0,
            "codec": "h264",
            "size_bytes": path.stat().st_size,
            "decoder": "pyav",
        },
        "sampling": "uniform",
        "quality": 95,
        "subsampling": "4:4:4",
        "resize": 256,
        "width": 64,
        "height": 48,
    }
    assert [frame["name"] for frame in frames] == [f"00000012.{number:03d}.jpg" for number in range(4)]
    assert [frame["size_bytes"] for frame in frames] == list(map(len, images))
    assert read_numbers(pixels_of(images)) == [12, 17, 22, 27]


@pytest.mark.parametrize(("start", "end"), [(None, None), (0.5, None), (None, 0.9), (0.301, 0.302), (1.1, 99.0)])
@pytest.mark.parametrize("count", [1, 5, 16, 100])
def test_the_frames_are_those_that_evaluation_picks(
    tmp_path: Path, start: float | None, end: float | None, count: int
) -> None:
    path = tmp_path / "x.mp4"
    write_painted(path, 37)
    expected = load_frames(path, Sampling("uniform", count), start=start, end=end)
    members = encode_clip(Video(path, (), start=start, end=end), "x", 0, PackOptions(frames=count))
    record, images = unpack(members)
    assert tuple(record["indices"]) == expected.indices
    assert record["seconds"] == expected.seconds.tolist()
    assert read_numbers(pixels_of(images)) == list(expected.indices)
    if start is None and end is None:
        assert tuple(record["indices"]) == uniform_indices(37, count)
    assert record["seconds"][-1] < record["duration_seconds"] <= 37 / 25


def test_a_short_video_repeats_and_is_encoded_once(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write_painted(path, 3)
    record, images = unpack(encode_clip(Video(path, ()), "x", 0, PackOptions(frames=8)))
    assert record["indices"] == [0, 0, 0, 1, 1, 2, 2, 2]
    assert images[0] == images[1] == images[2] != images[3] == images[4]


def test_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write_painted(path, 20)
    video = Video(path, ("a",))
    assert encode_clip(video, "x", 3, PackOptions()) == encode_clip(video, "x", 3, PackOptions())
    assert encode_clip(video, "x", 3, PackOptions()) != encode_clip(video, "x", 4, PackOptions())


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [((48, 64), 24, (24, 32)), ((64, 48), 24, (32, 24)), ((48, 64), 256, (48, 64)), ((48, 64), None, (48, 64))],
)
def test_sizes(tmp_path: Path, size: tuple[int, int], short: int | None, expected: tuple[int, int]) -> None:
    path = tmp_path / "x.mp4"
    write_painted(path, 5, size=size)
    record, images = unpack(encode_clip(Video(path, ()), "x", 0, PackOptions(frames=2, short_side=short)))
    assert (record["height"], record["width"]) == expected
    assert tuple(pixels_of(images).shape) == (2, 3, *expected)
    assert read_numbers(pixels_of(images)) == [1, 3]


def test_better_quality_is_nearer_and_longer() -> None:
    frames, _ = render_video("rise", 4)
    pixels = torch.from_numpy(frames[:3]).permute(0, 3, 1, 2)
    errors, sizes = [], []
    for quality, colour in ((50, "4:2:0"), (90, "4:2:0"), (90, "4:4:4"), (95, "4:4:4"), (100, "4:4:4")):
        images = encode_images(pixels, (0, 1, 2), PackOptions(quality=quality, subsampling=colour))  # type: ignore[arg-type]
        errors.append(float((pixels_of(images).float() - pixels.float()).abs().mean()))
        sizes.append(sum(map(len, images)))
    assert errors == sorted(errors, reverse=True)
    assert sizes == sorted(sizes)
    assert errors[-1] < 0.5 < 2 < errors[0]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    frames, fps = render_video("rise", 4)
    path.write_bytes(encode_video(frames, fps, 4)[:2000])
    with pytest.raises(UnreadableVideo):
        encode_clip(Video(path, ()), "x", 0, PackOptions())
    write_painted(path, 5)
    with pytest.raises(UnreadableVideo, match="lies beyond its end"):
        encode_clip(Video(path, (), start=3.0), "x", 0, PackOptions())
    limited = PackOptions(decode=DecodeOptions(limits=Limits(max_pixels=100)))
    with pytest.raises(UnreadableVideo, match="above the limit of 100 pixels"):
        encode_clip(Video(path, ()), "x", 0, limited)


def test_keys_sort_like_rows() -> None:
    keys = [key_of(row) for row in (0, 9, 10, 99_999_999)]
    assert keys == sorted(keys) == ["00000000", "00000009", "00000010", "99999999"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"frames": 0}, "frames is 0; expected 1 to 1000"),
        ({"frames": 1001}, "frames is 1001"),
        ({"short_side": 0}, "short_side is 0"),
        ({"quality": 0}, "quality is 0; expected 1 to 100"),
        ({"quality": 101}, "quality is 101"),
        ({"subsampling": "4:1:1"}, "subsampling is '4:1:1'; expected 4:4:4 or 4:2:0"),
        ({"shard_bytes": 0}, "shard_bytes is 0"),
        ({"decode": DecodeOptions(seek="keyframe")}, "a pack holds exact frames; leave --seek out"),
    ],
)
def test_wrong_options(options: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        PackOptions(**options)  # type: ignore[arg-type]
