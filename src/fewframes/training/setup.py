"""A config comes in; the videos, the network and the clips of a run go out, checked before any work is done."""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import nn

from fewframes.architectures import build_from_config
from fewframes.catalog import adapted_card, parse_options
from fewframes.classes import official_labels
from fewframes.data.bad_videos import BadVideos
from fewframes.data.cache import FrameCache
from fewframes.data.dataset import TrainingClips, View
from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest
from fewframes.data.split import hold_out
from fewframes.errors import InvalidManifest, UsageError
from fewframes.records import Failure, Sampling
from fewframes.report.text import bytes_text
from fewframes.training.config import TrainConfig
from fewframes.training.optim import build_optimizer
from fewframes.training.state import Progress, config_as_dict, load_state, prepare_output
from fewframes.weights.checkpoint import INFO_NAME, WEIGHTS_NAME, CheckpointInfo, load_checkpoint
from fewframes.weights.download import find_weights
from fewframes.weights.loading import LoadReport, load_weights

__all__ = ["Run", "TrainData", "build", "read_data", "start", "training_clips"]

_NOTED_BYTES = 1_000_000_000
_VAL_NAMES = ("val", "valid", "validation")


@dataclass(frozen=True)
class TrainData:
    """The videos of a run.

    Attributes:
        train: to learn from.
        val: to choose the best checkpoint on; None trains without validation.
        labels: class names in label-index order: those of the training videos, sorted.
        notes: what a reader should know, a sentence each.
    """

    train: Manifest
    val: Manifest | None
    labels: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """What stays the same from the first step of a run to its last.

    Attributes:
        config: all settings.
        data: the videos.
        info: the network's record.
        model: the network itself.
        network: the same network as the arithmetic's precision wants it called.
        optimizer: over its parameters.
        fabric: device and precision.
        clips: random views of the training videos.
        notes: what a reader should know, a sentence each.
    """

    config: TrainConfig
    data: TrainData
    info: CheckpointInfo
    model: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    fabric: Fabric
    clips: TrainingClips
    notes: tuple[str, ...]

    @property
    def output(self) -> Path:
        """The run's folder."""
        return Path(self.config.output)

    @property
    def log_path(self) -> Path:
        """The run's log."""
        return self.output / "log.jsonl"

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self.clips) // self.config.optim.batch_size)

    @property
    def total_steps(self) -> int:
        """Batches in all."""
        return self.steps_per_epoch * self.config.optim.epochs


def start(config: TrainConfig, *, resume: bool, show: bool) -> tuple[Run, Progress]:
    """Check everything, build everything, and find out how far the run has come.

    Raises:
        UsageError: settings that do not fit together or to this machine, or an output folder that holds another run.
        InvalidManifest, InvalidCheckpoint: the inputs are wrong.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("training runs in one process; start it without torchrun")
    data = read_data(config)
    model, info, load_report = build(config, data)
    optimizer = build_optimizer(model, config.optim)
    fabric = _open_fabric(config)
    taking_up = prepare_output(config, resume=resume)
    network = fabric.setup_module(model)
    progress = Progress()
    if taking_up:
        progress = load_state(Path(config.output), model, optimizer=optimizer, manifest_sha256=data.train.sha256)
    notes = [load_report.summary()] if load_report is not None else []
    run = Run(
        config=config,
        data=data,
        info=info,
        model=model,
        network=network,
        optimizer=optimizer,
        fabric=fabric,
        clips=training_clips(config, data, info, show=show, finished=progress.epoch >= config.optim.epochs),
        notes=(*notes, *(f"note: {note}" for note in (*data.notes, *_memory_notes(config, info)))),
    )
    return run, progress


def read_data(config: TrainConfig) -> TrainData:
    """Read the list, part it in training and validation, and check that every file is there.

    With the policy "skip", missing files are bad videos like others: told in a note, and refused above the cap.

    Raises:
        InvalidManifest: no such list, files missing, fewer than two classes, or a validation label without training
            videos.
        TooManyBadVideos: more files are missing than the cap allows.
    """
    data = config.data
    if not data.source:
        raise UsageError("no videos to train on; give --data.source, a folder of class folders or a CSV file")
    manifest = read_manifest(data.source, split_column=data.split_column, group_column=data.group_column)
    splits = {video.split for video in manifest.videos}
    train = manifest.only(data.train_split) if splits != {None} else manifest
    notes, val = list(manifest.notes), None
    val_split = data.val_split or next((name for name in _VAL_NAMES if name in splits - {data.train_split}), "")
    if val_split:
        val = manifest.only(val_split)
        if val_split == data.train_split:
            raise UsageError(f"data.val_split is the training split, {val_split!r}; leave it empty to hold videos out")
    elif data.val_fraction:
        train, val = hold_out(train, data.val_fraction, config.seed)
        if val.videos:
            held = len(val.videos)
            notes.append(f"no validation split: {held} of the training videos are held out to choose the best epoch")
        else:
            notes.append("no validation split, and too few videos to hold some out: best/ will be the last epoch")
            val = None
    notes += _check_files(config, train)
    if val is not None:
        notes += _check_files(config, val)
        val.indices_of(train.labels)
    if len(train.labels) < 2:
        raise InvalidManifest(f"{manifest.source}: training needs at least two classes, got {', '.join(train.labels)}")
    return TrainData(train, val, train.labels, tuple(notes))


def build(config: TrainConfig, data: TrainData) -> tuple[nn.Module, CheckpointInfo, LoadReport | None]:
    """The network with its starting weights, its record, and what became of foreign weights."""
    options = parse_options(config.model.name, config.model.options)
    if "num_classes" in options:
        raise UsageError("num_classes follows from the videos' labels; leave it out of model.options")
    card = adapted_card(config.model.name, **options, num_classes=len(data.labels))
    model = build_from_config(card.config, torch.Generator().manual_seed(config.seed))
    preprocess, report = card.preprocess, None
    if config.model.init_from:
        source = find_weights(config.model.init_from)
        theirs = _record_of(source)
        if theirs is not None:  # sizes stay the new ones
            values = theirs.preprocess
            preprocess = replace(preprocess, mean=values.mean, std=values.std, channel_order=values.channel_order)
        labels = theirs.labels if theirs is not None else official_labels("kinetics400")
        report = load_weights(model, source, new_head=labels != data.labels)
    if config.model.mean is not None or config.model.std is not None:
        preprocess = replace(
            preprocess, mean=config.model.mean or preprocess.mean, std=config.model.std or preprocess.std
        )
    info = CheckpointInfo(
        name=card.name,
        config=card.config,
        sampling=card.sampling,
        preprocess=preprocess,
        labels=data.labels,
        provenance={
            "fewframes": version("fewframes"),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "checkpoint": config.output,
            "train_config": config_as_dict(config),
            "manifest_sha256": data.train.sha256,
            "num_train": len(data.train.videos),
            "started_from": report.summary() if report is not None else "random weights",
        },
    )
    return model, info, report


def training_clips(
    config: TrainConfig, data: TrainData, info: CheckpointInfo, *, show: bool, finished: bool = False
) -> TrainingClips:
    """The random views to learn from; fills the memory cache if the config asks for one and the run is not finished."""
    view = View(
        sampling=_training_sampling(info.sampling, random_frames=config.augment.random_frames),
        preprocess=info.preprocess,
        max_zoom=config.augment.max_zoom,
        flip_probability=config.augment.flip_probability,
        decode=config.data.decode,
        random_frames=config.augment.random_frames,
    )
    videos, workers = data.train.videos, config.data.workers
    cache = None
    if config.data.cache_frames and not finished:
        cache = FrameCache(videos, config.data.cache_frames, workers=workers, progress=show, decode=view.decode)
        cache.check(view.sampling)
    return TrainingClips(videos, data.train.indices_of(data.labels), view, seed=config.seed, cache=cache)


def _training_sampling(own: Sampling, *, random_frames: bool) -> Sampling:
    """The model's own rule where it can draw; for the others, draws from the same equal segments."""
    if own.rule in ("clip", "clip_linspace", "segment_middle"):
        return own
    return Sampling("random_in_segment" if random_frames else "uniform", own.num_frames)


def _open_fabric(config: TrainConfig) -> Fabric:
    # It announces the precision that was asked for; warnings still come through.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if config.precision == "bfloat16" else "32-true"
    try:
        return Fabric(accelerator=config.device, devices=1, precision=precision)
    except RuntimeError as error:
        raise UsageError(f"--device {config.device} cannot be used here; try --device cpu") from error


def _memory_notes(config: TrainConfig, info: CheckpointInfo) -> list[str]:
    """How much memory reading ahead may take, where that is worth knowing or more than there is."""
    data = config.data
    if data.workers == 0 or data.cache_frames:
        return []
    height, width = info.preprocess.crop
    size = config.optim.batch_size * info.config.num_frames * 3 * height * width
    batches = data.workers * data.prefetch + 1
    try:
        shared = os.statvfs("/dev/shm")
        free = shared.f_bavail * shared.f_frsize
    except (OSError, AttributeError):  # a system that keeps shared memory elsewhere
        free = None
    total = bytes_text(batches * size)
    told = f"{data.workers} workers read ahead: at most {batches} batches of {bytes_text(size)}, {total} together"
    if free is not None and batches * size > free:
        return [
            f"{told}, but /dev/shm has {bytes_text(free)}; if a worker dies, use fewer --data.workers or "
            "--data.prefetch 1 (a container gets more with --shm-size)"
        ]
    return [told] if batches * size > _NOTED_BYTES else []


def _check_files(config: TrainConfig, manifest: Manifest) -> list[str]:
    """A note on missing files, where the policy tolerates so many of them."""
    missing = {
        index: Failure(str(video.path), "no such file", video.start, video.end)
        for index, video in enumerate(manifest.videos)
        if isinstance(video.path, Path) and not video.path.exists()
    }
    if not missing:
        return []
    first = next(iter(missing.values())).path
    told = f"{manifest.source}: {len(missing)} of {len(manifest.videos)} listed files do not exist, first {first}"
    if config.data.on_bad_video == "error":
        raise InvalidManifest(f"{told}; paths are relative to the list: correct it or add the files")
    BadVideos(config.data.policy, manifest, known=missing).check()
    return [f"{told}; they are left out"]


def _record_of(source: Path) -> CheckpointInfo | None:
    """What one of our own checkpoints, named by its folder or its weights, says of itself; None for foreign files."""
    folder = source.parent if source.name == WEIGHTS_NAME else source
    return load_checkpoint(folder)[1] if (folder / INFO_NAME).is_file() else None
