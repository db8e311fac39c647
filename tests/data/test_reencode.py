"""What is encoded anew shows the same frames at the same times, with keyframes where they were asked for."""

from __future__ import annotations

import errno
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data import reencode as module
from fewframes.data.reencode import NoRoom, Reencoded, TranscodeOptions, reencode, tick_of
from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits
from fewframes.video.reader import open_video
from fewframes.video.synthetic import encode_video, render_video
from tests.helpers.painted import read_numbers, write_painted

KEEP = TranscodeOptions(short_side=None, crf=1)
# A variable frame rate: gaps of 17 to 160 ms, none like its neighbour.
TICKS = [0, 40, 57, 157, 200, 233, 300, 317, 477, 500, 601, 640, 700, 719, 800, 841, 900, 923, 1000, 1061]


def painted(tmp_path: Path, count: int = 37, **options: object) -> Path:
    path = tmp_path / "source.mp4"
    write_painted(path, count, **options)  # type: ignore[arg-type]
    return path


def check_same(source: Path, target: Path) -> None:
    """Every frame at its time, and the same duration."""
    with open_video(source) as old, open_video(target) as new:
        before, after = old.frames_at(range(old.info.num_frames)), new.frames_at(range(new.info.num_frames))
        assert read_numbers(after.pixels) == read_numbers(before.pixels) == list(range(old.info.num_frames))
        assert after.seconds.tolist() == before.seconds.tolist()
        assert new.info.duration_seconds == pytest.approx(old.info.duration_seconds, abs=1e-9)
        assert new.info.variable_frame_rate == old.info.variable_frame_rate
        assert new.info.rotation_degrees == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rate": 30},
        {"gop": 250, "b_frames": 3},
        {"b_frames": 0, "gop": 1},
        {"format": "matroska"},
        {"format": "avi", "b_frames": 0},
        {"format": "mpegts", "b_frames": 2},
        {"codec": "mpeg4", "format": "mp4", "b_frames": 0, "codec_options": {"qscale": "1"}},
    ],
)
def test_frames_and_times_are_kept(tmp_path: Path, options: dict[str, object]) -> None:
    source = painted(tmp_path, **options)
    done = reencode(source, tmp_path / "x.mp4", KEEP)
    check_same(source, tmp_path / "x.mp4")
    assert done == Reencoded(37, (tmp_path / "x.mp4").stat().st_size, source.stat().st_size)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_variable_frame_rate_is_kept(tmp_path: Path, b_frames: int) -> None:
    source = painted(tmp_path, len(TICKS), ticks=TICKS, format="matroska", b_frames=b_frames)
    reencode(source, tmp_path / "x.mp4", KEEP)
    check_same(source, tmp_path / "x.mp4")
    with open_video(tmp_path / "x.mp4") as reader:
        assert reader.info.variable_frame_rate


@pytest.mark.parametrize("shift", [0, 5000])
def test_times_count_from_the_first_frame(tmp_path: Path, shift: int) -> None:
    source = painted(tmp_path, len(TICKS), ticks=[tick + shift for tick in TICKS], format="matroska")
    reencode(source, tmp_path / "x.mp4", KEEP)
    with open_video(tmp_path / "x.mp4") as reader:
        times = reader.frames_at(range(len(TICKS))).seconds.tolist()
    assert times == [tick / 1000 for tick in TICKS]


def test_parts_stay_where_they_are(tmp_path: Path) -> None:
    source = painted(tmp_path, len(TICKS), ticks=TICKS, format="matroska")
    reencode(source, tmp_path / "x.mp4", KEEP)
    edges = [None, *(tick / 1000 for tick in TICKS), 0.0399, 0.31]
    with open_video(source) as old, open_video(tmp_path / "x.mp4") as new:
        for start in edges:
            for end in edges:
                if (start or 0.0) < (end if end is not None else 9.0) and (start or 0.0) < 1.0:
                    assert new.frames_between(start, end) == old.frames_between(start, end)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_is_baked_in(tmp_path: Path, clockwise: int, mirrored: bool) -> None:
    source = painted(tmp_path, 9, clockwise=clockwise, mirrored=mirrored)
    reencode(source, tmp_path / "x.mp4", KEEP)
    check_same(source, tmp_path / "x.mp4")
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (64, 48)
        assert not [
            side for frame in container.decode(stream) for side in frame.side_data if "MATRIX" in side.type.name
        ]


def test_pixel_aspect_is_baked_in(tmp_path: Path) -> None:
    source = painted(tmp_path, 5, aspect=Fraction(3, 2))
    reencode(source, tmp_path / "x.mp4", KEEP)
    check_same(source, tmp_path / "x.mp4")
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (96, 48)
        assert stream.sample_aspect_ratio in (None, 1)


@pytest.mark.parametrize("gop", [1, 5, 16, 100])
@pytest.mark.parametrize("varies", [False, True])
def test_keyframes_are_where_they_were_asked_for(tmp_path: Path, gop: int, varies: bool) -> None:
    """Also where the scene changes, as it does here all the time."""
    ticks = [40 * number + 3 * (number % 4) for number in range(37)] if varies else None
    source = painted(tmp_path, ticks=ticks, format="matroska")
    reencode(source, tmp_path / "x.mp4", TranscodeOptions(short_side=None, gop=gop))
    with av.open(str(tmp_path / "x.mp4")) as container:
        frames = list(container.decode(container.streams.video[0]))
    assert [number for number, frame in enumerate(frames) if frame.key_frame] == list(range(0, 37, gop))


def test_the_file_is_plain_h264_with_its_index_first(tmp_path: Path) -> None:
    reencode(painted(tmp_path), tmp_path / "x.mp4", TranscodeOptions())
    content = (tmp_path / "x.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert [(stream.type, stream.codec_context.name) for stream in container.streams] == [("video", "h264")]
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p"
        assert (context.colorspace, context.color_range) == (5, 1)


def test_the_same_again_gives_the_same_bytes(tmp_path: Path) -> None:
    source = painted(tmp_path, 61, size=(64, 96))
    contents = set()
    for _ in range(8):
        reencode(source, tmp_path / "x.mp4", TranscodeOptions())
        contents.add((tmp_path / "x.mp4").read_bytes())
    assert len(contents) == 1


def colour_errors(source: Path, target: Path, crf: float) -> tuple[float, float]:
    """Mean absolute difference of all values, and the largest mean difference of a channel."""
    reencode(source, target, TranscodeOptions(short_side=None, crf=crf))
    with open_video(source) as old, open_video(target) as new:
        numbers = range(old.info.num_frames)
        off = old.frames_at(numbers).pixels.float() - new.frames_at(numbers).pixels.float()
    return float(off.abs().mean()), float(off.mean(dim=(0, 2, 3)).abs().max())


def test_colours_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, fps = render_video("rise", 4)
    source = tmp_path / "source.mp4"
    source.write_bytes(encode_video(frames, fps, 4))
    fine, good, poor = (colour_errors(source, tmp_path / "x.mp4", crf) for crf in (1, 20, 40))
    assert fine[0] < 0.6 < good[0] < 2 < poor[0]
    assert max(fine[1], good[1]) < 0.6, "no channel is brighter or darker"
    monkeypatch.setattr(module, "_find_lift", lambda *_: 0)
    assert colour_errors(source, tmp_path / "x.mp4", 1)[1] > 1, "each generation would be a step darker"


def test_high_pictures_are_bt709_and_read_back_as_such(tmp_path: Path) -> None:
    source = painted(tmp_path, 2, size=(720, 1280))
    reencode(source, tmp_path / "x.mp4", TranscodeOptions(short_side=720))
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1
    check_same(source, tmp_path / "x.mp4")


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((320, 240), 256, (320, 240)),  # never enlarged
        ((640, 480), 256, (342, 256)),  # 341.33
        ((480, 640), 256, (256, 342)),
        ((1920, 1080), 256, (456, 256)),  # 455.1
        ((1024, 3), None, (1024, 4)),
        ((171, 129), None, (172, 130)),
        ((10_000, 17), 16, (9412, 16)),
        ((1, 1), None, (2, 2)),
    ],
)
def test_sizes(size: tuple[int, int], short: int | None, expected: tuple[int, int]) -> None:
    assert TranscodeOptions(short_side=short).size_of(*size) == expected


@given(st.integers(2, 8000), st.integers(2, 8000), st.integers(8, 500))
def test_sizes_are_even_and_keep_the_aspect(width: int, height: int, half: int) -> None:
    found = TranscodeOptions(short_side=2 * half).size_of(width, height)
    assert all(side % 2 == 0 for side in found)
    scale = min(1.0, 2 * half / min(width, height))
    assert found == pytest.approx((width * scale, height * scale), abs=1.001)
    if scale < 1:
        assert min(found) == 2 * half
    assert found == TranscodeOptions(short_side=2 * half).size_of(height, width)[::-1]


def test_odd_sizes_are_encoded(tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    write_painted(source, 3, format="matroska", codec="ffv1", size=(49, 67))
    reencode(source, tmp_path / "x.mp4", KEEP)
    with open_video(tmp_path / "x.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (68, 50)
    check_same(source, tmp_path / "x.mp4")


def test_a_smaller_size_is_that_of_the_models_own_resizing(tmp_path: Path) -> None:
    """What `preprocess` would do with the original, but for what the encoder loses."""
    source = painted(tmp_path, 4, size=(96, 128))
    reencode(source, tmp_path / "x.mp4", TranscodeOptions(short_side=48, crf=1))
    check_same(source, tmp_path / "x.mp4")
    with open_video(tmp_path / "x.mp4") as reader:
        assert (reader.info.width, reader.info.height) == (64, 48)


def test_another_frame_rate_gives_the_frames_that_are_shown_then(tmp_path: Path) -> None:
    source = painted(tmp_path, len(TICKS), ticks=TICKS, format="matroska")
    for fps in (10.0, 50.0):
        reencode(source, tmp_path / "x.mp4", TranscodeOptions(short_side=None, crf=1, fps=fps))
        with open_video(source) as old, open_video(tmp_path / "x.mp4") as new:
            count = new.info.num_frames
            wanted = [number / fps for number in range(count)]
            frames = new.frames_at(range(count))
            assert frames.seconds.tolist() == pytest.approx(wanted, abs=1e-9)
            assert read_numbers(frames.pixels) == list(old.frames_at_seconds(wanted).indices)
            assert old.info.duration_seconds <= new.info.duration_seconds < old.info.duration_seconds + 1 / fps
            assert not new.info.variable_frame_rate


def test_one_frame(tmp_path: Path) -> None:
    source = painted(tmp_path, 1)
    reencode(source, tmp_path / "x.mp4", KEEP)
    check_same(source, tmp_path / "x.mp4")


def test_every_frame_is_decoded_once_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are read a few at a time; the decoder goes on where it was."""
    monkeypatch.setattr(module, "_CHUNK_BYTES", 5 * 64 * 48 * 3)
    source = painted(tmp_path, 61, gop=250, b_frames=2)
    packets = []
    opened = module.open_video

    class Counting:
        def __init__(self, *arguments: object, **options: object) -> None:
            self._reader = opened(*arguments, **options)  # type: ignore[arg-type]

        def __enter__(self) -> object:
            return self._reader

        def __exit__(self, *error: object) -> None:
            packets.append(self._reader._open_backend().packets_decoded)
            self._reader.close()

    monkeypatch.setattr(module, "open_video", Counting)
    reencode(source, tmp_path / "x.mp4", KEEP)
    assert packets[0] <= 61 + 12


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0], 1),
        ([0.0, 1.0, 7.0], 1),
        ([0.0, 0.04, 0.08], 25),
        ([number * 1001 / 30000 for number in range(1000)], 30000),
        ([number * 1001 / 24000 for number in range(1000)], 24000),
        ([tick / 1000 for tick in TICKS], 1000),
        ([0.0, 1 / 3, 0.5], 6),
        ([0.0, 2**-40], 90_000),
        ([0.0, 0.1234567891], 90_000),
        ([0.0, 1 / 9_999_991, 1 / 9_999_973], 90_000),
    ],
)
def test_clocks_by_hand(times: list[float], expected: int) -> None:
    assert tick_of(np.array(times)) == Fraction(1, expected)


@given(
    st.sampled_from([24, 25, 1000, 12800, 15360, 16000, 24000, 30000, 44100, 90000]),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=30),
)
def test_times_of_any_usual_clock_fall_on_the_one_that_is_found(rate: int, ticks: list[int]) -> None:
    times = np.array(ticks) / rate
    tick = tick_of(times)
    assert tick.numerator == 1
    assert rate % tick.denominator == 0
    np.testing.assert_array_equal(np.rint(times * tick.denominator) / tick.denominator, times)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"short_side": 255}, "short_side is 255; expected an even number of at least 16"),
        ({"short_side": 14}, "short_side is 14"),
        ({"gop": 0}, "gop is 0; expected 1 to 10000"),
        ({"crf": 52}, r"crf is 52; expected 0 \(best\) to 51 \(worst\)"),
        ({"crf": -1}, "crf is -1"),
        ({"codec": "h265"}, "codec is 'h265'; expected one of h264"),
        ({"fps": 0.0}, "fps is 0; expected a number above 0"),
        ({"fps": float("nan")}, "fps is nan"),
    ],
)
def test_wrong_options(options: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        TranscodeOptions(**options)  # type: ignore[arg-type]


def test_a_damaged_video_is_not_cut_down_to_what_is_left_of_it(tmp_path: Path) -> None:
    source = painted(tmp_path, 60, format="matroska")
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    with pytest.raises(UnreadableVideo, match="the file is cut short"):
        reencode(source, tmp_path / "x.mp4", KEEP)


def test_limits_are_those_of_reading(tmp_path: Path) -> None:
    small = DecodeOptions(limits=Limits(max_frames=36))
    with pytest.raises(UnreadableVideo, match="above the limit of 36"):
        reencode(painted(tmp_path), tmp_path / "x.mp4", KEEP, decode=small)


def broken_encode(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, spoil: object) -> None:
    """Encode with a plan that is not the one that is checked."""
    encode = module._encode
    monkeypatch.setattr(module, "_encode", lambda reader, plan, *rest: encode(reader, spoil(plan), *rest))  # type: ignore[operator]
    reencode(source, target, KEEP)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plan: {"indices": plan.indices[:-1], "seconds": plan.seconds[:-1]}, "36 frames, expected 37"),
        (lambda plan: {"seconds": plan.seconds + 0.2 * (plan.seconds > 1)}, r"times that are off by up to 0\.200000 s"),
        (
            lambda plan: {"duration_seconds": plan.duration_seconds + 1},
            r"a duration of 2\.48\d+ s, expected 1\.48\d+ s",
        ),
        (lambda plan: {"size": (64, 64)}, "frames of 64 x 64, expected 64 x 48"),
        (lambda plan: {}, None),
    ],
)
def test_what_was_written_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: object, reason: str | None
) -> None:
    source = painted(tmp_path, 37)
    if reason is None:
        broken_encode(source, tmp_path / "x.mp4", monkeypatch, lambda plan: plan)
        return
    with pytest.raises(UnreadableVideo, match=f"source.mp4: what was written has {reason}; keep the original"):
        broken_encode(source, tmp_path / "x.mp4", monkeypatch, lambda plan: replace(plan, **change(plan)))  # type: ignore[operator]


def test_a_folder_that_cannot_be_written_to_is_no_fault_of_the_video(tmp_path: Path) -> None:
    source = painted(tmp_path, 3)
    with pytest.raises(UnreadableVideo, match=r"it cannot be encoded with h264 \(No such file"):
        reencode(source, tmp_path / "absent" / "x.mp4", KEEP)


def test_a_full_disk_is_no_fault_of_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise av.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_encode", full)
    with pytest.raises(NoRoom, match="No space left on device"):
        reencode(painted(tmp_path, 3), tmp_path / "x.mp4", KEEP)
