"""What a run would do, against the run itself and against sums by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fewframes.training.plan as plans
from fewframes.errors import InvalidManifest, UsageError
from fewframes.training.loop import TrainResult
from fewframes.training.plan import plan
from fewframes.training.setup import start
from tests.helpers.tiny import tiny_config


def test_it_is_what_the_run_does(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    config = tiny_config(tiny_videos, tmp_path / "run", optim={"lr_reference_batch": 32, "head_lr_factor": 10.0})
    found = plan(config)
    assert not (tmp_path / "run").exists()
    run, _ = start(config, resume=False, show=False)
    assert (found["schedule"]["steps_per_epoch"], found["schedule"]["total_steps"]) == (2, 6)
    assert (run.steps_per_epoch, run.total_steps) == (2, 6)
    assert found["schedule"]["warmup_steps"] == 1
    assert found["schedule"]["peak_lr"] == pytest.approx(3e-3 * 8 / 32)
    assert (found["data"]["num_train"], found["data"]["num_val"], found["data"]["num_classes"]) == (12, 4, 4)
    assert found["data"]["manifest_sha256"] == run.data.train.sha256
    assert found["model"]["num_parameters"] == tiny_run.num_parameters
    assert found["model"]["clip"] == [3, 3, 16, 16]
    groups = [(group["name"], group["base_lr"], len(group["params"])) for group in run.optimizer.param_groups]
    assert [(group["name"], group["lr"], group["num_tensors"]) for group in found["groups"]] == groups
    batch = {"clips": 8, "processes": 1, "strategy": "one process", "clips_per_process": 8, "clips_at_a_time": 4}
    assert found["batch"] == batch
    assert found["sampling"]["rule"] == "random_in_segment"
    assert found["augment"]["crop"] == [16, 16]


def test_several_processes(tiny_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    parted = {"strategy": "fsdp"}
    found = plan(tiny_config(tiny_videos, "run", scale=parted))
    assert (found["batch"]["clips_per_process"], found["batch"]["clips_at_a_time"]) == (4, 2)
    whole = plan(tiny_config(tiny_videos, "run"))
    assert found["memory"]["weights"] * 2 == whole["memory"]["weights"]
    assert found["memory"]["activations"] == whole["memory"]["activations"]
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="batch_size 8 is not a multiple of 3 processes"):
        plan(tiny_config(tiny_videos, "run"))
    with pytest.raises(InvalidManifest):
        monkeypatch.delenv("WORLD_SIZE")
        plan(tiny_config("absent.csv", "run"))


def test_memory_by_hand(tiny_videos: Path) -> None:
    def memory(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting
        found: dict[str, Any] = plan(tiny_config(tiny_videos, "run", **changes))["memory"]
        return found

    plain, size = memory(), plan(tiny_config(tiny_videos, "run"))["model"]["num_parameters"] * 4
    assert (plain["weights"], plain["gradients"], plain["optimizer"], plain["average"]) == (size, size, 2 * size, 0)
    assert plain["total"] == 4 * size + plain["activations"]
    assert memory(optim={"optimizer": "sgd"})["optimizer"] == size
    assert memory(optim={"optimizer": "sgd", "momentum": 0.0})["optimizer"] == 0
    assert memory(average={"decay": 0.9})["average"] == size
    assert memory(optim={"accumulate": 8})["activations"] * 4 == plain["activations"]
    assert memory(precision="bfloat16")["activations"] * 2 == plain["activations"]
    assert memory(scale={"recompute_blocks": True})["activations"] < plain["activations"]


def test_kept_numbers_by_hand() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(7, 5)
            self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(5, 11), nn.Linear(11, 5)) for _ in range(3)])

        def forward(self, clip_BTCHW: torch.Tensor) -> torch.Tensor:
            x = self.stem(clip_BTCHW.flatten(1))
            for block in self.blocks:
                x = block(x)
            return x

    model = Network().to("meta")
    assert plans._kept_numbers(model, (7, 1, 1, 1), recompute=False) == 5 + 3 * (11 + 5)
    assert plans._kept_numbers(model, (7, 1, 1, 1), recompute=True) == 5 + 3 * 5 + (11 + 5)
