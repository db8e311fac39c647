"""A list is packed row by row into shards that are read like any list; nothing is lost or doubled."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewframes.data import pack as module
from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest
from fewframes.data.pack import JOURNAL_NAME, PackResult, pack
from fewframes.data.pack_clip import PackOptions
from fewframes.data.split import hold_out
from fewframes.errors import UsageError
from fewframes.records import DecodeOptions, Limits, Preprocess, Sampling
from fewframes.video.clip import load_clip, load_frames
from fewframes.video.reader import open_video
from tests.helpers.killing import Stopped, kill_when, stop_at_step, tree
from tests.helpers.painted import read_numbers, write_painted

SIX = Sampling("uniform", 6)


def options(**changes: object) -> PackOptions:
    """Two clips a shard."""
    return replace(PackOptions(frames=6, shard_bytes=25_000), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 6 rows: whole files, parts of one file, a short one, and one that is no video."""
    root = tmp_path_factory.mktemp("videos") / "list"
    (root / "a").mkdir(parents=True)
    for name, count in (("a/x", 40), ("a/y", 30), ("short", 2)):
        write_painted(root / f"{name}.mp4", count, gop=7)
    (root / "bad.mp4").write_bytes(b"no video")
    (root / "manifest.csv").write_text(
        "path,label,start,end,split,group,weight\n"
        "a/x.mp4,walk,,,train,g1,2\n"
        "bad.mp4,only here,0.5,,train,,\n"
        "a/y.mp4,run,0.2,0.6,test,,\n"
        "a/y.mp4,run|walk,0.6,,test,,\n"
        "short.mp4,,,,,,\n"
        "a/x.mp4,walk,0.8,1.2,train,g2,\n"
    )
    return root


def run(videos: Path, output: Path, chosen: PackOptions | None = None) -> PackResult:
    return pack(read_manifest(videos), output, chosen or options(), workers=0)


def test_rows_keep_what_they_say(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(videos, out)
    old, new = read_manifest(videos), read_manifest(done.manifest)
    assert (done.num_listed, done.num_packed, done.num_kept, done.num_shards) == (6, 5, 0, 3)
    assert [str(video.path).replace(str(out), "") for video in new.videos] == [
        "tar://00000000.json::/pack-00000.tar",
        "tar://00000002.json::/pack-00000.tar",
        "tar://00000003.json::/pack-00001.tar",
        "tar://00000004.json::/pack-00001.tar",
        "tar://00000005.json::/pack-00002.tar",
    ]
    assert new.labels == old.labels == ("only here", "run", "walk"), "a class is not lost with its last video"
    for before, after in zip((old.videos[row] for row in (0, 2, 3, 4, 5)), new.videos, strict=True):
        assert (after.labels, after.split, after.weight) == (before.labels, before.split, before.weight)
        assert (after.start, after.end) == (None, None), "the part is what was packed"
    sizes = [path.stat().st_size for path in sorted(out.glob("*.tar"))]
    assert done.size_bytes == sum(sizes)
    assert not (out / ".clips").exists()


def test_parts_of_one_file_stay_together(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    rows = read_manifest(tmp_path / "out").videos
    file = str(videos / "a" / "y.mp4")
    assert [video.group for video in rows] == ["g1", file, file, None, "g2"]
    kept, held = hold_out(read_manifest(tmp_path / "out"), 0.5, seed=1)
    assert not {video.group for video in kept.videos if video.group} & {video.group for video in held.videos}


@pytest.mark.parametrize("short", [None, 32])
def test_reading_from_the_pack_is_reading_the_videos(videos: Path, tmp_path: Path, short: int | None) -> None:
    """The same frames at the same times; pixels as near as JPEG is."""
    run(videos, tmp_path / "out", options(short_side=short, quality=100))
    old = [video for video in read_manifest(videos).videos if "bad" not in str(video.path)]
    view = Preprocess(crop=(24, 24), resize_short=32)
    for before, after in zip(old, read_manifest(tmp_path / "out").videos, strict=True):
        direct = load_frames(before.path, SIX, start=before.start, end=before.end)
        packed = load_frames(after.path, SIX)
        assert packed.indices == tuple(range(6))
        assert read_numbers(packed.pixels) == read_numbers(direct.pixels) == list(direct.indices)
        torch.testing.assert_close(packed.seconds, direct.seconds, rtol=0, atol=0)
        clip, _ = load_clip(before.path, SIX, view, start=before.start, end=before.end)
        again, _ = load_clip(after.path, SIX, view)
        assert float((clip - again).abs().max()) * 255 < 6
        assert float((clip - again).abs().mean()) * 255 < 1
        with open_video(before.path) as original, open_video(after.path) as small:
            assert small.info.num_frames == 6
            assert small.info.duration_seconds == min(before.end or 99.0, original.info.duration_seconds)


def test_shards_are_plain_tar_files_in_the_lists_order(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    names = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as file:
            names += [name for name in file.getnames() if name.endswith(".json")]
            for member in file:
                if member.name.endswith(".json"):
                    record = json.loads(file.extractfile(member).read())  # type: ignore[union-attr]
                    assert (
                        record["path"]
                        == ["a/x.mp4", "", "a/y.mp4", "a/y.mp4", "short.mp4", "a/x.mp4"][int(member.name[:8])]
                    )
    assert names == [f"{row:08d}.json" for row in (0, 2, 3, 4, 5)]


def test_a_shard_is_closed_before_it_is_too_large(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "one", options(shard_bytes=1))
    assert len(list((tmp_path / "one").glob("*.tar"))) == 5, "a clip that is too large by itself gets its own"
    run(videos, tmp_path / "all", options(shard_bytes=10**9))
    assert [path.name for path in (tmp_path / "all").glob("*.tar")] == ["pack-00000.tar"]
    run(videos, tmp_path / "two")
    for path in (tmp_path / "two").glob("*.tar"):
        assert path.stat().st_size <= 25_000 + 4096


def test_what_failed_is_named_and_tried_again(videos: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "list", tmp_path / "out"
    shutil.copytree(videos, source)
    done = run(source, out)
    (failure,) = done.failures
    assert (failure.path, failure.start, failure.end) == (str(source / "bad.mp4"), 0.5, None)
    assert failure.reason.startswith("it is not a video file")
    assert (out / "failed.csv").read_text().splitlines()[1].startswith(f"{source}/bad.mp4,0.5,,")
    before = tree(out)
    write_painted(source / "bad.mp4", 20)
    again = run(source, out)
    assert (again.num_packed, again.num_kept, again.num_shards, again.failures) == (6, 5, 4, ())
    after = tree(out)
    assert all(after[name] == before[name] for name in before if name.endswith("tar")), "what is packed stays"
    assert not (out / "failed.csv").exists()
    rows = read_manifest(out).videos
    assert str(rows[1].path).endswith("00000001.json::" + str(out / "pack-00003.tar"))
    assert read_numbers(load_frames(rows[1].path, SIX).pixels) == [13, 14, 15, 17, 18, 19]


def test_nothing_is_done_twice(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "list"
    shutil.copytree(videos, source)
    write_painted(source / "bad.mp4", 20)
    out = tmp_path / "out"
    run(source, out)
    before = {name: os.stat(out / name).st_mtime_ns for name in tree(out) if name.endswith("tar")}
    monkeypatch.setattr(module, "encode_clip", lambda *_: pytest.fail("it is packed already"))
    again = run(source, out)
    assert (again.num_packed, again.num_kept) == (6, 6)
    assert {name: os.stat(out / name).st_mtime_ns for name in tree(out) if name.endswith("tar")} == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frames": 7}, r"out holds a pack of frames 6, not 7; choose another folder or delete this one"),
        ({"quality": 90}, "quality 95, not 90"),
        ({"short_side": None}, "short_side 256, not None"),
        ({"subsampling": "4:2:0"}, "subsampling 4:4:4, not 4:2:0"),
        ({"shard_bytes": 5}, "shard_bytes 25000, not 5"),
        ({"decode": DecodeOptions(decoder="auto")}, "decoder pyav, not auto"),
    ],
)
def test_packs_are_not_mixed(videos: Path, tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    run(videos, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(UsageError, match=reason):
        run(videos, tmp_path / "out", options(**changes))
    assert tree(tmp_path / "out") == before
    higher = options(decode=DecodeOptions(limits=Limits(max_frames=99)))
    assert run(videos, tmp_path / "out", higher).num_kept == 5, "limits change no pixel"


def test_another_list_is_refused(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    manifest = read_manifest(videos)
    for other in (manifest.videos[1:], (*manifest.videos[:-1], replace(manifest.videos[-1], labels=("new",)))):
        with pytest.raises(UsageError, match="holds a pack of another list, or the list has changed; choose another"):
            pack(Manifest(manifest.source, other), tmp_path / "out", options(), workers=0)
    heavier = tuple(replace(video, weight=5.0) for video in manifest.videos)
    done = pack(Manifest(manifest.source, heavier), tmp_path / "out", options(), workers=0)
    assert read_manifest(done.manifest).videos[0].weight == 5.0, "weights are no part of the shards"


def test_a_video_that_changed_after_it_was_packed(videos: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "list", tmp_path / "out"
    shutil.copytree(videos, source)
    run(source, out)
    before = tree(out)
    write_painted(source / "short.mp4", 5)
    with pytest.raises(UsageError, match=r"short\.mp4 has changed since it was packed into pack-00001\.tar"):
        run(source, out)
    (source / "short.mp4").unlink()
    assert run(source, out).num_packed == 5, "a source that was removed to save room is packed all the same"
    assert {name: content for name, content in tree(out).items() if name.endswith("tar")} == {
        name: content for name, content in before.items() if name.endswith("tar")
    }


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_shard_that_was_lost_is_packed_again(videos: Path, tmp_path: Path, how: str) -> None:
    out = tmp_path / "out"
    run(videos, out)
    before = tree(out, without=(JOURNAL_NAME,))
    shard = out / "pack-00001.tar"
    shard.unlink() if how == "gone" else os.truncate(shard, 5000)
    again = run(videos, out)
    assert (again.num_packed, again.num_kept) == (5, 3)
    assert tree(out, without=(JOURNAL_NAME,)) == before
    assert run(videos, out).num_kept == 5


def test_a_folder_with_something_in_it_is_refused(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "pack-00000.tar").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is not empty"):
        run(videos, tmp_path)
    assert (tmp_path / "pack-00000.tar").read_bytes() == b"mine"


def test_more_frames_than_packed_repeat(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    first = read_manifest(tmp_path / "out").videos[0]
    direct = load_frames(videos / "a" / "x.mp4", SIX).indices
    found = read_numbers(load_frames(first.path, Sampling("uniform", 12)).pixels)
    assert found == [direct[k // 2] for k in range(12)]


def test_a_pack_is_packed_like_any_list(videos: Path, tmp_path: Path) -> None:
    """With fewer frames and a smaller size; parts and times are those of the original."""
    run(videos, tmp_path / "big", options(frames=12))
    done = run(tmp_path / "big", tmp_path / "small", options(frames=4, short_side=24))
    assert (done.num_packed, done.failures) == (5, ())
    for big, small in zip(read_manifest(tmp_path / "big").videos, read_manifest(done.manifest).videos, strict=True):
        four = Sampling("uniform", 4)
        before, after = load_frames(big.path, four), load_frames(small.path, four)
        assert read_numbers(after.pixels) == read_numbers(before.pixels)
        assert after.seconds.tolist() == before.seconds.tolist()
        assert after.pixels.shape[-2:] == (24, 32)


# Ends in the middle


def test_wherever_it_is_stopped_the_next_run_completes_it(videos: Path, tmp_path: Path) -> None:
    """Stopped before and after each single step on the disk; the shards are the same bytes as if it had not been."""
    run(videos, tmp_path / "whole")
    expected = tree(tmp_path / "whole", without=(JOURNAL_NAME,))
    num_stops = 0
    for number in itertools.count():
        out = tmp_path / "whole_not"  # a path of the same length, as it is in the list
        with pytest.MonkeyPatch.context() as patch:
            stop_at_step(patch, number // 2, after=number % 2 == 1)
            try:
                run(videos, out)
            except Stopped:
                num_stops += 1
            else:
                break
        assert not (out / "manifest.csv").exists() or len(read_manifest(out).videos) == 5
        done = run(videos, out)
        assert (done.num_packed, done.num_shards, len(done.failures)) == (5, 3, 1)
        found = tree(out, without=(JOURNAL_NAME,))
        found["manifest.csv"] = found["manifest.csv"].replace(b"whole_not", b"whole")
        assert found == expected
        assert run(videos, out).num_kept == 5
        shutil.rmtree(out)
    assert num_stops > 60


@pytest.mark.parametrize(
    "kills",
    [
        ((3, 1), (17, 2)),
        pytest.param(((1, 2), (2, 1), (6, 2), (9, 1), (14, 2), (19, 1), (25, 2)), marks=pytest.mark.slow),
    ],
)
def test_a_process_that_is_killed_again_and_again(tmp_path: Path, kills: tuple[tuple[int, int], ...]) -> None:
    """Each kill: how many clips have been made by then, and how many workers are at it."""
    source, out = tmp_path / "list", tmp_path / "out"
    source.mkdir()
    for number in range(30):
        write_painted(source / f"{number}.mp4", 40 + number, size=(288, 384))
    (source / "manifest.csv").write_text("path,label\n" + "".join(f"{n}.mp4,{'ab'[n % 2]}\n" for n in range(30)))
    arguments = (source / "manifest.csv", "--output", out, "--shard-size-mb", 2)
    for so_far, workers in kills:

        def is_far_enough(least: int = so_far) -> bool:
            journal = out / JOURNAL_NAME
            lines = journal.read_text().splitlines()[1:] if journal.is_file() else []
            packed = sum(line.count("],[") + 1 for line in lines)
            return packed + len(list(out.glob(".clips/0*.clip"))) >= least

        assert kill_when(is_far_enough, "fewframes.cli.data_pack", *arguments, "--workers", workers)
        assert not (out / "manifest.csv").exists()
    chosen = PackOptions(shard_bytes=2 * 1024 * 1024)
    done = pack(read_manifest(source), out, chosen, workers=0)
    assert (done.num_packed, done.failures) == (30, ())
    assert done.num_kept >= kills[-1][0] - 2, "what was done is not done again"
    pack(read_manifest(source), tmp_path / "whole", chosen, workers=0)
    lists = (JOURNAL_NAME, "manifest.csv")
    assert tree(out, without=lists) == tree(tmp_path / "whole", without=lists)
    rows = [video.path for video in read_manifest(out).videos]
    assert len(rows) == len(set(rows)) == 30


def test_a_full_disk_stops_the_run_and_blames_no_video(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "put_in_place", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match=r"cannot write .*\.clip: No space left on device; make room, then run it"):
        run(videos, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tar"))
    monkeypatch.undo()
    assert run(videos, tmp_path / "out").num_packed == 5


def test_workers_do_what_one_process_does(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "one")
    done = pack(read_manifest(videos), tmp_path / "two", options(), workers=3)
    assert (done.num_packed, len(done.failures)) == (5, 1)
    lists = (JOURNAL_NAME, "manifest.csv")
    assert tree(tmp_path / "two", without=lists) == tree(tmp_path / "one", without=lists)
