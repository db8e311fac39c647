"""The one way from a file to a model's input, on videos whose frames say their number."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from fewframes.errors import UnreadableVideo, UsageError
from fewframes.records import Preprocess, Sampling
from fewframes.video.clip import load_clip, load_frames
from fewframes.video.sampling import random_in_segment_indices, uniform_indices
from fewframes.video.transforms import preprocess
from tests.helpers.painted import read_numbers, write_painted

COUNT = 37


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "painted clip, 1.mp4"
    write_painted(path, COUNT)
    return path


def test_just_the_chosen_frames(painted: Path) -> None:
    frames = load_frames(painted, Sampling("uniform", 5))
    assert tuple(read_numbers(frames.pixels)) == frames.indices == uniform_indices(COUNT, 5) == (3, 11, 18, 25, 33)
    assert frames.seconds.tolist() == pytest.approx([index / 25 for index in frames.indices])


def test_random_frames_follow_from_the_generator(painted: Path) -> None:
    sampling = Sampling("random_in_segment", 4)
    frames = load_frames(painted, sampling, random.Random(11))
    assert tuple(read_numbers(frames.pixels)) == random_in_segment_indices(COUNT, 4, random.Random(11))
    with pytest.raises(UsageError, match="got no rng"):
        load_frames(painted, sampling)


def test_official_frames_of_short_videos_are_refused(painted: Path) -> None:
    with pytest.raises(UsageError, match="37 frames at 25 per second, but sampling rule 'official' needs"):
        load_frames(painted, Sampling("official", 16, frames_per_second=1.6))


@pytest.mark.parametrize("kind", [str, Path, Path.read_bytes, lambda path: path.open("rb")])
def test_any_source_gives_the_same_clip(painted: Path, kind: object) -> None:
    spec = Preprocess(crop=(24, 24), resize_short=27, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    assert callable(kind)
    source = kind(painted)
    clip, frames = load_clip(source, Sampling("uniform", 3), spec)
    if hasattr(source, "close"):
        source.close()
    assert clip.shape == (3, 3, 24, 24)
    assert clip.dtype == torch.float32
    assert torch.equal(clip, preprocess(load_frames(painted, Sampling("uniform", 3)).pixels, spec))
    assert frames.indices == (6, 18, 30)


def test_no_video(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="no such file"):
        load_clip(tmp_path / "absent.mp4", Sampling("uniform", 3), Preprocess(crop=(8, 8), resize_short=None))


def test_a_part_is_sampled_as_if_it_were_the_whole(painted: Path) -> None:
    # Frames 10 to 29 begin in [0.4, 1.2) seconds.
    frames = load_frames(painted, Sampling("uniform", 4), start=0.4, end=1.2)
    assert frames.indices == tuple(10 + index for index in uniform_indices(20, 4)) == (12, 17, 22, 27)
    assert frames.seconds.tolist() == pytest.approx([index / 25 for index in frames.indices])
    assert load_frames(painted, Sampling("uniform", 2), start=1.4).indices == (35, 36)
    assert load_frames(painted, Sampling("uniform", 3), end=0.04).indices == (0, 0, 0)
    drawn = load_frames(painted, Sampling("random_in_segment", 4), random.Random(3), start=0.4, end=1.2)
    assert drawn.indices == tuple(10 + index for index in random_in_segment_indices(20, 4, random.Random(3)))
    spec = Preprocess(crop=(24, 24), resize_short=27)
    assert torch.equal(
        load_clip(painted, Sampling("uniform", 4), spec, start=0.4, end=1.2)[0], preprocess(frames.pixels, spec)
    )


def test_the_official_rule_counts_from_the_start_of_the_part(painted: Path) -> None:
    rule = Sampling("official", 3, frames_per_second=5.0)
    whole = load_frames(painted, rule).indices
    assert load_frames(painted, rule, start=0.4).indices == tuple(10 + index for index in whole)


def test_a_part_beyond_the_end_is_named(painted: Path) -> None:
    with pytest.raises(
        UnreadableVideo, match=r"painted clip, 1\.mp4: the part from 9 s on lies beyond its end, 1\.48 s"
    ):
        load_clip(painted, Sampling("uniform", 4), Preprocess(crop=(24, 24), resize_short=27), start=9.0)
