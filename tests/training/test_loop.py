"""Training: what it learns from, what it leaves behind, and what it says when it cannot go on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import fewframes.training.loop as loop
from fewframes.data.loader import Batch
from fewframes.data.manifest import Manifest
from fewframes.errors import TooManyBadVideos, TrainingFailed, UnreadableVideo, UsageError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import BadVideoPolicy, DecodeOptions, EvaluationReport, Limits
from fewframes.report.logs import read_training_log
from fewframes.training.loop import TrainResult, train, weighted_loss_sum
from fewframes.training.optim import learning_rate_factor
from fewframes.training.setup import Run, start
from fewframes.video.transforms import to_float
from tests.helpers.tiny import SHAPE, same_bits, state_of, tiny_config, weights_of

WITHOUT_DROPOUT = (*SHAPE[:-1], "temporal_dropout=0.0")


def model_json(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((checkpoint / "model.json").read_text())
    return content


def with_broken(manifest: Path, folder: Path, *numbers: int, split: str = "train") -> Path:
    """The same list, some of whose lines name files that are no videos."""
    header, *rows = manifest.read_text().splitlines()
    rows = [str(manifest.parent / row) for row in rows if row.endswith(",train")]
    for number in numbers:
        (folder / f"broken {number}.mp4").write_text("not a video")
        rows[number] = f"{folder / f'broken {number}.mp4'},{rows[number].split(',')[1]},{split}"
    path = folder / "broken.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def test_what_a_run_leaves_behind(tiny_run: TrainResult) -> None:
    folder = tiny_run.last.parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "best",
        "config.json",
        "curves.png",
        "environment.json",
        "first_batch.png",
        "last",
        "log.jsonl",
        "resume.pt",
    ]
    assert (tiny_run.best, tiny_run.log) == (folder / "best", folder / "log.jsonl")
    assert (tiny_run.num_train, tiny_run.num_val, tiny_run.num_skipped) == (12, 4, 0)
    assert tiny_run.num_parameters == sum(value.numel() for value in weights_of(tiny_run.last).values())
    provenance = model_json(tiny_run.last)["provenance"]
    assert (provenance["epochs"], provenance["steps"], provenance["clips_skipped"]) == (3, 6, 0)
    assert provenance["validation"]["num_videos"] == 4
    assert provenance["train_config"] == json.loads((folder / "config.json").read_text())


def test_the_log_by_hand(tiny_run: TrainResult, tiny_videos: Path) -> None:
    log = read_training_log(tiny_run.log)
    steps = [line for line in log if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in steps] == [1, 1, 2, 2, 3, 3]
    optim = tiny_config(tiny_videos, "run").optim
    factors = [learning_rate_factor(step, steps_per_epoch=2, config=optim) for step in range(6)]
    assert [line["lr"] for line in steps] == pytest.approx([3e-3 * factor for factor in factors])
    assert all(line["grad_norm"] > 0 and 0 <= line["data_wait_share"] <= 1 for line in steps)
    assert [line["epoch"] for line in log if "validation" in line] == [1, 2, 3]


def test_the_same_settings_give_the_same_bits(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    torch.manual_seed(123)
    again = train(tiny_config(tiny_videos, tmp_path / "again"), show=False)
    assert same_bits(weights_of(again.last), weights_of(tiny_run.last))
    assert same_bits(state_of(tmp_path / "again"), state_of(tiny_run.last.parent))
    other = train(tiny_config(tiny_videos, tmp_path / "other", seed=1), show=False)
    assert not same_bits(weights_of(other.last), weights_of(tiny_run.last))


@pytest.mark.parametrize("data", [{"workers": 2}, {"cache_frames": 64}])
def test_how_videos_are_read_changes_nothing(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, data: dict[str, int]
) -> None:
    result = train(tiny_config(tiny_videos, tmp_path / "run", data=data), show=False)
    assert same_bits(weights_of(result.last), weights_of(tiny_run.last))


def test_dropout_is_at_work(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    result = train(tiny_config(tiny_videos, tmp_path / "run", model={"options": WITHOUT_DROPOUT}), show=False)
    assert not same_bits(weights_of(result.last), weights_of(tiny_run.last))


def gradients(run: Run, batch: Batch) -> tuple[torch.Tensor, float]:
    loss, _ = loop._step(run, batch)
    assert loss is not None
    parameters = list(run.model.parameters())
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).double(), loss


def one_step(source: Path, output: Path, *, accumulate: int, count: int, clip_norm: float = 0.0) -> tuple[Run, Batch]:
    optim = {"batch_size": 8, "accumulate": accumulate, "clip_norm": clip_norm, "label_smoothing": 0.1}
    config = tiny_config(source, output, optim=optim, model={"options": WITHOUT_DROPOUT})
    run, _ = start(config, resume=False, show=False)
    batch = next(loop._batches(run, 0, skip=0))
    kept = {name: getattr(batch, name)[:count] for name in ("clips", "labels", "weights", "indices")}
    return run, dataclasses.replace(batch, **kept)


@pytest.mark.parametrize("count", [8, 7, 3, 1])
def test_parts_add_up_to_the_whole(tiny_videos: Path, tmp_path: Path, count: int) -> None:
    whole, batch = one_step(tiny_videos, tmp_path / "1", accumulate=1, count=count)
    clips = torch.stack([to_float(clip, whole.info.preprocess) for clip in batch.clips])
    mean = F.cross_entropy(whole.model.train()(clips), batch.labels, label_smoothing=0.1)
    direct = torch.cat([grad.flatten() for grad in torch.autograd.grad(mean, list(whole.model.parameters()))]).double()
    for accumulate in (1, 2, 4):
        run, batch = one_step(tiny_videos, tmp_path / f"parts {accumulate}", accumulate=accumulate, count=count)
        found, loss = gradients(run, batch)
        assert loss == pytest.approx(float(mean.detach()), rel=1e-6)
        assert float((found - direct).norm() / direct.norm()) < 1e-6


def test_the_gradient_is_limited(tiny_videos: Path, tmp_path: Path) -> None:
    free, batch = one_step(tiny_videos, tmp_path / "free", accumulate=2, count=8)
    norm = float(gradients(free, batch)[0].norm())
    limited, batch = one_step(tiny_videos, tmp_path / "limited", accumulate=2, count=8, clip_norm=norm / 4)
    _, stated = loop._step(limited, batch)
    assert stated == pytest.approx(norm, rel=1e-5), "the norm before it was limited"
    kept = torch.cat([p.grad.flatten() for p in limited.model.parameters() if p.grad is not None])
    assert float(kept.norm()) == pytest.approx(norm / 4, rel=1e-4)


def test_validation_gives_the_logits_of_prediction(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    run = Classifier.run

    def spy(self: Classifier, clip: torch.Tensor, *, attention: bool = False) -> tuple[torch.Tensor, Any]:
        logits, weights = run(self, clip, attention=attention)
        seen.append(logits)
        return logits, weights

    config = tiny_config(tiny_videos, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "run", spy)
        result = train(config, show=False)
    val = start(config, resume=True, show=False)[0].data.val
    assert val is not None
    assert len(seen) == 3 * len(val.videos)
    classifier = Classifier.load(result.last)
    for video, logits in zip(val.videos, seen[-len(val.videos) :], strict=True):
        assert classifier.predict(video.path).logits == tuple(logits.tolist())
    assert evaluate(classifier, val).listed == evaluate_of(result.last)


def evaluate_of(checkpoint: Path) -> object:
    """What validation said of a checkpoint when it was written."""
    from fewframes.records import Scores

    return Scores(**model_json(checkpoint)["provenance"]["validation"])


def scripted(monkeypatch: pytest.MonkeyPatch, *top1: float) -> None:
    """Let validation find these accuracies, one after the other."""
    remaining = list(top1)

    def pretend(classifier: Classifier, manifest: Manifest, **settings: object) -> EvaluationReport:
        report = evaluate(classifier, manifest, **settings)  # type: ignore[arg-type]
        return dataclasses.replace(report, listed=dataclasses.replace(report.listed, top1=remaining.pop(0)))

    monkeypatch.setattr(loop, "evaluate", pretend)


@pytest.mark.parametrize(("top1", "best"), [((25.0, 75.0, 50.0), 2), ((0.0, 0.0, 0.0), 1), ((10.0, 20.0, 30.0), 3)])
def test_validation_chooses_the_best_epoch(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top1: tuple[float, ...], best: int
) -> None:
    scripted(monkeypatch, *top1)
    result = train(tiny_config(tiny_videos, tmp_path / "run"), show=False)
    assert result.best_top1 == max(top1)
    assert model_json(result.best)["provenance"]["epochs"] == best
    assert model_json(result.last)["provenance"]["epochs"] == 3
    assert same_bits(weights_of(result.best), weights_of(result.last)) == (best == 3)


def test_validation_from_time_to_time(tiny_videos: Path, tmp_path: Path) -> None:
    result = train(tiny_config(tiny_videos, tmp_path / "run", validate_every=2), show=False)
    assert [line["epoch"] for line in read_training_log(result.log) if "validation" in line] == [2, 3]


def test_without_validation_the_last_is_the_best(tiny_videos: Path, tmp_path: Path) -> None:
    result = train(tiny_config(tiny_videos, tmp_path / "run", data={"val_fraction": 0.0}), show=False)
    assert (result.best_top1, result.num_train, result.num_val) == (None, 16, 0)
    assert same_bits(weights_of(result.best), weights_of(result.last))
    assert model_json(result.best)["provenance"]["validation"] is None


def test_an_unreadable_video_stops_the_run(tiny_videos: Path, tmp_path: Path) -> None:
    source = with_broken(tiny_videos, tmp_path, 5)
    config = tiny_config(source, tmp_path / "run", data={"val_fraction": 0.0})
    message = r"cannot read .*broken 5\.mp4: .*; repair or remove it, or use --data\.on-bad-video skip"
    with pytest.raises(UnreadableVideo, match=message):
        train(config, show=False)
    # The remedy works in the same folder, since nothing has been saved there.
    skipping = dataclasses.replace(config, data=dataclasses.replace(config.data, on_bad_video="skip"))
    assert train(skipping, resume=True, show=False).num_skipped == 3


@pytest.mark.parametrize("cache_frames", [0, 8])
def test_unreadable_videos_are_skipped_and_counted(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache_frames: int
) -> None:
    source = with_broken(tiny_videos, tmp_path, 5, 9)
    data = {"val_fraction": 0.0, "on_bad_video": "skip", "max_bad_fraction": 0.1, "cache_frames": cache_frames}
    result = train(tiny_config(source, tmp_path / "run", data=data, optim={"batch_size": 1, "accumulate": 1}))
    assert result.num_skipped == 6, "two videos, three epochs"
    log = read_training_log(result.log)
    skipped = [line for line in log if "skipped" in line]
    assert sorted({Path(line["skipped"]).name for line in skipped}) == ["broken 5.mp4", "broken 9.mp4"]
    assert len(skipped) == 6
    assert all(line["reason"] for line in skipped)
    losses = {line["step"]: line["loss"] for line in log if "loss" in line}
    assert [step for step, loss in losses.items() if loss is None] == [line["step"] for line in skipped]
    provenance = model_json(result.last)["provenance"]
    assert (provenance["clips_skipped"], provenance["bad_videos"]) == (6, 2)
    assert [dataclasses.asdict(failure) for failure in result.bad_videos] == provenance["bad_videos_named"]
    assert sorted(Path(failure.path).name for failure in result.bad_videos) == ["broken 5.mp4", "broken 9.mp4"]
    said = capsys.readouterr().err
    assert "6 clips were left out because their video could not be read: 2 videos, " in said
    assert all(f"{failure.path}: {failure.reason}" in said for failure in result.bad_videos)


def test_unreadable_validation_videos(tiny_videos: Path, tmp_path: Path) -> None:
    source = with_broken(tiny_videos, tmp_path, 0, split="val")
    text = source.read_text().splitlines()
    source.write_text("\n".join([*text[:2], text[2].replace(",train", ",val"), *text[3:], ""]))
    with pytest.raises(UnreadableVideo, match=r"broken 0\.mp4: .*; repair or remove it"):
        train(tiny_config(source, tmp_path / "strict"), show=False)
    result = train(tiny_config(source, tmp_path / "run", data={"on_bad_video": "skip"}), show=False)
    assert (result.num_skipped, result.bad_videos) == (0, ()), "those of the training videos"
    log = read_training_log(result.log)
    assert {line["list"] for line in log if "skipped" in line} == {"validation"}
    assert [line["validation_failed"] for line in log if "validation" in line] == [1, 1, 1]
    assert [Path(line["skipped"]).name for line in log if "skipped" in line] == ["broken 0.mp4"] * 3
    assert [line["validation"]["num_videos"] for line in log if "validation" in line] == [2, 2, 2]


def test_too_many_unreadable_videos_stop_the_run(tiny_videos: Path, tmp_path: Path) -> None:
    """1 % of 16 videos, rounded up, is one; it may fail in every epoch, a second one may not."""
    data = {"val_fraction": 0.0, "on_bad_video": "skip"}
    assert train(tiny_config(with_broken(tiny_videos, tmp_path, 5), tmp_path / "one", data=data)).num_skipped == 3
    source = with_broken(tiny_videos, tmp_path, 5, 9)
    message = (
        r"^2 of 16 videos of .*broken\.csv could not be read so far, "
        r"more than the 1 that --data\.max-bad-fraction 0\.01 allows; first .*broken \d\.mp4 \(.*\), "
        r".*broken \d\.mp4 \(.*\); find them all with `fewframes data scan .*broken\.csv`, "
        r"repair or remove them, or raise --data\.max-bad-fraction$"
    )
    config = tiny_config(
        source, tmp_path / "two", data=data, save_every_steps=1, optim={"batch_size": 1, "accumulate": 1}
    )
    with pytest.raises(TooManyBadVideos, match=message):
        train(config, show=False)
    # What the message proposes works, from where the run stopped; the first of the two is still counted.
    raised = dataclasses.replace(config, data=dataclasses.replace(config.data, max_bad_fraction=0.1))
    result = train(raised, resume=True, show=False)
    assert (result.num_skipped, len(result.bad_videos)) == (6, 2)
    assert sum("skipped" in line for line in read_training_log(result.log)) == 6


def test_too_many_unreadable_validation_videos_stop_the_run(tiny_videos: Path, tmp_path: Path) -> None:
    source = with_broken(tiny_videos, tmp_path, 0, 1, split="val")
    with pytest.raises(
        TooManyBadVideos, match=r"2 of 2 videos of .* more than the 1 that --data\.max-bad-fraction 0\.01"
    ):
        train(tiny_config(source, tmp_path / "run", data={"on_bad_video": "skip"}), show=False)


def test_the_log_names_the_part_that_was_left_out(tiny_videos: Path, tmp_path: Path) -> None:
    rows = [
        f"{tiny_videos.parent / row},," for row in tiny_videos.read_text().splitlines()[1:] if row.endswith(",train")
    ]
    rows[3] = f"{rows[3][:-2]},90,95.5"
    source = tmp_path / "parts.csv"
    source.write_text("\n".join(["path,label,split,start,end", *rows, ""]))
    config = tiny_config(source, tmp_path / "run", data={"val_fraction": 0.0, "on_bad_video": "skip"})
    result = train(config, show=False)
    skipped = [line for line in read_training_log(result.log) if "skipped" in line]
    assert [(line["start"], line["end"]) for line in skipped] == [(90, 95.5)] * 3
    assert "lies beyond its end" in skipped[0]["reason"]
    assert [(failure.start, failure.end) for failure in result.bad_videos] == [(90, 95.5)]


def test_parts_and_options_reach_training_and_validation(tiny_videos: Path, tmp_path: Path) -> None:
    """A part is another run than the whole, from memory or not; limits hold in training and in validation."""
    rows = tiny_videos.read_text().splitlines()[1:]
    rows = [f"{tiny_videos.parent / row}" for row in rows if row.endswith(",train")]
    source = tmp_path / "parts.csv"
    source.write_text("\n".join(["path,label,split,start,end", *(f"{row},0.2,0.6" for row in rows), ""]))
    part = train(tiny_config(source, tmp_path / "part"), show=False)
    whole = train(tiny_config(tiny_videos, tmp_path / "whole"), show=False)
    assert not same_bits(weights_of(part.last), weights_of(whole.last))
    cached = train(tiny_config(source, tmp_path / "cached", data={"cache_frames": 64}), show=False)
    assert same_bits(weights_of(part.last), weights_of(cached.last))
    strict = {"decode": DecodeOptions(limits=Limits(max_frames=3))}
    with pytest.raises(UnreadableVideo, match=r"max.frames"):
        train(tiny_config(source, tmp_path / "strict", data=strict), show=False)
    with pytest.raises(UnreadableVideo, match=r"max.frames"):
        evaluate(
            Classifier.load(part.last), start_val(source, tmp_path / "part"), policy=BadVideoPolicy("error"), **strict
        )


def start_val(source: Path, output: Path) -> Manifest:
    val = start(tiny_config(source, output), resume=True, show=False)[0].data.val
    assert val is not None
    return val


def test_weights_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0], [3.0, 3.0, 0.0]])
    labels, weights = torch.tensor([0, 2, 1]), torch.tensor([1.0, 0.5, 3.0])
    each = [-torch.log_softmax(row, 0)[label] for row, label in zip(logits, labels, strict=True)]
    found = weighted_loss_sum(logits, labels, weights, label_smoothing=0.0)
    assert float(found) == pytest.approx(float(each[0] + 0.5 * each[1] + 3 * each[2]), rel=1e-6)
    plain = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=0.1)
    assert torch.equal(weighted_loss_sum(logits, labels, torch.ones(3), label_smoothing=0.1), plain)


def weighted(tiny_videos: Path, folder: Path, weight: str) -> Path:
    """The list with a weight for the videos of the classes "rise" and "fall"."""
    header, *rows = tiny_videos.read_text().splitlines()
    path = folder / f"weight {weight}.csv"
    lines = [f"{tiny_videos.parent / row},{1 if ',move' in row else weight}" for row in rows]
    path.write_text("\n".join([f"{header},weight", *lines, ""]))
    return path


@pytest.mark.parametrize("count", [8, 7, 5])
def test_a_weighted_step_is_the_weighted_mean(tiny_videos: Path, tmp_path: Path, count: int) -> None:
    source = weighted(tiny_videos, tmp_path, "2.5")
    whole, batch = one_step(source, tmp_path / "1", accumulate=1, count=count)
    assert set(batch.weights.tolist()) == {1.0, 2.5}
    clips = torch.stack([to_float(clip, whole.info.preprocess) for clip in batch.clips])
    losses = F.cross_entropy(whole.model.train()(clips), batch.labels, label_smoothing=0.1, reduction="none")
    mean = (losses * batch.weights).sum() / batch.weights.sum()
    direct = torch.cat([grad.flatten() for grad in torch.autograd.grad(mean, list(whole.model.parameters()))]).double()
    for accumulate in (1, 4):
        run, batch = one_step(source, tmp_path / f"parts {accumulate}", accumulate=accumulate, count=count)
        found, loss = gradients(run, batch)
        assert loss == pytest.approx(float(mean.detach()), rel=1e-6)
        assert float((found - direct).norm() / direct.norm()) < 1e-6


def test_weights_of_one_change_no_bit_and_others_do(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    runs = {}
    for weight in ("1", "4"):
        config = tiny_config(weighted(tiny_videos, tmp_path, weight), tmp_path / f"run {weight}")
        runs[weight] = weights_of(train(config, show=False).last)
    assert same_bits(runs["1"], weights_of(tiny_run.last))
    assert not same_bits(runs["4"], runs["1"])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_log_says_what_reading_costs(tiny_videos: Path, tmp_path: Path, workers: int) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", data={"workers": workers}, log_every_steps=2)
    lines = [line for line in read_training_log(train(config, show=False).log) if "loss" in line]
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        assert 0 < line["data_wait_share"] < 1
        assert line["decode_ms_per_clip"] > 0
        assert line["bytes_read"] > 0
        assert line["packets_decoded"] >= 12 * 3, "three frames of each of an epoch's twelve videos"


def test_nothing_to_learn_from(tiny_videos: Path, tmp_path: Path) -> None:
    source = with_broken(tiny_videos, tmp_path, *range(16))
    data = {"val_fraction": 0.0, "on_bad_video": "skip", "max_bad_fraction": 1.0}
    config = tiny_config(source, tmp_path / "run", data=data)
    with pytest.raises(TrainingFailed, match=r"not one of 16 training videos could be read; .*log\.jsonl names each"):
        train(config, show=False)


def test_a_loss_that_is_not_finite(tiny_videos: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", optim={"lr": 1e25})
    with pytest.raises(TrainingFailed, match=r"the loss is nan .*; lower --optim\.lr or train in float32; .*last"):
        train(config, show=False)


def test_weights_that_are_not_finite_at_validation(tiny_videos: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", optim={"lr": 1e25, "batch_size": 16})
    with pytest.raises(TrainingFailed, match=r"validation after epoch 1: logits .*; lower --optim\.lr"):
        train(config, show=False)
    assert not (tmp_path / "run" / "last").exists()


def test_a_run_is_neither_overwritten_nor_changed(tiny_videos: Path, tiny_run: TrainResult) -> None:
    config = tiny_config(tiny_videos, tiny_run.last.parent)
    with pytest.raises(UsageError, match="already holds a run; add --resume"):
        train(config, show=False)
    changed = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=0.5), seed=3)
    with pytest.raises(UsageError, match=r"optim\.lr was 0\.003, now 0\.5; seed was 0, now 3"):
        train(changed, resume=True, show=False)


def test_bfloat16_keeps_float32_weights(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    result = train(tiny_config(tiny_videos, tmp_path / "run", precision="bfloat16"), show=False)
    weights = weights_of(result.last)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert not same_bits(weights, weights_of(tiny_run.last))


def test_going_on_from_another_run(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    """A learning rate of 0 changes nothing: what comes out is what was started from."""
    options = tuple("num_frames=5" if each.startswith("num_frames") else each for each in SHAPE)
    model = {"init_from": str(tiny_run.last), "options": options}
    config = tiny_config(tiny_videos, tmp_path / "run", model=model, optim={"lr": 0.0, "epochs": 1})
    before, after = weights_of(tiny_run.last), weights_of(train(config, show=False).last)
    changed = [name for name in before if not same_bits(before[name], after[name])]
    assert changed == ["aggregate.pos_embed"], "five frames instead of three"


def test_it_learns(tiny_videos: Path, tmp_path: Path) -> None:
    """Sixteen videos can be told apart by heart; a loss that does not fall means a broken loop."""
    config = tiny_config(
        tiny_videos,
        tmp_path / "run",
        data={"val_fraction": 0.0, "cache_frames": 8},
        model={"options": (*WITHOUT_DROPOUT, "aggregator=paper"), "mean": (0.4, 0.4, 0.4), "std": (0.25, 0.25, 0.25)},
        augment={"random_frames": False, "max_zoom": 1.0},
        optim={"epochs": 40, "lr": 5e-3},
    )
    losses = [line["loss"] for line in read_training_log(train(config, show=False).log) if "loss" in line]
    assert sum(losses[-4:]) / 4 < 0.5 * sum(losses[:4]) / 4
