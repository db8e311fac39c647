"""Training clips: a list of labelled videos comes in, random uint8 views with their labels go out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fewframes.errors import UnreadableVideo
from fewframes.progress import track
from fewframes.records import Failure, Frames, Preprocess, Sampling, VideoInfo
from fewframes.video.augment import random_view
from fewframes.video.clip import load_frames
from fewframes.video.reader import open_video
from fewframes.video.sampling import sample_indices, uniform_indices

__all__ = ["Batch", "FrameCache", "TrainingClips", "View", "epoch_order", "load_batches"]


@dataclass(frozen=True)
class View:
    """How training looks at a clip: which frames, and the random view of them."""

    sampling: Sampling
    preprocess: Preprocess
    max_zoom: float
    flip_probability: float


@dataclass(frozen=True, eq=False)
class Batch:
    """Some training clips.

    Attributes:
        clips: (B, T, 3, H, W) uint8.
        labels: (B,) int64.
        failures: videos that were to be in this batch and could not be read.
    """

    clips: Tensor
    labels: Tensor
    failures: tuple[Failure, ...]


class FrameCache:
    """Frames kept in memory, so that each video is decoded once for a whole run.

    Up to `max_frames` uniformly spaced frames of each video are kept as they were decoded; draws then choose among
    those. Videos that cannot be read are left to the data set, which reports them.
    """

    def __init__(self, paths: Sequence[Path], max_frames: int, *, workers: int, progress: bool) -> None:
        self._frames: dict[Path, Frames] = {}
        unique = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
            results = pool.map(lambda path: _read_for_cache(path, max_frames), unique)
            shown = track(results, "Reading videos", total=len(unique), show=progress)
            for path, frames in zip(unique, shown, strict=True):
                if frames is not None:
                    self._frames[path] = frames

    @property
    def size_bytes(self) -> int:
        """Memory that the kept pixels take."""
        return sum(frames.pixels.numel() for frames in self._frames.values())

    def get(self, path: Path, sampling: Sampling, rng: random.Random) -> Tensor | None:
        """(T, 3, H, W) uint8 frames of a kept video, drawn by the rule; None if the video is not kept."""
        frames = self._frames.get(path)
        if frames is None:
            return None
        count, _, height, width = frames.pixels.shape
        kept = VideoInfo(str(path), count, 1.0, float(count), width, height, "cached", False, 0)
        return frames.pixels[list(sample_indices(sampling, kept, rng))]


def _read_for_cache(path: Path, max_frames: int) -> Frames | None:
    try:
        with open_video(path) as reader:
            total = reader.info.num_frames
            return reader.frames_at(uniform_indices(total, min(max_frames, total)))
    except UnreadableVideo:
        return None


class TrainingClips(Dataset[tuple[Tensor, int] | Failure]):
    """Random views of labelled videos.

    An item's key is (epoch, index), and all its randomness follows from (seed, epoch, index): the same key gives the
    same pixels in any process, in any order, before and after an interruption.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        label_indices: Sequence[int],
        view: View,
        *,
        seed: int,
        cache: FrameCache | None = None,
    ) -> None:
        self.paths, self.label_indices = list(paths), list(label_indices)
        self.view, self.seed, self.cache = view, seed, cache

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int] | Failure:
        """The view (T, 3, H, W) uint8 and label of one key, or why its video could not be read."""
        epoch, index = key
        rng = random.Random(f"{self.seed}/{epoch}/{index}")
        path, view = self.paths[index], self.view
        pixels = None if self.cache is None else self.cache.get(path, view.sampling, rng)
        if pixels is None:
            try:
                pixels = load_frames(path, view.sampling, rng).pixels
            except UnreadableVideo as error:
                return Failure(error.path, error.reason)
        clip = random_view(pixels, view.preprocess, rng, max_zoom=view.max_zoom, flip_probability=view.flip_probability)
        return clip, self.label_indices[index]


def epoch_order(length: int, *, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch visits its videos: each once, the same for the same seed and epoch."""
    order = list(range(length))
    random.Random(f"{seed}/order/{epoch}").shuffle(order)
    return order


def load_batches(
    clips: TrainingClips, *, epoch: int, batch_size: int, workers: int, skip_batches: int = 0
) -> Iterator[Batch]:
    """The batches of one epoch, in order; the last one may be smaller.

    Args:
        clips: the videos.
        epoch: from 0.
        batch_size: clips a batch.
        workers: processes that read ahead; 0 reads in this one.
        skip_batches: how many batches to leave out at the start, already seen before an interruption.
    """
    order = epoch_order(len(clips), seed=clips.seed, epoch=epoch)
    keys = [(epoch, index) for index in order]
    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)][skip_batches:]
    loader = DataLoader(
        clips, batch_sampler=batches, num_workers=workers, collate_fn=_collate, worker_init_fn=_start_worker
    )
    yield from loader


def _collate(items: list[tuple[Tensor, int] | Failure]) -> Batch:
    good = [item for item in items if not isinstance(item, Failure)]
    failures = tuple(item for item in items if isinstance(item, Failure))
    clips = torch.stack([clip for clip, _ in good]) if good else torch.empty(0, dtype=torch.uint8)
    return Batch(clips, torch.tensor([label for _, label in good], dtype=torch.int64), failures)


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
