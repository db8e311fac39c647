"""Counts and shares against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewframes.errors import UsageError
from fewframes.metrics import ClassificationMetrics, top_k, wilson_interval

NAN, INF = float("nan"), float("inf")


def one_hot_logits(predicted: list[int], num_classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predicted), num_classes).float()


def filled() -> ClassificationMetrics:
    """Seven classes; seven videos read, three not; every number below is counted on fingers."""
    metrics = ClassificationMetrics(7)
    logits = torch.tensor(
        [
            [9.0, 0, 0, 0, 0, 0, 0],  # class 0, right
            [9.0, 8, 7, 6, 5, 4, 3],  # class 4: rank 5, top-5 right
            [9.0, 8, 7, 6, 5, 4, 3],  # class 5: rank 6, wrong
            [0.0, 9, 0, 0, 0, 0, 0],  # class 1, right
            [0.0, 9, 0, 0, 0, 0, 0],  # class 1, right
            [0.0, 0, 9, 0, 0, 0, 0],  # class 1, said 2; ties: 2, 0, 1 -> top-5 right
            [1.0, 1, 1, 1, 1, 1, 1],  # class 5, all equal: said 0, rank 6, wrong
        ]
    )
    metrics.update(logits, torch.tensor([0, 4, 5, 1, 1, 1, 5]))
    metrics.add_failures([1, 6, 6])
    return metrics


def test_scores_by_hand_over_both_denominators() -> None:
    metrics = filled()
    assert metrics.decoded.num_videos == 7
    assert metrics.decoded.top1 == pytest.approx(100 * 3 / 7)
    assert metrics.decoded.top5 == pytest.approx(100 * 5 / 7)
    # Classes 0, 1, 4, 5 have videos: (1/1 + 2/3 + 0/1 + 0/2) / 4.
    assert metrics.decoded.mean_class_accuracy == pytest.approx(100 * (1 + 2 / 3) / 4)
    assert metrics.listed.num_videos == 10
    assert metrics.listed.top1 == pytest.approx(30.0)
    assert metrics.listed.top5 == pytest.approx(50.0)
    # Class 6 joins with 0/2, class 1 becomes 2/4: (1 + 2/4 + 0 + 0 + 0) / 5.
    assert metrics.listed.mean_class_accuracy == pytest.approx(30.0)


def test_counts_by_hand() -> None:
    metrics = filled()
    assert metrics.class_totals == (1, 4, 0, 0, 1, 2, 2)
    assert metrics.class_correct == (1, 2, 0, 0, 0, 0, 0)
    expected = [[0] * 7 for _ in range(7)]
    expected[0][0], expected[1][1], expected[1][2], expected[4][0], expected[5][0] = 1, 2, 1, 1, 2
    assert metrics.confusion == tuple(map(tuple, expected))


def test_top5_among_three_classes_is_always_right() -> None:
    metrics = ClassificationMetrics(3)
    metrics.update(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([2]))
    assert (metrics.decoded.top1, metrics.decoded.top5) == (0.0, 100.0)


@pytest.mark.parametrize("label", range(7))
def test_ties_go_to_the_lower_index(label: int) -> None:
    metrics = ClassificationMetrics(7)
    metrics.update(torch.zeros(1, 7), torch.tensor([label]))
    assert metrics.decoded.top1 == (100.0 if label == 0 else 0.0)
    assert metrics.decoded.top5 == (100.0 if label < 5 else 0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_logits_are_ranked_alike(dtype: torch.dtype) -> None:
    metrics = ClassificationMetrics(3)
    metrics.update(torch.tensor([[0.5, 2.0, -INF]], dtype=dtype), torch.tensor([1], dtype=torch.int32))
    assert metrics.decoded.top1 == 100.0


def test_masked_rows_are_neither_counted_nor_checked() -> None:
    padded, plain = ClassificationMetrics(3), ClassificationMetrics(3)
    logits = torch.tensor([[1.0, 2.0, 3.0], [NAN, NAN, NAN], [3.0, 2.0, 1.0]])
    padded.update(logits, torch.tensor([2, -1, 1]), mask_B=torch.tensor([True, False, True]))
    plain.update(logits[[0, 2]], torch.tensor([2, 1]))
    assert padded.confusion == plain.confusion
    assert padded.decoded == plain.decoded
    padded.update(logits, torch.tensor([9, 9, 9]), mask_B=torch.zeros(3, dtype=torch.bool))
    assert padded.decoded == plain.decoded


def test_an_empty_batch_changes_nothing() -> None:
    metrics = filled()
    before = metrics.listed
    metrics.update(torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64))
    metrics.add_failures([])
    assert metrics.listed == before


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("rfm")), min_size=1, max_size=40),
    cut=st.integers(0, 40),
)
def test_merging_parts_equals_one_pass(rows: list[tuple[int, int, str]], cut: int) -> None:
    def count(part: list[tuple[int, int, str]]) -> ClassificationMetrics:
        metrics = ClassificationMetrics(5)
        for label, predicted, kind in part:
            if kind == "f":
                metrics.add_failures(torch.tensor([label]))
            else:
                mask = torch.tensor([kind == "r"])
                metrics.update(one_hot_logits([predicted], 5), torch.tensor([label]), mask_B=mask)
        return metrics

    whole, first, second = count(rows), count(rows[:cut]), count(rows[cut:])
    summed = {key: value + second.state_dict()[key] for key, value in first.state_dict().items()}
    second.merge(first)
    for parts in (second, ClassificationMetrics.from_state(summed)):
        assert parts.confusion == whole.confusion
        assert parts.class_totals == whole.class_totals
        if sum(whole.class_totals):
            assert parts.listed == whole.listed
        if sum(map(sum, whole.confusion)):
            assert parts.decoded == whole.decoded


def test_batches_of_one_equal_one_batch() -> None:
    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(23, 11, generator=generator), torch.randint(0, 11, (23,), generator=generator)
    together, apart = ClassificationMetrics(11), ClassificationMetrics(11)
    together.update(logits, labels)
    for row in range(23):
        apart.update(logits[row : row + 1], labels[row : row + 1])
    assert together.decoded == apart.decoded
    ranks = (logits > logits.gather(1, labels[:, None])).sum(dim=1)
    assert together.decoded.top5 == pytest.approx(100 * float((ranks < 5).double().mean()))


def test_state_travels_as_lists_and_is_a_copy() -> None:
    metrics = filled()
    state = metrics.state_dict()
    rebuilt = ClassificationMetrics.from_state({key: value.tolist() for key, value in state.items()})
    assert (rebuilt.listed, rebuilt.decoded) == (metrics.listed, metrics.decoded)
    state["confusion"].zero_()
    assert metrics.decoded.num_videos == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"failed": [0, 0]}, r"confusion \(3, 3\), failed \(2,\)"),
        ({"failed": [0, -1, 0]}, "contradicts itself"),
        ({"top5_correct": 1}, "contradicts itself: .* 1 right among the five best where 0 are right"),
        ({"extra": 1}, "extra"),
    ],
)
def test_damaged_states_are_refused(change: dict[str, object], message: str) -> None:
    state: dict[str, object] = {**ClassificationMetrics(3).state_dict(), **change}
    with pytest.raises(UsageError, match=message):
        ClassificationMetrics.from_state(state)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.0, NAN, 1.0], "row 1 hold NaN"),
        ([0.0, INF, 1.0], "row 1 hold infinite"),
        ([-INF] * 3, "row 1 hold infinite"),
    ],
)
def test_broken_logits_are_named_and_nothing_is_counted(row: list[float], message: str) -> None:
    metrics = ClassificationMetrics(3)
    with pytest.raises(ValueError, match=message):
        metrics.update(torch.tensor([[0.0, 1.0, 2.0], row]), torch.tensor([0, 1]))
    assert metrics.class_totals == (0, 0, 0)


@pytest.mark.parametrize(
    ("logits", "labels", "mask", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), None, r"shape \(2, 4\).*expected.*\(B, 3\)"),
        (torch.zeros(3), torch.zeros(1, dtype=torch.int64), None, r"shape \(3,\)"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), None, "int64"),
        (torch.zeros(2, 3), torch.zeros(1, dtype=torch.int64), None, r"labels have shape \(1,\); expected \(2,\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), None, "label 3 is outside 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), None, "label -1 is outside"),
        (torch.zeros(2, 3), torch.zeros(2), None, "dtype torch.float32; expected integers"),
        (
            torch.zeros(2, 3),
            torch.tensor([0, 1]),
            torch.ones(2),
            "mask has shape .* and dtype torch.float32; expected bool",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ClassificationMetrics(3).update(logits, labels, mask_B=mask)


def test_no_videos_is_an_error_not_a_nan() -> None:
    metrics = ClassificationMetrics(3)
    with pytest.raises(UsageError, match="0 listed videos"):
        _ = metrics.listed
    metrics.add_failures([2])
    assert metrics.listed.top1 == 0.0
    with pytest.raises(UsageError, match=r"0 decoded videos \(1 could not be read\)"):
        _ = metrics.decoded


def test_other_misuse() -> None:
    with pytest.raises(UsageError, match="num_classes is 0"):
        ClassificationMetrics(0)
    with pytest.raises(UsageError, match="over 4 classes cannot be merged into 3"):
        ClassificationMetrics(3).merge(ClassificationMetrics(4))
    with pytest.raises(UsageError, match="label 3"):
        ClassificationMetrics(3).add_failures([0, 3])


def test_top_k_by_hand() -> None:
    logits = torch.tensor([1.0, 3.0, 3.0, 2.0]).log()
    indices, probabilities = top_k(logits, 3)
    assert indices.tolist() == [1, 2, 3]
    assert probabilities.tolist() == pytest.approx([3 / 9, 3 / 9, 2 / 9])
    indices, probabilities = top_k(logits, 9)
    assert indices.tolist() == [1, 2, 3, 0]
    assert float(probabilities.sum()) == pytest.approx(1.0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(0, 11))
def test_top_k_agrees_with_the_metric(values: list[int], label: int) -> None:
    label %= len(values)
    logits = torch.tensor(values, dtype=torch.float32)
    metrics = ClassificationMetrics(len(values))
    metrics.update(logits[None], torch.tensor([label]))
    assert metrics.decoded.top1 == 100.0 * (int(top_k(logits, 1)[0][0]) == label)
    assert metrics.decoded.top5 == 100.0 * (label in top_k(logits, 5)[0].tolist())


@pytest.mark.parametrize(
    ("logits", "k", "message"),
    [
        (torch.zeros(3), 0, "top_k is 0"),
        (torch.zeros(2, 3), 1, r"shape \(2, 3\)"),
        (torch.tensor([0.0, NAN]), 1, "NaN"),
    ],
)
def test_top_k_refuses(logits: torch.Tensor, k: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        top_k(logits, k)


def test_wilson_interval_by_hand() -> None:
    # 177 of 202: z = 1.96, centre (0.87624 + 3.8415 / 404) / 1.019017 = 0.86921, half 0.04553.
    assert wilson_interval(177, 202) == pytest.approx((82.37, 91.47), abs=0.01)
    # 8 of 10: centre (0.8 + 0.192073) / 1.384146 = 0.716740, half 1.959964 * 0.160010 / 1.384146 = 0.226577.
    assert wilson_interval(8, 10) == pytest.approx((49.016, 94.332), abs=0.001)
    # None of n: the upper end is z^2 / (n + z^2).
    assert wilson_interval(0, 10) == pytest.approx((0.0, 100 * 3.841459 / 13.841459), abs=1e-4)
    assert wilson_interval(10, 10)[1] == 100.0
    # Confidence 0.6827 is z = 1: 1 of 2 gives centre 1/2, half sqrt(1/8 + 1/16) / 1.5 = 0.288675.
    assert wilson_interval(1, 2, confidence=math.erf(1 / math.sqrt(2))) == pytest.approx((21.1325, 78.8675), abs=1e-4)


@given(st.integers(1, 10_000), st.data())
def test_wilson_interval_holds_the_share(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    lower, upper = wilson_interval(successes, n)
    assert 0.0 <= lower <= 100 * successes / n <= upper <= 100.0
    mirrored = wilson_interval(n - successes, n)
    assert (lower, upper) == pytest.approx((100 - mirrored[1], 100 - mirrored[0]))


@pytest.mark.parametrize("counts", [(1, 0), (3, 2), (-1, 2)])
def test_wilson_interval_refuses_counts(counts: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=f"{counts[0]} successes of {counts[1]}"):
        wilson_interval(*counts)


def test_wilson_interval_refuses_confidence() -> None:
    with pytest.raises(UsageError, match=r"confidence is 95.*such as 0\.95"):
        wilson_interval(1, 2, confidence=95)
