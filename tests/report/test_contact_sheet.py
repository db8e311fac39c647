"""Contact sheets: every frame at its place, the titles above, whole files only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewframes.errors import UsageError
from fewframes.report.contact_sheet import draw_contact_sheet, write_contact_sheet

PAPER = (254, 254, 253)


def painted(num_frames: int, *, height: int = 37, width: int = 53, blue: int = 0) -> np.ndarray:
    """Frame t is (40 t, 200, blue) everywhere."""
    pixels = np.zeros((num_frames, 3, height, width), dtype=np.uint8)
    for index in range(num_frames):
        pixels[index] = np.array([40 * index, 200, blue]).reshape(3, 1, 1)
    return pixels


def colours_in(sheet: Image.Image, row: int) -> list[tuple[int, ...]]:
    """The colours of one line of the picture, each once, from left to right."""
    line = np.asarray(sheet)[row]
    changes = [tuple(line[0].tolist())]
    for pixel in line[1:]:
        if tuple(pixel.tolist()) != changes[-1]:
            changes.append(tuple(pixel.tolist()))
    return [colour for colour in changes if colour != PAPER]


def test_every_frame_stands_at_its_place() -> None:
    """37 x 53 fits four times into 224 pixels: 148 x 212 each; 12 of margin, 26 for the title."""
    sheet = draw_contact_sheet([painted(5), torch.from_numpy(painted(3, blue=90))], ["first", "second"])
    assert sheet.size == (12 + 5 * 212 + 4 * 3 + 12, 12 + 2 * (26 + 148 + 12))
    for top, blue, frames in ((38, 0, 5), (224, 90, 3)):
        for row in (top, top + 147):
            assert colours_in(sheet, row) == [(40 * index, 200, blue) for index in range(frames)]
        assert colours_in(sheet, top - 1) == colours_in(sheet, top + 148) == []
    pixels = np.asarray(sheet)
    assert tuple(pixels[38, 11]) == PAPER
    assert tuple(pixels[38, 12]) == tuple(pixels[38, 223]) == (0, 200, 0)
    assert tuple(pixels[38, 224]) == PAPER


def test_large_frames_shrink_by_means_and_many_frames_more() -> None:
    pixels = np.zeros((2, 3, 448, 448), dtype=np.uint8)
    pixels[..., 0::2] = 200
    assert colours_in(draw_contact_sheet([pixels], ["stripes"]), 100) == [(100, 100, 100)] * 2
    assert draw_contact_sheet([painted(16, height=224, width=224)], ["x"]).width == 24 + 16 * 150 + 15 * 3
    assert draw_contact_sheet([painted(96, height=224, width=224)], ["x"]).width == 24 + 96 * 48 + 95 * 3


def test_titles_are_written_and_cut_where_the_row_ends() -> None:
    frames = painted(1)
    short, long, greek = (
        np.asarray(draw_contact_sheet([frames], [title]))[:38]
        for title in ("open a door", "open a door " * 50, "άνοιγμα")
    )
    assert (short[12:32, 12:100] < 100).any()
    assert not (short[:, 150:] < 100).any()
    assert (long[12:32, 190:224] < 100).any()
    assert not (long[:, 224:] < 100).any(), "nothing beyond the margin"
    assert not np.array_equal(greek, np.asarray(draw_contact_sheet([frames], ["\uffff" * 7]))[:38])
    draw_contact_sheet([frames], ["two\nlines\udc80"])
    draw_contact_sheet([frames], [""])


def test_the_file_is_a_png_and_whole(tmp_path: Path) -> None:
    path = write_contact_sheet(tmp_path / "new" / "sheet.png", [painted(2)], ["a"])
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert np.array_equal(np.asarray(sheet), np.asarray(draw_contact_sheet([painted(2)], ["a"])))
    assert [each.name for each in path.parent.iterdir()] == ["sheet.png"]
    before = path.read_bytes()
    write_contact_sheet(path, [painted(2)], ["a"])
    assert path.read_bytes() == before, "no date inside"
    with pytest.raises(UsageError, match="cannot write"):
        write_contact_sheet(path / "below", [painted(2)], ["a"])


@pytest.mark.parametrize(
    ("clips", "titles", "message"),
    [
        ([], [], "0 clips and 0 titles; expected one title for each, and one clip at least"),
        ([painted(1)], ["a", "b"], "1 clips and 2 titles"),
        ([painted(1)[0]], ["a"], r"shape \(3, 37, 53\) and dtype uint8; expected uint8 \(T, 3, H, W\)"),
        ([painted(1).astype(np.float32)], ["a"], "dtype float32"),
        ([painted(0)], ["a"], r"shape \(0, 3, 37, 53\)"),
    ],
)
def test_what_cannot_be_drawn(clips: list[np.ndarray], titles: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        draw_contact_sheet(clips, titles)
