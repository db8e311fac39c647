"""Kinetics: lists in both published forms, files in every layout, and the classes that folders swap."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewframes.classes import official_labels
from fewframes.data.importers.kinetics import KineticsImport, folder_spellings, read_kinetics
from fewframes.data.manifest import Manifest, Video
from fewframes.errors import InvalidManifest, UsageError

from . import assert_survives_writing, put, touch

HEADER = "label,youtube_id,time_start,time_end,split\n"


def read(folder: Path, content: str | bytes, name: str = "train.csv", **options: object) -> Manifest:
    """What a list in this folder gives, with the videos in its folder "videos"."""
    touch(folder / "videos")
    lists = (put(folder / name, content),)
    return read_kinetics(KineticsImport(folder / "videos", lists, **options))  # type: ignore[arg-type]


def index_of(manifest: Manifest, video: Video) -> int:
    return manifest.labels.index(video.label)


def test_rows_of_both_published_forms(tmp_path: Path) -> None:
    videos = touch(
        tmp_path / "videos", "train/abseiling/-0Vq_x-aBcD_000012_000022.mp4", "val/zumba/__0Vq_x-aBc_000000_000010.webm"
    )
    deepmind = put(
        tmp_path / "train.csv", HEADER + "abseiling,-0Vq_x-aBcD,12,22,train\neating spaghetti,0Vq,3,13,train\n"
    )
    crawler = put(
        tmp_path / "val.csv",
        "\ufeffyoutube_id,is_cc,label,split,time_end,time_start\r\n"
        '__0Vq_x-aBc,0,"zumba",validate,10.0,0.0\r\n'
        '1VqxaBcDeFg,1,"massaging person\'s head",val,1010.4,1000.6\r\n',
    )
    manifest = read_kinetics(KineticsImport(videos, (deepmind, crawler)))
    head = "massaging person's head"
    assert manifest.videos == (
        Video(videos / "train/abseiling/-0Vq_x-aBcD_000012_000022.mp4", ("abseiling",), "train", "-0Vq_x-aBcD"),
        Video(videos / "train/eating spaghetti/0Vq_000003_000013.mp4", ("eating spaghetti",), "train", "0Vq"),
        Video(videos / "val/zumba/__0Vq_x-aBc_000000_000010.webm", ("zumba",), "val", "__0Vq_x-aBc"),
        Video(videos / f"val/{head}/1VqxaBcDeFg_001000_001010.mp4", (head,), "val", "1VqxaBcDeFg"),
    )
    assert [index_of(manifest, video) for video in manifest.videos] == [0, 116, 399, 196]
    assert manifest.classes == official_labels("kinetics400")
    assert manifest.source == f"{deepmind}, {crawler}"
    train, val = "214,834 or 234,643 or 240,436 or 240,618 or 246,535", "17,637 or 19,404 or 19,761 or 19,796 or 19,907"
    assert manifest.notes == (
        "Kinetics-400: 2 train, 2 val",
        f"Kinetics-400: 2 train videos are listed where the published copies have {train}",
        f"Kinetics-400: 2 val videos are listed where the published copies have {val}",
        f"2 of 4 listed videos are not in {videos}, the first is {manifest.videos[1].path}",
    )
    assert_survives_writing(manifest, tmp_path)


def test_test_sets_have_no_labels(tmp_path: Path) -> None:
    rows = "youtube_id,time_start,time_end,split\n--6bJUbfpnQ,17,27,test\n"
    touch(tmp_path / "videos/test", "--6bJUbfpnQ_000017_000027.mp4")
    manifest = read(tmp_path, rows, "test.csv", version="600")
    path = tmp_path / "videos/test/--6bJUbfpnQ_000017_000027.mp4"
    assert manifest.videos == (Video(path, (), "test", "--6bJUbfpnQ"),)
    assert manifest.classes == official_labels("kinetics600")
    assert_survives_writing(manifest, tmp_path)
    assert read(tmp_path, HEADER + ",--6bJUbfpnQ,17,27,test\n").videos == manifest.videos
    missing = read(tmp_path, HEADER + ",--6bJUbfpnQ,18,28,test\n").videos[0].path
    assert missing == tmp_path / "videos/test/--6bJUbfpnQ_000018_000028.mp4"


@pytest.mark.parametrize(
    ("version", "place", "pair"),
    [
        ("400", 308, ("skiing (not slalom or crosscountry)", "skiing crosscountry")),
        ("600", 122, ("curling (sport)", "curling hair")),
        ("600", 220, ("hugging (not baby)", "hugging baby")),
    ],
)
def test_indices_are_not_those_of_sorted_folders(
    tmp_path: Path, version: str, place: int, pair: tuple[str, str]
) -> None:
    labels = official_labels(f"kinetics{version}")
    folders = sorted(re.sub("[()']", "", label.replace(" ", "_")) for label in labels)
    stripped = [re.sub("[()']", "", label.replace(" ", "_")) for label in pair]
    assert [folders.index(name) for name in stripped] == [place + 1, place], "what a tool gives that sorts folders"
    for name in folders:
        touch(tmp_path / "videos" / name)
    touch(tmp_path / "videos", *(f"{name}/id{number}_000000_000010.mp4" for number, name in enumerate(stripped)))
    rows = "".join(f"{label},id{number},0,10,train\n" for number, label in enumerate(pair))
    manifest = read(tmp_path, HEADER + rows, version=version)
    assert [index_of(manifest, video) for video in manifest.videos] == [place, place + 1]
    assert [video.label for video in manifest.videos] == list(pair)
    assert all(Path(video.path).is_file() for video in manifest.videos)


@pytest.mark.parametrize(
    ("version", "label", "number"),
    [
        ("400", "passing American football (in game)", 208),
        ("400", "passing American football (not in game)", 209),
        ("600", "passing American football (in game)", 308),
        ("600", "passing american football (not in game)", 309),
        ("600", "massaging person's head", 287),
        ("700", "zumba", 699),
    ],
)
def test_labels_letter_for_letter(tmp_path: Path, version: str, label: str, number: int) -> None:
    manifest = read(tmp_path, HEADER + f"{label},id,0,10,train\n", version=version)
    assert index_of(manifest, manifest.videos[0]) == number
    other = label.swapcase()
    with pytest.raises(InvalidManifest, match=r"train\.csv line 2: the label .* is none of the [467]00 classes"):
        read(tmp_path, HEADER + f"{other},id,0,10,train\n", version=version)


LAYOUTS = (
    "train/skiing (not slalom or crosscountry)/ID_000007_000017.mp4",
    "train/skiing_(not_slalom_or_crosscountry)/ID_000007_000017.mp4",
    "train/skiing_not_slalom_or_crosscountry/ID_000007_000017.mp4",
    "skiing not slalom or crosscountry/ID_000007_000017.mkv",
    "skiing (not slalom or crosscountry)/ID_000007_000017.webm",
    "training/ID_000007_000017.mp4",
    "ID_000007_000017.mp4",
    "train/skiing (not slalom or crosscountry)/ID.mp4",
    "elsewhere/deep/ID.avi",
    "ID.mp4",
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(tmp_path: Path, layout: str) -> None:
    touch(tmp_path / "videos", layout, "train/abseiling/other_000007_000017.mp4", "ID_000008_000018.mp4")
    rows = HEADER + "skiing (not slalom or crosscountry),ID,7,17,train\n"
    (video,) = read(tmp_path, rows).videos
    assert video.path == tmp_path / "videos" / layout
    assert (video.start, video.end) == (None, None), "the file is the part"


def test_the_likeliest_of_several_files(tmp_path: Path) -> None:
    rows = HEADER + "zumba,ID,7,17,train\nzumba,ID,7,17,val\n"
    touch(tmp_path / "videos", "train/zumba/ID_000007_000017.mp4", "validate/zumba/ID_000007_000017.mp4", "ID.mp4")
    manifest = read(tmp_path, rows)
    inside = [Path(video.path).relative_to(tmp_path / "videos").as_posix() for video in manifest.videos]
    assert inside == ["train/zumba/ID_000007_000017.mp4", "validate/zumba/ID_000007_000017.mp4"]
    assert "1 source videos have clips in several splits, the first is ID" in manifest.notes
    touch(tmp_path / "videos", "replacement_for_corrupted_k400/ID_000007_000017.mp4")
    sound = tmp_path / "videos/replacement_for_corrupted_k400/ID_000007_000017.mp4"
    assert [video.path for video in read(tmp_path, rows).videos] == [sound, sound], "damaged files were replaced"


def test_two_copies_are_not_chosen_from(tmp_path: Path) -> None:
    touch(tmp_path / "videos", "large/ID_000007_000017.mp4", "small/ID_000007_000017.mp4")
    with pytest.raises(InvalidManifest, match=r"large/ID_000007_000017\.mp4 and small/ID_.* only one of them"):
        read(tmp_path, HEADER + "zumba,ID,7,17,train\n")


def test_untrimmed_files_have_start_and_end(tmp_path: Path) -> None:
    touch(tmp_path / "videos", "ID.mkv", "ID_000007_000017.mp4")
    rows = HEADER + "zumba,ID,7.5,17,train\nabseiling,ID,20,30,train\nzumba,other,0,10,train\n"
    manifest = read(tmp_path, rows, untrimmed=True)
    videos = tmp_path / "videos"
    assert manifest.videos == (
        Video(videos / "ID.mkv", ("zumba",), "train", "ID", 7.5, 17.0),
        Video(videos / "ID.mkv", ("abseiling",), "train", "ID", 20.0, 30.0),
        Video(videos / "train/zumba/other.mp4", ("zumba",), "train", "other", 0.0, 10.0),
    )
    assert_survives_writing(manifest, tmp_path)
    (videos / "ID_000007_000017.mp4").unlink()
    with pytest.raises(
        InvalidManifest, match=r"train\.csv line 3: .*ID\.mkv would be the part 20 to 30 s, and at .* line 2 it is 7\.5"
    ):
        read(tmp_path, rows)


def test_a_line_twice_stays_and_is_said(tmp_path: Path) -> None:
    manifest = read(tmp_path, HEADER + 2 * "zumba,ID,7,17,train\n")
    assert len(manifest.videos) == 2
    (note,) = [note for note in manifest.notes if "again" in note]
    assert note.startswith("1 lines list a video again that was listed before, the first is ")


def test_the_split_may_be_given(tmp_path: Path) -> None:
    rows = "label,youtube_id,time_start,time_end\nzumba,ID,7,17\n"
    with pytest.raises(InvalidManifest, match="line 2: the list does not say the split; name it with the option split"):
        read(tmp_path, rows)
    assert read(tmp_path, rows, split="mine").videos[0].split == "mine"
    assert read(tmp_path, HEADER + "zumba,ID,7,17,train\n", split="held out").videos[0].split == "held out"
    assert read(tmp_path, HEADER + "zumba,ID,7,17,holdout\n").videos[0].split == "holdout"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "skiing,ID,7,17,train\n",
            r"line 2: the label 'skiing' is none of the 400 classes; the nearest one is 'sk",
        ),
        ("eating_spaghetti,ID,7,17,train\n", "the nearest one is 'eating spaghetti'"),
        ("acting in play,ID,7,17,train\n", "'acting in play' is a class of Kinetics-600, not of Kinetics-400; set the"),
        ("zumba,ID,17,7,train\n", "line 2: time_start is 17 and time_end 7; expected 0 <= start < end"),
        ("zumba,ID,-1,7,train\n", "line 2: time_start is -1 and time_end 7"),
        ("zumba,ID,7,7,train\n", "line 2: time_start is 7 and time_end 7"),
        ("zumba,ID,7,x,train\n", "line 2: time_end is 'x'; expected seconds"),
        ("zumba,ID,nan,9,train\n", "line 2: time_start is 'nan'; expected seconds"),
        ("zumba,ID,7,inf,train\n", "line 2: time_end is 'inf'; expected seconds"),
        ("zumba,,7,17,train\n", "line 2: empty youtube_id"),
        ("zumba,ID,7,17\n", "line 2: 4 fields, expected 5"),
        ("", r"train\.csv lists no videos; expected lines under label,youtube_id"),
    ],
)
def test_damaged_lists(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InvalidManifest, match=message):
        read(tmp_path, HEADER + rows)


def test_lists_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"train\.csv: no column 'youtube_id' in path,label; expected label,you"):
        read(tmp_path, "path,label\na.mp4,zumba\n")
    with pytest.raises(UsageError, match="no list was given; name at least one"):
        read_kinetics(KineticsImport(tmp_path, ()))
    with pytest.raises(UsageError, match=r"the folder of videos .* does not exist"):
        read_kinetics(KineticsImport(tmp_path / "absent", (tmp_path / "train.csv",)))


def test_spellings_of_folders() -> None:
    assert folder_spellings("zumba") == ("zumba",)
    assert folder_spellings("massaging person's head") == (
        "massaging person's head",
        "massaging_person's_head",
        "massaging_persons_head",
        "massaging persons head",
    )
    # No spelling stands for two classes, so a folder never tells the wrong one.
    for version in ("400", "600", "700"):
        labels = official_labels(f"kinetics{version}")
        spellings = [spelling for label in labels for spelling in folder_spellings(label)]
        assert len(set(spellings)) == len(spellings)


ROWS = {"label": "zumba", "youtube_id": "-ID", "time_start": "7.0", "time_end": "17", "split": "train", "is_cc": "0"}


@given(st.permutations(list(ROWS)), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_order_of_columns_says_nothing(columns: list[str], end: str, mark: str) -> None:
    content = mark + ",".join(columns) + end + ",".join(f'"{ROWS[name]}"' for name in columns) + end
    with tempfile.TemporaryDirectory() as folder:
        (video,) = read(Path(folder), content).videos
        assert video == Video(Path(folder) / "videos/train/zumba/-ID_000007_000017.mp4", ("zumba",), "train", "-ID")
