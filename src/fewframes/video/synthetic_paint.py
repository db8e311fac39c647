"""From a scene to its pixels: what objects look like and where they are in, (T, H, W, 3) uint8 frames out.

Positions have their origin in the middle of the frame, x to the right and y downwards, in units of the short side:
-0.5 to 0.5 is what a centred square crop keeps. Only elementwise arithmetic is used, never a matrix product, so the
pixels do not depend on how many threads a linear algebra library takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["PATTERNS", "SHAPES", "Floats", "Pixels", "Scene", "Sprite", "Track", "paint", "render_scene"]

SHAPES = ("disc", "square", "diamond", "triangle", "cross")
PATTERNS = ("plain", "stripes", "checks", "rings")
# Noise is added in 8-bit arithmetic; levels keep this distance from both ends so that it cannot wrap around.
HEADROOM = 8


Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sprite:
    """What one object looks like.

    Attributes:
        shape: one of `SHAPES`, or "jaws": a disc with a mouth that opens to the sprite's own right.
        pattern: one of `PATTERNS`.
        colours: (2, 3) float32, RGB 0 to 255; the pattern alternates between them.
        frequency: radians of pattern a radius.
    """

    shape: str
    pattern: str
    colours: NDArray[np.float32]
    frequency: float


@dataclass(frozen=True, eq=False)
class Track:
    """Where one object is in each of T frames of the forward clip; every attribute is (T,) float64.

    Attributes:
        x: centre, to the right of the frame's middle, in short sides.
        y: centre, below the frame's middle, in short sides.
        radius: in short sides, > 0.
        angle: rotation in radians, clockwise on the screen.
        opacity: 0 (not there) to 1.
        aperture: half the angle of the mouth in radians, 0 to pi; used by the shape "jaws" only.
    """

    x: Floats
    y: Floats
    radius: Floats
    angle: Floats
    opacity: Floats
    aperture: Floats


@dataclass(frozen=True, eq=False)
class Scene:
    """All that is needed to paint one clip of T frames.

    Attributes:
        height: pixels, even.
        width: pixels, even.
        fps: frames a second.
        objects: what moves, painted in this order.
        background: (height + 48, width + 48, 3) uint8.
        offsets: (T, 2) int; top and left of the frame within the background.
        gains: (T,) float64; brightness factors around 1.
        noise: (height + 16, width + 16, 3) int8, between -8 and 8.
        noise_offsets: (T, 2) int; top and left of the frame within the noise.
    """

    height: int
    width: int
    fps: Fraction
    objects: tuple[tuple[Sprite, Track], ...]
    background: Pixels
    offsets: NDArray[np.int64]
    gains: Floats
    noise: NDArray[np.int8]
    noise_offsets: NDArray[np.int64]


def render_scene(scene: Scene) -> Pixels:
    """Paint a scene: (T, H, W, 3) uint8 RGB, in the forward direction."""
    height, width = scene.height, scene.width
    frames = np.empty((len(scene.gains), height, width, 3), np.uint8)
    lit = np.empty((height, width, 3), np.uint16)
    noise = scene.noise.view(np.uint8)
    for index, frame in enumerate(frames):
        top, left = scene.offsets[index]
        frame[...] = scene.background[top : top + height, left : left + width]
        for sprite, track in scene.objects:
            paint(frame, sprite, track, index)
        np.multiply(frame, np.uint16(round(128 * scene.gains[index])), out=lit, dtype=np.uint16)
        np.right_shift(lit, np.uint16(7), out=lit)
        np.clip(lit, HEADROOM, 255 - HEADROOM, out=lit)
        top, left = scene.noise_offsets[index]
        np.add(lit, noise[top : top + height, left : left + width], out=frame, casting="unsafe", dtype=np.uint8)
    return frames


def paint(canvas: Pixels, sprite: Sprite, track: Track, index: int) -> None:
    """Blend one object, where its track has it in frame `index`, into an (H, W, 3) uint8 frame, in place."""
    height, width, _ = canvas.shape
    short_side = min(height, width)
    radius = float(track.radius[index]) * short_side
    x = (width - 1) / 2 + float(track.x[index]) * short_side
    y = (height - 1) / 2 + float(track.y[index]) * short_side
    reach = 1.25 * radius + 1
    left, right = max(0, int(x - reach)), min(width, int(x + reach) + 2)
    top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 2)
    opacity = float(track.opacity[index])
    if left >= right or top >= bottom or opacity <= 0:
        return
    across = ((np.arange(left, right) - x) / radius).astype(np.float32)[None, :]
    down = ((np.arange(top, bottom) - y) / radius).astype(np.float32)[:, None]
    cosine, sine = float(np.cos(track.angle[index])), float(np.sin(track.angle[index]))
    u, v = across * cosine + down * sine, down * cosine - across * sine
    distance = _distance(sprite.shape, u, v, float(track.aperture[index]))
    alpha = np.clip(0.5 - distance * radius, 0, 1)
    if opacity < 1:
        alpha *= np.float32(opacity)
    # Colour planes are blended one after the other: three times as fast as a last axis of length three.
    window = canvas[top:bottom, left:right].transpose(2, 0, 1)
    below = window.astype(np.float32, order="C")
    colour = _texture(sprite, u, v)
    colour -= below
    colour *= alpha
    below += colour
    below += np.float32(0.5)
    window[...] = below


def _distance(shape: str, u: NDArray[np.float32], v: NDArray[np.float32], aperture: float) -> NDArray[np.float32]:
    """Signed distance in radii to a shape's edge, negative inside; u to the shape's right, v below its centre."""
    edge: NDArray[np.float32]
    match shape:
        case "disc":
            edge = np.sqrt(u * u + v * v) - 1
        case "square":
            edge = np.maximum(np.abs(u), np.abs(v)) - np.float32(0.86)
        case "diamond":
            edge = (np.abs(u) + np.abs(v) - np.float32(1.1)) * np.float32(0.7071)
        case "triangle":
            edge = np.maximum(np.abs(u) * np.float32(0.866) - v * np.float32(0.5), v) - np.float32(0.58)
        case "cross":
            wide, high = np.abs(u), np.abs(v)
            edge = np.maximum(np.minimum(wide, high) - np.float32(0.42), np.maximum(wide, high) - 1)
        case "jaws":
            mouth = u * np.float32(np.sin(aperture)) - np.abs(v) * np.float32(np.cos(aperture))
            edge = np.maximum(np.sqrt(u * u + v * v) - 1, mouth)
        case _:
            raise AssertionError(f"no such shape: {shape}")
    return edge


def _texture(sprite: Sprite, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (3, H, W) float32 of a sprite's surface at coordinates in radii; fixed to the sprite."""
    first, second = sprite.colours[..., None, None]
    frequency = np.float32(sprite.frequency)
    match sprite.pattern:
        case "stripes":
            wave = np.sin(frequency * u)
        case "checks":
            wave = np.sin(frequency * u) * np.sin(frequency * v)
        case "rings":
            wave = np.cos(frequency * np.sqrt(u * u + v * v))
        case _:
            wave = np.ones_like(u)
    share = np.clip(np.float32(0.5) + 2 * wave, 0, 1)
    mixed: NDArray[np.float32] = second + share * (first - second)
    return mixed
