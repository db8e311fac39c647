"""Whatever a video can be read from, and that it is let go of."""

from __future__ import annotations

import functools
import io
import os
import sys
from pathlib import Path

import pytest

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import DecodeOptions, Limits
from fewframes.video.reader import open_video
from tests.helpers.painted import read_numbers, write_painted


@functools.cache
def painted() -> bytes:
    """40 painted frames in H.264."""
    file = io.BytesIO()
    write_painted(file, 40)
    return file.getvalue()


class Pipe(io.RawIOBase):
    """Bytes that can be read only once, and whose position cannot be moved."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        return self._data.readinto(buffer)


@pytest.mark.parametrize("name", ["a.mp4", "part:1.mp4", "-rf.mp4", "frames %03d.mp4", "视频 'n'.mp4", "no_suffix"])
def test_paths_of_every_kind(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(painted())
    with open_video(name) as reader:
        assert reader.info.path == name
    for source in (path, str(path)):
        with open_video(source) as reader:
            assert reader.info.path == str(path)
            assert read_numbers(reader.frames_at([17]).pixels) == [17]


def test_bytes_files_and_pipes(tmp_path: Path) -> None:
    data = painted()
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with path.open("rb") as file:
        file.seek(100)
        for source in (data, bytearray(data), io.BytesIO(data), file, Pipe(data)):
            with open_video(source) as reader:
                assert read_numbers(reader.frames_at([39, 5]).pixels) == [39, 5]
        assert not file.closed


@pytest.mark.parametrize("source", [io.StringIO("text"), 3, None])
def test_other_sources_are_refused(source: object) -> None:
    with pytest.raises(UsageError, match="expected a path, bytes or a file open for binary reading"):
        open_video(source)  # type: ignore[arg-type]


def test_a_closed_reader_says_so() -> None:
    reader = open_video(painted())
    reader.close()
    reader.close()
    with pytest.raises(UsageError, match="is closed; open the video again"):
        reader.frames_at([0])


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    return {os.readlink(entry) for entry in folder.iterdir() if entry.exists()}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_files_are_closed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    good.write_bytes(painted())
    bad.write_bytes(painted()[:-900])
    with open_video(good):
        assert str(good) in open_files()
    with pytest.raises(UnreadableVideo):
        open_video(bad)
    with pytest.raises(UnreadableVideo):
        open_video(good, decode=DecodeOptions(limits=Limits(max_pixels=1)))
    assert not any(str(tmp_path) in name for name in open_files())
