"""Comes in: a `Source` and frame numbers. Goes out: the frames that PyAV would give, decoded by torchcodec instead.

torchcodec is optional and imported only when it is asked for. It uses the FFmpeg of the machine, not the one inside
PyAV, and can decode on a GPU. PyAV still says which frames there are and when they are shown, and turns decoded samples
into RGB; torchcodec's own conversion differs by up to 26 of 255 levels, as docs/decoders.md shows.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewframes.errors import FewframesError, UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, VideoInfo
from fewframes.video.demux_pyav import REMEDY
from fewframes.video.picture_pyav import PictureWriter
from fewframes.video.picture_torchcodec import Carrier, RawFrame, tags_of
from fewframes.video.reader_pyav import PyavBackend
from fewframes.video.source import Source
from fewframes.video.storage import ByteReader, RangeFile

__all__ = ["TorchcodecBackend", "choose_decoder", "describe_torchcodec", "probe_torchcodec"]

_INSTALL = "pip install 'fewframes[torchcodec]'"
_USE_PYAV = "use the decoder pyav"
# What this module calls; torchcodec 0.17 is the first version that has all of it.
_NEEDED = ("Demuxer", "RawFrame")

# Levels of 255 by which a picture may differ from PyAV's at the places where the two are compared. Decoders of H.264,
# HEVC, VP8, VP9 and AV1 must agree bit for bit, and the conversion to RGB is the same code: 0 is what was measured.
# MPEG-1, -2 and -4 leave rounding to the decoder. Another matrix, range, rotation or frame is far above this.
_MOST_OFF = 3
_SECONDS_OFF = 1e-6  # float64 rounding of times up to a date's seconds since 1970


@functools.cache
def probe_torchcodec() -> str | None:
    """Find out, once in each process, whether torchcodec can decode video here; imports it.

    Returns:
        None if it can, otherwise one line that says why not and what helps.
    """
    if importlib.util.find_spec("torchcodec") is None:
        return f"torchcodec is not installed; {_INSTALL}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package, decoders = _import_torchcodec()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return (
            f"torchcodec {_version('torchcodec')} does not load with torch {_version('torch')} ({_one_line(error)}); "
            "install versions of the two that belong together"
        )
    if not all(hasattr(decoders, name) for name in _NEEDED):
        return f"torchcodec {_version('torchcodec')} is too old; {_INSTALL} brings 0.17 or newer"
    if package.ffmpeg_major_version is None:
        return (
            "torchcodec finds no shared FFmpeg libraries of versions 4 to 9; install them, "
            "on Debian and Ubuntu with: apt-get install ffmpeg"
        )
    return None


def describe_torchcodec() -> str:
    """One line for a report about this machine: the versions in use, or why torchcodec cannot be used."""
    reason = probe_torchcodec()
    if reason is not None:
        return reason
    package, _ = _import_torchcodec()
    return f"torchcodec {_version('torchcodec')} with FFmpeg {package.ffmpeg_major_version}"


def choose_decoder(decode: DecodeOptions) -> Literal["pyav", "torchcodec"]:
    """The decoder that these options mean on this machine; torchcodec is imported only where it may be used.

    "auto" is pyav on the CPU, where torchcodec gives the same pixels at a higher cost, and torchcodec elsewhere.

    Raises:
        UsageError: torchcodec was asked for and cannot be used, or a device that the decoder cannot decode on.
    """
    on_cpu = decode.device == "cpu"
    if not on_cpu and decode.device.partition(":")[0] != "cuda":
        raise UsageError(f"device is {decode.device!r}; expected 'cpu', 'cuda' or 'cuda:0'")
    if decode.decoder == "pyav" or (decode.decoder == "auto" and on_cpu):
        if not on_cpu:
            raise UsageError(f"the decoder pyav decodes on the CPU, not on {decode.device!r}; use decoder torchcodec")
        return "pyav"
    reason = probe_torchcodec()
    if reason is not None:
        asked = "the decoder torchcodec" if on_cpu else f"decoding on {decode.device!r}"
        raise UsageError(f"{asked} was asked for, but {reason}")
    if not on_cpu:
        _check_gpu(decode.device)
    return "torchcodec"


class TorchcodecBackend:
    """One open video, decoded by torchcodec: with one thread on the CPU, or on a GPU if that is asked for.

    PyAV opens the video too, so what it refuses is refused here, in the same words, and frames have its numbers: one
    that torchcodec gives is known by its time, or by counting where PyAV counts. They must come in that order. The
    first picture must be PyAV's, and so must that of each keyframe to which reading jumps, as neither torchcodec nor a
    GPU tells that a frame lacks what it refers to; otherwise all frames are decoded from the first on.

    Args:
        source: what to open.
        decode: how, and what it may ask of this machine.

    Raises:
        UnreadableVideo: PyAV or torchcodec cannot read it, or they do not agree about it.
        UsageError: torchcodec cannot be used here.
    """

    def __init__(self, source: Source, decode: DecodeOptions) -> None:
        choose_decoder(replace(decode, decoder="torchcodec"))
        _, self._blocks = _import_torchcodec()
        self._source, self._device = source, decode.device
        self._demuxer: Any = None
        self._decoder: Any = None
        self._frames: Iterator[RawFrame] | None = None  # what torchcodec gives next
        self._next = 0  # the number of the frame that must come next
        self._settled = True  # whether that frame, or a later one, has come since the last jump
        self._shortcuts = True  # whether a keyframe is believed to need no other frame
        self._trusted: set[int] = set()  # keyframes whose pictures were PyAV's
        self._latest: tuple[int, RawFrame] | None = None  # the frame that was given last, and its number
        self._bytes: ByteReader | None = None
        self._pyav = PyavBackend(source, replace(decode, decoder="pyav", device="cpu"))
        try:
            self.seconds: NDArray[np.float64] = self._pyav.seconds
            self.key_frames: NDArray[np.int64] = self._pyav.key_frames
            self.packets_decoded = self._pyav.packets_decoded
            self._counted = self._count_is_open = len(self._pyav.timeline.ticks) == 0
            with self._typed_errors():
                self._bytes = source.open()
                self._check_first()
            self.info: VideoInfo = replace(
                self._pyav.info,
                decoder="torchcodec",
                bytes_read=self.bytes_read,
                packets_decoded=self.packets_decoded,
            )
        except BaseException:
            self.close()
            raise

    @property
    def bytes_read(self) -> int:
        """How much of the file was read so far, by PyAV and by torchcodec."""
        return self._pyav.bytes_read + (self._bytes.bytes_read if self._bytes else 0)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames at strictly ascending `indices`, all in range: (K, H, W, 3) uint8 RGB. Raises UnreadableVideo."""
        pixels = np.empty((len(indices), *self._pictures.shape, 3), dtype=np.uint8)
        with self._typed_errors():
            if self._count_is_open and indices:
                self._check_count()
            for row, index in zip(pixels, indices, strict=True):
                self._write(self._frame(index), row)
        return pixels

    def close(self) -> None:
        """Free the file and the decoder; may be called twice."""
        self._frames = self._latest = self._decoder = self._demuxer = None
        self._pyav.close()
        if self._bytes is not None:
            self._bytes.close()

    # Opening

    def _check_first(self) -> None:
        """Start torchcodec; raise if its first frame is not PyAV's."""
        expected, first = self._pyav.read([0])[0], self._pyav.first_frame()
        self._pictures: PictureWriter = self._pyav.pictures
        self._carrier = Carrier(first)
        gaps = np.diff(self.seconds)
        self._seconds_off = min(_SECONDS_OFF, float(gaps.min()) / 4) if len(gaps) else _SECONDS_OFF
        self._begin()
        frame = next(self._frames or iter(()), None)
        if frame is None:
            raise self._unreadable(f"torchcodec decodes not one of its {len(self.seconds)} frames; {_USE_PYAV}")
        self._origin: float = frame.pts_seconds
        if not self._counted and abs(first.time - self._origin) > self._seconds_off:
            raise self._unreadable(
                f"its first frame is shown at {first.time:.6g} s, to torchcodec at {self._origin:.6g} s; {_USE_PYAV}"
            )
        self._tags, self._next, self._latest = tags_of(frame), 1, (0, frame)
        off = self._levels_off(frame, expected)
        if off > _MOST_OFF:
            raise self._unreadable(f"torchcodec gives another first frame, up to {off} of 255 levels off; {_USE_PYAV}")

    def _check_count(self) -> None:
        """Decode all frames once and raise if they are not as many as PyAV counted."""
        self._begin()
        count = sum(1 for _ in self._frames or ())
        self._frames = None
        if count != len(self.seconds):
            raise self._unreadable(f"it has {len(self.seconds)} frames, but {count} to torchcodec; {_USE_PYAV}")
        self._count_is_open = False

    # Decoding

    def _frame(self, target: int) -> RawFrame:
        """Decode up to frame `target`, from where the decoder is or from a keyframe, whichever is nearer."""
        if self._latest is not None and self._latest[0] == target:
            return self._latest[1]
        key = 0
        if self._shortcuts and not self._counted:
            at = int(np.searchsorted(self.key_frames, target, side="right")) - 1
            key = int(self.key_frames[at]) if at >= 0 else 0
        if self._frames is None or target < self._next or key > self._next:
            self._begin(key)
        problem = ""
        try:
            for frame in self._frames or ():
                number = self._next if self._counted else self._number_at(frame.pts_seconds)
                if 0 <= number < self._next and not self._settled:
                    continue  # before the keyframe: may not be whole, and is not wanted
                if number != self._next or not (self._settled or self._is_trusted(number, frame)):
                    break
                self._settled = True
                self._next += 1
                if number == target:
                    self._latest = (target, frame)
                    return frame
        except RuntimeError as error:
            _raise_if_full(error)
            problem = f" ({_one_line(error)})"
        self._frames = None
        if self._shortcuts and not self._counted:
            self._shortcuts = False
            return self._frame(target)
        time, total = self.seconds[self._next], len(self.seconds)
        raise self._unreadable(
            f"torchcodec decodes only up to frame {self._next} of {total} ({time:.1f} s of "
            f"{self.info.duration_seconds:.1f} s){problem}; {_USE_PYAV}, or if that fails too {REMEDY}"
        )

    def _begin(self, key: int = 0) -> None:
        """Start the decoder anew, at keyframe `key`; frame 0 is reached without seeking."""
        self._latest = None
        if key == 0:
            self._frames = self._demuxer = self._decoder = None
            assert self._bytes is not None, "opened before"
            file: Any = RangeFile(self._bytes)
            self._demuxer = self._blocks.Demuxer(file, streams=self._pyav.stream_index)
            self._decoder = self._demuxer.streams[0].make_decoder(self._device, num_ffmpeg_threads=1)
        else:
            self._demuxer.seek(self._origin + float(self.seconds[key]))
            self._decoder.reset()
        self._next, self._settled = key, key == 0
        self._frames = self._decoded()

    def _decoded(self) -> Iterator[RawFrame]:
        """All frames from the demuxer's position on, in the order in which they are shown."""
        for packet in self._demuxer:
            self.packets_decoded += 1
            yield from self._decoder.decode(packet)
        yield from self._decoder.drain()

    def _number_at(self, pts_seconds: float) -> int:
        """The number of the frame shown at this time of the container; -1 if there is none."""
        time = pts_seconds - self._origin
        at = int(np.searchsorted(self.seconds, time - self._seconds_off))
        return at if at < len(self.seconds) and self.seconds[at] <= time + self._seconds_off else -1

    def _is_trusted(self, key: int, frame: RawFrame) -> bool:
        """Whether decoding may begin at this keyframe. Raises UnreadableVideo if PyAV finds it damaged."""
        if key not in self._trusted:
            before = self._pyav.packets_decoded
            expected = self._pyav.read([key])[0]
            self.packets_decoded += self._pyav.packets_decoded - before
            if self._levels_off(frame, expected) > _MOST_OFF:
                return False
            self._trusted.add(key)
        return True

    # Pictures

    def _write(self, frame: RawFrame, out: np.ndarray) -> None:
        """Convert one frame into `out`, (height, width, 3) uint8, as PyAV does."""
        if tags_of(frame) != self._tags:
            raise self._unreadable(f"its size or colours change on the way; {_USE_PYAV}")
        try:
            self._carrier.fill(frame)
        except ValueError as error:
            raise self._unreadable(f"torchcodec gives {error}; {_USE_PYAV}") from error
        self._pictures.write(self._carrier.frame, out)

    def _levels_off(self, frame: RawFrame, expected: np.ndarray) -> int:
        """By how many levels a frame's picture differs from another one, at most."""
        picture = np.empty((*self._pictures.shape, 3), dtype=np.uint8)
        self._write(frame, picture)
        return int((np.maximum(picture, expected) - np.minimum(picture, expected)).max())

    # Errors

    def _unreadable(self, reason: str) -> UnreadableVideo:
        return UnreadableVideo(self._source.name, reason)

    @contextlib.contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Nothing of torchcodec's own errors gets out."""
        try:
            yield
        except FewframesError:
            raise
        except OSError as error:
            raise self._unreadable(str(error.strerror or error)) from error
        except (RuntimeError, ValueError) as error:
            _raise_if_full(error)
            raise self._unreadable(f"torchcodec cannot read it ({_one_line(error)}); {_USE_PYAV}") from error


def _import_torchcodec() -> tuple[ModuleType, ModuleType]:
    return importlib.import_module("torchcodec"), importlib.import_module("torchcodec.decoders")


def _check_gpu(device: str) -> None:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = device.partition(":")[2] or "0"
    if not number.isdecimal() or int(number) >= count:
        raise UsageError(f"device is {device!r}, but torch finds {count} GPUs; use device 'cpu'")


def _raise_if_full(error: Exception) -> None:
    """A GPU without memory is no fault of the video."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        raise error


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(of unknown version)"


def _one_line(error: Exception) -> str:
    """The first line of an error, without the place in torchcodec's own source that it begins with."""
    lines = re.sub(r"^.*?\.(?:cpp|h|cu):\d+, ", "", str(error)).splitlines()
    return lines[0].rstrip(". ") if lines else type(error).__name__
