"""Verb and noun logits of EPIC-KITCHENS come in; action rankings and mergeable sums go out, then accuracies.

An action is a pair of a verb and a noun. Its score is the product of the two softmaxes, and all pairs are ranked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from fewframes.errors import UsageError

__all__ = ["NUM_NOUNS", "NUM_VERBS", "VerbNoun", "VerbNounMetrics", "VerbNounScores", "split_verb_noun", "top_actions"]

NUM_NOUNS, NUM_VERBS = 300, 97  # of EPIC-KITCHENS-100

_COUNTS = (
    "decoded",
    "failed",
    "verb_top1",
    "verb_top5",
    "noun_top1",
    "noun_top5",
    "action_top1",
    "action_top5",
    "action_both_in_top5",
)


class VerbNoun(NamedTuple):
    """The two parts of a joint classifier's output, or of its labels.

    Attributes:
        verb: (B, V) logits, or (B,) class indices.
        noun: (B, N) logits, or (B,) class indices.
    """

    verb: Tensor
    noun: Tensor


@dataclass(frozen=True)
class VerbNounScores:
    """Accuracies in percent, 0 to 100, over one denominator.

    Attributes:
        num_videos: the denominator.
        verb_top1: share of videos whose best verb is right.
        verb_top5: share of videos whose verb is among the five best.
        noun_top1: the same for nouns.
        noun_top5: the same for nouns.
        action_top1: share of videos whose best pair is right, which is: whose best verb and best noun both are.
        action_top5: share of videos whose pair is among the five best pairs by product, as the ViViT code counts.
        action_both_in_top5: share of videos whose verb is among the five best verbs and whose noun is among the five
            best nouns, which other code calls action top-5: up to 25 pairs are accepted, so it is never lower.
    """

    num_videos: int
    verb_top1: float
    verb_top5: float
    noun_top1: float
    noun_top5: float
    action_top1: float
    action_top5: float
    action_both_in_top5: float


def split_verb_noun(logits_BK: Tensor, *, num_nouns: int = NUM_NOUNS, num_verbs: int = NUM_VERBS) -> VerbNoun:
    """Take the output of a joint classifier apart: nouns come first, then verbs.

    Args:
        logits_BK: (B, K), K = `num_nouns` + `num_verbs`.
        num_nouns: N, >= 1.
        num_verbs: V, >= 1.

    Raises:
        UsageError: K is another number.

    Source: ViViT's EPIC-KITCHENS configuration, one head of 397 = 300 nouns and 97 verbs.
    """
    if logits_BK.ndim != 2 or logits_BK.shape[1] != num_nouns + num_verbs:
        raise UsageError(
            f"logits have shape {tuple(logits_BK.shape)}; "
            f"expected (B, {num_nouns + num_verbs}), {num_nouns} nouns and then {num_verbs} verbs"
        )
    return VerbNoun(verb=logits_BK[:, num_nouns:], noun=logits_BK[:, :num_nouns])


def top_actions(verb_BV: Tensor, noun_BN: Tensor, k: int = 5) -> tuple[VerbNoun, Tensor]:
    """The best pairs of each video and their scores.

    Pairs of equal score come in the order of their nouns, then of their verbs.

    Args:
        verb_BV: (B, V) logits.
        noun_BN: (B, N) logits.
        k: how many, >= 1; more than V * N gives all.

    Returns:
        Verbs and nouns of the pairs, each (B, min(k, V * N)) int64, best first, and the products of the two softmaxes,
        float64, 0 to 1; all pairs' add up to 1.

    Raises:
        UsageError: a shape does not fit, `k` is below 1, or a row is NaN or infinite.
    """
    if k < 1:
        raise UsageError(f"k is {k}; expected at least 1")
    verb_BV, noun_BN = _checked(verb_BV, noun_BN)
    num_verbs = verb_BV.shape[1]
    # A softmax is the logits minus one number for the whole row, so the order of the products is that of the sums of
    # logits; those are exact in float64 and cannot vanish as a product of small numbers can.
    sums_BP = (noun_BN[:, :, None] + verb_BV[:, None, :]).flatten(1)
    best_BK = sums_BP.sort(dim=1, descending=True, stable=True).indices[:, :k]
    pairs = VerbNoun(verb=best_BK % num_verbs, noun=best_BK // num_verbs)
    scores_BK = verb_BV.softmax(1).gather(1, pairs.verb) * noun_BN.softmax(1).gather(1, pairs.noun)
    return pairs, scores_BK


class VerbNounMetrics:
    """Verb, noun and action accuracy over two denominators: every listed video, and the videos that could be read.

    Only counts are kept, so two halves of a list give the same numbers as the whole. Ties are broken by index: among
    equals the lower class ranks first; among equal pairs the lower noun, then the lower verb.

    Args:
        num_verbs: V, >= 1.
        num_nouns: N, >= 1.

    Raises:
        UsageError: a number is below 1.
    """

    def __init__(self, num_verbs: int = NUM_VERBS, num_nouns: int = NUM_NOUNS) -> None:
        if min(num_verbs, num_nouns) < 1:
            raise UsageError(f"num_verbs is {num_verbs} and num_nouns {num_nouns}; expected at least 1 of each")
        self.num_verbs, self.num_nouns = num_verbs, num_nouns
        self._counts = dict.fromkeys(_COUNTS, 0)

    def update(self, logits: VerbNoun, labels: VerbNoun, *, mask_B: Tensor | None = None) -> None:
        """Count one batch of videos that could be read.

        Args:
            logits: (B, V) and (B, N) floating point, any device; see `split_verb_noun`.
            labels: (B,) integers each.
            mask_B: (B,) bool; rows that are False are padding: neither counted nor checked. None counts every row.

        Raises:
            UsageError: a shape does not fit, a label is out of range, or a row of logits is NaN or infinite. Nothing
                of the batch has been counted then.
        """
        if mask_B is not None:
            if mask_B.dtype != torch.bool or mask_B.ndim != 1 or mask_B.shape[0] != logits.verb.shape[0]:
                raise UsageError(f"mask has shape {tuple(mask_B.shape)} and dtype {mask_B.dtype}; expected bool (B,)")
            mask_B = mask_B.cpu()
            logits, labels = (VerbNoun(*(each.cpu()[mask_B] for each in pair)) for pair in (logits, labels))
        verb_BV, noun_BN = _checked(logits.verb, logits.noun)
        if verb_BV.shape[1] != self.num_verbs or noun_BN.shape[1] != self.num_nouns:
            raise UsageError(
                f"logits are of {verb_BV.shape[1]} verbs and {noun_BN.shape[1]} nouns; "
                f"expected {self.num_verbs} and {self.num_nouns}"
            )
        verb_B = _checked_labels(labels.verb, verb_BV, "verb")
        noun_B = _checked_labels(labels.noun, noun_BN, "noun")
        verb_rank_B, noun_rank_B = _rank_of(verb_BV, verb_B), _rank_of(noun_BN, noun_B)
        sums_BP = (noun_BN[:, :, None] + verb_BV[:, None, :]).flatten(1)
        action_rank_B = _rank_of(sums_BP, noun_B * self.num_verbs + verb_B)
        hits = {
            "verb_top1": verb_rank_B < 1,
            "verb_top5": verb_rank_B < 5,
            "noun_top1": noun_rank_B < 1,
            "noun_top5": noun_rank_B < 5,
            "action_top1": action_rank_B < 1,
            "action_top5": action_rank_B < 5,
            "action_both_in_top5": (verb_rank_B < 5) & (noun_rank_B < 5),
        }
        self._counts["decoded"] += verb_BV.shape[0]
        for name, hit_B in hits.items():
            self._counts[name] += int(hit_B.sum())

    def add_failures(self, number: int) -> None:
        """Count listed videos that could not be read: wrong among the listed ones, absent among the decoded ones.

        Raises:
            UsageError: the number is below 0.
        """
        if number < 0:
            raise UsageError(f"number of failed videos is {number}; expected at least 0")
        self._counts["failed"] += number

    def merge(self, other: VerbNounMetrics) -> None:
        """Add what another one has counted; the order of merging does not matter.

        Raises:
            UsageError: the two have different numbers of classes.
        """
        mine, theirs = (f"{each.num_verbs} verbs and {each.num_nouns} nouns" for each in (self, other))
        if mine != theirs:
            raise UsageError(f"metrics over {theirs} cannot be merged into {mine}")
        for name in _COUNTS:
            self._counts[name] += other._counts[name]

    def state_dict(self) -> dict[str, Tensor]:
        """All counts as int64 tensors; every entry is a sum, so adding states over processes merges them."""
        return {name: torch.tensor(count, dtype=torch.int64) for name, count in self._counts.items()}

    @classmethod
    def from_state(
        cls, state: Mapping[str, object], num_verbs: int = NUM_VERBS, num_nouns: int = NUM_NOUNS
    ) -> VerbNounMetrics:
        """Rebuild from `state_dict()`.

        Raises:
            UsageError: a key is missing or unknown, or the counts contradict each other.
        """
        if set(state) != set(_COUNTS):
            raise UsageError(f"metrics state has keys {sorted(state)}; expected {sorted(_COUNTS)}")
        counts = {name: int(torch.as_tensor(state[name])) for name in _COUNTS}
        orders = (
            ("verb_top1", "verb_top5", "decoded"),
            ("noun_top1", "noun_top5", "decoded"),
            ("action_top1", "action_top5", "action_both_in_top5", "verb_top5"),
            ("action_top1", "verb_top1"),
            ("action_top1", "noun_top1"),
            ("action_both_in_top5", "noun_top5"),
        )
        ordered = all(counts[less] <= counts[more] for names in orders for less, more in pairwise(names))
        if min(counts.values()) < 0 or not ordered:
            raise UsageError(f"metrics state contradicts itself: {counts}")
        metrics = cls(num_verbs, num_nouns)
        metrics._counts = counts
        return metrics

    @property
    def listed(self) -> VerbNounScores:
        """Scores over every listed video; those that could not be read count as wrong.

        Raises:
            UsageError: no video was counted.
        """
        return self._scores(self._counts["decoded"] + self._counts["failed"], "listed")

    @property
    def decoded(self) -> VerbNounScores:
        """Scores over the videos that could be read.

        Raises:
            UsageError: no video could be read.
        """
        return self._scores(self._counts["decoded"], "decoded")

    def _scores(self, num_videos: int, which: str) -> VerbNounScores:
        if num_videos == 0:
            raise UsageError(
                f"no accuracy over 0 {which} videos ({self._counts['failed']} could not be read); "
                "expected at least one, check the list and its paths"
            )
        shares = {name: 100.0 * self._counts[name] / num_videos for name in _COUNTS[2:]}
        return VerbNounScores(num_videos, **shares)


def _checked(verb_BV: Tensor, noun_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Both logits in float64 on the CPU; raises UsageError for what is no batch of finite logits."""
    for logits, what in ((verb_BV, "verb"), (noun_BN, "noun")):
        if logits.ndim != 2 or logits.shape[1] < 1 or not logits.is_floating_point():
            raise UsageError(
                f"{what} logits have shape {tuple(logits.shape)} and dtype {logits.dtype}; "
                "expected floating point (B, classes)"
            )
    if verb_BV.shape[0] != noun_BN.shape[0]:
        raise UsageError(f"there are {verb_BV.shape[0]} rows of verb logits but {noun_BN.shape[0]} of noun logits")
    verb_BV, noun_BN = (each.detach().cpu().double() for each in (verb_BV, noun_BN))
    for logits, what in ((verb_BV, "verb"), (noun_BN, "noun")):
        if not logits.isfinite().all():
            row = int((~logits.isfinite()).any(1).nonzero()[0])
            raise UsageError(
                f"{what} logits of row {row} are not finite; check the weights and the precision of the run"
            )
    return verb_BV, noun_BN


def _checked_labels(labels_B: Tensor, logits_BK: Tensor, what: str) -> Tensor:
    integers = not (labels_B.is_floating_point() or labels_B.is_complex() or labels_B.dtype == torch.bool)
    if tuple(labels_B.shape) != (logits_BK.shape[0],) or not integers:
        raise UsageError(
            f"{what} labels have shape {tuple(labels_B.shape)} and dtype {labels_B.dtype}; "
            f"expected integers ({logits_BK.shape[0]},), one for each row"
        )
    labels_B = labels_B.detach().cpu().to(torch.int64)
    outside = labels_B[(labels_B < 0) | (labels_B >= logits_BK.shape[1])]
    if outside.numel():
        raise UsageError(
            f"{what} label {int(outside[0])} is outside 0 to {logits_BK.shape[1] - 1}; check the label list"
        )
    return labels_B


def _rank_of(values_BK: Tensor, index_B: Tensor) -> Tensor:
    """(B,) how many come before this one: larger values, and equal ones of a lower index."""
    own_B1 = values_BK.gather(1, index_B[:, None])
    lower_BK = torch.arange(values_BK.shape[1]) < index_B[:, None]
    return ((values_BK > own_B1) | ((values_BK == own_B1) & lower_BK)).sum(1)
