"""A config comes in; the videos, the network and the clips of a run go out, checked before any work is done."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import nn

from fewframes.architectures import build_from_config
from fewframes.catalog import adapted_card, parse_options
from fewframes.classes import official_labels
from fewframes.data.bad_videos import BadVideos
from fewframes.data.cache import FrameCache
from fewframes.data.dataset import TrainingClips, View
from fewframes.data.manifest import Manifest
from fewframes.data.manifest_io import read_manifest
from fewframes.data.mirroring import mirror_note, mirrored_labels
from fewframes.data.split import hold_out
from fewframes.errors import InvalidManifest, UsageError
from fewframes.records import Failure, Sampling
from fewframes.report.text import bytes_text
from fewframes.training.board import find_writer
from fewframes.training.config import TrainConfig
from fewframes.training.distill import open_teacher
from fewframes.training.ema import WeightAverage
from fewframes.training.environment import note_start
from fewframes.training.first_batch import write_first_batch
from fewframes.training.optim import build_optimizer
from fewframes.training.parallel import (
    World,
    clips_per_process,
    has_batch_norm,
    open_fabric,
    open_scaler,
    recompute_blocks,
    synchronise_batch_norm,
    whole_copy,
    world_of,
)
from fewframes.training.run import Run, TrainData, also_saved
from fewframes.training.state import Progress, config_as_dict, load_state, prepare_output
from fewframes.training.targets import SingleLabel, Targets, balanced_class_weights
from fewframes.video.augment import Augment, base_size, check_augment
from fewframes.video.augment_policy import Policy
from fewframes.weights.checkpoint import INFO_NAME, WEIGHTS_NAME, CheckpointInfo, load_checkpoint
from fewframes.weights.download import find_weights
from fewframes.weights.loading import LoadReport, load_weights

__all__ = ["Run", "TrainData", "build", "read_data", "start", "training_clips", "training_view"]

_NOTED_BYTES = 1_000_000_000
_VAL_NAMES = ("val", "valid", "validation")


def start(config: TrainConfig, *, resume: bool, show: bool) -> tuple[Run, Progress]:
    """Check everything, build everything, and find out how far the run has come.

    Raises:
        UsageError: settings that do not fit together or to this machine, or an output folder that holds another run.
        InvalidManifest, InvalidCheckpoint: the inputs are wrong.
    """
    if config.tensorboard:
        find_writer()
    scaler = open_scaler(config)
    fabric = open_fabric(config, scaler)
    world = world_of(fabric)
    data = read_data(config)
    if config.model.init_from and world.size > 1:
        world.first_does(lambda: str(find_weights(config.model.init_from)))  # so that one process fetches them
    model, info, load_report = build(config, data)
    training_view(config, data.labels, info)  # refuses what does not fit before a folder is made
    targets = _targets(config, data)
    teacher = open_teacher(config, info, fabric.device) if config.distill.teacher else None
    copy = whole_copy(model) if config.scale.strategy == "fsdp" else None
    model, network = _scaled(config, fabric, model)
    optimizer = build_optimizer(model, config.optim)
    average = _average(config, model)
    progress, output, others = Progress(), Path(config.output), also_saved(average, scaler)
    taking_up = world.first_does(lambda: prepare_output(config, resume=resume))
    if taking_up:
        sha256 = data.train.sha256
        progress = load_state(output, model, optimizer=optimizer, manifest_sha256=sha256, others=others)
    finished = progress.epoch >= config.optim.epochs
    notes = [load_report.summary()] if load_report is not None else []
    notes += [] if teacher is None else [f"teacher: {config.distill.teacher}, {teacher}"]
    told = (*data.notes, *_flip_notes(config, data), *_memory_notes(config, info), *_scale_notes(config, world, model))
    run = Run(
        config=config,
        data=data,
        info=info,
        model=model,
        network=network,
        optimizer=optimizer,
        fabric=fabric,
        world=world,
        clips=training_clips(config, data, info, show=show and world.is_first, finished=finished),
        targets=targets,
        teacher=teacher,
        average=average,
        scaler=scaler,
        copy=copy,
        notes=(*notes, *(f"note: {note}" for note in told)),
    )
    if not taking_up and world.is_first:
        write_first_batch(run.clips, data.labels, run.output)
    devices = world.gather(str(fabric.device))
    if world.is_first and not finished:
        note_start(run.output, step=progress.step, devices=devices, manifest_sha256=data.train.sha256)
    return run, progress


def _average(config: TrainConfig, model: nn.Module) -> WeightAverage | None:
    wanted = config.average
    return WeightAverage(model, wanted.decay, warm_up=wanted.warm_up) if wanted.decay else None


def _targets(config: TrainConfig, data: TrainData) -> Targets:
    """What the network learns to say.

    Raises:
        UsageError: a class has no weight, or a run without validation is to stop by it.
    """
    if config.guards.stop_after_epochs and data.val is None:
        raise UsageError(
            "guards.stop_after_epochs looks at the validation accuracy, and there is no validation; "
            "set data.val_fraction or data.val_split, or leave it out"
        )
    weights_K = None
    if config.balance.class_weights == "balanced":
        weights_K = balanced_class_weights(data.train.indices_of(data.labels), len(data.labels))
    return SingleLabel(len(data.labels), label_smoothing=config.optim.label_smoothing, class_weights_K=weights_K)


def _scaled(config: TrainConfig, fabric: Fabric, model: nn.Module) -> tuple[nn.Module, _FabricModule]:
    """The network on its device and spread as the config says; and the same as it is to be called."""
    if config.scale.sync_batchnorm:
        model = synchronise_batch_norm(model)
    if config.scale.recompute_blocks:
        recompute_blocks(model)
    return model, fabric.setup_module(model)


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
    view = training_view(config, data.labels, info)
    videos, workers = data.train.videos, config.data.workers
    cache = None
    if config.data.cache_frames and not finished:
        cache = FrameCache(videos, config.data.cache_frames, workers=workers, progress=show, decode=view.decode)
        cache.check(view.sampling)
    indices, frequencies = data.train.indices_of(data.labels), None
    if config.balance.sampling == "balanced":
        frequencies = balanced_class_weights(indices, len(data.labels))[torch.tensor(indices)].tolist()
    return TrainingClips(videos, indices, view, seed=config.seed, cache=cache, frequencies=frequencies)


def training_view(config: TrainConfig, labels: Sequence[str], info: CheckpointInfo) -> View:
    """How training looks at a clip.

    Raises:
        UsageError: frames may become smaller than the model's crop.
    """
    chosen, preprocess = config.augment, info.preprocess
    zooms: tuple[float, float] = (chosen.min_zoom, chosen.max_zoom)
    if chosen.short_side is not None:
        base = base_size(preprocess)
        zooms = (chosen.short_side[0] / base, chosen.short_side[1] / base)
    augment = Augment(
        min_zoom=zooms[0],
        max_zoom=zooms[1],
        inverse_zoom=chosen.inverse_zoom,
        scale_jitter=chosen.scale_jitter,
        flip_probability=chosen.flip_probability,
        cutout=chosen.cutout,
        colour_jitter=chosen.colour_jitter,
        colour_drop=chosen.colour_drop,
        policy=Policy(chosen.policy, chosen.randaugment_layers, chosen.randaugment_magnitude),
    )
    check_augment(augment, preprocess)
    counterparts = mirrored_labels(labels)
    return View(
        sampling=_training_sampling(info.sampling, random_frames=chosen.random_frames),
        preprocess=preprocess,
        augment=augment,
        decode=config.data.decode,
        random_frames=chosen.random_frames,
        mirrored=tuple(counterparts.get(index) for index in range(len(labels))) if chosen.flip_pairs else (),
    )


def _training_sampling(own: Sampling, *, random_frames: bool) -> Sampling:
    """The model's own rule where it can draw; for the others, draws from the same equal segments."""
    if own.rule in ("clip", "clip_linspace", "segment_middle"):
        return own
    return Sampling("random_in_segment" if random_frames else "uniform", own.num_frames)


def _flip_notes(config: TrainConfig, data: TrainData) -> list[str]:
    """What mirroring does to classes whose name says a side, where that is to happen."""
    note = mirror_note(data.labels, pairs=config.augment.flip_pairs) if config.augment.flip_probability else ""
    return [note] if note else []


def _scale_notes(config: TrainConfig, world: World, model: nn.Module) -> list[str]:
    """How the work is spread, and what that does to batch norms."""
    if world.size == 1:
        return []
    share = clips_per_process(config, world.size)
    notes = [f"{world.size} processes ({config.scale.strategy}), each with {share} clips of a batch"]
    if has_batch_norm(model) and not config.scale.sync_batchnorm:
        notes.append(
            "each process normalises its own clips in batch norms, and the first one's running statistics are kept; "
            "scale.sync_batchnorm takes them over all processes"
        )
    return notes


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
