"""What ends a run early or leaves something out: it is named, nothing that was finished is lost, and it can go on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fewframes.training.loop as loop
from fewframes.data.manifest import Manifest
from fewframes.errors import TrainingFailed, TrainingStopped, UsageError, WorkerDied
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import EvaluationReport
from fewframes.report.logs import read_training_log
from fewframes.training.guards import SIGNALS, StopSignals, out_of_memory
from fewframes.training.loop import TrainResult, train
from fewframes.training.step import take_step
from fewframes.training.targets import SingleLabel
from fewframes.weights.checkpoint import load_checkpoint
from tests.helpers.tiny import same_bits, state_of, tiny_config, weights_of


def model_json(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((checkpoint / "model.json").read_text())
    return content


def scripted(monkeypatch: pytest.MonkeyPatch, *top1: float) -> None:
    """Let validation find these accuracies, one after the other."""
    remaining = list(top1)

    def pretend(classifier: Classifier, manifest: Manifest, **settings: Any) -> EvaluationReport:  # noqa: ANN401
        report = evaluate(classifier, manifest, **settings)
        return dataclasses.replace(report, listed=dataclasses.replace(report.listed, top1=remaining.pop(0)))

    monkeypatch.setattr(loop, "evaluate", pretend)


def at_step(number: int, then: Callable[[], object]) -> Callable[..., object]:
    """A step of the loop; the one with this number, from 0, does something first."""
    calls = 0

    def step(*arguments: Any) -> object:  # noqa: ANN401
        nonlocal calls
        calls += 1
        if calls == number + 1:
            then()
        return take_step(*arguments)

    return step


def broken_at(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Let the loss of a clip of class 2 not be a number in these steps, counted from 0, of two parts or one."""
    own, remembered = SingleLabel.losses, SingleLabel.loss_sum
    current = -1

    def counted(*arguments: Any) -> object:  # noqa: ANN401
        nonlocal current
        current += 1
        return take_step(*arguments)

    def losses(self: SingleLabel, logits_BK: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        bad = (targets == 2) & torch.tensor(current in steps)
        return own(self, logits_BK, targets) * torch.where(bad, torch.nan, 1.0)

    def loss_sum(
        self: SingleLabel, logits_BK: torch.Tensor, targets: torch.Tensor, weights_B: torch.Tensor
    ) -> torch.Tensor:
        if current in steps:
            return self.losses(logits_BK, targets).sum()
        return remembered(self, logits_BK, targets, weights_B)

    monkeypatch.setattr(loop, "take_step", counted)
    monkeypatch.setattr(SingleLabel, "losses", losses)
    monkeypatch.setattr(SingleLabel, "loss_sum", loss_sum)


def test_a_bad_step_names_its_videos_and_changes_nothing(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = tiny_config(tiny_videos, tmp_path / "run"), tmp_path / "run"
    with monkeypatch.context() as patch:
        broken_at(patch, 4)
        message = (
            r"^step 5: the loss is nan .*; lower --optim\.lr or train in float32; its videos: .*\.mp4, .*; "
            r".*failed has the weights before it and failure\.json; the last finished epoch, if any, is in .*last; "
            r"to leave such steps out, go on with --guards\.skip-bad-steps 10 --resume$"
        )
        with pytest.raises(TrainingFailed, match=message) as caught:
            train(config, show=False)
    failure = json.loads((folder / "failed" / "failure.json").read_text())
    assert (failure["step"], failure["epoch"], failure["bad_step"]["loss"]) == (5, 3, "nan")
    assert len(failure["videos"]) == 8
    culprits = [video for video in failure["videos"] if video["loss"] == "nan"]
    assert {video["label"] for video in culprits} == {"move_right"}, "classes are in the order of the alphabet"
    assert f"its videos: {culprits[0]['path']}, " in str(caught.value), "those first whose own loss is to blame"
    assert failure["weights_not_finite"] == []
    assert "head.weight" in failure["gradients_not_finite"]
    assert model_json(folder / "failed")["provenance"]["steps"] == 4
    assert same_bits(weights_of(folder / "failed"), weights_of(folder / "last"))
    assert state_of(folder)["progress"]["epoch"] == 2
    # Without whatever broke it, the run goes on to the same end.
    train(config, resume=True, show=False)
    assert same_bits(weights_of(folder / "last"), weights_of(tiny_run.last))


def test_bad_steps_are_left_out_up_to_a_number(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", guards={"skip_bad_steps": 2}, average={"decay": 0.5})
    with monkeypatch.context() as patch:
        broken_at(patch, 1, 4)
        result = train(config)
    assert (result.bad_steps, result.epochs) == (2, 3)
    assert model_json(result.last)["provenance"]["bad_steps"] == 2
    assert model_json(tmp_path / "run" / "averaged")["provenance"]["averaged_weights"]["num_updates"] == 4
    log = read_training_log(result.log)
    assert [line["step"] for line in log if "bad_step" in line] == [2, 5]
    assert [line["loss"] is None for line in log if "loss" in line] == [False, True, False, False, True, False]
    assert "step 2 is left out, its loss or gradient is not finite; videos: " in capsys.readouterr().err
    assert not (tmp_path / "run" / "failed").exists()
    with monkeypatch.context() as patch, pytest.raises(TrainingFailed, match=r"^step 3: "):
        broken_at(patch, 0, 1, 2)
        train(dataclasses.replace(config, output=str(tmp_path / "other")), show=False)


def test_it_stops_when_nothing_gets_better(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", guards={"stop_after_epochs": 2}, optim={"epochs": 9})
    with monkeypatch.context() as patch:
        scripted(patch, 25.0, 50.0, 50.0, 25.0, 75.0)
        result = train(config)
    assert (result.epochs, result.best_top1) == (4, 50.0)
    assert "stopped early: the validation accuracy has not risen since epoch 2" in capsys.readouterr().err
    assert model_json(result.best)["provenance"]["epochs"] == 2
    before = state_of(tmp_path / "run")
    assert train(config, resume=True, show=False).epochs == 4, "it has ended"
    assert same_bits(state_of(tmp_path / "run"), before)
    # More patience is not another run.
    scripted(monkeypatch, 75.0, 0.0, 0.0, 0.0, 0.0)
    patient = dataclasses.replace(config, guards=dataclasses.replace(config.guards, stop_after_epochs=3))
    assert train(patient, resume=True, show=False).epochs == 8
    with pytest.raises(
        UsageError, match=r"guards\.stop_after_epochs looks at the validation accuracy, and there is no"
    ):
        train(dataclasses.replace(config, data=dataclasses.replace(config.data, val_fraction=0.0)), show=False)


def test_the_last_epochs_are_kept(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "epochs"
    (folder / "mine").mkdir(parents=True)
    train(tiny_config(tiny_videos, tmp_path / "run", guards={"keep_epochs": 2}), show=False)
    assert sorted(path.name for path in folder.iterdir()) == ["002", "003", "mine"]
    assert same_bits(weights_of(folder / "003"), weights_of(tiny_run.last))
    assert model_json(folder / "002")["provenance"]["epochs"] == 2
    load_checkpoint(folder / "002")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_signal_ends_the_run_after_its_step(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int
) -> None:
    """Steps 1 and 3 are the last ones of their epochs: what is left of these is validation."""
    config, name = tiny_config(tiny_videos, tmp_path / "run"), signal.Signals(number).name
    handlers = [signal.getsignal(each) for each in SIGNALS]
    message = f"^stopped by {name}; the state is saved, go on with --resume$"
    with monkeypatch.context() as patch, pytest.raises(TrainingStopped, match=message) as caught:
        patch.setattr(loop, "take_step", at_step(step, lambda: os.kill(os.getpid(), number)))
        train(config, show=False)
    assert caught.value.exit_status == 128 + number
    assert state_of(tmp_path / "run")["progress"]["step"] == step + 1
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    train(config, resume=True, show=False)
    assert_same_run(tmp_path / "run", tiny_run.last.parent)


def assert_same_run(run: Path, uninterrupted: Path) -> None:
    assert same_bits(state_of(run), state_of(uninterrupted))
    for checkpoint in ("last", "best"):
        assert same_bits(weights_of(run / checkpoint), weights_of(uninterrupted / checkpoint))
    logs = [read_training_log(folder / "log.jsonl") for folder in (run, uninterrupted)]
    for name in ("loss", "lr", "validation"):
        found, expected = ([(line["step"], line[name]) for line in log if name in line] for log in logs)
        assert found == expected, "each step once, with the same numbers"


def test_a_signal_ends_validation_at_once(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seen = tiny_config(tiny_videos, tmp_path / "run"), 0
    run = Classifier.run

    def interrupted(self: Classifier, clip: torch.Tensor, *, attention: bool = False) -> Any:  # noqa: ANN401
        nonlocal seen
        seen += 1
        if seen == 4 + 2:  # the second of the second epoch's four
            os.kill(os.getpid(), signal.SIGTERM)
        return run(self, clip, attention=attention)

    with monkeypatch.context() as patch, pytest.raises(TrainingStopped, match="stopped by SIGTERM"):
        patch.setattr(Classifier, "run", interrupted)
        train(config, show=False)
    assert seen == 6
    progress = state_of(tmp_path / "run")["progress"]
    assert (progress["epoch"], progress["step_in_epoch"], progress["step"]) == (1, 2, 4)
    train(config, resume=True, show=False)
    assert_same_run(tmp_path / "run", tiny_run.last.parent)


def test_the_second_interrupt_ends_at_once(tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "take_step", at_step(1, twice))
    with pytest.raises(KeyboardInterrupt):
        train(tiny_config(tiny_videos, tmp_path / "run"), show=False)
    patient = StopSignals(alone=False)
    with patient.caught():
        twice()
    assert patient.received == signal.SIGINT, "torchrun repeats it"
    before, deaf = signal.signal(signal.SIGUSR1, signal.SIG_IGN), StopSignals()
    try:
        with deaf.caught():
            os.kill(os.getpid(), signal.SIGUSR1)
        assert deaf.received == 0
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_readers_that_are_stopped_with_the_run_are_no_accident(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, own = tiny_config(tiny_videos, tmp_path / "run"), loop._batches

    def dying(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        yield next(own(*arguments, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        raise WorkerDied("a process that reads videos ended")

    with monkeypatch.context() as patch, pytest.raises(TrainingStopped, match="stopped by SIGTERM"):
        patch.setattr(loop, "_batches", dying)
        train(config, show=False)
    assert state_of(tmp_path / "run")["progress"]["step"] == 1
    train(config, resume=True, show=False)
    assert_same_run(tmp_path / "run", tiny_run.last.parent)


def test_no_memory_left(tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nand more lines")

    monkeypatch.setattr(loop, "take_step", at_step(0, greedy))
    message = (
        r"^memory ran out \(CUDA out of memory\. Tried to allocate 3 GiB\.\); use --optim\.accumulate 4 instead of 2 "
        r"\(the same gradient\), --scale\.recompute-blocks, --precision bfloat16, .*--resume$"
    )
    with pytest.raises(TrainingFailed, match=message):
        train(tiny_config(tiny_videos, tmp_path / "run"), show=False)
    with pytest.raises(TrainingFailed, match=r"use --scale\.recompute-blocks"), out_of_memory(accumulate=8, clips=8):
        torch.empty(2**55)
    with pytest.raises(RuntimeError, match=r"size mismatch|shapes"), out_of_memory(accumulate=1, clips=8):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_the_average_of_the_weights(tiny_videos: Path, tmp_path: Path) -> None:
    """By hand from the weights after each of the six steps."""
    config = tiny_config(tiny_videos, tmp_path / "run", average={"decay": 0.75, "warm_up": False}, save_every_steps=1)
    kept = []

    def keeping(*arguments: Any, **options: Any) -> None:  # noqa: ANN401
        own(*arguments, **options)
        kept.append(state_of(tmp_path / "run"))

    own = loop.save_state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_state", keeping)
        result = train(config, show=False)
    weights = [state["model"]["head.weight"] for state in kept]
    assert len(weights) == 6
    averages = [state["average"]["average"]["head.weight"] for state in kept]
    for before, weight, average in zip(averages, weights[1:], averages[1:], strict=False):
        torch.testing.assert_close(average, 0.75 * before + 0.25 * weight)
    assert torch.equal(weights_of(tmp_path / "run" / "averaged")["head.weight"], averages[-1])
    assert torch.equal(weights_of(result.last)["head.weight"], weights[-1])
    assert model_json(result.last)["provenance"]["averaged_weights"] is None
    line = [line for line in read_training_log(result.log) if "validation" in line][-1]
    classifier = Classifier.load(tmp_path / "run" / "averaged")
    val = loop.start(config, resume=True, show=False)[0].data.val
    assert val is not None
    assert dataclasses.asdict(evaluate(classifier, val).listed) == line["validation_averaged"]


@pytest.mark.parametrize(
    ("top1", "best", "epoch"),
    [((25, 50, 25, 25, 25, 25), "averaged", 1), ((50, 25, 25, 25, 75, 50), "as trained", 3)],
)
def test_the_better_of_both_is_the_best(
    tiny_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    top1: tuple[float, ...],
    best: str,
    epoch: int,
) -> None:
    scripted(monkeypatch, *top1)
    result = train(tiny_config(tiny_videos, tmp_path / "run", average={"decay": 0.9}), show=False)
    assert result.best_top1 == max(top1)
    provenance = model_json(result.best)["provenance"]
    assert provenance["epochs"] == epoch
    assert (provenance["averaged_weights"] is not None) == (best == "averaged")
    assert provenance["validation"]["top1"] == max(top1)
    lines = [line for line in read_training_log(result.log) if "best" in line]
    assert (lines[-1]["best"], lines[-1]["epoch"]) == (best, epoch)


def test_without_validation_the_average_is_the_best(tiny_videos: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data": {"val_fraction": 0.0}, "average": {"decay": 0.9}}
    result = train(tiny_config(tiny_videos, tmp_path / "run", **changes), show=False)
    assert same_bits(weights_of(result.best), weights_of(tmp_path / "run" / "averaged"))
    assert not same_bits(weights_of(result.best), weights_of(result.last))
    assert model_json(result.best)["provenance"]["averaged_weights"]["decay"] == 0.9


def test_everything_comes_back_from_a_saved_state(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Average, scaler, mixing, balance and patience; float16 on the CPU."""
    changes: dict[str, Any] = {
        "average": {"decay": 0.9},
        "mix": {"mixup_alpha": 0.3, "cutmix_alpha": 0.3},
        "balance": {"sampling": "balanced"},
        "guards": {"stop_after_epochs": 2, "keep_epochs": 1},
        "precision": "float16",
        "save_every_steps": 1,
    }
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(tiny_config(tiny_videos, whole, **changes), show=False)
    for step in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(TrainingStopped):
            patch.setattr(loop, "take_step", at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM)))
            train(tiny_config(tiny_videos, run, **changes), resume=True, show=False)
    train(tiny_config(tiny_videos, run, **changes), resume=True, show=False)
    assert_same_run(run, whole)
    assert same_bits(weights_of(run / "averaged"), weights_of(whole / "averaged"))
    shutil.rmtree(run / "best")
    assert sorted(state_of(run)) == ["average", "manifest_sha256", "model", "optimizer", "progress", "scaler"]
