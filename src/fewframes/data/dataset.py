"""Training clips: labelled videos come in, a random uint8 view of each goes out, or why it could not be read."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.utils.data import Dataset

from fewframes.data.cache import FrameCache
from fewframes.data.manifest import Video
from fewframes.data.reading import read_frames, shown_name
from fewframes.errors import UnreadableVideo
from fewframes.records import DecodeOptions, Failure, Preprocess, Sampling
from fewframes.video.augment import Augment, random_view

__all__ = ["Clip", "ClipRequest", "TrainingClips", "View", "draw_clip"]


@dataclass(frozen=True)
class View:
    """How training looks at a clip: which frames, the random view of them, and how they are decoded.

    Attributes:
        sampling: which frames.
        preprocess: the model's transform.
        augment: what may happen to them.
        decode: how frames are decoded.
        random_frames: whether the rule may draw; otherwise it chooses what evaluation looks at.
        mirrored: for each class the one that its mirrored clips belong to, None for those that must not be mirrored; an
            empty tuple leaves every label as it is.
    """

    sampling: Sampling
    preprocess: Preprocess
    augment: Augment = field(default_factory=Augment)
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    random_frames: bool = True
    mirrored: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class ClipRequest:
    """One clip that is to be drawn; all that a reading process is told, so that none holds the whole list.

    Attributes:
        seed: of the run.
        epoch: from 0.
        index: the video's place in the list.
        video: the video.
        label: its class index.
        repeat: how often the epoch has drawn this video before; each time is another view.
    """

    seed: int
    epoch: int
    index: int
    video: Video
    label: int
    repeat: int = 0


@dataclass(frozen=True, eq=False)
class Clip:
    """One training clip, or the reason why there is none.

    Attributes:
        request: what was asked for; if the clip was mirrored, with the label of its mirror image.
        pixels: (T, 3, H, W) uint8; None if the video could not be read.
        failure: why not; None if it could.
        decode_seconds: opening and decoding; 0 for frames from memory.
        bytes_read: how much of the file was read.
        packets_decoded: compressed packets that were given to the decoder.
    """

    request: ClipRequest
    pixels: Tensor | None
    failure: Failure | None = None
    decode_seconds: float = 0.0
    bytes_read: int = 0
    packets_decoded: int = 0


def draw_clip(request: ClipRequest, view: View, cache: FrameCache | None = None) -> Clip:
    """Draw one clip.

    All randomness follows from (seed, epoch, index, repeat): the same request gives the same pixels in any process, in
    any order, before and after an interruption. A video with fewer frames than are wanted repeats some.

    Args:
        request: which clip.
        view: how to look at it.
        cache: frames in memory; what is not kept there is decoded.

    Raises:
        UsageError: the options do not fit together, or a part is not 0 <= start < end.
    """
    counterpart = view.mirrored[request.label] if view.mirrored else request.label
    again = f"/{request.repeat}" if request.repeat else ""
    rng = random.Random(f"{request.seed}/{request.epoch}/{request.index}{again}")
    video, chance = request.video, rng if view.random_frames else None
    pixels = None if cache is None else cache.get(video, view.sampling, chance)
    seconds, bytes_read, packets = 0.0, 0, 0
    if pixels is None:
        try:
            reading = read_frames(
                video.path, view.sampling, chance, start=video.start, end=video.end, decode=view.decode
            )
        except UnreadableVideo as error:
            return Clip(request, None, Failure(shown_name(video.path), error.reason, video.start, video.end))
        pixels = reading.frames.pixels
        seconds, bytes_read, packets = reading.seconds, reading.bytes_read, reading.packets_decoded
    seen = random_view(pixels, view.preprocess, rng, view.augment, may_mirror=counterpart is not None)
    if seen.mirrored and counterpart is not None:
        request = replace(request, label=counterpart)
    return Clip(request, seen.pixels, None, seconds, bytes_read, packets)


class TrainingClips(Dataset[Clip]):
    """Random views of labelled videos.

    An item's key is (epoch, index); see `draw_clip`.

    Args:
        videos: the list.
        label_indices: the class index of each.
        view: how to look at them.
        seed: all randomness follows from it.
        cache: frames in memory.
        frequencies: how often each is drawn, in proportion to the others; None draws each once an epoch.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        label_indices: Sequence[int],
        view: View,
        *,
        seed: int,
        cache: FrameCache | None = None,
        frequencies: Sequence[float] | None = None,
    ) -> None:
        assert len(videos) == len(label_indices)
        self.videos, self.label_indices = list(videos), list(label_indices)
        self.view, self.seed, self.cache, self.frequencies = view, seed, cache, frequencies

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> Clip:
        """The clip of one key, or why its video could not be read."""
        return draw_clip(self.request(*key), self.view, self.cache)

    def request(self, epoch: int, index: int, repeat: int = 0) -> ClipRequest:
        """What a process needs to know to draw one clip."""
        return ClipRequest(self.seed, epoch, index, self.videos[index], self.label_indices[index], repeat)
