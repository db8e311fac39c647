"""What a run is made of: the videos that it takes, the network that it starts from, and what it refuses to begin."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import fewframes.training.setup as setup
from fewframes.errors import InvalidCheckpoint, InvalidManifest, TooManyBadVideos, UnknownName, UsageError
from fewframes.records import Sampling, SamplingRule
from fewframes.training.config import TrainConfig
from fewframes.training.loop import TrainResult
from fewframes.video.augment import Augment
from fewframes.weights.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers.tiny import CLASSES, SHAPE, same_bits, tiny_config, weights_of


def listed(folder: Path, *rows: str, header: str = "path,label,split") -> Path:
    for row in rows:
        (folder / row.split(",")[0]).touch()
    path = folder / "list.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def read(source: Path | str, **data: object) -> setup.TrainData:
    return setup.read_data(tiny_config(source, "unused", data=data))


def names(data: setup.TrainData) -> tuple[list[str], list[str] | None]:
    val = None if data.val is None else [video.path.name for video in data.val.videos]
    return [video.path.name for video in data.train.videos], val


SPLIT_ROWS = ("a.mp4,x,train", "b.mp4,y,train", "c.mp4,x,val", "d.mp4,y,test")


def test_splits_are_taken_as_they_are(tmp_path: Path) -> None:
    source = listed(tmp_path, *SPLIT_ROWS)
    data = read(source)
    assert names(data) == (["a.mp4", "b.mp4"], ["c.mp4"])
    assert data.labels == ("x", "y")
    assert data.notes == ()
    assert names(read(source, val_split="test")) == (["a.mp4", "b.mp4"], ["d.mp4"])
    with pytest.raises(UsageError, match="val_split is the training split, 'train'; leave it empty to hold videos out"):
        read(source, val_split="train")
    with pytest.raises(UnknownName, match=r"unknown split of .*list\.csv 'trian'; did you mean 'train'"):
        read(source, train_split="trian")


def test_a_training_split_named_val_is_not_validated_on(tmp_path: Path) -> None:
    source = listed(tmp_path, "a.mp4,x,val", "b.mp4,y,val", "c.mp4,x,test")
    assert names(read(source, train_split="val", val_fraction=0.0)) == (["a.mp4", "b.mp4"], None)


def test_videos_are_held_out_without_a_validation_split(tiny_videos: Path, tmp_path: Path) -> None:
    data = read(tiny_videos)
    assert data.val is not None
    assert (len(data.train.videos), len(data.val.videos)) == (12, 4)
    assert data.val.labels == data.labels == CLASSES, "one of each class"
    assert {video.split for video in data.val.videos} == {"train"}, "the test videos stay unseen"
    assert data.notes[0].startswith("no validation split: 4 of the training videos are held out")
    assert read(tiny_videos, val_fraction=0.0).val is None
    few = listed(tmp_path, "a.mp4,x,train", "b.mp4,y,train")
    data = read(few, val_fraction=0.1)
    assert data.val is None
    assert "too few videos to hold some out: best/ will be the last epoch" in data.notes[0]


def test_lists_that_cannot_be_trained_on(tmp_path: Path) -> None:
    source = listed(tmp_path, *SPLIT_ROWS)
    (tmp_path / "b.mp4").unlink()
    message = r"list\.csv: 1 of 2 listed files do not exist, first .*b\.mp4; paths are relative to the list: correct it"
    with pytest.raises(InvalidManifest, match=message):
        read(source)
    (tmp_path / "b.mp4").touch()
    (tmp_path / "c.mp4").unlink()
    with pytest.raises(InvalidManifest, match=r"1 of 1 listed files do not exist, first .*c\.mp4"):
        read(source)
    with pytest.raises(InvalidManifest, match="training needs at least two classes, got x"):
        read(listed(tmp_path, "a.mp4,x,train", "b.mp4,x,train"), val_fraction=0.0)
    with pytest.raises(InvalidManifest, match=r"c\.mp4 has a label that the model does not know.*'z'"):
        read(listed(tmp_path, "a.mp4,x,train", "b.mp4,y,train", "c.mp4,z,val"))
    with pytest.raises(UsageError, match="no videos to train on; give"):
        read("")


def test_missing_files_under_the_policy_skip(tmp_path: Path) -> None:
    rows = [f"{number}.mp4,{'xy'[number % 2]},train" for number in range(10)]
    source = listed(tmp_path, *rows)
    (tmp_path / "3.mp4").unlink()
    data = read(source, val_fraction=0.0, on_bad_video="skip")
    assert len(data.train.videos) == 10, "still listed, so that they are counted"
    assert data.notes == (
        f"{source}: 1 of 10 listed files do not exist, first {tmp_path / '3.mp4'}; they are left out",
    )
    (tmp_path / "7.mp4").unlink()
    message = (
        r"2 of 10 videos of .*list\.csv could not be read so far, more than the 1 .*first .*3\.mp4 \(no such file\)"
    )
    with pytest.raises(TooManyBadVideos, match=message):
        read(source, val_fraction=0.0, on_bad_video="skip")
    assert len(read(source, val_fraction=0.0, on_bad_video="skip", max_bad_fraction=0.2).notes) == 1


def test_the_columns_of_the_list_can_be_named(tmp_path: Path) -> None:
    rows = [f"{number}.mp4,{'xy'[number % 2]},train,{number // 4}" for number in range(16)]
    source = listed(tmp_path, *rows, header="path,label,split7,scene")
    data = read(source, split_column="split7", group_column="scene", val_fraction=0.25)
    assert data.val is not None
    scenes = [{video.group for video in part.videos} for part in (data.train, data.val)]
    assert scenes[0] | scenes[1] == {"0", "1", "2", "3"}
    assert not scenes[0] & scenes[1]


def build(config: TrainConfig) -> tuple[torch.nn.Module, setup.CheckpointInfo, setup.LoadReport | None]:
    return setup.build(config, setup.read_data(config))


def test_the_network_follows_from_the_seed(tiny_videos: Path) -> None:
    config = tiny_config(tiny_videos, "run", model={"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)})
    model, info, report = build(config)
    torch.manual_seed(5)
    twin, other = build(config)[0], build(dataclasses.replace(config, seed=1))[0]
    assert same_bits(dict(model.state_dict()), dict(twin.state_dict()))
    assert not same_bits(dict(model.state_dict()), dict(other.state_dict()))
    assert report is None
    assert info.labels == CLASSES
    assert (info.preprocess.mean, info.preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert info.preprocess.crop == (16, 16)
    assert (info.sampling.rule, info.sampling.num_frames) == ("uniform", 3)
    assert info.provenance["started_from"] == "random weights"
    assert info.provenance["train_config"]["model"]["options"] == list(SHAPE)


def test_options_that_the_data_decides(tiny_videos: Path) -> None:
    with pytest.raises(UsageError, match="num_classes follows from the videos' labels; leave it out"):
        build(tiny_config(tiny_videos, "run", model={"options": ("num_classes=4",)}))
    with pytest.raises(UnknownName, match="unknown model option 'dept'; did you mean 'depth'"):
        build(tiny_config(tiny_videos, "run", model={"options": ("dept=4",)}))


def test_starting_from_the_same_classes_keeps_the_head(tiny_videos: Path, tiny_run: TrainResult) -> None:
    model, info, report = build(tiny_config(tiny_videos, "run", model={"init_from": str(tiny_run.last)}))
    assert report is not None
    assert (report.newly_initialised, report.unused) == ((), ())
    assert same_bits(dict(model.state_dict()), weights_of(tiny_run.last))
    assert info.provenance["started_from"] == report.summary()


def test_starting_weights_named_by_their_file_are_the_same_checkpoint(
    tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path
) -> None:
    model, info = load_checkpoint(tiny_run.last)
    preprocess = dataclasses.replace(info.preprocess, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channel_order="bgr")
    save_checkpoint(tmp_path / "start", model, dataclasses.replace(info, preprocess=preprocess))
    start = {"init_from": str(tmp_path / "start" / "weights.safetensors")}
    _, found, report = build(tiny_config(tiny_videos, "run", model=start))
    assert found.preprocess == preprocess
    assert report is not None
    assert report.newly_initialised == (), "the same classes: the head stays"


def test_a_finished_run_reads_no_videos_ahead(tiny_videos: Path) -> None:
    config = tiny_config(tiny_videos, "run", data={"cache_frames": 4})
    data = setup.read_data(config)
    _, info, _ = setup.build(config, data)
    assert setup.training_clips(config, data, info, show=False, finished=True).cache is None
    assert setup.training_clips(config, data, info, show=False).cache is not None


def test_starting_from_other_classes_frames_and_sizes(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    rows = [f"videos/{label}_{n}.mp4,{label}2" for label in CLASSES for n in range(4)]
    (tmp_path / "videos").mkdir()
    source = listed(tmp_path, *rows, header="path,label")
    options = tuple(f"num_frames={5}" if each.startswith("num_frames") else each for each in SHAPE)
    options = tuple("image_size=24x16" if each.startswith("image_size") else each for each in options)
    config = tiny_config(source, "run", model={"init_from": str(tiny_run.last), "options": options})
    model, info, report = build(config)
    assert report is not None
    assert report.newly_initialised == ("head.weight", "head.bias"), "as many classes, but other ones"
    assert [each.split(":")[0] for each in report.resized] == ["encoder.pos_embed", "aggregate.pos_embed"]
    assert info.labels == tuple(f"{label}2" for label in CLASSES)
    before, after = weights_of(tiny_run.last), model.state_dict()
    assert torch.equal(after["encoder.norm.weight"], before["encoder.norm.weight"])
    assert after["aggregate.pos_embed"].shape == (1, 6, 24)
    assert model(torch.zeros(1, 5, 3, 24, 16)).shape == (1, 4)


def test_the_memory_that_reading_ahead_takes(tiny_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 8 clips of 3 frames of 3 x 16 x 16 bytes are 18,432 bytes; two workers hold up to 7 of them."""

    def told(free: int, **data: int) -> list[str]:
        config = tiny_config(tiny_videos, "run", data=data)
        monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_frsize=1))
        return setup._memory_notes(config, build(config)[1])

    (note,) = told(129_023, workers=2, prefetch=3)
    assert note.startswith(
        "2 workers read ahead: at most 7 batches of 18.4 kB, 129.0 kB together, but /dev/shm has 129.0 kB; "
    )
    assert told(129_024, workers=2, prefetch=3) == []
    assert told(1, workers=0) == told(1, workers=2, cache_frames=4) == []
    monkeypatch.setattr(setup, "_NOTED_BYTES", 129_023)
    assert len(told(10**9, workers=2, prefetch=3)) == 1


def test_starting_weights_bring_their_mean_and_std(tiny_videos: Path, tiny_run: TrainResult, tmp_path: Path) -> None:
    model, info = load_checkpoint(tiny_run.last)
    preprocess = dataclasses.replace(info.preprocess, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channel_order="bgr")
    save_checkpoint(tmp_path / "start", model, dataclasses.replace(info, preprocess=preprocess))
    start = {"init_from": str(tmp_path / "start")}
    found = build(tiny_config(tiny_videos, "run", model=start))[1].preprocess
    assert found == preprocess
    found = build(tiny_config(tiny_videos, "run", model={**start, "mean": (0.0, 0.0, 0.0)}))[1].preprocess
    assert (found.mean, found.std) == ((0.0, 0.0, 0.0), (0.4, 0.5, 0.6))


def test_no_starting_weights(tiny_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"no weights at .*absent\.pth"):
        build(tiny_config(tiny_videos, "run", model={"init_from": str(tmp_path / "absent.pth")}))


def test_the_clips_of_a_run(tiny_videos: Path) -> None:
    config = tiny_config(tiny_videos, "run", augment={"random_frames": False, "flip_probability": 0.5, "max_zoom": 1.5})
    data = setup.read_data(config)
    info = setup.build(config, data)[1]
    clips = setup.training_clips(config, data, info, show=False)
    assert clips.cache is None
    assert clips.videos == list(data.train.videos)
    assert clips.view.decode == config.data.decode
    assert [data.labels[index] for index in clips.label_indices] == [video.label for video in data.train.videos]
    assert (clips.view.sampling.rule, clips.view.sampling.num_frames) == ("uniform", 3)
    assert clips.view.augment == Augment(max_zoom=1.5, flip_probability=0.5)
    assert clips.view.preprocess == info.preprocess
    config = dataclasses.replace(tiny_config(tiny_videos, "run", data={"cache_frames": 4}), seed=9)
    clips = setup.training_clips(config, data, info, show=False)
    assert clips.view.sampling.rule == "random_in_segment"
    assert clips.seed == 9
    assert clips.cache is not None
    assert clips.cache.size_bytes > 0


@pytest.mark.parametrize("random_frames", [True, False])
@pytest.mark.parametrize("rule", ["clip", "clip_linspace", "segment_middle"])
def test_a_model_trains_by_its_own_rule(tiny_videos: Path, rule: SamplingRule, random_frames: bool) -> None:
    config = tiny_config(tiny_videos, "run", augment={"random_frames": random_frames})
    data = setup.read_data(config)
    own = Sampling(rule, 3, stride=None if rule == "segment_middle" else 2)
    info = dataclasses.replace(setup.build(config, data)[1], sampling=own)
    view = setup.training_clips(config, data, info, show=False).view
    assert (view.sampling, view.random_frames) == (own, random_frames)


def test_a_cache_that_is_too_small_for_the_rule_is_refused_at_the_start(tiny_videos: Path) -> None:
    config = tiny_config(tiny_videos, "run", data={"cache_frames": 2})
    data = setup.read_data(config)
    info = dataclasses.replace(setup.build(config, data)[1], sampling=Sampling("clip", 3, stride=2))
    with pytest.raises(
        UsageError, match=r"2 evenly spaced frames of .*'clip' may need any of its \d+; set data\.cache_"
    ):
        setup.training_clips(config, data, info, show=False)


def test_processes_that_do_not_know_each_other_are_refused(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"WORLD_SIZE is 2 but RANK, LOCAL_RANK, .* not set; start .* with torchrun"):
        setup.start(tiny_config(tiny_videos, tmp_path / "run"), resume=False, show=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(UsageError, match=r"scale\.strategy fsdp parts a network among processes; start them with"):
        setup.start(tiny_config(tiny_videos, tmp_path / "run", scale={"strategy": "fsdp"}), resume=False, show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(tiny_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device cuda cannot be used here; try --device cpu"):
        setup.start(tiny_config(tiny_videos, tmp_path / "run", device="cuda"), resume=False, show=False)
    assert not (tmp_path / "run").exists(), "nothing is left that would need --resume"


def test_a_new_run(tiny_videos: Path, tmp_path: Path) -> None:
    run, progress = setup.start(tiny_config(tiny_videos, tmp_path / "run"), resume=True, show=False)
    assert (run.steps_per_epoch, run.total_steps) == (2, 6)
    assert (run.output, run.log_path) == (tmp_path / "run", tmp_path / "run" / "log.jsonl")
    assert (progress.epoch, progress.step) == (0, 0)
    assert run.notes[0].startswith("note: no validation split")
