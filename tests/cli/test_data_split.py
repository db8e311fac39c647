"""`fewframes data split`: lists that are written, what is said of them, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest, write_manifest
from fewframes.data.split import fold_list, split_list
from tests.helpers.command import Command


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    videos = tuple(
        Video(tmp_path / f"v_{label}_g{number:02}.mp4", (label,), None, f"p{number}", weight=2.0)
        for label in ("walk", "run")
        for number in range(10)
    )
    return write_manifest(Manifest("m", videos, classes=("walk", "run", "sit")), tmp_path / "list.csv")


def test_a_split(command: Command, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    arguments = ("data", "split", listed, "--val", 0.1, "--test", 0.2, "--seed", 5, "--output", out)
    outcome = command(*arguments)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{out}: train 14 (70.0 %), val 2 (10.0 %), test 4 (20.0 %)\n")
    assert "walk 10 7 (70.0 %) 1 (10.0 %) 2 (20.0 %)" in " ".join(outcome.out.split())
    parted, original = read_manifest(out), read_manifest(listed)
    assert parted.videos == split_list(original, {"val": 0.1, "test": 0.2}, seed=5).videos
    assert parted.classes == ("walk", "run", "sit")
    content = out.read_bytes()
    command(*arguments).assert_refused(2, f"{out} is there already; add --replace")
    assert command(*arguments, "--replace", "--json").document() == {
        "wanted": {"train": pytest.approx(0.7), "val": 0.1, "test": 0.2},
        "lists": [
            {
                "list": str(out),
                "rows": {"train": 14, "val": 2, "test": 4},
                "classes": [
                    {"label": label, "split": split, "listed": count, "usable": count}
                    for label, counts in (("walk", (7, 1, 2)), ("run", (7, 1, 2)), ("sit", (0, 0, 0)))
                    for split, count in zip(("train", "val", "test"), counts, strict=True)
                ],
            }
        ],
    }
    assert out.read_bytes() == content, "the same seed, the same file"


def test_splits_that_are_there_are_kept(command: Command, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    command("data", "split", listed, "--test", 0.2, "--output", out)
    before = out.read_bytes()
    other = ("data", "split", out, "--test", 0.4, "--output", tmp_path / "other.csv")
    command(*other).assert_refused(2, f"{out} has splits (test, train); add --replace to make others")
    assert not (tmp_path / "other.csv").exists()
    command(*other, "--replace")
    assert Counter(video.split for video in read_manifest(tmp_path / "other.csv").videos) == {"train": 12, "test": 8}
    assert out.read_bytes() == before


def test_folds(command: Command, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "cv.jsonl"
    outcome = command("data", "split", listed, "--folds", 5, "--val", 0.2, "--output", out)
    assert outcome.status == 0
    names = [f"cv.fold{fold}.jsonl" for fold in range(1, 6)]
    assert sorted(path.name for path in out.parent.glob("*.jsonl")) == names
    expected = fold_list(read_manifest(listed), 5, val=0.2)
    for name, parted in zip(names, expected, strict=True):
        assert read_manifest(out.parent / name).videos == parted.videos
        assert f"{out.parent / name}: train 12 (60.0 %), val 4 (20.0 %), test 4 (20.0 %)" in outcome.out
    again = command("data", "split", listed, "--folds", 5, "--output", out)
    again.assert_refused(2, "cv.fold1.jsonl is there already")


def test_groupings(command: Command, listed: Path, tmp_path: Path) -> None:
    split = ("data", "split", listed, "--test", 0.2, "--replace", "--output", tmp_path / "out.csv")
    refused = command(*split, "--group-by", r"regex:_g(\d)")
    refused.assert_refused(2, "no video of", "can go to test: it has 1 groups")
    outcome = command(*split, "--group-by", r"regex:_g(\d\d)")
    assert outcome.status == 0
    homes = {str(video.path)[-6:]: video.split for video in read_manifest(tmp_path / "out.csv").videos}
    assert Counter(homes.values()) == {"train": 8, "test": 2}
    plain = write_manifest(Manifest("m", (Video(Path("a"), ("x",)), Video(Path("b"), ("x",)))), tmp_path / "p.csv")
    outcome = command("data", "split", plain, "--test", 0.5, "--output", tmp_path / "q.csv")
    assert outcome.err == f"note: {plain} names no groups, so each file was drawn by itself\n"


def test_wrong_usage(command: Command, listed: Path, tmp_path: Path) -> None:
    split = ("data", "split", listed, "--output", tmp_path / "out.csv")
    command(*split).assert_refused(2, "nothing to split off; give --val, --test or both")
    command(*split, "--val", 0.5, "--test", 0.5).assert_refused(2, "expected numbers above 0 that leave something")
    command(*split, "--val", -0.5).assert_refused(2, "expected numbers above 0")
    command(*split, "--folds", 5, "--test", 0.1).assert_refused(2, "leave --test out")
    command(*split, "--folds", 1).assert_refused(2, "folds is 1", "at least 2")
    command(*split, "--folds", -2).assert_refused(2, "folds is -2", "at least 2")
    command(*split, "--folds", 11).assert_refused(2, "10 groups are too few for 11 folds")
    command(*split, "--test", 0.1, "--group-by", "person").assert_refused(2, "group-by is 'person'; expected group")
    command("data", "split", listed, "--test", 0.1, "--output", tmp_path / "x.txt").assert_refused(
        2, "x.txt ends in .txt; expected .csv, .jsonl, .parquet"
    )
    command("data", "split", tmp_path / "no", "--test", 0.1, "--output", "x.csv").assert_refused(1, "no list of videos")
    assert list(tmp_path.glob("out*")) == []
