"""A classifier: the same logits for the same file, whoever asks, and what it refuses to load."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fewframes.catalog import build_model
from fewframes.data.manifest_io import read_manifest
from fewframes.errors import InvalidCheckpoint, UnknownName, UnreadableVideo, UsageError
from fewframes.predict import Classifier
from fewframes.records import DecodeOptions, Limits
from fewframes.video.clip import load_clip
from fewframes.video.reader import open_video
from fewframes.video.sampling import uniform_indices
from fewframes.weights.checkpoint import load_checkpoint
from tests.helpers.painted import write_painted
from tests.helpers.tiny import CLASSES, weights_of

TINY = {"num_frames": 3, "image_size": 16, "patch_size": 8, "width": 24, "depth": 1, "heads": 2}
OFFICIAL = {**TINY, "temporal_depth": 1, "temporal_heads": 2, "temporal_mlp_width": 40}


@pytest.fixture(scope="module")
def video(tiny_videos: Path) -> Path:
    return read_manifest(tiny_videos).only("test").videos[1].path


def test_a_prediction_in_full(tiny_checkpoint: Path, video: Path) -> None:
    found = Classifier.load(tiny_checkpoint).predict(video, top_k=3, attention=True)
    scores = torch.tensor(found.logits).softmax(0)
    order = scores.argsort(descending=True)[:3]
    assert found.path == str(video)
    assert found.labels == tuple(CLASSES[index] for index in order)
    assert found.scores == pytest.approx(scores[order].tolist())
    with open_video(video) as reader:
        assert found.frame_indices == uniform_indices(reader.info.num_frames, 3)
        assert found.frame_seconds == tuple(reader.frames_at(found.frame_indices).seconds.tolist())
    assert found.frame_attention is not None
    assert sum(found.frame_attention) == pytest.approx(1.0)
    assert len(found.frame_attention) == 3


def test_the_logits_are_those_of_the_bare_network(tiny_checkpoint: Path, video: Path) -> None:
    model, info = load_checkpoint(tiny_checkpoint)
    clip, _ = load_clip(video, info.sampling, info.preprocess)
    with torch.inference_mode():
        expected = model(clip[None])[0]
    found = Classifier(model, info).predict(video)
    assert found.logits == tuple(expected.tolist())
    assert found.frame_attention is None


def test_the_same_bits_each_time(tiny_checkpoint: Path, video: Path) -> None:
    first, second = Classifier.load(tiny_checkpoint), Classifier.load(str(tiny_checkpoint))
    answers = [first.predict(video), first.predict(str(video)), second.predict(video), first.predict(video)]
    assert all(answer == answers[0] for answer in answers)
    from_bytes = second.predict(video.read_bytes(), attention=True)
    assert (from_bytes.path, from_bytes.logits) == ("<bytes>", answers[0].logits)
    with video.open("rb") as file:
        assert second.predict(file).logits == answers[0].logits


def test_top_k(tiny_checkpoint: Path, video: Path) -> None:
    classifier = Classifier.load(tiny_checkpoint)
    assert [len(classifier.predict(video, top_k=k).labels) for k in (1, 4, 99)] == [1, 4, 4]
    assert len(classifier.predict(video, top_k=1).logits) == 4
    with pytest.raises(UsageError, match="top_k is 0; expected at least 1"):
        classifier.predict(video, top_k=0)


def test_training_mode_is_left_as_it_was(tiny_checkpoint: Path, video: Path) -> None:
    model, info = load_checkpoint(tiny_checkpoint)
    quiet = Classifier(model, info).predict(video)
    assert not model.training
    model.train()
    assert Classifier(model, info).predict(video).logits == quiet.logits, "no dropout"
    assert model.training
    with pytest.raises(UnreadableVideo, match="no such file"):
        Classifier(model, info).predict("absent.mp4")


def test_official_frames(tiny_checkpoint: Path, video: Path) -> None:
    classifier = Classifier.load(tiny_checkpoint)
    official = classifier.with_official_sampling()
    sampling = official.info.sampling
    assert (sampling.rule, sampling.num_frames, sampling.frames_per_second) == ("official", 3, 0.3)
    assert classifier.info.sampling.rule == "uniform"
    with pytest.raises(UsageError, match="sampling rule 'official' needs"):
        official.predict(video)


def test_a_catalogue_model_with_weights_from_a_file(video: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("stam_4", **OFFICIAL, num_classes=5)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    classifier = Classifier.load("stam_4", weights=tmp_path / "w.safetensors", **OFFICIAL, num_classes=5)
    assert classifier.load_report is not None
    assert classifier.load_report.newly_initialised == ()
    assert classifier.info.labels == tuple(f"class {index}" for index in range(5))
    clip, _ = load_clip(video, classifier.info.sampling, classifier.info.preprocess)
    with torch.inference_mode():
        assert classifier.predict(video).logits == tuple(model.eval()(clip[None])[0].tolist())


def test_official_class_names(tmp_path: Path) -> None:
    model = build_model("stam_4", **OFFICIAL)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    classifier = Classifier.load("stam_4", weights=str(tmp_path / "w.safetensors"), **OFFICIAL)
    assert (classifier.info.labels[0], classifier.info.labels[399]) == ("abseiling", "zumba")


def test_weights_that_leave_something_untrained(tiny_checkpoint: Path) -> None:
    message = r"leaves 2 tensors of stam_4 untrained \(head\.weight, \.\.\.\); train them first, or give num_classes"
    with pytest.raises(UsageError, match=message):
        Classifier.load("stam_4", weights=tiny_checkpoint, **OFFICIAL, num_classes=7)


def test_what_is_no_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown model 'stam_61'; did you mean 'stam_64' or 'stam_16'"):
        Classifier.load("stam_61")
    with pytest.raises(UsageError, match=r"runs/absent is not a checkpoint folder; expected one that training wrote"):
        Classifier.load("runs/absent")
    with pytest.raises(UsageError, match=r"w\.safetensors is not a checkpoint folder"):
        Classifier.load("w.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"is no checkpoint: it has no model\.json"):
        Classifier.load(tmp_path)
    with pytest.raises(UsageError, match="which states its own weights and shape; leave options out"):
        Classifier.load(tiny_checkpoint, num_frames=8)
    with pytest.raises(UsageError, match="no weights were published for stam_4; train it, or name a file"):
        Classifier.load("stam_4")


def test_a_checkpoint_needs_nothing_else(tiny_checkpoint: Path, video: Path) -> None:
    model, info = load_checkpoint(tiny_checkpoint)
    assert not model.training
    assert info.labels == CLASSES
    assert dict(info.provenance)["num_train"] == 12
    weights = weights_of(tiny_checkpoint)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    changed = dataclasses.replace(info, labels=("a", "b", "c", "d"))
    assert set(Classifier(model, changed).predict(video).labels) == {"a", "b", "c", "d"}


def test_a_part_of_a_video(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The frames from 0.4 to 1.2 seconds: what prediction says of a file that holds just those."""
    write_painted(tmp_path / "whole.mp4", 40)
    classifier = Classifier.load(tiny_checkpoint)
    part = classifier.predict(tmp_path / "whole.mp4", start=0.4, end=1.2)
    assert part.frame_indices == tuple(10 + index for index in uniform_indices(20, 3))
    assert (part.start, part.end) == (0.4, 1.2)
    whole = classifier.predict(tmp_path / "whole.mp4")
    assert (whole.start, whole.end) == (None, None)
    assert whole.frame_indices == uniform_indices(40, 3)
    assert classifier.predict(tmp_path / "whole.mp4", start=0.0).logits == whole.logits
    with pytest.raises(UsageError, match="expected 0 <= start < end"):
        classifier.predict(tmp_path / "whole.mp4", start=2.0, end=1.0)
    with pytest.raises(UnreadableVideo, match="lies beyond its end"):
        classifier.predict(tmp_path / "whole.mp4", start=99.0)


def test_decode_options(tiny_checkpoint: Path, tmp_path: Path) -> None:
    write_painted(tmp_path / "painted.mp4", 40, gop=10)
    classifier = Classifier.load(tiny_checkpoint)
    keyframes = classifier.predict(tmp_path / "painted.mp4", decode=DecodeOptions(seek="keyframe"))
    assert keyframes.frame_indices == tuple(index // 10 * 10 for index in uniform_indices(40, 3))
    with pytest.raises(UnreadableVideo, match="max_frames"):
        classifier.predict(tmp_path / "painted.mp4", decode=DecodeOptions(limits=Limits(max_frames=39)))


def test_what_was_read_of_the_file(tiny_checkpoint: Path, video: Path) -> None:
    found = Classifier.load(tiny_checkpoint).predict(video)
    assert found.size_bytes == video.stat().st_size
    assert found.bytes_read > 0
    assert Classifier.load(tiny_checkpoint).predict(video.read_bytes()).size_bytes == video.stat().st_size


def test_a_head_for_nouns_and_verbs_names_actions(video: Path, tmp_path: Path) -> None:
    """One softmax over 300 nouns and 97 verbs would be of nothing."""
    options = {"width": 8, "depth": 1, "heads": 2, "image_size": 32, "num_frames": 4, "temporal_depth": 1}
    name = "vivit_l16x2_factorised_encoder_epic100"
    model = build_model(name, generator=torch.Generator().manual_seed(5), **options)
    torch.nn.init.normal_(model.head.bias, generator=torch.Generator().manual_seed(7))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    classifier = Classifier.load(name, weights=tmp_path / "w.safetensors", **options)
    found = classifier.predict(video, top_k=3)
    logits = torch.tensor(found.logits, dtype=torch.float64)
    product = torch.outer(logits[300:].softmax(0), logits[:300].softmax(0))
    best = product.flatten().topk(3)
    labels = classifier.info.labels
    pairs = [divmod(index, 300) for index in best.indices.tolist()]
    assert found.labels == tuple(f"{labels[300 + verb]} {labels[noun]}" for verb, noun in pairs)
    assert found.labels[0].startswith("verb:")
    assert found.scores == pytest.approx(best.values.tolist())
