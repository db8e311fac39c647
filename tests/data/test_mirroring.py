"""Which class a mirrored clip belongs to: official lists by hand, and names in every way of writing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.classes import official_labels
from fewframes.data.mirroring import mirror_note, mirrored_labels


def pairs_of(labels: tuple[str, ...]) -> set[tuple[str, str]]:
    return {(labels[a], labels[b]) for a, b in mirrored_labels(labels).items() if a < b}


def test_something_something() -> None:
    labels = official_labels("ssv2")
    assert pairs_of(labels) == {
        ("Pulling something from left to right", "Pulling something from right to left"),
        ("Pushing something from left to right", "Pushing something from right to left"),
        ("Turning the camera left while filming something", "Turning the camera right while filming something"),
    }
    counterparts = mirrored_labels(labels)
    missing = [label for index, label in enumerate(labels) if index not in counterparts]
    assert missing == ["Plugging something into something but pulling it right out as you remove your hand"], (
        "right in another sense: never mirrored rather than mirrored under a wrong name"
    )
    assert counterparts[labels.index("Putting something upright on the table")] == labels.index(
        "Putting something upright on the table"
    )
    assert len(counterparts) == 173


def test_jester() -> None:
    assert pairs_of(official_labels("jester")) == {
        ("Swiping Left", "Swiping Right"),
        ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
        ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
    }
    assert len(mirrored_labels(official_labels("jester"))) == 27


@pytest.mark.parametrize("name", ["kinetics400", "ucf101", "hmdb51", "diving48", "kinetics700"])
def test_most_lists_name_no_side(name: str) -> None:
    labels = official_labels(name)
    assert mirrored_labels(labels) == {index: index for index in range(len(labels))}
    assert mirror_note(labels, pairs=True) == mirror_note(labels, pairs=False) == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("move_left", "move_right"),
        ("LEFT", "RIGHT"),
        ("Left hand", "Right hand"),
        ("MoveLeft", "MoveRight"),
        ("TurnLeftHand", "TurnRightHand"),
        ("left-handed", "right-handed"),
        ("go leftwards", "go rightwards"),
        ("rightward jump", "leftward jump"),
        ("turn clockwise", "turn anticlockwise"),
        ("turn clockwise", "turn counter-clockwise"),
        ("from left to right", "from right to left"),
    ],
)
def test_ways_of_writing(one: str, other: str) -> None:
    assert mirrored_labels(["wave", one, other]) == {0: 0, 1: 2, 2: 1}
    assert mirrored_labels(["wave", one]) == {0: 0}, "without its counterpart it is not mirrored"


@pytest.mark.parametrize("name", ["stand upright", "eating leftovers", "be bright", "a cleft", "copyright", "rightly"])
def test_words_that_only_look_like_sides(name: str) -> None:
    assert mirrored_labels([name, "x"]) == {0: 0, 1: 1}


def test_it_is_its_own_inverse() -> None:
    labels = ["turn clockwise", "turn anticlockwise", "turn counterclockwise", "left", "right"]
    counterparts = mirrored_labels(labels)
    assert all(counterparts[counterparts[index]] == index for index in counterparts)
    assert counterparts == {0: 2, 2: 0, 3: 4, 4: 3}, "one of two opposites, and the other is never mirrored"


words = st.sampled_from(["left", "Left", "RIGHT", "right", "from", "leftover", "lEFT", "goLeft", "Clockwise", "up"])


@given(st.lists(st.lists(words, max_size=4).map(" ".join), unique=True, max_size=8))
def test_it_is_its_own_inverse_for_any_names(labels: list[str]) -> None:
    counterparts = mirrored_labels(labels)
    assert all(counterparts[other] == index for index, other in counterparts.items())


def test_notes() -> None:
    labels = ["up", "swipe left", "swipe right", "left", "turn left"]
    told = mirror_note(labels, pairs=True)
    assert told == (
        "mirrored clips of 2 classes get the label of their mirror image; never mirrored, as no class has the mirrored "
        "name: 'left', 'turn left'"
    )
    assert mirror_note(labels[:3], pairs=True) == "mirrored clips of 2 classes get the label of their mirror image"
    assert mirror_note(labels, pairs=False) == (
        "clips are mirrored and keep their label, also in 'swipe left', 'swipe right', 'left' and 1 more, whose name "
        "says a side; set augment.flip_pairs, or augment.flip_probability to 0"
    )
