"""Painting: areas and places counted by hand on black canvases, blending, and the limits of 8-bit arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fewframes.video.synthetic_paint import Scene, Sprite, Track, paint, render_scene
from fewframes.video.synthetic_scene import draw_scene

WHITE = np.full((2, 3), 255, np.float32)


def still(**values: float) -> Track:
    given = {"x": 0.0, "y": 0.0, "radius": 0.25, "angle": 0.0, "opacity": 1.0, "aperture": 0.0, **values}
    return Track(**{name: np.array([value]) for name, value in given.items()})


def painted(shape: str, height: int = 101, width: int = 131, **values: float) -> NDArray[np.float64]:
    """Coverage (height, width), 0 to 1, of one white object on black."""
    canvas = np.zeros((height, width, 3), np.uint8)
    paint(canvas, Sprite(shape, "plain", WHITE, 5.0), still(**values), 0)
    assert np.array_equal(canvas[..., 0], canvas[..., 1])
    assert np.array_equal(canvas[..., 0], canvas[..., 2])
    return canvas[..., 0] / 255


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("disc", np.pi),
        # Half a side is 0.86.
        ("square", 4 * 0.86**2),
        # |u| + |v| <= 1.1
        ("diamond", 2 * 1.1**2),
        # Equilateral with an inscribed circle of 0.58: 3 sqrt(3) r^2.
        ("triangle", 3 * np.sqrt(3) * 0.58**2),
        # Two bars of 2 by 0.84, less the middle that they share.
        ("cross", 2 * 2 * 0.84 - 0.84**2),
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_shapes_have_their_area_and_centre(shape: str, area: float, angle: float) -> None:
    # A quarter of the short side, 101 pixels, is a radius of 25.25.
    coverage = painted(shape, angle=angle, x=0.1, y=-0.2)
    assert coverage.sum() == pytest.approx(area * 25.25**2, rel=0.01)
    row, column = np.argwhere(coverage > 0.5).mean(axis=0)
    # The middle is at (50, 65); 0.1 and -0.2 short sides are 10.1 and -20.2 pixels.
    assert column == pytest.approx(75.1, abs=0.3)
    assert row == pytest.approx(29.8, abs=0.3)


@pytest.mark.parametrize(
    ("aperture", "share"), [(0.0, 1), (np.pi / 4, 3 / 4), (np.pi / 2, 1 / 2), (2.0, 1 - 2 / np.pi)]
)
def test_jaws_lose_the_share_of_their_mouth_on_their_right(aperture: float, share: float) -> None:
    coverage = painted("jaws", aperture=aperture)
    assert coverage.sum() == pytest.approx(share * np.pi * 25.25**2, rel=0.02)
    if aperture:
        assert coverage[50, 75] == 0
        assert coverage[50, 55] == 1
        # Turned by a quarter, clockwise on the screen, the mouth looks down.
        turned = painted("jaws", aperture=aperture, angle=np.pi / 2)
        assert turned[60, 65] == 0
        assert turned[40, 65] == 1


def test_opacity_blends_with_what_is_below() -> None:
    canvas = np.full((60, 60, 3), 100, np.uint8)
    paint(canvas, Sprite("disc", "plain", np.float32([[200, 100, 0], [0, 0, 0]]), 5.0), still(opacity=0.25), 0)
    # A quarter of the way from 100 to 200, 100 and 0.
    assert canvas[30, 30].tolist() == [125, 100, 75]
    assert canvas[0, 0].tolist() == [100, 100, 100]


def test_objects_outside_or_invisible_paint_nothing_and_may_hang_over_the_edge() -> None:
    assert painted("disc", x=3.0).sum() == 0
    assert painted("disc", y=-2.0).sum() == 0
    assert painted("disc", opacity=0.0).sum() == 0
    half = painted("disc", height=100, width=100, x=-0.5 + 0.005)
    assert half.sum() == pytest.approx(np.pi * 25**2 / 2, rel=0.03)
    assert half[:, 30:].sum() == 0


@pytest.mark.parametrize("pattern", ["stripes", "checks", "rings"])
def test_patterns_show_both_colours_and_turn_with_the_object(pattern: str) -> None:
    sprite = Sprite("disc", pattern, np.float32([[255, 0, 0], [0, 0, 255]]), 6.0)
    canvas, turned = np.zeros((2, 81, 81, 3), np.uint8)
    paint(canvas, sprite, still(radius=0.4), 0)
    paint(turned, sprite, still(radius=0.4, angle=np.pi / 2), 0)
    assert (canvas[..., 0] > 250).mean() > 0.1
    assert (canvas[..., 2] > 250).mean() > 0.1
    # A quarter turn clockwise on the screen moves what was on the right to the bottom.
    assert np.abs(np.rot90(canvas, -1).astype(int) - turned).max() <= 2


def bare(scene: Scene) -> Scene:
    """The same objects on black, evenly lit, without noise."""
    return replace(
        scene,
        background=np.zeros_like(scene.background),
        gains=np.ones_like(scene.gains),
        noise=np.zeros_like(scene.noise),
    )


@pytest.mark.parametrize("action", ["move_right", "rise", "approach", "clockwise"])
def test_frames_show_the_object_where_its_track_says(action: str) -> None:
    scene = bare(draw_scene(action, 21))
    ((_, track),) = scene.objects
    frames = render_scene(scene)
    assert frames.shape == (len(track.x), scene.height, scene.width, 3)
    side = min(scene.height, scene.width)
    for index, frame in enumerate(frames):
        row, column = np.argwhere(frame.max(axis=2) > 100).mean(axis=0)
        assert column == pytest.approx((scene.width - 1) / 2 + track.x[index] * side, abs=1.5)
        assert row == pytest.approx((scene.height - 1) / 2 + track.y[index] * side, abs=1.5)


def test_frames_are_background_times_light_plus_noise() -> None:
    scene = draw_scene("appear", 4)
    scene = replace(scene, objects=(), gains=np.full_like(scene.gains, 1.5))
    frames = render_scene(scene).astype(int)
    for index in (0, len(frames) - 1):
        (top, left), (down, right) = scene.offsets[index], scene.noise_offsets[index]
        below = scene.background[top : top + scene.height, left : left + scene.width].astype(int)
        noise = scene.noise[down : down + scene.height, right : right + scene.width]
        np.testing.assert_array_equal(frames[index], np.clip(below * 3 // 2, 8, 247) + noise)


@pytest.mark.parametrize("level", [0, 255])
def test_noise_cannot_wrap_around(level: int) -> None:
    scene = draw_scene("appear", 4)
    noise = np.random.default_rng(0).integers(-8, 9, scene.noise.shape, dtype=np.int8)
    scene = replace(scene, objects=(), background=np.full_like(scene.background, level), noise=noise)
    assert np.ptp(render_scene(scene).astype(int)) <= 60
