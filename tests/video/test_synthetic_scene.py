"""Scenes: every action does what its name says, and nothing else in a scene knows the direction of time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fewframes.video.synthetic_paint import Scene, Track
from fewframes.video.synthetic_scene import ACTION_PAIRS, ACTIONS, draw_scene

SEEDS = range(25)


def tracks(action: str, seed: int) -> list[Track]:
    return [track for _, track in draw_scene(action, seed).objects]


def never_falls(values: NDArray[np.float64], slack: float = 0.0) -> bool:
    return bool(np.all(np.diff(values) >= -slack))


def test_every_pair_has_a_scene() -> None:
    assert [forward for forward, _ in ACTION_PAIRS] == list(ACTIONS)


@pytest.mark.parametrize("seed", SEEDS)
def test_move_right_and_rise_cross_half_the_frame_on_one_axis(seed: int) -> None:
    (right,) = tracks("move_right", seed)
    (up,) = tracks("rise", seed)
    # The same seed draws the same journey, along the other axis; y points down.
    np.testing.assert_array_equal(right.x, -up.y)
    np.testing.assert_array_equal(right.y, up.x)
    assert never_falls(right.x)
    assert -0.36 <= right.x[0] <= -0.24
    assert 0.24 <= right.x[-1] <= 0.36
    assert np.ptp(right.y) <= 0.16 + 0.04
    assert 0.28 <= 2 * right.radius[0] <= 0.44


@pytest.mark.parametrize("seed", SEEDS)
def test_approach_grows_in_place(seed: int) -> None:
    (track,) = tracks("approach", seed)
    assert never_falls(track.radius)
    assert track.radius[-1] > 3 * track.radius[0]
    assert max(np.abs(track.x).max(), np.abs(track.y).max()) <= 0.13


@pytest.mark.parametrize("seed", SEEDS)
def test_meet_ends_with_two_objects_in_touch(seed: int) -> None:
    one, other = tracks("meet", seed)
    distance = np.hypot(one.x - other.x, one.y - other.y)
    assert never_falls(-distance, slack=1e-12)
    assert distance[0] >= 0.68 - 1e-12
    assert distance[-1] <= 2 * one.radius[0] + 1e-12
    assert np.all(one.radius == other.radius[0])


@pytest.mark.parametrize("seed", SEEDS)
def test_appear_open_clockwise_and_assemble(seed: int) -> None:
    (appearing,) = tracks("appear", seed)
    assert never_falls(appearing.opacity)
    assert (appearing.opacity[0], appearing.opacity[-1]) == (0, 1)
    ((jaws, opening),) = draw_scene("open", seed).objects
    assert jaws.shape == "jaws"
    assert never_falls(opening.aperture)
    assert opening.aperture[0] <= 0.1
    assert 1.1 <= opening.aperture[-1] <= 1.5
    (orbiting,) = tracks("clockwise", seed)
    # The path's own middle is within 0.07 of the frame's and the orbit is 0.26 to 0.32 wide.
    turn = np.unwrap(np.arctan2(orbiting.y, orbiting.x))
    assert np.deg2rad(150) < turn[-1] - turn[0] < np.deg2rad(320)
    pieces = tracks("assemble", seed)
    assert 4 <= len(pieces) <= 6
    x, y = np.stack([piece.x for piece in pieces]), np.stack([piece.y for piece in pieces])
    spread = np.hypot(x - x.mean(axis=0), y - y.mean(axis=0)).mean(axis=0)
    assert never_falls(-spread, slack=1e-12)
    assert spread[0] > 2.5 * spread[-1]


def test_the_surroundings_come_from_the_seed_whatever_the_action() -> None:
    one, *others = (draw_scene(action, 3) for action in ACTIONS)
    for other in others:
        assert (one.height, one.width, one.fps) == (other.height, other.width, other.fps)
        for name in ("background", "offsets", "gains", "noise", "noise_offsets"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_objects_are_brighter_and_more_vivid_than_the_background() -> None:
    for seed in SEEDS:
        scene = draw_scene("move_right", seed)
        assert scene.background.max() <= 0.5 * 255
        assert np.ptp(scene.background.astype(int), axis=2).max() <= 0.4 * 0.5 * 255 + 1
        ((sprite, _),) = scene.objects
        assert np.all(sprite.colours.max(axis=1) >= 0.9 * 255 - 1)


def test_the_frame_never_leaves_its_background_or_noise() -> None:
    for seed in range(200):
        scene = draw_scene("appear", seed)
        assert scene.background.shape == (scene.height + 48, scene.width + 48, 3)
        assert scene.background.flags.c_contiguous
        assert scene.offsets.min() >= 0
        assert scene.offsets.max() <= 48
        assert scene.noise_offsets.min() >= 0
        assert scene.noise_offsets.max() <= 16
        assert np.abs(scene.noise).max() <= 3


def one_way(scene: Scene) -> list[float]:
    """Numbers that change sign when the scene is played backwards and nothing but the action's direction is flipped."""
    ((_, track),) = scene.objects
    num_frames = len(track.x)
    progress = (track.x - track.x[0]) / (track.x[-1] - track.x[0])
    sideways = np.diff(scene.offsets, axis=0).mean(axis=0)
    spin = track.angle[-1] - track.angle[0]
    # Progress of the reversed clip, counted in its own direction, is 1 - progress[::-1].
    ahead = float(np.mean(progress - (1 - progress[::-1])))
    brighter = float(scene.gains[num_frames // 2 :].mean() - scene.gains[: (num_frames + 1) // 2].mean())
    return [sideways[0], sideways[1], spin, ahead, brighter, track.y[-1] - track.y[0]]


def test_nothing_but_the_action_knows_the_direction_of_time() -> None:
    samples = np.array([one_way(draw_scene("move_right", (5, seed))) for seed in range(600)])
    standard_errors = samples.mean(axis=0) / (samples.std(axis=0) / np.sqrt(len(samples)))
    # Six means of 600 fixed draws each; a bias of a fifth of a standard deviation would show as 5.
    assert np.abs(standard_errors).max() < 3.5
