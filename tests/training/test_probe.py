"""A probe: the same as the same training written out, seeded, and left with its best weights."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fewframes.training.probe as probe
from fewframes.architectures import build_from_config
from fewframes.data.loader import epoch_order
from fewframes.errors import TrainingFailed
from fewframes.training.config import OptimConfig
from fewframes.training.log import RunLog
from fewframes.training.optim import build_optimizer
from fewframes.training.probe import FrameData, freeze_encoder, gradient_step, score, train_probe
from tests.helpers.tiny import same_bits
from tests.helpers.tiny_models import tiny_card
from tests.helpers.tolerance import REGROUPED, assert_close

OPTIM = OptimConfig(
    lr=3e-3,
    temporal_lr_factor=0.5,
    head_lr_factor=2.0,
    weight_decay=0.1,
    beta2=0.98,
    epochs=3,
    warmup_epochs=1,
    batch_size=4,
    label_smoothing=0.1,
)
VIDEOS, VIEWS, FRAMES, WIDTH, CLASSES = 11, 2, 4, 24, 7


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with RunLog(tmp_path / "log.jsonl", total_steps=9, show=False) as opened:
        yield opened


def network() -> Any:  # noqa: ANN401
    config = replace(tiny_card("stam_16").config, temporal_dropout=0.2)  # type: ignore[type-var]
    return build_from_config(config, torch.Generator().manual_seed(4))


def data(count: int = VIDEOS, *, seed: int = 0, failed: tuple[int, ...] = ()) -> FrameData:
    generator = torch.Generator().manual_seed(seed)
    return FrameData(
        torch.randn(count, VIEWS, FRAMES, WIDTH, generator=generator),
        torch.randint(CLASSES, (count,), generator=generator),
        torch.ones(count),
        failed,
    )


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def written_out(model: Any, train: FrameData, *, seed: int) -> None:  # noqa: ANN401
    """The same training, every line of it here."""
    head = {"head.weight", "head.bias"}
    groups = []
    for is_head, decays in ((False, False), (False, True), (True, True), (True, False)):
        chosen = [
            parameter
            for name, parameter in model.named_parameters()
            if not name.startswith("encoder.")
            and (name in head) == is_head
            and (parameter.ndim > 1 and name.endswith("weight")) == decays
        ]
        groups.append({"params": chosen, "peak": 3e-3 if is_head else 1.5e-3, "weight_decay": 0.1 if decays else 0.0})
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    step = 0
    for epoch in range(3):
        order = epoch_order(VIDEOS, seed=seed, epoch=epoch)
        for begin in (0, 4, 8):
            rise, fall = (step + 1) / 3, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - 2) / 6))
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * (rise if step < 3 else fall)
            torch.manual_seed(seed * 1_000_003 + step)
            picked = order[begin : begin + 4]
            frames = [
                train.frames_NVTD[index, random.Random(f"{seed}/view/{epoch}/{index}").randrange(VIEWS)]
                for index in picked
            ]
            optimizer.zero_grad()
            logits = model.classify(torch.stack(frames))
            loss = nn.functional.cross_entropy(logits, train.labels_N[picked], label_smoothing=0.1, reduction="sum")
            (loss / len(picked)).backward()
            nn.utils.clip_grad_norm_([each for each in model.parameters() if each.grad is not None], 1.0)
            optimizer.step()
            step += 1


def test_equal_to_the_same_training_written_out(log: RunLog) -> None:
    ours, theirs = network(), network()
    result = train_probe(ours, data(), None, optim=OPTIM, seed=5, log=log)
    theirs.train()
    written_out(theirs, data(), seed=5)
    assert same_bits(tensors(ours), tensors(theirs))
    assert (result.epoch, result.steps, result.scores) == (3, 9, None)
    other = network().train()
    written_out(other, data(), seed=6)
    assert not same_bits(tensors(ours), tensors(other)), "the seed counts"


def test_the_encoder_is_neither_called_nor_changed(log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    before = tensors(model)
    monkeypatch.setattr(model, "embed_frames", None)
    monkeypatch.setattr(model.encoder, "forward", None)
    train_probe(model, data(), data(3, seed=1), optim=OPTIM, seed=0, log=log)
    after = tensors(model)
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if name.startswith("encoder.")}


def test_the_best_epoch_is_kept(log: RunLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    states, scored = [], []
    plain = probe.score

    def watched(model: Any, val: FrameData) -> Any:  # noqa: ANN401
        found = plain(model, val)
        scores = replace(found[0], top1=(40.0, 60.0, 60.0, 60.0)[len(states)])
        loss = (1.0, 0.9, 0.7, 0.8)[len(states)]
        states.append(tensors(model))
        scored.append(scores)
        return scores, loss

    monkeypatch.setattr(probe, "score", watched)
    model = network()
    result = train_probe(model, data(), data(5, seed=1), optim=replace(OPTIM, epochs=4), seed=0, log=log)
    assert (result.epoch, result.steps, result.scores) == (3, 12, scored[2]), "among equals the lowest loss"
    assert same_bits(tensors(model), states[2])
    assert not model.training
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [3, 6, 9, 12]
    assert [line["validation"]["top1"] for line in lines if "validation" in line] == [40.0, 60.0, 60.0, 60.0]


def test_validation_counts_every_listed_video() -> None:
    model, val = network(), data(5, seed=1, failed=(0, 3))
    scores, loss = score(model, val)
    model.eval()
    right, losses = 0, []
    with torch.no_grad():
        for frames, label in zip(val.frames_NVTD, val.labels_N, strict=True):
            logits = model.classify(frames[:1])
            right += int(logits.argmax() == label)
            losses.append(nn.functional.cross_entropy(logits, label[None]))
    assert scores.num_videos == 7
    assert scores.top1 == pytest.approx(100 * right / 7)
    assert loss == pytest.approx(float(torch.stack(losses).mean()), abs=1e-5)


def test_weights_of_videos_count(log: RunLog) -> None:
    plain, weighted = network(), network()
    train_probe(plain, data(), None, optim=OPTIM, seed=0, log=log)
    doubled = replace(data(), weights_N=torch.full((VIDEOS,), 2.0))
    train_probe(weighted, doubled, None, optim=OPTIM, seed=0, log=log)
    for name, value in tensors(plain).items():
        assert_close(tensors(weighted)[name], value, 1e-4)
    uneven = network()
    weights = torch.ones(VIDEOS)
    weights[2] = 30.0
    train_probe(uneven, replace(data(), weights_N=weights), None, optim=OPTIM, seed=0, log=log)
    assert not torch.allclose(tensors(uneven)["head.weight"], tensors(plain)["head.weight"], atol=1e-4)


def test_a_batch_in_parts_has_the_same_gradient() -> None:
    batch = (data().frames_NVTD[:4, 0], data().labels_N[:4], torch.tensor([1.0, 2.0, 0.5, 1.0]))
    found = {}
    for parts in (1, 2, 4):
        model = network().eval()  # no dropout, whose draws depend on the parts
        freeze_encoder(model)
        optim = replace(OPTIM, accumulate=parts)
        loss = gradient_step(model, model.classify, build_optimizer(model, optim), batch, optim)
        found[parts] = (loss, copy.deepcopy(model.head.weight.grad))
    for parts in (2, 4):
        assert found[parts][0] == pytest.approx(found[1][0], abs=1e-5)
        assert_close(found[parts][1], found[1][1], 10 * REGROUPED)


def test_what_cannot_be_trained_on(log: RunLog) -> None:
    nothing = FrameData(torch.empty(0, 1, 1, 1), torch.empty(0, dtype=torch.int64), torch.empty(0))
    with pytest.raises(TrainingFailed, match="not one training video could be read"):
        train_probe(network(), nothing, None, optim=OPTIM, seed=0, log=log)
    broken = data()
    broken.frames_NVTD[:] = torch.nan
    with pytest.raises(TrainingFailed, match=r"the loss is nan .* lower the learning rate with --lr"):
        train_probe(network(), broken, None, optim=OPTIM, seed=0, log=log)
