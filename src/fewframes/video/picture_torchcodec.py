"""Comes in: a frame's samples as torchcodec gives them. Goes out: a frame of PyAV's with these samples.

So that one code, that of `fewframes.video.picture_pyav`, turns the samples of both into RGB.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

__all__ = ["Carrier", "RawFrame", "tags_of"]

# What a GPU decoder writes: 4:2:0 with its two chroma components side by side, or 4:4:4.
_SURFACES = frozenset({"nv12", "p010le", "p012le", "p016le", "yuv444p", "yuv444p16le"})


class RawFrame(Protocol):
    """What is used of torchcodec's class of this name.

    Attributes:
        pts_seconds: when the frame is shown, in the container's time.
        pixel_format: FFmpeg's name of it.
        color_space: FFmpeg's name of the matrix.
        color_range: "tv", "pc" or "unknown".
        width: pixels, before rotation.
        height: pixels, before rotation.
        planes: one tensor a component, (height, width) or subsampled, uint8 or uint16, views of the decoder's memory.
    """

    pts_seconds: float
    pixel_format: str
    color_space: str
    color_range: str
    width: int
    height: int
    planes: tuple[Any, ...]


def tags_of(frame: RawFrame) -> tuple[object, ...]:
    """What a `Carrier` takes for granted in all frames of a video, so that it must not change."""
    return frame.pixel_format, frame.width, frame.height, frame.color_space, frame.color_range


class Carrier:
    """A frame of PyAV's whose samples are overwritten, so that one code makes every picture.

    Args:
        frame: its colour matrix, range, chroma places and display matrix are those of all frames.
    """

    def __init__(self, frame: VideoFrame) -> None:
        frame.make_writable()
        self.frame = frame
        self._samples = _component_views(frame)

    def fill(self, raw: RawFrame) -> None:
        """Overwrite all samples. Raises ValueError, naming what torchcodec gives, if they are of another kind."""
        own, given = self.frame.format, raw.pixel_format
        same = own.name.replace("yuvj", "yuv") == given.replace("yuvj", "yuv")
        if not self._samples:
            raise ValueError(f"the pixel format {given}, whose samples cannot be taken over")
        if not same and (own.is_rgb or given not in _SURFACES):
            raise ValueError(f"the pixel format {given}, PyAV {own.name}")
        # FFmpeg's own formats keep short samples in the low bits of 16, those of a GPU in the high ones.
        bits = own.components[0].bits
        shift = 16 - bits if bits > 8 and not same else 0
        planes = [plane.cpu().numpy() for plane in raw.planes]
        if [(each.shape, each.itemsize) for each in planes] != [(each.shape, each.itemsize) for each in self._samples]:
            raise ValueError(f"{given} of {raw.width} x {raw.height}, PyAV {own.name} of another size")
        for samples, plane in zip(self._samples, planes, strict=True):
            samples[...] = plane >> shift if shift else plane


def _component_views(frame: VideoFrame) -> list[NDArray[Any]]:
    """Each component's samples, writable, in the order R, G, B, A or Y, U, V, A; none for formats of another layout."""
    kind, components = frame.format, frame.format.components
    if kind.has_palette or kind.is_bit_stream or kind.is_big_endian or components[0].bits > 16:
        return []
    dtype = np.uint8 if components[0].bits <= 8 else np.dtype("<u2")
    planes = [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        for plane in frame.planes
        if plane.line_size > 0
    ]
    if len(planes) != len(frame.planes):
        return []
    if kind.is_rgb and len(planes) == 1 and dtype == np.uint8 and set(kind.name) <= set("rgba024"):
        letters = kind.name.removesuffix("24")
        pixels = planes[0][:, : kind.width * len(letters)].reshape(kind.height, kind.width, len(letters))
        return [pixels[:, :, letters.index(letter)] for letter in "rgba"[: len(components)]]
    if len(planes) != len(components):
        return []
    if kind.is_rgb:
        planes = [planes["gbra".index(letter)] for letter in "rgba"[: len(components)]]
    return [plane.view(dtype)[:, : each.width] for plane, each in zip(planes, components, strict=True)]
