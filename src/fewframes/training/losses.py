"""Network outputs and targets of a batch come in, one loss for each clip goes out; weights and sums are the caller's.

Every loss is (B,) float32 whatever autocast did to the outputs. The mean over a batch, with each clip counting as much
as its weight says, is `(losses_B * weights_B).sum() / weights_B.sum()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fewframes.errors import UnknownName, UsageError

__all__ = [
    "OverClasses",
    "asymmetric_loss",
    "binary_cross_entropy",
    "cross_entropy",
    "distillation_loss",
    "multi_head_cross_entropy",
    "regression_loss",
    "weighted_cross_entropy_sum",
]

OverClasses = Literal["mean", "sum"]


def cross_entropy(
    logits_BK: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weights_K: Tensor | None = None
) -> Tensor:
    """Cross-entropy with one right class a clip, or with shares of classes.

    With smoothing e, every class's share q becomes `(1 - e) * q + e / K`; the loss is `-sum_k w_k * q_k * log p_k`.

    Args:
        logits_BK: (B, K) floating point.
        targets: (B,) integers, 0 to K - 1; or (B, K) floating point shares that sum to 1, as mixup makes them.
        label_smoothing: e, 0 to 1.
        class_weights_K: w, (K,) >= 0; None is all ones. They multiply; nothing is divided by their sum, whereas torch's
            "mean" is divided by the sum of the batch's class weights.

    Returns:
        (B,) float32.

    Raises:
        UsageError: a shape or dtype does not fit.
    """
    return _cross_entropy(logits_BK, targets, class_weights_K, label_smoothing=label_smoothing, reduction="none")


def weighted_cross_entropy_sum(
    logits_BK: Tensor,
    targets: Tensor,
    weights_B: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights_K: Tensor | None = None,
) -> Tensor:
    """The cross-entropies of some clips, each times its weight, added up: a scalar.

    Where all weights are 1, torch's fused sum is taken, and so the very bits of a list without weights. float64 stays
    what it is.

    Args:
        logits_BK: as for `cross_entropy`.
        targets: as for `cross_entropy`.
        weights_B: (B,) float, of the clips.
        label_smoothing: as for `cross_entropy`.
        class_weights_K: as for `cross_entropy`.

    Raises:
        UsageError: a shape or dtype does not fit.
    """
    if bool((weights_B == 1).all()):
        return _cross_entropy(logits_BK, targets, class_weights_K, label_smoothing=label_smoothing, reduction="sum")
    losses_B = cross_entropy(logits_BK, targets, label_smoothing=label_smoothing, class_weights_K=class_weights_K)
    return (losses_B * weights_B).sum()


def multi_head_cross_entropy(
    logits_BK: Tensor, targets: Tensor, *, class_splits: Sequence[int], label_smoothing: float = 0.0
) -> Tensor:
    """The plain mean of several classifiers' smoothed cross-entropies, such as those of nouns and verbs.

    Args:
        logits_BK: (B, K) floating point, the heads side by side.
        targets: (B, H) integers, one class for each head, counted within it; or (B, K) shares that sum to 1 within
            each head.
        class_splits: classes of each head, such as (300, 97); they sum to K.
        label_smoothing: within each head, 0 to 1.

    Returns:
        (B,) float32.

    Raises:
        UsageError: a shape or dtype does not fit.

    Source: ViViT (Scenic), the Epic-Kitchens head: 300 nouns, then 97 verbs, no weights.
    """
    splits = list(class_splits)
    if not splits or logits_BK.ndim != 2 or logits_BK.shape[1] != sum(splits):
        raise UsageError(
            f"logits have shape {tuple(logits_BK.shape)}; expected (B, {sum(splits)}) for class_splits {tuple(splits)}"
        )
    if targets.is_floating_point():
        _check_same_shape(logits_BK, targets)
        targets_by_head = torch.split(targets, splits, dim=1)
    else:
        if tuple(targets.shape) != (logits_BK.shape[0], len(splits)):
            raise UsageError(
                f"labels have shape {tuple(targets.shape)}; expected ({logits_BK.shape[0]}, {len(splits)}), "
                "one class for each head"
            )
        targets_by_head = targets.unbind(dim=1)
    losses = [
        cross_entropy(logits, each, label_smoothing=label_smoothing)
        for logits, each in zip(torch.split(logits_BK, splits, dim=1), targets_by_head, strict=True)
    ]
    return torch.stack(losses).mean(dim=0)


def binary_cross_entropy(
    logits_BK: Tensor,
    targets_BK: Tensor,
    *,
    class_weights_K: Tensor | None = None,
    over_classes: OverClasses = "mean",
) -> Tensor:
    """Cross-entropy of K independent yes-or-no questions, for clips that show several actions at once.

    Args:
        logits_BK: (B, K) floating point, before the sigmoid.
        targets_BK: (B, K), 0 to 1; bool, integers or floating point.
        class_weights_K: (K,) >= 0, of each class's term; None is all ones.
        over_classes: "mean" over the K classes, as the usual recipes have it, or their "sum".

    Returns:
        (B,) float32.

    Raises:
        UsageError: a shape does not fit.
    """
    _check_same_shape(logits_BK, targets_BK)
    losses_BK = F.binary_cross_entropy_with_logits(logits_BK.float(), targets_BK.float(), reduction="none")
    return _over_classes(losses_BK, class_weights_K, over_classes)


def asymmetric_loss(
    logits_BK: Tensor,
    targets_BK: Tensor,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 0.0,
    clip: float = 0.05,
    over_classes: OverClasses = "sum",
    detach_focus: bool = False,
) -> Tensor:
    """Binary cross-entropy that lets go of easy negatives, for many classes of which few are right.

    With p the sigmoid and p_m = max(p - clip, 0), a class that is there costs `-(1 - p)^gamma_positive * log(p)`, one
    that is not costs `-p_m^gamma_negative * log(1 - p_m)`: nothing at all up to p = clip. With both gammas and the clip
    0 it is `binary_cross_entropy`.

    Args:
        logits_BK: (B, K) floating point, before the sigmoid.
        targets_BK: (B, K), 0 to 1; shares in between weigh the two terms.
        gamma_negative: >= 0.
        gamma_positive: >= 0.
        clip: the shift of the probabilities of negatives, 0 to 1 (exclusive).
        over_classes: "sum" as published, which its learning rates are tied to, or "mean". The release sums over the
            batch, too: its loss is B times the mean over clips of this.
        detach_focus: whether the two powers count as constants for the gradient, as in the release's training scripts;
            otherwise the gradient is that of the formula, as in the paper. The loss is the same.

    Returns:
        (B,) float32.

    Raises:
        UsageError: a shape does not fit, or a number is out of range.

    Source: Ben-Baruch et al. 2020, "Asymmetric Loss For Multi-Label Classification", section 2; the defaults are those
        of its training scripts. Logarithms are exact here, where the release bounds probabilities below by 1e-8.
    """
    _check_same_shape(logits_BK, targets_BK)
    if gamma_negative < 0 or gamma_positive < 0 or not 0 <= clip < 1:
        raise UsageError(
            f"asymmetric loss with gammas {gamma_negative} and {gamma_positive} and clip {clip}; "
            "expected gammas of at least 0 and a clip from 0 to below 1"
        )
    logits_BK, targets_BK = logits_BK.float(), targets_BK.float()
    log_yes_BK, log_no_BK = F.logsigmoid(logits_BK), F.logsigmoid(-logits_BK)
    # Powers as exponentials of logarithms: finite gradients for every gamma, even where a probability rounds to 0.
    focus_yes_BK = (gamma_positive * log_no_BK).exp()
    focus_no_BK = (gamma_negative * log_yes_BK).exp()
    if clip:
        shifted_BK = logits_BK.sigmoid() - clip
        above_BK = shifted_BK > 0
        shifted_BK = torch.where(above_BK, shifted_BK, 0.5)  # any value whose logarithms exist; masked out below
        log_no_BK = torch.where(above_BK, torch.log1p(-shifted_BK), 0.0)
        focus_no_BK = (gamma_negative * shifted_BK.log()).exp()
    if detach_focus:
        focus_yes_BK, focus_no_BK = focus_yes_BK.detach(), focus_no_BK.detach()
    losses_BK = -targets_BK * focus_yes_BK * log_yes_BK - (1 - targets_BK) * focus_no_BK * log_no_BK
    return _over_classes(losses_BK, None, over_classes)


def regression_loss(
    predictions: Tensor, targets: Tensor, *, kind: Literal["mse", "smooth_l1"] = "mse", beta: float = 1.0
) -> Tensor:
    """Mean error of each clip's numbers: `d^2`, or `d^2 / (2 beta)` up to |d| = beta and `|d| - beta / 2` from there.

    Args:
        predictions: (B,) or (B, R) floating point.
        targets: of the very same shape.
        kind: which of the two.
        beta: where "smooth_l1" turns from square to linear, > 0; in the targets' unit.

    Returns:
        (B,) float32, the mean over R.

    Raises:
        UsageError: the shapes differ, the kind is unknown, or `beta` is not above 0.
    """
    if predictions.shape != targets.shape or predictions.ndim not in (1, 2):
        raise UsageError(
            f"predictions have shape {tuple(predictions.shape)}, targets {tuple(targets.shape)}; "
            "expected the same, (B,) or (B, R)"
        )
    if kind not in ("mse", "smooth_l1"):
        raise UnknownName("regression loss", kind, ("mse", "smooth_l1"))
    if not beta > 0:
        raise UsageError(f"beta is {beta}; expected a number above 0")
    predictions, targets = predictions.float(), targets.float()
    if kind == "mse":
        losses = F.mse_loss(predictions, targets, reduction="none")
    else:
        losses = F.smooth_l1_loss(predictions, targets, reduction="none", beta=beta)
    return losses if losses.ndim == 1 else losses.mean(dim=1)


def distillation_loss(student_BK: Tensor, teacher_BK: Tensor, *, temperature: float = 1.0) -> Tensor:
    """`T^2 * KL(teacher || student)` of the softmaxes of `logits / T`, summed over the classes.

    The T^2 is in: it keeps the gradient's size about the same at every temperature, and is to multiply nothing else.
    A whole loss is `cross_entropy(student, labels) + alpha * distillation_loss(student, teacher)`, where the
    cross-entropy is taken at T = 1 and not multiplied. Its mean over clips is torch's "batchmean"; at T = 1 and with
    alpha 5 it is the loss of USI.

    Args:
        student_BK: (B, K) logits that learn.
        teacher_BK: (B, K) logits that are learnt from; no gradient reaches them.
        temperature: T > 0.

    Returns:
        (B,) float32, >= 0 up to rounding.

    Raises:
        UsageError: the shapes differ, or the temperature is not above 0.

    Source: Hinton, Vinyals, Dean 2015, section 2; T = 1 and alpha 5: Ridnik et al. 2022, "Solving ImageNet" (USI).
    """
    _check_same_shape(student_BK, teacher_BK)
    if not temperature > 0:
        raise UsageError(f"temperature is {temperature}; expected a number above 0")
    log_student_BK = (student_BK.float() / temperature).log_softmax(dim=1)
    log_teacher_BK = (teacher_BK.detach().float() / temperature).log_softmax(dim=1)
    terms_BK = F.kl_div(log_student_BK, log_teacher_BK, reduction="none", log_target=True)
    return terms_BK.sum(dim=1) * temperature**2


def _cross_entropy(
    logits_BK: Tensor, targets: Tensor, class_weights_K: Tensor | None, *, label_smoothing: float, reduction: str
) -> Tensor:
    # Never below float32; float64 stays, for whoever computes in it.
    precise_BK = logits_BK if logits_BK.dtype == torch.float64 else logits_BK.float()
    if targets.is_floating_point():
        _check_same_shape(logits_BK, targets)
        targets = targets.to(precise_BK.dtype)
    elif logits_BK.ndim != 2 or tuple(targets.shape) != (logits_BK.shape[0],) or targets.dtype == torch.bool:
        raise UsageError(
            f"logits have shape {tuple(logits_BK.shape)}, labels {tuple(targets.shape)} of {targets.dtype}; "
            "expected (B, K) and integers (B,), or shares (B, K) in floating point"
        )
    else:
        targets = targets.long()
    weights_K = _checked_class_weights(class_weights_K, logits_BK)
    if weights_K is not None:
        weights_K = weights_K.to(precise_BK.dtype)
    return F.cross_entropy(precise_BK, targets, weight=weights_K, reduction=reduction, label_smoothing=label_smoothing)


def _over_classes(losses_BK: Tensor, class_weights_K: Tensor | None, over_classes: OverClasses) -> Tensor:
    weights_K = _checked_class_weights(class_weights_K, losses_BK)
    if weights_K is not None:
        losses_BK = losses_BK * weights_K
    if over_classes not in ("mean", "sum"):
        raise UnknownName("way over the classes", over_classes, ("mean", "sum"))
    return losses_BK.mean(dim=1) if over_classes == "mean" else losses_BK.sum(dim=1)


def _checked_class_weights(class_weights_K: Tensor | None, logits_BK: Tensor) -> Tensor | None:
    if class_weights_K is None:
        return None
    if tuple(class_weights_K.shape) != (logits_BK.shape[1],):
        raise UsageError(f"class weights have shape {tuple(class_weights_K.shape)}; expected ({logits_BK.shape[1]},)")
    return class_weights_K.float()


def _check_same_shape(logits_BK: Tensor, targets_BK: Tensor) -> None:
    if logits_BK.ndim != 2 or logits_BK.shape != targets_BK.shape:
        raise UsageError(
            f"logits have shape {tuple(logits_BK.shape)}, targets {tuple(targets_BK.shape)}; expected (B, K) of both"
        )
