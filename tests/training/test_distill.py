"""A teacher: what it looks at, what it adds to the loss, and which ones are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import fewframes.training.loop as loop
from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.predict import Classifier
from fewframes.training.distill import Teacher
from fewframes.training.loop import TrainResult, train
from fewframes.training.setup import start
from fewframes.video.transforms import preprocess, to_float
from fewframes.weights.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers.tiny import CLASSES, SHAPE, tiny_config

WITHOUT_DROPOUT = (*SHAPE[:-1], "temporal_dropout=0.0")


def test_its_answers_are_those_of_prediction(tiny_run: TrainResult) -> None:
    model, info = load_checkpoint(tiny_run.last)
    pixels = torch.randint(0, 256, (5, 3, 3, 16, 16), dtype=torch.uint8)
    classifier, spec = Classifier.load(tiny_run.last), dataclasses.replace(info.preprocess, resize_short=None)
    expected = torch.stack([classifier.run(preprocess(clip, spec))[0] for clip in pixels])
    teacher = Teacher(model, info, CLASSES, alpha=1.0, temperature=1.0)
    torch.testing.assert_close(teacher.answer(pixels), expected)
    turned = Teacher(model, info, CLASSES[::-1], alpha=1.0, temperature=1.0)
    torch.testing.assert_close(turned.answer(pixels), expected.flip(1)), "in the order of the one that learns"
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_it_looks_at_the_clip_in_its_own_way(tiny_run: TrainResult) -> None:
    """A student of 7 frames of 24 x 20 pixels; the teacher takes 3 of 16 x 16, in colours of its own."""
    model, info = load_checkpoint(tiny_run.last)
    info = dataclasses.replace(
        info, preprocess=dataclasses.replace(info.preprocess, mean=(0.3, 0.2, 0.1), channel_order="bgr")
    )
    pixels = torch.randint(0, 256, (2, 7, 3, 24, 20), dtype=torch.uint8)
    spec = dataclasses.replace(info.preprocess, resize_short=None)
    expected = torch.stack([model(preprocess(clip[[1, 3, 5]], spec).unsqueeze(0))[0] for clip in pixels])
    torch.testing.assert_close(Teacher(model, info, CLASSES, alpha=1.0, temperature=1.0).answer(pixels), expected)


@pytest.mark.parametrize(("alpha", "temperature"), [(5.0, 1.0), (0.7, 3.0)])
def test_the_gradient_of_both_losses(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, alpha: float, temperature: float
) -> None:
    distill = {"teacher": str(tiny_run.last), "alpha": alpha, "temperature": temperature}
    changes = {"model": {"options": WITHOUT_DROPOUT}, "optim": {"clip_norm": 0.0}, "distill": distill}
    run, _ = start(tiny_config(tiny_videos, tmp_path / "run", **changes), resume=False, show=False)
    batch = next(loop._batches(run, 0, skip=0))
    clips = torch.stack([to_float(clip, run.info.preprocess) for clip in batch.clips])
    logits, answers = run.model.train()(clips), load_checkpoint(tiny_run.last)[0](clips).detach()
    soft, target = (logits / temperature).log_softmax(1), (answers / temperature).softmax(1)
    divergence = F.kl_div(soft, target, reduction="batchmean") * temperature**2
    loss = F.cross_entropy(logits, batch.labels) + alpha * divergence
    expected = torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, list(run.model.parameters()))]).double()
    found_loss, _ = loop._step(run, batch)
    found = torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None]).double()
    assert found_loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_a_run_with_a_teacher(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(tiny_config(tiny_videos, tmp_path / "run", distill={"teacher": str(tiny_run.last)}))
    assert f"teacher: {tiny_run.last}, stam_4, alpha 5, temperature 1" in capsys.readouterr().err
    assert load_checkpoint(result.last)[1].provenance["train_config"]["distill"]["teacher"] == str(tiny_run.last)


def test_teachers_that_are_refused(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    model, info = load_checkpoint(tiny_run.last)
    other = tmp_path / "other"
    save_checkpoint(other, model, dataclasses.replace(info, labels=("jump", *CLASSES[1:])))
    message = "the teacher stam_4 and the videos do not have the same classes: fall, jump is in one of them only"
    with pytest.raises(UsageError, match=message):
        train(tiny_config(tiny_videos, tmp_path / "run", distill={"teacher": str(other)}), show=False)
    mixed = {"distill": {"teacher": str(tiny_run.last)}, "mix": {"mixup_alpha": 0.2}}
    with pytest.raises(UsageError, match="mix and distill cannot both be on"):
        train(tiny_config(tiny_videos, tmp_path / "run", **mixed), show=False)
    with pytest.raises((UsageError, InvalidCheckpoint), match="absent"):
        train(tiny_config(tiny_videos, tmp_path / "run", distill={"teacher": "absent"}), show=False)
    for name, value in (("alpha", -1.0), ("temperature", 0.0)):
        with pytest.raises(UsageError, match=rf"distill\.{name} is {value}; expected"):
            tiny_config(tiny_videos, tmp_path / "run", distill={name: value})
    assert not (tmp_path / "run").exists()
