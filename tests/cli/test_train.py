"""`fewframes train`: recipes and their changes, what is printed, and runs that are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from fewframes.recipes import RECIPES
from fewframes.training.loop import TrainResult
from tests.helpers.command import Command, command_process
from tests.helpers.tiny import SHAPE, same_bits, weights_of

QUICK = ("--optim.epochs", "1", "--optim.batch-size", "8", "--data.workers", "0", "--device", "cpu")


@pytest.fixture
def train(command: Command, tiny_videos: Path, tmp_path: Path) -> Command:
    def run(*arguments: object, videos: Path = tiny_videos) -> object:
        options = ("--output", tmp_path / "run", *QUICK, "--model.options", *SHAPE, "--precision", "float32")
        return command("train", "small", videos, *options, *arguments)

    return run  # type: ignore[return-value]


def test_the_recipes_are_listed(command: Command) -> None:
    asked, given = command("train", "--help"), command("train")
    assert (asked.status, given.status) == (0, 2)
    assert asked.out == given.out
    assert all(f"  {name}" in asked.out for name in RECIPES)
    command("train", "smal", "videos").assert_refused(2, "unknown recipe 'smal'; did you mean 'small'")


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_of_a_recipe_is_an_option(command: Command, name: str) -> None:
    text = command("train", name, "--help").out
    for part in ("data", "model", "augment", "optim"):
        for field in dataclasses.fields(getattr(RECIPES[name](), part)):
            assert f"--{part}.{field.name.replace('_', '-')}" in text
    for option in ("--output", "--seed", "--resume", "--dry-run"):
        assert option in text


def test_a_dry_run_resolves_everything(command: Command, tmp_path: Path) -> None:
    plain = command("train", "finetune", "videos", "--dry-run")
    recipe = RECIPES["finetune"]()
    expected = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source="videos"))
    assert plain.document() == json.loads(json.dumps(dataclasses.asdict(expected)))
    changes = ("--optim.lr", "3e-4", "--model.options", "num_frames=8", "depth=2", "--output", tmp_path / "run")
    changed = command("train", "finetune", "videos", *changes, "--augment.no-random-frames", "--dry-run").document()
    assert changed["optim"] == {**plain.document()["optim"], "lr": 3e-4}
    assert changed["model"]["options"] == ["num_frames=8", "depth=2"]
    assert changed["augment"]["random_frames"] is False
    assert not (tmp_path / "run").exists()


def test_a_run(train: Command, tmp_path: Path) -> None:
    held_out = ("--data.val-fraction", "0.25")
    outcome = train(*held_out)
    assert outcome.status == 0
    assert outcome.out.startswith(f"{tmp_path}/run/best: validation top-1 ")
    assert outcome.out.endswith("parameters, 12 training videos\n")
    assert "no validation split: 4 of the training videos are held out" in outcome.err
    assert "epoch 1/1: loss " in outcome.err
    assert f"next: fewframes evaluate {tmp_path}/run/best VIDEOS" in outcome.err
    train(*held_out).assert_refused(2, f"{tmp_path}/run already holds a run; add --resume")
    assert train(*held_out, "--resume").out == outcome.out
    train(*held_out, "--resume", "--optim.lr", "0.5").assert_refused(
        2, "optim.lr was 0.001, now 0.5", "choose another --output"
    )


def test_the_result_as_json(train: Command, tmp_path: Path) -> None:
    outcome = train("--json", "--data.val-fraction", "0")
    document = outcome.document()
    assert list(document) == [field.name for field in dataclasses.fields(TrainResult)]
    assert (document["best"], document["best_top1"]) == (str(tmp_path / "run" / "best"), None)
    assert (document["num_train"], document["num_val"], document["num_skipped"]) == (16, 0, 0)


def test_lists_that_cannot_be_trained_on(train: Command, command: Command, tiny_videos: Path, tmp_path: Path) -> None:
    command("train", "small").assert_refused(2, "no videos to train on")
    train(videos=tmp_path / "absent").assert_refused(1, str(tmp_path / "absent"), "expected a CSV file or a folder")
    rows = [str(tiny_videos.parent / row) for row in tiny_videos.read_text().splitlines()[1:]]
    source = tmp_path / "list.csv"
    source.write_text("\n".join(["path,label,split", *rows, "gone.mp4,rise,train", ""]))
    train("--data.val-fraction", "0", videos=source).assert_refused(
        1, str(source), "1 of 17 listed files do not exist", "gone.mp4", "correct it or add the files"
    )
    source.write_text("path,label,spilt\n")
    train(videos=source).assert_refused(1, str(source), "unknown column 'spilt'; did you mean 'split'")
    assert not (tmp_path / "run").exists()


def test_settings_that_cannot_be(train: Command) -> None:
    train("--optim.lr", "-1").assert_refused(2, "optim.lr is -1.0; expected at least 0")
    train("--optim.accumulate", "3").assert_refused(2, "batch_size 8 is not a multiple of accumulate 3")
    train("--model.name", "stam_61").assert_refused(2, "unknown model 'stam_61'; did you mean")
    train("--model.init-from", "absent.pth").assert_refused(1, "no weights at absent.pth")


def test_an_unreadable_video(train: Command, tiny_videos: Path, tmp_path: Path) -> None:
    rows = [str(tiny_videos.parent / row) for row in tiny_videos.read_text().splitlines()[1:]]
    source, bad = tmp_path / "list.csv", tmp_path / "bad one.mp4"
    bad.write_text("I am no video")
    source.write_text("\n".join(["path,label,split", *rows, f"{bad},rise,train", ""]))
    outcome = train("--data.val-fraction", "0", videos=source)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith(f"fewframes: error: cannot read {bad}: ")
    assert "use --data.on-bad-video skip" in outcome.err
    # What the message proposes works.
    skipping = train("--data.val-fraction", "0", "--data.on-bad-video", "skip", "--resume", "--json", videos=source)
    assert (skipping.status, skipping.document()["num_skipped"]) == (0, 1)
    (named,) = skipping.document()["bad_videos"]
    assert named["path"] == str(bad)
    assert named["reason"] in skipping.err


def test_too_many_bad_videos(train: Command, tiny_videos: Path, tmp_path: Path) -> None:
    rows = [str(tiny_videos.parent / row) for row in tiny_videos.read_text().splitlines()[1:]]
    source = tmp_path / "list.csv"
    source.write_text("\n".join(["path,label,split", *rows, "a.mp4,rise,train", "b.mp4,rise,train", ""]))
    skip = ("--data.val-fraction", "0", "--data.on-bad-video", "skip")
    train(*skip, videos=source).assert_refused(
        1,
        f"2 of 18 videos of {source}",
        "a.mp4 (no such file)",
        f"fewframes data scan {source}",
        "--data.max-bad-fraction",
    )
    outcome = train(*skip, "--data.max-bad-fraction", "0.1", videos=source)
    assert outcome.status == 0
    assert "2 of 18 listed files do not exist" in outcome.err
    train("--data.on-bad-video", "count-as-wrong").assert_refused(2, "count-as-wrong, which belongs to evaluation")
    train("--data.max-bad-fraction", "2").assert_refused(2, "data.max_bad_fraction is 2.0; expected 0 to 1")


def test_decode_options(train: Command, tiny_videos: Path) -> None:
    outcome = train("--data.decode.limits.max-pixels", "100", "--data.val-fraction", "0")
    assert outcome.status == 1
    assert "pixels" in outcome.err
    assert train("--data.decode.seek", "nearest").status == 2


def test_in_a_process_of_its_own(train: Command, tiny_videos: Path, tmp_path: Path) -> None:
    assert train("--json").status == 0
    options = ("--output", tmp_path / "other", *QUICK, "--model.options", *SHAPE, "--precision", "float32", "--json")
    outcome = command_process("train", "small", tiny_videos, *options)
    assert outcome.status == 0
    assert outcome.document()["num_parameters"] > 0
    assert "Traceback" not in outcome.err
    assert "Warning" not in outcome.err
    assert same_bits(weights_of(tmp_path / "run" / "last"), weights_of(tmp_path / "other" / "last"))
