from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from fewframes.errors import UnreadableVideo
from fewframes.records import DecodeOptions, Limits
from fewframes.video import reader_torchcodec
from fewframes.video.picture_torchcodec import Carrier, RawFrame
from fewframes.video.reader import VideoReader
from fewframes.video.reader_pyav import PyavBackend
from fewframes.video.reader_torchcodec import TorchcodecBackend, probe_torchcodec
from fewframes.video.source import VideoSource, resolve_source
from tests.helpers.painted import read_number, write_painted

CPU = DecodeOptions(decoder="torchcodec")


@pytest.fixture
def torchcodec() -> None:
    reason = probe_torchcodec()
    if reason is not None:
        assert os.environ.get("FEWFRAMES_REQUIRE_TORCHCODEC") != "1", reason
        pytest.skip(reason)


def painted(count: int = 40, **options: object) -> bytes:
    file = io.BytesIO()
    write_painted(file, count, **options)  # type: ignore[arg-type]
    return file.getvalue()


def opened(source: VideoSource, decode: DecodeOptions = CPU) -> TorchcodecBackend:
    return TorchcodecBackend(resolve_source(source), decode)


def numbers(backend: TorchcodecBackend, indices: list[int]) -> list[int]:
    return [read_number(picture.transpose(2, 0, 1)) for picture in backend.read(indices)]


def packets(data: bytes) -> list[tuple[int, int]]:
    """Where each packet is in the file: (position, size)."""
    with av.open(io.BytesIO(data)) as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


@pytest.mark.usefixtures("torchcodec")
def test_the_options_ask_for_one_thread_and_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchcodec.decoders import VideoStream

    asked = []
    make = VideoStream.make_decoder

    def record(self: object, device: object, **options: object) -> object:
        asked.append((device, options))
        return make(self, device, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(VideoStream, "make_decoder", record)
    opened(painted(3)).close()
    assert asked == [("cpu", {"num_ffmpeg_threads": 1})]


@pytest.mark.usefixtures("torchcodec")
def test_jumps_skip_what_is_not_needed_and_cost_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    path.write_bytes(painted(600, gop=60))
    backend = opened(path)
    assert backend.info.decoder == "torchcodec"
    assert backend.info.bytes_read == backend.bytes_read
    assert backend.info.packets_decoded == backend.packets_decoded < 60
    before = backend.packets_decoded
    assert numbers(backend, [301, 545]) == [301, 545]
    assert backend._shortcuts
    assert 10 < backend.packets_decoded - before < 60
    before = backend.packets_decoded
    assert numbers(backend, [546]) == [546]
    assert backend.packets_decoded - before <= 3  # went on from there
    backend.close()
    backend.close()


@pytest.mark.usefixtures("torchcodec")
def test_only_keyframes_where_that_is_asked_for() -> None:
    with VideoReader(opened(painted(40, gop=12)), seek="keyframe") as reader:
        assert reader.frames_at([5, 30, 12]).indices == (0, 24, 12)


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
def test_a_false_keyframe_never_gives_a_wrong_frame(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {
        "libx264": {},
        "libx265": {"x265-params": "log-level=none:bframes=0"},
        "libvpx-vp9": {"cpu-used": "8"},
        "libsvtav1": {"preset": "12", "svtav1-params": "pred-struct=1"},
    }[codec]
    data = painted(40, codec=codec, gop=12, b_frames=0, codec_options=parameters)
    # Without this box each frame of an MP4 file is a keyframe.
    data = data.replace(b"stss", b"free")
    backend = opened(data)
    assert numbers(backend, [30]) == [30]
    assert [numbers(backend, [index]) for index in (39, 20, 7)] == [[39], [20], [7]]
    if codec == "libx265":
        assert not backend._shortcuts
        # The comparison with PyAV is what finds it.
        monkeypatch.setattr(reader_torchcodec, "_MOST_OFF", 255)
        assert numbers(opened(data), [30]) != [30]


@pytest.mark.usefixtures("torchcodec")
def test_a_frame_that_silently_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = TorchcodecBackend._decoded

    def without_30(self: TorchcodecBackend) -> Iterator[RawFrame]:
        for frame in decoded(self):
            if not hasattr(self, "_origin") or self._number_at(frame.pts_seconds) != 30:
                yield frame

    monkeypatch.setattr(TorchcodecBackend, "_decoded", without_30)
    backend = opened(painted(40, gop=12))
    assert numbers(backend, [29]) == [29]
    for indices in ([30], [31], [29, 32]):
        with pytest.raises(
            UnreadableVideo, match=r"torchcodec decodes only up to frame 30 of 40 \(1\.2 s of 1\.6 s\); use"
        ):
            backend.read(indices)
    backend = opened(painted(40, gop=12))
    assert numbers(backend, [36, 39]) == [36, 39]  # from the keyframe behind it


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("left_out", [[7], [39], [5, 6]])
def test_counted_frames_must_be_as_many(left_out: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = TorchcodecBackend._decoded
    monkeypatch.setattr(
        TorchcodecBackend,
        "_decoded",
        lambda self: (frame for number, frame in enumerate(decoded(self)) if number not in left_out),
    )
    backend = opened(painted(40, format="avi", codec="mpeg4", codec_options={"q": "2"}))
    assert backend.read([]).shape == (0, 48, 64, 3)
    with pytest.raises(UnreadableVideo, match=f"it has 40 frames, but {40 - len(left_out)} to torchcodec; use the dec"):
        backend.read([3])


@pytest.mark.usefixtures("torchcodec")
def test_another_first_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Carrier.fill

    def brighter(self: Carrier, raw: RawFrame) -> None:
        fill(self, raw)
        self._samples[0][...] += 5  # as another range would

    monkeypatch.setattr(Carrier, "fill", brighter)
    with pytest.raises(
        UnreadableVideo, match=r"torchcodec gives another first frame, up to \d+ of 255 levels off; use"
    ):
        opened(painted(3))


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("lost", [1, 3])
def test_another_first_frame_is_refused(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = TorchcodecBackend._decoded
    monkeypatch.setattr(
        TorchcodecBackend,
        "_decoded",
        lambda self: (frame for number, frame in enumerate(decoded(self)) if number >= lost),
    )
    with pytest.raises(
        UnreadableVideo, match=rf"is shown at 0 s, to torchcodec at {lost / 25:.6g} s; use the decoder pyav"
    ):
        opened(painted(10))


@pytest.mark.usefixtures("torchcodec")
def test_no_frame_at_all_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchcodecBackend, "_decoded", lambda _: iter(()))
    with pytest.raises(UnreadableVideo, match="torchcodec decodes not one of its 3 frames; use the decoder pyav"):
        opened(painted(3))


@pytest.mark.usefixtures("torchcodec")
def test_damage_is_named_where_it_begins_and_what_is_before_is_given() -> None:
    data = bytearray(painted(60, gop=60, b_frames=0))
    position, size = packets(bytes(data))[30]
    data[position : position + size] = b"\xff" * size
    backend = opened(bytes(data))
    assert numbers(backend, [0, 29]) == [0, 29]
    for indices in ([31], [0, 59], [30]):
        with pytest.raises(
            UnreadableVideo, match=r"only up to frame 30 of 60 .*Failed to send packet.*; use the decoder"
        ):
            backend.read(indices)
    assert numbers(backend, [5]) == [5]


@pytest.mark.usefixtures("torchcodec")
def test_damage_before_a_keyframe_does_not_touch_what_follows_it() -> None:
    data = bytearray(painted(60, gop=20, b_frames=0))
    position, size = packets(bytes(data))[10]
    data[position : position + size] = b"\xff" * size
    assert numbers(opened(bytes(data)), [25, 59]) == [25, 59]


@pytest.mark.usefixtures("torchcodec")
def test_what_ffmpeg_paints_over_is_what_pyav_gives() -> None:
    data = bytearray(painted(60, gop=20, b_frames=0))
    position, size = packets(bytes(data))[20]
    # The keyframe's picture is damaged, not its header.
    data[position + size // 2 : position + size] = b"\x55" * (size - size // 2)
    backend, pyav = opened(bytes(data)), PyavBackend(resolve_source(bytes(data)), DecodeOptions())
    assert not np.array_equal(pyav.read([20]), opened(painted(60, gop=20, b_frames=0)).read([20]))
    for index in (45, 25, 20, 19):
        assert np.array_equal(backend.read([index]), pyav.read([index]))


@pytest.mark.usefixtures("torchcodec")
def test_pictures_that_change_their_size_are_refused() -> None:
    small, large = (painted(10, format="mpegts", size=size) for size in ((48, 64), (96, 128)))
    backend = opened(small + large)
    assert backend.info.num_frames == 20
    assert numbers(backend, [9]) == [9]
    with pytest.raises(UnreadableVideo, match="its size or colours change on the way; use the decoder pyav"):
        backend.read([10])


@pytest.mark.usefixtures("torchcodec")
def test_formats_that_cannot_be_taken_over_are_refused() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuyv422"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24").reformat(format="yuyv422")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(
        UnreadableVideo, match="gives the pixel format yuyv422, whose samples cannot be taken over; use the"
    ):
        opened(file.getvalue())


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize(
    ("source", "decode", "reason"),
    [
        (b"Just a few words.\n" * 90, CPU, "not a video file"),
        (b"", CPU, r"empty \(0 bytes\)"),
        ("none.mp4", CPU, "no such file"),
        (painted(3), DecodeOptions(decoder="torchcodec", limits=Limits(max_pixels=3000)), "above the limit of 3000"),
    ],
    ids=["text", "empty", "missing", "large"],
)
def test_what_pyav_refuses_is_refused(
    source: VideoSource, decode: DecodeOptions, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnreadableVideo, match=reason) as caught:
        opened(source, decode)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("torchcodec")
def test_a_file_object_that_fails_is_typed() -> None:
    class Failing(io.BytesIO):
        fails = False

        def read(self, size: int | None = -1, /) -> bytes:
            if self.fails:
                raise OSError("the network is gone")
            return super().read(size)

    file = Failing(painted(400, gop=20, size=(240, 320)))
    backend = opened(file)
    file.fails = True
    with pytest.raises(UnreadableVideo, match="network is gone"):
        backend.read([399])
    backend.close()
    assert not file.closed


@pytest.mark.usefixtures("torchcodec")
def test_a_full_gpu_is_no_fault_of_the_video(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: TorchcodecBackend) -> Iterator[RawFrame]:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    backend = opened(painted(10))
    backend.read([9])
    monkeypatch.setattr(TorchcodecBackend, "_decoded", full)
    for read in (lambda: backend.read([5]), lambda: opened(painted(10))):
        with pytest.raises(torch.OutOfMemoryError):
            read()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
@pytest.mark.usefixtures("torchcodec")
def test_files_are_closed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    good.write_bytes(painted(5))
    bad.write_bytes(painted(5)[:500])

    def held() -> int:
        return sum(
            os.path.realpath(f"/proc/self/fd/{number}").startswith(str(tmp_path))
            for number in os.listdir("/proc/self/fd")
        )

    backend = opened(good)
    assert held() > 0
    backend.close()
    with pytest.raises(UnreadableVideo):
        opened(bad)
    assert held() == 0
