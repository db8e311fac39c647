"""Listed videos come in; some frames of each stay in memory, and draws among them go out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from fewframes.data.manifest import Video
from fewframes.errors import UnreadableVideo
from fewframes.progress import track
from fewframes.records import DecodeOptions, Frames, Sampling, VideoInfo
from fewframes.video.reader import open_video
from fewframes.video.sampling import sample_indices, uniform_indices

__all__ = ["FrameCache"]

_Part = tuple[Path | str, float | None, float | None]
_EXACT = DecodeOptions()


class FrameCache:
    """Frames kept in memory, so that each video is decoded once for a whole run.

    Up to `max_frames` uniformly spaced frames of each listed part are kept as they were decoded; draws then choose
    among those. Videos that cannot be read are left to the data set, which tries them again and reports them.

    Args:
        videos: the list; lines that name the same part of the same file share their frames.
        max_frames: the most that is kept of each.
        workers: threads that decode side by side.
        progress: whether to show a bar.
        decode: how to decode.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        max_frames: int,
        *,
        workers: int,
        progress: bool,
        decode: DecodeOptions = _EXACT,
    ) -> None:
        self._frames: dict[_Part, Frames] = {}
        parts = list(dict.fromkeys(map(_part, videos)))
        pool = ThreadPoolExecutor(max_workers=max(workers, 1))
        try:
            results = pool.map(lambda part: _read(part, max_frames, decode), parts)
            shown = track(results, "Reading videos", total=len(parts), show=progress)
            for part, frames in zip(parts, shown, strict=True):
                if frames is not None:
                    self._frames[part] = frames
        finally:
            # After Ctrl-C, only what has begun is finished.
            pool.shutdown(cancel_futures=True)

    @property
    def size_bytes(self) -> int:
        """Memory that the kept pixels take."""
        return sum(frames.pixels.numel() for frames in self._frames.values())

    def get(self, video: Video, sampling: Sampling, rng: random.Random) -> Tensor | None:
        """(T, 3, H, W) uint8 frames of a kept part, drawn by the rule; None if it is not kept."""
        frames = self._frames.get(_part(video))
        if frames is None:
            return None
        count, _, height, width = frames.pixels.shape
        kept = VideoInfo(str(video.path), count, 1.0, float(count), width, height, "cached", False, 0)
        return frames.pixels[list(sample_indices(sampling, kept, rng))]


def _part(video: Video) -> _Part:
    return video.path, video.start, video.end


def _read(part: _Part, max_frames: int, decode: DecodeOptions) -> Frames | None:
    path, start, end = part
    try:
        with open_video(path, decode=decode) as reader:
            inside = reader.frames_between(start, end)
            chosen = uniform_indices(len(inside), min(max_frames, len(inside)))
            return reader.frames_at([inside[index] for index in chosen])
    except UnreadableVideo:
        return None
