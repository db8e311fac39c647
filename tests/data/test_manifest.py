"""Lists of videos: what is read, what is refused and how the message helps, and what is held out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest
from fewframes.data.split import hold_out
from fewframes.errors import InvalidManifest, UnknownName, UsageError


def listed(folder: Path, content: str | bytes, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_csv_with_awkward_paths(tmp_path: Path) -> None:
    rows = ("a clip.mp4,walk", '"b, c.mp4",run fast', "", '"sub/d ""e"".mp4", walk ', "/abs/f.mp4,Ünï")
    path = listed(tmp_path, "\ufeff" + "\r\n".join(["path,label", *rows, ""]))
    manifest = read_manifest(path)
    assert manifest.source == str(path)
    assert manifest.videos == (
        Video(tmp_path / "a clip.mp4", ("walk",)),
        Video(tmp_path / "b, c.mp4", ("run fast",)),
        Video(tmp_path / 'sub/d "e".mp4', ("walk",)),
        Video(Path("/abs/f.mp4"), ("Ünï",)),
    )
    assert manifest.labels == ("run fast", "walk", "Ünï")


def test_splits_and_groups(tmp_path: Path) -> None:
    path = listed(tmp_path, "label, group ,path,split\nx,g1,a.mp4,train\ny,,b.mp4,test\nx,g2,c.mp4,\n")
    manifest = read_manifest(path)
    assert [(video.split, video.group) for video in manifest.videos] == [("train", "g1"), ("test", None), (None, "g2")]
    assert [video.label for video in manifest.only("test").videos] == ["y"]
    assert manifest.only(None) is manifest
    with pytest.raises(UnknownName, match=r"unknown split of .*list\.csv 'tset'; did you mean 'test'"):
        manifest.only("tset")
    unsplit = read_manifest(listed(tmp_path, "path,label\na.mp4,x\n", "plain.csv"))
    with pytest.raises(UsageError, match=r"plain\.csv has no splits, so there is no split 'test'; leave the option"):
        unsplit.only("test")


def test_one_of_several_split_columns(tmp_path: Path) -> None:
    path = listed(tmp_path, "path,label,split1,split2\na.mp4,x,train,test\nb.mp4,y,test,train\n")
    assert [video.split for video in read_manifest(path, split_column="split2").videos] == ["test", "train"]
    for column in ("split", "split3"):
        with pytest.raises(InvalidManifest, match=rf"no column '{column}'; choose .* among: split1, split2"):
            read_manifest(path, split_column=column)
    plain = listed(tmp_path, "path,label\na.mp4,x\n", "plain.csv")
    with pytest.raises(InvalidManifest, match="no column 'split1'; choose the split column among: none"):
        read_manifest(plain, split_column="split1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,lable\na.mp4,x\n", r"list\.csv: no column 'label' in path,lable; expected path,label"),
        ("path,label,spilt\na.mp4,x,train\n", r"list\.csv: unknown column 'spilt'; did you mean 'split'"),
        ("path,label,label\na.mp4,x,y\n", r"list\.csv: a column occurs twice in path,label,label"),
        ("path,label\na.mp4,x\nb,c.mp4,y\n", r"list\.csv line 3: 3 fields, expected 2 .* in double quotes"),
        ("path,label\na.mp4\n", r"list\.csv line 2: 1 fields, expected 2"),
        ("path,label\n,x\n", r"list\.csv line 2: empty path; expected a file's name"),
        ("", r"list\.csv is empty; expected a header"),
        ("path,label\n", r"list\.csv lists no videos; expected path,label lines"),
        ("a.mp4,x\nb.mp4,y\n", r"no column 'path' in a\.mp4,x; expected path,label"),
        ("path,label\nä.mp4,x\n".encode("latin-1"), r"list\.csv is not a CSV file in UTF-8 .*; save it as one"),
        ("path,label\n".encode("utf-16"), r"list\.csv is not a CSV file in UTF-8"),
        ('path,label\n"a".mp4,x\n', r"list\.csv is not a CSV file in UTF-8 \(.*expected after"),
    ],
)
def test_damaged_csv(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read_manifest(listed(tmp_path, content))


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"no list of videos at .*absent; expected a CSV file or a folder"):
        read_manifest(tmp_path / "absent")
    with pytest.raises(InvalidManifest, match="lists no videos; expected path,label lines, or class folders"):
        read_manifest(tmp_path)


def test_folder_of_classes(tmp_path: Path) -> None:
    touch(tmp_path, "walk/b.mp4", "walk/a.MOV", "run fast/deep/er/c.webm", ".hidden/d.mp4", "walk/._e.mp4")
    touch(tmp_path, "README.md", "walk/notes.txt", "loose.mp4", "empty/readme")
    manifest = read_manifest(tmp_path)
    assert manifest.videos == (
        Video(tmp_path / "run fast/deep/er/c.webm", ("run fast",)),
        Video(tmp_path / "walk/a.MOV", ("walk",)),
        Video(tmp_path / "walk/b.mp4", ("walk",)),
    )
    assert manifest.notes == (f"4 files in {tmp_path} are no videos in class folders and were passed over",)


def test_folder_with_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/x/a.mp4", "train/y/b.mp4", "val/x/c.mp4", "test/y/d.mp4", "test/stray.mp4")
    manifest = read_manifest(tmp_path)
    found = [(video.path.name, video.label, video.split) for video in manifest.videos]
    assert found == [("d.mp4", "y", "test"), ("a.mp4", "x", "train"), ("b.mp4", "y", "train"), ("c.mp4", "x", "val")]
    assert manifest.notes[0].startswith("1 files")
    # A class that is called like a split is a class if the others are not.
    touch(tmp_path / "other", "test/a.mp4", "walk/b.mp4")
    assert read_manifest(tmp_path / "other").labels == ("test", "walk")


def test_linked_folders_are_entered(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.mp4", "elsewhere/deep/b.mp4", "set/y/c.mp4")
    (tmp_path / "set" / "x").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "up").symlink_to("..")
    (tmp_path / "set" / "y" / "lost.mp4").symlink_to("nowhere.mp4")
    found = [str(video.path.relative_to(tmp_path / "set")) for video in read_manifest(tmp_path / "set").videos]
    assert found == ["x/a.mp4", "x/deep/b.mp4", "y/c.mp4", "y/lost.mp4"], "no circles, and nothing is lost silently"


def test_a_list_inside_a_folder_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4", "y/b.mp4")
    listed(tmp_path, "path,label\nx/a.mp4,one\n", "manifest.csv")
    manifest = read_manifest(str(tmp_path))
    assert manifest.videos == (Video(tmp_path / "x/a.mp4", ("one",)),)
    assert manifest.source == str(tmp_path / "manifest.csv")


def test_labels_as_indices() -> None:
    manifest = Manifest(
        "m.csv", (Video(Path("a.mp4"), ("run",)), Video(Path("b.mp4"), ("walk",)), Video(Path("c"), ("run",)))
    )
    assert manifest.indices_of(("jump", "run", "walk")) == [1, 2, 1]
    with pytest.raises(InvalidManifest, match=r"m\.csv: b\.mp4 has a label .* 'walk'; did you mean 'walking'"):
        manifest.indices_of(("run", "walking"))


def test_digest_names_the_exact_list() -> None:
    videos = (Video(Path("a.mp4"), ("x",), "train"), Video(Path("b.mp4"), ("y",), "train"))
    digest = Manifest("one", videos).sha256
    assert digest == Manifest("two", videos, ("note",)).sha256
    assert len(digest) == 64
    others = (videos[::-1], videos[:1], (videos[0], Video(Path("b.mp4"), ("y",), "test")))
    assert len({digest, *(Manifest("one", other).sha256 for other in others)}) == 4


def ungrouped(counts: dict[str, int]) -> Manifest:
    return Manifest("m", tuple(Video(Path(f"{label}{n}"), (label,)) for label in counts for n in range(counts[label])))


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 30), min_size=1), st.floats(0, 1), st.integers(0, 2**32))
def test_held_out_share_of_every_class(counts: dict[str, int], fraction: float, seed: int) -> None:
    manifest = ungrouped(counts)
    rest, held = hold_out(manifest, fraction, seed)
    assert sorted(map(str, rest.videos + held.videos)) == sorted(map(str, manifest.videos))
    kept, taken = (Counter(video.label for video in part.videos) for part in (rest, held))
    for label, count in counts.items():
        assert kept[label] >= 1
        assert taken[label] == min(round(fraction * count), count - 1)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), min_size=1, max_size=40),
    st.floats(0, 1),
    st.integers(0, 9),
)
def test_held_out_groups_stay_whole(pairs: list[tuple[str, int]], fraction: float, seed: int) -> None:
    videos = tuple(Video(Path(f"{n}.mp4"), (label,), None, f"g{group}") for n, (label, group) in enumerate(pairs))
    rest, held = hold_out(Manifest("m", videos), fraction, seed)
    assert {video.group for video in rest.videos}.isdisjoint(video.group for video in held.videos)
    assert {video.label for video in rest.videos} == {label for label, _ in pairs}
    assert [video for video in videos if video in rest.videos] == list(rest.videos), "the list's order"


def test_held_out_groups_across_classes_by_hand() -> None:
    # Six persons, each in both classes: a sixth held out is one person.
    videos = tuple(Video(Path(f"{n}{label}"), (label,), None, f"p{n}") for n in range(6) for label in "xy")
    rest, held = hold_out(Manifest("m", videos), 1 / 6, 0)
    assert (len(rest.videos), len(held.videos)) == (10, 2)
    assert len({video.group for video in held.videos}) == 1


def test_held_out_lines_of_one_file_stay_together() -> None:
    videos = tuple(Video(Path(f"{n // 2}.mp4"), ("x",)) for n in range(20))
    rest, held = hold_out(Manifest("m", videos), 0.3, 0)
    assert {video.path for video in rest.videos}.isdisjoint(video.path for video in held.videos)
    assert len(held.videos) == 6


def test_holding_out_follows_the_seed() -> None:
    manifest = ungrouped({"a": 20, "b": 20})
    assert hold_out(manifest, 0.25, 3) == hold_out(manifest, 0.25, 3)
    assert hold_out(manifest, 0.25, 3) != hold_out(manifest, 0.25, 4)
    assert hold_out(manifest, 0.0, 3)[1].videos == ()


def test_real_list(data_dir: Path) -> None:
    manifest = read_manifest(data_dir / "ucf6", split_column="split1")
    train, test = manifest.only("train"), manifest.only("test")
    assert (len(train.videos), len(test.videos), len(manifest.labels)) == (529, 202, 6)
    assert all(video.path.is_file() for video in manifest.videos)
    rest, held = hold_out(train, 0.1, 0)
    assert {(v.label, v.group) for v in rest.videos}.isdisjoint((v.label, v.group) for v in held.videos)
    assert 0.08 < len(held.videos) / len(train.videos) < 0.2
