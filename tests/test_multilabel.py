"""Average precisions against numbers worked out by hand and against the golden case of Charades."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fewframes.errors import UnknownName, UsageError
from fewframes.multilabel import MultiLabelMetrics
from tests.helpers.golden import GOLDEN

CASE: dict[str, Any] = json.loads((GOLDEN / "charades_map_a" / "case.json").read_text(encoding="utf-8"))


def golden() -> MultiLabelMetrics:
    metrics = MultiLabelMetrics(5)
    metrics.update(torch.tensor(CASE["scores"]), torch.tensor(CASE["labels"]), range(9))
    return metrics


def one_class(scores: list[float], labels: list[int], indices: list[int] | None = None) -> MultiLabelMetrics:
    metrics = MultiLabelMetrics(1)
    metrics.update(torch.tensor(scores)[:, None], torch.tensor(labels)[:, None], indices or list(range(len(scores))))
    return metrics


def assert_same(found: Sequence[float | None], expected: Sequence[float | None]) -> None:
    assert [each is None for each in found] == [each is None for each in expected]
    known = [each for each in expected if each is not None]
    assert [each for each in found if each is not None] == pytest.approx(known, abs=1e-12, rel=0)


def plain_average_precision(scores: list[float], labels: list[bool]) -> float | None:
    """The definition, written as a loop."""
    ranked = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    found, total = 0, 0.0
    for rank, index in enumerate(ranked, start=1):
        if labels[index]:
            found += 1
            total += found / rank
    return total / found if found else None


def test_golden_official() -> None:
    metrics, expected = golden(), CASE["official"]
    assert_same(metrics.average_precisions("official"), expected["ap_per_class"])
    found = metrics.mean_average_precision()
    assert found == pytest.approx(expected["mAP_over_classes_with_positives"], abs=1e-12, rel=0)
    pairs = zip(metrics.average_precisions(), metrics.num_positives(), strict=True)
    weighted = sum(each * count for each, count in pairs if each is not None) / sum(metrics.num_positives())
    assert weighted == pytest.approx(expected["weighted_mAP"], abs=1e-12, rel=0)


def test_golden_without_empty_classes() -> None:
    metrics, expected = golden(), CASE["drop_empty_classes"]
    assert_same(metrics.average_precisions("drop_empty_classes"), expected["ap_per_class"])
    assert metrics.mean_average_precision("drop_empty_classes") == pytest.approx(expected["mAP"], abs=1e-12, rel=0)


def test_golden_without_unlabelled_videos() -> None:
    rows = [index for index in range(9) if index not in CASE["videos_without_label"]]
    metrics = MultiLabelMetrics(5)
    metrics.update(torch.tensor(CASE["scores"])[rows], torch.tensor(CASE["labels"])[rows], rows)
    expected = CASE["exclude_unlabelled_videos"]["mAP"]
    for rule in ("official", "drop_empty_classes"):
        assert metrics.mean_average_precision(rule) == pytest.approx(expected, abs=1e-12, rel=0)  # type: ignore[arg-type]


def test_the_two_rules_and_a_zero_for_the_empty_class_differ() -> None:
    metrics = golden()
    official, plain = metrics.mean_average_precision("official"), metrics.mean_average_precision("drop_empty_classes")
    zeroed = sum(each or 0.0 for each in metrics.average_precisions()) / 5
    assert abs(official - plain) > 0.08
    assert abs(official - zeroed) > 0.09


def test_by_hand() -> None:
    # Ranked: yes, no, yes, no, yes -> 1/1, 2/3, 3/5.
    metrics = one_class([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 0, 1])
    expected = (1 + 2 / 3 + 3 / 5) / 3
    assert metrics.average_precisions("drop_empty_classes") == (pytest.approx(expected, abs=1e-15),)
    assert metrics.average_precisions("official") == (1.0,), "the others have no label at all"


def test_ties_go_to_the_first_of_the_list() -> None:
    rule: Any = "drop_empty_classes"
    assert one_class([0.5, 0.5, 0.5], [1, 0, 0]).average_precisions(rule) == (1.0,)
    assert one_class([0.5, 0.5, 0.5], [0, 0, 1]).average_precisions(rule) == (pytest.approx(1 / 3),)
    # The same videos in another order of arrival.
    assert one_class([0.5, 0.5, 0.5], [1, 0, 0], [2, 0, 1]).average_precisions(rule) == (pytest.approx(1 / 3),)
    assert one_class([0.0, -0.0], [0, 1]).average_precisions(rule) == (0.5,)


def test_unread_videos_are_positives_never_found() -> None:
    metrics = MultiLabelMetrics(3)
    metrics.update(torch.tensor([[3.0, 1, 0], [2, 2, 0], [1, 3, 0]]), torch.tensor([[1, 1, 0]] * 3), range(3))
    assert metrics.average_precisions() == (1.0, 1.0, None)
    metrics.add_failures(torch.tensor([[1, 0, 1], [0, 0, 0]]), [7, 8])
    # Class 0: three found at once, one never: (1 + 1 + 1 + 0) / 4. Class 2 has that one only.
    assert metrics.average_precisions() == (0.75, 1.0, 0.0)
    assert metrics.mean_average_precision() == pytest.approx(1.75 / 3)
    assert metrics.average_precisions(listed=False) == (1.0, 1.0, None)
    assert metrics.mean_average_precision(listed=False) == 1.0
    assert (metrics.num_videos, metrics.num_failed) == (5, 2)
    assert metrics.num_positives() == (4, 3, 1)
    assert metrics.num_positives(listed=False) == (3, 3, 0)


def test_logits_and_probabilities_rank_alike() -> None:
    metrics, logits = MultiLabelMetrics(5), torch.tensor(CASE["scores"]).logit()
    metrics.update(logits.double(), torch.tensor(CASE["labels"]).bool(), torch.arange(9))
    assert metrics.average_precisions() == golden().average_precisions()


def test_masked_rows_are_neither_kept_nor_checked() -> None:
    metrics = golden()
    scores = torch.tensor([[float("nan")] * 5, [0.5] * 5])
    labels, mask = torch.tensor([[9.0] * 5, [0.0] * 5]), torch.tensor([False, True])
    metrics.update(scores, labels, [3, 9], mask_B=mask)
    assert metrics.num_videos == 10
    metrics.update(scores[:0], labels[:0], [])
    metrics.add_failures(labels[:0], [])
    assert metrics.num_videos == 10


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[list[float]], list[list[bool]]]:
    size = draw(st.integers(1, 12))
    row = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=3, max_size=3)
    labels = st.lists(st.booleans(), min_size=3, max_size=3)
    return (
        draw(st.lists(row, min_size=size, max_size=size)),
        draw(st.lists(labels, min_size=size, max_size=size)),
    )


@given(lists())
def test_equals_the_definition(rows: tuple[list[list[float]], list[list[bool]]]) -> None:
    scores, labels = rows
    metrics = MultiLabelMetrics(3)
    metrics.update(torch.tensor(scores), torch.tensor(labels), range(len(scores)))
    for rule in ("drop_empty_classes", "official"):
        pushed = [
            each if any(has) or rule != "official" else [-9.0] * 3 for each, has in zip(scores, labels, strict=True)
        ]
        expected = [plain_average_precision([r[k] for r in pushed], [r[k] for r in labels]) for k in range(3)]
        assert_same(metrics.average_precisions(rule), expected)  # type: ignore[arg-type]


@given(lists(), st.lists(st.sampled_from("abf"), min_size=12, max_size=12), st.booleans())
def test_merging_parts_in_any_order_equals_one_pass(
    rows: tuple[list[list[float]], list[list[bool]]], homes: list[str], swap: bool
) -> None:
    scores, labels = torch.tensor(rows[0]), torch.tensor(rows[1])
    whole, parts = MultiLabelMetrics(3), {"a": MultiLabelMetrics(3), "b": MultiLabelMetrics(3)}
    for index in range(len(scores)):
        row: tuple[Tensor, list[int]] = (labels[index : index + 1], [index])
        if homes[index] == "f":
            whole.add_failures(*row)
            parts["b"].add_failures(*row)
        else:
            whole.update(scores[index : index + 1], *row)
            parts[homes[index]].update(scores[index : index + 1], *row)
    first, second = (parts["b"], parts["a"]) if swap else (parts["a"], parts["b"])
    first.merge(MultiLabelMetrics.from_state(second.state_dict()))
    assert first.average_precisions() == whole.average_precisions()
    assert first.average_precisions("drop_empty_classes", listed=False) == whole.average_precisions(
        "drop_empty_classes", listed=False
    )
    state, expected = first.state_dict(), whole.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert state["scores"].dtype == torch.float32
    assert state["labels"].dtype == torch.bool


def test_the_state_is_a_copy() -> None:
    metrics = golden()
    metrics.state_dict()["scores"].zero_()
    assert metrics.average_precisions() == golden().average_precisions()


def test_a_video_counts_once() -> None:
    metrics = golden()
    row: tuple[Tensor, Tensor] = (torch.zeros(1, 5), torch.zeros(1, 5))
    for again in (
        lambda: metrics.update(*row, [8]),
        lambda: metrics.add_failures(row[1], [8]),
        lambda: metrics.merge(golden()),
    ):
        with pytest.raises(UsageError, match=r"video \d of the list is counted twice; mask padded rows out"):
            again()
    with pytest.raises(UsageError, match="video 11 of the list is counted twice"):
        metrics.update(row[0].expand(2, 5), row[1].expand(2, 5), [11, 11])
    assert metrics.num_videos == 9
    assert metrics.average_precisions() == golden().average_precisions()


@pytest.mark.parametrize(
    ("scores", "labels", "indices", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(2, 4), [0, 1], r"scores have shape \(2, 4\).*expected floating point \(B, 3\)"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3), [0, 1], "dtype torch.int64"),
        (torch.zeros(2, 3), torch.zeros(2), [0, 1], r"labels have shape \(2,\), indices \(2,\); expected \(2, 3\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), [0], r"indices \(1,\); expected \(2, 3\) and \(2,\)"),
        (torch.zeros(2, 3), torch.full((2, 3), 0.5), [0, 1], "numbers other than 0 and 1"),
        (torch.zeros(2, 3), torch.full((2, 3), float("nan")), [0, 1], "numbers other than 0 and 1"),
        (torch.zeros(2, 3), torch.zeros(2, 3), [0, -1], r"indices begin with \[0, -1\]; expected integers >= 0"),
        (torch.zeros(2, 3), torch.zeros(2, 3), [0.0, 1.0], "expected integers >= 0"),
        (torch.tensor([[0.0] * 3, [0, float("nan"), 0]]), torch.zeros(2, 3), [4, 6], "scores of video 6 hold NaN or"),
        (torch.tensor([[0.0, float("-inf"), 0]]), torch.zeros(1, 3), [5], "scores of video 5 hold NaN or infinite"),
    ],
)
def test_what_does_not_fit_is_refused(scores: Tensor, labels: Tensor, indices: list[int], message: str) -> None:
    metrics = MultiLabelMetrics(3)
    with pytest.raises(UsageError, match=message):
        metrics.update(scores, labels, indices)
    assert metrics.num_videos == 0


def test_other_misuse() -> None:
    with pytest.raises(UsageError, match="num_classes is 0"):
        MultiLabelMetrics(0)
    with pytest.raises(UsageError, match="over 4 classes cannot be merged into 5"):
        golden().merge(MultiLabelMetrics(4))
    with pytest.raises(UsageError, match=r"unread videos have shape \(5,\); expected \(1, 5\)"):
        golden().add_failures(torch.zeros(5), [11])
    with pytest.raises(UsageError, match=r"mask has shape .* and dtype torch\.float32; expected bool"):
        golden().update(torch.zeros(2, 5), torch.zeros(2, 5), [11, 12], mask_B=torch.ones(2))
    with pytest.raises(UnknownName, match="unknown rule of average precision 'offical'; did you mean 'official'"):
        golden().average_precisions("offical")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"metrics state has keys \['scores'\]; expected"):
        MultiLabelMetrics.from_state({"scores": torch.zeros(1, 3)})


def test_no_labels_is_an_error_not_a_nan() -> None:
    metrics = MultiLabelMetrics(2)
    assert metrics.average_precisions() == (None, None)
    metrics.update(torch.zeros(3, 2), torch.zeros(3, 2), range(3))
    metrics.add_failures(torch.zeros(1, 2), [3])
    with pytest.raises(UsageError, match=r"over 4 videos \(1 could not be read\): not one of them has a label"):
        metrics.mean_average_precision()
