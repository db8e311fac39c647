"""Labelled videos and a network with a frozen frame encoder come in; the embeddings of their frames go out.

Each view of a video is decoded and encoded once, and then kept on disk; see `fewframes.training.embeddings`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.data.bad_videos import BadVideos
from fewframes.data.dataset import ClipRequest, View, draw_clip
from fewframes.data.manifest import Manifest, Video
from fewframes.data.reading import read_frames, shown_name
from fewframes.errors import UnreadableVideo
from fewframes.progress import track
from fewframes.records import Failure
from fewframes.training.embeddings import EmbeddingCache, digest_of, tensors_sha256, video_identity
from fewframes.video.transforms import preprocess, to_float
from fewframes.weights.checkpoint import CheckpointInfo

__all__ = ["FRAME_PARTS", "Embedded", "FrameEmbedder", "embed_videos", "encodes_frames"]

FRAME_PARTS = ("encoder.", "patch_embed.")
"""How names of what embeds frames begin, in every network that embeds them one by one; `classify` is all the rest."""

_FORMAT = 1
# Settings of a network that say nothing of its frame encoder, so that another aggregator needs no new embeddings.
_NOT_OF_THE_ENCODER = ("num_classes", "aggregator", "temporal_", "drop_path")


@dataclass(frozen=True, eq=False)
class FrameEmbedder:
    """A network's frame encoder, with all that its embeddings depend on.

    View 0 of a video is what prediction and evaluation look at. Further views are what training would draw, each with
    a randomness of its own that follows from `seed`, its number and the video alone, not from its place in the list.

    Attributes:
        model: the network; offers `embed_frames`.
        info: its record.
        view: how training looks at a clip.
        seed: of the random views.
        device: where the encoder runs.
    """

    model: nn.Module
    info: CheckpointInfo
    view: View
    seed: int = 0
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    def origin(self) -> dict[str, Any]:
        """What all embeddings are computed with, as plain JSON values; with any of it changed, none is reused."""
        encoder = {name: value for name, value in self.model.state_dict().items() if name.startswith(FRAME_PARTS)}
        config = {
            name: value
            for name, value in dataclasses.asdict(self.info.config).items()  # type: ignore[call-overload]
            if not name.startswith(_NOT_OF_THE_ENCODER)
        }
        return {
            "format": _FORMAT,
            "fewframes": version("fewframes"),
            "torch": torch.__version__,
            "device": self.device.type,
            "network": type(self.model).__name__,
            "config": _plain(config),
            "encoder_sha256": tensors_sha256(encoder),
            "sampling": _plain(dataclasses.asdict(self.info.sampling)),
            "preprocess": _plain(dataclasses.asdict(self.info.preprocess)),
            "decode": _plain(dataclasses.asdict(self.view.decode)),
        }

    def key(self, video: Video, view: int) -> str:
        """What one view of one version of a video is kept under."""
        looks: Any = "as evaluation"
        if view:
            looks = [view, self.seed, {name: _plain(value) for name, value in dataclasses.asdict(self.view).items()}]
        return digest_of([video_identity(video), looks])

    def read(self, video: Video, view: int) -> Tensor | Failure:
        """A preprocessed clip (T, 3, H, W) float32, or why there is none. Raises UsageError for wrong options."""
        spec, sampling = self.info.preprocess, self.info.sampling
        if view:
            # The drawing's randomness is that of a place in a list; here the video itself says which.
            place = int(digest_of([str(video.path), video.start, video.end])[:12], 16)
            clip = draw_clip(ClipRequest(self.seed, view, place, video, 0), self.view)
            if clip.pixels is None:
                assert clip.failure is not None
                return clip.failure
            return to_float(clip.pixels, spec)
        try:
            reading = read_frames(video.path, sampling, start=video.start, end=video.end, decode=self.view.decode)
        except UnreadableVideo as error:
            return Failure(shown_name(video.path), error.reason, video.start, video.end)
        return preprocess(reading.frames.pixels, spec)

    @torch.no_grad()  # not inference mode: the head is trained on these tensors
    def embed(self, clip_TCHW: Tensor) -> Tensor:
        """A clip -> (T, D) float32 on the CPU, the very bits that prediction computes on its way."""
        model: Any = self.model
        was_training = model.training
        model.eval()
        try:
            frames_1TD: Tensor = model.embed_frames(clip_TCHW.unsqueeze(0).to(self.device))
        finally:
            model.train(was_training)
        return frames_1TD[0].float().cpu()


@dataclass(frozen=True, eq=False)
class Embedded:
    """The embeddings of a list's videos.

    Attributes:
        frames_NVTD: (N, V, T, D) float32, on the CPU.
        indices: the N videos' places in the list; those that could not be read are not among them.
        failed: places in the list of those that could not be read.
        num_computed: views that were read and encoded now.
        num_kept: views that came from the disk.
        num_damaged: shards on the disk that were damaged; what they held was computed anew.
    """

    frames_NVTD: Tensor
    indices: tuple[int, ...]
    failed: tuple[int, ...]
    num_computed: int
    num_kept: int
    num_damaged: int


def encodes_frames(model: nn.Module) -> bool:
    """Whether frames are encoded one by one, and `classify` needs nothing but their embeddings."""
    return all(hasattr(model, part) for part in ("encoder", "embed_frames", "classify"))


def embed_videos(
    embedder: FrameEmbedder,
    manifest: Manifest,
    *,
    views: int,
    cache: EmbeddingCache,
    bad: BadVideos,
    workers: int,
    show: bool,
) -> Embedded:
    """The embeddings of every listed video, computed where they are not kept yet.

    Videos are decoded by threads, at most 2 * `workers` + 1 clips ahead, and encoded one at a time.

    Args:
        embedder: the encoder.
        manifest: the list; one that names a part of a file twice computes it once.
        views: how many views of each video, >= 1.
        cache: where they are kept, of this embedder's `origin()`.
        bad: what to do about videos that cannot be read; a video with one unreadable view is left out.
        workers: threads.
        show: progress bar.

    Raises:
        UnreadableVideo, TooManyBadVideos: as the policy says.
        UsageError: the decode options do not fit together.
    """
    keys = [[embedder.key(video, view) for view in range(views)] for video in manifest.videos]
    found = cache.load(key for row in keys for key in row)
    num_kept = len(found)
    wanted: dict[str, tuple[int, int]] = {}
    for index, row in enumerate(keys):
        for view, key in enumerate(row):
            if key not in found:
                wanted.setdefault(key, (index, view))
    failures: dict[str, Failure] = {}
    try:
        with closing(_read_ahead(embedder, manifest.videos, wanted, workers)) as clips:
            for key, clip in track(clips, "Encoding frames", total=len(wanted), show=show):
                if isinstance(clip, Failure):
                    failures[key] = clip
                    bad.add(wanted[key][0], clip)
                else:
                    found[key] = embedder.embed(clip)
                    cache.put(key, found[key])
    finally:
        cache.flush()  # also after Ctrl-C and after a video that stops the work
    failed = tuple(index for index, row in enumerate(keys) if any(key in failures for key in row))
    for index in failed:  # a part that is listed twice has failed in both lines
        bad.add(index, next(failures[key] for key in keys[index] if key in failures))
    indices = tuple(index for index in range(len(keys)) if index not in set(failed))
    return Embedded(
        frames_NVTD=_stack([[found[key] for key in keys[index]] for index in indices]),
        indices=indices,
        failed=failed,
        num_computed=len(wanted) - len(failures),
        num_kept=num_kept,
        num_damaged=cache.num_damaged,
    )


def _read_ahead(
    embedder: FrameEmbedder, videos: Sequence[Video], wanted: Mapping[str, tuple[int, int]], workers: int
) -> Generator[tuple[str, Tensor | Failure]]:
    """Each wanted key with its clip, in order, decoded by threads a few ahead."""
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        waiting: deque[tuple[str, Future[Tensor | Failure]]] = deque()
        remaining = iter(wanted.items())
        try:
            while True:
                while len(waiting) <= 2 * workers and (item := next(remaining, None)) is not None:
                    key, (index, view) = item
                    waiting.append((key, pool.submit(embedder.read, videos[index], view)))
                if not waiting:
                    return
                key, future = waiting.popleft()
                yield key, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _stack(rows: Iterable[Sequence[Tensor]]) -> Tensor:
    stacked = [torch.stack(list(row)) for row in rows]
    return torch.stack(stacked) if stacked else torch.empty(0, 1, 1, 1)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """As JSON would give it back, so that tuples and lists count as equal."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
