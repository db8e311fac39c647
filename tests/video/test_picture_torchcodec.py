from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from fewframes.video.picture_torchcodec import Carrier, tags_of

HEIGHT, WIDTH = 6, 10


@dataclass
class Raw:
    """What torchcodec's RawFrame has, with samples that a test chooses."""

    pixel_format: str
    planes: tuple[torch.Tensor, ...]
    pts_seconds: float = 0.0
    color_space: str = "bt709"
    color_range: str = "tv"
    width: int = WIDTH
    height: int = HEIGHT


def samples(*shapes: tuple[int, int], bits: int = 8, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 1 << bits, shape).astype(np.uint8 if bits == 8 else np.uint16) for shape in shapes]


def tensors(arrays: list[np.ndarray]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)


def planes_of(frame: VideoFrame) -> list[np.ndarray]:
    """Each plane's bytes without the padding of its rows."""
    depth = 2 if frame.format.components[0].bits > 8 else 1
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, -1)
        found.append(rows.view("<u2" if depth == 2 else np.uint8)[:, : plane.width])
    return found


@pytest.mark.parametrize(
    ("kind", "chroma", "bits"),
    [("yuv420p", (3, 5), 8), ("yuv422p", (6, 5), 8), ("yuv444p", (6, 10), 8), ("yuv420p10le", (3, 5), 10)],
)
def test_samples_are_taken_over(kind: str, chroma: tuple[int, int], bits: int) -> None:
    given = samples((HEIGHT, WIDTH), chroma, chroma, bits=bits)
    carrier = Carrier(VideoFrame(WIDTH, HEIGHT, kind))
    carrier.fill(Raw(kind, tensors(given)))
    for plane, expected in zip(planes_of(carrier.frame), given, strict=True):
        assert np.array_equal(plane, expected)


def test_the_old_name_of_full_range_is_the_same_format() -> None:
    given = samples((HEIGHT, WIDTH), (3, 5), (3, 5))
    carrier = Carrier(VideoFrame(WIDTH, HEIGHT, "yuvj420p"))
    carrier.fill(Raw("yuv420p", tensors(given)))
    assert np.array_equal(planes_of(carrier.frame)[2], given[2])


def test_surfaces_of_a_gpu_with_interleaved_chroma() -> None:
    luma, both = samples((HEIGHT, WIDTH), (3, 10), seed=1)
    carrier = Carrier(VideoFrame(WIDTH, HEIGHT, "yuv420p"))
    interleaved = torch.from_numpy(both)
    carrier.fill(Raw("nv12", (torch.from_numpy(luma), interleaved[:, ::2], interleaved[:, 1::2])))
    for plane, expected in zip(planes_of(carrier.frame), [luma, both[:, ::2], both[:, 1::2]], strict=True):
        assert np.array_equal(plane, expected)


@pytest.mark.parametrize(
    ("surface", "kind", "bits"),
    [
        ("p010le", "yuv420p10le", 10),
        ("p012le", "yuv420p12le", 12),
        ("p016le", "yuv420p12le", 12),
        ("yuv444p16le", "yuv444p10le", 10),
    ],
)
def test_surfaces_of_a_gpu_keep_their_bits_at_the_top(surface: str, kind: str, bits: int) -> None:
    chroma = (6, 10) if "444" in kind else (3, 5)
    given = samples((HEIGHT, WIDTH), chroma, chroma, bits=bits)
    carrier = Carrier(VideoFrame(WIDTH, HEIGHT, kind))
    carrier.fill(Raw(surface, tensors([array << (16 - bits) for array in given])))
    for plane, expected in zip(planes_of(carrier.frame), given, strict=True):
        assert np.array_equal(plane, expected)


@pytest.mark.parametrize("kind", ["rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "bgr0", "0rgb", "gbrp"])
def test_red_green_and_blue_find_their_places(kind: str) -> None:
    frame = VideoFrame(WIDTH, HEIGHT, kind)
    shape = (HEIGHT, WIDTH)
    given = samples(*[shape] * len(frame.format.components))
    carrier = Carrier(frame)
    carrier.fill(Raw(kind, tensors(given)))
    assert np.array_equal(carrier.frame.to_ndarray(format="rgb24"), np.stack(given[:3], axis=2))


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        ("yuv420p", "yuv422p", "the pixel format yuv422p, PyAV yuv420p"),
        ("gbrp", "yuv444p", "the pixel format yuv444p, PyAV gbrp"),  # what a GPU makes of RGB
        ("pal8", "pal8", "pal8, whose samples cannot be taken over"),
        ("yuyv422", "yuyv422", "yuyv422, whose samples cannot be taken over"),
        ("yuv420p10be", "yuv420p10be", "yuv420p10be, whose samples cannot be taken over"),
        ("gbrpf32le", "gbrpf32le", "gbrpf32le, whose samples cannot be taken over"),
        ("monob", "monob", "monob, whose samples cannot be taken over"),
    ],
)
def test_other_formats_are_refused(kind: str, given: str, reason: str) -> None:
    carrier = Carrier(VideoFrame(WIDTH, HEIGHT, kind))
    with pytest.raises(ValueError, match=reason):
        carrier.fill(Raw(given, tensors(samples((HEIGHT, WIDTH), (3, 5), (3, 5)))))


@pytest.mark.parametrize(
    "planes",
    [
        samples((HEIGHT, WIDTH), (3, 5), (3, 4)),
        samples((HEIGHT, WIDTH), (3, 5)),
        samples((HEIGHT, WIDTH), (3, 5), (3, 5), bits=10),
        samples((HEIGHT, WIDTH), (6, 10), (6, 10)),
    ],
    ids=["narrower", "two planes", "longer samples", "more chroma"],
)
def test_other_sizes_are_refused(planes: list[np.ndarray]) -> None:
    carrier = Carrier(VideoFrame(WIDTH, HEIGHT, "yuv420p"))
    with pytest.raises(ValueError, match="nv12 of 10 x 6, PyAV yuv420p of another size"):
        carrier.fill(Raw("nv12", tensors(planes)))


@pytest.mark.parametrize(
    "change",
    [{"pixel_format": "yuv444p"}, {"width": 12}, {"height": 8}, {"color_space": "smpte170m"}, {"color_range": "pc"}],
)
def test_tags_show_each_change(change: dict[str, object]) -> None:
    assert tags_of(Raw("yuv420p", ())) != tags_of(Raw(**{"pixel_format": "yuv420p", "planes": (), **change}))  # type: ignore[arg-type]
    assert tags_of(Raw("yuv420p", ())) == tags_of(Raw("yuv420p", (), pts_seconds=1.0))
