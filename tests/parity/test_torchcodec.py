"""Frames by torchcodec against frames by PyAV, bit for bit; and torchcodec by itself, which must not pass.

Set FEWFRAMES_REQUIRE_TORCHCODEC=1 where these must run: then they fail instead of being skipped.
"""

from __future__ import annotations

import csv
import functools
import io
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewframes.errors import UnreadableVideo
from fewframes.records import DecodeOptions, VideoInfo
from fewframes.video.reader import Backend, VideoReader
from fewframes.video.reader_pyav import PyavBackend
from fewframes.video.reader_torchcodec import TorchcodecBackend, probe_torchcodec
from fewframes.video.source import VideoSource, resolve_source
from tests.helpers.painted import write_painted

# On a GPU: what decoders may round as they like (MPEG-4), and 4:4:4 of 10 bits, which a GPU hands out with 16.
GPU_LEVELS = 3

Given = TypeVar("Given")

X265 = {"x265-params": "log-level=none"}
PAINTED: dict[str, dict[str, object]] = {
    "h264": {},
    "h264_intra": {"gop": 1, "b_frames": 0},
    "h264_pyramid": {"b_frames": 5, "gop": 30, "codec_options": {"x264-params": "b-pyramid=normal:b-adapt=0"}},
    "h264_open_gop": {"gop": 8, "codec_options": {"x264-params": "open-gop=1"}},
    "h264_refresh": {"gop": 10, "b_frames": 0, "codec_options": {"x264-params": "intra-refresh=1"}},
    "h264_mkv": {"format": "matroska"},
    "h264_ts": {"format": "mpegts"},
    "h264_fragmented": {"mux_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc": {"codec": "libx265", "gop": 12, "codec_options": X265},
    "vp8": {"format": "webm", "codec": "libvpx", "codec_options": {"crf": "4", "b": "2M", "cpu-used": "8"}},
    "vp9": {"format": "webm", "codec": "libvpx-vp9", "codec_options": {"lossless": "1", "cpu-used": "8"}},
    "mpeg4_avi": {"format": "avi", "codec": "mpeg4", "codec_options": {"q": "2"}},
    "mjpeg": {"format": "mov", "codec": "mjpeg", "b_frames": 0},
    "ffv1": {"format": "matroska", "codec": "ffv1", "b_frames": 0},
    "gif": {"format": "gif", "codec": "gif"},
    "turned": {"clockwise": 90},
    "turned_and_mirrored": {"clockwise": 270, "mirrored": True},
    "wide_pixels": {"aspect": Fraction(4, 3)},
    "wide_pixels_turned": {"aspect": Fraction(4, 3), "clockwise": 90},
    "one_frame": {"count": 1},
    "variable_rate": {"count": 12, "ticks": (0, 40, 100, 110, 500, 540, 541, 900, 2000, 2040, 2100, 2200)},
    "late": {"count": 12, "ticks": tuple(range(9000, 9480, 40))},
    "late_mkv": {"count": 12, "ticks": tuple(range(9000, 9480, 40)), "format": "matroska"},
}
X264 = {"preset": "ultrafast", "crf": "10"}
COLOURED: dict[str, dict[str, object]] = {
    "low_and_unstated": {},
    "high_and_unstated": {"size": (720, 1280), "count": 3},
    "bt709_full_range": {"tags": {"colorspace": 1, "color_range": 2}},
    "bt2020_10_bits": {"pixels": "yuv420p10le", "tags": {"colorspace": 9, "color_primaries": 9, "color_trc": 16}},
    "4:2:2": {"pixels": "yuv422p"},
    "4:4:4_odd": {"pixels": "yuv444p", "size": (97, 131)},
    "4:2:0_odd": {"codec": "ffv1", "format": "matroska", "size": (97, 131), "options": {}},
    "grey": {"pixels": "gray"},
    "rgb": {"codec": "libx264rgb", "pixels": "rgb24"},
    "planar_rgb_10_bits": {"codec": "ffv1", "format": "matroska", "pixels": "gbrp10le", "options": {}},
    "packed_rgb": {"codec": "ffv1", "format": "matroska", "pixels": "bgr0", "options": {}},
    "palette": {"codec": "gif", "format": "gif", "pixels": "rgb8", "options": {}},
    "transparent": {"codec": "png", "format": "mov", "pixels": "rgba", "options": {}},
    "interlaced": {"options": {**X264, "x264-params": "tff=1:sar=4/3"}},
    "chroma_at_top": {"options": {**X264, "x264-params": "chromaloc=2:sar=4/3"}},
    "mpeg2": {"codec": "mpeg2video", "format": "mpegts", "options": {"q": "3"}},
    "prores": {"codec": "prores_ks", "format": "mov", "pixels": "yuv422p10le", "options": {}},
}
# Real files that only PyAV reads: FFmpeg has a decoder for the first from version 7.1 on, and torchcodec cannot leave
# out the second one's damaged packet, which no other frame needs.
REFUSED = {
    "codecs/androidx_media__mp4__sample_vvc.mp4": r"cannot read it \(Codec not found\); use the decoder pyav",
    "malformed/androidx_media__mp4__sample_with_invalid_nalu.mp4": "decodes only up to frame 26 of 30",
}
FOLDERS = (
    *(
        "audio_only",
        "good",
        "long",
        "long_gop",
        "malformed",
        "no_duration_or_absurd",
        "rotation",
        "short_or_tiny",
        "vfr",
    ),
    *(pytest.param(folder, marks=pytest.mark.slow) for folder in ("codecs", "timestamps")),
)


@pytest.fixture(autouse=True, scope="module")
def torchcodec() -> None:
    reason = probe_torchcodec()
    if reason is not None:
        assert os.environ.get("FEWFRAMES_REQUIRE_TORCHCODEC") != "1", reason
        pytest.skip(reason)


@functools.cache
def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    if kind in PAINTED:
        write_painted(file, **{"count": 40, **PAINTED[kind]})  # type: ignore[arg-type]
    else:
        write_coloured(file, **COLOURED[kind])  # type: ignore[arg-type]
    return file.getvalue()


def write_coloured(
    target: io.BytesIO,
    *,
    count: int = 12,
    size: tuple[int, int] = (96, 128),
    format: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    tags: dict[str, int] | None = None,
    options: dict[str, str] = X264,
) -> None:
    """Random blocks of colour that move: every matrix, range, subsampling and rounding shows."""
    height, width = size
    blocks = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]
    with av.open(target, "w", format=format) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = width, height, pixels, 5
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for number in range(count):
            moved = np.ascontiguousarray(np.roll(picture, 3 * number, axis=1))
            frame = av.VideoFrame.from_ndarray(moved, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def opened(make: Callable[..., Backend], source: VideoSource, device: str = "cpu") -> Backend:
    return make(resolve_source(source), DecodeOptions(decoder="torchcodec", device=device))


def told(info: VideoInfo) -> dict[str, object]:
    """What both decoders must say alike."""
    return {
        name: value for name, value in vars(info).items() if name not in ("decoder", "bytes_read", "packets_decoded")
    }


def outcome(call: Callable[..., Given], *arguments: object) -> Given | str:
    """What a call gives, or the reason why it does not."""
    try:
        return call(*arguments)
    except UnreadableVideo as error:
        assert "\n" not in error.reason
        return error.reason


def check_alike(source: VideoSource, *, device: str = "cpu", levels: int = 0, only_pyav: str | None = None) -> None:
    """Both give the same pictures, or both refuse; where `only_pyav` is given, torchcodec refuses with this reason."""
    expected = outcome(opened, PyavBackend, source)
    actual = outcome(opened, TorchcodecBackend, source, device)
    if isinstance(expected, str):
        assert actual == expected
        return
    refusals = [actual] if isinstance(actual, str) else []
    if not isinstance(actual, str):
        assert told(actual.info) == told(expected.info)
        assert (actual.info.decoder, expected.info.decoder) == ("torchcodec", "pyav")
        assert np.array_equal(actual.seconds, expected.seconds)
        assert np.array_equal(actual.key_frames, expected.key_frames)
        last = len(expected.seconds) - 1
        for indices in (sorted({0, last // 2, last}), [last // 5]):
            pictures, own = outcome(expected.read, indices), outcome(actual.read, indices)
            if isinstance(pictures, str):
                assert isinstance(own, str), f"only torchcodec gives {indices}"
            elif isinstance(own, str):
                refusals.append(own)
            else:
                assert np.abs(own.astype(np.int16) - pictures).max() <= levels, indices
        actual.close()
    expected.close()
    assert bool(refusals) == (only_pyav is not None), refusals
    assert all(re.search(only_pyav or "", each) for each in refusals), refusals


# What is generated


@pytest.mark.parametrize("kind", [*PAINTED, *COLOURED])
def test_every_frame_is_that_of_pyav(kind: str) -> None:
    expected, actual = opened(PyavBackend, encoded(kind)), opened(TorchcodecBackend, encoded(kind))
    assert told(actual.info) == told(expected.info)
    assert np.array_equal(actual.seconds, expected.seconds)
    every = range(len(expected.seconds))
    assert np.array_equal(actual.read(every), expected.read(every))


@functools.cache
def standing(kind: str, seek: str) -> tuple[VideoReader, VideoReader]:
    """Readers that many calls use, so that their decoders are in every state."""
    both = opened(PyavBackend, encoded(kind)), opened(TorchcodecBackend, encoded(kind))
    return VideoReader(both[0], seek=seek), VideoReader(both[1], seek=seek)  # type: ignore[arg-type]


@settings(max_examples=80)
@given(
    st.sampled_from([kind for kind in PAINTED if PAINTED[kind].get("count", 40) == 40]),
    st.lists(st.integers(0, 39), max_size=6),
    st.sampled_from(["exact", "keyframe"]),
)
def test_any_choice_in_any_order(kind: str, indices: list[int], seek: str) -> None:
    expected, actual = (reader.frames_at(indices) for reader in standing(kind, seek))
    assert actual.indices == expected.indices
    assert torch.equal(actual.seconds, expected.seconds)
    assert torch.equal(actual.pixels, expected.pixels)


def test_files_and_paths(tmp_path: Path) -> None:
    data = encoded("high_and_unstated")
    path = tmp_path / "a b.mp4"
    path.write_bytes(data)
    check_alike(path)
    with path.open("rb") as file:
        check_alike(file)
        assert not file.closed


# What is real


@pytest.mark.parametrize("folder", FOLDERS)
def test_real_files(folder: str, data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fixtures = data_dir / "fixtures"
    with (fixtures / "expected.csv").open(newline="") as file:
        names = [row["path"] for row in csv.DictReader(file) if row["path"].startswith(f"{folder}/")]
    assert names
    for name in names:
        check_alike(fixtures / name, only_pyav=REFUSED.get(name))
    assert capfd.readouterr() == ("", "")


# What must not pass


@pytest.mark.parametrize("kind", ["high_and_unstated", "4:2:0_odd", "turned_and_mirrored"])
def test_torchcodec_by_itself_is_another(kind: str) -> None:
    from torchcodec.decoders import VideoDecoder

    own = VideoDecoder(encoded(kind)).get_frames_at([2]).data.permute(0, 2, 3, 1).numpy()
    expected = opened(PyavBackend, encoded(kind)).read([2])
    assert own.shape == expected.shape
    assert not np.array_equal(own, expected)


# On a GPU


@pytest.mark.parametrize("kind", ["h264", "h264_refresh", "h264_ts", "hevc", "vp9", "mpeg4_avi", "turned_and_mirrored"])
def test_on_a_gpu(kind: str) -> None:
    if os.environ.get("FEWFRAMES_REQUIRE_CUDA") != "1":
        pytest.skip("needs a GPU; set FEWFRAMES_REQUIRE_CUDA=1 where there is one")
    # Smaller frames than this some GPU decoders leave to the CPU.
    file = io.BytesIO()
    write_painted(file, 40, **{**PAINTED[kind], "size": (240, 320)})  # type: ignore[arg-type]
    check_alike(file.getvalue(), device="cuda", levels=GPU_LEVELS)
