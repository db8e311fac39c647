"""A folder of numbered images comes in; its image files in order, and when each is shown, go out."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fewframes.errors import UnreadableVideo
from fewframes.records import Limits

__all__ = ["ASSUMED_FPS", "IMAGE_SUFFIXES", "TIMES_NAME", "ImageFolder", "is_image_name"]

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
TIMES_NAME = "frames.json"
ASSUMED_FPS = 25.0

_NUMBERED = re.compile(r"(.*?)([0-9]+)", re.DOTALL)
_KINDS = {".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".webp": "WebP"}


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as one of the images."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


class ImageFolder:
    """The image files of a folder, in order.

    Attributes:
        names: of the images, by their numbers.
        size_bytes: of all images together.
        bytes_read: how much was read so far.

    Args:
        folder: its path.
        limits: refuse what asks for more.

    Raises:
        UnreadableVideo: no images, not one whole series of one kind, or more than the limits allow.
    """

    def __init__(self, folder: str, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self.bytes_read = self.size_bytes = 0
        self.names: list[str] = []
        try:
            found = list(self._list())
        except OSError as error:
            raise UnreadableVideo(folder, str(error.strerror or error)) from error
        self.names = _in_order(folder, found)

    def _list(self) -> Iterator[str]:
        with os.scandir(self.folder) as entries:
            count = 0
            for entry in entries:
                if not is_image_name(entry.name):
                    continue
                count += 1
                if count > self.limits.max_frames:
                    raise UnreadableVideo(
                        self.folder, f"it holds more than {self.limits.max_frames} images; raise max_frames"
                    )
                self.size_bytes += entry.stat().st_size
                yield entry.name

    def read_times(self) -> tuple[NDArray[np.float64], float, bool]:
        """When each image is shown, for how long all are, and whether that is stated rather than assumed.

        Raises:
            UnreadableVideo: the file that states it does not fit.
        """
        count = len(self.names)
        if not os.path.lexists(os.path.join(self.folder, TIMES_NAME)):
            return np.arange(count) / ASSUMED_FPS, count / ASSUMED_FPS, False
        try:
            stated = json.loads(self._read_file(TIMES_NAME))
        except (ValueError, RecursionError) as error:
            raise self._wrong_times(f"is not JSON ({error})") from error
        if not isinstance(stated, dict) or len(stated.keys() & {"fps", "seconds"}) != 1:
            raise self._wrong_times("does not state one of fps and seconds")
        if "fps" in stated:
            fps = stated["fps"]
            if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
                raise self._wrong_times(f"states fps {fps!r}, which is no number above 0")
            return np.arange(count) / fps, count / fps, True
        times = stated["seconds"]
        if not isinstance(times, list) or len(times) != count:
            length = len(times) if isinstance(times, list) else repr(times)
            raise self._wrong_times(f"states {length} seconds for {count} images")
        try:
            seconds = np.array(times, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            seconds = np.full(1, np.nan)
        if seconds.shape != (count,) or not np.isfinite(seconds).all() or (np.diff(seconds) <= 0).any():
            raise self._wrong_times("states seconds that are not ascending numbers")
        seconds -= seconds[0]
        last = float(seconds[-1] - seconds[-2]) if count > 1 else 1 / ASSUMED_FPS
        return seconds, float(seconds[-1]) + last, True

    def fetch_one(self, index: int) -> bytes:
        """The content of one image file. Raises UnreadableVideo."""
        return self._read_file(self.names[index])

    def fetch(self, indices: Sequence[int]) -> Iterator[bytes]:
        """The content of these, one after the other."""
        return map(self.fetch_one, indices)

    def close(self) -> None:
        """Each file is closed as soon as it is read."""

    def _read_file(self, name: str) -> bytes:
        try:
            with open(os.path.join(self.folder, name), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > self.limits.max_buffer_bytes:
                    raise UnreadableVideo(
                        self.folder,
                        f"{name} has {size} bytes, above the limit of {self.limits.max_buffer_bytes}; "
                        "raise max_buffer_bytes",
                    )
                content = file.read(size)
        except OSError as error:
            raise UnreadableVideo(self.folder, f"{name}: {error.strerror or error}") from error
        self.bytes_read += len(content)
        return content

    def _wrong_times(self, finding: str) -> UnreadableVideo:
        remedy = 'expected {"fps": 25} or {"seconds": [0.0, 0.04, ...]}'
        return UnreadableVideo(self.folder, f"{TIMES_NAME} {finding}; {remedy}, a time for each image")


def _in_order(folder: str, names: Sequence[str]) -> list[str]:
    """The names by their numbers; raises unless they are one whole series of one kind."""
    numbers: dict[int, str] = {}
    series: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        stem, suffix = os.path.splitext(name)
        match = _NUMBERED.fullmatch(stem)
        if match is None:
            raise UnreadableVideo(folder, f"{name} has no number at its end; expected names such as img_00001.jpg")
        series.setdefault((match[1], _KINDS[suffix.lower()]), name)
        if len(series) > 1:
            first, second = series.values()
            raise UnreadableVideo(folder, f"it mixes {first} with {second}; expected one series of one kind")
        number = int(match[2])
        if number in numbers:
            raise UnreadableVideo(folder, f"{numbers[number]} and {name} have the same number; remove one of them")
        numbers[number] = name
    if not numbers:
        raise UnreadableVideo(folder, f"it holds no images; expected files that end in {', '.join(IMAGE_SUFFIXES)}")
    ordered = sorted(numbers)
    for before, number in itertools.pairwise(ordered):
        if number != before + 1:
            raise UnreadableVideo(
                folder,
                f"image number {before + 1} is missing between {numbers[before]} and {numbers[number]}; "
                "extract the frames anew, or number them without a gap",
            )
    return [numbers[number] for number in ordered]
