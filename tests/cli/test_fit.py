"""`fewframes fit`: what is chosen and why, what is printed, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fewframes.errors import WorkerDied
from fewframes.training.fit_run import FitResult
from tests.helpers.command import Command, command_process
from tests.helpers.tiny import SHAPE, same_bits, weights_of

QUICK = ("--epochs", "2", "--lr", "3e-3", "--workers", "0", "--device", "cpu", "--val-fraction", "0.25")


@pytest.fixture
def fit(command: Command, tiny_videos: Path, tiny_checkpoint: Path, tmp_path: Path) -> Command:
    def run(*arguments: object, videos: Path = tiny_videos, start: Path | str = tiny_checkpoint) -> object:
        weights = ("--init-from", start) if start else ()
        return command("fit", videos, "--output", tmp_path / "run", *QUICK, *weights, *arguments)

    return run  # type: ignore[return-value]


def test_the_way_is_chosen_and_explained(fit: Command, tiny_checkpoint: Path, tmp_path: Path) -> None:
    outcome = fit()
    assert outcome.status == 0
    assert outcome.out.startswith(f"{tmp_path}/run/best: validation top-1 ")
    assert outcome.out.endswith("of them trained (probe), 12 training videos\n")
    for part in (
        "12 training videos of 4 classes, 4 to validate; smallest class fall (3)",
        f"Starting from {tiny_checkpoint}.",
        "Probe, because this is a CPU: the frame encoder stays as it is and each video is encoded once",
        "2 epochs of 2 steps, 8 clips a step, peak learning rate 0.003, on cpu",
        "note: no validation split: 4 of the training videos are held out",
        "warning: 4 classes with fewer than 10 training videos",
        f"0 of 16 views are kept in {tmp_path}/run/embeddings",
        "loss before training: ",
        "epoch 2/2: loss ",
        f"next: fewframes evaluate {tmp_path}/run/best VIDEOS    fewframes predict {tmp_path}/run/best FILE",
    ):
        assert part in outcome.err
    again = fit()
    assert again.out == outcome.out
    assert "16 of 16 views are kept" in again.err
    fit("--views", "2").assert_refused(2, "other settings (views was 1, now 2)", "choose another --output")


def test_the_next_commands_work(fit: Command, command: Command, tiny_videos: Path, tmp_path: Path) -> None:
    for mode in ("probe", "adapter", "full"):
        assert fit("--mode", mode, "--output", tmp_path / mode).status == 0
        best = tmp_path / mode / "best"
        assert (
            command("evaluate", best, tiny_videos, "--split", "test", "--json").document()["listed"]["num_videos"] == 8
        )
        assert command("predict", best, next(tiny_videos.parent.glob("rise/*.mp4"))).status == 0
        assert command("models", "show", best).status == 0


def test_the_result_as_json(fit: Command, tmp_path: Path) -> None:
    document = fit("--json", "--mode", "adapter").document()
    assert list(document) == [field.name for field in dataclasses.fields(FitResult)]
    assert (document["best"], document["mode"]) == (str(tmp_path / "run" / "best"), "adapter")
    assert (document["num_train"], document["num_val"], document["num_skipped"]) == (12, 4, 0)
    assert document["reasons"][1].startswith("Adapter, as asked: ")
    without = fit("--json", "--val-fraction", "0", "--output", tmp_path / "other").document()
    assert (without["top1"], without["num_val"], without["report"]) == (None, 0, None)


@pytest.mark.parametrize("mode", ["probe", "adapter", "full"])
def test_a_dry_run_trains_nothing(fit: Command, tmp_path: Path, mode: str) -> None:
    document = fit("--dry-run", "--json", "--mode", mode).document()
    assert document["mode"] == mode
    assert document["config"]["optim"]["epochs"] == 2
    takes = "to encode the others takes about" if mode == "probe" else "the run takes about"
    assert any(takes in note for note in document["notes"])
    assert not (tmp_path / "run").exists()
    shown = fit("--dry-run", "--mode", mode)
    assert takes in shown.out
    assert f"{mode.capitalize()}, as asked: " in shown.out
    assert "warning: 4 classes with fewer than 10 training videos" in shown.err
    assert fit("--mode", mode).status == 0, "a dry run leaves nothing that could be in the way"


def test_without_weights_everything_is_trained(fit: Command, tmp_path: Path) -> None:
    outcome = fit("--options", *SHAPE, start="")
    assert outcome.status == 0
    assert "Full training of stam_8 from random weights, because there are no trained weights" in outcome.err
    assert "the run takes about " in outcome.err
    assert "(full), 12 training videos" in outcome.out
    for mode in ("probe", "adapter"):
        fit("--mode", mode, start="").assert_refused(2, f"--mode {mode} keeps the frame encoder frozen", "--init-from")


def test_one_batch_by_heart(fit: Command, tmp_path: Path) -> None:
    outcome = fit("--overfit-one-batch", "--lr", "0.02")
    assert outcome.status == 0
    assert "one batch of 8 videos: loss " in outcome.err


def test_what_is_refused(fit: Command, tiny_videos: Path, tmp_path: Path, command: Command) -> None:
    fit(start="absent.pth").assert_refused(1, "no weights at absent.pth")
    fit("--model", "stam_61").assert_refused(2, "unknown model 'stam_61'; did you mean")
    fit("--views", "0").assert_refused(2, "views is 0; expected at least 1")
    fit(videos=tmp_path / "absent").assert_refused(1, str(tmp_path / "absent"), "expected a CSV file or a folder")
    fit("--options", "heads").assert_refused(2, "not of the form name=value")
    assert fit("--mode", "magic").status == 2
    assert not (tmp_path / "run").exists()


def test_an_unreadable_video(fit: Command, tiny_videos: Path, tmp_path: Path) -> None:
    rows = [str(tiny_videos.parent / row) for row in tiny_videos.read_text().splitlines()[1:]]
    source, bad = tmp_path / "list.csv", tmp_path / "bad one.mp4"
    bad.write_text("I am no video")
    source.write_text("\n".join(["path,label,split", *rows, f"{bad},rise,train", ""]))
    outcome = fit("--val-fraction", "0", videos=source)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith(f"fewframes: error: cannot read {bad}: ")
    assert outcome.err.splitlines()[-1].endswith("use --data.on-bad-video skip")
    # What the message proposes works.
    skipping = fit("--val-fraction", "0", "--data.on-bad-video", "skip", "--json", videos=source)
    assert (skipping.status, skipping.document()["num_skipped"]) == (0, 1)
    assert [failure["path"] for failure in skipping.document()["bad_videos"]] == [str(bad)]


def test_options_have_the_names_that_messages_give_them(fit: Command) -> None:
    names = ("--data.workers", "1", "--data.max-bad-fraction", "0.5", "--optim.lr", "1e-3", "--dry-run", "--json")
    config = fit(*names).document()["config"]
    assert (config["data"]["workers"], config["data"]["max_bad_fraction"], config["optim"]["lr"]) == (1, 0.5, 1e-3)


def test_a_dead_worker(fit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise WorkerDied("a process ended; remove the file; then go on with --resume")

    monkeypatch.setattr("fewframes.training.fit_run.run_fit", die)
    fit().assert_refused(1, "remove the file; then give the same command again")


def test_in_a_process_of_its_own(fit: Command, tiny_videos: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert fit("--json").status == 0
    options = ("--output", tmp_path / "other", *QUICK, "--init-from", tiny_checkpoint, "--json")
    outcome = command_process("fit", tiny_videos, *options)
    assert outcome.status == 0
    assert outcome.document()["mode"] == "probe"
    assert "Traceback" not in outcome.err
    assert "Warning" not in outcome.err
    assert same_bits(weights_of(tmp_path / "run" / "best"), weights_of(tmp_path / "other" / "best"))
