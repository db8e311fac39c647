"""Losses of single clips against numbers worked out by hand, and against torch's own where it has one."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fewframes.errors import UsageError
from fewframes.training.loop import weighted_loss_sum
from fewframes.training.losses import (
    asymmetric_loss,
    binary_cross_entropy,
    cross_entropy,
    distillation_loss,
    multi_head_cross_entropy,
    regression_loss,
    weighted_cross_entropy_sum,
)
from fewframes.training.mixing import soft_targets


def logits_of(*rows: list[float]) -> Tensor:
    """Logits whose softmax are these probabilities."""
    return torch.tensor(rows).log()


def yes_logits(*rows: list[float]) -> Tensor:
    """Logits whose sigmoids are these probabilities."""
    return torch.tensor(rows).logit()


def drawn(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def test_cross_entropy_by_hand() -> None:
    logits, labels = logits_of([0.5, 0.3, 0.2], [0.1, 0.1, 0.8]), torch.tensor([1, 2])
    assert cross_entropy(logits, labels).tolist() == pytest.approx([-log(0.3), -log(0.8)])
    # Smoothing 0.3 over three classes: 0.8 of the right one, 0.1 of each other.
    smoothed = cross_entropy(logits, labels, label_smoothing=0.3).tolist()
    assert smoothed == pytest.approx(
        [-0.1 * log(0.5) - 0.8 * log(0.3) - 0.1 * log(0.2), -0.2 * log(0.1) - 0.8 * log(0.8)], rel=1e-6
    )
    weights = torch.tensor([1.0, 2.0, 4.0])
    found = cross_entropy(logits, labels, class_weights_K=weights)
    assert found.tolist() == pytest.approx([-2 * log(0.3), -4 * log(0.8)]), "times the weight, divided by nothing"
    found = cross_entropy(logits, labels, label_smoothing=0.3, class_weights_K=weights)
    assert float(found[0]) == pytest.approx(-0.1 * log(0.5) - 1.6 * log(0.3) - 0.4 * log(0.2), rel=1e-6)


def test_cross_entropy_of_shares_by_hand() -> None:
    logits, shares = logits_of([0.5, 0.3, 0.2]), torch.tensor([[0.25, 0.0, 0.75]])
    assert float(cross_entropy(logits, shares)) == pytest.approx(-0.25 * log(0.5) - 0.75 * log(0.2))
    # Smoothing 0.3: 0.7 * (0.25, 0, 0.75) + 0.1 = 0.275, 0.1, 0.625; times the weights 0.275, 0.2, 2.5.
    found = cross_entropy(logits, shares, label_smoothing=0.3, class_weights_K=torch.tensor([1, 2, 4]))
    assert float(found) == pytest.approx(-0.275 * log(0.5) - 0.2 * log(0.3) - 2.5 * log(0.2), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_whole_shares_are_labels(smoothing: float, weighted: bool) -> None:
    logits, labels = drawn(5, 7), torch.tensor([0, 3, 6, 3, 1])
    weights = drawn(7, seed=3).abs() if weighted else None
    settings: dict[str, Any] = {"label_smoothing": smoothing, "class_weights_K": weights}
    found = cross_entropy(logits, soft_targets(labels, (7,)), **settings)
    torch.testing.assert_close(found, cross_entropy(logits, labels, **settings))
    direct = F.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing, reduction="none")
    assert torch.equal(cross_entropy(logits, labels, **settings), direct)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [[1.0] * 11, [0.5, 1, 2, 3, 0, 1, 1, 7, 1, 0.25, 1]])
def test_the_sum_has_the_bits_of_the_training_loop(smoothing: float, weights: list[float]) -> None:
    labels, weights_B = torch.arange(11) % 7, torch.tensor(weights)
    bits = []
    for total in (weighted_loss_sum, weighted_cross_entropy_sum):
        logits = drawn(11, 7).requires_grad_()
        loss = total(logits, labels, weights_B, label_smoothing=smoothing)
        loss.backward()
        bits.append((loss.detach(), logits.grad))
    assert torch.equal(bits[0][0], bits[1][0])
    assert bits[0][1] is not None
    assert bits[1][1] is not None
    assert torch.equal(bits[0][1], bits[1][1])
    each = cross_entropy(drawn(11, 7), labels, label_smoothing=smoothing)
    assert float(bits[1][0]) == pytest.approx(float((each.double() * weights_B).sum()), rel=1e-6)


def test_multi_head_by_hand() -> None:
    # Two nouns and three verbs, side by side.
    logits = torch.cat([logits_of([0.6, 0.4]), logits_of([0.5, 0.3, 0.2])], dim=1)
    labels = torch.tensor([[1, 2]])
    found = multi_head_cross_entropy(logits, labels, class_splits=(2, 3))
    assert found.tolist() == pytest.approx([(-log(0.4) - log(0.2)) / 2], rel=1e-6)
    # Smoothing 0.3 within each head: 0.15 and 0.85; 0.1, 0.1 and 0.8.
    nouns = -0.15 * log(0.6) - 0.85 * log(0.4)
    verbs = -0.1 * log(0.5) - 0.1 * log(0.3) - 0.8 * log(0.2)
    found = multi_head_cross_entropy(logits, labels, class_splits=(2, 3), label_smoothing=0.3)
    assert found.tolist() == pytest.approx([(nouns + verbs) / 2], rel=1e-6)
    shares = soft_targets(labels, (2, 3))
    assert shares.tolist() == [[0, 1, 0, 0, 1]]
    soft = multi_head_cross_entropy(logits, shares, class_splits=(2, 3), label_smoothing=0.3)
    torch.testing.assert_close(soft, found)
    swapped = multi_head_cross_entropy(logits, torch.tensor([[1, 1]]), class_splits=(3, 2))
    assert float(swapped) != pytest.approx((-log(0.4) - log(0.3)) / 2), "where the heads part matters"


def test_one_head_is_plain_cross_entropy() -> None:
    logits, labels = drawn(5, 7), torch.tensor([0, 3, 6, 3, 1])
    found = multi_head_cross_entropy(logits, labels[:, None], class_splits=[7], label_smoothing=0.1)
    assert torch.equal(found, cross_entropy(logits, labels, label_smoothing=0.1))


def test_binary_cross_entropy_by_hand() -> None:
    logits, targets = yes_logits([0.5, 0.8, 0.1]), torch.tensor([[True, False, False]])
    terms = [-log(0.5), -log(0.2), -log(0.9)]
    assert float(binary_cross_entropy(logits, targets)) == pytest.approx(sum(terms) / 3)
    assert float(binary_cross_entropy(logits, targets, over_classes="sum")) == pytest.approx(sum(terms))
    weights = torch.tensor([1, 0.5, 4])
    found = binary_cross_entropy(logits, targets, class_weights_K=weights)
    assert float(found) == pytest.approx((terms[0] + 0.5 * terms[1] + 4 * terms[2]) / 3)
    many, truth = drawn(5, 7), drawn(5, 7, seed=2) > 0
    direct = F.binary_cross_entropy_with_logits(many, truth.float())
    assert float(binary_cross_entropy(many, truth).mean()) == pytest.approx(float(direct), rel=1e-6)


def test_asymmetric_loss_by_hand() -> None:
    # Classes that are there cost -(1 - p)^g log p; classes that are not -(p - 0.05)^4 log(1 - (p - 0.05)).
    there, not_there = torch.ones(1, 1), torch.zeros(1, 1)
    assert float(asymmetric_loss(yes_logits([0.8]), there)) == pytest.approx(-log(0.8))
    assert float(asymmetric_loss(yes_logits([0.8]), there, gamma_positive=2)) == pytest.approx(-0.04 * log(0.8))
    assert float(asymmetric_loss(yes_logits([0.8]), not_there)) == pytest.approx(-(0.75**4) * log(0.25))
    found = asymmetric_loss(yes_logits([0.55]), not_there, gamma_negative=1, clip=0.3)
    assert float(found) == pytest.approx(-0.25 * log(0.75), rel=1e-5)
    assert float(asymmetric_loss(yes_logits([0.8]), not_there, gamma_negative=3, clip=0)) == pytest.approx(
        -(0.8**3) * log(0.2)
    )
    assert float(asymmetric_loss(yes_logits([0.04]), not_there)) == 0.0, "an easy negative costs nothing"
    assert float(asymmetric_loss(yes_logits([0.04]), not_there, gamma_negative=0)) == 0.0


def test_asymmetric_loss_over_classes() -> None:
    logits, targets = yes_logits([0.8, 0.8, 0.3]), torch.tensor([[1, 0, 0]])
    terms = [-log(0.8), -(0.75**4) * log(0.25), -(0.25**4) * log(0.75)]
    assert float(asymmetric_loss(logits, targets)) == pytest.approx(sum(terms))
    assert float(asymmetric_loss(logits, targets, over_classes="mean")) == pytest.approx(sum(terms) / 3)
    half = asymmetric_loss(yes_logits([0.8]), torch.tensor([[0.25]]))
    assert float(half) == pytest.approx(0.25 * terms[0] + 0.75 * terms[1]), "shares weigh both terms"


def test_asymmetric_loss_without_asymmetry_is_binary_cross_entropy() -> None:
    logits, targets = drawn(5, 7), drawn(5, 7, seed=2) > 0
    found = asymmetric_loss(logits, targets, gamma_negative=0, gamma_positive=0, clip=0)
    torch.testing.assert_close(found, binary_cross_entropy(logits, targets, over_classes="sum"))


def test_gradients_of_the_asymmetric_loss_by_hand() -> None:
    def slope(p: float, target: float, **settings: Any) -> float:  # noqa: ANN401
        logits = yes_logits([p]).requires_grad_()
        asymmetric_loss(logits, torch.tensor([[target]]), **settings).sum().backward()
        assert logits.grad is not None
        return float(logits.grad)

    assert slope(0.8, 1) == pytest.approx(-0.2, rel=1e-5)
    # dp/dx = p (1 - p) = 0.16; d/dp of -q^4 log(1 - q) at q = 0.75.
    assert slope(0.8, 0) == pytest.approx(0.16 * (-4 * 0.75**3 * log(0.25) + 0.75**4 / 0.25), rel=1e-5)
    assert slope(0.8, 0, detach_focus=True) == pytest.approx(0.16 * 0.75**4 / 0.25, rel=1e-5)
    assert slope(0.04, 0) == 0.0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_the_asymmetric_loss_is_finite_everywhere(gamma: float, clip: float) -> None:
    logits = torch.tensor([[-300.0, -90, -17, 0, 17, 90, 300]]).requires_grad_()
    for targets in (torch.ones(1, 7), torch.zeros(1, 7)):
        loss = asymmetric_loss(logits, targets, gamma_negative=gamma, gamma_positive=gamma, clip=clip)
        (grad,) = torch.autograd.grad(loss.sum(), logits)
        assert bool(loss.isfinite().all())
        assert bool(grad.isfinite().all())


def test_regression_by_hand() -> None:
    predictions, targets = torch.tensor([1.0, 4.0, -1.0]), torch.tensor([1.5, 1.0, -1.0])
    assert regression_loss(predictions, targets).tolist() == [0.25, 9.0, 0.0]
    assert regression_loss(predictions, targets, kind="smooth_l1").tolist() == [0.125, 2.5, 0.0]
    assert regression_loss(predictions, targets, kind="smooth_l1", beta=2.0).tolist() == [0.0625, 2.0, 0.0]
    pairs = torch.tensor([[1.0, 4.0]]), torch.tensor([[1.5, 1.0]])
    assert regression_loss(*pairs).tolist() == [4.625]
    assert regression_loss(*pairs, kind="smooth_l1").tolist() == [1.3125]


def test_distillation_by_hand() -> None:
    student, teacher = logits_of([0.5, 0.5]), logits_of([0.9, 0.1])
    divergence = 0.9 * log(0.9 / 0.5) + 0.1 * log(0.1 / 0.5)
    assert float(distillation_loss(student, teacher)) == pytest.approx(divergence, rel=1e-6)
    assert float(distillation_loss(teacher, student)) == pytest.approx(
        0.5 * log(0.5 / 0.9) + 0.5 * log(0.5 / 0.1), rel=1e-6
    ), "which one teaches matters"
    # At T = 2 probabilities become their roots, scaled to sum to 1: 3 to 1 for the teacher.
    softer = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    assert float(distillation_loss(student, teacher, temperature=2)) == pytest.approx(4 * softer, rel=1e-6)
    assert float(distillation_loss(student + 3, student, temperature=3)) == pytest.approx(0.0, abs=1e-6)


def test_the_mean_distillation_is_batchmean() -> None:
    student, teacher = drawn(5, 7), drawn(5, 7, seed=1)
    direct = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    assert float(distillation_loss(student, teacher).mean()) == pytest.approx(float(direct), rel=1e-6)


def test_the_teacher_learns_nothing() -> None:
    student, teacher = drawn(5, 7).requires_grad_(), drawn(5, 7, seed=1).requires_grad_()
    distillation_loss(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    torch.testing.assert_close(student.grad, student.detach().softmax(1) - teacher.detach().softmax(1))


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": lambda x: cross_entropy(x, torch.arange(5), label_smoothing=0.1),
    "shares": lambda x: cross_entropy(x, drawn(5, 7).softmax(1).to(x.dtype)),
    "multi_head": lambda x: multi_head_cross_entropy(x, torch.ones(5, 2, dtype=torch.int32), class_splits=(3, 4)),
    "binary": lambda x: binary_cross_entropy(x, drawn(5, 7) > 0),
    "asymmetric": lambda x: asymmetric_loss(x, drawn(5, 7) > 0, gamma_positive=1),
    "mse": lambda x: regression_loss(x, torch.ones(5, 7)),
    "smooth_l1": lambda x: regression_loss(x, torch.ones(5, 7), kind="smooth_l1"),
    "distillation": lambda x: distillation_loss(x, drawn(5, 7, seed=1), temperature=2),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_one_float32_loss_for_each_clip(name: str, dtype: torch.dtype) -> None:
    outputs = drawn(5, 7, seed=4).to(dtype)
    losses = LOSSES[name](outputs)
    assert losses.dtype == torch.float32
    assert tuple(losses.shape) == (5,)
    assert bool((losses >= 0).all())
    torch.testing.assert_close(losses, LOSSES[name](outputs.float()), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_entropy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64)), r"labels \(3,\) of torch.int64"),
        (lambda: cross_entropy(torch.zeros(2, 3), torch.ones(2, dtype=torch.bool)), "torch.bool; expected"),
        (lambda: cross_entropy(torch.zeros(2, 3), torch.zeros(2)), r"targets \(2,\); expected \(B, K\)"),
        (
            lambda: cross_entropy(torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), class_weights_K=torch.ones(2)),
            r"class weights have shape \(2,\); expected \(3,\)",
        ),
        (
            lambda: multi_head_cross_entropy(torch.zeros(2, 5), torch.zeros(2, 2).long(), class_splits=(2, 2)),
            r"\(2, 5\); expected \(B, 4\) for class_splits \(2, 2\)",
        ),
        (
            lambda: multi_head_cross_entropy(torch.zeros(2, 5), torch.zeros(2).long(), class_splits=(2, 3)),
            r"\(2,\); expected \(2, 2\), one class for each head",
        ),
        (lambda: binary_cross_entropy(torch.zeros(2, 3), torch.zeros(2)), r"targets \(2,\); expected \(B, K\)"),
        (
            lambda: binary_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), over_classes="none"),  # type: ignore[arg-type]
            "unknown way over the classes 'none'",
        ),
        (lambda: asymmetric_loss(torch.zeros(2, 3), torch.zeros(2, 3), clip=1), "a clip from 0 to below 1"),
        (lambda: asymmetric_loss(torch.zeros(2, 3), torch.zeros(2, 3), gamma_negative=-1), "gammas of at least 0"),
        (lambda: regression_loss(torch.zeros(2, 1), torch.zeros(2)), r"\(2, 1\), targets \(2,\); expected the same"),
        (lambda: regression_loss(torch.zeros(2), torch.zeros(2), kind="l1"), "unknown regression loss 'l1'"),  # type: ignore[arg-type]
        (lambda: regression_loss(torch.zeros(2), torch.zeros(2), beta=0), "beta is 0; expected a number above 0"),
        (lambda: distillation_loss(torch.zeros(2, 3), torch.zeros(2, 4)), r"\(2, 3\), targets \(2, 4\)"),
        (lambda: distillation_loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0), "temperature is 0"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
