"""Facts about videos, starting weights and machine come in; how to train, and why in plain sentences, goes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from fewframes.errors import UsageError
from fewframes.report.text import plural
from fewframes.training.config import OptimConfig, TrainConfig
from fewframes.training.optim import peak_learning_rate

__all__ = ["Asked", "Choice", "Facts", "Mode", "choose", "settings_for"]

Mode = Literal["probe", "adapter", "full"]
Asked = Literal["auto", "probe", "adapter", "full"]

# On a GPU: with fewer training videos the frame encoder stays frozen, with fewer it gets adapters. On a CPU it always
# stays frozen. The numbers are ours, a rule of thumb that follows from no measurement; see docs/fit.md.
_PROBE_BELOW, _ADAPTER_BELOW = 500, 5000
_CACHE_FRAMES_UP_TO = 1000  # videos; 32 frames of 320 x 240 pixels are 7 MB a video


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        name: of the network.
        num_train: training videos.
        weights: where the network starts from, in words; "" for random weights.
        encoder_is_trained: whether those weights filled the whole frame encoder.
        aggregator_is_new: whether what follows the encoder, the head aside, starts from random weights.
        one_by_one: whether the network encodes frames one by one.
        has_linear_layers: whether adapters can go into its encoder.
        on_gpu: whether it will be trained on one.
    """

    name: str
    num_train: int
    weights: str
    encoder_is_trained: bool
    aggregator_is_new: bool
    one_by_one: bool
    has_linear_layers: bool
    on_gpu: bool


@dataclass(frozen=True)
class Choice:
    """How to train.

    Attributes:
        mode: "probe" trains what follows the frozen frame encoder, on embeddings that are computed once; "adapter"
            also trains low-rank bypasses inside the encoder, merged in the end; "full" trains everything.
        reasons: two or three sentences.
    """

    mode: Mode
    reasons: tuple[str, ...]


def choose(facts: Facts, asked: Asked) -> Choice:
    """Choose a mode, or explain the one that was asked for.

    Raises:
        UsageError: the mode that was asked for makes no sense with this network or these weights.
    """
    if not facts.encoder_is_trained:
        return _without_trained_encoder(facts, asked)
    if asked == "probe" and not facts.one_by_one:
        raise UsageError(
            f"{facts.name} does not encode frames one by one, so there are no frame embeddings to keep; "
            "use --mode full, or a network that does, such as stam_16"
        )
    if asked == "adapter" and not facts.has_linear_layers:
        raise UsageError(
            f"{facts.name} has no frame encoder with linear layers that small adapters could go into; "
            "use --mode full, or a network with a ViT, such as stam_16"
        )
    videos, start = plural(facts.num_train, "training video"), f"Starting from {facts.weights}."
    place = "a GPU" if facts.on_gpu else "a CPU"
    explained = _EXPLAINED[asked] if asked != "auto" else ""
    if asked != "auto":
        return Choice(asked, (start, f"{asked.capitalize()}, as asked: {explained}"))
    if not facts.one_by_one:
        reason = f"Full training, because {facts.name} does not encode frames one by one: {_EXPLAINED['full']}"
        return Choice("full", (start, reason))
    if not facts.on_gpu:
        reason = f"Probe, because this is a CPU: {_EXPLAINED['probe']}"
        return Choice("probe", (start, reason, "With a GPU, --mode adapter or full may gain some points."))
    if facts.num_train < _PROBE_BELOW or not facts.has_linear_layers:
        reason = f"Probe, because {videos} would be learnt by heart by a whole network: {_EXPLAINED['probe']}"
        return Choice("probe", (start, reason, "Compare with --mode adapter."))
    if facts.num_train < _ADAPTER_BELOW:
        return Choice("adapter", (start, f"Adapter, because there are {videos} and {place}: {_EXPLAINED['adapter']}"))
    return Choice("full", (start, f"Full training, because there are {videos} and {place}: {_EXPLAINED['full']}"))


def settings_for(config: TrainConfig, choice: Choice, facts: Facts, *, epochs: int, lr: float) -> TrainConfig:
    """A complete run for a mode, adapted to the number of videos and to the machine.

    Args:
        config: states videos, network, output, seed and device; of a full training all the rest, too.
        choice: the mode.
        facts: what it was chosen from.
        epochs: 0 chooses so many that there are enough steps.
        lr: the peak learning rate; 0 takes the mode's own.
    """
    if choice.mode == "full":
        config = _full(config, facts)
    else:
        config = TrainConfig(
            data=replace(config.data, cache_frames=0),
            model=config.model,
            optim=_probe_optim(facts) if choice.mode == "probe" else _adapter_optim(facts),
            output=config.output,
            seed=config.seed,
            precision="bfloat16" if facts.on_gpu and choice.mode == "adapter" else "float32",
            device=config.device,
        )
    optim = config.optim
    if epochs:
        optim = replace(optim, epochs=epochs)
    if lr:
        optim = replace(optim, lr=lr, lr_reference_batch=0)
    optim = replace(optim, warmup_epochs=min(optim.warmup_epochs, optim.epochs / 10))
    return replace(config, optim=optim)


_EXPLAINED: dict[Mode, str] = {
    "probe": "the frame encoder stays as it is and each video is encoded once; only what follows it is trained, on "
    "the kept embeddings, which takes seconds an epoch.",
    "adapter": "the frame encoder stays frozen but for low-rank adapters (LoRA) in its linear layers, which are merged "
    "into the weights at the end.",
    "full": "all weights are trained, with a small learning rate.",
}


def _without_trained_encoder(facts: Facts, asked: Asked) -> Choice:
    state = f"{facts.weights} leaves the frame encoder untrained" if facts.weights else "there are no trained weights"
    if asked in ("probe", "adapter"):
        raise UsageError(
            f"--mode {asked} keeps the frame encoder frozen, but {state}, so it would never learn to see; "
            "name trained weights with --init-from FILE, or with --model the name of published weights, "
            "which are then downloaded (fewframes models list shows them), or use --mode full"
        )
    return Choice(
        "full",
        (
            f"Full training of {facts.name} from random weights, because {state}: a frame encoder that was never "
            "trained makes no sense frozen.",
            "From random weights, hundreds of videos teach a small network what moves, not what the world looks like; "
            "trained weights (--init-from FILE, or --model stam_16 to download published ones) start far ahead.",
        ),
    )


def _probe_optim(facts: Facts) -> OptimConfig:
    """A new head learns at 1e-3, a new aggregator more slowly, a trained one slower still."""
    batch = _batch_size(facts.num_train, 32)
    factor = 0.3 if facts.aggregator_is_new else 0.1
    return OptimConfig(
        lr=1e-3,
        temporal_lr_factor=factor,
        head_lr_factor=1 / factor,
        weight_decay=0.05,
        beta2=0.98,
        epochs=_epochs(facts.num_train, batch, steps=600, least=10, most=100),
        warmup_epochs=2,
        batch_size=batch,
        label_smoothing=0.1,
    )


def _adapter_optim(facts: Facts) -> OptimConfig:
    """Bypasses learn at 5e-4, half as fast as the head; the rest as in a probe."""
    probe, batch = _probe_optim(facts), _batch_size(facts.num_train, 32)
    epochs = _epochs(facts.num_train, batch, steps=600, least=10, most=30)
    return replace(probe, encoder_lr_factor=0.5, epochs=epochs, accumulate=_parts(batch, facts))


def _full(config: TrainConfig, facts: Facts) -> TrainConfig:
    """The recipe with a batch that fits the number of videos, its learning rate scaled, and enough steps.

    The rate goes with the square root of the batch size, since Adam divides by the gradient's own size (Malladi et al.
    2022, arXiv:2205.10287).
    """
    optim, data = config.optim, config.data
    batch = _batch_size(facts.num_train, optim.batch_size)
    steps = 2000 if facts.weights else 1500
    most = optim.epochs if facts.weights else 200
    optim = replace(
        optim,
        batch_size=batch,
        lr=peak_learning_rate(optim) * math.sqrt(batch / optim.batch_size),
        lr_reference_batch=0,
        accumulate=_parts(batch, facts) if facts.weights else 1,
        epochs=_epochs(facts.num_train, batch, steps=steps, least=10, most=most),
    )
    if data.cache_frames and facts.num_train > _CACHE_FRAMES_UP_TO:
        data = replace(data, cache_frames=0)
    precision = config.precision if facts.on_gpu or not facts.weights else "float32"
    return replace(config, optim=optim, data=data, precision=precision)


def _batch_size(num_train: int, most: int) -> int:
    """A power of two that gives an epoch at least eight steps, 8 to `most`."""
    return max(min(most, 1 << int(math.log2(max(num_train / 8, 1)))), min(8, most))


def _epochs(num_train: int, batch: int, *, steps: int, least: int, most: int) -> int:
    return max(least, min(most, math.ceil(steps / math.ceil(num_train / batch))))


def _parts(batch: int, facts: Facts) -> int:
    """Parts of a batch, of 8 clips on a GPU and of 2 on a CPU: a ViT-B keeps about 2 GB for a clip of 16 frames."""
    return max(batch // (8 if facts.on_gpu else 2), 1)
