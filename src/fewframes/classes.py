"""The name of a data set comes in; its class names in official label-index order go out."""

from __future__ import annotations

from functools import cache
from importlib import resources

from fewframes.errors import UnknownName

__all__ = ["label_lists", "official_labels"]

_JOINED = {"epic100": (("noun", "epic100_nouns"), ("verb", "epic100_verbs"))}


@cache
def official_labels(name: str) -> tuple[str, ...]:
    """The class names of a data set in its official label-index order, such as "kinetics400".

    "epic100" joins two lists in the order of a joint head, "noun:tap" first and "verb:take" after the last noun.

    Raises:
        UnknownName: there is no such list; the nearest one is suggested.
    """
    if name not in label_lists():
        raise UnknownName("official label list", name, label_lists())
    if name in _JOINED:
        return tuple(f"{head}:{label}" for head, part in _JOINED[name] for label in official_labels(part))
    file = resources.files("fewframes") / "labels" / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())


@cache
def label_lists() -> tuple[str, ...]:
    """The data sets whose official class names ship with this package, sorted."""
    folder = resources.files("fewframes") / "labels"
    files = (file.name.removesuffix(".txt") for file in folder.iterdir() if file.name.endswith(".txt"))
    return tuple(sorted([*files, *_JOINED]))
