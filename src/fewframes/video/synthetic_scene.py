"""From a seed to the scene of one synthetic action: an action's name and integers in, objects and background out.

A scene is drawn in the forward direction only; the backward member of a pair is the same clip played from
its end, so whatever a frame shows, both members show it equally often. Everything that is not the action (drift
of the background, light, speed profile, noise, format) is drawn so that its time reversal is just as likely.
Positions and sizes are in short sides of the frame; see `fewframes.video.synthetic_paint`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fewframes.video.synthetic_paint import PATTERNS, SHAPES, Floats, Pixels, Scene, Sprite, Track, paint

__all__ = ["ACTION_PAIRS", "draw_scene"]

ACTION_PAIRS: tuple[tuple[str, str], ...] = (
    ("move_right", "move_left"),
    ("rise", "fall"),
    ("approach", "recede"),
    ("meet", "part"),
    ("appear", "vanish"),
    ("open", "close"),
    ("clockwise", "anticlockwise"),
    ("assemble", "scatter"),
)

FRAME_RATES = tuple(Fraction(rate) for rate in (12, 15, 24, 25, Fraction(30000, 1001), 30))
ASPECTS = (1.0, 1.0, 4 / 3, 3 / 4, 3 / 2, 2 / 3, 16 / 9, 9 / 16)
# The background is painted this much larger than the frame on every side; drift and shake never leave it.
MARGIN_PIXELS = 24


def draw_scene(action: str, seed: int | Sequence[int]) -> Scene:
    """Draw the scene of a pair's forward action.

    Size, frame rate, length, background, light and noise come from the seed alone, whatever the action.

    Args:
        action: the first name of one of `ACTION_PAIRS`.
        seed: integers >= 0.
    """
    form, surroundings, actors = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    short_side = 2 * int(form.integers(40, 65))
    aspect = ASPECTS[form.integers(len(ASPECTS))]
    long_side = 2 * round(short_side * max(aspect, 1 / aspect) / 2)
    height, width = (short_side, long_side) if aspect >= 1 else (long_side, short_side)
    fps = FRAME_RATES[form.integers(len(FRAME_RATES))]
    # 1.5 to 4 seconds, and 20 to 48 frames so that no video takes much longer to make than another.
    shortest, longest = max(20, int(np.ceil(1.5 * fps))), min(48, int(4 * fps))
    num_frames = int(form.integers(shortest, longest + 1))
    amplitude = int(surroundings.integers(0, 4))
    noise = surroundings.integers(-amplitude, amplitude + 1, (height + 16, width + 16, 1), dtype=np.int8)
    return Scene(
        height=height,
        width=width,
        fps=fps,
        objects=tuple(ACTIONS[action](actors, _progress(actors, num_frames))),
        background=_background(surroundings, height + 2 * MARGIN_PIXELS, width + 2 * MARGIN_PIXELS),
        offsets=_drift(surroundings, num_frames),
        gains=1 + surroundings.uniform(0, 0.12) * _wave(surroundings, num_frames, 3),
        noise=np.repeat(noise, 3, axis=2),
        noise_offsets=surroundings.integers(0, 17, (num_frames, 2)),
    )


def _rgb(hue: float, saturation: float, value: float) -> NDArray[np.float32]:
    """(3,) float32 RGB, 0 to 255, from hue (a full turn is 1), saturation and value."""
    channel: Floats = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (255 * value * (1 - saturation * (1 - channel))).astype(np.float32)


def _sprite(rng: np.random.Generator, shape: str | None = None) -> Sprite:
    """A vivid object: two saturated colours, or one and white; always brighter than the background."""
    hue = rng.random()
    first = _rgb(hue, rng.uniform(0.75, 1), rng.uniform(0.9, 1))
    second = _rgb(hue + rng.uniform(0.15, 0.85), rng.uniform(0.75, 1), 1) if rng.random() < 0.6 else _rgb(0, 0, 0.95)
    return Sprite(
        shape=shape or SHAPES[rng.integers(len(SHAPES))],
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        colours=np.stack([first, second]),
        frequency=rng.uniform(4, 8),
    )


def _wave(rng: np.random.Generator, num_frames: int, most_turns: float) -> Floats:
    """(T,) a sine of random phase: as likely as its own time reversal."""
    turns, phase = rng.uniform(0.3, most_turns), rng.random()
    wave: Floats = np.sin(2 * np.pi * (turns * np.linspace(0, 1, num_frames) + phase))
    return wave


def _drift(rng: np.random.Generator, num_frames: int) -> NDArray[np.int64]:
    """(T, 2) top and left of the frame within the background: a steady drift in any direction, and a slight shake."""
    heading, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0, 40)
    steady = np.linspace(-0.5, 0.5, num_frames)[:, None] * distance * np.array([np.sin(heading), np.cos(heading)])
    shake = np.stack([_wave(rng, num_frames, 4), _wave(rng, num_frames, 4)], axis=1)
    offsets: Floats = np.rint(MARGIN_PIXELS + steady + shake * rng.uniform(0, 3))
    return offsets.astype(np.int64)


def _value_noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """(height, width, 1) float32, 0 to 1: random levels on a coarse grid, interpolated."""
    cell = rng.uniform(8, 36)
    rows, columns = np.arange(height, dtype=np.float32) / cell, np.arange(width, dtype=np.float32) / cell
    low = rng.random((int(rows[-1]) + 2, int(columns[-1]) + 2), dtype=np.float32)
    row, column = rows.astype(np.int64), columns.astype(np.int64)
    tall = low[row] + (low[row + 1] - low[row]) * (rows - row).astype(np.float32)[:, None]
    full: NDArray[np.float32] = tall[:, column]
    full += (tall[:, column + 1] - full) * (columns - column).astype(np.float32)
    return full[..., None]


def _background(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """(height, width, 3) uint8: dull blotches or bands with dull shapes strewn over them."""

    def dull() -> NDArray[np.float32]:
        return _rgb(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.1, 0.5))

    first, second, third = dull(), dull(), dull()
    blotches = _value_noise(rng, height, width)
    if rng.random() < 0.5:
        overlay = _value_noise(rng, height, width)
    else:
        heading, frequency = rng.uniform(0, np.pi), rng.uniform(0.1, 0.5)
        down = (np.arange(height) * frequency * np.sin(heading)).astype(np.float32)[:, None, None]
        overlay = 0.5 + 0.5 * np.sin(
            down + (np.arange(width) * frequency * np.cos(heading)).astype(np.float32)[:, None]
        )
    ground = first + blotches * (second - first)
    ground += (overlay * np.float32(rng.uniform(0.2, 0.6))) * (third - ground)
    # Indexing by columns left the pixels in another order in memory; rows first makes every later copy 20 times faster.
    canvas = ground.astype(np.uint8, order="C")
    for _ in range(rng.integers(6, 15)):
        shape, pattern = SHAPES[rng.integers(len(SHAPES))], PATTERNS[rng.integers(len(PATTERNS))]
        sprite = Sprite(shape, pattern, np.stack([dull(), dull()]), rng.uniform(4, 8))
        place = rng.uniform(-0.7, 0.7, 2)
        still = _track(1, x=place[0], y=place[1], radius=rng.uniform(0.03, 0.12), angle=rng.uniform(0, 6.28))
        paint(canvas, sprite, still, 0)
    return canvas


def _progress(rng: np.random.Generator, num_frames: int) -> Floats:
    """(T,) how far the action is, from 0 to 1, never falling: rests at both ends, steady or eased in between."""
    before, after = rng.uniform(0, 0.08, 2)
    run = np.clip((np.linspace(0, 1, num_frames) - before) / (1 - before - after), 0, 1)
    power = rng.uniform(1, 1.8)
    # Speeding up and slowing down are each other's reversal and equally likely; the other two are their own.
    eased: tuple[Floats, ...] = (run, run**power, 1 - (1 - run) ** power, run * run * (3 - 2 * run))
    return eased[int(rng.integers(4))]


def _track(num_frames: int, **values: Floats | float) -> Track:
    """A track with each given value repeated or taken frame by frame; what is not given is 0, opacity 1."""
    given: dict[str, Floats | float] = {"angle": 0.0, "opacity": 1.0, "aperture": 0.0, **values}
    return Track(
        **{name: np.broadcast_to(np.asarray(value, np.float64), (num_frames,)) for name, value in given.items()}
    )


def _spin(rng: np.random.Generator, num_frames: int) -> Floats:
    """(T,) radians: any orientation, turning either way by up to a radian."""
    spin: Floats = rng.uniform(0, 2 * np.pi) + rng.uniform(-1, 1) * np.linspace(-0.5, 0.5, num_frames)
    return spin


def _between(start: float, end: float, progress: Floats) -> Floats:
    """From start (progress 0) to end (progress 1)."""
    return start + (end - start) * progress


Objects = list[tuple[Sprite, Track]]


def _travel(rng: np.random.Generator, progress: Floats) -> tuple[Floats, Floats]:
    """Along (T,), from about -0.3 to about 0.3, and across (T,), nearly constant; in short sides."""
    start, end = -rng.uniform(0.24, 0.36), rng.uniform(0.24, 0.36)
    middle, tilt = rng.uniform(-0.22, 0.22), rng.uniform(-0.08, 0.08)
    sway = rng.uniform(0, 0.02) * _wave(rng, len(progress), 3)
    return _between(start, end, progress), middle + _between(-tilt, tilt, progress) + sway


def _move_right(rng: np.random.Generator, progress: Floats) -> Objects:
    along, across = _travel(rng, progress)
    frames = len(progress)
    track = _track(frames, x=along, y=across, radius=rng.uniform(0.14, 0.22), angle=_spin(rng, frames))
    return [(_sprite(rng), track)]


def _rise(rng: np.random.Generator, progress: Floats) -> Objects:
    along, across = _travel(rng, progress)
    frames = len(progress)
    track = _track(frames, x=across, y=-along, radius=rng.uniform(0.14, 0.22), angle=_spin(rng, frames))
    return [(_sprite(rng), track)]


def _wander(rng: np.random.Generator, num_frames: int, reach: float) -> tuple[Floats, Floats]:
    """The x and y (T,) of an object that stays near one place within `reach` of the middle."""
    sway = [rng.uniform(0, 0.03) * _wave(rng, num_frames, 2) for _ in range(2)]
    return rng.uniform(-reach, reach) + sway[0], rng.uniform(-reach, reach) + sway[1]


def _approach(rng: np.random.Generator, progress: Floats) -> Objects:
    frames = len(progress)
    x, y = _wander(rng, frames, 0.1)
    radius = _between(rng.uniform(0.07, 0.11), rng.uniform(0.34, 0.44), progress)
    return [(_sprite(rng), _track(frames, x=x, y=y, radius=radius, angle=_spin(rng, frames)))]


def _meet(rng: np.random.Generator, progress: Floats) -> Objects:
    frames = len(progress)
    radius, heading = rng.uniform(0.12, 0.17), rng.uniform(0, 2 * np.pi)
    apart = _between(rng.uniform(0.34, 0.4), radius * rng.uniform(0.85, 1.0), progress)
    x, y = _wander(rng, frames, 0.05)
    objects: Objects = []
    for side in (-1, 1):
        away = side * apart
        position = {"x": x + away * np.cos(heading), "y": y + away * np.sin(heading)}
        objects.append((_sprite(rng), _track(frames, **position, radius=radius, angle=_spin(rng, frames))))
    return objects


def _appear(rng: np.random.Generator, progress: Floats) -> Objects:
    frames = len(progress)
    x, y = _wander(rng, frames, 0.18)
    radius = rng.uniform(0.18, 0.26)
    return [(_sprite(rng), _track(frames, x=x, y=y, radius=radius, angle=_spin(rng, frames), opacity=progress))]


def _open(rng: np.random.Generator, progress: Floats) -> Objects:
    frames = len(progress)
    x, y = _wander(rng, frames, 0.1)
    aperture = _between(rng.uniform(0.02, 0.1), rng.uniform(1.1, 1.5), progress)
    radius = rng.uniform(0.26, 0.36)
    return [
        (_sprite(rng, "jaws"), _track(frames, x=x, y=y, radius=radius, angle=_spin(rng, frames), aperture=aperture))
    ]


def _clockwise(rng: np.random.Generator, progress: Floats) -> Objects:
    frames = len(progress)
    x, y = _wander(rng, frames, 0.04)
    turn, orbit = rng.uniform(0, 2 * np.pi) + rng.uniform(3.5, 4.7) * progress, rng.uniform(0.26, 0.32)
    x, y = x + orbit * np.cos(turn), y + orbit * np.sin(turn)
    return [(_sprite(rng), _track(frames, x=x, y=y, radius=rng.uniform(0.13, 0.18), angle=_spin(rng, frames)))]


def _assemble(rng: np.random.Generator, progress: Floats) -> Objects:
    frames = len(progress)
    x, y = _wander(rng, frames, 0.06)
    pieces, first_turn = int(rng.integers(4, 7)), rng.uniform(0, 2 * np.pi)
    look = _sprite(rng)
    objects: Objects = []
    for piece in range(pieces):
        turn = first_turn + 2 * np.pi * piece / pieces + rng.uniform(-0.2, 0.2)
        away = _between(rng.uniform(0.36, 0.46), 0.11, progress)
        position = {"x": x + away * np.cos(turn), "y": y + away * np.sin(turn)}
        objects.append((look, _track(frames, **position, radius=0.1, angle=_spin(rng, frames))))
    return objects


ACTIONS: dict[str, Callable[[np.random.Generator, Floats], Objects]] = {
    "move_right": _move_right,
    "rise": _rise,
    "approach": _approach,
    "meet": _meet,
    "appear": _appear,
    "open": _open,
    "clockwise": _clockwise,
    "assemble": _assemble,
}
