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


def test_a_dry_run_resolves_everything(command: Command, tiny_videos: Path, tmp_path: Path) -> None:
    plain = command("train", "finetune", tiny_videos, "--dry-run", "--json").document()
    recipe = RECIPES["finetune"]()
    expected = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, source=str(tiny_videos)))
    assert plain["config"] == json.loads(json.dumps(dataclasses.asdict(expected)))
    changes = ("--optim.lr", "3e-4", "--model.options", "num_frames=8", "depth=2", "--output", tmp_path / "run")
    changes = (*changes, "--augment.no-random-frames", "--dry-run", "--json")
    changed = command("train", "finetune", tiny_videos, *changes).document()["config"]
    assert changed["optim"] == {**plain["config"]["optim"], "lr": 3e-4}
    assert changed["model"]["options"] == ["num_frames=8", "depth=2"]
    assert changed["augment"]["random_frames"] is False
    assert not (tmp_path / "run").exists()
    command("train", "finetune", tmp_path / "absent", "--dry-run").assert_refused(1, "expected a CSV file or a folder")


def test_a_dry_run_in_words(train: Command, tmp_path: Path) -> None:
    lines = train("--dry-run", "--data.val-fraction", "0.25", "--optim.accumulate", "2").out.splitlines()
    facts = {line[:16].strip(): line[16:].strip() for line in lines}
    assert facts["videos"] == "12 to train on, 4 to validate on, 4 classes"
    assert facts["batch"] == "8 clips = 1 process x 8, 4 at a time"
    assert facts["steps"] == "2 an epoch, 2 in 1 epochs"
    assert facts["learning rate"] == "0.001 at its peak, 2 steps of warm-up, then cosine"
    assert facts["group 1"].startswith("encoder, no decay: ")
    assert facts["memory"].startswith("about ")
    assert facts["sampling"].startswith("rule random_in_segment, num_frames 3")
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
