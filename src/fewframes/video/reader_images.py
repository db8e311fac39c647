"""A folder of numbered images, or a clip packed into a tar file, comes in; its pictures go out as uint8 RGB by Pillow.

Both are videos like any other to `fewframes.video.reader`. What `fewframes data pack` writes and what is read here has
one layout, that of `fewframes.video.packed_clip`.
"""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits, VideoInfo
from fewframes.video.address import hide_secrets
from fewframes.video.image_folder import ASSUMED_FPS, ImageFolder, is_image_name
from fewframes.video.packed_clip import PackedClip, find_clip, split_address
from fewframes.video.source import resolve_source

__all__ = ["ImagesBackend", "is_image_folder", "is_packed_clip"]

_FORMATS = ("JPEG", "PNG", "WEBP")  # what Pillow may take a file for, whatever its name says
_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_TIME_ROUNDING = 1.5e-3  # times written in whole milliseconds are off by up to one from each other

_ORIENTATION_TAG = 0x0112
# EXIF's orientation -> what turns the picture upright, and the clockwise rotation in it; a mirroring comes after that.
_Turn = tuple[Image.Transpose | None, int]
_NO_TURN: _Turn = (None, 0)
_TURNS: dict[object, _Turn] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, 0),
    3: (Image.Transpose.ROTATE_180, 180),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, 180),
    5: (Image.Transpose.TRANSPOSE, 90),
    6: (Image.Transpose.ROTATE_270, 90),
    7: (Image.Transpose.TRANSVERSE, 270),
    8: (Image.Transpose.ROTATE_90, 270),
}


def is_image_folder(path: object) -> bool:
    """Whether this is the path of a folder that holds images directly, not only in folders of its own."""
    if not isinstance(path, str | os.PathLike):
        return False
    try:
        with os.scandir(os.fspath(path)) as entries:
            return any(is_image_name(str(entry.name)) for entry in entries)
    except (OSError, ValueError):
        return False


def is_packed_clip(source: object) -> bool:
    """Whether this is the address of a clip in a tar file, `tar://KEY.json::SHARD.tar`."""
    return isinstance(source, str) and split_address(source) is not None


class ImagesBackend:
    """One open clip that consists of images; made by `from_folder` or `from_pack`.

    Each image is a frame of its own, so `packets_decoded` counts images, and all of them are keyframes. An image that
    is cut short or damaged is an error; transparency is ignored.

    Attributes:
        info: the clip; its codec is "images", "images, 25 fps assumed" or "packed images".
        seconds: (N,) float64, when each frame is shown, ascending.
        key_frames: (N,) all frames.
        packets_decoded: images that were decoded so far.
    """

    def __init__(self, images: ImageFolder | _PackedImages, info: VideoInfo, seconds: NDArray[np.float64]) -> None:
        self._images = images
        self.info, self.seconds = info, seconds
        self.key_frames: NDArray[np.int64] = np.arange(info.num_frames, dtype=np.int64)
        self.packets_decoded = 0

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str], decode: DecodeOptions) -> ImagesBackend:
        """Open a folder of numbered images of one kind: JPEG, PNG or WebP.

        The numbers stand at the end of the names, whatever precedes them, and say the order; none may be missing.
        Hidden files and those that are no images are no part of it. A file frames.json beside the images may state
        when they are shown: {"fps": 29.97}, or {"seconds": [0.0, 0.04, ...]} with a time for each. Otherwise 25 a
        second are assumed, and the clip's codec says so.

        Args:
            path: the folder.
            decode: only its limits are looked at.

        Raises:
            UnreadableVideo: the folder holds no images, kinds or series are mixed, a number is missing or comes twice,
                frames.json does not fit, the first image cannot be read, or something is beyond the limits.
        """
        name = os.fspath(path)
        images = ImageFolder(name, decode.limits)
        seconds, duration, stated = images.read_times()
        image, (_, rotation) = _open_image(images.fetch_one(0), images.names[0], name, decode.limits)
        width, height = image.size[::-1] if rotation in (90, 270) else image.size
        info = VideoInfo(
            path=name,
            num_frames=len(seconds),
            fps=len(seconds) / duration,
            duration_seconds=duration,
            width=width,
            height=height,
            codec="images" if stated else f"images, {ASSUMED_FPS:g} fps assumed",
            variable_frame_rate=_varies(seconds),
            rotation_degrees=rotation,
            size_bytes=images.size_bytes,
            bytes_read=images.bytes_read,
            decoder="pillow",
        )
        return cls(images, info, seconds)

    @classmethod
    def from_pack(cls, address: str, decode: DecodeOptions) -> ImagesBackend:
        """Open a clip that `fewframes data pack` wrote.

        Its frames are the packed ones, numbered from 0, so the rule "uniform" with their count picks each of them in
        order. Their times are those in the video that they were taken from.

        Args:
            address: `tar://KEY.json::SHARD.tar`; the shard is a path, or whatever else can be opened.
            decode: only its limits are looked at.

        Raises:
            UnreadableVideo: no such shard or clip, its record is damaged, or something is beyond the limits.
        """
        images = _PackedImages(address, decode.limits)
        clip = images.clip
        info = VideoInfo(
            path=images.address,
            num_frames=len(clip.seconds),
            fps=len(clip.seconds) / clip.duration_seconds,
            duration_seconds=clip.duration_seconds,
            width=clip.width,
            height=clip.height,
            codec="packed images",
            variable_frame_rate=_varies(clip.seconds),
            rotation_degrees=0,
            size_bytes=clip.size_bytes,
            bytes_read=images.bytes_read,
            decoder="pillow",
        )
        return cls(images, info, clip.seconds)

    @property
    def bytes_read(self) -> int:
        """How much was read so far."""
        return self._images.bytes_read

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames at strictly ascending `indices`, all in range: (K, H, W, 3) uint8 RGB. Raises UnreadableVideo."""
        pixels = np.empty((len(indices), self.info.height, self.info.width, 3), dtype=np.uint8)
        for row, index, content in zip(pixels, indices, self._images.fetch(indices), strict=True):
            self._decode_into(row, content, self._images.names[index])
        return pixels

    def close(self) -> None:
        """Free what is open; may be called twice."""
        self._images.close()

    def _decode_into(self, out: np.ndarray, content: bytes, name: str) -> None:
        image, (turn, _) = _open_image(content, name, self.info.path, self._images.limits)
        with _typed_errors(name, self.info.path):
            picture = image.convert("RGB")
            upright = picture if turn is None else picture.transpose(turn)
        self.packets_decoded += 1
        if upright.size != (self.info.width, self.info.height):
            raise UnreadableVideo(
                self.info.path,
                f"{name} is {upright.width} x {upright.height} but the clip is {self.info.width} x "
                f"{self.info.height}; expected images of one size",
            )
        out[...] = np.asarray(upright)


class _PackedImages:
    """The images of a packed clip, in order."""

    def __init__(self, address: str, limits: Limits) -> None:
        parts = split_address(address)
        if parts is None:
            raise UsageError(f"{hide_secrets(address)} is no packed clip; expected tar://KEY.json::SHARD.tar")
        self.address, self.limits = hide_secrets(address), limits
        try:
            self._shard = resolve_source(parts[1], limits=limits).open()
        except OSError as error:
            raise UnreadableVideo(self.address, str(error.strerror or error)) from error
        try:
            self.clip: PackedClip = find_clip(self._shard, parts[0], self.address, limits)
        except BaseException:
            self._shard.close()
            raise
        self.names = self.clip.names

    @property
    def bytes_read(self) -> int:
        return self._shard.bytes_read

    def fetch(self, indices: Sequence[int]) -> Iterator[bytes]:
        ranges = [self.clip.ranges[index] for index in indices]
        try:
            contents = self._shard.read_ranges(ranges)
        except OSError as error:
            raise UnreadableVideo(self.address, str(error.strerror or error)) from error
        for index, content in zip(indices, contents, strict=True):
            if zlib.crc32(content) != self.clip.checksums[index]:
                raise UnreadableVideo(self.address, f"{self.names[index]} is damaged; pack it again, or copy it anew")
            yield content

    def close(self) -> None:
        self._shard.close()


@contextlib.contextmanager
def _typed_errors(name: str, path: str) -> Iterator[None]:
    """Whatever Pillow raises over an image becomes an `UnreadableVideo`."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UnreadableVideo(path, f"{name} cannot be decoded ({reason}); copy it anew") from error


def _open_image(content: bytes, name: str, path: str, limits: Limits) -> tuple[Image.Image, _Turn]:
    """Read an image's header, and how it becomes upright; no memory is taken for its pixels before it is checked."""
    # Any library in this process may have set this; what is missing of an image would then come out grey.
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UsageError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, which hides damaged images; set it to False")
    with _typed_errors(name, path):
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > limits.max_pixels:
        raise UnreadableVideo(
            path,
            f"{name} is {image.width} x {image.height}, above the limit of {limits.max_pixels} pixels; "
            "raise max_pixels",
        )
    if image.mode not in _EIGHT_BITS:
        raise UnreadableVideo(path, f"{name} has pixels of the mode {image.mode}; expected 8 bits a channel")
    # A photo of the format MPO holds other views of the same moment; its first picture is the photo.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise UnreadableVideo(path, f"{name} is an animation; expected one picture in each file")
    with _typed_errors(name, path):
        return image, _TURNS.get(image.getexif().get(_ORIENTATION_TAG), _NO_TURN)


def _varies(seconds: NDArray[np.float64]) -> bool:
    gaps = np.diff(seconds)
    return len(gaps) > 0 and bool(gaps.max() - gaps.min() > _TIME_ROUNDING)
