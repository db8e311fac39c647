"""Official class names: as many as published, in the published order."""

from __future__ import annotations

import pytest

from fewframes.classes import label_lists, official_labels
from fewframes.errors import UnknownName

# Data set -> number of classes, and some index -> name (SPEC 5; sanitised or re-sorted lists differ at these).
KNOWN = {
    "charades": (157, {0: "Holding some clothes"}),
    "diving48": (48, {0: "Back+15som+05Twis+FREE"}),
    "epic100": (397, {0: "noun:tap", 300: "verb:take"}),
    "epic100_nouns": (300, {0: "tap"}),
    "epic100_verbs": (97, {0: "take"}),
    "hmdb51": (51, {0: "brush_hair"}),
    "jester": (27, {}),
    "kinetics400": (400, {0: "abseiling", 116: "eating spaghetti", 399: "zumba"}),
    "kinetics600": (600, {}),
    "kinetics700": (700, {}),
    "moments_in_time_v1": (339, {0: "clapping", 1: "praying", 2: "dropping"}),
    "ssv2": (174, {0: "Approaching something with your camera"}),
    "ucf101": (101, {34: "Hammering", 35: "HammerThrow", 46: "JumpingJack", 47: "JumpRope"}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_number_and_order(name: str) -> None:
    count, some = KNOWN[name]
    labels = official_labels(name)
    assert len(set(labels)) == len(labels) == count
    assert {index: labels[index] for index in some} == some


def test_every_list_is_checked_here() -> None:
    assert label_lists() == tuple(sorted(KNOWN))


def test_kinetics_labels_in_the_official_order() -> None:
    labels = official_labels("kinetics400")
    assert len(set(labels)) == 400
    assert (labels[0], labels[116], labels[399]) == ("abseiling", "eating spaghetti", "zumba")
    # Sorted as they are written; without the brackets, 308 and 309 would change places.
    assert labels[308:310] == ("skiing (not slalom or crosscountry)", "skiing crosscountry")
    assert list(labels) == sorted(labels)


def test_labels_of_an_unknown_data_set() -> None:
    with pytest.raises(UnknownName, match="unknown official label list 'kinetics4000'; did you mean 'kinetics400'"):
        official_labels("kinetics4000")
