"""One view for all frames of a clip: read off a picture whose pixels say where they stand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import fewframes.video.augment as augment
from fewframes.errors import UsageError
from fewframes.records import Interpolation, Preprocess
from fewframes.video.augment import Augment, base_size, check_augment, random_view
from fewframes.video.augment_colour import drop_colour
from fewframes.video.augment_policy import Policy
from fewframes.video.transforms import resize_and_crop, resize_short_side

HEIGHT, WIDTH = 29, 41
SPEC = Preprocess(crop=(17, 23), resize_short=HEIGHT)
UNZOOMED = Augment(max_zoom=1.0)
EVERYTHING = Augment(
    min_zoom=0.9,
    max_zoom=1.3,
    inverse_zoom=True,
    scale_jitter=(0.9, 1.33),
    flip_probability=0.5,
    cutout=0.5,
    colour_jitter=0.8,
    colour_drop=0.1,
)
POLICY = Augment(cutout=0.5, policy=Policy("randaugment", 2, 15))


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
    view = random_view(pixels, SPEC, random.Random(seed), UNZOOMED).pixels
    left, top = int(view[0, 0, 0, 0]), int(view[0, 1, 0, 0])
    assert torch.equal(view, pixels[:, :, top : top + 17, left : left + 23])
    assert view.is_contiguous()


def test_every_place_is_reached_and_none_outside() -> None:
    pixels, rng = located(1), random.Random(1)
    views = [random_view(pixels, SPEC, rng, UNZOOMED).pixels for _ in range(600)]
    assert {int(view[0, 0, 0, 0]) for view in views} == set(range(WIDTH - 23 + 1))
    assert {int(view[0, 1, 0, 0]) for view in views} == set(range(HEIGHT - 17 + 1))


def test_all_frames_are_zoomed_alike() -> None:
    pixels = located()
    pixels[:, 2] = 0
    view = random_view(pixels, SPEC, random.Random(3), Augment(max_zoom=2.0)).pixels
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
        random_view(pixels, Preprocess(crop=(17, 23), resize_short=resize_short), rng, Augment(max_zoom=1.25))
    assert (min(shorts), max(shorts)) == (lowest, highest)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_view_without_chance_is_what_evaluation_sees(interpolation: Interpolation, antialias: bool) -> None:
    """Same size, same interpolation: only the place of the crop is drawn, and here there is but one."""
    pixels = torch.randint(0, 256, (2, 3, 53, 53), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for short, size in ((None, (17, 17)), (17, None)):
        spec = Preprocess((17, 17), short, resize_to=size, interpolation=interpolation, antialias=antialias)
        view = random_view(pixels, spec, random.Random(0), UNZOOMED).pixels
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
        assert random_view(located(1), spec, rng, Augment(max_zoom=1.5)).pixels.shape == (1, 3, 17, 23)
    assert (min(sizes), max(sizes)) == ((20, 40), (30, 60))
    assert all(abs(width - 2 * height) <= 1 for height, width in sizes)


@pytest.mark.parametrize(("probability", "lowest", "highest"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_mirrored_only_as_often_as_asked(probability: float, lowest: int, highest: int) -> None:
    pixels, rng = located(2), random.Random(5)
    mirrored = 0
    for _ in range(200):
        view = random_view(pixels, SPEC, rng, Augment(max_zoom=1.0, flip_probability=probability))
        steps = view.pixels[:, 0, 0].int().diff(dim=1)
        assert (steps == steps[0, 0]).all(), "one direction in all frames"
        assert view.mirrored == bool(steps[0, 0] < 0)
        mirrored += int(steps[0, 0] < 0)
    assert lowest <= mirrored <= highest


def test_mirrored_by_default_never() -> None:
    rng = random.Random(0)
    views = [random_view(located(1), SPEC, rng, UNZOOMED).pixels for _ in range(100)]
    assert all(view[0, 0, 0, 0] < view[0, 0, 0, -1] for view in views)


@pytest.mark.parametrize("augment", [UNZOOMED, Augment(max_zoom=1.7, flip_probability=0.3), Augment(), EVERYTHING])
def test_always_four_draws(augment: Augment) -> None:
    used, counted = random.Random(7), random.Random(7)
    random_view(located(1), SPEC, used, augment)
    for _ in range(4):
        counted.random()
    assert used.getstate() == counted.getstate()


def test_exact_fit_has_one_place() -> None:
    pixels = located()[:, :, :, :HEIGHT]
    spec = Preprocess(crop=(HEIGHT, HEIGHT), resize_short=HEIGHT)
    assert torch.equal(random_view(pixels, spec, random.Random(0), UNZOOMED).pixels, pixels)


def old_view(pixels: Tensor, spec: Preprocess, seed: int, *, max_zoom: float, flip_probability: float) -> Tensor:
    """The rule by which every network was trained before there were other settings."""
    rng = random.Random(seed)
    zoom, down, right, mirror = 1 + rng.random() * (max_zoom - 1), rng.random(), rng.random(), rng.random()
    pixels = resize_short_side(pixels, round((spec.resize_short or max(spec.crop)) * zoom))
    top = int(down * (pixels.shape[2] - spec.crop[0] + 1))
    left = int(right * (pixels.shape[3] - spec.crop[1] + 1))
    view = pixels[:, :, top : top + spec.crop[0], left : left + spec.crop[1]]
    return view.flip(3) if mirror < flip_probability else view


@given(st.integers(0, 10_000), st.sampled_from([1.0, 1.25, 2.0]), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40)
def test_the_usual_settings_give_the_numbers_that_they_always_gave(seed: int, zoom: float, flip: float) -> None:
    for spec in (SPEC, Preprocess(crop=(17, 23), resize_short=None)):
        new = random_view(located(), spec, random.Random(seed), Augment(max_zoom=zoom, flip_probability=flip))
        assert torch.equal(new.pixels, old_view(located(), spec, seed, max_zoom=zoom, flip_probability=flip))


class Drawn(random.Random):
    """Gives back what it is told to."""

    def __init__(self, *draws: float) -> None:
        super().__init__(0)
        self.draws = iter(draws)

    def random(self) -> float:
        return next(self.draws)


def sizes_of(monkeypatch: pytest.MonkeyPatch, augment_: Augment, *zooms: float) -> list[tuple[int, ...]]:
    """(height, width) that frames of 29 x 41 are resized to, for these first draws."""
    sizes: list[tuple[int, ...]] = []
    for name in ("resize", "resize_short_side"):
        plain = getattr(augment, name)

        def spy(*args: object, plain: Callable[..., Tensor] = plain, **how: object) -> Tensor:
            pixels = plain(*args, **how)
            sizes.append(tuple(pixels.shape[-2:]))
            return pixels

        monkeypatch.setattr(augment, name, spy)
    for zoom in zooms:
        random_view(located(1), SPEC, Drawn(zoom, 0.3, 0.6, 0.9), augment_)
    return sizes


def test_the_size_is_even_or_its_inverse_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """29 times 0.8 to 1.6: half way lies 34.8, but the inverse of the mean of 1/1.6 and 1/0.8 is 1.0667, 30.9."""
    with monkeypatch.context() as patch:
        even = sizes_of(patch, Augment(min_zoom=0.8, max_zoom=1.6), 0.0, 0.5, 1.0)
    with monkeypatch.context() as patch:
        inverse = sizes_of(patch, Augment(min_zoom=0.8, max_zoom=1.6, inverse_zoom=True), 1.0, 0.5, 0.0)
    assert even == [(23, 32), (35, 49), (46, 65)]
    assert inverse == [(23, 32), (31, 43), (46, 65)]


def test_scale_jitter_draws_height_and_width_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between int(0.9 * 29) = 26 and int(1.5 * 29) = 43 rows, 36 and 61 columns; one resize, whatever the settings."""
    augment_ = Augment(max_zoom=1.0, scale_jitter=(0.9, 1.5))
    with monkeypatch.context() as patch:
        sizes = sizes_of(patch, augment_, *(step / 300 for step in range(300)))
    assert len(sizes) == 300
    heights, widths = zip(*sizes, strict=True)
    assert (min(heights), max(heights)) == (26, 43)
    assert (min(widths), max(widths)) == (36, 61)
    ratios = [width / height for height, width in sizes]
    assert min(ratios) < 41 / 29 * 0.75
    assert max(ratios) > 41 / 29 * 1.3


def test_a_fixed_size_is_jittered_too() -> None:
    spec = Preprocess((17, 23), None, resize_to=(20, 40))
    view = random_view(located(2), spec, random.Random(0), Augment(scale_jitter=(0.9, 1.2)))
    assert view.pixels.shape == (2, 3, 17, 23)


@pytest.mark.parametrize("augment_", [EVERYTHING, POLICY])
def test_all_frames_change_alike_and_clips_differ(augment_: Augment) -> None:
    """Equal frames stay equal, and each clip is another one."""
    pixels, seen = located(), []
    pixels[:, 2] = 77
    for seed in range(30):
        view = random_view(pixels, SPEC, random.Random(seed), augment_).pixels
        assert view.dtype == torch.uint8
        assert view.is_contiguous()
        assert all(torch.equal(frame, view[0]) for frame in view)
        assert torch.equal(view, random_view(pixels, SPEC, random.Random(seed), augment_).pixels), "the same again"
        seen.append(view)
    assert not any(torch.equal(a, b) for place, a in enumerate(seen) for b in seen[:place])


def test_one_setting_moves_no_other() -> None:
    """With Cutout and without: the same crop outside the box; with a changed colour: the same box."""
    augments = (UNZOOMED, replace(UNZOOMED, cutout=0.4), replace(UNZOOMED, cutout=0.4, colour_drop=1.0))
    plain, cut, grey = (random_view(located(2), SPEC, random.Random(4), each).pixels for each in augments)
    outside = (plain == cut).all(1)
    assert 0.5 < float(outside.float().mean()) < 1
    box = cut[:, :, ~outside[0]]
    assert (box == box[0, :, :1]).all(), "one colour in all frames"
    assert torch.equal(drop_colour(cut), grey)


def test_some_clips_are_never_mirrored() -> None:
    augment_ = Augment(max_zoom=1.0, flip_probability=1.0)
    mirrored = random_view(located(2), SPEC, random.Random(0), augment_)
    kept = random_view(located(2), SPEC, random.Random(0), augment_, may_mirror=False)
    assert (mirrored.mirrored, kept.mirrored) == (True, False)
    assert torch.equal(mirrored.pixels.flip(3), kept.pixels), "and are drawn alike otherwise"


@pytest.mark.parametrize(
    ("spec", "base"),
    [(SPEC, 29), (Preprocess((17, 23), None), 23), (Preprocess((17, 23), None, resize_to=(40, 30)), 30)],
)
def test_what_a_zoom_of_one_is(spec: Preprocess, base: int) -> None:
    assert base_size(spec) == base


STAM = Preprocess((224, 224), 256)


@pytest.mark.parametrize(
    ("spec", "augment_", "message"),
    [
        (STAM, Augment(min_zoom=0.87), r"min_zoom 0\.87 times scale_jitter 1\.0 may make 223 of 256"),
        (STAM, Augment(min_zoom=0.8), r"may make 205 of 256 pixels, less than the crop of 224; .* be 0\.875 at least"),
        (STAM, Augment(scale_jitter=(0.87, 1.0)), r"min_zoom 1\.0 times scale_jitter 0\.87 may make 222 of 256"),
        (Preprocess((17, 23), None), Augment(min_zoom=0.9), "may make 21 of 23 pixels, less than the crop of 23"),
        (Preprocess((17, 23), None, resize_to=(17, 30)), Augment(min_zoom=0.9), "may make 15 of 17 pixels"),
        (STAM, Augment(min_zoom=1.3), r"min_zoom is 1\.3 and max_zoom 1\.25; expected 0 < min_zoom <= max_zoom"),
        (STAM, Augment(min_zoom=0.0), r"min_zoom is 0\.0"),
        (STAM, Augment(scale_jitter=(1.2, 1.0)), r"scale_jitter is \(1\.2, 1\.0\); expected a lower and an upper"),
        (STAM, Augment(policy=Policy("autoaugment"), colour_drop=0.1), "'autoaugment' changes colours itself"),
    ],
)
def test_what_cannot_be(spec: Preprocess, augment_: Augment, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_augment(augment_, spec)
    with pytest.raises(UsageError, match=message):
        random_view(located(1), spec, random.Random(0), augment_)


def test_published_ranges_fit() -> None:
    check_augment(Augment(max_zoom=1.0, scale_jitter=(0.9, 1.33)), STAM)  # ViViT
    check_augment(Augment(min_zoom=0.875), STAM)
    check_augment(Augment(min_zoom=448 / 224, max_zoom=512 / 224), Preprocess((448, 448), 448))
