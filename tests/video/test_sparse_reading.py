"""Reading only what is needed: the same frames, few bytes, and what happens when an index lies."""

from __future__ import annotations

import dataclasses
import functools
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits
from fewframes.video.demux_pyav import Demuxer
from fewframes.video.reader import VideoReader, open_video
from fewframes.video.reader_pyav import PyavBackend
from fewframes.video.sampling import uniform_indices
from tests.helpers.painted import read_numbers, write_painted

LONG = 1200
KINDS: dict[str, dict[str, object]] = {
    "mp4": {},
    "front": {"mux_options": {"movflags": "+faststart"}},
    "intra": {"gop": 1, "b_frames": 0},
    "pyramid": {"b_frames": 5, "gop": 30, "codec_options": {"x264-params": "b-pyramid=normal:b-adapt=0"}},
    "open": {"gop": 8, "codec_options": {"x264-params": "open-gop=1"}},
    "hevc": {"codec": "libx265", "codec_options": {"x265-params": "log-level=none:lossless=1", "preset": "ultrafast"}},
    "mjpeg": {"format": "mov", "codec": "mjpeg", "b_frames": 0},
}
KEYFRAME = DecodeOptions(seek="keyframe")


@functools.cache
def made(kind: str, count: int = 60) -> bytes:
    file = io.BytesIO()
    options = {name: value for name, value in KINDS[kind].items() if kind != "front" or name != "mux_options"}
    write_painted(file, count, **options)
    return file.getvalue()


@functools.cache
def long_file() -> bytes:
    file = io.BytesIO()
    # Without prediction and compression, so that frames cost bytes.
    write_painted(file, LONG, gop=1, b_frames=0, format="mov", codec="mjpeg", size=(96, 128))
    return file.getvalue()


def demuxer_of(reader: VideoReader) -> Demuxer:
    backend = reader._backend
    assert isinstance(backend, PyavBackend)
    assert backend._demuxer is not None
    return backend._demuxer


@pytest.mark.parametrize("kind", KINDS)
def test_the_index_and_the_packets_tell_the_same(kind: str) -> None:
    with open_video(made(kind)) as indexed, open_video(made(kind)) as listed:
        assert demuxer_of(indexed).is_indexed
        demuxer = demuxer_of(listed)
        before = demuxer.packets
        backend = listed._backend
        assert isinstance(backend, PyavBackend)
        backend._list_all_packets()
        assert not demuxer.is_indexed
        for name, column in vars(demuxer.packets).items():
            assert np.array_equal(getattr(before, name), column), name
        assert torch.equal(indexed.frames_at(range(60)).pixels, listed.frames_at(range(60)).pixels)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(list(KINDS)),
    st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=8), min_size=1, max_size=4),
)
def test_any_calls_in_any_order_give_the_frames_asked_for(kind: str, calls: list[list[int]]) -> None:
    with open_video(made(kind)) as reader:
        for indices in calls:
            frames = reader.frames_at(indices)
            assert read_numbers(frames.pixels) == indices
        assert demuxer_of(reader).is_indexed


def test_few_frames_of_a_long_file_cost_few_bytes_and_packets() -> None:
    with open_video(long_file()) as reader:
        info = reader.info
        assert info.num_frames == LONG
        frames = reader.frames_at(uniform_indices(LONG, 4))
        assert read_numbers(frames.pixels) == [150, 450, 750, 1050]
    assert info.size_bytes == len(long_file())
    assert (info.packets_decoded, frames.packets_decoded) == (1, 4)
    assert info.bytes_read < 3 * 32 * 1024  # the index, and what FFmpeg buffers
    assert frames.bytes_read < 0.01 * len(long_file()) + 32 * 1024


def test_what_was_read_is_counted_by_call() -> None:
    with open_video(made("mp4")) as reader:
        opened = reader.info.bytes_read
        assert opened > 0
        first, again = reader.frames_at([40]), reader.frames_at([40])
        assert first.packets_decoded > 0
        assert (again.packets_decoded, again.bytes_read) == (0, 0)
        everything = reader.frames_at(range(60))
    assert everything.packets_decoded == 60
    assert everything.bytes_read <= len(made("mp4"))


def test_an_index_that_lies_in_the_middle_is_left_and_the_frames_stay_right() -> None:
    with open_video(made("mp4")) as reader:
        demuxer = demuxer_of(reader)
        index = demuxer._index
        assert index is not None
        wrong = index.positions.copy()
        wrong[30:] += 1
        demuxer._index = dataclasses.replace(index, positions=wrong, sorted_positions=np.sort(wrong))
        assert read_numbers(reader.frames_at([2, 35, 50]).pixels) == [2, 35, 50]
        assert not demuxer.is_indexed


def test_an_index_with_other_times_than_the_packets_is_damage() -> None:
    with open_video(made("mp4")) as reader:
        demuxer = demuxer_of(reader)
        backend = reader._backend
        assert isinstance(backend, PyavBackend)
        times = demuxer.packets.pts.copy()
        times[30:] += 256
        demuxer.packets = dataclasses.replace(demuxer.packets, pts=times)
        backend._timeline = dataclasses.replace(backend._timeline, seconds=backend._timeline.seconds + 1)
        with pytest.raises(UnreadableVideo, match="its packets are not where its index says"):
            reader.frames_at([50])


def test_a_file_cut_in_its_content_is_refused_without_reading_it(tmp_path: Path) -> None:
    data = made("mp4")
    path = tmp_path / "cut.mp4"
    index_at = data.index(b"moov") - 4
    content_at = data.index(b"mdat") - 4
    index = data[index_at:]
    # The index in front, its places unchanged, the content shortened: what downloads that stopped look like.
    filler = b"\0\0\0\x08free"
    moved = data[:content_at] + index + filler
    path.write_bytes(moved + data[content_at + len(index) + len(filler) : (content_at + index_at) // 2])
    with pytest.raises(UnreadableVideo, match=r"holds only \d+ of 60 frames \(.* s of 2\.4 s\), the file is cut"):
        open_video(path)


@pytest.mark.parametrize("kind", ["mp4", "pyramid", "open", "intra"])
def test_keyframe_seeking_gives_keyframes_and_says_which(kind: str) -> None:
    with open_video(made(kind), decode=KEYFRAME) as reader:
        keys = reader._backend.key_frames.tolist() if reader._backend else []
        frames = reader.frames_at(range(60))
        assert read_numbers(frames.pixels) == list(frames.indices)
    assert set(frames.indices) == set(keys)
    for asked, given_ in enumerate(frames.indices):
        assert given_ == max(key for key in keys if key <= asked)
    assert frames.seconds.tolist() == pytest.approx([index / 25 for index in frames.indices])


def test_keyframe_seeking_decodes_nothing_but_keyframes() -> None:
    with open_video(made("mp4"), decode=KEYFRAME) as reader:
        frames = reader.frames_at([11, 23, 35, 47])
    assert frames.indices == (0, 12, 24, 36)
    assert frames.packets_decoded <= 3 + 1 + 4  # the first is kept from opening; the last decoder goes on


def test_keyframe_seeking_in_a_file_that_must_be_counted() -> None:
    file = io.BytesIO()
    write_painted(file, 40, format="avi", codec="mpeg4", codec_options={"q": "2"})
    with open_video(file.getvalue(), decode=KEYFRAME) as reader:
        frames = reader.frames_at([0, 11, 12, 30])
    assert frames.indices == (0, 0, 12, 24)
    assert read_numbers(frames.pixels) == [0, 0, 12, 24]


def test_exact_is_the_default() -> None:
    with open_video(made("mp4")) as reader:
        assert reader.frames_at([13]).indices == (13,)


@pytest.mark.parametrize("format", ["mp4", "matroska", "avi"])
def test_more_frames_than_allowed_are_refused(format: str) -> None:
    file = io.BytesIO()
    write_painted(file, 40, format=format, codec="mpeg4" if format == "avi" else "libx264")
    with pytest.raises(UnreadableVideo, match=r"claims \d+ frames, above the limit of 39; raise max_frames"):
        open_video(file.getvalue(), decode=DecodeOptions(limits=Limits(max_frames=39)))
    with open_video(file.getvalue(), decode=DecodeOptions(limits=Limits(max_frames=40))) as reader:
        assert reader.info.num_frames == 40


@pytest.mark.parametrize("name", ["max_pixels", "max_frames", "max_buffer_bytes"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is 0; expected at least 1"):
        Limits(**{name: 0})


# Parts


def test_frames_between_two_times() -> None:
    with open_video(made("mp4")) as reader:
        assert reader.frames_between(None, None) == range(60)
        assert reader.frames_between(0.2, 0.4) == range(5, 10)
        assert reader.frames_between(0.21, 0.4) == range(6, 10)
        assert reader.frames_between(2.0, 99.0) == range(50, 60)
        assert reader.frames_between(None, 0.04) == range(1)
        # Between two frames: the one that is being shown.
        assert reader.frames_between(0.41, 0.42) == range(10, 11)
        assert reader.frames_between(2.39, None) == range(59, 60)
        with pytest.raises(UnreadableVideo, match=r"the part from 2\.4 s on lies beyond its end, 2\.4 s"):
            reader.frames_between(2.4, None)
        for start, end in ((-1.0, None), (1.0, 1.0), (2.0, 1.0), (None, 0.0)):
            with pytest.raises(UsageError, match="expected 0 <= start < end"):
                reader.frames_between(start, end)


@settings(deadline=None, max_examples=100)
@given(st.floats(0, 2.39), st.floats(0.001, 3))
def test_a_part_is_never_empty_and_never_more_than_asked_for(start: float, length: float) -> None:
    with open_video(made("mp4")) as reader:
        part = reader.frames_between(start, start + length)
        seconds = reader._backend.seconds if reader._backend else np.zeros(0)
    assert len(part) >= 1
    if len(part) > 1:
        assert start <= seconds[part[0]]
        assert seconds[part[-1]] < start + length
