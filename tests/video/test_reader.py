from __future__ import annotations

import dataclasses
import functools
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits
from fewframes.video import demux_pyav, reader_pyav
from fewframes.video.reader import VideoReader, open_video
from tests.helpers.painted import read_numbers, write_painted

KINDS: dict[str, dict[str, object]] = {
    "h264": {},
    "h264_intra": {"gop": 1, "b_frames": 0},
    "h264_pyramid": {"b_frames": 5, "gop": 30, "codec_options": {"x264-params": "b-pyramid=normal:b-adapt=0"}},
    "h264_one_gop": {"gop": 300, "b_frames": 3},
    "h264_open_gop": {"gop": 8, "codec_options": {"x264-params": "open-gop=1"}},
    "h264_refresh": {"gop": 10, "b_frames": 0, "codec_options": {"x264-params": "intra-refresh=1"}},
    "h264_mkv": {"format": "matroska"},
    "h264_ts": {"format": "mpegts"},
    "h264_fragmented": {"mux_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc": {"codec": "libx265", "codec_options": {"x265-params": "log-level=none:lossless=1", "preset": "ultrafast"}},
    "vp8": {"format": "webm", "codec": "libvpx", "codec_options": {"crf": "4", "b": "2M", "cpu-used": "8"}},
    "vp9": {"format": "webm", "codec": "libvpx-vp9", "codec_options": {"lossless": "1", "cpu-used": "8"}},
    "mpeg4_avi": {"format": "avi", "codec": "mpeg4", "codec_options": {"q": "2"}},
    "mjpeg": {"format": "mov", "codec": "mjpeg", "b_frames": 0},
    "ffv1": {"format": "matroska", "codec": "ffv1", "b_frames": 0},
    "gif": {"format": "gif", "codec": "gif"},
}
TICKS = (0, 40, 100, 110, 500, 540, 541, 900, 2000, 2040, 2100, 2200)


@functools.cache
def _encoded(kind: str, count: int) -> bytes:
    file = io.BytesIO()
    write_painted(file, count, **KINDS[kind])
    return file.getvalue()


def painted(count: int = 40, **options: object) -> bytes:
    file = io.BytesIO()
    write_painted(file, count, **options)
    return file.getvalue()


@functools.cache
def all_frames(kind: str, count: int) -> torch.Tensor:
    with open_video(_encoded(kind, count)) as reader:
        return reader.frames_at(range(count)).pixels


@functools.cache
def standing_reader(kind: str, count: int) -> VideoReader:
    """One reader that many calls use, so that its decoder is in every state."""
    return open_video(_encoded(kind, count))


def backend_of(reader: VideoReader) -> reader_pyav.PyavBackend:
    backend = reader._backend
    assert isinstance(backend, reader_pyav.PyavBackend)
    return backend


def demuxer_of(reader: VideoReader) -> demux_pyav.Demuxer:
    demuxer = backend_of(reader)._demuxer
    assert demuxer is not None
    return demuxer


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_the_one_painted(kind: str) -> None:
    with open_video(_encoded(kind, 40)) as reader:
        assert reader.info.num_frames == 40
        assert (reader.info.width, reader.info.height) == (64, 48)
        assert reader.info.fps == 25.0
        assert reader.info.duration_seconds == 1.6
        assert not reader.info.variable_frame_rate
        frames = reader.frames_at(range(40))
    assert read_numbers(frames.pixels) == list(range(40))
    assert frames.pixels.dtype == torch.uint8
    assert frames.pixels.shape == (40, 3, 48, 64)
    assert frames.seconds.dtype == torch.float64
    assert frames.seconds.tolist() == pytest.approx([k / 25 for k in range(40)], abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(KINDS)), st.lists(st.integers(0, 39), max_size=6), st.booleans())
def test_any_choice_equals_the_full_decode(kind: str, indices: list[int], fresh: bool) -> None:
    reader = open_video(_encoded(kind, 40)) if fresh else standing_reader(kind, 40)
    frames = reader.frames_at(indices)
    assert frames.indices == tuple(indices)
    assert torch.equal(frames.pixels, all_frames(kind, 40)[indices])
    if fresh:
        reader.close()


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_alone_forwards_and_backwards(kind: str) -> None:
    expected = all_frames(kind, 40)
    reader = standing_reader(kind, 40)
    for index in [*range(0, 40, 3), *reversed(range(0, 40, 5))]:
        assert torch.equal(reader.frames_at([index]).pixels[0], expected[index])


@pytest.mark.parametrize("kind", ["h264", "h264_mkv", "h264_ts", "mpeg4_avi", "vp9"])
def test_videos_too_large_to_keep_are_read_again(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demux_pyav, "_MAX_HELD_BYTES", 0)
    monkeypatch.setattr(reader_pyav, "_MAX_KEPT_BYTES", 0)
    path = tmp_path / "a.video"
    path.write_bytes(_encoded(kind, 40))
    for source in (path, _encoded(kind, 40)):
        with open_video(source) as reader:
            for indices in ([3, 38], [39], [1, 2, 20], [21], [0]):
                assert torch.equal(reader.frames_at(indices).pixels, all_frames(kind, 40)[indices])


def test_jumps_skip_what_is_not_needed() -> None:
    with open_video(_encoded("h264", 40)) as reader:
        backend = backend_of(reader)
        reader.frames_at([37])
        assert backend._origin > 24  # began at the last keyframe
        reader.frames_at([38])
        assert backend._origin > 24  # went on from there
        assert backend._shortcuts


def test_frames_that_nothing_needs_are_left_out() -> None:
    with open_video(_encoded("h264_one_gop", 40)) as reader:
        assert torch.equal(reader.frames_at([2, 33]).pixels, all_frames("h264_one_gop", 40)[[2, 33]])
        backend = backend_of(reader)
        assert len(backend._left_out) > 10
        assert backend._shortcuts


@pytest.mark.parametrize("format", ["mp4", "matroska"])
@pytest.mark.parametrize(
    ("codec", "parameters"),
    [
        ("x264", "open-gop=1:bframes=3:b-adapt=0"),
        ("x265", "open-gop=1:keyint=8"),
        ("x265", "keyint=8:min-keyint=8:radl=2:no-open-gop=1:bframes=3:b-adapt=0:scenecut=0"),
    ],
)
def test_frames_shown_before_their_keyframe_are_no_reason_to_start_over(
    codec: str, parameters: str, format: str
) -> None:
    options = {f"{codec}-params": parameters + (":log-level=none" if codec == "x265" else "")}
    data = painted(40, codec=f"lib{codec}", format=format, gop=8, codec_options=options)
    with open_video(data) as reader:
        expected = reader.frames_at(range(40)).pixels
        for index in range(39, 0, -1):
            assert torch.equal(reader.frames_at([index]).pixels[0], expected[index])
        assert backend_of(reader)._shortcuts


@pytest.mark.parametrize("kind", ["h264", "hevc", "vp9"])
def test_a_false_keyframe_never_gives_a_wrong_frame(kind: str) -> None:
    with open_video(_encoded(kind, 40)) as reader:
        backend = backend_of(reader)
        starts = np.maximum(0, np.arange(40) - 4)
        backend._timeline = dataclasses.replace(backend._timeline, starts=starts)
        assert torch.equal(reader.frames_at([30, 31]).pixels, all_frames(kind, 40)[[30, 31]])
        assert not backend._shortcuts


@pytest.mark.parametrize("kind", ["mjpeg", "ffv1", "h264_intra"])
def test_a_frame_that_silently_does_not_come_is_damage(kind: str) -> None:
    with open_video(_encoded(kind, 40)) as reader:
        backend = backend_of(reader)
        demuxer = demuxer_of(reader)
        demuxer.list_all()
        backend._timeline = dataclasses.replace(backend._timeline, starts=np.arange(40) // 20 * 20)
        assert demuxer._held is not None
        del demuxer._held[30]
        assert read_numbers(reader.frames_at([29]).pixels) == [29]
        with pytest.raises(UnreadableVideo, match=r"only up to frame 30 of 40 \(1\.2 s of 1\.6 s\)"):
            reader.frames_at([29, 32])


# Time


def test_variable_frame_rate_keeps_its_times() -> None:
    with open_video(painted(12, ticks=TICKS)) as reader:
        assert reader.info.variable_frame_rate
        # The last frame lasts as long as the gap before it.
        assert reader.info.duration_seconds == pytest.approx((2200 - 0 + 40) / 1000, abs=0.07)
        assert reader.info.fps == pytest.approx(12 / reader.info.duration_seconds)
        frames = reader.frames_at([11, 0, 8, 8])
        assert frames.seconds.tolist() == pytest.approx([2.2, 0.0, 2.0, 2.0], abs=1e-9)
        assert read_numbers(frames.pixels) == [11, 0, 8, 8]
        shown = reader.frames_at_seconds([0.0, 0.0399, 0.04, 0.3, 1.9999, 2.0, 2.05, 2.2])
        assert read_numbers(shown.pixels) == [0, 0, 1, 3, 7, 8, 9, 11]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.0, 1.6), min_size=1, max_size=5))
def test_seconds_give_the_frame_being_shown(times: list[float]) -> None:
    frames = standing_reader("h264", 40).frames_at_seconds(times)
    for time, index in zip(times, frames.indices, strict=True):
        assert index / 25 <= time
        assert time < (index + 1) / 25 or index == 39


@pytest.mark.parametrize("time", [-0.001, 1.601, float("nan"), float("inf")])
def test_times_outside_the_video_are_refused(time: float) -> None:
    with pytest.raises(UsageError, match=r"lasts 1\.6 s; expected 0 to 1\.6"):
        standing_reader("h264", 40).frames_at_seconds([0.5, time])


@pytest.mark.parametrize("index", [-1, 40])
def test_indices_outside_the_video_are_refused(index: int) -> None:
    with pytest.raises(UsageError, match=rf"frame {index} was asked for.*has 40 frames; expected 0 to 39"):
        standing_reader("h264", 40).frames_at([0, index])


def test_no_indices_give_no_frames() -> None:
    frames = standing_reader("h264", 40).frames_at([])
    assert frames.pixels.shape == (0, 3, 48, 64)
    assert frames.seconds.shape == (0,)


def test_first_shown_frame_is_at_zero_whatever_the_container_says() -> None:
    with open_video(painted(12, ticks=[5000 + 40 * k for k in range(12)], format="matroska")) as reader:
        assert reader.frames_at([0, 11]).seconds.tolist() == pytest.approx([0.0, 0.44])
        assert reader.info.duration_seconds == pytest.approx(0.48)


def test_hidden_preroll_of_an_edit_list_is_no_frame() -> None:
    # Negative times: MP4 stores an edit list that starts at zero, so the first frames are decoded but not shown.
    data = painted(20, ticks=[40 * (k - 5) for k in range(20)])
    with open_video(data) as reader:
        shown = read_numbers(reader.frames_at(range(reader.info.num_frames)).pixels)
        assert shown == list(range(20 - reader.info.num_frames, 20))
        assert reader.frames_at([0]).seconds.tolist() == [0.0]


# Geometry and colour


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_frames_are_upright(clockwise: int, mirrored: bool) -> None:
    with open_video(painted(5, clockwise=clockwise, mirrored=mirrored, size=(60, 32))) as reader:
        assert reader.info.rotation_degrees == clockwise
        assert (reader.info.height, reader.info.width) == (60, 32)
        assert read_numbers(reader.frames_at([4, 0]).pixels) == [4, 0]


def test_angles_between_are_refused() -> None:
    matrix = [56756, 32768, 0, -32768, 56756, 0, 0, 0, 1 << 30]  # 30 degrees
    with pytest.raises(UnreadableVideo, match=r"rotated by 30 degrees clockwise.*not a multiple of 90"):
        open_video(painted(3, matrix=matrix))


def test_a_matrix_of_zeros_turns_nothing() -> None:
    with open_video(painted(3, matrix=[0] * 9)) as reader:
        assert reader.info.rotation_degrees == 0
        assert read_numbers(reader.frames_at([2]).pixels) == [2]


@pytest.mark.parametrize(
    ("aspect", "width"), [(Fraction(2), 128), (Fraction(1, 2), 32), (Fraction(12, 11), 70), (Fraction(256, 255), 64)]
)
def test_pixels_are_square(aspect: Fraction, width: int) -> None:
    with open_video(painted(5, aspect=aspect)) as reader:
        assert (reader.info.width, reader.info.height) == (width, 48)
        frames = reader.frames_at([4, 1])
        assert frames.pixels.shape[-2:] == (48, width)
        assert read_numbers(frames.pixels) == [4, 1]


def test_pixel_aspect_belongs_to_the_stored_frame_and_rotation_comes_after() -> None:
    with open_video(painted(5, aspect=Fraction(2), clockwise=90, size=(64, 48))) as reader:
        assert (reader.info.height, reader.info.width) == (128, 48)
        assert read_numbers(reader.frames_at([3]).pixels) == [3]


def flat_video(y: int, u: int, v: int, *, height: int, colorspace: int, color_range: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, mode="w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, color_range
        frame = av.VideoFrame(32, height, "yuv420p")
        frame.colorspace, frame.color_range = colorspace, color_range
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("colorspace", "color_range", "height", "red_weight", "blue_weight", "full"),
    [
        (1, 1, 48, 0.2126, 0.0722, False),  # BT.709
        (5, 1, 1080, 0.299, 0.114, False),  # BT.601, 625 lines
        (6, 1, 1080, 0.299, 0.114, False),  # BT.601, 525 lines
        (9, 1, 48, 0.2627, 0.0593, False),  # BT.2020
        (1, 2, 48, 0.2126, 0.0722, True),
        (6, 2, 48, 0.299, 0.114, True),
        (2, 1, 718, 0.299, 0.114, False),  # not stated: by the height
        (2, 1, 720, 0.2126, 0.0722, False),
        (2, 0, 48, 0.299, 0.114, False),
    ],
)
def test_colour_matrix_and_range(
    colorspace: int, color_range: int, height: int, red_weight: float, blue_weight: float, full: bool
) -> None:
    y, u, v = 120, 90, 170
    luma = float(y) if full else (y - 16) * 255 / 219
    blue_minus, red_minus = ((c - 128) * (1 if full else 255 / 224) for c in (u, v))
    red, blue = luma + 2 * (1 - red_weight) * red_minus, luma + 2 * (1 - blue_weight) * blue_minus
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    data = flat_video(y, u, v, height=height, colorspace=colorspace, color_range=color_range)
    with open_video(data) as reader:
        pixels = reader.frames_at([0]).pixels[0, :, height // 2, 16]
    assert pixels.tolist() == pytest.approx([red, green, blue], abs=3)


def test_frames_above_the_pixel_limit_are_refused() -> None:
    data = _encoded("h264", 40)
    with open_video(data, decode=DecodeOptions(limits=Limits(max_pixels=64 * 48))) as reader:
        assert reader.frames_at([0]).pixels.shape[-2:] == (48, 64)
    with pytest.raises(UnreadableVideo, match=r"frames are 64 x 48, above the limit of 3071 pixels; raise max_pixels"):
        open_video(data, decode=DecodeOptions(limits=Limits(max_pixels=64 * 48 - 1)))
    with pytest.raises(UnreadableVideo, match="frames are 640 x 48"):
        open_video(painted(2, aspect=Fraction(10)), decode=DecodeOptions(limits=Limits(max_pixels=64 * 48)))
    with pytest.raises(UsageError, match="max_pixels is 0"):
        open_video(data, decode=DecodeOptions(limits=Limits(max_pixels=0)))
