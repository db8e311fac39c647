"""Evaluation: which videos are counted where, every failure by name, and the same answer each time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import fewframes.evaluation as evaluation
from fewframes.data.manifest import Manifest, Video, read_manifest
from fewframes.errors import InvalidManifest
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import EvaluationReport
from fewframes.report.serial import from_json, to_json
from tests.helpers.tiny import CLASSES


@pytest.fixture(scope="module")
def classifier(tiny_checkpoint: Path) -> Classifier:
    return Classifier.load(tiny_checkpoint)


@pytest.fixture(scope="module")
def unseen(tiny_videos: Path) -> Manifest:
    return read_manifest(tiny_videos).only("test")


@pytest.fixture(scope="module")
def damaged(unseen: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Eight good videos, and a missing, an empty and a pretended one among them."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("I am no video\n" * 50)
    bad = [
        Video(folder / f"{name}.mp4", label) for name, label in zip(("text", "absent", "empty"), CLASSES, strict=False)
    ]
    videos = list(unseen.videos)
    for place, video in zip((0, 4, 9), bad, strict=True):
        videos.insert(place, video)
    return Manifest("damaged.csv", tuple(videos))


def timeless(report: EvaluationReport) -> EvaluationReport:
    return dataclasses.replace(report, seconds=0.0)


def test_the_logits_are_those_of_prediction(
    classifier: Classifier, unseen: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, ...]] = []
    run = Classifier.run

    def spy(
        self: Classifier, clip: torch.Tensor, *, attention: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        logits, weights = run(self, clip, attention=attention)
        seen.append(tuple(logits.tolist()))
        return logits, weights

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "run", spy)
        report = evaluate(classifier, unseen)
    predictions = [classifier.predict(video.path) for video in unseen.videos]
    assert seen == [prediction.logits for prediction in predictions]
    for row, prediction in zip(report.videos, predictions, strict=True):
        assert (row.predicted, row.scores) == (prediction.labels, prediction.scores)
        assert row.frame_indices == prediction.frame_indices


def test_accuracy_counted_by_hand(classifier: Classifier, unseen: Manifest) -> None:
    report = evaluate(classifier, unseen)
    right = [row.predicted[0] == row.label for row in report.videos]
    assert (report.listed.num_videos, report.listed) == (8, report.decoded)
    assert report.listed.top1 == pytest.approx(100 * sum(right) / 8)
    assert report.listed.top5 == 100.0, "there are only four classes"
    assert report.class_totals == (2, 2, 2, 2)
    assert sum(report.class_correct) == sum(right)
    assert [sum(row) for row in report.confusion] == [2, 2, 2, 2]
    for row in report.videos:
        assert report.confusion[CLASSES.index(row.label)][CLASSES.index(row.predicted[0])] > 0
    assert report.labels == CLASSES
    assert report.failures == ()


def test_two_denominators(classifier: Classifier, unseen: Manifest, damaged: Manifest) -> None:
    report, clean = evaluate(classifier, damaged), evaluate(classifier, unseen)
    assert (report.listed.num_videos, report.decoded.num_videos) == (11, 8)
    assert report.decoded == clean.decoded
    assert report.listed.top1 == pytest.approx(clean.listed.top1 * 8 / 11), "what cannot be read counts as wrong"
    assert report.listed.top5 == pytest.approx(100 * 8 / 11)
    assert report.class_totals == (3, 3, 3, 2)
    assert report.class_correct == clean.class_correct
    assert report.confusion == clean.confusion


def test_every_failure_is_named_in_order(classifier: Classifier, damaged: Manifest) -> None:
    report = evaluate(classifier, damaged)
    assert [Path(failure.path).name for failure in report.failures] == ["text.mp4", "absent.mp4", "empty.mp4"]
    reasons = [failure.reason for failure in report.failures]
    assert reasons[1] == "no such file; check the path"
    assert reasons[2].startswith("the file is empty")
    assert all(reason and "\n" not in reason for reason in reasons)
    assert [row.path for row in report.videos] == [str(video.path) for video in damaged.videos]
    failed = [row for row in report.videos if row.error is not None]
    assert [row.error for row in failed] == reasons
    assert all((row.predicted, row.scores, row.frame_indices) == ((), (), ()) for row in failed)
    assert report.protocol["num_failed"] == 3


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_the_same_report_each_time(classifier: Classifier, damaged: Manifest, workers: int) -> None:
    assert timeless(evaluate(classifier, damaged, workers=workers)) == timeless(evaluate(classifier, damaged))


def test_an_unknown_label_is_refused_before_any_work(
    classifier: Classifier, unseen: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "load_clip", None)
    monkeypatch.setattr(Classifier, "run", None)
    manifest = dataclasses.replace(unseen, videos=(*unseen.videos, Video(Path("x.mp4"), "move left")))
    message = r"manifest\.csv: x\.mp4 has a label that the model does not know.*'move left'; did you mean 'move_left'"
    with pytest.raises(InvalidManifest, match=message):
        evaluate(classifier, manifest)


def test_nothing_to_count(classifier: Classifier, damaged: Manifest) -> None:
    bad = dataclasses.replace(damaged, videos=(damaged.videos[4], damaged.videos[9]))
    message = r"damaged\.csv: not one of 2 listed videos could be read; first: .*absent\.mp4: no such file"
    with pytest.raises(InvalidManifest, match=message):
        evaluate(classifier, bad)


def test_official_frames_refuse_short_videos(classifier: Classifier, unseen: Manifest) -> None:
    with pytest.raises(InvalidManifest, match=r"not one of 8 .* needs \d+ for 3 frames at 0\.3 per second"):
        evaluate(classifier.with_official_sampling(), unseen)


def test_the_protocol_says_what_the_score_depends_on(classifier: Classifier, unseen: Manifest) -> None:
    report = evaluate(classifier, unseen)
    protocol = report.protocol
    assert protocol["manifest_sha256"] == unseen.sha256
    assert protocol["splits"] == ["test"]
    assert (protocol["num_listed"], protocol["num_failed"]) == (8, 0)
    assert protocol["sampling"] == {"rule": "uniform", "num_frames": 3, "frames_per_second": None}
    assert protocol["preprocess"]["crop"] == (16, 16)  # type: ignore[index]
    assert report.model == classifier.info.provenance["checkpoint"]
    assert from_json(json.loads(json.dumps(to_json(report)))) == dataclasses.replace(
        report, protocol=json.loads(json.dumps(protocol))
    )


def test_at_most_a_few_clips_wait_in_memory(
    classifier: Classifier, unseen: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    ahead = []
    load_clip, run = evaluation.load_clip, Classifier.run

    def counted(*args: object) -> object:
        nonlocal read
        read += 1
        return load_clip(*args)  # type: ignore[arg-type]

    def spy(self: Classifier, clip: torch.Tensor, *, attention: bool = False) -> object:
        ahead.append(read - len(ahead))
        return run(self, clip, attention=attention)

    monkeypatch.setattr(evaluation, "load_clip", counted)
    monkeypatch.setattr(Classifier, "run", spy)
    evaluate(classifier, dataclasses.replace(unseen, videos=unseen.videos * 3), workers=1)
    assert len(ahead) == 24
    assert max(ahead) <= 3
