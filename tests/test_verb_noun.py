"""Verb, noun and action accuracy: golden numbers, numbers by hand, both conventions of top-5, merging, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from fewframes.errors import UsageError
from fewframes.verb_noun import VerbNoun, VerbNounMetrics, VerbNounScores, split_verb_noun, top_actions
from tests.helpers.golden import GOLDEN

FOLDER = GOLDEN / "epic_action_scores_a"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
    return result


@pytest.fixture(scope="module")
def logits() -> VerbNoun:
    tensors = load_file(FOLDER / "logits.safetensors")
    return VerbNoun(verb=tensors["verb_logits"], noun=tensors["noun_logits"])


@pytest.fixture(scope="module")
def labels(expected: dict[str, Any]) -> VerbNoun:
    samples = expected["samples"]
    return VerbNoun(*(torch.tensor([each[key] for each in samples]) for key in ("label_verb", "label_noun")))


def counted(logits: VerbNoun, labels: VerbNoun) -> VerbNounMetrics:
    metrics = VerbNounMetrics(logits.verb.shape[1], logits.noun.shape[1])
    metrics.update(logits, labels)
    return metrics


def test_the_golden_pairs_and_scores(expected: dict[str, Any], logits: VerbNoun) -> None:
    pairs, scores = top_actions(*logits)
    for row, sample in enumerate(expected["samples"]):
        found = torch.stack([pairs.verb[row], pairs.noun[row]], dim=1).tolist()
        assert found == sample["top5_actions_verb_noun"]
        assert scores[row].tolist() == pytest.approx(sample["top5_scores"], rel=1e-5)


def test_the_golden_ranks(expected: dict[str, Any], logits: VerbNoun) -> None:
    pairs, _ = top_actions(*logits, k=97 * 300)
    for row, sample in enumerate(expected["samples"]):
        hit = (pairs.verb[row] == sample["label_verb"]) & (pairs.noun[row] == sample["label_noun"])
        assert hit.nonzero().tolist() == [[sample["rank_of_label_action"]]]


def test_the_golden_metrics(expected: dict[str, Any], logits: VerbNoun, labels: VerbNoun) -> None:
    scores, fractions = counted(logits, labels).decoded, expected["metrics"]
    assert fractions["action_top5_product_ranking"] != fractions["action_top5_if_both_in_their_top5"]
    assert scores == VerbNounScores(
        5,
        verb_top1=100 * fractions["verb_top1"],
        verb_top5=100 * fractions["verb_top5"],
        noun_top1=100 * fractions["noun_top1"],
        noun_top5=100 * fractions["noun_top5"],
        action_top1=100 * fractions["action_top1"],
        action_top5=100 * fractions["action_top5_product_ranking"],
        action_both_in_top5=100 * fractions["action_top5_if_both_in_their_top5"],
    )


def test_a_head_taken_apart_the_wrong_way_round_fails(
    expected: dict[str, Any], logits: VerbNoun, labels: VerbNoun
) -> None:
    joint = torch.cat([logits.noun, logits.verb], dim=1)
    right = split_verb_noun(joint)
    assert torch.equal(right.verb, logits.verb)
    assert torch.equal(right.noun, logits.noun)
    wrong = VerbNoun(verb=joint[:, :97], noun=joint[:, 97:])
    assert counted(wrong, labels).decoded.verb_top1 != 100 * expected["metrics"]["verb_top1"]
    pairs, _ = top_actions(*wrong)
    assert pairs.verb[0].tolist() != [each[0] for each in expected["samples"][0]["top5_actions_verb_noun"]]


def test_by_hand() -> None:
    """Softmax of (ln 2, 0) is (2/3, 1/3), of (ln 3, ln 2, 0) is (3/6, 2/6, 1/6)."""
    verb, noun = torch.tensor([[2.0, 1.0]]).log(), torch.tensor([[3.0, 2.0, 1.0]]).log()
    pairs, scores = top_actions(verb, noun, k=9)
    # 6/18 and 4/18, then 3/18, then 2/18 twice (the lower noun first), then 1/18.
    assert pairs.noun.tolist() == [[0, 1, 0, 1, 2, 2]]
    assert pairs.verb.tolist() == [[0, 0, 1, 1, 0, 1]]
    assert scores[0].tolist() == pytest.approx([each / 18 for each in (6, 4, 3, 2, 2, 1)], rel=1e-6)
    assert scores.dtype == torch.float64


def test_what_would_vanish_as_a_product_is_still_ranked() -> None:
    verb, noun = torch.tensor([[0.0, -500.0, -400.0]]), torch.tensor([[-450.0, 0.0, -460.0]])
    pairs, scores = top_actions(verb, noun, k=9)
    assert list(zip(pairs.verb[0].tolist(), pairs.noun[0].tolist(), strict=True))[-2:] == [(1, 0), (1, 2)]
    assert scores[0, -1] == 0.0


def test_both_conventions_by_hand() -> None:
    """Seven verbs and one sure noun: the fifth verb with the second noun is in both top-5 lists, but 25 pairs deep."""
    verb = torch.tensor([[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]])
    noun = torch.tensor([[100.0, 1.0]])
    scores = counted(VerbNoun(verb, noun), VerbNoun(torch.tensor([4]), torch.tensor([1]))).decoded
    assert (scores.action_top5, scores.action_both_in_top5, scores.verb_top5, scores.noun_top5) == (0, 100, 100, 100)
    scores = counted(VerbNoun(verb, noun), VerbNoun(torch.tensor([4]), torch.tensor([0]))).decoded
    assert (scores.action_top1, scores.action_top5, scores.action_both_in_top5) == (0, 100, 100)


def test_ties_go_to_the_lower_index() -> None:
    even = VerbNoun(torch.zeros(1, 3), torch.zeros(1, 7))
    pairs, _ = top_actions(*even, k=4)
    assert pairs.noun.tolist() == [[0, 0, 0, 1]]
    assert pairs.verb.tolist() == [[0, 1, 2, 0]]
    right = counted(even, VerbNoun(torch.tensor([0]), torch.tensor([0]))).decoded
    assert (right.verb_top1, right.noun_top1, right.action_top1) == (100, 100, 100)
    wrong = counted(even, VerbNoun(torch.tensor([2]), torch.tensor([1]))).decoded
    assert (wrong.verb_top1, wrong.action_top5, wrong.action_both_in_top5) == (0, 0, 100)


def random_batch(seed: int, rows: int, *, levels: int = 5) -> tuple[VerbNoun, VerbNoun]:
    """Logits of few levels, so that ties are common."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    logits = VerbNoun(draw(levels, rows, 7).float(), draw(levels, rows, 11).float())
    return logits, VerbNoun(draw(7, rows), draw(11, rows))


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
@settings(max_examples=40, deadline=None)
def test_the_relations_between_the_numbers(seed: int, levels: int) -> None:
    logits, labels = random_batch(seed, 13, levels=levels)
    scores = counted(logits, labels).decoded
    both = (logits.verb.argmax(1) == labels.verb) & (logits.noun.argmax(1) == labels.noun)
    assert scores.action_top1 == pytest.approx(100 * float(both.float().mean()), rel=1e-6)
    assert scores.action_top1 <= scores.action_top5 <= scores.action_both_in_top5
    assert scores.action_both_in_top5 <= min(scores.verb_top5, scores.noun_top5)
    pairs, _ = top_actions(*logits)
    listed = ((pairs.verb == labels.verb[:, None]) & (pairs.noun == labels.noun[:, None])).any(1)
    assert scores.action_top5 == pytest.approx(100 * float(listed.float().mean()), rel=1e-6)
    assert VerbNounMetrics.from_state(counted(logits, labels).state_dict(), 7, 11).decoded == scores


def test_parts_merge_to_the_whole() -> None:
    logits, labels = random_batch(3, 17)
    whole = counted(logits, labels)
    whole.add_failures(4)
    first = counted(VerbNoun(logits.verb[:6], logits.noun[:6]), VerbNoun(labels.verb[:6], labels.noun[:6]))
    second = VerbNounMetrics(7, 11)
    mask = torch.arange(17) >= 6
    spoiled = VerbNoun(logits.verb.clone(), logits.noun)
    spoiled.verb[:6] = torch.nan
    second.update(spoiled, labels, mask_B=mask)
    second.add_failures(4)
    summed = {name: value + second.state_dict()[name] for name, value in first.state_dict().items()}
    first.merge(second)
    assert first.state_dict() == whole.state_dict() == summed
    assert first.listed.num_videos == 21
    assert first.decoded.num_videos == 17
    assert first.listed.verb_top5 == pytest.approx(whole.decoded.verb_top5 * 17 / 21)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verb": torch.zeros(2, 7, 1)}, r"verb logits have shape \(2, 7, 1\)"),
        ({"noun": torch.zeros(2, 11, dtype=torch.int64)}, r"noun logits have shape \(2, 11\) and dtype torch.int64"),
        ({"noun": torch.zeros(3, 11)}, "2 rows of verb logits but 3 of noun logits"),
        ({"noun": torch.zeros(2, 12)}, "logits are of 7 verbs and 12 nouns; expected 7 and 11"),
        ({"verb": torch.tensor([[0.0] * 7, [torch.nan] * 7])}, "verb logits of row 1 are not finite"),
        ({"verb_label": torch.tensor([0, 7])}, "verb label 7 is outside 0 to 6"),
        ({"noun_label": torch.tensor([-1, 0])}, "noun label -1 is outside 0 to 10"),
        ({"noun_label": torch.tensor([0.0, 1.0])}, r"noun labels have shape \(2,\) and dtype torch.float32"),
        ({"verb_label": torch.tensor([0])}, r"verb labels have shape \(1,\) .* expected integers \(2,\)"),
        ({"mask": torch.tensor([True])}, r"mask has shape \(1,\)"),
        ({"mask": torch.tensor([1, 0])}, r"mask has shape \(2,\) and dtype torch.int64; expected bool"),
    ],
)
def test_a_batch_that_does_not_fit_is_not_counted(changes: dict[str, Tensor], message: str) -> None:
    metrics = VerbNounMetrics(7, 11)
    logits = VerbNoun(changes.get("verb", torch.zeros(2, 7)), changes.get("noun", torch.zeros(2, 11)))
    zeros = torch.zeros(2, dtype=torch.int64)
    labels = VerbNoun(changes.get("verb_label", zeros), changes.get("noun_label", zeros))
    with pytest.raises(UsageError, match=message):
        metrics.update(logits, labels, mask_B=changes.get("mask"))
    assert not any(int(value) for value in metrics.state_dict().values())


def test_other_refusals() -> None:
    with pytest.raises(UsageError, match=r"logits have shape \(2, 396\); expected \(B, 397\), 300 nouns and then 97 v"):
        split_verb_noun(torch.zeros(2, 396))
    with pytest.raises(UsageError, match="k is 0; expected at least 1"):
        top_actions(torch.zeros(1, 2), torch.zeros(1, 3), k=0)
    with pytest.raises(UsageError, match="num_verbs is 0 and num_nouns 3"):
        VerbNounMetrics(0, 3)
    with pytest.raises(UsageError, match="metrics over 7 verbs and 11 nouns cannot be merged into 97 verbs and 300 no"):
        VerbNounMetrics().merge(VerbNounMetrics(7, 11))
    with pytest.raises(UsageError, match="number of failed videos is -1"):
        VerbNounMetrics().add_failures(-1)
    metrics = VerbNounMetrics()
    metrics.add_failures(2)
    with pytest.raises(UsageError, match=r"no accuracy over 0 decoded videos \(2 could not be read\)"):
        _ = metrics.decoded
    assert metrics.listed.action_top1 == 0.0
    state: dict[str, object] = dict(metrics.state_dict())
    with pytest.raises(UsageError, match="contradicts itself"):
        VerbNounMetrics.from_state({**state, "action_top1": 1})
    with pytest.raises(UsageError, match="metrics state has keys"):
        VerbNounMetrics.from_state({})
