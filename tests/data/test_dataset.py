"""Training clips: the same key gives the same pixels, wherever, whenever and from whichever memory."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewframes.data.cache import FrameCache
from fewframes.data.dataset import TrainingClips, View
from fewframes.data.loader import load_batches
from fewframes.data.manifest import Video
from fewframes.errors import UsageError
from fewframes.records import DecodeOptions, Failure, Limits, Preprocess, Sampling
from fewframes.video.augment import Augment
from fewframes.video.augment_policy import Policy
from fewframes.video.clip import load_frames
from tests.helpers.painted import read_numbers, write_painted

COUNT, SIDE = 40, 48
# Neither scaled nor cropped: the painted numbers stay legible.
PLAIN = View(Sampling("random_in_segment", 5), Preprocess(crop=(SIDE, SIDE), resize_short=SIDE), Augment(max_zoom=1.0))
SMALL = Preprocess(crop=(32, 32), resize_short=36)
VARIED = View(PLAIN.sampling, SMALL, Augment(max_zoom=1.4, flip_probability=0.5))
EVERYTHING = Augment(
    min_zoom=0.95,
    inverse_zoom=True,
    scale_jitter=(0.95, 1.33),
    flip_probability=0.5,
    cutout=0.3,
    colour_jitter=0.8,
    colour_drop=0.1,
)
POLICY = Augment(cutout=0.5, policy=Policy("randaugment", 2, 15))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(7):
        write_painted(folder / f"{number}.mp4", COUNT + number, size=(SIDE, SIDE))
    return [Video(folder / f"{number}.mp4", ("a",)) for number in range(7)]


def clips_of(
    videos: Sequence[Video], view: View = VARIED, seed: int = 0, cache: FrameCache | None = None
) -> TrainingClips:
    return TrainingClips(videos, [index % 3 for index in range(len(videos))], view, seed=seed, cache=cache)


def pixels_of(clips: TrainingClips, epoch: int, index: int) -> torch.Tensor:
    clip = clips[epoch, index]
    assert clip.failure is None
    assert clip.pixels is not None
    return clip.pixels


def test_frames_are_drawn_inside_their_segments(videos: list[Video]) -> None:
    clips, seen = clips_of(videos, PLAIN), set()
    for epoch in range(20):
        numbers = read_numbers(pixels_of(clips, epoch, 0))
        assert [number // 8 for number in numbers] == [0, 1, 2, 3, 4], "five segments of eight frames"
        seen.add(tuple(numbers))
    assert len(seen) > 15, "each epoch draws anew"


def test_a_part_is_cut_like_a_video_of_its_own(videos: list[Video]) -> None:
    """25 frames a second: from 0.4 to 1.2 seconds are the frames 10 to 29."""
    part = Video(videos[0].path, ("a",), start=0.4, end=1.2)
    clips = clips_of([part], PLAIN)
    for epoch in range(10):
        numbers = read_numbers(pixels_of(clips, epoch, 0))
        assert [(number - 10) // 4 for number in numbers] == [0, 1, 2, 3, 4]
    (last,) = {tuple(read_numbers(pixels_of(clips_of([part], PLAIN), 3, 0))) for _ in range(2)}
    assert list(last) == read_numbers(pixels_of(clips, 3, 0))


def test_a_short_video_repeats_frames(videos: list[Video]) -> None:
    two_frames = Video(videos[0].path, ("a",), start=0.4, end=0.48)
    numbers = read_numbers(pixels_of(clips_of([two_frames], PLAIN), 0, 0))
    assert len(numbers) == 5
    assert set(numbers) == {10, 11}


def test_a_clip_begins_anywhere(videos: list[Video]) -> None:
    """Of 40 frames at 25 a second, 5 that are 4 apart fit from 0 to 23."""
    sampling = Sampling("clip", 5, stride=4, stride_fps=25.0)
    clips, seen = clips_of(videos, replace(PLAIN, sampling=sampling)), set()
    for epoch in range(25):
        numbers = read_numbers(pixels_of(clips, epoch, 0))
        assert numbers == list(range(numbers[0], numbers[0] + 20, 4))
        assert 0 <= numbers[0] <= 23
        seen.add(numbers[0])
    assert len(seen) > 10


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling("clip", 5, stride=4, stride_fps=25.0), [10, 14, 18, 22, 26]),
        (Sampling("clip_linspace", 5, stride=4, stride_fps=25.0), [10, 14, 19, 24, 29]),
        (Sampling("segment_middle", 5), [4, 12, 19, 27, 35]),  # borders 0, 8, 16, 23, 31, 39
        (Sampling("uniform", 5), [4, 12, 20, 28, 36]),
    ],
)
def test_without_chance_training_sees_what_evaluation_sees(
    videos: list[Video], sampling: Sampling, expected: list[int]
) -> None:
    clips = clips_of(videos, replace(PLAIN, sampling=sampling, random_frames=False))
    for epoch in range(3):
        assert read_numbers(pixels_of(clips, epoch, 0)) == expected
    assert read_numbers(load_frames(videos[0].path, sampling).pixels) == expected


@pytest.mark.parametrize("augment", [VARIED.augment, EVERYTHING, POLICY])
def test_the_key_says_it_all(videos: list[Video], augment: Augment) -> None:
    view = replace(VARIED, augment=augment)
    first, again, other_seed = clips_of(videos, view), clips_of(videos, view), clips_of(videos, view, seed=1)
    views = {}
    for epoch in range(3):
        for index in (5, 0, 3):
            seen = pixels_of(first, epoch, index)
            random.seed(99)
            torch.manual_seed(99)
            assert seen.dtype == torch.uint8
            assert seen.shape == (5, 3, 32, 32)
            assert torch.equal(seen, pixels_of(again, epoch, index))
            assert not torch.equal(seen, pixels_of(other_seed, epoch, index))
            views[epoch, index] = seen
    keys = list(views)
    assert not any(torch.equal(views[a], views[b]) for a in keys for b in keys if a < b)


@pytest.mark.parametrize("augment", [EVERYTHING, POLICY])
def test_a_worker_draws_the_same(videos: list[Video], augment: Augment) -> None:
    """In this process after other work, and in two others that started afresh: the same batches."""
    clips = clips_of(videos, replace(VARIED, augment=augment))
    here = list(load_batches(clips, epoch=1, batch_size=2, workers=0))
    there = list(load_batches(clips, epoch=1, batch_size=2, workers=2))
    assert [batch.indices for batch in here] == [batch.indices for batch in there]
    assert all(torch.equal(a.clips, b.clips) for a, b in zip(here, there, strict=True))
    state = torch.get_rng_state()
    list(load_batches(clips, epoch=2, batch_size=2, workers=0))
    assert torch.equal(torch.get_rng_state(), state), "nobody else's numbers move"


def test_a_mirrored_clip_gets_the_label_of_its_mirror_image(videos: list[Video]) -> None:
    """Of the classes 0, 1 and 2 the first two are each other's mirror images, the third must not be mirrored."""
    view = replace(PLAIN, augment=Augment(max_zoom=1.0, flip_probability=0.5), mirrored=(1, 0, None))
    clips, seen = clips_of(videos, view), set()
    for epoch in range(12):
        for index in range(3):
            clip = clips[epoch, index]
            mirrored = -1 in read_numbers(pixels_of(clips, epoch, index))  # illegible
            seen.add((index, mirrored, clip.request.label))
            assert clip.request.index == index
    assert seen == {(0, False, 0), (0, True, 1), (1, False, 1), (1, True, 0), (2, False, 2)}
    (batch,) = load_batches(clips, epoch=3, batch_size=7, workers=0)
    assert batch.labels.tolist() == [clips[3, index].request.label for index in batch.indices]
    kept = clips_of(videos, replace(view, mirrored=()))
    assert {kept[epoch, 2].request.label for epoch in range(12)} == {2}


def test_a_request_holds_all_that_a_process_needs_and_no_more(videos: list[Video]) -> None:
    many = clips_of(videos * 1000)
    request = many.request(2, 6999)
    assert (request.epoch, request.index, request.label, request.video) == (2, 6999, 6999 % 3, videos[-1])
    assert len(pickle.dumps(request)) < 1000


def test_what_a_clip_cost(videos: list[Video]) -> None:
    clip = clips_of(videos)[0, 3]
    assert clip.decode_seconds > 0
    assert clip.bytes_read > 0
    assert clip.packets_decoded >= 5
    cached = clips_of(videos, cache=FrameCache(videos, 64, workers=1, progress=False))[0, 3]
    assert (cached.decode_seconds, cached.bytes_read, cached.packets_decoded) == (0.0, 0, 0)


def test_unreadable_videos_are_told_with_their_part(videos: list[Video], tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    clips = clips_of([videos[0], Video(bad, ("a",), start=1.0), Video(videos[0].path, ("a",), start=99.0)])
    clip = clips[0, 1]
    assert clip.pixels is None
    assert clip.failure is not None
    assert (clip.failure.path, clip.failure.start, clip.failure.end) == (str(bad), 1.0, None)
    beyond = clips[0, 2].failure
    assert beyond is not None
    assert "lies beyond its end" in beyond.reason


def test_wrong_parts_and_options_are_no_bad_videos(videos: list[Video]) -> None:
    with pytest.raises(UsageError, match=r"expected 0 <= start < end"):
        clips_of([Video(videos[0].path, ("a",), start=2.0, end=1.0)])[0, 0]


def test_limits_are_kept(videos: list[Video]) -> None:
    strict = replace(PLAIN, decode=DecodeOptions(limits=Limits(max_pixels=SIDE * SIDE - 1)))
    failure = clips_of(videos, strict)[0, 0].failure
    assert isinstance(failure, Failure)
    assert str(SIDE) in failure.reason
