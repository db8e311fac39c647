"""Scores and sets of labels come in, one row a video is kept; average precisions over all videos go out.

Rows are kept because a ranking needs all of them. Each has its video's place in the list, so parts of a list can be
merged in any order, on one process or on many, give the same numbers, and no video is counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from fewframes.errors import UnknownName, UsageError

__all__ = ["AveragePrecisionRule", "MultiLabelMetrics"]

AveragePrecisionRule = Literal["official", "drop_empty_classes"]
_STATE_KEYS = ("failed_indices", "failed_labels", "indices", "labels", "scores")


class MultiLabelMetrics:
    """Average precision of each class, where a video may show several actions, or none.

    A class's average precision (AP) is the mean, over the videos that have it, of the precision among the videos
    ranked up to and including that one: not interpolated. Higher scores rank first; among equal scores the video that
    comes first in the list does, on every device.

    A video that could not be read is in no ranking, so it comes after all others: each of its labels is a positive
    that is never found and adds 0 to the sum whose divisor it is counted in.

    Scores may be logits or probabilities, since only their order within a class counts; a float32 sigmoid makes ties
    of large logits.

    Args:
        num_classes: K, >= 1.

    Raises:
        UsageError: `num_classes` is below 1.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise UsageError(f"num_classes is {num_classes}; expected at least 1")
        self.num_classes = num_classes
        no_labels, no_indices = torch.zeros(0, num_classes, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
        # Batches as they came: scores, labels, places in the list.
        self._read = [(torch.zeros(0, num_classes), no_labels, no_indices)]
        self._failed = [(no_labels, no_indices)]
        self._seen: set[int] = set()

    def update(
        self, scores_BK: Tensor, labels_BK: Tensor, indices: Tensor | Sequence[int], *, mask_B: Tensor | None = None
    ) -> None:
        """Keep one batch of videos that could be read.

        Args:
            scores_BK: (B, K) floating point, any device; larger is more likely. Kept in float32.
            labels_BK: (B, K); 1 or True where the video shows the class, otherwise 0.
            indices: (B,) each video's place in the list, >= 0.
            mask_B: (B,) bool; rows that are False are padding: neither kept nor checked. None keeps every row.

        Raises:
            UsageError: a shape or dtype does not fit, a label is neither 0 nor 1, a score is NaN or infinite, or a
                video has been counted before. Nothing of the batch has been kept then.
        """
        if scores_BK.ndim != 2 or scores_BK.shape[1] != self.num_classes or not scores_BK.is_floating_point():
            raise UsageError(
                f"scores have shape {tuple(scores_BK.shape)} and dtype {scores_BK.dtype}; "
                f"expected floating point (B, {self.num_classes})"
            )
        num_rows = scores_BK.shape[0]
        indices_B = torch.as_tensor(indices).detach().cpu()
        if labels_BK.shape != scores_BK.shape or tuple(indices_B.shape) != (num_rows,):
            raise UsageError(
                f"labels have shape {tuple(labels_BK.shape)}, indices {tuple(indices_B.shape)}; "
                f"expected ({num_rows}, {self.num_classes}) and ({num_rows},), one row for each of the scores"
            )
        scores_BK, labels_BK = scores_BK.detach().float().cpu(), labels_BK.detach().cpu()
        if mask_B is not None:
            if tuple(mask_B.shape) != (num_rows,) or mask_B.dtype != torch.bool:
                raise UsageError(
                    f"mask has shape {tuple(mask_B.shape)} and dtype {mask_B.dtype}; expected bool ({num_rows},)"
                )
            mask_B = mask_B.detach().cpu()
            scores_BK, labels_BK, indices_B = scores_BK[mask_B], labels_BK[mask_B], indices_B[mask_B]
        labels_BK, indices_B = self._checked(labels_BK, indices_B)
        broken = (~scores_BK.isfinite()).any(dim=1).nonzero().flatten()
        if broken.numel():
            raise UsageError(
                f"scores of video {int(indices_B[broken[0]])} hold NaN or infinite values; expected finite numbers, "
                "check the weights and the precision of the run"
            )
        self._read.append((scores_BK, labels_BK, indices_B))
        self._seen.update(indices_B.tolist())

    def add_failures(self, labels_FK: Tensor, indices: Tensor | Sequence[int]) -> None:
        """Count listed videos that could not be read.

        Args:
            labels_FK: (F, K); as for `update`.
            indices: (F,) each video's place in the list.

        Raises:
            UsageError: a shape does not fit, a label is neither 0 nor 1, or a video has been counted before.
        """
        indices_F = torch.as_tensor(indices).detach().cpu().reshape(-1)
        labels_FK = labels_FK.detach().cpu()
        if tuple(labels_FK.shape) != (indices_F.shape[0], self.num_classes):
            raise UsageError(
                f"labels of unread videos have shape {tuple(labels_FK.shape)}; "
                f"expected ({indices_F.shape[0]}, {self.num_classes}), one row for each index"
            )
        labels_FK, indices_F = self._checked(labels_FK, indices_F)
        self._failed.append((labels_FK, indices_F))
        self._seen.update(indices_F.tolist())

    def merge(self, other: MultiLabelMetrics) -> None:
        """Add what another one has kept; the order of merging does not matter.

        Raises:
            UsageError: the two have different numbers of classes, or a video in common.
        """
        if other.num_classes != self.num_classes:
            raise UsageError(f"metrics over {other.num_classes} classes cannot be merged into {self.num_classes}")
        self._check_new(other._seen)
        self._read += other._read
        self._failed += other._failed
        self._seen |= other._seen

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all rows, in the order of the list.

        Returns:
            "scores" (N, K) float32, "labels" (N, K) bool and "indices" (N,) of the videos that could be read;
            "failed_labels" (F, K) bool and "failed_indices" (F,) of the others. Processes merge by
            `merge(from_state(state))`.
        """
        scores_NK, labels_NK, indices_N = self._rows()
        failed_labels_FK, failed_indices_F = (torch.cat(parts) for parts in zip(*self._failed, strict=True))
        order_F = failed_indices_F.argsort()
        return {
            "scores": scores_NK,
            "labels": labels_NK,
            "indices": indices_N,
            "failed_labels": failed_labels_FK[order_F],
            "failed_indices": failed_indices_F[order_F],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> MultiLabelMetrics:
        """Rebuild from `state_dict()`; tensors on any device.

        Raises:
            UsageError: a key is missing or unknown, or something is wrong in the sense of `update`.
        """
        if set(state) != set(_STATE_KEYS):
            raise UsageError(f"metrics state has keys {sorted(state)}; expected {sorted(_STATE_KEYS)}")
        metrics = cls(state["scores"].shape[1] if state["scores"].ndim == 2 else 0)
        metrics.update(state["scores"], state["labels"], state["indices"])
        metrics.add_failures(state["failed_labels"], state["failed_indices"])
        return metrics

    @property
    def num_videos(self) -> int:
        """Listed videos, read or not."""
        return len(self._seen)

    @property
    def num_failed(self) -> int:
        """Listed videos that could not be read."""
        return sum(indices_F.shape[0] for _, indices_F in self._failed)

    def num_positives(self, *, listed: bool = True) -> tuple[int, ...]:
        """(K,) how many videos have each class: of all listed ones, or of those that could be read."""
        labels = [labels_BK for _, labels_BK, _ in self._read]
        if listed:
            labels += [labels_FK for labels_FK, _ in self._failed]
        return tuple(torch.cat(labels).sum(dim=0).tolist())

    def average_precisions(
        self, rule: AveragePrecisionRule = "official", *, listed: bool = True
    ) -> tuple[float | None, ...]:
        """The AP of each class.

        Args:
            rule: what becomes of videos without any action. "official", the Charades challenge's: they rank after all
                others, whatever their scores. "drop_empty_classes", SlowFast's and scikit-learn's: they rank by their
                scores like all others. Under both, a class without positives has no AP; the official script gives NaN
                for such classes and then for their mean.
            listed: over all listed videos; otherwise over those that could be read.

        Returns:
            (K,) 0 to 1; None where no video has the class.

        Raises:
            UnknownName: there is no such rule.
        """
        if rule not in get_args(AveragePrecisionRule):
            raise UnknownName("rule of average precision", rule, get_args(AveragePrecisionRule))
        scores_NK, labels_NK, _ = self._rows()
        if rule == "official":
            # Behind all others, videos without positives change no precision: leaving them out is the same.
            labelled_N = labels_NK.any(dim=1)
            scores_NK, labels_NK = scores_NK[labelled_N], labels_NK[labelled_N]
        ranking_NK = scores_NK.sort(dim=0, descending=True, stable=True).indices
        hits_NK = labels_NK.gather(0, ranking_NK)
        ranks_N1 = torch.arange(1, hits_NK.shape[0] + 1, dtype=torch.float64).unsqueeze(1)
        found_K = (hits_NK.cumsum(dim=0) / ranks_N1 * hits_NK).sum(dim=0)
        positives = self.num_positives(listed=listed)
        return tuple(found / count if count else None for found, count in zip(found_K.tolist(), positives, strict=True))

    def mean_average_precision(self, rule: AveragePrecisionRule = "official", *, listed: bool = True) -> float:
        """The mean AP (mAP), 0 to 1, over the classes that at least one video has; other classes are left out.

        Args:
            rule: as for `average_precisions`.
            listed: as for `average_precisions`.

        Raises:
            UsageError: no video has any class.
        """
        known = [value for value in self.average_precisions(rule, listed=listed) if value is not None]
        if not known:
            raise UsageError(
                f"no average precision over {self.num_videos} videos ({self.num_failed} could not be read): not one "
                "of them has a label; check the list"
            )
        return sum(known) / len(known)

    def _rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and places of the videos that could be read, in the order of the list."""
        scores_NK, labels_NK, indices_N = (torch.cat(parts) for parts in zip(*self._read, strict=True))
        order_N = indices_N.argsort()
        return scores_NK[order_N], labels_NK[order_N], indices_N[order_N]

    def _checked(self, labels_BK: Tensor, indices_B: Tensor) -> tuple[Tensor, Tensor]:
        """Labels as bool and indices as int64, or `UsageError`."""
        if bool(((labels_BK != 0) & (labels_BK != 1)).any()):
            raise UsageError("labels hold numbers other than 0 and 1; expected 1 where a video shows a class")
        if indices_B.numel() == 0:
            return labels_BK.bool(), indices_B.long()
        if indices_B.is_floating_point() or indices_B.dtype == torch.bool or int(indices_B.min()) < 0:
            raise UsageError(f"indices begin with {indices_B[:3].tolist()}; expected integers >= 0, places in the list")
        self._check_new(indices_B.tolist())
        return labels_BK.bool(), indices_B.long()

    def _check_new(self, indices: Iterable[int]) -> None:
        twice = [index for index, count in Counter(indices).items() if count > 1 or index in self._seen]
        if twice:
            raise UsageError(f"video {min(twice)} of the list is counted twice; mask padded rows out")
