"""Listed videos come in; some frames of each stay in memory, and draws among them go out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fewframes.data.manifest import Video
from fewframes.errors import UnreadableVideo, UsageError
from fewframes.progress import track
from fewframes.records import DecodeOptions, Sampling, VideoInfo
from fewframes.video.reader import open_video
from fewframes.video.sampling import sample_indices, uniform_indices

__all__ = ["FrameCache"]

_Part = tuple[Path | str, float | None, float | None]
_EXACT = DecodeOptions()


@dataclass(frozen=True, eq=False)
class _Kept:
    """Some frames of a part: (T, 3, H, W) uint8, and the part's own number of frames and rate."""

    pixels: Tensor
    num_frames: int
    fps: float


class FrameCache:
    """Frames kept in memory, so that each video is decoded once for a whole run.

    Up to `max_frames` uniformly spaced frames of each listed part are kept as they were decoded; draws then choose
    among those. Rules whose frames lie a stated time apart need all frames of a part; see `check`. Videos that cannot
    be read are left to the data set, which tries them again and reports them.

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
        self._frames: dict[_Part, _Kept] = {}
        parts = list(dict.fromkeys(map(_part, videos)))
        pool = ThreadPoolExecutor(max_workers=max(workers, 1))
        try:
            results = pool.map(lambda part: _read(part, max_frames, decode), parts)
            shown = track(results, "Reading videos", total=len(parts), show=progress)
            for part, kept in zip(parts, shown, strict=True):
                if kept is not None:
                    self._frames[part] = kept
        finally:
            # After Ctrl-C, only what has begun is finished.
            pool.shutdown(cancel_futures=True)

    @property
    def size_bytes(self) -> int:
        """Memory that the kept pixels take."""
        return sum(kept.pixels.numel() for kept in self._frames.values())

    def check(self, sampling: Sampling) -> None:
        """Raise `UsageError` if the rule needs frames that are not kept."""
        if sampling.stride is None:
            return
        for (path, _, _), kept in self._frames.items():
            if len(kept.pixels) < kept.num_frames:
                longest = max(each.num_frames for each in self._frames.values())
                raise UsageError(
                    f"{len(kept.pixels)} evenly spaced frames of {path} are kept in memory, but sampling rule "
                    f"{sampling.rule!r} may need any of its {kept.num_frames}; set data.cache_frames to {longest}, "
                    "the longest video, or to 0"
                )

    def get(self, video: Video, sampling: Sampling, rng: random.Random | None) -> Tensor | None:
        """(T, 3, H, W) uint8 frames of a kept part, drawn by the rule; None if it is not kept."""
        kept = self._frames.get(_part(video))
        if kept is None:
            return None
        count, _, height, width = kept.pixels.shape
        assert sampling.stride is None or count == kept.num_frames, "check() refuses this"
        fps = kept.fps * count / kept.num_frames
        info = VideoInfo(str(video.path), count, fps, count / fps, width, height, "cached", False, 0)
        return kept.pixels[list(sample_indices(sampling, info, rng))]


def _part(video: Video) -> _Part:
    return video.path, video.start, video.end


def _read(part: _Part, max_frames: int, decode: DecodeOptions) -> _Kept | None:
    path, start, end = part
    try:
        with open_video(path, decode=decode) as reader:
            inside = reader.frames_between(start, end)
            chosen = uniform_indices(len(inside), min(max_frames, len(inside)))
            pixels = reader.frames_at([inside[index] for index in chosen]).pixels
            return _Kept(pixels, len(inside), reader.info.fps)
    except UnreadableVideo:
        return None
