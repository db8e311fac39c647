"""`fewframes data import`: thirteen formats, one way to write, count and complain."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fewframes.cli.data_import import FORMATS
from fewframes.data.manifest_io import read_manifest
from tests.helpers.command import Command, Outcome

IMPORT = ("data", "import")


@pytest.fixture
def run(command: Command) -> Callable[..., Outcome]:
    return lambda *arguments: command(*IMPORT, *arguments)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of three videos, of which one exists."""
    (tmp_path / "train.csv").write_text("a b.mp4 0\nc.mp4 2\nc.mp4 2\n")
    (tmp_path / "val.csv").write_text("d.mp4 2\n")
    (tmp_path / "a b.mp4").touch()
    return tmp_path


def test_a_list_is_written_and_counted(run: Callable[..., Outcome], listed: Path) -> None:
    output = listed / "out" / "list.csv"
    outcome = run("frame-lists", listed, "--classes", "ucf101", "--output", output)
    assert outcome.status == 0
    facts = dict(" ".join(text.split()).split(" | ", 1) for text in outcome.out.replace("  ", " | ").splitlines())
    assert {name: value.strip(" |") for name, value in facts.items()} == {
        "list": str(output),
        "rows": "4 of 3 files",
        "splits": "train 3, val 1",
        "classes": f"101, in {output.parent}/list.labels.txt",
        "without a label": "0",
        "missing files": "2",
    }
    assert outcome.err.splitlines() == [
        f"note: 2 of 3 listed files do not exist, the first is {listed}/c.mp4",
        f"note: 1 lines list a video again that was listed before, the first is {listed}/c.mp4",
    ]
    manifest = read_manifest(output)
    assert [(video.path, video.label, video.split) for video in manifest.videos] == [
        (listed / "a b.mp4", "ApplyEyeMakeup", "train"),
        (listed / "c.mp4", "Archery", "train"),
        (listed / "c.mp4", "Archery", "train"),
        (listed / "d.mp4", "Archery", "val"),
    ]
    assert len(manifest.labels) == 101


def test_json(run: Callable[..., Outcome], listed: Path) -> None:
    outcome = run("frame-lists", listed / "train.csv", "--output", listed / "list.jsonl", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    document = outcome.document()
    assert len(document.pop("notes")) == 3
    assert document == {
        "manifest": f"{listed}/list.jsonl",
        "classes_file": f"{listed}/list.labels.txt",
        "classes": 3,
        "rows": 3,
        "files": 2,
        "splits": {"train": 3},
        "unlabelled": 0,
        "missing": [f"{listed}/c.mp4"],
    }
    (listed / "v" / "walk").mkdir(parents=True)
    (listed / "v" / "walk" / "a.mp4").touch()
    document = run("folder", listed / "v", "--output", listed / "other.csv", "--json").document()
    assert (document["classes_file"], document["classes"], document["splits"]) == (None, 1, {"no split": 1})


def test_files_that_have_to_exist(run: Callable[..., Outcome], listed: Path) -> None:
    outcome = run("frame-lists", listed, "--output", listed / "list.csv", "--require-files")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-3:] == [
        f"missing: {listed}/c.mp4",
        f"missing: {listed}/d.mp4",
        f"fewframes: error: 2 listed files do not exist, the first is {listed}/c.mp4",
    ]
    assert len(read_manifest(listed / "list.csv").videos) == 4, "the list is written all the same"
    for name in ("c.mp4", "d.mp4"):
        (listed / name).touch()
    assert run("frame-lists", listed, "--output", listed / "again.csv", "--require-files").status == 0
    (listed / "train.csv").write_text("".join(f"{number}.mp4 0\n" for number in range(12)))
    outcome = run("frame-lists", listed / "train.csv", "--output", listed / "third.csv", "--require-files")
    assert outcome.status == 1
    assert outcome.err.count("missing: ") == 10
    assert "and 2 more; --json names all" in outcome.err


def test_nothing_is_replaced_unasked(run: Callable[..., Outcome], listed: Path) -> None:
    before = (listed / "train.csv").read_text()
    arguments = ("frame-lists", listed / "train.csv", "--output", listed / "train.csv")
    run(*arguments).assert_refused(2, f"{listed}/train.csv exists; choose another --output, or add --overwrite")
    assert (listed / "train.csv").read_text() == before
    run("frame-lists", listed / "train.csv", "--output", listed / "list.csv")
    assert run("frame-lists", listed / "val.csv", "--output", listed / "list.csv", "--overwrite").status == 0
    assert len(read_manifest(listed / "list.csv").videos) == 1


def test_every_format_has_help(run: Callable[..., Outcome]) -> None:
    assert len(FORMATS) == 13
    for name in FORMATS:
        outcome = run(name, "--help")
        assert outcome.status == 0
        text = " ".join(outcome.out.split())
        assert f"usage: fewframes data import {name} [-h] [OPTIONS] " in text
        assert f"Example: fewframes data import {name} " in text
        assert "--output PATH" in text
        assert "--require-files" in text


def test_every_importer_is_a_format() -> None:
    folder = Path(sys.modules["fewframes.data"].__path__[0]) / "importers"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "files", "listing"}
    assert {name.replace("-", "_") for name in FORMATS} == modules


def test_overview(run: Callable[..., Outcome]) -> None:
    helped = run("--help")
    assert (helped.status, helped.err) == (0, "")
    assert run().status == 2
    for name, what in FORMATS.items():
        assert any(line.split(maxsplit=1) == [name, what] for line in helped.out.splitlines())


def test_wrong_usage(run: Callable[..., Outcome], listed: Path) -> None:
    run("kinetic").assert_refused(2, "unknown format of data sets 'kinetic'; did you mean 'kinetics'")
    run("frame_lists").assert_refused(2, "did you mean 'frame-lists'")
    run("zzz").assert_refused(2, "known: kinetics, ucf101, hmdb51")
    outcome = run("folder", listed, "--clases", "ucf101")
    assert outcome.status == 2
    assert "--clases" in outcome.err
    assert "--classes" in outcome.err
    run("folder", listed / "absent").assert_refused(2, "the folder of class folders", "absent does not exist")
    run("frame-lists").assert_refused(2, "no list was given")
    run("frame-lists", listed, "--output", listed / "list.txt").assert_refused(
        2, "list.txt ends in .txt; expected .csv"
    )
    run("frame-lists", listed, "--output", listed / "train.csv" / "list.csv").assert_refused(2, "cannot write")
    run("frame-lists", listed, "--classes", "ucf11", "--output", listed / "l.csv").assert_refused(2, "mean 'ucf101'")


def test_a_damaged_list(run: Callable[..., Outcome], listed: Path) -> None:
    (listed / "val.csv").write_text("d.mp4 2\ne.mp4 walk\n")
    output = listed / "list.csv"
    run("frame-lists", listed, "--output", output).assert_refused(
        1, "val.csv line 2: 'e.mp4 walk' is no path and class"
    )
    assert not output.exists()
    (listed / "val.csv").write_text("label,youtube_id,time_start,time_end,split\n")
    run("frame-lists", listed, "--output", output).assert_refused(1, "`fewframes data import kinetics`")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from fewframes.cli.data_import import run\n"
        "try: run(sys.argv[1:], 'x')\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'av', 'timm', 'pyarrow', 'matplotlib', 'numpy'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    for arguments in (["--help"], ["kinetics", "--help"], ["webdataset", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "heavy: []"


def test_real_videos(run: Callable[..., Outcome], data_dir: Path, tmp_path: Path) -> None:
    arguments = ("ucf101", data_dir / "ucf6", data_dir / "ucf6" / "splits", "--output", tmp_path / "ucf.csv")
    outcome = run(*arguments, "--json", "--require-files")
    document = outcome.document()
    assert (document["rows"], document["splits"], document["missing"]) == (731, {"train": 529, "test": 202}, [])
    listed = read_manifest(data_dir / "ucf6", split_column="split1")
    imported = read_manifest(tmp_path / "ucf.csv")
    assert {(video.path, video.label, video.split) for video in imported.videos} == {
        (video.path, video.label, video.split) for video in listed.videos
    }
