"""A list is encoded anew, each file once; what ends a run costs nothing that is done, and sources are not touched."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewframes.data import transcode as module
from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest
from fewframes.data.reencode import NoRoom, TranscodeOptions
from fewframes.data.transcode import JOURNAL_NAME, TranscodeResult, plan_targets, transcode
from fewframes.errors import UsageError
from fewframes.video.reader import open_video
from tests.helpers.killing import Stopped, kill_when, stop_at_step, tree
from tests.helpers.painted import paint, read_numbers, write_painted

OPTIONS = TranscodeOptions(short_side=None, crf=10)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 4 files, one of them in 2 parts, one in another folder, one of them no video."""
    root = tmp_path_factory.mktemp("videos")
    for name, count in (("a/x.mp4", 9), ("a/y.mp4", 30), ("../outside.mp4", 11)):
        path = root / "list" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_painted(path, count, gop=7)
    (root / "list" / "a" / "bad.mp4").write_bytes(b"no video")
    (root / "list" / "manifest.csv").write_text(
        "path,label,start,end,split,group,weight\n"
        "a/x.mp4,walk,,,train,g1,\n"
        "a/y.mp4,run,0.2,0.6,test,,2\n"
        "a/bad.mp4,only here,,,train,,\n"
        "a/y.mp4,run|walk,0.6,,test,,\n"
        f"{root}/outside.mp4,,,,,,\n"
    )
    return root / "list"


def run(videos: Path, output: Path, options: TranscodeOptions = OPTIONS) -> TranscodeResult:
    return transcode(read_manifest(videos), output, options, workers=0)


def test_rows_keep_everything_but_their_paths(videos: Path, tmp_path: Path) -> None:
    done = run(videos, tmp_path / "out")
    old, new = read_manifest(videos), read_manifest(tmp_path / "out")
    assert done.manifest == tmp_path / "out" / "manifest.csv"
    assert (done.num_rows, done.num_listed, done.num_encoded, done.num_kept) == (4, 5, 3, 0)
    kept = [video for video in old.videos if video.path.name != "bad.mp4"]  # type: ignore[union-attr]
    assert [replace(video, path="") for video in new.videos] == [replace(video, path="") for video in kept]
    assert new.labels == old.labels == ("only here", "run", "walk"), "a class is not lost with its last video"
    paths = [Path(video.path).relative_to(tmp_path / "out").as_posix() for video in new.videos]
    assert paths == ["a/x.mp4", "a/y.mp4", "a/y.mp4", f"elsewhere{videos.parent}/outside.mp4"]
    sizes = {path: (tmp_path / "out" / path).stat().st_size for path in paths}
    assert done.size_bytes == sum(sizes.values())
    assert done.source_bytes == sum(Path(path).stat().st_size for path in {video.path for video in kept})


def test_parts_show_the_same_frames(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    for old, new in zip(read_manifest(videos).videos[1::2], read_manifest(tmp_path / "out").videos[1:3], strict=True):
        with open_video(old.path) as before, open_video(new.path) as after:
            part = before.frames_between(old.start, old.end)
            assert after.frames_between(new.start, new.end) == part
            assert read_numbers(after.frames_at(part).pixels) == list(part)


def test_what_failed_is_named_once_and_tried_again(videos: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "list", tmp_path / "out"
    shutil.copytree(videos, source)
    done = run(source, out)
    assert [(failure.path, failure.reason[:24]) for failure in done.failures] == [
        (str(source / "a" / "bad.mp4"), "it is not a video file, ")
    ]
    with (out / "failed.csv").open(newline="") as file:
        assert [(row["path"], row["reason"]) for row in csv.DictReader(file)] == [
            (str(source / "a" / "bad.mp4"), done.failures[0].reason)
        ]
    assert not (out / "a" / "bad.mp4").exists()
    write_painted(source / "a" / "bad.mp4", 3)
    again = run(source, out)
    assert (again.num_rows, again.num_encoded, again.num_kept, again.failures) == (5, 1, 3, ())
    assert not (out / "failed.csv").exists()
    assert len(read_manifest(out).videos) == 5


def test_sources_are_not_touched(videos: Path, tmp_path: Path) -> None:
    before = {name: os.stat(videos / name).st_mtime_ns for name in tree(videos)}, tree(videos)
    run(videos, tmp_path / "out")
    assert ({name: os.stat(videos / name).st_mtime_ns for name in tree(videos)}, tree(videos)) == before


def test_what_is_done_is_kept(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(videos, out)
    before = {name: os.stat(out / name).st_mtime_ns for name in tree(out) if name.endswith("mp4")}
    again = run(videos, out)
    assert (again.num_encoded, again.num_kept, again.num_rows) == (0, 3, 4)
    assert {name: os.stat(out / name).st_mtime_ns for name in tree(out) if name.endswith("mp4")} == before


@pytest.mark.parametrize("change", ["options", "source", "output", "journal"])
def test_what_has_changed_is_done_again(videos: Path, tmp_path: Path, change: str) -> None:
    source, out = tmp_path / "list", tmp_path / "out"
    shutil.copytree(videos, source)
    run(source, out)
    options, expected = OPTIONS, 1
    if change == "options":
        options, expected = TranscodeOptions(short_side=None, crf=11), 3
    elif change == "source":
        write_painted(source / "a" / "x.mp4", 13)
    elif change == "output":
        (out / "a" / "x.mp4").write_bytes(b"")
    else:
        lines = (out / JOURNAL_NAME).read_text().splitlines()
        (out / JOURNAL_NAME).write_text(
            "\n".join([*(line for line in lines if "x.mp4" not in line), '{"layout":1,"source":"x"}', '{"layout":1}\n'])
        )
    again = run(source, out, options)
    assert (again.num_encoded, again.num_kept) == (expected, 3 - expected)
    with open_video(out / "a" / "x.mp4") as reader:
        assert reader.info.num_frames == (13 if change == "source" else 9)
    assert run(source, out, options).num_encoded == 0


def test_going_back_to_older_options_encodes_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(videos, out)
    first = tree(out / "a")
    run(videos, out, TranscodeOptions(short_side=None, crf=30))
    assert tree(out / "a") != first
    assert run(videos, out).num_encoded == 3
    assert tree(out / "a") == first


def test_a_list_that_csv_cannot_hold(videos: Path, tmp_path: Path) -> None:
    manifest = Manifest("x.jsonl", (Video(videos / "a" / "x.mp4", ("a|b",)),))
    done = transcode(manifest, tmp_path / "out", OPTIONS, workers=0)
    assert done.manifest.name == "manifest.jsonl"
    assert read_manifest(tmp_path / "out").videos[0].labels == ("a|b",)


def test_folders_of_images_become_videos(tmp_path: Path) -> None:
    for name in ("clip.1", "clip.2"):
        (tmp_path / "list" / name).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(paint(number)).save(tmp_path / "list" / name / f"{number:03d}.png")
    (tmp_path / "list" / "clip.1" / "frames.json").write_text('{"fps": 12.5}')
    (tmp_path / "list" / "manifest.csv").write_text("path,label\nclip.1,walk\nclip.2,run\n")
    done = run(tmp_path / "list", tmp_path / "out")
    assert (done.num_rows, done.failures) == (2, ())
    for name, fps in (("clip.1", 12.5), ("clip.2", 25.0)):
        with open_video(tmp_path / "out" / f"{name}.mp4") as reader:
            assert (reader.info.num_frames, reader.info.fps) == (12, fps)
            assert read_numbers(reader.frames_at(range(12)).pixels) == list(range(12))


# Where files go


def targets(*names: str, root: str = "/data") -> list[str]:
    return list(plan_targets(Manifest(f"{root}/list.csv", tuple(Video(name, ()) for name in names))).values())


def test_names() -> None:
    assert targets("/data/a/x.avi", "/data/y.mp4", "/data/b c/ü.webm") == ["a/x.mp4", "y.mp4", "b c/ü.mp4"]
    assert targets("/data/a/x.avi", "/data/a/x.mp4") == ["a/x.avi.mp4", "a/x.mp4.mp4"]
    assert targets("/data/x.avi", "/data/X.mp4", "/data/X.MP4") == ["x.avi.mp4", "X.mp4.mp4", "X.MP4-2.mp4"]
    assert targets("/data/x.avi", "/data/x.mp4", "/data/x.avi.mkv") == ["x.avi-2.mp4", "x.mp4.mp4", "x.avi.mp4"]
    assert targets("/other/a/x.avi", "/database/x.avi") == ["elsewhere/other/a/x.mp4", "elsewhere/database/x.mp4"]
    assert targets("/data/elsewhere/o/x.avi", "/o/x.avi") == ["elsewhere/o/x.avi.mp4", "elsewhere/o/x.avi-2.mp4"]
    assert targets("https://host:80/v/x.mp4?sig=1&b", "s3://bucket/../x.mp4") == [
        "elsewhere/https/host/80/v/x.mp4",
        "elsewhere/s3/bucket/x.mp4",
    ]
    assert targets("tar://m/x.mp4::/data/p.tar") == ["elsewhere/tar/m/x.mp4/data/p.mp4"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/data/", "/data/a/", "/o/", "s3://b/", "https://h/"]),
            st.text("xX.-2?*:", min_size=1, max_size=5).filter(lambda name: name.strip(".")),
            st.sampled_from(["", ".mp4", ".MP4", ".avi", ".avi.mp4"]),
        ).map("".join),
        unique=True,
        max_size=12,
    )
)
def test_no_two_files_go_to_one_place(names: list[str]) -> None:
    manifest = Manifest("/data/list.csv", tuple(Video(name, ()) for name in names))
    found = plan_targets(manifest)
    assert len({target.casefold() for target in found.values()}) == len(found)
    for target in found.values():
        assert target.endswith(".mp4")
        assert os.path.normpath(target) == target
        assert not target.startswith(("/", "../"))


@pytest.mark.parametrize("place", [".", "a", "..", "a/../a"])
def test_the_output_is_never_a_folder_of_sources(videos: Path, place: str) -> None:
    before = tree(videos.parent)
    with pytest.raises(UsageError, match=r"is a folder that the videos lie in; choose another one"):
        run(videos, videos / place)
    assert tree(videos.parent) == before


def test_the_output_is_not_inside_a_folder_that_is_listed_by_its_content(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "walk").mkdir(parents=True)
    shutil.copy(videos / "a" / "x.mp4", tmp_path / "in" / "walk")
    with pytest.raises(UsageError, match=r"lies in .*, so that its videos would be listed with the others"):
        run(tmp_path / "in", tmp_path / "in" / "small")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(UsageError, match="lies in"):
        run(tmp_path / "in", tmp_path / "link" / "small")
    assert run(tmp_path / "in", tmp_path / "in2").num_rows == 1


def test_a_folder_with_something_in_it_is_refused(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="is not empty"):
        run(videos, tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]


# Ends in the middle


def test_wherever_it_is_stopped_the_next_run_completes_it(videos: Path, tmp_path: Path) -> None:
    """Stopped before and after each single step on the disk."""
    whole = tmp_path / "whole"
    run(videos, whole)
    expected = tree(whole, without=(JOURNAL_NAME,))
    num_stops = 0
    for number in itertools.count():
        out = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as patch:
            stop_at_step(patch, number // 2, after=number % 2 == 1)
            try:
                run(videos, out)
            except Stopped:
                num_stops += 1
            else:
                break
        assert not (out / "manifest.csv").exists() or len(read_manifest(out).videos) == 4
        again = run(videos, out)
        assert (again.num_rows, again.num_encoded + again.num_kept) == (4, 3)
        assert tree(out, without=(JOURNAL_NAME,)) == expected
        shutil.rmtree(out)
    assert num_stops > 30


@pytest.mark.parametrize(
    "kills",
    [
        ((3, 1), (14, 2)),
        pytest.param(((1, 2), (2, 1), (5, 2), (6, 1), (11, 2), (16, 1), (20, 2)), marks=pytest.mark.slow),
    ],
)
def test_a_process_that_is_killed_again_and_again(tmp_path: Path, kills: tuple[tuple[int, int], ...]) -> None:
    """Each kill: how many videos are there by then, and how many workers are at it."""
    source = tmp_path / "list"
    source.mkdir()
    for number in range(24):
        write_painted(source / f"{number}.mp4", 40 + number, size=(144, 192))
    (source / "manifest.csv").write_text("path,label\n" + "".join(f"{n}.mp4,{'ab'[n % 2]}\n" for n in range(24)))
    arguments = (source / "manifest.csv", "--output", tmp_path / "out", "--short-side", 64)
    for so_far, workers in kills:

        def is_far_enough(least: int = so_far) -> bool:
            return len(list((tmp_path / "out").glob("*.mp4"))) >= least

        assert kill_when(is_far_enough, "fewframes.cli.data_transcode", *arguments, "--workers", workers)
        assert not (tmp_path / "out" / "manifest.csv").exists()
    options = TranscodeOptions(short_side=64)
    done = transcode(read_manifest(source), tmp_path / "out", options, workers=0)
    assert (done.num_rows, done.failures) == (24, ())
    assert done.num_kept >= kills[-1][0] - 2, "what was done is not done again"
    transcode(read_manifest(source), tmp_path / "whole", options, workers=0)
    assert tree(tmp_path / "out", without=(JOURNAL_NAME,)) == tree(tmp_path / "whole", without=(JOURNAL_NAME,))


def test_a_list_is_there_only_when_all_its_videos_are(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(videos, out)
    monkeypatch.setattr(module, "reencode", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(videos, out, TranscodeOptions(crf=30))
    assert not (out / "manifest.csv").exists()
    assert not list(out.rglob(".*.part"))


def test_a_full_disk_stops_the_run_and_blames_no_video(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise NoRoom("No space left on device")

    monkeypatch.setattr(module, "reencode", full)
    with pytest.raises(UsageError, match=r"cannot write .*x\.mp4: No space left on device; make room, then run it"):
        run(videos, tmp_path / "out")
    monkeypatch.undo()

    def no_rename(*_: object) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(module, "put_in_place", no_rename)
    with pytest.raises(UsageError, match="Disk quota exceeded"):
        run(videos, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_workers_do_what_one_process_does(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "one")
    transcode(read_manifest(videos), tmp_path / "two", OPTIONS, workers=2)
    assert tree(tmp_path / "two", without=(JOURNAL_NAME,)) == tree(tmp_path / "one", without=(JOURNAL_NAME,))
    lines = {
        line["source"]: line for line in map(json.loads, (tmp_path / "two" / JOURNAL_NAME).read_text().splitlines())
    }
    assert len(lines) == 3
