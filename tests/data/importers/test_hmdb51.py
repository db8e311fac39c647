"""HMDB51: marks 0, 1 and 2, names that shells stumble over, and lists that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.classes import official_labels
from fewframes.data.importers.hmdb51 import Hmdb51Import, read_hmdb51
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError

from . import assert_survives_writing, put, touch

CLASSES = official_labels("hmdb51")
BRUSH = (
    "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 \n"
    "Aussie_Brunette_Brushing_Hair_II_brush_hair_u_nm_np1_le_goo_0.avi 2 \n"
    "atheismfaq_brush_hair_h_cm_np1_fr_med_3.avi 0 \n"
)
CLAP = "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi 2 \r\n(Who's)_it;_&!_clap_u_nm_np1_fr_goo_12.avi 1\r\n\r\nodd.avi 1 \r\n"


def read(folder: Path, split: int = 1, **content: str) -> Manifest:
    """What 51 lists give: those of the named classes, the others with one training video each."""
    for label in CLASSES:
        text = content.get(label, f"{label}_{label}_f_cm_np1_fr_med_0.avi 1 \n")
        put(folder / f"lists/{label}_test_split{split}.txt", text)
    return read_hmdb51(Hmdb51Import(touch(folder / "videos"), folder / "lists", split))  # type: ignore[arg-type]


def test_rows_and_marks(tmp_path: Path) -> None:
    videos = touch(
        tmp_path / "videos",
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi",
        "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.mp4",
        "(Who's)_it;_&!_clap_u_nm_np1_fr_goo_12.avi",
    )
    manifest = read(tmp_path, brush_hair=BRUSH, clap=CLAP)
    brush, clap = ("brush_hair",), ("clap",)
    source = "Aussie_Brunette_Brushing_Hair_II"
    missing = videos / f"brush_hair/{source}_brush_hair_u_nm_np1_le_goo_0.avi"
    assert [video for video in manifest.videos if video.labels in (brush, clap)] == [
        Video(videos / "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", brush, "train", "brush_hair April_09"),
        Video(missing, brush, "test", f"brush_hair {source}"),
        Video(videos / "clap/#20_Rhythm_clap_u_nm_np1_fr_goo_0.mp4", clap, "test", "clap #20_Rhythm"),
        Video(videos / "(Who's)_it;_&!_clap_u_nm_np1_fr_goo_12.avi", clap, "train", "clap (Who's)_it;_&!"),
        Video(videos / "clap/odd.avi", clap, "train", None),
    ]
    assert len(manifest.videos) == 2 + 3 + 49
    assert manifest.classes == CLASSES
    assert [CLASSES.index(label) for label in dict.fromkeys(video.label for video in manifest.videos)] == [*range(51)]
    assert manifest.notes == (
        "HMDB51 split 1: 52 train, 2 test",
        "HMDB51 split 1: 52 train videos are listed where the published list has 3,570",
        "HMDB51 split 1: 2 test videos are listed where the published list has 1,530",
        "HMDB51 split 1: 1 videos are marked 0, for neither training nor testing, and were left out",
        "1 file names do not tell their source, so they have no group",
        f"51 of 54 listed videos are not in {videos}, the first is {missing}",
    )
    assert_survives_writing(manifest, tmp_path)


def test_official_numbers_need_no_remark(tmp_path: Path) -> None:
    for label in CLASSES:
        lines = [f"a{n}_{label}_f_cm_np1_fr_med_0.avi {1 if n < 70 else 2 if n < 100 else 0} " for n in range(102)]
        put(tmp_path / f"lists/{label}_test_split3.txt", "\n".join(lines))
    manifest = read_hmdb51(Hmdb51Import(touch(tmp_path / "videos"), tmp_path / "lists", 3))
    assert manifest.notes[:2] == (
        "HMDB51 split 3: 3,570 train, 1,530 test",
        "HMDB51 split 3: 102 videos are marked 0, for neither training nor testing, and were left out",
    )


def test_a_source_in_both_parts_is_said(tmp_path: Path) -> None:
    torn = "x_clap_u_nm_np1_fr_goo_0.avi 1\nx_clap_u_nm_np1_fr_goo_1.avi 2\ny_clap_u_nm_np1_fr_goo_0.avi 1\n"
    # The same source in another class is another group.
    other = "y_run_f_nm_np1_fr_goo_0.avi 2\n"
    notes = read(tmp_path, clap=torn, run=other).notes
    assert "1 sources have clips in several splits, the first is clap x" in notes


def test_each_split_reads_its_own_lists(tmp_path: Path) -> None:
    for split in (1, 2, 3):
        read(tmp_path, split, clap=f"s{split}_clap_u_nm_np1_fr_goo_0.avi 2\n")
    for split in (1, 2, 3):
        manifest = read_hmdb51(Hmdb51Import(tmp_path / "videos", tmp_path / "lists", split))  # type: ignore[arg-type]
        assert [video.group for video in manifest.only("test").videos] == [f"clap s{split}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a.avi 3\n",
            r"clap_test_split1\.txt line 1: 'a\.avi 3'; expected a file name and 1 \(train\), 2 \(test\) or 0",
        ),
        ("a.avi 1\n\na.avi\n", r"clap_test_split1\.txt line 3: 'a\.avi'; expected"),
        ("1\n", r"line 1: '1'; expected"),
        ("a.avi 1\nb.avi 2\na.avi 2\n", r"clap_test_split1\.txt line 3: a\.avi was listed before, in line 1"),
    ],
)
def test_damaged_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read(tmp_path, clap=text)


def test_missing_and_foreign_lists(tmp_path: Path) -> None:
    read(tmp_path)
    options = Hmdb51Import(tmp_path / "videos", tmp_path / "lists")
    put(tmp_path / "lists/clapp_test_split1.txt", CLAP)
    with pytest.raises(InvalidManifest, match=r"clapp_test_split1\.txt: the label 'clapp' .* nearest one is 'clap'"):
        read_hmdb51(options)
    (tmp_path / "lists/clapp_test_split1.txt").unlink()
    for label in ("wave", "clap"):
        (tmp_path / f"lists/{label}_test_split1.txt").unlink()
    with pytest.raises(
        InvalidManifest, match=r"lists lacks the lists of 2 of 51 classes, the first is clap_test_split1"
    ):
        read_hmdb51(options)
    with pytest.raises(InvalidManifest, match="lacks the lists of 51 of 51 classes"):
        read_hmdb51(Hmdb51Import(tmp_path / "videos", tmp_path / "lists", 2))
    with pytest.raises(UsageError, match=r"the folder of lists .*absent does not exist"):
        read_hmdb51(Hmdb51Import(tmp_path / "videos", tmp_path / "absent"))


def test_nothing_marked(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="marks no video 1 for training or 2 for testing"):
        read(tmp_path, **dict.fromkeys(CLASSES, "a.avi 0\n"))
