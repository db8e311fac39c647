from __future__ import annotations

import numpy as np
import pytest

from fewframes.video.orientation import UPRIGHT, orientation_from_matrix

ONE = 1 << 16
IMAGE = np.arange(6).reshape(2, 3, 1)  # 0 1 2 over 3 4 5


def matrix(a: int, b: int, c: int, d: int) -> list[int]:
    return [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 320 * ONE, 0, 1 << 30]


@pytest.mark.parametrize(
    ("numbers", "degrees", "expected"),
    [
        ((1, 0, 0, 1), 0, [[0, 1, 2], [3, 4, 5]]),
        ((0, 1, -1, 0), 90, [[3, 0], [4, 1], [5, 2]]),
        ((-1, 0, 0, -1), 180, [[5, 4, 3], [2, 1, 0]]),
        ((0, -1, 1, 0), 270, [[2, 5], [1, 4], [0, 3]]),
        ((-1, 0, 0, 1), 0, [[2, 1, 0], [5, 4, 3]]),  # mirrored only
        ((0, 1, 1, 0), 90, [[0, 3], [1, 4], [2, 5]]),  # turned clockwise, then mirrored: transposed
        ((1, 0, 0, -1), 180, [[3, 4, 5], [0, 1, 2]]),  # turned upside down, then mirrored
        ((0, -1, -1, 0), 270, [[5, 2], [4, 1], [3, 0]]),
    ],
)
def test_all_eight_by_hand(numbers: tuple[int, int, int, int], degrees: int, expected: list[list[int]]) -> None:
    orientation = orientation_from_matrix(matrix(*numbers))
    assert orientation.rotation_degrees == degrees
    assert orientation.apply(IMAGE)[..., 0].tolist() == expected


def test_rounded_and_scaled_matrices_are_rotations_too() -> None:
    nearly = [3, 65530, 0, -65530, 4, 0, 0, 0, 1 << 30]
    assert orientation_from_matrix(nearly).rotation_degrees == 90
    assert orientation_from_matrix(matrix(0, 3, -2, 0)).rotation_degrees == 90


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (1, 0, 0, 0), (1, 1, 1, 1), (1, 0, 1, 1), (0, 1, 0, -1)])
def test_what_is_no_rotation_turns_nothing(numbers: tuple[int, int, int, int]) -> None:
    assert orientation_from_matrix(matrix(*numbers)) == UPRIGHT


def test_other_angles_are_named() -> None:
    with pytest.raises(ValueError, match="rotated by 45 degrees clockwise, which is not a multiple of 90"):
        orientation_from_matrix(matrix(1, 1, -1, 1))
