"""Input that is not, or no longer, a video: what `open_video` and `frames_at` say of it."""

from __future__ import annotations

import io
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from fewframes.errors import UnreadableVideo
from fewframes.video.reader import open_video
from tests.helpers.painted import read_numbers, write_painted

FASTSTART = {"mux_options": {"movflags": "+faststart"}}
FRAGMENTED = {"mux_options": {"movflags": "frag_keyframe+empty_moov"}}
KEY = "00112233445566778899aabbccddeeff"
ENCRYPTED = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": KEY, "encryption_kid": KEY}


def painted(count: int = 40, **options: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:  # FFmpeg moves an index to the front only in a real file
        path = Path(folder) / "painted"
        write_painted(path, count, **options)
        return path.read_bytes()


def packets(data: bytes) -> list[tuple[int, int]]:
    """Where each packet is in the file: (position, size)."""
    with av.open(io.BytesIO(data)) as container:
        return [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]


def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.mp4"
    with av.open(path, mode="w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    return path


BAD_INPUT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: folder / "none.mp4", "no such file"),
    "folder": (lambda folder: folder, "it is a folder"),
    "below a file": (lambda folder: written(folder, b"x") / "b.mp4", "Not a directory"),
    "empty": (lambda folder: written(folder, b""), r"empty \(0 bytes\)"),
    "empty bytes": (lambda _: b"", r"empty \(0 bytes\)"),
    "empty file object": (lambda _: io.BytesIO(), r"empty \(0 bytes\)"),
    "zero character": (lambda folder: f"{folder}/a\0b.mp4", "null"),
    "text": (lambda folder: written(folder, b"Just a few words.\n" * 90), "not a video file"),
    "zeros": (lambda folder: written(folder, bytes(5000)), "not a video file"),
    "sound only": (sound, "no video track, only audio"),
    "encrypted": (lambda _: painted(mux_options=ENCRYPTED), "encrypted; decrypt it first"),
    "no index": (
        lambda _: painted().partition(b"moov")[0],
        r"index \(moov box\) is missing or damaged, the file was probably cut",
    ),
    "not a codec": (lambda _: painted().replace(b"avc1", b"zzzz"), "no decoder for its codec"),
}


@pytest.mark.parametrize("kind", BAD_INPUT)
def test_bad_input_is_typed_silent_and_one_line(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, reason = BAD_INPUT[kind]
    source = make(tmp_path)
    with pytest.raises(UnreadableVideo, match=reason) as caught:
        open_video(source)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    if isinstance(source, str | Path):
        assert caught.value.path == str(source)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(tmp_path: Path) -> None:
    path = written(tmp_path, painted())
    path.chmod(0)
    with pytest.raises(UnreadableVideo, match="permission denied"):
        open_video(path)


def test_a_file_object_that_fails_is_typed() -> None:
    class Failing(io.BytesIO):
        reads, number = 0, 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            if self.reads == self.number:
                raise OSError("the network is gone")
            return super().read(size)

    for number in (1, 2):
        file = Failing(painted())
        file.number = number
        with pytest.raises(UnreadableVideo, match="network is gone"):
            open_video(file)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("options", [FASTSTART, FRAGMENTED], ids=["faststart", "fragmented"])
def test_mp4_cut_short_says_how_far_it_goes(options: dict[str, object], share: float) -> None:
    data = painted(120, **options)
    places = packets(data)
    cut = places[int(len(places) * share)][0] + 3
    left = sum(position + size <= cut for position, size in places)
    # A fragment that is gone as a whole is not promised any more.
    with pytest.raises(
        UnreadableVideo, match=rf"holds only {left} of \d+ frames \(.*cut short; download it again or re"
    ):
        open_video(data[:cut])


def test_matroska_cut_short_says_how_far_it_goes() -> None:
    data = painted(120, format="matroska")
    places = packets(data)
    with pytest.raises(UnreadableVideo, match=r"holds only 60 frames \(2\.4 s of 4\.8 s\), the file is cut short"):
        open_video(data[: places[60][0]])
    # Only the search table behind the last frame is gone: every frame is there.
    last, size = places[-1]
    with open_video(data[: last + size + 20]) as reader:
        assert read_numbers(reader.frames_at([119, 3]).pixels) == [119, 3]


def test_avi_cut_short_says_how_far_it_goes() -> None:
    data = painted(120, format="avi", codec="mpeg4")
    places = packets(data)
    with pytest.raises(UnreadableVideo, match=r"holds only \d+ of 120 frames .*cut short"):
        open_video(data[: places[60][0]])


def test_damage_is_named_where_it_begins_and_what_is_before_is_given() -> None:
    data = bytearray(painted(60, gop=60, b_frames=0))
    position, size = packets(bytes(data))[30]
    data[position : position + size] = b"\xff" * size
    with open_video(bytes(data)) as reader:
        assert reader.info.num_frames == 60
        assert read_numbers(reader.frames_at([0, 29]).pixels) == [0, 29]
        for indices in ([31], [0, 59], [30]):
            with pytest.raises(UnreadableVideo, match=r"only up to frame 30 of 60 \(1\.2 s of 2\.4 s\).*damaged there"):
                reader.frames_at(indices)
        assert read_numbers(reader.frames_at([5]).pixels) == [5]


def test_a_playlist_opens_no_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{address}\n#EXT-X-ENDLIST\n"
        with pytest.raises(UnreadableVideo):
            open_video(playlist.encode())
        with pytest.raises(TimeoutError):
            server.accept()


def test_damage_before_a_keyframe_does_not_touch_what_follows_it() -> None:
    data = bytearray(painted(60, gop=20, b_frames=0))
    position, size = packets(bytes(data))[10]
    data[position : position + size] = b"\xff" * size
    with open_video(bytes(data)) as reader:
        assert read_numbers(reader.frames_at([25, 59]).pixels) == [25, 59]


@pytest.mark.parametrize("format", ["mov", "avi"])
def test_a_picture_that_comes_spoilt_spoils_no_other(format: str) -> None:
    data, at = bytearray(painted(20, format=format, codec="mjpeg", b_frames=0)), -1
    for _ in range(10):
        at = data.index(b"\xff\xda", at + 1)
    data[at + 2 : at + 4] = b"\0\0"  # the decoder now gives frame 9 without an error, but does not fill it
    with open_video(bytes(data)) as reader:
        for indices in (range(20), [10, 9, 8], [3], [9], [19, 9, 0]):
            numbers = read_numbers(reader.frames_at(indices).pixels)
            others = [(index, number) for index, number in zip(indices, numbers, strict=True) if index != 9]
            assert all(index == number for index, number in others)


def test_damage_in_a_video_that_must_be_counted() -> None:
    data = bytearray(painted(40, format="mpegts", b_frames=0, gop=40))
    # Whole transport packets from the middle on, but for their own headers.
    for at in range(len(data) // 2 // 188 * 188, len(data), 188):
        data[at + 4 : at + 188] = b"\xff" * 184
    try:
        with open_video(bytes(data)) as reader:
            numbers = read_numbers(reader.frames_at(range(reader.info.num_frames)).pixels)
            assert numbers == list(range(reader.info.num_frames))
    except UnreadableVideo as error:
        assert "decodes only up to frame" in error.reason
