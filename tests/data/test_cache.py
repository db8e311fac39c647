"""Frames in memory: the draws of a decoded video, decoded once."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fewframes.data.cache as cache_module
import fewframes.data.dataset as dataset
from fewframes.data.cache import FrameCache
from fewframes.data.dataset import TrainingClips
from fewframes.data.manifest import Video
from fewframes.errors import UsageError
from fewframes.records import Sampling
from tests.data.test_dataset import COUNT, SIDE, VARIED, clips_of, pixels_of, videos
from tests.helpers.painted import read_numbers

__all__ = ["videos"]  # the fixture


def cached(videos: list[Video], max_frames: int) -> FrameCache:
    return FrameCache(videos, max_frames, workers=2, progress=False)


def numbers_of(cache: FrameCache, video: Video, rule: str, count: int) -> list[int] | None:
    pixels = cache.get(video, Sampling(rule, count), random.Random(0))  # type: ignore[arg-type]
    return None if pixels is None else read_numbers(pixels)


def test_a_whole_cache_changes_nothing(videos: list[Video]) -> None:
    part = Video(videos[2].path, ("a",), start=0.2, end=1.0)
    listed = [*videos, videos[0], part]
    cache = cached(listed, 64)
    kept, fresh = clips_of(listed, cache=cache), clips_of(listed)
    for key in ((0, 0), (3, 6), (1, 7), (2, 8)):
        assert torch.equal(pixels_of(kept, *key), pixels_of(fresh, *key))
    twenty_of_the_part = 20
    assert cache.size_bytes == (sum(range(COUNT, COUNT + 7)) + twenty_of_the_part) * 3 * SIDE * SIDE


def test_a_small_cache_keeps_uniform_frames(videos: list[Video]) -> None:
    cache = cached(videos[:1], 10)
    assert numbers_of(cache, videos[0], "uniform", 10) == [2, 6, 10, 14, 18, 22, 26, 30, 34, 38]
    drawn = numbers_of(cache, videos[0], "random_in_segment", 5)
    assert drawn is not None
    assert [number // 8 for number in drawn] == [0, 1, 2, 3, 4]
    assert numbers_of(cache, videos[1], "uniform", 10) is None


CLIPS = [Sampling("clip", 5, stride=4, stride_fps=25.0), Sampling("clip_linspace", 5, stride=3, stride_fps=20.0)]


@pytest.mark.parametrize("chance", [True, False])
@pytest.mark.parametrize("sampling", [*CLIPS, Sampling("segment_middle", 5)])
def test_a_whole_cache_knows_the_frame_rate(videos: list[Video], sampling: Sampling, chance: bool) -> None:
    listed = [videos[0], Video(videos[2].path, ("a",), start=0.2, end=1.0)]
    cache, view = cached(listed, 40), replace(VARIED, sampling=sampling, random_frames=chance)
    cache.check(sampling)
    kept, fresh = clips_of(listed, view, cache=cache), clips_of(listed, view)
    for key in ((0, 0), (3, 0), (1, 1)):
        assert torch.equal(pixels_of(kept, *key), pixels_of(fresh, *key))


@pytest.mark.parametrize("sampling", CLIPS)
def test_a_small_cache_cannot_give_frames_that_lie_a_stated_time_apart(videos: list[Video], sampling: Sampling) -> None:
    cache = cached(videos[:2], 40)
    message = (
        rf"40 evenly spaced frames of .*1\.mp4 are kept in memory, but sampling rule '{sampling.rule}' may need any of "
        r"its 41; set data\.cache_frames to 41, the longest video, or to 0"
    )
    with pytest.raises(UsageError, match=message):
        cache.check(sampling)
    cached(videos[:2], 41).check(sampling)
    for rule in ("uniform", "random_in_segment", "segment_middle"):
        cache.check(Sampling(rule, 5))  # type: ignore[arg-type]


def test_parts_of_one_file_are_kept_apart(videos: list[Video]) -> None:
    path = videos[0].path
    parts = [Video(path, ("a",)), Video(path, ("b",), end=0.2), Video(path, ("b",), start=0.4, end=0.8)]
    cache = cached(parts, 5)
    found = [numbers_of(cache, part, "uniform", 5) for part in parts]
    assert found == [[4, 12, 20, 28, 36], [0, 1, 2, 3, 4], [11, 13, 15, 17, 19]]
    assert numbers_of(cache, Video(path, ("b",), start=0.4), "uniform", 5) is None, "another part"


def test_a_cached_video_is_read_once(videos: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cached(videos[:2], 10)
    monkeypatch.setattr(dataset, "read_frames", None)
    assert clips_of(videos[:2], cache=cache)[0, 1].failure is None


def test_unreadable_videos_are_left_to_the_clips(videos: list[Video], tmp_path: Path) -> None:
    absent = Video(tmp_path / "absent.mp4", ("a",))
    clips: TrainingClips = clips_of([videos[0], absent], cache=cached([videos[0], absent], 10))
    failure = clips[0, 1].failure
    assert failure is not None
    assert (failure.path, failure.reason) == (str(absent.path), "no such file; check the path")


def test_an_interruption_ends_the_reading(videos: list[Video], monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not begun is not begun any more."""
    begun, go_on = [], threading.Event()

    def slow(*part: object) -> None:
        begun.append(part)
        if len(begun) > 1:
            go_on.wait(60)

    def interrupted(items: object, *_: object, **__: object) -> object:
        yield next(items)  # type: ignore[call-overload]
        go_on.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_module, "_read", slow)
    monkeypatch.setattr(cache_module, "track", interrupted)
    listed = [Video(videos[0].path, ("a",), start=float(second)) for second in range(500)]
    with pytest.raises(KeyboardInterrupt):
        FrameCache(listed, 4, workers=2, progress=False)
    assert len(begun) < 500
