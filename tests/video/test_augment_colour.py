"""Boxes computed by hand, and colours: the same change in every frame, within the stated ranges."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from fewframes.video.augment_colour import change_contrast, cut_out, cutout_box, drop_colour, jitter_colour


def noise(frames: int = 3, height: int = 19, width: int = 23, seed: int = 0) -> Tensor:
    return torch.randint(
        0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize(
    ("size", "share", "centre", "box"),
    [
        ((224, 224), 0.5, (112, 112), (56, 168, 56, 168)),  # 112 pixels, 56 on each side of the centre
        ((224, 224), 0.5, (0, 223), (0, 56, 167, 224)),  # a corner: a quarter of it is left, and one row and column
        ((224, 224), 0.5, (10, 100), (0, 66, 44, 156)),
        ((20, 30), 0.5, (7, 29), (2, 12, 22, 30)),  # 10 high, int(15.5) // 2 = 7 to each side
        ((20, 30), 1.0, (0, 29), (0, 10, 14, 30)),
        ((20, 30), 0.0, (4, 4), (4, 4, 4, 4)),
    ],
)
def test_boxes_by_hand(
    size: tuple[int, int], share: float, centre: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert cutout_box(*size, share=share, centre=centre) == box


def test_a_box_of_one_colour_at_one_place_in_all_frames() -> None:
    pixels = noise()
    before = pixels.clone()
    colours = set()
    for seed in range(50):
        painted = cut_out(pixels, 0.5, random.Random(seed))
        changed = (painted != pixels).any(1).any(0)
        rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
        box = painted[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == box[:1, :, :1, :1]).all()
        assert box.shape[2] <= 10
        assert box.shape[3] <= 12
        colours.add(tuple(box[0, :, 0, 0].tolist()))
    assert torch.equal(pixels, before), "the frames that came in stay as they are"
    assert len(colours) == 50, "another colour for each clip"


def test_every_pixel_can_be_the_centre() -> None:
    """A share of two pixels' width: the box ends in the centre, wherever that is, and so covers each pixel at times."""
    covered = torch.zeros(5, 7, dtype=torch.bool)
    pixels = noise(1, 5, 7)
    for seed in range(400):
        covered |= (cut_out(pixels, 0.3, random.Random(seed)) != pixels).any(1)[0]
    assert covered.all()


def test_contrast_by_hand() -> None:
    """Grey 100 and 200 in two frames: the mean is 150 for both, and 1.5 times the distance to it is 75 and 225."""
    pixels = torch.full((2, 3, 5, 7), 100, dtype=torch.uint8)
    pixels[1] = 200
    mean = int(drop_colour(pixels)[:, 0].sum()) / (2 * 35)
    changed = change_contrast(pixels, 1.5)
    assert changed[0].unique().tolist() == [round(mean + 1.5 * (100 - mean))]
    assert changed[1].unique().tolist() == [round(mean + 1.5 * (200 - mean))]
    assert abs(mean - 150) <= 1, "the grey of grey is rounded down"
    assert torch.equal(change_contrast(pixels, 1.0), pixels)
    assert len(change_contrast(pixels, 0.0).unique()) == 1
    assert change_contrast(pixels, 40.0).unique().tolist() == [0, 255]


def test_dropped_colours_are_luma() -> None:
    pixels = torch.zeros(2, 3, 1, 3, dtype=torch.uint8)
    for place in range(3):
        pixels[:, place, 0, place] = 255
    grey = drop_colour(pixels)
    assert (grey == grey[:1, :1]).all()
    assert grey[0, 0, 0].tolist() == [76, 149, 29]  # int of 255 times 0.2989, 0.587 and 0.114


class Told(random.Random):
    """Draws what it is told to, as shares of the range."""

    def __init__(self, *shares: float) -> None:
        super().__init__(0)
        self.shares = iter(shares)

    def uniform(self, a: float, b: float) -> float:
        return a + next(self.shares) * (b - a)


def test_jitter_by_hand() -> None:
    """Each step alone, at both ends of its range, on colours for which it can be computed."""
    colour = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    half = 0.5
    assert torch.equal(jitter_colour(colour, Told(half, half, half, half)), colour)
    darker, brighter = (jitter_colour(colour, Told(each, half, half, half))[0, :, 0, 0] for each in (0.0, 1.0))
    assert darker.tolist() == [168, 68, 18]
    assert brighter.tolist() == [232, 132, 82]
    grey = 0.2989 * 200 + 0.587 * 100 + 0.114 * 50  # 124.18
    duller, richer = (jitter_colour(colour, Told(half, each, half, half))[0, :, 0, 0] for each in (0.0, 1.0))
    for value, low, high in zip((200, 100, 50), duller.tolist(), richer.tolist(), strict=True):
        assert abs(low - (grey + 0.6 * (value - grey))) <= 1
        assert abs(high - min(max(grey + 1.4 * (value - grey), 0), 255)) <= 1
    weaker, stronger = (jitter_colour(colour, Told(half, half, each, half))[0, :, 0, 0] for each in (0.0, 1.0))
    for value, low, high in zip((200, 100, 50), weaker.tolist(), stronger.tolist(), strict=True):
        assert abs(low - (grey + 0.6 * (value - grey))) <= 1
        assert abs(high - (grey + 1.4 * (value - grey))) <= 1
    # Of red, a fifth of the circle forward is 72 degrees: past yellow (60) by a fifth of the way to green (120).
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    turned = jitter_colour(red, Told(half, half, half, 1.0))[0, :, 0, 0].tolist()
    assert turned[1:] == [255, 0]
    assert abs(turned[0] - 204) <= 1


def test_jitter_changes_all_frames_alike_and_clips_apart() -> None:
    """One table of colours for the whole clip: pixels of equal colour stay equal, also in other frames."""
    pixels = noise(1).repeat(4, 1, 1, 1)
    pixels[2] = 0  # another content in between
    seen = []
    for seed in range(20):
        changed = jitter_colour(pixels, random.Random(seed))
        assert changed.shape == pixels.shape
        assert changed.dtype == torch.uint8
        assert torch.equal(changed[0], changed[1])
        assert torch.equal(changed[0], changed[3])
        assert len(changed[2].flatten(1).unique(dim=1)[0]) == 1
        seen.append(changed)
    assert not any(torch.equal(a, b) for place, a in enumerate(seen) for b in seen[:place])


def test_colours_do_not_depend_on_threads() -> None:
    """Workers have one thread, the main process has many."""
    pixels, threads = noise(4, 224, 224), torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append((jitter_colour(pixels, random.Random(5)), drop_colour(pixels)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for result in results[1:] for a, b in zip(result, results[0], strict=True))
