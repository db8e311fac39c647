"""Splits and folds: shares, whole groups, files, seeds, and what cannot be split."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest
from fewframes.data.split import fold_list, split_list
from fewframes.errors import UsageError

THIRDS = {"val": 0.1, "test": 0.2}


def made_of(*rows: tuple[str, str, str | None]) -> Manifest:
    """A list of (path, labels parted by spaces, group)."""
    return Manifest("m", tuple(Video(Path(path), tuple(labels.split()), None, group) for path, labels, group in rows))


def plain(counts: dict[str, int]) -> Manifest:
    return made_of(*((f"{label}{number}", label, None) for label, count in counts.items() for number in range(count)))


def count(manifest: Manifest) -> dict[str, dict[str, int]]:
    """label -> split -> rows."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for video in manifest.videos:
        for label in video.labels:
            counts[label][str(video.split)] += 1
    return {label: dict(each) for label, each in counts.items()}


def test_shares_by_hand() -> None:
    assert count(split_list(plain({"a": 10, "b": 20, "c": 50}), THIRDS)) == {
        "a": {"train": 7, "val": 1, "test": 2},
        "b": {"train": 14, "val": 2, "test": 4},
        "c": {"train": 35, "val": 5, "test": 10},
    }
    assert count(split_list(plain({"a": 4}), {"test": 0.25})) == {"a": {"train": 3, "test": 1}}


def test_groups_across_classes_by_hand() -> None:
    # Ten persons, each once in both classes; two of them make a fifth of either.
    manifest = made_of(*((f"{label}{number}", label, f"p{number}") for number in range(10) for label in "xy"))
    parted = split_list(manifest, {"test": 0.2})
    assert count(parted) == {"x": {"train": 8, "test": 2}, "y": {"train": 8, "test": 2}}
    assert len({video.group for video in parted.videos if video.split == "test"}) == 2


def test_groups_of_different_sizes_by_hand() -> None:
    # 6 + 3 + 1 = 10 rows: a third is the group of 3, a tenth the group of 1.
    sizes = {"big": 6, "middle": 3, "small": 1}
    rows = [(f"{name}{number}", "x", name) for name, size in sizes.items() for number in range(size)]
    for seed in range(8):
        random.Random(seed).shuffle(rows)
        parted = split_list(made_of(*rows), {"val": 0.1, "test": 0.3}, seed=seed)
        assert {video.group: video.split for video in parted.videos} == {
            "big": "train",
            "middle": "test",
            "small": "val",
        }


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40), min_size=1), st.integers(0, 99))
def test_every_class_comes_as_near_as_its_rows_allow(counts: dict[str, int], seed: int) -> None:
    manifest = plain({**counts, "large": 50})
    parted = split_list(manifest, THIRDS, seed=seed)
    found = count(parted)
    for label, total in {**counts, "large": 50}.items():
        assert found[label]["train"] >= 1
        for split, share in {"train": 0.7, **THIRDS}.items():
            assert abs(found[label].get(split, 0) - share * total) < 1.5
    assert [replace(video, split=None) for video in parted.videos] == list(manifest.videos), "rows and order are kept"


rows = st.lists(
    st.tuples(st.integers(0, 15), st.lists(st.sampled_from("abc"), max_size=2, unique=True), st.integers(0, 9)),
    min_size=1,
    max_size=50,
)


@given(rows, st.sampled_from(["group", "file", "regex:file(.)", "folder"]), st.integers(0, 9))
def test_groups_and_files_stay_whole(rows: list[tuple[int, list[str], int]], group_by: str, seed: int) -> None:
    """Files 0 to 15 in rows of labels and groups drawn at random; a file may be in several groups."""
    manifest = Manifest(
        "m",
        tuple(
            Video(Path(f"d{file % 3}/file{file:x}"), tuple(labels), None, f"g{group}" if group else None, float(number))
            for number, (file, labels, group) in enumerate(rows)
        ),
    )
    try:
        parted = split_list(manifest, {"test": 0.3}, group_by=group_by, seed=seed)
    except UsageError as error:
        assert "no video of m can go to test" in str(error)
        return
    homes: dict[object, set[str | None]] = defaultdict(set)
    for video in parted.videos:
        homes[video.path].add(video.split)
        if group_by == "group" and video.group is not None:
            homes[video.group].add(video.split)
        if group_by == "folder":
            homes[Path(video.path).parent].add(video.split)
    assert {len(splits) for splits in homes.values()} == {1}
    found = count(parted)
    assert all(splits.get("train", 0) > 0 for splits in found.values()), "no class loses its training videos"
    again = split_list(replace(manifest, videos=manifest.videos[::-1]), {"test": 0.3}, group_by=group_by, seed=seed)
    assert again.videos[::-1] == parted.videos, "whatever the order of the list"


def test_a_class_of_one_group_is_trained_on() -> None:
    manifest = made_of(*((f"{n}.mp4", "x y" if n == 0 else "x", None) for n in range(10)))
    for seed in range(10):
        parted = split_list(manifest, {"test": 0.5}, seed=seed)
        assert parted.videos[0].split == "train"
        assert Counter(video.split for video in parted.videos) == {"train": 5, "test": 5}


def test_the_seed_decides() -> None:
    manifest = plain({"a": 30, "b": 30})
    assert split_list(manifest, THIRDS, seed=1) == split_list(manifest, THIRDS, seed=1)
    assert split_list(manifest, THIRDS, seed=1) != split_list(manifest, THIRDS, seed=2)


def test_groups_by_pattern() -> None:
    names = [f"v_{label}_g{group:02}_c{clip:02}.mp4" for label in "xy" for group in range(5) for clip in range(4)]
    manifest = made_of(*((f"{name}", name[2], None) for name in names))
    parted = split_list(manifest, {"test": 0.2}, group_by=r"regex:_g(\d+)_")
    assert {video.split for video in parted.videos if "_g03_" in str(video.path)} in ({"train"}, {"test"})
    assert count(parted) == {"x": {"train": 16, "test": 4}, "y": {"train": 16, "test": 4}}
    tested = {str(video.path)[4:7] for video in parted.videos if video.split == "test"}
    assert len(tested) == 1, "one number for both classes"
    both = split_list(manifest, {"test": 0.2}, group_by=r"regex:v_(\w)_g(\d+)_", seed=2)
    assert count(both) == count(parted)
    assert any(
        len({str(video.path)[4:7] for video in split_list(manifest, {"test": 0.2}, group_by=pattern, seed=seed).videos
             if video.split == "test"}) == 2
        for seed in range(9)
        for pattern in [r"regex:v_\w_g\d+"]
    ), "without brackets all that matches counts, so each class draws its own"  # fmt: skip


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("groups", "group-by is 'groups'; expected group, file, folder, regex:PATTERN"),
        ("regex:", "group-by is 'regex:'; expected"),
        ("regex:(", r"'\(' is no regular expression \(.*\); correct --group-by"),
        ("regex:zzz", "a0 does not match 'zzz'; correct --group-by so that it fits every path"),
        ("folder", "no video of m can go to val: it has 1 groups, and each class needs one for training"),
    ],
)
def test_wrong_groupings(group_by: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        split_list(plain({"a": 5}), THIRDS, group_by=group_by)


@pytest.mark.parametrize("shares", [{}, {"val": 0.0}, {"val": -0.1}, {"val": 0.5, "test": 0.5}, {"train": 0.5}])
def test_wrong_shares(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"shares are .*; expected numbers above 0 that leave something for training"):
        split_list(plain({"a": 5}), shares)


@given(st.dictionaries(st.sampled_from("abc"), st.integers(8, 40), min_size=1), st.integers(2, 5), st.integers(0, 9))
def test_folds(counts: dict[str, int], folds: int, seed: int) -> None:
    manifest = plain(counts)
    lists = fold_list(manifest, folds, seed=seed)
    assert len(lists) == folds
    tested = [[video.split for video in parted.videos].count("test") for parted in lists]
    assert sum(tested) == len(manifest.videos)
    for rows in zip(*(parted.videos for parted in lists), strict=True):
        assert sorted(str(video.split) for video in rows) == ["test"] + ["train"] * (folds - 1)
    for parted in lists:
        for label, splits in count(parted).items():
            assert abs(splits.get("test", 0) - counts[label] / folds) < 1.5
            assert splits["train"] > 0


def test_folds_with_validation_and_groups() -> None:
    rows = [(f"{label}{group}{clip}", label, f"{group}") for label in "xy" for group in range(10) for clip in range(3)]
    lists = fold_list(made_of(*rows), 5, val=0.2, seed=3)
    for parted in lists:
        assert count(parted) == {label: {"train": 18, "val": 6, "test": 6} for label in "xy"}
        homes: dict[str | None, set[str | None]] = defaultdict(set)
        for video in parted.videos:
            homes[video.group].add(video.split)
        assert {len(splits) for splits in homes.values()} == {1}
    tested = [{video.group for video in parted.videos if video.split == "test"} for parted in lists]
    assert sorted(group for groups in tested for group in groups if group) == sorted(map(str, range(10)))
    assert lists == fold_list(made_of(*rows), 5, val=0.2, seed=3)
    assert lists != fold_list(made_of(*rows), 5, val=0.2, seed=4)


def test_folds_that_cannot_be() -> None:
    alone = made_of(("a", "x", None), ("b", "x", None), ("c", "y", None))
    with pytest.raises(UsageError, match="all videos of 'y' are in one group, so the fold that tests it has none"):
        fold_list(alone, 2)
    for folds, val in ((1, 0.0), (2, 0.5), (2, -0.1)):
        with pytest.raises(UsageError, match=f"folds is {folds} and val is {val}; expected at least 2, and a share of"):
            fold_list(plain({"a": 9}), folds, val=val)
    with pytest.raises(UsageError, match="the 2 groups are too few for 5 folds, each with something to test; ask for"):
        fold_list(made_of(("a", "x", None), ("b", "x", None)), 5)
    # Each is trained on where the other is tested.
    lists = fold_list(made_of(("a", "x", None), ("b", "x", None)), 2)
    assert [sorted(str(video.split) for video in parted.videos) for parted in lists] == [["test", "train"]] * 2


def test_real_lists(data_dir: Path) -> None:
    ucf = read_manifest(data_dir / "ucf6", split_column="split1")
    parted = split_list(ucf, {"val": 0.15, "test": 0.25}, group_by=r"regex:_(g\d\d)_")
    for splits in count(parted).values():
        total = sum(splits.values())
        for split, share in (("train", 0.6), ("val", 0.15), ("test", 0.25)):
            assert abs(splits[split] / total - share) < 0.05
    ut = read_manifest(data_dir / "ut_interaction", group_column="sequence")
    # As published, each of its twenty sequences tested once; one of them has a video of another's.
    tested = [[video.group for video in one.videos if video.split == "test"] for one in fold_list(ut, 20)]
    assert sorted(map(len, tested)) == [5, *[6] * 18, 7]
    assert sorted(len(set(groups)) for groups in tested) == [1] * 20
