"""A run's folder and its state: whole or not at all, and only ever continued as the same run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.records import Failure
from fewframes.training.config import AverageConfig, GuardsConfig, MixConfig, OptimConfig, ScaleConfig, TrainConfig
from fewframes.training.ema import WeightAverage
from fewframes.training.state import Progress, config_as_dict, load_state, prepare_output, save_state
from tests.helpers.tiny import same_bits

PROGRESS = Progress(1, 2, 7, 50.0, 0, 3, {4: Failure("a.mp4", "damaged"), 1: Failure("b.mp4", "cut", 2.0, None)})


def config(folder: Path, **changes: object) -> TrainConfig:
    return dataclasses.replace(TrainConfig(output=str(folder)), **changes)  # type: ignore[arg-type]


def trained(seed: int = 0) -> tuple[torch.nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def saved(folder: Path) -> tuple[torch.nn.Module, torch.optim.AdamW]:
    model, optimizer = trained()
    save_state(folder, model, optimizer=optimizer, progress=PROGRESS, manifest_sha256="abc")
    return model, optimizer


def test_a_new_folder_gets_the_settings(tmp_path: Path) -> None:
    run = config(tmp_path / "deep" / "run")
    assert prepare_output(run, resume=False) is False
    assert json.loads((tmp_path / "deep" / "run" / "config.json").read_text()) == config_as_dict(run)
    assert config_as_dict(run)["optim"]["lr"] == 1e-4


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    prepare_output(config(tmp_path), resume=False)
    with pytest.raises(UsageError, match="already holds a run; add --resume to go on with it, or choose another"):
        prepare_output(config(tmp_path), resume=False)


def test_changed_settings_are_named(tmp_path: Path) -> None:
    prepare_output(config(tmp_path), resume=False)
    saved(tmp_path)
    assert prepare_output(config(tmp_path), resume=True) is True
    changed = config(tmp_path, seed=3, optim=OptimConfig(lr=0.5))
    with pytest.raises(UsageError, match=r"\(optim\.lr was 0\.0001, now 0\.5; seed was 0, now 3\); choose another"):
        prepare_output(changed, resume=True)


def test_settings_that_no_number_depends_on_may_change(tmp_path: Path) -> None:
    prepare_output(config(tmp_path), resume=False)
    saved(tmp_path)
    data = dataclasses.replace(TrainConfig().data, workers=7, prefetch=5, on_bad_video="skip", max_bad_fraction=0.5)
    freer = config(tmp_path, save_every_steps=5, log_every_steps=1, data=data)
    assert prepare_output(freer, resume=True) is True
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert prepare_output(config(moved), resume=True) is True


def test_how_a_run_is_carried_out_may_change(tmp_path: Path) -> None:
    prepare_output(config(tmp_path), resume=False)
    saved(tmp_path)
    elsewhere = config(
        tmp_path,
        guards=GuardsConfig(skip_bad_steps=3, stop_after_epochs=2, keep_epochs=1),
        scale=ScaleConfig(strategy="fsdp", recompute_blocks=True),
        optim=OptimConfig(accumulate=4),
        device="cuda",
        tensorboard=True,
    )
    assert prepare_output(elsewhere, resume=True) is True
    for changes in ({"average": AverageConfig(decay=0.5)}, {"precision": "float16"}):
        with pytest.raises(UsageError, match=r"holds a run with other settings \((average\.decay was 0\.0|precision)"):
            prepare_output(config(tmp_path, **changes), resume=True)


def test_settings_from_before_some_existed(tmp_path: Path) -> None:
    prepare_output(config(tmp_path), resume=False)
    saved(tmp_path)
    held = tmp_path / "config.json"
    older = json.loads(held.read_text())
    del older["average"], older["mix"], older["optim"]["schedule"]
    held.write_text(json.dumps(older))
    assert prepare_output(config(tmp_path), resume=True) is True
    with pytest.raises(UsageError, match=r"mix\.mixup_alpha was 0\.0, now 0\.2"):
        prepare_output(config(tmp_path, mix=MixConfig(mixup_alpha=0.2)), resume=True)


def test_a_run_that_saved_nothing_may_change(tmp_path: Path) -> None:
    prepare_output(config(tmp_path), resume=False)
    assert prepare_output(config(tmp_path, seed=5), resume=True) is False
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 5


def test_damaged_or_missing_settings(tmp_path: Path) -> None:
    prepare_output(config(tmp_path), resume=False)
    saved(tmp_path)
    for text in ('{"seed": ', "[1]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(InvalidCheckpoint, match=r"config\.json is damaged .*; choose another --output"):
            prepare_output(config(tmp_path), resume=True)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InvalidCheckpoint, match=r"state of a run without its config\.json"):
        prepare_output(config(tmp_path), resume=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*file.*choose a path that can be written"):
        prepare_output(config(tmp_path / "file"), resume=False)


def test_the_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = saved(tmp_path)
    fresh, fresh_optimizer = trained(seed=1)
    progress = load_state(tmp_path, fresh, optimizer=fresh_optimizer, manifest_sha256="abc")
    assert progress == PROGRESS
    assert (progress.step, progress.num_skipped) == (7, 3)
    assert list(progress.bad_videos) == [4, 1], "in the order in which they were met"
    assert same_bits(dict(fresh.state_dict()), dict(model.state_dict()))
    assert same_bits(fresh_optimizer.state_dict(), optimizer.state_dict())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resume.pt"]


def test_a_state_from_before_bad_videos_were_counted(tmp_path: Path) -> None:
    saved(tmp_path)
    content = torch.load(tmp_path / "resume.pt", weights_only=True)
    del content["progress"]["bad_videos"]
    torch.save(content, tmp_path / "resume.pt")
    model, optimizer = trained()
    assert load_state(tmp_path, model, optimizer=optimizer, manifest_sha256="abc").bad_videos == {}


def test_another_list_of_videos(tmp_path: Path) -> None:
    saved(tmp_path)
    model, optimizer = trained(seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError, match=r"list of videos has changed since .*resume\.pt was written"):
        load_state(tmp_path, model, optimizer=optimizer, manifest_sha256="abd")
    assert same_bits(dict(model.state_dict()), before)


class Stranger:
    """What a state never holds."""


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "stranger", "other model", "other content"])
def test_a_damaged_state(tmp_path: Path, damage: str) -> None:
    saved(tmp_path)
    path = tmp_path / "resume.pt"
    content = path.read_bytes()
    if damage == "stranger":
        torch.save({"model": Stranger()}, path)
    elif damage == "other model":
        save_state(tmp_path, torch.nn.Linear(4, 2), optimizer=trained()[1], progress=Progress(), manifest_sha256="abc")
    elif damage == "other content":
        torch.save({"model": {}}, path)
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"no state"}[damage])
    model, optimizer = trained()
    with pytest.raises(InvalidCheckpoint, match=r"resume\.pt is damaged \(\w+\); start again in another folder"):
        load_state(tmp_path, model, optimizer=optimizer, manifest_sha256="abc")


def test_a_failed_save_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = saved(tmp_path)
    before = (tmp_path / "resume.pt").read_bytes()

    def full(content: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, model, optimizer=optimizer, progress=Progress(), manifest_sha256="abc")
    assert (tmp_path / "resume.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]


def test_what_else_belongs_to_the_state(tmp_path: Path) -> None:
    model, optimizer = trained()
    average, scaler = WeightAverage(model, 0.5), torch.amp.GradScaler("cpu", init_scale=8.0)
    average.update(trained(seed=3)[0])
    kept = {"average": average, "scaler": scaler}
    save_state(tmp_path, model, optimizer=optimizer, progress=PROGRESS, manifest_sha256="abc", others=kept)
    fresh, fresh_optimizer = trained(seed=1)
    others = {"average": WeightAverage(fresh, 0.5), "scaler": torch.amp.GradScaler("cpu")}
    load_state(tmp_path, fresh, optimizer=fresh_optimizer, manifest_sha256="abc", others=others)
    for name, other in others.items():
        assert same_bits(other.state_dict(), kept[name].state_dict())
    save_state(tmp_path, model, optimizer=optimizer, progress=PROGRESS, manifest_sha256="abc")
    with pytest.raises(InvalidCheckpoint, match=r"resume\.pt is damaged \(KeyError\)"):
        load_state(tmp_path, fresh, optimizer=fresh_optimizer, manifest_sha256="abc", others=others)


def test_only_one_process_writes(tmp_path: Path) -> None:
    model, optimizer = trained()
    save_state(tmp_path, model, optimizer=optimizer, progress=PROGRESS, manifest_sha256="abc", writes=False)
    assert list(tmp_path.iterdir()) == []
