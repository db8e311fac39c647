"""`fewframes data transcode`: a list or a folder becomes smaller videos with near keyframes."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from fewframes.data.manifest_io import read_manifest
from fewframes.video.reader import open_video
from tests.helpers.command import Command
from tests.helpers.painted import read_numbers, write_painted

VERB = ("data", "transcode")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    for name, size in (("walk/a", (96, 128)), ("run/b", (128, 96))):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True)
        write_painted(path, 21, size=size, gop=250)
    return folder


def test_a_folder(command: Command, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (*VERB, videos, "--output", out, "--short-side", 48, "--gop", 4, "--crf", 2, "--workers", 0)
    outcome = command(*arguments)
    assert outcome.status == 0
    sizes = sum(path.stat().st_size for path in out.rglob("*.mp4"))
    assert outcome.out.startswith(f"{out}/manifest.csv: 2 of 2 rows, 2 files of together {sizes / 1e6:.1f} MB (before:")
    assert outcome.out.endswith("; 2 encoded now, 0 kept, 0 failed\n")
    assert outcome.err == ""
    rows = read_manifest(out).videos
    assert [(video.label, Path(video.path).relative_to(out).as_posix()) for video in rows] == [
        ("run", "run/b.mp4"),
        ("walk", "walk/a.mp4"),
    ]
    for video, size in zip(rows, ((48, 64), (64, 48)), strict=True):
        with open_video(video.path) as reader:
            assert (reader.info.width, reader.info.height) == size
            assert read_numbers(reader.frames_at(range(21)).pixels) == list(range(21))
        with av.open(str(video.path)) as container:
            assert [frame.key_frame for frame in container.decode(video=0)] == [n % 4 == 0 for n in range(21)]
    again = command(*arguments, "--json")
    assert again.document() == {
        "manifest": f"{out}/manifest.csv",
        "rows": 2,
        "listed": 2,
        "encoded": 0,
        "kept": 2,
        "size_bytes": sizes,
        "source_bytes": sum(path.stat().st_size for path in videos.rglob("*.mp4")),
        "failures": [],
    }


def test_failures_are_named_and_the_status_says_so(command: Command, videos: Path, tmp_path: Path) -> None:
    (videos / "run" / "c.mp4").write_bytes(b"no video")
    (videos / "run" / "notes.txt").touch()
    outcome = command(*VERB, videos, "--output", tmp_path / "out", "--workers", 0)
    assert outcome.status == 1
    assert "2 of 3 rows" in outcome.out
    assert "1 failed" in outcome.out
    note, error = outcome.err.splitlines()
    assert note.startswith("note: ")
    assert "no videos by their names" in note
    assert error.startswith(f"fewframes: error: {videos}/run/c.mp4: it is not a video file")
    assert len(read_manifest(tmp_path / "out").videos) == 2


def test_the_chosen_columns_and_another_frame_rate(command: Command, videos: Path, tmp_path: Path) -> None:
    (videos / "manifest.csv").write_text("path,label,fold2,who\nwalk/a.mp4,walk,test,7\n")
    outcome = command(
        *VERB, videos, "--output", tmp_path / "out", "--split-column", "fold2", "--group-column", "who",
        "--fps", "10", "--short-side", "None", "--workers", 0,
    )  # fmt: skip
    assert outcome.status == 0
    (video,) = read_manifest(tmp_path / "out").videos
    assert (video.split, video.group) == ("test", "7")
    with open_video(video.path) as reader:
        assert (reader.info.fps, reader.info.num_frames, reader.info.height) == (10.0, 9, 96)


def test_wrong_usage(command: Command, videos: Path, tmp_path: Path) -> None:
    run = (*VERB, videos, "--output", tmp_path / "out")
    command(*run, "--gop", 0).assert_refused(2, "gop is 0; expected 1 to 10000")
    command(*run, "--short-side", 255).assert_refused(2, "short_side is 255; expected an even number")
    command(*run, "--crf", 70).assert_refused(2, "crf is 70; expected 0")
    command(*run, "--workers", -1).assert_refused(2, "workers is -1")
    command(*VERB, videos, "--output", videos / "run").assert_refused(2, "is a folder that the videos lie in")
    command(*VERB, tmp_path / "absent", "--output", tmp_path / "out").assert_refused(1, f"{tmp_path}/absent")
    assert command(*VERB, videos).status == 2
    assert command(*run, "--fps", "often").status == 2
    assert command(*run, "--codec", "h265").status == 2


def test_help_names_every_option(command: Command) -> None:
    outcome = command(*VERB, "--help")
    assert outcome.status == 0
    for option in ("--output", "--short-side", "--gop", "--crf", "--codec", "--fps", "--workers", "--json"):
        assert option in outcome.out
