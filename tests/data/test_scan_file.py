"""What one file tells: whole, damaged, cut short, missing, remote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewframes.data import scan_file
from fewframes.data.scan_file import FileTask, Finding, do_task
from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import VideoInfo
from fewframes.video.reader import open_video
from tests.helpers.painted import HEIGHT, WIDTH, write_painted


def nothing() -> None:
    return None


def look(path: Path | str, decode: str = "full", alive: Callable[[], None] = nothing) -> Finding:
    return do_task(FileTask("video", str(path), "full" if decode == "full" else "probe"), alive)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan_file") / "painted.mp4"
    write_painted(path, 40, gop=10, rate=10)
    return path


def damaged(video: Path, path: Path, frame: int, count: int = 1) -> Path:
    """A copy in which the packets of the frames from `frame` on (in decoding order) hold nothing."""
    import av

    content = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for start, size in places[frame : frame + count]:
        assert start is not None
        content[start : start + size] = bytes(size)
    path.write_bytes(content)
    return path


def test_a_whole_file(video: Path) -> None:
    found = look(video)
    assert (found.error, found.decoded_frames, found.sha256, found.cause) == (None, 40, None, "content")
    info = found.info
    assert info is not None
    with open_video(video) as reader:
        assert info == reader.info
    assert (info.num_frames, info.duration_seconds, info.fps, info.codec) == (40, 4.0, 10.0, "h264")
    assert (info.width, info.height, info.rotation_degrees, info.variable_frame_rate) == (WIDTH, HEIGHT, 0, False)
    assert look(video, "probe") == replace(found, decoded_frames=None)


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_how_far_a_damaged_file_decodes(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    path = tmp_path / "damaged.mp4"
    damaged(video, path, 20, 10)
    monkeypatch.setattr(scan_file, "_CHUNK_FRAMES", chunk)
    found = look(path)
    # By hand: one frame after the other, from the first on.
    with open_video(path) as reader:
        decodable = 0
        with pytest.raises(UnreadableVideo) as raised:
            for index in range(40):
                reader.frames_at([index])
                decodable = index + 1
    assert 0 < decodable <= 20
    assert found.decoded_frames == decodable
    assert found.error == raised.value.reason
    assert f"up to frame {decodable} of 40" in str(found.error)
    assert found.info is not None
    assert found.cause == "content"
    probe = look(path, "probe")
    assert (probe.error, probe.decoded_frames) == (None, None), "what only opening the file does not show"


def test_chunks_are_bounded(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = scan_file.VideoReader.frames_at

    def counting(self: Any, indices: Any) -> Any:  # noqa: ANN401
        asked.append(len(indices))
        return original(self, indices)

    monkeypatch.setattr(scan_file.VideoReader, "frames_at", counting)
    monkeypatch.setattr(scan_file, "_CHUNK_BYTES", 3 * HEIGHT * WIDTH * 7 + 1)
    assert look(video).decoded_frames == 40
    assert asked == [7, 7, 7, 7, 7, 5]
    monkeypatch.setattr(scan_file, "_CHUNK_BYTES", 1)
    asked.clear()
    assert look(video).decoded_frames == 40
    assert asked == [1] * 40, "a frame larger than a chunk is a chunk"


def test_progress_is_told(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_file, "_CHUNK_FRAMES", 10)
    signs = []
    look(video, alive=lambda: signs.append(1))
    assert len(signs) == 5, "opened, and four chunks"


def test_what_is_no_video(tmp_path: Path, video: Path) -> None:
    text, empty, cut = tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "cut.mp4"
    text.write_text("<html>not found</html>")
    empty.touch()
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    for path, reason in ((text, "not a video file"), (empty, "the file is empty"), (cut, "cut short")):
        found = look(path)
        assert (found.info, found.decoded_frames, found.cause) == (None, None, "content")
        assert reason in str(found.error)
    missing = look(tmp_path / "missing.mp4")
    assert missing == Finding(error="no such file; check the path", cause="system"), "it may be there the next time"


def test_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "any.bin"
    path.write_bytes(bytes(range(256)) * 100)
    monkeypatch.setattr(scan_file, "_HASH_BYTES", 1000)
    signs = []
    found = do_task(FileTask("hash", str(path), "probe"), lambda: signs.append(1))
    assert found == Finding(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(signs) == 26
    absent = do_task(FileTask("hash", str(tmp_path / "absent"), "probe"), nothing)
    assert absent == Finding(error="its content cannot be read: No such file or directory", cause="system")


class _Pretended:
    """A reader of a video that is not there, or why it is not."""

    def __init__(self, error: Exception | None, info: VideoInfo | None = None) -> None:
        self.error, self.info = error, info

    def __call__(self, source: str) -> _Pretended:
        if self.error is not None:
            raise self.error
        return self

    def __enter__(self) -> _Pretended:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def caused(reason: str, cause: BaseException | None) -> UnreadableVideo:
    error = UnreadableVideo("x.mp4", reason)
    error.__cause__ = cause
    return error


def test_addresses_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    info = VideoInfo("https://x/a.mp4", 9, 3.0, 3.0, 8, 6, "h264", False, 0, size_bytes=5000, bytes_read=700)
    monkeypatch.setattr(scan_file, "open_video", _Pretended(None, info))
    assert look("https://x/a.mp4", "probe") == Finding(info)
    monkeypatch.setattr(scan_file, "open_video", _Pretended(caused("404", None)))
    assert look("https://x/a.mp4") == Finding(error="404", cause="system"), "it may be there the next time"
    monkeypatch.setattr(scan_file, "open_video", _Pretended(UsageError("install it: pip install ...")))
    assert look("s3://x/a.mp4") == Finding(error="install it: pip install ...", cause="system")


def test_where_errors_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    invalid = av.error.InvalidDataError(1, "damaged")
    denied = av.error.PermissionError(1, "said the decoder")
    for cause, expected in (
        (None, "content"),
        (invalid, "content"),
        (denied, "content"),
        (OSError(5, "I/O"), "system"),
    ):
        monkeypatch.setattr(scan_file, "open_video", _Pretended(caused("damaged", cause)))
        assert look("x.mp4") == Finding(error="damaged", cause=expected)  # type: ignore[arg-type]
    for memory in (MemoryError(), av.error.MemoryError(12, "no memory")):
        monkeypatch.setattr(scan_file, "open_video", _Pretended(caused("no memory", memory)))
        with pytest.raises(MemoryError):
            look("x.mp4")
