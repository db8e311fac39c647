"""One file comes in; what opening, decoding and hashing it tells goes out. This is what a scan's workers do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import av

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import VideoInfo
from fewframes.scan_records import DecodeMode
from fewframes.video.reader import VideoReader, open_video

__all__ = ["FileTask", "Finding", "do_task"]

_CHUNK_BYTES = 64 * 1024 * 1024
_CHUNK_FRAMES = 256
_HASH_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class FileTask:
    """What is to be done with one file.

    Attributes:
        kind: "video": open it, and decode it if asked for; "hash": digest its content.
        path: the file, or the address of a remote one.
        decode: "full" decodes every frame.
    """

    kind: Literal["video", "hash"]
    path: str
    decode: DecodeMode


@dataclass(frozen=True)
class Finding:
    """What came out of a task.

    Attributes:
        info: the video; None if it cannot be opened, and for a hash.
        decoded_frames: how many frames, from the first on, can be decoded; None if they were not decoded.
        sha256: hexadecimal digest; None for a video.
        error: why the file cannot be used, one line; None if it can.
        cause: where the error lies: in the file's "content", in what this machine could not do at the time
            ("system"), or in the "time" or the "memory" that one file may take.
    """

    info: VideoInfo | None = None
    decoded_frames: int | None = None
    sha256: str | None = None
    error: str | None = None
    cause: Literal["content", "system", "time", "memory"] = "content"


def do_task(task: FileTask, alive: Callable[[], None]) -> Finding:
    """Do one task; `alive` is called again and again while it makes progress.

    Raises:
        MemoryError: the file asks for more memory than the worker may take.
    """
    if task.kind == "hash":
        return _hash(task.path, alive)
    info: VideoInfo | None = None
    decoded: int | None = None
    try:
        with open_video(task.path) as reader:
            info = reader.info
            alive()
            if task.decode == "full":
                decoded, damage = _decode_all(reader, alive)
                if damage is not None:
                    raise damage
    except UnreadableVideo as error:
        cause = error.__cause__
        if isinstance(cause, MemoryError):
            raise cause from error
        # What is remote may be there the next time; so may what the system could not give. FFmpeg's own errors are of
        # the same kinds, and speak of what is in the file.
        passing = "://" in task.path or (isinstance(cause, OSError) and not isinstance(cause, av.FFmpegError))
        return Finding(info, decoded, error=error.reason, cause="system" if passing else "content")
    except UsageError as error:  # an address that nothing here can open
        return Finding(error=str(error), cause="system")
    return Finding(info, decoded)


def _decode_all(reader: VideoReader, alive: Callable[[], None]) -> tuple[int, UnreadableVideo | None]:
    """How many frames can be decoded from the first on, and what is wrong with the next one."""
    info = reader.info
    step = max(1, min(_CHUNK_FRAMES, _CHUNK_BYTES // (3 * info.width * info.height)))
    for start in range(0, info.num_frames, step):
        stop = min(start + step, info.num_frames)
        try:
            reader.frames_at(range(start, stop))
        except UnreadableVideo:
            for index in range(start, stop):
                alive()
                try:
                    reader.frames_at([index])
                except UnreadableVideo as damage:
                    return index, damage
        alive()
    return info.num_frames, None


def _hash(path: str, alive: Callable[[], None]) -> Finding:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
                alive()
    except OSError as error:
        return Finding(error=f"its content cannot be read: {error.strerror or error}", cause="system")
    return Finding(sha256=digest.hexdigest())
