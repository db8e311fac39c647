"""`fewframes data pack`: what models look at, in shards; evaluated and trained on like the list it came from."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from fewframes.data.manifest_io import read_manifest
from fewframes.training.loop import train
from fewframes.video.sampling import uniform_indices
from tests.helpers.command import Command
from tests.helpers.painted import write_painted
from tests.helpers.tiny import NUM_TEST, NUM_TRAIN, tiny_config

VERB = ("data", "pack")


def test_a_list(command: Command, tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    (videos / "walk").mkdir(parents=True)
    for name in ("a", "b"):
        write_painted(videos / "walk" / f"{name}.mp4", 21)
    arguments = (*VERB, videos, "--output", out, "--frames", 4, "--short-side", 32, "--quality", 80, "--workers", 0)
    outcome = command(*arguments)
    assert (outcome.status, outcome.err) == (0, "")
    size = (out / "pack-00000.tar").stat().st_size
    assert outcome.out == (
        f"{out}/manifest.csv: 2 of 2 rows in 1 shards of together {size / 1e6:.1f} MB, {size / 2048:.0f} KiB a clip; "
        "2 packed now, 0 kept, 0 failed\n"
    )
    with tarfile.open(out / "pack-00000.tar") as file:
        assert len(file.getnames()) == 2 * 5 + 1
    again = command(*arguments, "--json")
    assert again.document() == {
        "manifest": f"{out}/manifest.csv",
        "listed": 2,
        "packed": 2,
        "kept": 2,
        "shards": 1,
        "size_bytes": size,
        "failures": [],
    }
    command(*arguments, "--frames", 5).assert_refused(2, "holds a pack of frames 4, not 5; choose another folder")


def test_failures_are_named_with_their_part(command: Command, tmp_path: Path) -> None:
    write_painted(tmp_path / "a.mp4", 21)
    (tmp_path / "list.csv").write_text("path,label,start,end\na.mp4,walk,0.2,\na.mp4,walk,4,5\nb.mp4,run,,\n")
    outcome = command(*VERB, tmp_path / "list.csv", "--output", tmp_path / "out", "--workers", 0, "--json")
    assert outcome.status == 1
    late, absent = outcome.err.splitlines()
    assert late.startswith(f"fewframes: error: {tmp_path}/a.mp4 (4 to 5 s): the part from 4 s on lies beyond its end")
    assert absent == f"fewframes: error: {tmp_path}/b.mp4: no such file; check the path"
    failures = outcome.document()["failures"]
    assert [(each["path"], each["start"], each["end"]) for each in failures] == [
        (f"{tmp_path}/a.mp4", 4.0, 5.0),
        (f"{tmp_path}/b.mp4", None, None),
    ]
    assert len((tmp_path / "out" / "failed.csv").read_text().splitlines()) == 3


def test_wrong_usage(command: Command, tmp_path: Path) -> None:
    write_painted(tmp_path / "a.mp4", 3)
    (tmp_path / "list.csv").write_text("path,label\na.mp4,walk\n")
    run = (*VERB, tmp_path / "list.csv", "--output", tmp_path / "out")
    command(*run, "--frames", 0).assert_refused(2, "frames is 0; expected 1 to 1000")
    command(*run, "--quality", 101).assert_refused(2, "quality is 101")
    command(*run, "--shard-size-mb", 0).assert_refused(2, "shard_bytes is 0")
    command(*run, "--seek", "keyframe").assert_refused(2, "a pack holds exact frames; leave --seek out")
    command(*VERB, tmp_path / "list.csv", "--output", tmp_path).assert_refused(2, "is not empty")
    assert command(*run, "--subsampling", "4:1:1").status == 2
    assert not (tmp_path / "out").exists()


def test_evaluating_the_pack_is_evaluating_the_videos(
    command: Command, tiny_videos: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """The same predictions, of the same frames, whether read directly or from the pack."""
    out = tmp_path / "out"
    assert command(*VERB, tiny_videos, "--output", out, "--frames", 3, "--quality", 100, "--workers", 0).status == 0
    direct = command("evaluate", tiny_checkpoint, tiny_videos, "--split", "test", "--json").document()
    packed = command("evaluate", tiny_checkpoint, out, "--split", "test", "--json").document()
    assert packed["listed"]["num_videos"] == NUM_TEST
    assert packed["failures"] == []
    for before, after in zip(direct["videos"], packed["videos"], strict=True):
        assert after["label"] == before["label"]
        assert after["frame_indices"] == [0, 1, 2]
        assert after["predicted"] == before["predicted"]
        assert after["scores"] == pytest.approx(before["scores"], abs=0.01)


def test_training_from_the_pack(command: Command, tiny_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*VERB, tiny_videos, "--output", out, "--frames", 6, "--workers", 0).status == 0
    result = train(tiny_config(out, tmp_path / "run"), show=False)
    assert result.num_train + result.num_val == NUM_TRAIN
    assert len(read_manifest(out).only("test").videos) == NUM_TEST
    assert uniform_indices(6, 3) == (1, 3, 5)
