"""Whole fits: what is written is what was trained, and what was interrupted or is repeated costs nothing twice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fewframes.training.adapter as adapter
import fewframes.training.embedder as embedder
import fewframes.training.fit_run as fit_run
from fewframes.data.bad_videos import BadVideos
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.recipes import RECIPES
from fewframes.training.config import DataConfig
from fewframes.training.embedder import embed_videos
from fewframes.training.fit import Mode
from fewframes.training.fit_probe import open_cache
from fewframes.training.fit_run import FitResult, run_fit
from fewframes.training.fit_start import FitPlan, FitRequest, plan_fit
from fewframes.weights.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers.killing import kill_when
from tests.helpers.tiny import SHAPE, same_bits, weights_of
from tests.helpers.tolerance import REGROUPED, assert_close


class Stop(BaseException):
    """What ends a run in these tests."""


@pytest.fixture(scope="session")
def start(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint with classes of other names, so that its encoder is trained and a head has to be new."""
    model, info = load_checkpoint(tiny_checkpoint)
    folder = tmp_path_factory.mktemp("fit") / "start"
    save_checkpoint(folder, model, dataclasses.replace(info, labels=("a", "b", "c", "d")))
    return folder


def request(videos: Path, start: Path | str, output: Path, **changes: Any) -> FitRequest:  # noqa: ANN401
    data = DataConfig(source=str(videos), val_fraction=0.25, workers=0)
    return dataclasses.replace(
        FitRequest(data=data, init_from=str(start), output=str(output), epochs=3, lr=3e-3, device="cpu"), **changes
    )


def planned(asked: FitRequest) -> FitPlan:
    return plan_fit(asked, scratch=RECIPES["small"](), finetune=RECIPES["finetune"]())


def fit(asked: FitRequest, **options: Any) -> tuple[FitResult, list[str]]:  # noqa: ANN401
    said: list[str] = []
    return run_fit(planned(asked), say=said.append, show=False, **options), said


def refuse_to_read(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a video was read")

    patch.setattr("fewframes.video.clip.open_video", refuse)
    for module in ("fewframes.data.reading", "fewframes.data.cache"):
        patch.setattr(f"{module}.open_video", refuse)


def test_predictions_of_a_probe_are_its_own_logits(tiny_videos: Path, start: Path, tmp_path: Path) -> None:
    asked = request(tiny_videos, start, tmp_path / "run", views=2)
    result, said = fit(asked)
    assert (result.mode, result.num_train, result.num_val) == ("probe", 12, 4)
    classifier = Classifier.load(result.best)
    plan = planned(asked)
    encoder, cache = open_cache(plan)
    manifest = read_manifest(tiny_videos).only("train")
    bad = BadVideos(asked.data.policy, manifest)
    found = embed_videos(encoder, manifest, views=1, cache=cache, bad=bad, workers=0, show=False)
    assert found.num_computed == 0, "training and validation videos were all kept"
    network: Any = classifier.model
    for video, frames_VTD in zip(manifest.videos, found.frames_NVTD, strict=True):
        with torch.no_grad():
            logits = network.classify(frames_VTD)[0]
        assert classifier.predict(video.path).logits == tuple(logits.tolist()), "bit for bit"
    assert any("0 of 28 views are kept" in line for line in said)


def test_a_probe_leaves_the_encoder_alone(tiny_videos: Path, start: Path, tmp_path: Path) -> None:
    result, _ = fit(request(tiny_videos, start, tmp_path / "run"))
    before, after = weights_of(start), weights_of(result.best)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == {name for name in after if not name.startswith("encoder.")}
    assert result.num_trained_parameters == sum(after[name].numel() for name in moved)
    assert result.num_parameters == sum(value.numel() for value in after.values())


@pytest.mark.parametrize("mode", ["probe", "adapter", "full"])
def test_what_is_written_is_what_evaluate_finds(tiny_videos: Path, start: Path, tmp_path: Path, mode: Mode) -> None:
    asked = request(tiny_videos, start, tmp_path / "run", mode=mode)
    result, said = fit(asked)
    val = planned(asked).data.val
    assert val is not None
    classifier = Classifier.load(result.best)
    report = evaluate(classifier, val)
    assert (result.top1, result.num_val) == (report.listed.top1, 4)
    assert result.report is not None and result.report.exists()
    provenance = classifier.info.provenance
    assert provenance["fit"]["mode"] == mode if mode != "full" else provenance["train_config"]
    assert classifier.info.labels == ("fall", "move_left", "move_right", "rise")
    assert result.warnings == tuple(line.removeprefix("warning: ") for line in said if line.startswith("warning: "))
    assert all("fewer than" in warning for warning in result.warnings), "small classes, and nothing else"


@pytest.mark.parametrize("mode", ["probe", "adapter", "full"])
def test_the_same_again_reads_no_video(
    tiny_videos: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    asked = request(tiny_videos, start, tmp_path / "run", mode=mode, views=2)
    first, _ = fit(asked)
    weights = weights_of(first.best)
    with monkeypatch.context() as patch:
        refuse_to_read(patch)
        again, _ = fit(asked)
        if mode == "probe":
            with pytest.raises(AssertionError, match="a video was read"):
                fit(dataclasses.replace(asked, output=str(tmp_path / "other")))
    assert dataclasses.replace(again, seconds=first.seconds) == first
    assert same_bits(weights_of(again.best), weights)


def test_runs_share_a_cache(tiny_videos: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = str(tmp_path / "kept")
    fit(request(tiny_videos, start, tmp_path / "first", cache=cache))
    calls: list[object] = []
    plain = embedder.read_frames
    monkeypatch.setattr(embedder, "read_frames", lambda *a, **k: (calls.append(a), plain(*a, **k))[1])
    other = request(
        tiny_videos, start, tmp_path / "second", cache=cache, epochs=2, seed=0, options=("temporal_dropout=0.0",)
    )
    fit(other)
    assert calls == [], "another head, the same embeddings"
    fit(request(tiny_videos, start, tmp_path / "third", cache=cache, views=2))
    assert len(calls) == 1, "the first views were kept, but for one that was read to measure the time"
    assert not (tmp_path / "second" / "embeddings").exists()


def test_two_fits_with_one_seed_are_equal(tiny_videos: Path, start: Path, tmp_path: Path) -> None:
    for mode in ("probe", "adapter"):
        runs = [
            fit(request(tiny_videos, start, tmp_path / f"{mode}{number}", mode=mode, seed=seed, views=2))[0]
            for number, seed in enumerate((1, 1, 2))
        ]
        first, second, third = (weights_of(run.best) for run in runs)
        assert same_bits(first, second)
        assert not same_bits(first, third)


def test_killed_while_encoding(tiny_videos: Path, start: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = (
        "--init-from",
        start,
        "--output",
        run,
        "--epochs",
        "3",
        "--lr",
        "3e-3",
        "--device",
        "cpu",
        "--workers",
        "0",
    )
    was_killed = kill_when(
        lambda: len(list(run.rglob("*.safetensors"))) >= 3,
        "tests.training.slow_fit",
        tiny_videos,
        *options,
        "--val-fraction",
        "0.25",
    )
    assert was_killed
    kept = len(list(run.rglob("*.safetensors")))
    assert 3 <= kept < 16
    result, said = fit(request(tiny_videos, start, run))
    assert any(f"{kept} of 16 views are kept" in line for line in said)
    assert not any("damaged" in line for line in said)
    uninterrupted, _ = fit(request(tiny_videos, start, tmp_path / "other"))
    assert same_bits(weights_of(result.best), weights_of(uninterrupted.best))


@pytest.mark.parametrize("died_in", ["_step", "_validate", "_save_state"])
def test_an_interrupted_adapter_goes_on(
    tiny_videos: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_in: str
) -> None:
    whole, _ = fit(request(tiny_videos, start, tmp_path / "whole", mode="adapter"))
    asked = request(tiny_videos, start, tmp_path / "run", mode="adapter")
    plain, calls = getattr(adapter, died_in), []

    def deadly(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == (4 if died_in == "_step" else 2):
            raise Stop
        return plain(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(adapter, died_in, deadly)
        fit(asked)
    result, said = fit(asked)
    assert not any("the run takes about" in line for line in said), "it is measured once"
    assert same_bits(weights_of(result.best), weights_of(whole.best))
    assert result.top1 == whole.top1


def test_an_adapter_is_written_merged(tiny_videos: Path, start: Path, tmp_path: Path) -> None:
    asked = request(
        tiny_videos,
        start,
        tmp_path / "run",
        mode="adapter",
        data=DataConfig(str(tiny_videos), workers=0, val_fraction=0.0),
    )
    result, _ = fit(asked)
    assert result.top1 is None and result.report is None
    before, after = weights_of(start), weights_of(result.best)
    assert before.keys() == after.keys()
    moved = {name for name in after if name.startswith("encoder.") and not torch.equal(after[name], before[name])}
    layers = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert moved == {f"encoder.blocks.0.{layer}.weight" for layer in layers}
    # The state that it goes on from has the bypasses themselves.
    plan = planned(asked)
    adapter.add_low_rank_(plan.model, plan.request.rank)
    trained = nn.ParameterList(each for each in plan.model.parameters() if each.requires_grad)
    optimizer = adapter.build_optimizer(plan.model, plan.config.optim)
    adapter._load_state(plan.output, trained, optimizer)
    unmerged = Classifier(plan.model, plan.info)
    classifier = Classifier.load(result.best)
    for video in plan.data.train.videos[:3]:
        expected = torch.tensor(unmerged.predict(video.path).logits)
        assert_close(torch.tensor(classifier.predict(video.path).logits), expected, 10 * REGROUPED)


def test_videos_that_cannot_be_read(tiny_videos: Path, start: Path, tmp_path: Path) -> None:
    header, *rows = tiny_videos.read_text().splitlines()
    rows = [str(tiny_videos.parent / row) for row in rows if row.endswith(",train")]
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join([header, *rows, f"{bad},rise,train", ""]))
    data = DataConfig(source=str(listed), val_fraction=0.0, workers=0, on_bad_video="skip", max_bad_fraction=0.06)
    for mode, skipped in (("probe", 1), ("adapter", 3)):
        result, _ = fit(request(listed, start, tmp_path / mode, data=data, mode=mode))
        assert [failure.path for failure in result.bad_videos] == [str(bad)]
        assert result.num_skipped == skipped
        log = [json.loads(line) for line in (tmp_path / mode / "log.jsonl").read_text().splitlines()]
        assert {line["skipped"] for line in log if "skipped" in line} == {str(bad)}
        assert Classifier.load(result.best).info.provenance["bad_videos"] == 1


def test_a_folder_holds_one_run(tiny_videos: Path, start: Path, tmp_path: Path, tiny_checkpoint: Path) -> None:
    asked = request(tiny_videos, start, tmp_path / "run")
    fit(asked)
    with pytest.raises(
        UsageError, match=r"other settings \(train.optim.epochs was 3, now 4; .*--cache .*embeddings lets"
    ):
        fit(dataclasses.replace(asked, epochs=4))
    with pytest.raises(UsageError, match="views was 1, now 2"):
        fit(dataclasses.replace(asked, views=2))
    fit(dataclasses.replace(asked, data=dataclasses.replace(asked.data, workers=1)))
    with pytest.raises(UsageError, match="already holds a run that is none of fit"):
        fit(dataclasses.replace(asked, output=str(tiny_checkpoint.parent)))
    (tmp_path / "run" / "fit.json").write_text("{")
    with pytest.raises(InvalidCheckpoint, match=r"fit\.json is damaged"):
        fit(asked)


@pytest.mark.parametrize("mode", ["probe", "adapter", "full"])
def test_a_run_that_saved_nothing_may_be_changed(
    tiny_videos: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Stop

    asked = request(tiny_videos, start, tmp_path / "run", mode=mode)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        for name in ("run_probe", "train_adapter", "train"):
            patch.setattr(fit_run, name, die)
        fit(asked)
    result, _ = fit(dataclasses.replace(asked, epochs=2))
    assert Classifier.load(result.best).info.provenance["train_config"]["optim"]["epochs"] == 2


def test_the_network_follows_from_the_weights(tiny_videos: Path, start: Path, tmp_path: Path) -> None:
    plan = planned(request(tiny_videos, start, tmp_path / "run"))
    assert plan.info.config == load_checkpoint(start)[1].config
    assert plan.head_is_new
    changed = planned(request(tiny_videos, start, tmp_path / "run", options=("temporal_dropout=0.3",)))
    assert changed.info.config == dataclasses.replace(plan.info.config, temporal_dropout=0.3)  # type: ignore[type-var]
    named = planned(request(tiny_videos, start, tmp_path / "run", model="stam_4", options=SHAPE))
    assert named.info.config == plan.info.config


def test_the_head_is_kept_for_the_same_classes(tiny_videos: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    plan = planned(request(tiny_videos, tiny_checkpoint, tmp_path / "run"))
    assert not plan.head_is_new


def test_nothing_is_downloaded_that_was_not_named(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> Path:
        raise Stop(name)

    monkeypatch.setattr("fewframes.training.setup.find_weights", refuse)
    scratch = planned(request(tiny_videos, "", tmp_path / "run"))
    assert (scratch.choice.mode, scratch.info.name, scratch.report) == ("full", "stam_8", None)
    unpublished = planned(request(tiny_videos, "", tmp_path / "run", model="stam_4", options=SHAPE))
    assert (unpublished.choice.mode, unpublished.info.name) == ("full", "stam_4")
    assert "Full training of stam_4 from random weights" in unpublished.choice.reasons[0]
    for asked in ({"model": "stam_16"}, {"init_from": "stam_16"}):
        with pytest.raises(Stop, match="stam_16"):
            planned(dataclasses.replace(request(tiny_videos, "", tmp_path / "run"), **asked))


def test_random_weights_are_trained_whole(tiny_videos: Path, tmp_path: Path) -> None:
    options = (*SHAPE, "drop_path=0.0")
    asked = request(tiny_videos, "", tmp_path / "run", options=options, epochs=2)
    result, said = fit(asked)
    assert result.mode == "full"
    assert result.num_trained_parameters == result.num_parameters
    assert any(line.startswith("the run takes about ") for line in said)
    assert any(line.startswith("loss before training: ") for line in said)
    with pytest.raises(UsageError, match="--mode probe keeps the frame encoder frozen, but there are no trained"):
        planned(dataclasses.replace(asked, mode="probe"))


@pytest.mark.parametrize("mode", ["probe", "adapter"])
def test_one_batch_on_request(tiny_videos: Path, start: Path, tmp_path: Path, mode: Mode) -> None:
    asked = request(tiny_videos, start, tmp_path / "run", mode=mode, lr=1e-2)
    plain, quiet = fit(dataclasses.replace(asked, output=str(tmp_path / "plain")))
    result, said = fit(asked, overfit_steps=30)
    assert sum("one batch of 8 videos: loss " in line for line in said) == 1
    assert not any("one batch of" in line for line in quiet)
    assert same_bits(weights_of(result.best), weights_of(plain.best)), "it changes nothing"


def test_settings_that_cannot_be(
    tiny_videos: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("views", 0), ("rank", 0), ("epochs", -1), ("lr", float("nan"))):
        with pytest.raises(UsageError, match=f"{name} is {value}; expected at least"):
            request(tiny_videos, start, tmp_path / "run", **{name: value})
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="--device cuda cannot be used here"):
            planned(request(tiny_videos, start, tmp_path / "run", device="cuda"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="fit runs in one process in mode probe; start it without torchrun"):
        planned(request(tiny_videos, start, tmp_path / "run"))


def test_a_difference_to_evaluation_is_told(
    tiny_videos: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fit_run.run_probe
    monkeypatch.setattr(fit_run, "run_probe", lambda *a, **k: dataclasses.replace(plain(*a, **k), top1=-70.0))
    result, said = fit(request(tiny_videos, start, tmp_path / "run"))
    assert "training -70.00 %" in result.warnings[-1]
    assert "this should not be" in said[-1]
