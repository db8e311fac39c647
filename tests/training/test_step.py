"""One step of the optimiser: the gradient of a weighted mean, whatever it is parted into, mixed with or rounded to."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fewframes.training.loop as loop
import fewframes.training.step as step
from fewframes.data.loader import Batch, Shard, epoch_order, load_batches
from fewframes.errors import UsageError
from fewframes.training.guards import NotFinite
from fewframes.training.loop import train
from fewframes.training.mixing import mix, mix_batch, soft_targets
from fewframes.training.parallel import blocks_of, recompute_blocks
from fewframes.training.run import Run
from fewframes.training.setup import start
from fewframes.training.targets import SingleLabel, balanced_class_weights
from fewframes.video.transforms import to_float
from tests.helpers.tiny import SHAPE, same_bits, state_of, tiny_config, weights_of

WITHOUT_DROPOUT = (*SHAPE[:-1], "temporal_dropout=0.0")


def begun(source: Path, output: Path, **changes: Any) -> tuple[Run, Batch]:  # noqa: ANN401 - any setting
    """A run and its first batch, without dropout unless asked for."""
    plain = {"model": {"options": WITHOUT_DROPOUT}, "optim": {"clip_norm": 0.0, **changes.pop("optim", {})}}
    run, _ = start(tiny_config(source, output, **{**plain, **changes}), resume=False, show=False)
    return run, next(loop._batches(run, 0, skip=0))


def gradient(run: Run, batch: Batch) -> torch.Tensor:
    torch.manual_seed(31)
    loop._step(run, batch)
    return torch.cat([p.grad.flatten() for p in run.model.parameters() if p.grad is not None]).double()


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def floats(run: Run, batch: Batch) -> torch.Tensor:
    return torch.stack([to_float(clip, run.info.preprocess) for clip in batch.clips])


def direct(run: Run, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, list(run.model.parameters()))]).double()


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_a_mixed_step_in_any_parts(tiny_videos: Path, tmp_path: Path, alphas: tuple[float, float]) -> None:
    mixing = {"mixup_alpha": alphas[0], "cutmix_alpha": alphas[1]}
    whole, batch = begun(tiny_videos, tmp_path / "whole", mix=mixing)
    batch = dataclasses.replace(batch, weights=torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.5, 1.0]))
    generator = torch.Generator().manual_seed(31)
    soft = soft_targets(batch.labels, (4,))
    mixed = mix_batch(floats(whole, batch), soft, generator=generator, **mixing)
    weights = mix(batch.weights, mixed.share)
    losses = F.cross_entropy(whole.model.train()(mixed.clips_BTCHW), mixed.targets_BK, reduction="none")
    expected = direct(whole, (losses * weights).sum() / weights.sum())
    for accumulate in (1, 2, 8):
        run, _ = begun(tiny_videos, tmp_path / f"{accumulate}", mix=mixing, optim={"accumulate": accumulate})
        assert relative(gradient(run, batch), expected) < 1e-6
    plain, _ = begun(tiny_videos, tmp_path / "plain")
    assert relative(gradient(plain, batch), expected) > 1e-2


def test_mixed_weights_add_up_to_the_same(tiny_videos: Path, tmp_path: Path) -> None:
    """What a step divides by: mixing moves weight between clips, and makes none."""
    weights = torch.tensor([1.0, 2.0, 0.5])
    assert float(mix(weights, 0.3).sum()) == pytest.approx(3.5)


def test_four_parts_of_eight_are_thirty_two(tiny_videos: Path, tmp_path: Path) -> None:
    gradients = []
    for accumulate in (1, 4):
        optim = {"batch_size": 32, "accumulate": accumulate}
        run, batch = begun(tiny_videos, tmp_path / f"{accumulate}", optim=optim, data={"val_fraction": 0.0})
        twice = {name: torch.cat([getattr(batch, name)] * 2) for name in ("clips", "labels", "weights")}
        gradients.append(gradient(run, dataclasses.replace(batch, indices=batch.indices * 2, **twice)))
        assert len(twice["labels"]) == 32
    assert relative(*gradients) < 1e-6


def test_blocks_that_are_computed_again_change_nothing(tiny_videos: Path, tmp_path: Path) -> None:
    """With dropout, whose draws have to be the same the second time."""
    found = {}
    for again in (False, True):
        scale = {"recompute_blocks": again}
        run, batch = begun(tiny_videos, tmp_path / f"{again}", model={"options": SHAPE}, scale=scale)
        found[again] = gradient(run, batch), list(run.model.state_dict())
    assert torch.equal(found[True][0], found[False][0])
    assert found[True][1] == found[False][1]


def test_which_blocks_are_computed_again() -> None:
    calls = []

    class Block(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(self)
            return super().forward(x).relu()

    model = nn.Module()
    model.stem, model.blocks = nn.Linear(3, 5), nn.ModuleList([Block(5, 5), nn.BatchNorm1d(5), Block(5, 5)])
    assert blocks_of(model) == list(model.blocks)
    assert recompute_blocks(model) == 2, "not the batch norm, whose statistics would count twice"
    x = model.stem(torch.randn(7, 3))
    for block in model.blocks:
        x = block(x)
    x.sum().backward()
    assert calls == [model.blocks[0], model.blocks[2], model.blocks[2], model.blocks[0]]
    with torch.no_grad():
        model.blocks[0](torch.randn(7, 5))
    assert len(calls) == 5
    with pytest.raises(UsageError, match=r"recompute_blocks needs lists of blocks, .* without batch norms"):
        recompute_blocks(nn.Sequential(nn.Linear(2, 2)))


def test_float16_scales_its_gradients(tiny_videos: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", precision="float16", save_every_steps=1)
    result = train(config, show=False)
    weights = weights_of(result.last)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    assert state_of(tmp_path / "run")["scaler"]["_growth_tracker"] > 0, "steps without an overflow"


def test_an_overflow_of_float16_is_no_failure(tiny_videos: Path, tmp_path: Path) -> None:
    run, batch = begun(tiny_videos, tmp_path / "run", precision="float16")
    assert run.scaler is not None
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.scaler.load_state_dict({**run.scaler.state_dict(), "scale": 2.0**40})
    loss, norm = loop._step(run, batch)
    assert loss is not None
    assert norm is None
    assert same_bits(dict(run.model.state_dict()), before), "no step"
    assert run.scaler.get_scale() == 2.0**39
    assert loop._step(run, batch)[1] is None
    run.scaler.load_state_dict({**run.scaler.state_dict(), "scale": 2.0**10})
    assert loop._step(run, batch)[1] is not None
    assert not same_bits(dict(run.model.state_dict()), before)


class Normalising(nn.Module):
    """A network with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 4)

    def forward(self, clip_BTCHW: torch.Tensor) -> torch.Tensor:
        logits_BK: torch.Tensor = self.head(self.norm(clip_BTCHW.mean(dim=(1, 3, 4))))
        return logits_BK


def normalising(run: Run) -> Run:
    model = Normalising()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return dataclasses.replace(run, model=model, network=run.fabric.setup_module(model), optimizer=optimizer)


def test_a_process_without_a_clip_takes_part_and_leaves_no_trace(tiny_videos: Path, tmp_path: Path) -> None:
    run, batch = begun(tiny_videos, tmp_path / "run")
    run = normalising(run)
    run.network.train()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    loss = step._take_part(run, dataclasses.replace(batch, clips=batch.clips[:0]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in run.model.parameters()), "every one, and 0"
    assert same_bits(dict(run.model.state_dict()), before)
    assert run.model.training


def test_running_statistics_survive_a_bad_step(tiny_videos: Path, tmp_path: Path) -> None:
    run, batch = begun(tiny_videos, tmp_path / "run", guards={"skip_bad_steps": 1})
    run = normalising(run)
    model = run.model
    loop._step(run, batch)
    good = {name: value.clone() for name, value in model.state_dict().items()}
    assert int(good["norm.num_batches_tracked"]) == 2, "two parts"
    with pytest.raises(NotFinite) as caught:
        loop._step(dataclasses.replace(run, targets=Broken(4)), batch)
    assert same_bits(dict(model.state_dict()), good)
    assert 0 < int((batch.labels == 2).sum()) < 8
    assert torch.equal(caught.value.losses_B.isnan(), batch.labels == 2)


class Broken(SingleLabel):
    """A task whose loss is not a number for one of the classes."""

    def losses(self, logits_BK: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().losses(logits_BK, targets) * torch.where(targets == 2, torch.nan, 1.0)

    def loss_sum(self, logits_BK: torch.Tensor, targets: torch.Tensor, weights_B: torch.Tensor) -> torch.Tensor:
        return (self.losses(logits_BK, targets) * weights_B).sum()


def test_class_weights_by_hand(tiny_videos: Path, tmp_path: Path) -> None:
    assert balanced_class_weights([0, 0, 0, 1], 2).tolist() == pytest.approx([4 / 6, 4 / 2])
    with pytest.raises(UsageError, match="class 2 has no training video"):
        balanced_class_weights([0, 1], 3)
    targets = SingleLabel(2, class_weights_K=torch.tensor([0.5, 3.0]))
    logits, labels = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), torch.tensor([0, 1, 1])
    each = [0.5 * 0.31326169, 3 * 0.12692801, 3 * 0.69314718]
    assert targets.losses(logits, labels).tolist() == pytest.approx(each)
    assert float(targets.loss_sum(logits, labels, torch.tensor([1.0, 2.0, 1.0]))) == pytest.approx(
        each[0] + 2 * each[1] + each[2]
    )
    rows = tiny_videos.read_text().splitlines()
    uneven = [f"{tiny_videos.parent / row}" for row in rows[1:] if row.endswith(",train")][:13]
    source = tmp_path / "list.csv"
    source.write_text("\n".join([rows[0], *uneven, ""]))
    settings = {"balance": {"class_weights": "balanced"}, "data": {"val_fraction": 0.0}}
    run, batch = begun(source, tmp_path / "run", **settings)
    assert isinstance(run.targets, SingleLabel)
    assert run.targets.class_weights_K is not None
    counts = torch.bincount(torch.tensor(run.clips.label_indices)).float()
    torch.testing.assert_close(run.targets.class_weights_K, 13 / (4 * counts))
    losses = F.cross_entropy(run.model.train()(floats(run, batch)), batch.labels, reduction="none")
    expected = direct(run, (losses * run.targets.class_weights_K[batch.labels]).mean())
    assert relative(gradient(run, batch), expected) < 1e-6
    with pytest.raises(UsageError, match="both balanced, which would count rare classes twice"):
        begun(source, tmp_path / "both", balance={"class_weights": "balanced", "sampling": "balanced"})


def test_balanced_sampling_by_hand() -> None:
    """Ten videos of one class and three each of two: 16 visits, 5 or 6 of the first, 10 or 11 of the others."""
    frequencies = [1 / 10] * 10 + [1 / 3] * 6
    visits = torch.zeros(16)
    for epoch in range(300):
        order = epoch_order(16, seed=5, epoch=epoch, frequencies=frequencies)
        counts = torch.bincount(torch.tensor(order), minlength=16)
        assert len(order) == 16
        assert set(counts[:10].tolist()) <= {0, 1}
        assert set(counts[10:].tolist()) <= {1, 2}
        assert int(counts[:10].sum()) in (5, 6)
        visits += counts
    shares = visits / 300
    torch.testing.assert_close(shares, torch.tensor([16 / 30] * 10 + [16 / 9] * 6), rtol=0.1, atol=0.05)
    assert epoch_order(16, seed=5, epoch=1, frequencies=[2.0] * 16) != epoch_order(16, seed=5, epoch=1)
    assert sorted(epoch_order(16, seed=5, epoch=1, frequencies=[2.0] * 16)) == list(range(16))


def test_a_video_that_comes_again_is_seen_otherwise(tiny_videos: Path, tmp_path: Path) -> None:
    rows = tiny_videos.read_text().splitlines()
    kept = [row for row in rows[1:] if row.endswith(",train")]
    uneven = [row for row in kept if "rise" not in row] + [row for row in kept if "rise" in row][:1]
    source = tmp_path / "list.csv"
    source.write_text("\n".join([rows[0], *(f"{tiny_videos.parent / row}" for row in uneven), ""]))
    settings: dict[str, Any] = {"balance": {"sampling": "balanced"}, "data": {"val_fraction": 0.0}}
    run, _ = begun(source, tmp_path / "run", optim={"batch_size": 13, "accumulate": 1}, **settings)
    assert len(run.clips) == 13
    (batch,) = load_batches(run.clips, epoch=0, batch_size=13, workers=0)
    rare = run.data.labels.index("rise")
    again = [place for place, label in enumerate(batch.labels.tolist()) if label == rare]
    assert len(again) in (3, 4), "of 13 visits to 4 classes"
    assert len({batch.indices[place] for place in again}) == 1
    assert not torch.equal(batch.clips[again[0]], batch.clips[again[1]])
    shares = [
        next(load_batches(run.clips, epoch=0, batch_size=7, workers=0, shard=Shard(rank, 2, equal_batches=True)))
        for rank in (0, 1)
    ]
    for rank, share in enumerate(shares):
        assert share.indices == batch.indices[rank::2]
        assert torch.equal(share.clips, batch.clips[rank::2])
