"""One view for all frames of a clip: read off a picture whose pixels say where they stand."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import fewframes.video.augment as augment
from fewframes.records import Interpolation, Preprocess
from fewframes.video.augment import random_view
from fewframes.video.transforms import resize_and_crop

HEIGHT, WIDTH = 29, 41
SPEC = Preprocess(crop=(17, 23), resize_short=HEIGHT)


def located(frames: int = 5) -> Tensor:
    """(T, 3, 29, 41) uint8: red is the column, green the row, blue the frame."""
    pixels = torch.empty(frames, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    pixels[:, 0] = torch.arange(WIDTH, dtype=torch.uint8)
    pixels[:, 1] = torch.arange(HEIGHT, dtype=torch.uint8)[:, None]
    pixels[:, 2] = torch.arange(frames, dtype=torch.uint8)[:, None, None]
    return pixels


@given(st.integers(0, 10_000))
def test_one_whole_window_for_all_frames(seed: int) -> None:
    pixels = located()
    view = random_view(pixels, SPEC, random.Random(seed), max_zoom=1.0)
    left, top = int(view[0, 0, 0, 0]), int(view[0, 1, 0, 0])
    assert torch.equal(view, pixels[:, :, top : top + 17, left : left + 23])
    assert view.is_contiguous()


def test_every_place_is_reached_and_none_outside() -> None:
    pixels, rng = located(1), random.Random(1)
    views = [random_view(pixels, SPEC, rng, max_zoom=1.0) for _ in range(600)]
    assert {int(view[0, 0, 0, 0]) for view in views} == set(range(WIDTH - 23 + 1))
    assert {int(view[0, 1, 0, 0]) for view in views} == set(range(HEIGHT - 17 + 1))


def test_all_frames_are_zoomed_alike() -> None:
    pixels = located()
    pixels[:, 2] = 0
    view = random_view(pixels, SPEC, random.Random(3), max_zoom=2.0)
    assert view.shape == (5, 3, 17, 23)
    assert all(torch.equal(frame, view[0]) for frame in view)
    assert int(view[0, 0].max() - view[0, 0].min()) < 22, "zoomed in, fewer columns are seen"


@pytest.mark.parametrize(("resize_short", "lowest", "highest"), [(29, 29, 36), (None, 23, 29)])
def test_zoom_range(monkeypatch: pytest.MonkeyPatch, resize_short: int | None, lowest: int, highest: int) -> None:
    shorts = []
    resize = augment.resize_short_side

    def spy(pixels: Tensor, short: int, **how: object) -> Tensor:
        shorts.append(short)
        return resize(pixels, short, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(augment, "resize_short_side", spy)
    pixels, rng = located(1), random.Random(0)
    for _ in range(300):
        random_view(pixels, Preprocess(crop=(17, 23), resize_short=resize_short), rng, max_zoom=1.25)
    assert (min(shorts), max(shorts)) == (lowest, highest)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_view_without_chance_is_what_evaluation_sees(interpolation: Interpolation, antialias: bool) -> None:
    """Same size, same interpolation: only the place of the crop is drawn, and here there is but one."""
    pixels = torch.randint(0, 256, (2, 3, 53, 53), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for short, size in ((None, (17, 17)), (17, None)):
        spec = Preprocess((17, 17), short, resize_to=size, interpolation=interpolation, antialias=antialias)
        view = random_view(pixels, spec, random.Random(0), max_zoom=1.0)
        assert torch.equal(view, resize_and_crop(pixels, spec))


def test_a_fixed_size_is_zoomed_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = augment.resize

    def spy(pixels: Tensor, size: tuple[int, int], **how: object) -> Tensor:
        sizes.append(size)
        return resize(pixels, size, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(augment, "resize", spy)
    spec, rng = Preprocess((17, 23), None, resize_to=(20, 40)), random.Random(0)
    for _ in range(300):
        assert random_view(located(1), spec, rng, max_zoom=1.5).shape == (1, 3, 17, 23)
    assert (min(sizes), max(sizes)) == ((20, 40), (30, 60))
    assert all(abs(width - 2 * height) <= 1 for height, width in sizes)


@pytest.mark.parametrize(("probability", "lowest", "highest"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_mirrored_only_as_often_as_asked(probability: float, lowest: int, highest: int) -> None:
    pixels, rng = located(2), random.Random(5)
    mirrored = 0
    for _ in range(200):
        columns = random_view(pixels, SPEC, rng, max_zoom=1.0, flip_probability=probability)[:, 0, 0].int()
        steps = columns.diff(dim=1)
        assert (steps == steps[0, 0]).all(), "one direction in all frames"
        mirrored += int(steps[0, 0] < 0)
    assert lowest <= mirrored <= highest


def test_mirrored_by_default_never() -> None:
    rng = random.Random(0)
    views = [random_view(located(1), SPEC, rng, max_zoom=1.0) for _ in range(100)]
    assert all(view[0, 0, 0, 0] < view[0, 0, 0, -1] for view in views)


@pytest.mark.parametrize("settings", [{"max_zoom": 1.0}, {"max_zoom": 1.7, "flip_probability": 0.3}, {}])
def test_always_four_draws(settings: dict[str, float]) -> None:
    used, counted = random.Random(7), random.Random(7)
    random_view(located(1), SPEC, used, **settings)
    for _ in range(4):
        counted.random()
    assert used.getstate() == counted.getstate()


def test_exact_fit_has_one_place() -> None:
    pixels = located()[:, :, :, :HEIGHT]
    spec = Preprocess(crop=(HEIGHT, HEIGHT), resize_short=HEIGHT)
    assert torch.equal(random_view(pixels, spec, random.Random(0), max_zoom=1.0), pixels)
