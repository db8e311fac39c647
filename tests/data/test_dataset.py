"""Training clips: the same key gives the same pixels, wherever, whenever and from whichever memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import fewframes.data.dataset as dataset
from fewframes.data.dataset import Batch, FrameCache, TrainingClips, View, epoch_order, load_batches
from fewframes.records import Failure, Preprocess, Sampling
from tests.helpers.painted import read_numbers, write_painted

COUNT, SIDE = 40, 48
# Neither scaled nor cropped: the painted numbers stay legible.
PLAIN = View(Sampling("random_in_segment", 5), Preprocess(crop=(SIDE, SIDE), resize_short=SIDE), 1.0, 0.0)
VARIED = View(Sampling("random_in_segment", 5), Preprocess(crop=(32, 32), resize_short=36), 1.4, 0.5)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(7):
        write_painted(folder / f"{number}.mp4", COUNT + number, size=(SIDE, SIDE))
    return [folder / f"{number}.mp4" for number in range(7)]


def clips_of(
    paths: Sequence[Path], view: View = VARIED, seed: int = 0, cache: FrameCache | None = None
) -> TrainingClips:
    return TrainingClips(paths, [index % 3 for index in range(len(paths))], view, seed=seed, cache=cache)


def same(left: Sequence[Batch], right: Sequence[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.clips, b.clips) and torch.equal(a.labels, b.labels) and a.failures == b.failures
        for a, b in zip(left, right, strict=True)
    )


def test_frames_are_drawn_inside_their_segments(paths: list[Path]) -> None:
    clips, seen = clips_of(paths, PLAIN), set()
    for epoch in range(20):
        item = clips[epoch, 0]
        assert not isinstance(item, Failure)
        numbers = read_numbers(item[0])
        assert [number // 8 for number in numbers] == [0, 1, 2, 3, 4], "five segments of eight frames"
        assert item[1] == 0
        seen.add(tuple(numbers))
    assert len(seen) > 15, "each epoch draws anew"


def test_the_key_says_it_all(paths: list[Path]) -> None:
    first, again, other_seed = clips_of(paths), clips_of(paths), clips_of(paths, seed=1)
    views = {}
    for epoch in range(3):
        for index in (5, 0, 3):
            item = first[epoch, index]
            random.seed(99)
            torch.manual_seed(99)
            twin, stranger = again[epoch, index], other_seed[epoch, index]
            assert not isinstance(item, Failure) and not isinstance(twin, Failure) and not isinstance(stranger, Failure)
            assert item[0].dtype == torch.uint8
            assert item[0].shape == (5, 3, 32, 32)
            assert torch.equal(item[0], twin[0])
            assert not torch.equal(item[0], stranger[0])
            views[epoch, index] = item[0]
    keys = list(views)
    assert not any(torch.equal(views[a], views[b]) for a in keys for b in keys if a < b)


def test_an_epoch_visits_each_once() -> None:
    orders = [epoch_order(50, seed=2, epoch=epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert epoch_order(50, seed=2, epoch=1) == orders[1] != epoch_order(50, seed=3, epoch=1)


def test_batches_in_order_whatever_reads_them(paths: list[Path]) -> None:
    clips = clips_of(paths)
    here = list(load_batches(clips, epoch=4, batch_size=3, workers=0))
    assert [len(batch.labels) for batch in here] == [3, 3, 1]
    order = epoch_order(7, seed=0, epoch=4)
    assert torch.cat([batch.labels for batch in here]).tolist() == [index % 3 for index in order]
    singly = [clips[4, index] for index in order]
    assert all(
        not isinstance(item, Failure) and torch.equal(item[0], clip)
        for item, clip in zip(singly, torch.cat([batch.clips for batch in here]), strict=True)
    )
    assert same(list(load_batches(clips, epoch=4, batch_size=3, workers=2)), here)
    assert same(list(load_batches(clips, epoch=4, batch_size=3, workers=0, skip_batches=1)), here[1:])
    assert list(load_batches(clips, epoch=4, batch_size=3, workers=0, skip_batches=3)) == []


def test_unreadable_videos_are_handed_on(paths: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    batches = list(load_batches(clips_of([*paths[:2], bad]), epoch=0, batch_size=3, workers=0))
    assert [failure.path for failure in batches[0].failures] == [str(bad)]
    assert batches[0].failures[0].reason
    assert batches[0].clips.shape[0] == len(batches[0].labels) == 2
    (only,) = load_batches(clips_of([bad]), epoch=0, batch_size=3, workers=0)
    assert (only.clips.numel(), len(only.labels), len(only.failures)) == (0, 0, 1)


def test_a_whole_cache_changes_nothing(paths: list[Path]) -> None:
    cache = FrameCache([*paths, paths[0]], 64, workers=2, progress=False)
    cached, fresh = clips_of(paths, cache=cache), clips_of(paths)
    for key in ((0, 0), (3, 6)):
        kept, read = cached[key], fresh[key]
        assert not isinstance(kept, Failure) and not isinstance(read, Failure)
        assert torch.equal(kept[0], read[0])
    assert cache.size_bytes == sum(range(COUNT, COUNT + 7)) * 3 * SIDE * SIDE


def test_a_small_cache_keeps_uniform_frames(paths: list[Path]) -> None:
    cache = FrameCache(paths[:1], 10, workers=1, progress=False)
    pixels = cache.get(paths[0], Sampling("uniform", 10), random.Random(0))
    assert pixels is not None
    assert read_numbers(pixels) == [2, 6, 10, 14, 18, 22, 26, 30, 34, 38]
    drawn = cache.get(paths[0], Sampling("random_in_segment", 5), random.Random(0))
    assert drawn is not None
    assert [number // 8 for number in read_numbers(drawn)] == [0, 1, 2, 3, 4]
    assert cache.get(paths[1], Sampling("uniform", 10), random.Random(0)) is None


def test_a_cached_video_is_read_once(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FrameCache(paths[:2], 10, workers=1, progress=False)
    monkeypatch.setattr(dataset, "load_frames", None)
    item = clips_of(paths[:2], cache=cache)[0, 1]
    assert not isinstance(item, Failure)


def test_a_cache_leaves_unreadable_videos_to_the_clips(paths: list[Path], tmp_path: Path) -> None:
    absent = tmp_path / "absent.mp4"
    cache = FrameCache([paths[0], absent], 10, workers=2, progress=False)
    failure = clips_of([paths[0], absent], cache=cache)[0, 1]
    assert failure == Failure(str(absent), "no such file; check the path")
