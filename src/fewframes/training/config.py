"""Everything that fixes a training run, as plain frozen values; needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fewframes.errors import UsageError
from fewframes.records import BadVideoPolicy, DecodeOptions, OnBadVideo
from fewframes.training.run_config import (
    AverageConfig,
    BalanceConfig,
    DistillConfig,
    GuardsConfig,
    MixConfig,
    ScaleConfig,
)

__all__ = [
    "AugmentConfig",
    "AverageConfig",
    "BalanceConfig",
    "DataConfig",
    "DistillConfig",
    "GuardsConfig",
    "MixConfig",
    "ModelConfig",
    "OptimConfig",
    "ScaleConfig",
    "TrainConfig",
]


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
            and random draws choose among these; 0 decodes anew every time. A model that looks at one stretch of a
            video needs all of its frames.
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

    The crop lies anywhere; first_batch.png in the run's folder shows what the model sees. Mixup and cutmix are no part
    of this: they mix the clips of a batch.

    Attributes:
        random_frames: draw one frame at random inside each of the equal segments; for a model that looks at one stretch
            of a video, draw where that begins. Otherwise choose as evaluation does.
        max_zoom: the short side is resized to the model's, times a random factor up to this, 1 or more.
        flip_probability: of mirroring left and right. A mirrored "move left" is a "move right": keep 0 where sides
            matter, or see `flip_pairs`.
        min_zoom: the least such factor, above 0. STAM's 256 to 320 pixels are 1 to 1.25 times its 256.
        short_side: the range in pixels, such as 256 320, instead of `min_zoom` and `max_zoom`.
        inverse_zoom: draw the inverse of the size evenly, as SlowFast and TimeSformer do.
        scale_jitter: two more factors, for height and width, are drawn from this range; ViViT: 0.9 1.33.
        flip_pairs: a mirrored clip of "from left to right" counts as one of "from right to left"; classes whose name
            says a side and whose counterpart is missing are never mirrored. For Something-Something and Jester.
        cutout: a box of one random colour covers this share of each side, 0 to 1; STAM: 0.5.
        colour_jitter: probability of a random brightness, saturation, contrast and hue; ViViT: 0.8.
        colour_drop: probability of grey frames; ViViT: 0.1.
        policy: operations drawn from a list: AutoAugment's for ImageNet (STAM), RandAugment, or TrivialAugment. They
            change colours too, so this excludes `colour_jitter` and `colour_drop`, which ViViT's code then leaves out.
        randaugment_layers: how many operations RandAugment draws, 1 or more.
        randaugment_magnitude: how strong each is, 0 to 30. ViViT's 15 and 20 are on another scale, which ends at 10.
    """

    random_frames: bool = True
    max_zoom: float = 1.25
    flip_probability: float = 0.0
    min_zoom: float = 1.0
    short_side: tuple[int, int] | None = None
    inverse_zoom: bool = False
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    flip_pairs: bool = False
    cutout: float = 0.0
    colour_jitter: float = 0.0
    colour_drop: float = 0.0
    policy: Literal["none", "autoaugment", "randaugment", "trivialaugment"] = "none"
    randaugment_layers: int = 2
    randaugment_magnitude: int = 9


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and its learning rate over time: AdamW with warm-up and cosine unless told otherwise.

    Attributes:
        optimizer: "adamw", or "sgd" with momentum, whose weight decay is part of the gradient.
        lr: peak learning rate, at this very batch size unless `lr_reference_batch` names another.
        lr_reference_batch: the batch size that `lr` is meant for: the peak is lr * batch_size / lr_reference_batch; 0
            takes `lr` as it is.
        encoder_lr_factor: times `lr` for the encoder; in a network without a frame encoder, all but the head.
        temporal_lr_factor: times `lr` for the aggregator and the head.
        head_lr_factor: times `temporal_lr_factor` for the head.
        layer_decay: of the encoder's n blocks, number b (from 1) has this to the power n + 1 - b times the encoder's
            learning rate, what comes before them that to the power n + 1. In a CNN each stage counts as one block.
        weight_decay: of weight matrices only: no norms, biases, tokens or positions.
        beta2: AdamW's second beta, below 1; the first is 0.9.
        momentum: of SGD, below 1.
        nesterov: whether SGD looks ahead along its momentum.
        schedule: after the warm-up: "cosine", "step" (a tenth from each of `step_epochs` on), or "constant".
        step_epochs: for "step": after how many epochs, such as 11 14 of 15.
        epochs: passes over the training videos.
        warmup_epochs: linear rise of the learning rate from 0; may be a fraction.
        final_lr_factor: the cosine ends at this times the peak.
        batch_size: clips per step of the optimiser.
        accumulate: the batch is sent through in so many equal parts, to save memory; the gradient is the same.
        clip_norm: the norm of the whole batch's gradient is limited to this; 0 does not limit it. (ViViT's code limits
            each device's part before it takes their mean, so equal numbers clip less here than there.)
        label_smoothing: 0 to 1.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"

    lr: float = 1e-4
    lr_reference_batch: int = 0
    encoder_lr_factor: float = 1.0
    temporal_lr_factor: float = 1.0
    head_lr_factor: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 1e-3
    beta2: float = 0.999
    momentum: float = 0.9
    nesterov: bool = False
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: tuple[int, ...] = ()
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
        mix: whether clips of a batch are mixed.
        balance: what is done about classes with few videos.
        average: whether a moving average of the weights is kept.
        distill: whether it learns from another model, too.
        guards: when it stops by itself, and what it keeps.
        scale: how it is spread over processes, and memory saved.
        output: folder of the run: best/ and last/ are checkpoints, log.jsonl is the log, config.json is this.
        seed: everything random follows from it; 0 to 2**32 - 1.
        precision: of the training arithmetic; weights, validation and checkpoints are float32 always.
        device: "auto" takes a GPU if there is one.
        tensorboard: also write what the log says for TensorBoard, to tensorboard/ in the run's folder.
        validate_every: epochs between validations; the last epoch always validates.
        save_every_steps: also save the state every so many steps within an epoch; 0 saves after each epoch only.
        log_every_steps: steps between lines of the log.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    average: AverageConfig = field(default_factory=AverageConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    output: str = "runs/train"
    seed: int = 0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    tensorboard: bool = False
    validate_every: int = 1
    save_every_steps: int = 0
    log_every_steps: int = 10

    def __post_init__(self) -> None:
        optim, data = self.optim, self.data
        at_least = {
            "optim.lr": (optim.lr, 0.0),
            "optim.lr_reference_batch": (optim.lr_reference_batch, 0),
            "optim.encoder_lr_factor": (optim.encoder_lr_factor, 0.0),
            "optim.temporal_lr_factor": (optim.temporal_lr_factor, 0.0),
            "optim.head_lr_factor": (optim.head_lr_factor, 0.0),
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
            "augment.cutout": self.augment.cutout,
            "augment.colour_jitter": self.augment.colour_jitter,
            "augment.colour_drop": self.augment.colour_drop,
            "optim.label_smoothing": optim.label_smoothing,
            "optim.beta2": optim.beta2,
            "optim.momentum": optim.momentum,
            "optim.layer_decay": optim.layer_decay,
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
        if self.seed >= 2**32:
            raise UsageError(f"seed is {self.seed}; expected at most {2**32 - 1}")
        _check_together(optim)
        _check_augment(self.augment)


def _check_together(optim: OptimConfig) -> None:
    """Raise `UsageError` for settings of the optimiser that do not fit each other."""
    if optim.beta2 == 1:
        raise UsageError("optim.beta2 is 1; expected a number below 1, such as 0.999")
    if optim.momentum == 1:
        raise UsageError("optim.momentum is 1; expected a number below 1, such as 0.9")
    if optim.layer_decay == 0:
        raise UsageError("optim.layer_decay is 0; expected above 0 to 1, such as 0.75; 1 is none")
    if optim.batch_size % optim.accumulate:
        raise UsageError(f"optim.batch_size {optim.batch_size} is not a multiple of accumulate {optim.accumulate}")
    if optim.nesterov and not (optim.optimizer == "sgd" and optim.momentum):
        raise UsageError("optim.nesterov needs optim.optimizer sgd with optim.momentum above 0")
    steps = optim.step_epochs
    if bool(steps) != (optim.schedule == "step"):
        raise UsageError(
            f"optim.schedule is {optim.schedule} and optim.step_epochs {list(steps)}; "
            'expected step_epochs, such as 11 14, with schedule "step" and with no other'
        )
    if steps and not (list(steps) == sorted(set(steps)) and steps[0] >= max(optim.warmup_epochs, 1)):
        raise UsageError(
            f"optim.step_epochs are {list(steps)}; expected rising numbers from 1, none within the warm-up of "
            f"{optim.warmup_epochs} epochs"
        )
    if steps and steps[-1] >= optim.epochs:
        raise UsageError(f"optim.step_epochs {list(steps)} do not end before the last of {optim.epochs} epochs")


def _check_augment(augment: AugmentConfig) -> None:
    """Raise `UsageError` for settings of a clip's randomness that do not fit each other."""
    usual = AugmentConfig()
    if not 0 < augment.min_zoom <= augment.max_zoom:
        raise UsageError(
            f"augment.min_zoom is {augment.min_zoom}; expected above 0, at most augment.max_zoom {augment.max_zoom}"
        )
    low, high = augment.scale_jitter
    if not 0 < low <= high < math.inf:
        raise UsageError(
            f"augment.scale_jitter is {low} {high}; expected a lower and an upper factor, such as 0.9 1.33"
        )
    if augment.short_side is not None:
        least, most = augment.short_side
        if not 0 < least <= most:
            raise UsageError(f"augment.short_side is {least} {most}; expected two sizes in pixels, such as 256 320")
        if (augment.min_zoom, augment.max_zoom) != (usual.min_zoom, usual.max_zoom):
            raise UsageError("augment.short_side and a zoom state the size twice; leave min_zoom and max_zoom out")
    if augment.flip_pairs and not augment.flip_probability:
        raise UsageError(
            "augment.flip_pairs says how clips are mirrored; set augment.flip_probability above 0, such as 0.5"
        )
    if augment.policy != "none" and (augment.colour_jitter or augment.colour_drop):
        raise UsageError(
            f"augment.policy {augment.policy} changes colours itself; leave it out, or set augment.colour_jitter and "
            "augment.colour_drop to 0"
        )
    layers, magnitude = augment.randaugment_layers, augment.randaugment_magnitude
    if layers < 1 or not 0 <= magnitude <= 30:
        raise UsageError(
            f"augment.randaugment_layers is {layers} and randaugment_magnitude {magnitude}; expected at least 1 layer, "
            "and a magnitude of 0 to 30"
        )
    changed = (layers, magnitude) != (usual.randaugment_layers, usual.randaugment_magnitude)
    if changed and augment.policy != "randaugment":
        raise UsageError(
            f"augment.randaugment_layers and randaugment_magnitude are for RandAugment, but augment.policy is "
            f"{augment.policy}; set it to randaugment"
        )
