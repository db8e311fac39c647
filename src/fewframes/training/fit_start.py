"""What a user asks for comes in; videos, network, a choice and a complete run go out, with nothing trained yet."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from fewframes.catalog import CATALOG, ModelOption, card_of, parse_options
from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.models.checks import ModelConfig as NetworkConfig
from fewframes.training.config import DataConfig, ModelConfig, TrainConfig
from fewframes.training.embedder import FRAME_PARTS, encodes_frames
from fewframes.training.fit import Asked, Choice, Facts, choose, settings_for
from fewframes.training.lora import takes_low_rank
from fewframes.training.setup import TrainData, build, read_data
from fewframes.training.state import config_as_dict
from fewframes.weights.checkpoint import INFO_NAME, CheckpointInfo, load_checkpoint
from fewframes.weights.convert import describe_weights
from fewframes.weights.loading import LoadReport

__all__ = ["FitPlan", "FitRequest", "plan_fit"]


@dataclass(frozen=True)
class FitRequest:
    """What a user asks `fit` for.

    Attributes:
        data: which videos.
        model: a catalogue name; "" takes the one that `init_from` was made with. Without `init_from`, naming a model
            whose weights are published downloads them.
        options: changes to its shape as "name=value".
        init_from: weights to start from: a file, a checkpoint folder, or the catalogue name of published weights.
        mode: how to train; "auto" chooses.
        output: folder of the run.
        cache: folder of the kept embeddings; "" is a folder of the run.
        epochs: 0 chooses.
        lr: peak learning rate; 0 takes the mode's own.
        views: views of each training video that a probe learns from, >= 1; the first is evaluation's.
        rank: of the adapters.
        seed: everything random follows from it.
        device: "auto" takes a GPU if there is one.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: str = ""
    options: tuple[str, ...] = ()
    init_from: str = ""
    mode: Asked = "auto"
    output: str = "runs/fit"
    cache: str = ""
    epochs: int = 0
    lr: float = 0.0
    views: int = 1
    rank: int = 8
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    def __post_init__(self) -> None:
        for name, least in (("views", 1), ("rank", 1), ("epochs", 0), ("lr", 0)):
            if not getattr(self, name) >= least:
                raise UsageError(f"{name} is {getattr(self, name)}; expected at least {least}")


@dataclass(frozen=True, eq=False)
class FitPlan:
    """Everything that a run needs, before its first step.

    Attributes:
        request: what was asked for.
        choice: the mode, and why.
        config: the complete run.
        data: its videos.
        model: the network with its starting weights, on the CPU.
        info: its record.
        report: what became of foreign weights; None for random ones.
        device: where it will be trained.
    """

    request: FitRequest
    choice: Choice
    config: TrainConfig
    data: TrainData
    model: nn.Module
    info: CheckpointInfo
    report: LoadReport | None
    device: torch.device

    @property
    def head_is_new(self) -> bool:
        """Whether the classifier starts from random weights."""
        heads = set(getattr(self.model, "head_names", ("head.weight", "head.bias")))
        return self.report is None or bool(heads & set(self.report.newly_initialised))

    @property
    def output(self) -> Path:
        """The run's folder."""
        return Path(self.config.output)


def plan_fit(request: FitRequest, *, scratch: TrainConfig, finetune: TrainConfig) -> FitPlan:
    """Look at the videos, the weights and the machine, and choose.

    Args:
        request: what was asked for.
        scratch: the recipe of a small network from random weights.
        finetune: the recipe of a training of all layers from trained weights.

    Raises:
        UsageError: what was asked for does not fit together.
        InvalidManifest, InvalidCheckpoint, DownloadFailed: the inputs are wrong.
        TooManyBadVideos: more files are missing than the cap allows.
    """
    device = _device(request.device)
    model_config = _starting_point(request, scratch.model)
    base = finetune if model_config.init_from else scratch
    config = replace(
        base,
        model=model_config,
        data=replace(request.data, cache_frames=base.data.cache_frames),
        output=request.output,
        seed=request.seed,
        device=request.device,
    )
    data = read_data(config)
    model, info, report = build(config, data)
    heads: tuple[str, ...] = getattr(model, "head_names", ("head.weight", "head.bias"))
    new = () if report is None else report.newly_initialised
    facts = Facts(
        name=info.name,
        num_train=len(data.train.videos),
        weights="" if report is None else _weights_in_words(model_config),
        encoder_is_trained=report is not None and not any(name.startswith(FRAME_PARTS) for name in new),
        aggregator_is_new=report is None or any(not name.startswith(FRAME_PARTS) and name not in heads for name in new),
        one_by_one=encodes_frames(model),
        has_linear_layers=takes_low_rank(model),
        on_gpu=device.type != "cpu",
    )
    choice = choose(facts, request.mode)
    if choice.mode != "full" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(f"fit runs in one process in mode {choice.mode}; start it without torchrun")
    config = settings_for(config, choice, facts, epochs=request.epochs, lr=request.lr)
    told = {"mode": choice.mode, "views": request.views, "rank": request.rank, "reasons": list(choice.reasons)}
    provenance = {**info.provenance, "train_config": config_as_dict(config), "fit": told}
    return FitPlan(request, choice, config, data, model, replace(info, provenance=provenance), report, device)


def _starting_point(request: FitRequest, scratch: ModelConfig) -> ModelConfig:
    """The network and its weights; nothing is downloaded that was not named."""
    name, source, options = request.model, request.init_from, request.options
    if not name and not source:
        return replace(scratch, options=(*scratch.options, *options))
    if not source:
        published = card_of(name).weights_url is not None
        return ModelConfig(name, options, name if published else "")
    if name:
        return ModelConfig(name, options, source)
    if source in CATALOG and not Path(source).exists():
        return ModelConfig(source, options, source)
    folder = Path(source)
    if (folder / INFO_NAME).is_file():
        info = load_checkpoint(folder)[1]
        return ModelConfig(info.name, (*_shape(info.name, info.config), *options), source)
    described = describe_weights(source)[1]
    if described.name not in CATALOG:
        raise InvalidCheckpoint(
            f"{source} does not say which model of the catalogue it belongs to; name it with --model"
        )
    values = described.preprocess
    shape = _shape(described.name, described.config)
    return ModelConfig(described.name, (*shape, *options), source, mean=values.mean, std=values.std)


def _shape(name: str, config: NetworkConfig) -> tuple[str, ...]:
    """How a network differs from its card's, as options; the number of classes follows from the videos."""
    card, options = card_of(name).config, []
    if type(card) is not type(config):
        raise UsageError(f"the weights are of another architecture than {name}; name the model with --model")
    for each in dataclasses.fields(config):  # type: ignore[arg-type]  # all configs are dataclasses
        value: ModelOption = getattr(config, each.name)
        if each.name != "num_classes" and value != getattr(card, each.name):
            text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
            options.append(f"{each.name}={text}")
    parsed = parse_options(name, options)
    for key, value in parsed.items():
        if value != getattr(config, key):
            raise UsageError(f"{key} of the weights is {getattr(config, key)}; say so with --model and --options")
    return tuple(options)


def _weights_in_words(config: ModelConfig) -> str:
    if config.init_from in CATALOG and not Path(config.init_from).exists():
        return f"the published weights of {config.init_from}"
    return config.init_from


def _device(name: str) -> torch.device:
    """The device that training takes: for "auto" a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"--device {name} cannot be used here ({reason}); try --device cpu") from error
    return torch.device(name)
