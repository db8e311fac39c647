"""Frame strips: thumbnails, seconds, attention."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from fewframes.errors import UsageError
from fewframes.report.canvas import ACCENT, inline_svg
from fewframes.report.strips import FrameStrip, draw_strip

from .samples import make_strip


def painted(num_frames: int, *, height: int = 33, width: int = 47) -> np.ndarray:
    """Frame t is (t, 2t, 3t) everywhere."""
    pixels = np.zeros((num_frames, 3, height, width), dtype=np.uint8)
    for index in range(num_frames):
        pixels[index] = np.array([index, 2 * index, 3 * index]).reshape(3, 1, 1)
    return pixels


def test_frames_stand_in_order_with_seconds_and_attention() -> None:
    strip = FrameStrip(painted(5), [0.0, 0.25, 1.0, 2.5, 3.04], [0.1, 0.2, 0.4, 0.2, 0.1])
    axes = draw_strip(strip, per_row=3).axes[0]
    assert [np.asarray(image.get_array())[0, 0].tolist() for image in axes.images] == [
        [t, 2 * t, 3 * t] for t in range(5)
    ]
    assert [image.get_array().shape for image in axes.images] == [(33, 47, 3)] * 5  # type: ignore[union-attr]
    lefts = [image.get_extent()[0] for image in axes.images]
    tops = [image.get_extent()[3] for image in axes.images]
    assert lefts[0] < lefts[1] < lefts[2]
    assert lefts[3] == lefts[0]
    assert tops[3] > tops[0] == tops[1]
    expected = ["0.0 s", "10 %", "0.2 s", "20 %", "1.0 s", "40 %", "2.5 s", "20 %", "3.0 s", "10 %"]
    assert [text.get_text() for text in axes.texts] == expected
    widths = [p.get_width() for p in axes.patches if isinstance(p, Rectangle) and to_hex(p.get_facecolor()) == ACCENT]
    assert np.array(widths) / max(widths) == pytest.approx([0.25, 0.5, 1, 0.5, 0.25])


def test_torch_frames_without_attention() -> None:
    strip = dataclasses.replace(make_strip(4), attention=None)
    axes = draw_strip(strip).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.4 s", "1.2 s", "2.0 s", "2.8 s"]
    assert not axes.patches


def test_large_frames_shrink_by_means() -> None:
    pixels = np.zeros((1, 3, 640, 320), dtype=np.uint8)
    pixels[..., 0::2, :] = 200
    axes = draw_strip(FrameStrip(pixels, [0.0])).axes[0]
    thumbnail = np.asarray(axes.images[0].get_array())
    assert thumbnail.shape == (160, 80, 3)
    assert (thumbnail == 100).all()


def test_every_thumbnail_reaches_the_page() -> None:
    markup = inline_svg(draw_strip(make_strip(6)), "alt")
    assert markup.count("data:image/png;base64,") == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": painted(5).astype(np.float32)}, r"dtype float32; expected uint8 \(T, 3, H, W\)"),
        ({"pixels": painted(5).transpose(0, 2, 3, 1)}, r"shape \(5, 33, 47, 3\)"),
        ({"seconds": [0.0]}, "1 seconds for 5 frames"),
        ({"attention": [1.0]}, "1 attention weights for 5 frames"),
        ({"attention": [0.5] * 5}, "attention sums to 2.5; expected"),
        ({"attention": [1.0, 1.0, -1.0, 0.0, 0.0]}, "at least 0"),
    ],
)
def test_refusals(change: dict[str, object], message: str) -> None:
    good = FrameStrip(painted(5), [0.0] * 5, [0.2] * 5)
    with pytest.raises(UsageError, match=message):
        draw_strip(dataclasses.replace(good, **change))  # type: ignore[arg-type]
