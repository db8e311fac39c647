"""Class folders under official names: every way in which folders are spelt, and none by guessing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.classes import label_lists, official_labels
from fewframes.data.importers.folder import FolderImport, match_folders, read_folder
from fewframes.data.manifest import Video
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import InvalidManifest, UnknownName, UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def torchvision(name: str) -> str:
    """How torchvision's Kinetics names folders."""
    return name.replace(" ", "_").replace("'", "").replace("(", "").replace(")", "")


SPELLINGS = {
    "as it is": lambda name: name,
    "torchvision": torchvision,
    "MMAction2": lambda name: name.replace(" ", "_"),
    "hyphens": lambda name: torchvision(name).replace("_", "-"),
    "lower case": lambda name: torchvision(name).lower(),
    "doubled": lambda name: name.replace(" ", "__"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", label_lists())
def test_every_official_name_in_every_spelling(name: str, spelling: str) -> None:
    classes = official_labels(name)
    folders = [SPELLINGS[spelling](each).replace("/", "_") for each in classes]
    assert len(set(folders)) == len(classes)
    found = match_folders(sorted(folders), classes)
    assert [found[folder] for folder in folders] == list(classes)


def test_kinetics_308_and_309(tmp_path: Path) -> None:
    # Sorted folder names would number these two the other way round.
    names = ("skiing_not_slalom_or_crosscountry", "skiing_crosscountry")
    assert sorted(names) == list(names[::-1])
    touch(tmp_path, *(f"{split}/{name}/{split}.mp4" for split in ("train", "val") for name in names))
    manifest = read_folder(FolderImport(tmp_path, "kinetics400"))
    official = official_labels("kinetics400")
    assert manifest.classes == official
    right, wrong = official.index("skiing (not slalom or crosscountry)"), official.index("skiing crosscountry")
    assert (right, wrong) == (308, 309)
    assert [
        (video.split, index) for video, index in zip(manifest.videos, manifest.indices_of(official), strict=True)
    ] == [
        ("train", 309),
        ("train", 308),
        ("val", 309),
        ("val", 308),
    ]
    assert manifest.notes == (
        "2 folder names were read as official class names, such as 'skiing_crosscountry' for 'skiing crosscountry'",
        "398 of 400 classes have no folder, the first is 'abseiling'",
    )


def test_folders_without_names(tmp_path: Path) -> None:
    touch(tmp_path, "train/walk/a.mp4", "val/run/b.mp4", "val/notes.txt")
    manifest = read_folder(FolderImport(tmp_path))
    assert manifest == read_manifest(tmp_path)
    assert manifest.classes is None
    assert manifest.videos[1] == Video(tmp_path / "val/run/b.mp4", ("run",), "val")


def test_names_in_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "v", "run_fast/a.mp4", "walk/b.mp4", "notes.txt")
    names = tmp_path / "names.txt"
    names.write_text("walk\nrun (fast)\n")
    manifest = read_folder(FolderImport(tmp_path / "v", str(names)))
    assert manifest.indices_of(manifest.labels) == [1, 0]
    assert manifest.notes[0] == f"1 files in {tmp_path / 'v'} are no videos in class folders and were passed over"
    assert len(manifest.notes) == 2


def test_two_folders_of_one_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/air_drumming/a.mp4", "val/air drumming/b.mp4")
    manifest = read_folder(FolderImport(tmp_path, "kinetics400"))
    assert [video.label for video in manifest.videos] == ["air drumming"] * 2
    assert manifest.notes[-1] == "the folders 'air drumming' and 'air_drumming' are one class"


def test_letter_for_letter_comes_first() -> None:
    assert match_folders(["a b", "a_b"], ["a b", "a_b"]) == {"a b": "a b", "a_b": "a_b"}
    assert match_folders(["Ab", "ab"], ["Ab", "ab"]) == {"Ab": "Ab", "ab": "ab"}
    with pytest.raises(
        InvalidManifest, match=r"1 folders are none of the 2 classes, .*: 'a-b' \(either of \['a b', 'a_b'\]\)"
    ):
        match_folders(["a-b"], ["a b", "a_b"])
    with pytest.raises(InvalidManifest, match=r"'AB' \(either of \['Ab', 'aB'\]\)"):
        match_folders(["AB"], ["Ab", "aB"])


def test_folders_that_are_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "Archery/a.mp4", "Archerie/b.mp4", "qqq/c.mp4")
    message = (
        rf"{tmp_path}: 2 folders are none of the 101 classes, .*: 'Archerie' \(near \['Archery'\]\), 'qqq'; rename"
    )
    with pytest.raises(InvalidManifest, match=message):
        read_folder(FolderImport(tmp_path, "ucf101"))
    with pytest.raises(UnknownName, match="'ucf1001'; did you mean 'ucf101'"):
        read_folder(FolderImport(tmp_path, "ucf1001"))
    with pytest.raises(InvalidManifest, match="holds no videos in class folders; expected such as walk/a"):
        read_folder(FolderImport(touch(tmp_path / "loose", "a.mp4")))
    with pytest.raises(UsageError, match=r"the folder of class folders .*a\.mp4 is a file; expected a folder"):
        read_folder(FolderImport(tmp_path / "loose" / "a.mp4"))


def test_real_folders(data_dir: Path) -> None:
    manifest = read_folder(FolderImport(data_dir / "ucf6", "ucf101"))
    assert (len(manifest.videos), len(manifest.labels)) == (731, 101)
    listed = read_manifest(data_dir / "ucf6", split_column="split1")
    assert {(video.path, video.label) for video in manifest.videos} == {
        (video.path, video.label) for video in listed.videos
    }
    assert sorted(set(manifest.indices_of(official_labels("ucf101")))) == [2, 8, 40, 63, 66, 87]
