"""What can be wrong with videos and a network before they meet: both come in, warnings in plain sentences go out."""

from __future__ import annotations

import copy
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewframes.data.listing import file_keys, is_remote
from fewframes.data.manifest import Manifest
from fewframes.report.text import plural
from fewframes.training.config import OptimConfig
from fewframes.training.optim import build_optimizer, peak_learning_rate
from fewframes.training.setup import TrainData

__all__ = [
    "Overfitting",
    "class_lines",
    "class_warnings",
    "initial_loss",
    "initial_loss_warning",
    "overfit_line",
    "overfit_one_batch",
    "overlap_warnings",
]

# Fewer training videos of a class than this say little about it; fewer validation videos than this measure little.
_FEW_TRAIN, _FEW_VAL = 10, 5
_UNEVEN = 10
# A head of random weights on normalised vectors answers with a spread of about 1.4, which costs about 1 above ln K.
_ABOVE, _BELOW = 2.0, 0.5
_LEARNT_LOSS, _MEASURED_STEPS, _LEAST_RATE = 0.1, 10, 3e-4


@dataclass(frozen=True)
class Overfitting:
    """Whether a network can learn a single batch by heart.

    Attributes:
        loss: the last one measured, without dropout.
        steps: taken until then.
        videos: in the batch.
    """

    loss: float
    steps: int
    videos: int

    @property
    def learnt(self) -> bool:
        """Whether the loss fell below 0.1."""
        return self.loss < _LEARNT_LOSS


def class_lines(data: TrainData) -> list[str]:
    """How many videos each class has, in one line."""
    counts = _counts(data.train)
    ranked = sorted(counts, key=lambda label: (counts[label], label))
    smallest, largest = ranked[0], ranked[-1]
    return [
        f"{plural(len(data.train.videos), 'training video')} of {plural(len(data.labels), 'class')}, "
        f"{0 if data.val is None else len(data.val.videos)} to validate; "
        f"smallest class {smallest} ({counts[smallest]}), largest {largest} ({counts[largest]})"
    ]


def class_warnings(data: TrainData) -> list[str]:
    """Classes with too few videos to learn from or to measure, and classes of very different sizes."""
    counts, warnings = _counts(data.train), []
    few = sorted((count, label) for label, count in counts.items() if count < _FEW_TRAIN)
    if few:
        named = ", ".join(f"{label} ({count})" for count, label in few[:5]) + (", ..." if len(few) > 5 else "")
        warnings.append(
            f"{plural(len(few), 'class')} with fewer than {_FEW_TRAIN} training videos: {named}; "
            "expect such classes to be missed, and collect more of them first"
        )
    largest, smallest = max(counts.values()), min(counts.values())
    if largest > _UNEVEN * smallest:
        warnings.append(
            f"the largest class has {largest / smallest:.0f} times as many training videos as the smallest; look at "
            "the accuracy of each class, not only at the total, and give rare classes a weight above 1 in the list"
        )
    if data.val is not None:
        seen = Counter(video.label for video in data.val.videos)
        thin = [label for label in data.labels if seen[label] < _FEW_VAL]
        if thin:
            warnings.append(
                f"{plural(len(thin), 'class')} with fewer than {_FEW_VAL} validation videos; one video is "
                f"{100 / len(data.val.videos):.1f} points of top-1, so small differences mean nothing"
            )
    return warnings


def overlap_warnings(train: Manifest, val: Manifest | None) -> list[str]:
    """What training and validation share: groups, files, or files of the same content under two names.

    Content is compared by SHA-256, and only where lengths are equal, so that few files are read. Parts of one file
    that do not overlap in time count as shared, too: they show the same scene.
    """
    if val is None:
        return []
    warnings = []
    groups = {video.group for video in train.videos} & {video.group for video in val.videos} - {None}
    if groups:
        named = ", ".join(sorted(map(str, groups))[:3])
        warnings.append(f"{plural(len(groups), 'group')} in training and validation ({named})")
    train_files, val_files = (dict(zip(_keys(each), each.videos, strict=True)) for each in (train, val))
    same = sorted(train_files.keys() & val_files.keys())
    if same:
        warnings.append(f"{plural(len(same), 'file')} in training and validation (first {same[0]})")
    twins = _twins(train_files, [name for name in val_files if name not in train_files])
    if twins:
        first, second = twins[0]
        warnings.append(
            f"{plural(len(twins), 'file')} of validation with the content of a training file "
            f"(first {second}, equal to {first})"
        )
    return [
        f"{each}: accuracy will look better than it is; split again with `fewframes data split`" for each in warnings
    ]


def initial_loss(logits_BK: Tensor, labels_B: Tensor) -> float:
    """The mean cross-entropy of a network's first answers."""
    return float(F.cross_entropy(logits_BK.float(), labels_B))


def initial_loss_warning(loss: float, num_classes: int) -> str | None:
    """What is wrong if a new head does not begin near ln K, the loss of one who knows nothing; None if it does."""
    expected = math.log(num_classes)
    if _BELOW * expected <= loss <= expected + _ABOVE:
        return None
    return (
        f"the loss before training is {loss:.2f}; a new head for {num_classes} classes should begin near "
        f"ln {num_classes} = {expected:.2f}: check the labels, and mean and std of the starting weights"
    )


def overfit_one_batch(
    model: nn.Module,
    forward_of: Callable[[nn.Module], Callable[[Tensor], Tensor]],
    inputs: Tensor,
    labels_B: Tensor,
    *,
    optim: OptimConfig,
    steps: int,
) -> Overfitting:
    """Train a copy of the network on a single batch, at a constant learning rate and without smoothing.

    Rates for careful changes of trained weights are too low for a proof in so few steps: the network learns at 3e-4
    here if its own rate is lower.

    Args:
        model: stays as it is; parameters without gradient stay so in the copy.
        forward_of: a network -> what takes the inputs to logits.
        inputs: (B, ...), on the network's device.
        labels_B: their classes.
        optim: gives the learning rates.
        steps: at most so many.
    """
    trial = copy.deepcopy(model)
    if peak_learning_rate(optim) < _LEAST_RATE:
        optim = replace(optim, lr=_LEAST_RATE, lr_reference_batch=0)
    forward, optimizer = forward_of(trial), build_optimizer(trial, optim)
    loss, step = math.inf, 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step in range(1, steps + 1):
            trial.train()
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(forward(inputs), labels_B).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trial.parameters(), optim.clip_norm or math.inf)
            optimizer.step()
            if step % _MEASURED_STEPS == 0 or step == steps:
                trial.eval()
                with torch.no_grad():
                    loss = initial_loss(forward(inputs), labels_B)
                if loss < _LEARNT_LOSS:
                    break
    return Overfitting(loss, step, int(labels_B.shape[0]))


def overfit_line(found: Overfitting) -> str:
    """What an overfitting of one batch says, in a sentence."""
    told = f"one batch of {plural(found.videos, 'video')}: loss {found.loss:.3f} after {plural(found.steps, 'step')}"
    if found.learnt:
        return f"{told}; it can be learnt by heart, so labels, gradients and learning rate work together"
    return (
        f"{told}, expected below {_LEARNT_LOSS}: what cannot be learnt by heart cannot be learnt at all; check for "
        "equal videos with different labels, and try --lr ten times higher and lower"
    )


def _counts(manifest: Manifest) -> Counter[str]:
    return Counter(video.label for video in manifest.videos)


def _keys(manifest: Manifest) -> list[str]:
    return file_keys(video.path for video in manifest.videos)


def _twins(train: Mapping[str, object], val: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of different files, one of each list, with the same content."""
    sizes: dict[int, list[str]] = defaultdict(list)
    for name in train:
        if (size := _size(name)) is not None:
            sizes[size].append(name)
    digests: dict[str, str] = {}
    pairs = []
    for name in val:
        for other in sizes.get(_size(name) or -1, ()):
            if _sha256(name, digests) == _sha256(other, digests) != "":
                pairs.append((other, name))
                break
    return pairs


def _size(name: str) -> int | None:
    if is_remote(name) or not Path(name).is_file():
        return None
    return Path(name).stat().st_size


def _sha256(name: str, known: dict[str, str]) -> str:
    if name not in known:
        try:
            with Path(name).open("rb") as file:
                known[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:  # reading it as a video will say so
            known[name] = ""
    return known[name]
