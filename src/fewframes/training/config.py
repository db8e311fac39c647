"""Everything that fixes a training run, as plain frozen values; needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fewframes.errors import UsageError
from fewframes.records import BadVideoPolicy, DecodeOptions, OnBadVideo

__all__ = ["AugmentConfig", "DataConfig", "ModelConfig", "OptimConfig", "TrainConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Which videos, and how they are read.

    Attributes:
        source: a folder of class folders, or a list with path,label[,start,end,split,group,weight].
        split_column: which column of the list says the split.
        group_column: which column of the list says what must not be torn apart when videos are held out.
        train_split: the split to train on; ignored if the list has no splits.
        val_split: the split to choose the best checkpoint on; empty: "val" if the list has it, otherwise a share of
            the training split is held out. Never name the split that you will report.
        val_fraction: the share that is held out then, whole groups at a time; 0 trains on everything, without
            validation.
        on_bad_video: "error" stops at the first video that cannot be read; "skip" leaves it out of its batch, and
            counts and names it in the log, at the end and in the checkpoint.
        max_bad_fraction: more bad videos than this share of the list, rounded up, stop the run in any case.
        decode: how videos are decoded, in training and in validation.
        cache_frames: keep up to so many uniformly spaced frames of each video in memory, so that each is decoded once
            and random draws choose among these; 0 decodes anew every time.
        workers: processes that read ahead (threads while the cache is filled); 0 reads in the main process.
        prefetch: batches that each worker reads ahead; workers * prefetch + 1 batches are the most in memory.
    """

    source: str = ""
    split_column: str = "split"
    group_column: str = "group"
    train_split: str = "train"
    val_split: str = ""
    val_fraction: float = 0.1
    on_bad_video: OnBadVideo = "error"
    max_bad_fraction: float = 0.01
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    cache_frames: int = 0
    workers: int = 2
    prefetch: int = 2

    @property
    def policy(self) -> BadVideoPolicy:
        """What happens to videos that cannot be read, as a record."""
        return BadVideoPolicy(self.on_bad_video, self.max_bad_fraction, "--data.")


@dataclass(frozen=True)
class ModelConfig:
    """Which network, from which weights.

    Attributes:
        name: a catalogue name; `fewframes models list` shows them.
        options: changes to its shape as "name=value": encoder=tiny, image_size=64, num_frames=8, aggregator=mean, ...
        init_from: weights to start from: a file, a checkpoint folder, or the catalogue name of published weights;
            empty starts from random weights.
        mean: per channel, if the starting weights were trained with other than the model's own (0 0 0).
        std: per channel, if the starting weights were trained with other than the model's own (1 1 1).
    """

    name: str = "stam_16"
    options: tuple[str, ...] = ()
    init_from: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class AugmentConfig:
    """Randomness of a training clip, drawn once per clip and applied to all its frames.

    Attributes:
        random_frames: draw one frame at random inside each of the equal segments; for a model that looks at one stretch
            of a video, draw where that begins. Otherwise choose as evaluation does.
        max_zoom: the short side is resized to the model's, times a random factor from 1 to this.
        flip_probability: of mirroring left and right. A mirrored "move left" is a "move right": keep 0 where sides
            matter.
    """

    random_frames: bool = True
    max_zoom: float = 1.25
    flip_probability: float = 0.0


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and cosine.

    Attributes:
        lr: peak learning rate at this very batch size.
        temporal_lr_factor: times `lr` for the aggregator and the head.
        weight_decay: of weight matrices only: no norms, biases, tokens or positions.
        beta2: AdamW's second beta, below 1; the first is 0.9.
        epochs: passes over the training videos.
        warmup_epochs: linear rise of the learning rate from 0; may be a fraction.
        final_lr_factor: the cosine ends at this times the peak.
        batch_size: clips per step of the optimiser.
        accumulate: the batch is sent through in so many equal parts, to save memory; the gradient is the same.
        clip_norm: the gradient's norm is limited to this; 0 does not limit it.
        label_smoothing: 0 to 1.
    """

    lr: float = 1e-4
    temporal_lr_factor: float = 1.0
    weight_decay: float = 1e-3
    beta2: float = 0.999
    epochs: int = 30
    warmup_epochs: float = 3.0
    final_lr_factor: float = 0.01
    batch_size: int = 32
    accumulate: int = 1
    clip_norm: float = 1.0
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """A complete training run.

    Attributes:
        data: which videos.
        model: which network.
        augment: randomness of a clip.
        optim: how it learns.
        output: folder of the run: best/ and last/ are checkpoints, log.jsonl is the log, config.json is this.
        seed: everything random follows from it; 0 to 2**32 - 1.
        precision: of the training arithmetic; weights, validation and checkpoints are float32 always.
        device: "auto" takes a GPU if there is one.
        validate_every: epochs between validations; the last epoch always validates.
        save_every_steps: also save the state every so many steps within an epoch; 0 saves after each epoch only.
        log_every_steps: steps between lines of the log.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    output: str = "runs/train"
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    validate_every: int = 1
    save_every_steps: int = 0
    log_every_steps: int = 10

    def __post_init__(self) -> None:
        optim, data = self.optim, self.data
        at_least = {
            "optim.lr": (optim.lr, 0.0),
            "optim.temporal_lr_factor": (optim.temporal_lr_factor, 0.0),
            "optim.weight_decay": (optim.weight_decay, 0.0),
            "optim.warmup_epochs": (optim.warmup_epochs, 0.0),
            "optim.clip_norm": (optim.clip_norm, 0.0),
            "optim.epochs": (optim.epochs, 1),
            "optim.batch_size": (optim.batch_size, 1),
            "optim.accumulate": (optim.accumulate, 1),
            "augment.max_zoom": (self.augment.max_zoom, 1.0),
            "data.cache_frames": (data.cache_frames, 0),
            "data.workers": (data.workers, 0),
            "data.prefetch": (data.prefetch, 1),
            "seed": (self.seed, 0),
            "validate_every": (self.validate_every, 1),
            "save_every_steps": (self.save_every_steps, 0),
            "log_every_steps": (self.log_every_steps, 1),
        }
        for name, (value, lowest) in at_least.items():
            if not lowest <= value < math.inf:
                raise UsageError(f"{name} is {value}; expected at least {lowest}")
        shares = {
            "data.val_fraction": data.val_fraction,
            "data.max_bad_fraction": data.max_bad_fraction,
            "augment.flip_probability": self.augment.flip_probability,
            "optim.label_smoothing": optim.label_smoothing,
            "optim.beta2": optim.beta2,
            "optim.final_lr_factor": optim.final_lr_factor,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise UsageError(f"{name} is {value}; expected 0 to 1")
        if data.on_bad_video == "count-as-wrong":
            raise UsageError(
                "data.on_bad_video is count-as-wrong, which belongs to evaluation: a training clip that cannot be read "
                "gives no answer that could be wrong; expected error or skip"
            )
        if optim.beta2 == 1:
            raise UsageError("optim.beta2 is 1; expected a number below 1, such as 0.999")
        if self.seed >= 2**32:
            raise UsageError(f"seed is {self.seed}; expected at most {2**32 - 1}")
        if optim.batch_size % optim.accumulate:
            raise UsageError(f"optim.batch_size {optim.batch_size} is not a multiple of accumulate {optim.accumulate}")
