"""Comes in: a video file. Goes out: whether the reader gave exactly its frames, or refused it as it must.

The functions that read are called in a process under limits (`guarded.py`), so what they return travels; the ones that
judge look at nothing but what came back.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewframes.errors import UnreadableVideo
from fewframes.records import VideoInfo
from fewframes.video.reader import VideoReader, open_video
from fewframes.video.sampling import uniform_indices
from tests.helpers.plain_decode import PlainVideo, digest

FRAMES = 16  # as a model asks for
CHUNK = 16  # frames a call when all are read
RANDOM_SINGLES, RANDOM_SUBSETS = 8, 4

# Where the list of expected results or a plain decode says otherwise, and why the reader is right.
EXPLAINED = {
    "codecs/androidx_media__mp4__sample_vvc.mp4": "120 frames: the FFmpeg that made the list could not decode VVC",
    "malformed/androidx_media__mp4__sample_missing_stsd.mp4": "only its sound track lacks a header",
    "malformed/androidx_media__mp4__sample_with_invalid_nalu.mp4": "no other frame needs the damaged one: all others "
    "are given, under the numbers that the index gives them",
    "malformed/mp4parse_capi__no_timescale.mp4": "its display matrix is all zeros, which turns nothing",
    "rotation/mp4parse_capi__no_timescale.mp4": "its display matrix is all zeros, which turns nothing",
    "no_duration_or_absurd/file_type__fixture2.mkv": "the first 100 kB of 19 minutes",
    "malformed/libwebm__invalid__block_ends_beyond_cluster.mkv": "one frame of 9 s, the rest is missing",
    "malformed/libwebm__invalid__blockgroup_block_ends_beyond_blockgroup.mkv": "one frame of 30 min, as above",
}


class Given(NamedTuple):
    """A frame that the reader gave: its number, when it is shown, the digest of its picture."""

    index: int
    seconds: float
    digest: bytes


@dataclass(frozen=True)
class Reading:
    """What a user of the reader met.

    Attributes:
        info: of the opened video; None if opening was refused.
        given: frames, in the order in which they came.
        refusal: message of the first `UnreadableVideo`, path included; "" if there was none.
        wrong: what broke the contract; empty if nothing did.
    """

    info: VideoInfo | None
    given: tuple[Given, ...]
    refusal: str
    wrong: tuple[str, ...]

    @property
    def refused_from(self) -> int | None:
        """How many frames the message says there are up to the damage; None if it does not say."""
        found = re.search(r"only up to frame (\d+)|holds only (\d+)", self.refusal)
        return int(found.group(1) or found.group(2)) if found else None


def read_few(source: Path | bytes, seed: int) -> Reading:
    """Open, read 16 uniform frames and some single ones, close: what a model needs of a file."""
    rng, book = np.random.default_rng(seed), Book()
    try:
        with open_video(source) as reader:
            book.opened(reader.info)
            book.read(reader, uniform_indices(reader.info.num_frames, FRAMES))
            for index in rng.integers(reader.info.num_frames, size=3).tolist():
                book.read(reader, [index])
    except UnreadableVideo as error:
        book.refused(error)
    return book.reading()


def read_all(source: Path | bytes, seed: int) -> Reading:
    """Every frame in order, then random single ones and random subsets in random order.

    After a refusal the frames around it are asked for one by one, so that it is known which can be had.
    """
    rng, book = np.random.default_rng(seed), Book()
    try:
        with open_video(source) as reader:
            book.opened(reader.info)
            count = reader.info.num_frames
            calls: list[list[int]] = [list(range(at, min(at + CHUNK, count))) for at in range(0, count, CHUNK)]
            calls += [[index] for index in rng.integers(count, size=RANDOM_SINGLES).tolist()]
            calls += [rng.integers(count, size=CHUNK // 2).tolist() for _ in range(RANDOM_SUBSETS)]
            for call in calls:
                if not book.try_to_read(reader, call):
                    for index in call:
                        book.try_to_read(reader, [index])
    except UnreadableVideo as error:
        book.refused(error)
    return book.reading()


class Book:
    """Notes what the reader does, and what it should not; `read` and `try_to_read` call `VideoReader.frames_at`."""

    def __init__(self) -> None:
        self.info: VideoInfo | None = None
        self.given: list[Given] = []
        self.refusal = ""
        self.wrong: list[str] = []

    def opened(self, info: VideoInfo) -> None:
        self.info = info
        if info.num_frames < 1:
            self.wrong.append(f"num_frames is {info.num_frames}")
        if not (np.isfinite(info.fps) and info.fps > 0):
            self.wrong.append(f"fps is {info.fps}")
        if not (np.isfinite(info.duration_seconds) and info.duration_seconds > 0):
            self.wrong.append(f"duration_seconds is {info.duration_seconds}")
        if info.rotation_degrees not in (0, 90, 180, 270):
            self.wrong.append(f"rotation_degrees is {info.rotation_degrees}")

    def read(self, reader: VideoReader, indices: Iterable[int]) -> None:
        asked, info = tuple(indices), reader.info
        frames = reader.frames_at(asked)
        seconds = frames.seconds.tolist()
        if frames.indices != asked:
            self.wrong.append(f"asked for {asked}, got {frames.indices}")
        if tuple(frames.pixels.shape) != (len(asked), 3, info.height, info.width) or len(seconds) != len(asked):
            self.wrong.append(f"shape {tuple(frames.pixels.shape)} of {len(asked)} {info.height} x {info.width} frames")
        if not np.isfinite(seconds).all() or min(seconds, default=0) < 0:
            self.wrong.append(f"seconds {seconds}")
        by_number = sorted(dict(zip(asked, seconds, strict=True)).items())
        if any(before[1] >= after[1] for before, after in itertools.pairwise(by_number)):
            self.wrong.append(f"seconds do not ascend: {by_number}")
        if max(seconds, default=0) > info.duration_seconds:
            self.wrong.append(f"a frame at {max(seconds)} s of {info.duration_seconds} s")
        for index, second, picture in zip(asked, seconds, frames.pixels, strict=True):
            self.given.append(Given(index, second, digest(picture.permute(1, 2, 0).numpy())))

    def try_to_read(self, reader: VideoReader, indices: Iterable[int]) -> bool:
        try:
            self.read(reader, indices)
        except UnreadableVideo as error:
            self.refused(error)
            return False
        return True

    def refused(self, error: UnreadableVideo) -> None:
        if "\n" in str(error) or not error.reason:
            self.wrong.append(f"the message is not one line: {str(error)!r}")
        self.refusal = self.refusal or error.reason

    def reading(self) -> Reading:
        return Reading(self.info, tuple(self.given), self.refusal, tuple(self.wrong))


def contradictions(*readings: Reading) -> list[str]:
    """Frames that came out different in two calls."""
    seen: dict[int, Given] = {}
    found = []
    for given in (each for reading in readings for each in reading.given):
        before = seen.setdefault(given.index, given)
        if before != given:
            what = "pixels" if before.digest != given.digest else f"seconds, {before.seconds} and {given.seconds}"
            found.append(f"frame {given.index} has other {what}")
    return found


def judge(row: dict[str, str], plain: PlainVideo, *readings: Reading, complete: bool = True) -> tuple[str, list[str]]:
    """The outcome of one file in words, and what is wrong with it; empty if it is as it must be.

    Args:
        row: the file's line of the list of expected results.
        plain: its plain decode, at least with the pictures that the readings gave.
        readings: of the same file.
        complete: whether the last one tried to read every frame.
    """
    last = readings[-1]
    wrong = [what for reading in readings for what in reading.wrong] + contradictions(*readings)
    if last.info is None:
        return "refused at open", wrong + _unjustly_refused(row, plain, last)
    wrong += _misdescribed(row, plain, last.info)
    for reading in readings:
        wrong += _unlike(plain, reading)
    missing = set(range(last.info.num_frames)) - {given.index for given in last.given}
    if not last.refusal:
        lacks = last.info.num_frames != len(plain.frames) and plain.damaged_at is None
        if lacks or (complete and missing):
            wrong.append(f"{len(missing)} of {last.info.num_frames} frames missing, plain {len(plain.frames)}")
        return "exact", wrong
    start = last.refused_from
    if complete and start != min(missing, default=None):
        wrong.append(f"frame {min(missing, default=None)} is the first that cannot be had, but: {last.refusal}")
    if plain.damaged_at is None or start is None or start < plain.damaged_at:
        wrong.append(f"a plain decode meets damage after {plain.damaged_at} frames, but: {last.refusal}")
    return f"refused at frame {start}", wrong


def _unjustly_refused(row: dict[str, str], plain: PlainVideo, reading: Reading) -> list[str]:
    if not plain.frames:
        return []
    if row["path"] not in EXPLAINED:
        return [f"refused, but a plain decode gives {len(plain.frames)} frames: {reading.refusal}"]
    if reading.refused_from != len(plain.frames):
        return [f"a plain decode gives {len(plain.frames)} frames, but: {reading.refusal}"]
    return []


def _unlike(plain: PlainVideo, reading: Reading) -> list[str]:
    """Where frames differ from those of a plain decode: of the same number, or where that lacks damaged ones, time."""
    seconds = plain.seconds
    expected = dict(enumerate(zip(seconds, (frame[0] for frame in plain.frames), strict=True)))
    if plain.damaged_at is not None:
        at_time = {round(second / plain.tick): (second, frame) for second, frame in expected.values()}
        expected = {}
        for given in reading.given:
            tick = round(given.seconds / plain.tick)
            if tick in at_time:
                expected[given.index] = at_time[tick]
    wrong = []
    for given in reading.given:
        if given.index not in expected:
            wrong.append(f"frame {given.index} at {given.seconds} s does not come in a plain decode")
            continue
        second, picture = expected[given.index]
        if given.digest != picture:
            wrong.append(f"frame {given.index} has other pixels than in a plain decode")
        if abs(given.seconds - second) > float(plain.tick):
            wrong.append(f"frame {given.index} at {given.seconds} s instead of {second} s")
    return wrong


def _misdescribed(row: dict[str, str], plain: PlainVideo, info: VideoInfo) -> list[str]:
    wrong = []
    decoded = row["decoded_frames"]
    if decoded.isdigit() and int(decoded) != info.num_frames and row["path"] not in EXPLAINED:
        # Frames that are promised and cannot be decoded count for the reader, which refuses them.
        if plain.damaged_at is None:
            wrong.append(f"{info.num_frames} frames, expected {decoded}")
    elif not decoded.isdigit() and row["path"] not in EXPLAINED:
        wrong.append(f"{info.num_frames} frames, but none were expected")
    turned = int(row["rotation"] or 0)
    if -turned % 360 != info.rotation_degrees and row["path"] not in EXPLAINED:
        wrong.append(f"turned by {info.rotation_degrees} degrees, expected {-turned % 360}")
    seconds = plain.seconds
    gaps = np.diff(seconds) / float(plain.tick)
    if len(gaps) and not plain.damaged_at and bool(np.ptp(gaps) > 1.5) != info.variable_frame_rate:
        wrong.append(
            f"variable_frame_rate is {info.variable_frame_rate}, but gaps are {gaps.min()} to {gaps.max()} ticks"
        )
    if abs(info.fps * info.duration_seconds - info.num_frames) > 1e-6 * info.num_frames:
        wrong.append(f"{info.fps} frames a second for {info.duration_seconds} s are not {info.num_frames}")
    return wrong
