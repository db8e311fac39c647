"""Class names come in; which class the mirror image of a clip belongs to goes out, and what a reader should know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

__all__ = ["mirror_note", "mirrored_labels"]

# A word of its own (left, LEFT, move_left), the part of a joined word (MoveLeft), leftwards; not upright or leftover.
_SIDE = re.compile(
    r"(?:(?<![A-Za-z])(?i:left|right)|(?<=[a-z])(?:Left|Right))(?=(?:wards?)?(?![a-z]))"
    r"|(?<![A-Za-z])(?i:(?:(?:counter|anti)-?)?clockwise)(?![a-z])"
)
_AGAINST = ("counter", "anti", "counter-", "anti-")
_NAMED = 3


def mirrored_labels(labels: Sequence[str]) -> dict[int, int]:
    """The class that a clip belongs to once left and right have changed places, for each class where that is known.

    A name without a side stays what it is. "Pushing something from left to right" becomes the class that is called
    "Pushing something from right to left", "clockwise" becomes "counterclockwise". Where the list has no class of the
    exchanged name, the class is left out: its clips must not be mirrored. That also leaves out a name which says
    "right" in another sense, such as "pulling it right out".

    Args:
        labels: class names in index order, each once.

    Returns:
        Class index -> class index; its own inverse.
    """
    places = {label: index for index, label in enumerate(labels)}
    found = {}
    for index, label in enumerate(labels):
        there = [places[name] for name in _exchanged(label) if name in places]
        if there:
            found[index] = there[0]
    return {index: other for index, other in found.items() if found.get(other) == index}


def mirror_note(labels: Sequence[str], *, pairs: bool) -> str:
    """A sentence on classes whose name says a side, for a run that mirrors clips; empty if there are none.

    Args:
        labels: class names in index order.
        pairs: whether mirrored clips get the label of their counterpart, and those without one are never mirrored.
    """
    sided = [label for label in labels if _SIDE.search(label)]
    if not sided:
        return ""
    if not pairs:
        return (
            f"clips are mirrored and keep their label, also in {_listed(sided)}, whose name says a side; "
            "set augment.flip_pairs, or augment.flip_probability to 0"
        )
    counterparts = mirrored_labels(labels)
    alone = [label for index, label in enumerate(labels) if index not in counterparts]
    told = f"mirrored clips of {len(sided) - len(alone)} classes get the label of their mirror image"
    return f"{told}; never mirrored, as no class has the mirrored name: {_listed(alone)}" if alone else told


def _exchanged(label: str) -> list[str]:
    """The names that the mirror image may have; the label itself if it says no side."""
    return list(dict.fromkeys(_SIDE.sub(partial(_opposite, against=against), label) for against in _AGAINST))


def _opposite(found: re.Match[str], against: str) -> str:
    """The opposite of one word, written like it."""
    word = found[0]
    low = word.lower()
    if low in ("left", "right"):
        opposite = "right" if low == "left" else "left"
    else:
        opposite = f"{against}clockwise" if low == "clockwise" else "clockwise"
    if word.isupper():
        return opposite.upper()
    return opposite.capitalize() if word[0].isupper() else opposite


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(repr(label) for label in labels[:_NAMED]) + more
