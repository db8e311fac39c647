"""Checks before training: what is sound passes without a word, and each kind of mistake is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fewframes.architectures import build_from_config
from fewframes.data.manifest import Manifest, Video
from fewframes.training.config import OptimConfig
from fewframes.training.fit_checks import (
    class_lines,
    class_warnings,
    initial_loss,
    initial_loss_warning,
    overfit_line,
    overfit_one_batch,
    overlap_warnings,
)
from fewframes.training.fit_time import StepTime, duration_text, run_seconds
from fewframes.training.setup import TrainData
from tests.helpers.tiny import same_bits
from tests.helpers.tiny_models import tiny_card


def listed(*counts: int, prefix: str = "train") -> Manifest:
    videos = [
        Video(Path(f"{prefix}/{label}{index}.mp4"), (label,))
        for label, count in zip("abc", counts, strict=False)
        for index in range(count)
    ]
    return Manifest("list.csv", tuple(videos))


def data_of(train: Manifest, val: Manifest | None = None) -> TrainData:
    return TrainData(train, val, train.labels, ())


def test_sound_lists_are_not_warned_of() -> None:
    data = data_of(listed(10, 100, 40), listed(5, 5, 9, prefix="val"))
    assert class_warnings(data) == []
    (line,) = class_lines(data)
    assert line.startswith("150 training videos of 3 classes, 19 to validate; smallest class a (10), largest b (100)")


def test_small_and_uneven_classes() -> None:
    few, uneven, thin = class_warnings(data_of(listed(9, 100, 3), listed(10, 4, 6, prefix="val")))
    assert "2 classes with fewer than 10 training videos: c (3), a (9);" in few
    assert "the largest class has 33 times as many" in uneven
    assert "1 class with fewer than 5 validation videos; one video is 5.0 points" in thin
    assert len(class_warnings(data_of(listed(9, 10)))) == 1


def test_overlaps(tmp_path: Path) -> None:
    def files(*names: str, group: str | None = None) -> Manifest:
        return Manifest("list.csv", tuple(Video(tmp_path / name, ("x",), group=group) for name in names))

    for name, content in (("a", b"12345"), ("b", b"54321"), ("c", b"12345"), ("d", b"123456")):
        (tmp_path / name).write_bytes(content)
    assert overlap_warnings(files("a"), None) == []
    assert overlap_warnings(files("a", group="g1"), files("b", "d", group="g2")) == []
    (twin,) = overlap_warnings(files("a", "b"), files("c", "d"))
    assert "1 file of validation with the content of a training file" in twin
    assert f"first {tmp_path}/c, equal to {tmp_path}/a" in twin
    (same,) = overlap_warnings(files("a", "b"), files("a", "gone"))
    assert f"1 file in training and validation (first {tmp_path}/a): accuracy will look better" in same
    (group,) = overlap_warnings(files("a", group="g1"), files("b", group="g1"))
    assert "1 group in training and validation (g1)" in group
    remote = Manifest("list.csv", (Video("https://example.org/a", ("x",)),))
    assert overlap_warnings(remote, files("a")) == []


def test_the_loss_at_first() -> None:
    assert initial_loss(torch.zeros(3, 7), torch.tensor([0, 6, 3])) == pytest.approx(math.log(7))
    for loss in (math.log(7), math.log(7) + 1.5, 0.6 * math.log(7)):
        assert initial_loss_warning(loss, 7) is None
    warning = initial_loss_warning(9.0, 7)
    assert warning is not None
    assert "the loss before training is 9.00" in warning
    assert "ln 7 = 1.95: check the labels, and mean and std" in warning
    assert initial_loss_warning(0.1, 7) is not None
    assert initial_loss_warning(math.nan, 7) is not None


def test_heads_that_we_draw_begin_where_they_should() -> None:
    """For vectors of the size that norms give, whatever their direction."""
    for seed in range(5):
        model: Any = build_from_config(tiny_card("stam_16").config, torch.Generator().manual_seed(seed)).eval()
        frames = torch.randn(28, 4, 24, generator=torch.Generator().manual_seed(seed))
        loss = initial_loss(model.classify(frames).detach(), torch.arange(28) % 7)
        assert initial_loss_warning(loss, 7) is None


def test_one_batch_is_learnt_by_heart() -> None:
    model: Any = build_from_config(tiny_card("stam_16").config, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frames = torch.randn(6, 4, 24, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    optim = OptimConfig(lr=1e-2)
    found = overfit_one_batch(model, lambda network: network.classify, frames, labels, optim=optim, steps=200)
    assert found.learnt and found.loss < 0.1 and found.steps % 10 == 0 and found.videos == 6
    assert "it can be learnt by heart" in overfit_line(found)
    assert same_bits(before, dict(model.state_dict())), "only a copy learns"


def test_equal_videos_with_different_labels_are_not() -> None:
    model: Any = build_from_config(tiny_card("stam_16").config, torch.Generator().manual_seed(0))
    frames = torch.ones(6, 4, 24)
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    optim = OptimConfig(lr=1e-2)
    found = overfit_one_batch(model, lambda network: network.classify, frames, labels, optim=optim, steps=25)
    assert (found.learnt, found.steps) == (False, 25)
    assert found.loss > math.log(6) - 0.1, "nobody can know"
    assert "expected below 0.1" in overfit_line(found)
    assert "different labels" in overfit_line(found)


def test_rates_of_fine_tuning_are_raised_for_the_proof() -> None:
    model: Any = build_from_config(tiny_card("stam_16").config, torch.Generator().manual_seed(0))
    frames = torch.randn(2, 4, 24, generator=torch.Generator().manual_seed(1))
    careful = OptimConfig(lr=1e-9)
    found = overfit_one_batch(
        model, lambda network: network.classify, frames, torch.tensor([0, 1]), optim=careful, steps=200
    )
    assert found.learnt


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "a second"), (1.6, "2 seconds"), (89, "89 seconds"), (150, "2 minutes"), (9000.0, "2.5 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_slower_of_reading_and_training_counts() -> None:
    step = StepTime(train_seconds=2.0, forward_seconds=0.5, decode_seconds=8.0)
    shared = {"num_train": 10, "num_val": 3, "epochs": 5}
    # 50 clips: 100 s of steps, 400 s of decoding by 2 readers; 15 validations wait 4 s each for their reader.
    assert run_seconds(step, **shared, workers=2, decodes=5) == pytest.approx(200 + 60)
    assert run_seconds(step, **shared, workers=8, decodes=5) == pytest.approx(100 + 15)
    # Decoded once, before the first step.
    assert run_seconds(step, **shared, workers=2, decodes=1) == pytest.approx(100 + 40 + 60)
