"""A folder of images is one whole series of one kind, in the order of its numbers, or is refused and says why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.errors import UnreadableVideo
from fewframes.records import Limits
from fewframes.video.image_folder import ImageFolder, _in_order, is_image_name


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def opened(folder: Path, **limits: int) -> ImageFolder:
    return ImageFolder(str(folder), Limits(**limits))


@pytest.mark.parametrize(
    "names",
    [
        ["frame_0000000001.jpg", "frame_0000000002.jpg", "frame_0000000003.jpg"],
        ["img_00007.png", "img_00008.png", "img_00009.png", "img_00010.png"],
        ["000000.webp", "000001.webp"],
        ["dQw4-w9Wg_X9-000001.jpeg", "dQw4-w9Wg_X9-000002.jpeg"],
        ["8.jpg", "9.JPG", "10.jpeg", "11.JPEG"],  # by their numbers, not by their letters
        ["v_Archery_g01_c02_1.jpg"],
    ],
)
def test_images_are_in_the_order_of_their_numbers(tmp_path: Path, names: list[str]) -> None:
    folder = make(tmp_path / "f", *reversed(names))
    assert opened(folder).names == names


@given(first=st.integers(0, 10**6), count=st.integers(1, 40), digits=st.integers(1, 9), shuffle=st.randoms())
def test_any_padding_and_any_first_number(first: int, count: int, digits: int, shuffle: object) -> None:
    names = [f"x{number:0{digits}d}.png" for number in range(first, first + count)]
    mixed = list(names)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    assert _in_order("folder", mixed) == names


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a_1.jpg", "a_2.jpg", "a_5.jpg"], r"image number 3 is missing between a_2\.jpg and a_5\.jpg"),
        (["a_1.jpg", "a_01.jpg"], r"a_01\.jpg and a_1\.jpg have the same number"),
        (["a_1.jpg", "a_2.png"], r"it mixes a_1\.jpg with a_2\.png; expected one series of one kind"),
        (["flow_x_1.jpg", "flow_y_1.jpg"], r"it mixes flow_x_1\.jpg with flow_y_1\.jpg"),
        (["poster.jpg"], r"poster\.jpg has no number at its end; expected names such as img_00001\.jpg"),
        (["1-thumb.jpg"], r"1-thumb\.jpg has no number at its end"),
        (["notes.txt", ".1.jpg"], r"it holds no images; expected files that end in \.jpeg, \.jpg, \.png, \.webp"),
    ],
)
def test_what_is_no_series(tmp_path: Path, names: Sequence[str], reason: str) -> None:
    with pytest.raises(UnreadableVideo, match=rf"cannot read {tmp_path}/f: {reason}"):
        opened(make(tmp_path / "f", *names))


def test_hidden_and_other_files_do_not_count(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", "1.jpg", "2.jpg", ".3.jpg", "._1.jpg", "Thumbs.db", "readme.txt")
    (folder / "5").mkdir()
    images = opened(folder)
    assert images.names == ["1.jpg", "2.jpg"]
    assert images.size_bytes == len("1.jpg") + len("2.jpg")
    assert [is_image_name(name) for name in ("a.JPG", ".a.jpg", "a.jpg.txt", "jpg")] == [True, False, False, False]


def test_what_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="No such file"):
        opened(tmp_path / "absent")


def test_more_images_than_allowed_are_refused_before_they_are_all_listed(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", *(f"{number}.jpg" for number in range(5)))
    assert len(opened(folder, max_frames=5).names) == 5
    with pytest.raises(UnreadableVideo, match="more than 4 images; raise max_frames"):
        opened(folder, max_frames=4)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    images = opened(make(tmp_path / "f", "1.jpg"), max_buffer_bytes=4)
    with pytest.raises(UnreadableVideo, match=r"1\.jpg has 5 bytes, above the limit of 4; raise max_buffer_bytes"):
        images.fetch_one(0)
    assert images.bytes_read == 0


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    images = opened(make(tmp_path / "f", "1.jpg", "2.jpg"))
    (tmp_path / "f" / "2.jpg").unlink()
    assert list(images.fetch([0])) == [b"1.jpg"]
    with pytest.raises(UnreadableVideo, match=r"2\.jpg: No such file"):
        list(images.fetch([0, 1]))
    assert images.bytes_read == 10


def times(folder: Path, content: object, count: int = 3) -> tuple[list[float], float, bool]:
    make(folder, *(f"{number}.jpg" for number in range(count)))
    (folder / "frames.json").write_text(content if isinstance(content, str) else json.dumps(content))
    seconds, duration, stated = opened(folder).read_times()
    return seconds.tolist(), duration, stated


def test_times_without_a_word_are_25_a_second(tmp_path: Path) -> None:
    seconds, duration, stated = opened(make(tmp_path / "f", "1.jpg", "2.jpg", "3.jpg")).read_times()
    assert (seconds.tolist(), duration, stated) == ([0.0, 0.04, 0.08], 0.12, False)


def test_stated_times(tmp_path: Path) -> None:
    assert times(tmp_path / "a", {"fps": 8}) == ([0.0, 0.125, 0.25], 0.375, True)
    assert times(tmp_path / "b", {"fps": 0.5, "by": "hand"}) == ([0.0, 2.0, 4.0], 6.0, True)
    # From the first one on; the last is shown for as long as the one before it.
    assert times(tmp_path / "c", {"seconds": [1, 1.5, 3.5]}) == ([0.0, 0.5, 2.5], 4.5, True)
    assert times(tmp_path / "d", {"seconds": [7.0]}, count=1) == ([0.0], 0.04, True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("not json", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([25], "does not state one of fps and seconds"),
        ({}, "does not state one of fps and seconds"),
        ({"fps": 25, "seconds": [0, 1, 2]}, "does not state one of fps and seconds"),
        ({"fps": 0}, "states fps 0, which is no number above 0"),
        ({"fps": "25"}, "states fps '25', which is no number above 0"),
        ({"fps": True}, "states fps True"),
        ('{"fps": NaN}', "states fps nan"),
        ({"fps": 1e9}, "states fps 1000000000.0"),
        ({"seconds": [0, 1]}, "states 2 seconds for 3 images"),
        ({"seconds": "012"}, "states '012' seconds for 3 images"),
        ({"seconds": [0, 1, 1]}, "states seconds that are not ascending"),
        ({"seconds": [0, "x", 2]}, "states seconds that are not ascending"),
        ({"seconds": [0, None, 2]}, "states seconds that are not ascending"),
        ({"seconds": [[0], [1], [2]]}, "states seconds that are not ascending"),
        ({"seconds": [0, 1, 10**400]}, "states seconds that are not ascending"),
        ('{"seconds": [0, 1, Infinity]}', "states seconds that are not ascending"),
    ],
)
def test_times_that_do_not_fit(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(UnreadableVideo, match=rf"frames\.json {reason}.*expected .*fps"):
        times(tmp_path / "f", content)


def test_times_that_cannot_be_read_are_not_assumed(tmp_path: Path) -> None:
    folder = make(tmp_path / "f", "1.jpg")
    (folder / "frames.json").symlink_to(folder / "nowhere.json")
    with pytest.raises(UnreadableVideo, match=r"frames\.json: No such file"):
        opened(folder).read_times()
