"""Evaluation: which videos are counted where, every failure by name, and the same answer each time."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import fewframes.evaluation as evaluation
from fewframes.data.manifest import Manifest, Video
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import InvalidManifest, TooManyBadVideos, UnreadableVideo, UsageError
from fewframes.evaluation import evaluate
from fewframes.predict import Classifier
from fewframes.records import BadVideoPolicy, DecodeOptions, EvaluationReport, Limits, Sampling
from fewframes.report.serial import from_json, to_json
from fewframes.video.reader import open_video
from tests.helpers.tiny import CLASSES

# Three of eleven videos are bad: far more than the default cap of 1 % lets through.
PATIENT = BadVideoPolicy("count-as-wrong", 0.5)


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
        Video(folder / f"{name}.mp4", (label,))
        for name, label in zip(("text", "absent", "empty"), CLASSES, strict=False)
    ]
    videos = list(unseen.videos)
    for place, video in zip((0, 4, 9), bad, strict=True):
        videos.insert(place, video)
    return Manifest("damaged.csv", tuple(videos))


def timeless(report: EvaluationReport) -> EvaluationReport:
    assert report.reading is not None
    reading = dataclasses.replace(report.reading, decode_seconds=0.0, wait_seconds=0.0)
    return dataclasses.replace(report, seconds=0.0, reading=reading)


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
    report, clean = evaluate(classifier, damaged, policy=PATIENT), evaluate(classifier, unseen)
    assert (report.listed.num_videos, report.decoded.num_videos) == (11, 8)
    assert report.decoded == clean.decoded
    assert report.listed.top1 == pytest.approx(clean.listed.top1 * 8 / 11), "what cannot be read counts as wrong"
    assert report.listed.top5 == pytest.approx(100 * 8 / 11)
    assert report.class_totals == (3, 3, 3, 2)
    assert report.class_correct == clean.class_correct
    assert report.confusion == clean.confusion


def test_every_failure_is_named_in_order(classifier: Classifier, damaged: Manifest) -> None:
    report = evaluate(classifier, damaged, policy=PATIENT)
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
    first, second = (evaluate(classifier, damaged, workers=each, policy=PATIENT) for each in (workers, 2))
    assert timeless(first) == timeless(second)


def test_an_unknown_label_is_refused_before_any_work(
    classifier: Classifier, unseen: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "read_frames", None)
    monkeypatch.setattr(Classifier, "run", None)
    manifest = dataclasses.replace(unseen, videos=(*unseen.videos, Video(Path("x.mp4"), ("move left",))))
    message = r"manifest\.csv: x\.mp4 has a label that the model does not know.*'move left'; did you mean 'move_left'"
    with pytest.raises(InvalidManifest, match=message):
        evaluate(classifier, manifest)


def test_nothing_to_count(classifier: Classifier, damaged: Manifest) -> None:
    bad = dataclasses.replace(damaged, videos=(damaged.videos[4], damaged.videos[9]))
    message = r"damaged\.csv: not one of 2 listed videos could be read; first: .*absent\.mp4: no such file"
    with pytest.raises(InvalidManifest, match=message):
        evaluate(classifier, bad, policy=BadVideoPolicy("count-as-wrong", 1.0))


def test_official_frames_refuse_short_videos(classifier: Classifier, unseen: Manifest) -> None:
    official, patient = classifier.with_official_sampling(), BadVideoPolicy("count-as-wrong", 1.0)
    with pytest.raises(InvalidManifest, match=r"not one of 8 .* needs \d+ for 3 frames at 0\.3 per second"):
        evaluate(official, unseen, policy=patient)
    with pytest.raises(TooManyBadVideos, match=r"2 of 8 videos .* needs \d+ for 3 frames at 0\.3 per second"):
        evaluate(official, unseen)


def test_the_protocol_says_what_the_score_depends_on(classifier: Classifier, unseen: Manifest) -> None:
    report = evaluate(classifier, unseen)
    protocol = report.protocol
    assert protocol["manifest_sha256"] == unseen.sha256
    assert protocol["splits"] == ["test"]
    assert (protocol["num_listed"], protocol["num_failed"]) == (8, 0)
    assert protocol["sampling"] == dataclasses.asdict(Sampling("uniform", 3))
    assert protocol["interpolation"] == "bilinear, antialiased, rounded to uint8"
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
    read_frames, run = evaluation.read_frames, Classifier.run

    def counted(*args: object, **settings: object) -> object:
        nonlocal read
        read += 1
        return read_frames(*args, **settings)  # type: ignore[arg-type]

    def spy(self: Classifier, clip: torch.Tensor, *, attention: bool = False) -> object:
        ahead.append(read - len(ahead))
        return run(self, clip, attention=attention)

    monkeypatch.setattr(evaluation, "read_frames", counted)
    monkeypatch.setattr(Classifier, "run", spy)
    evaluate(classifier, dataclasses.replace(unseen, videos=unseen.videos * 3), workers=1)
    assert len(ahead) == 24
    assert max(ahead) <= 3


def test_the_cap(classifier: Classifier, damaged: Manifest) -> None:
    with pytest.raises(TooManyBadVideos) as caught:
        evaluate(classifier, damaged)
    assert [Path(failure.path).name for failure in caught.value.failures] == ["text.mp4", "absent.mp4"]
    assert str(caught.value).startswith("2 of 11 videos of damaged.csv could not be read so far, more than the 1 that")
    one_bad = dataclasses.replace(damaged, videos=damaged.videos[1:9])
    assert evaluate(classifier, one_bad).protocol["num_failed"] == 1, "one bad video never stops an evaluation"
    with pytest.raises(UnreadableVideo, match=r"text\.mp4: .*; repair or remove it, or use --on-bad-video skip"):
        evaluate(classifier, damaged, policy=BadVideoPolicy("error"))


def test_no_policy_changes_a_denominator(classifier: Classifier, damaged: Manifest) -> None:
    wrong, skipped = (
        evaluate(classifier, damaged, policy=BadVideoPolicy(each, 0.5))  # type: ignore[arg-type]
        for each in ("count-as-wrong", "skip")
    )
    assert (wrong.listed, wrong.decoded, wrong.failures) == (skipped.listed, skipped.decoded, skipped.failures)
    assert skipped.listed.num_videos == 11
    assert [report.protocol["on_bad_video"] for report in (wrong, skipped)] == ["count-as-wrong", "skip"]
    assert {report.protocol["max_bad_fraction"] for report in (wrong, skipped)} == {0.5}


def test_a_listed_part_is_a_video_of_its_own(classifier: Classifier, unseen: Manifest) -> None:
    video = unseen.videos[0]
    with open_video(video.path) as reader:
        half = reader.info.duration_seconds / 2
    parts = (
        dataclasses.replace(video, end=half),
        dataclasses.replace(video, start=half),
        dataclasses.replace(video, start=1000.0),
    )
    report = evaluate(classifier, dataclasses.replace(unseen, videos=parts))
    assert [(row.start, row.end) for row in report.videos] == [(None, half), (half, None), (1000.0, None)]
    assert max(report.videos[0].frame_indices) < min(report.videos[1].frame_indices)
    for row, part in zip(report.videos[:2], parts, strict=False):
        prediction = classifier.predict(part.path, start=part.start, end=part.end)
        assert (row.predicted, row.scores) == (prediction.labels, prediction.scores)
        assert row.frame_indices == prediction.frame_indices
    (failure,) = report.failures
    assert (failure.path, failure.start, failure.end) == (str(video.path), 1000.0, None)
    assert "lies beyond its end" in failure.reason
    assert report.protocol["num_parts"] == 3


def test_decode_options_are_used_and_recorded(classifier: Classifier, unseen: Manifest) -> None:
    decode = DecodeOptions(seek="keyframe")
    report = evaluate(classifier, unseen, decode=decode)
    assert report.protocol["decode"] == dataclasses.asdict(decode)
    assert str(report.protocol["decoder"]).startswith(f"pyav {version('av')}")
    for row, video in zip(report.videos, unseen.videos, strict=True):
        assert row.frame_indices == classifier.predict(video.path, decode=decode).frame_indices
    strict = DecodeOptions(limits=Limits(max_frames=10))
    with pytest.raises(TooManyBadVideos, match="max_frames"):
        evaluate(classifier, unseen, decode=strict)


def test_wrong_options_are_not_bad_videos(classifier: Classifier, unseen: Manifest) -> None:
    part = dataclasses.replace(unseen.videos[0], start=2.0, end=1.0)
    with pytest.raises(UsageError, match="expected 0 <= start < end"):
        evaluate(classifier, dataclasses.replace(unseen, videos=(part,)), policy=PATIENT)


def test_what_reading_took(classifier: Classifier, unseen: Manifest, damaged: Manifest) -> None:
    report, with_bad = evaluate(classifier, unseen), evaluate(classifier, damaged, policy=PATIENT)
    predictions = [classifier.predict(video.path) for video in unseen.videos]
    assert report.reading is not None
    assert with_bad.reading is not None
    assert report.reading.bytes_read == sum(prediction.bytes_read for prediction in predictions)
    sizes = [Path(video.path).stat().st_size for video in unseen.videos]
    assert [prediction.size_bytes for prediction in predictions] == sizes
    assert report.reading.size_bytes == with_bad.reading.size_bytes == sum(sizes)
    assert report.reading.packets_decoded == with_bad.reading.packets_decoded >= 8 * 3
    assert 0 <= report.reading.wait_seconds <= report.seconds
    assert report.reading.decode_seconds > 0


def test_a_source_of_unknown_length(classifier: Classifier, unseen: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    read_frames, calls = evaluation.read_frames, iter(range(8))

    def sometimes_unknown(*args: object, **settings: object) -> object:
        reading = read_frames(*args, **settings)  # type: ignore[arg-type]
        info = dataclasses.replace(reading.info, size_bytes=None)
        return dataclasses.replace(reading, info=info) if next(calls) == 3 else reading

    monkeypatch.setattr(evaluation, "read_frames", sometimes_unknown)
    reading = evaluate(classifier, unseen, workers=1).reading
    assert reading is not None
    assert reading.size_bytes is None
    assert reading.bytes_read > 0


def test_signed_addresses_are_shown_without_their_signature(
    classifier: Classifier, unseen: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_frames, seen = evaluation.read_frames, []

    def pretend(source: object, *args: object, **settings: object) -> object:
        seen.append(source)
        if str(source).endswith("bad"):
            raise UnreadableVideo(source, "no connection")
        return read_frames(unseen.videos[0].path, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "read_frames", pretend)
    addresses = [f"https://host/{name}.mp4?Signature=0123456789abcdef{name}" for name in ("good", "bad")]
    videos = tuple(dataclasses.replace(unseen.videos[0], path=address) for address in addresses)
    report = evaluate(classifier, dataclasses.replace(unseen, videos=videos), workers=1)
    assert seen == addresses
    assert "0123456789abcdef" not in json.dumps(to_json(report))
    assert [row.path for row in report.videos] == [f"https://host/{name}.mp4?Signature=***" for name in ("good", "bad")]
    assert report.failures[0].path == report.videos[1].path
