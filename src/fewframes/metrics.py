"""Logits and labels come in, sums and counts are kept; accuracies in percent and their intervals go out.

Only counts are stored, so two halves of a list give the same numbers as the whole, on one process or on many. Rows that
only fill up a batch are masked out, never counted twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist

import torch
from torch import Tensor

from fewframes.errors import UsageError
from fewframes.records import Scores

__all__ = ["ClassificationMetrics", "top_k", "wilson_interval"]

_STATE_KEYS = ("confusion", "failed", "top5_correct")


class ClassificationMetrics:
    """Accuracy over two denominators: every listed video, and the videos that could be read.

    Ties are broken by index: among equal logits the lower class index ranks first, on every device. A video is right
    in the sense of top-k when fewer than k classes rank before its true class; top-5 means the min(5, K) best.

    Args:
        num_classes: K, >= 1.

    Raises:
        UsageError: `num_classes` is below 1.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise UsageError(f"num_classes is {num_classes}; expected at least 1")
        self.num_classes = num_classes
        self._confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self._failed = torch.zeros(num_classes, dtype=torch.int64)
        self._top5_correct = 0

    def update(self, logits_BK: Tensor, labels_B: Tensor, *, mask_B: Tensor | None = None) -> None:
        """Count one batch of videos that could be read.

        Args:
            logits_BK: (B, K) floating point, any device; larger is more likely.
            labels_B: (B,) integers, 0 to K - 1.
            mask_B: (B,) bool; rows that are False are padding: neither counted nor checked. None counts every row.

        Raises:
            UsageError: a shape or dtype does not fit, a label is out of range, or a row of logits is NaN or infinite.
                Nothing of the batch has been counted then.
        """
        num_rows = logits_BK.shape[0] if logits_BK.ndim == 2 else -1
        if logits_BK.ndim != 2 or logits_BK.shape[1] != self.num_classes or not logits_BK.is_floating_point():
            raise UsageError(
                f"logits have shape {tuple(logits_BK.shape)} and dtype {logits_BK.dtype}; "
                f"expected floating point (B, {self.num_classes})"
            )
        if tuple(labels_B.shape) != (num_rows,):
            raise UsageError(f"labels have shape {tuple(labels_B.shape)}; expected ({num_rows},), one for each row")
        logits_BK, labels_B = logits_BK.detach().float().cpu(), labels_B.detach().cpu()
        if mask_B is not None:
            if tuple(mask_B.shape) != (num_rows,) or mask_B.dtype != torch.bool:
                raise UsageError(
                    f"mask has shape {tuple(mask_B.shape)} and dtype {mask_B.dtype}; expected bool ({num_rows},)"
                )
            mask_B = mask_B.detach().cpu()
            logits_BK, labels_B = logits_BK[mask_B], labels_B[mask_B]
        labels_B = self._check_labels(labels_B)
        if logits_BK.shape[0] == 0:
            return
        ranking_BK = _ranking(logits_BK)
        hits_BK = ranking_BK == labels_B[:, None]
        flat = labels_B * self.num_classes + ranking_BK[:, 0]
        # Touches one cell a video, where a histogram would write all K * K.
        self._confusion.view(-1).index_add_(0, flat, torch.ones_like(flat))
        self._top5_correct += int(hits_BK[:, :5].sum())

    def add_failures(self, labels: Iterable[int] | Tensor) -> None:
        """Count listed videos that could not be read: wrong among the listed ones, absent among the decoded ones.

        Args:
            labels: true class of each such video, 0 to K - 1.

        Raises:
            UsageError: a label is out of range.
        """
        given = labels.detach().cpu() if isinstance(labels, Tensor) else torch.tensor(list(labels), dtype=torch.int64)
        self._failed += torch.bincount(self._check_labels(given.reshape(-1)), minlength=self.num_classes)

    def merge(self, other: ClassificationMetrics) -> None:
        """Add what another one has counted; the order of merging does not matter.

        Raises:
            UsageError: the two have different numbers of classes.
        """
        if other.num_classes != self.num_classes:
            raise UsageError(f"metrics over {other.num_classes} classes cannot be merged into {self.num_classes}")
        self._confusion += other._confusion
        self._failed += other._failed
        self._top5_correct += other._top5_correct

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all counts as int64 tensors; every entry is a sum, so adding states over processes merges them."""
        return {
            "confusion": self._confusion.clone(),
            "failed": self._failed.clone(),
            "top5_correct": torch.tensor(self._top5_correct, dtype=torch.int64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> ClassificationMetrics:
        """Rebuild from `state_dict()`; tensors on any device or nested lists of integers.

        Raises:
            UsageError: a key is missing or unknown, a shape does not fit, or the counts contradict each other.
        """
        if set(state) != set(_STATE_KEYS):
            raise UsageError(f"metrics state has keys {sorted(state)}; expected {sorted(_STATE_KEYS)}")
        confusion, failed, top5 = (torch.as_tensor(state[key]).detach().to("cpu") for key in _STATE_KEYS)
        num_classes = failed.shape[0] if failed.ndim == 1 else 0
        if num_classes == 0 or tuple(confusion.shape) != (num_classes, num_classes) or top5.numel() != 1:
            raise UsageError(
                f"metrics state has shapes confusion {tuple(confusion.shape)}, failed {tuple(failed.shape)}, "
                f"top5_correct {tuple(top5.shape)}; expected (K, K), (K,) and one number"
            )
        metrics = cls(num_classes)
        metrics._confusion += confusion.to(torch.int64)
        metrics._failed += failed.to(torch.int64)
        metrics._top5_correct = int(top5)
        at_least, at_most = int(metrics._confusion.diagonal().sum()), int(metrics._confusion.sum())
        if min(int(confusion.min()), int(failed.min())) < 0 or not at_least <= metrics._top5_correct <= at_most:
            raise UsageError(
                f"metrics state contradicts itself: counts below 0, or {metrics._top5_correct} right among the five "
                f"best where {at_least} are right outright and {at_most} were counted"
            )
        return metrics

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """(K, K) counts over the videos that could be read; rows are true classes, columns predicted ones."""
        return tuple(tuple(row) for row in self._confusion.tolist())

    @property
    def class_totals(self) -> tuple[int, ...]:
        """(K,) listed videos of each class, read or not."""
        return tuple((self._confusion.sum(dim=1) + self._failed).tolist())

    @property
    def class_correct(self) -> tuple[int, ...]:
        """(K,) correctly classified videos of each class."""
        return tuple(self._confusion.diagonal().tolist())

    @property
    def listed(self) -> Scores:
        """Scores over every listed video; those that could not be read count as wrong.

        Raises:
            UsageError: no video was counted.
        """
        return self._scores(self._confusion.sum(dim=1) + self._failed, "listed")

    @property
    def decoded(self) -> Scores:
        """Scores over the videos that could be read.

        Raises:
            UsageError: no video could be read.
        """
        return self._scores(self._confusion.sum(dim=1), "decoded")

    def _scores(self, totals_K: Tensor, which: str) -> Scores:
        num_videos = int(totals_K.sum())
        if num_videos == 0:
            raise UsageError(
                f"no accuracy over 0 {which} videos ({int(self._failed.sum())} could not be read); "
                "expected at least one, check the list and its paths"
            )
        correct_K = self._confusion.diagonal()
        present_K = totals_K > 0
        class_accuracy = correct_K[present_K].double() / totals_K[present_K].double()
        return Scores(
            num_videos=num_videos,
            top1=100.0 * int(correct_K.sum()) / num_videos,
            top5=100.0 * self._top5_correct / num_videos,
            mean_class_accuracy=100.0 * float(class_accuracy.mean()),
        )

    def _check_labels(self, labels_B: Tensor) -> Tensor:
        if labels_B.is_floating_point() or labels_B.is_complex() or labels_B.dtype == torch.bool:
            raise UsageError(f"labels have dtype {labels_B.dtype}; expected integers")
        labels_B = labels_B.to(torch.int64)
        outside = labels_B[(labels_B < 0) | (labels_B >= self.num_classes)]
        if outside.numel():
            raise UsageError(f"label {int(outside[0])} is outside 0 to {self.num_classes - 1}; check the label list")
        return labels_B


def top_k(logits_K: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best classes of one video and their probabilities, with the tie rule of `ClassificationMetrics`.

    Args:
        logits_K: (K,) floating point.
        k: how many, >= 1; more than K gives all K.

    Returns:
        Indices (min(k, K),) int64, most likely first, and their softmax probabilities float32, 0 to 1.

    Raises:
        UsageError: the shape or `k` does not fit, or a logit is NaN or infinite.
    """
    if logits_K.ndim != 1 or logits_K.shape[0] == 0 or not logits_K.is_floating_point():
        raise UsageError(f"logits have shape {tuple(logits_K.shape)} and dtype {logits_K.dtype}; expected float (K,)")
    if k < 1:
        raise UsageError(f"top_k is {k}; expected at least 1")
    logits_K = logits_K.detach().float()
    indices = _ranking(logits_K[None])[0, :k]
    return indices, logits_K.softmax(dim=0)[indices]


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share, which stays honest near 0 and 100 % and for few videos.

    Args:
        successes: 0 to `n`.
        n: how many were counted, >= 1.
        confidence: share of such intervals that hold the true value, between 0 and 1.

    Returns:
        Lower and upper end in percent, 0 to 100.

    Raises:
        UsageError: a count or the confidence is out of range.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"{successes} successes of {n}; expected 0 to n successes of at least 1")
    if not 0.0 < confidence < 1.0:
        raise UsageError(f"confidence is {confidence}; expected a share between 0 and 1, such as 0.95")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / shrink
    # At the ends the formula gives 0 and 1 exactly; rounding errors would leave a crumb.
    lower = 0.0 if successes == 0 else max(0.0, centre - half_width)
    upper = 1.0 if successes == n else min(1.0, centre + half_width)
    return 100 * lower, 100 * upper


def _ranking(logits_BK: Tensor) -> Tensor:
    """(B, K) class indices, best first; equal logits in index order. Raises UsageError where a row has no best."""
    # The largest value of a row is NaN if any is, and infinite if any is +inf or all are -inf.
    broken = (~logits_BK.amax(dim=1).isfinite()).nonzero().flatten()
    if broken.numel():
        row = int(broken[0])
        kind = "NaN" if logits_BK[row].isnan().any() else "infinite values"
        raise UsageError(
            f"logits of row {row} hold {kind}; expected finite numbers, check the weights and the precision of the run"
        )
    return logits_BK.sort(dim=1, descending=True, stable=True).indices
