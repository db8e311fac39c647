"""Mixed clips and targets against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fewframes.errors import UsageError
from fewframes.training.losses import cross_entropy, multi_head_cross_entropy
from fewframes.training.mixing import Box, cutmix, draw_box, draw_share, mix, mix_batch, mixup, soft_targets


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def painted(batch: int = 3) -> Tensor:
    """(B, 2, 3, 5, 7) uint8; every pixel of clip b says 10 * b + its frame."""
    clips = torch.zeros(batch, 2, 3, 5, 7, dtype=torch.uint8)
    for index in range(batch):
        for frame in range(2):
            clips[index, frame] = 10 * index + frame
    return clips


def test_mixup_by_hand() -> None:
    clips, targets = painted(), soft_targets(torch.tensor([0, 1, 3]), (4,))
    mixed = mixup(clips, targets, 0.75)
    # Clip 0 meets clip 2, clip 1 itself: 0.75 * 0 + 0.25 * 20, 10, 0.75 * 20 + 0.25 * 0; frame 1 is 1 more.
    assert mixed.clips_BTCHW.dtype == torch.float32
    assert mixed.clips_BTCHW[:, 0, 1, 2, 3].tolist() == [5.0, 10.0, 15.0]
    assert mixed.clips_BTCHW[:, 1, 2, 4, 6].tolist() == [6.0, 11.0, 16.0]
    assert mixed.targets_BK.tolist() == [[0.75, 0, 0, 0.25], [0, 1, 0, 0], [0.25, 0, 0, 0.75]]
    assert mixed.share == 0.75
    assert mix(torch.tensor([1.0, 2.0, 5.0]), mixed.share).tolist() == [2.0, 2.0, 4.0], "weights mix alike"
    assert torch.equal(clips, painted()), "the batch that came in stays as it is"


def test_cutmix_by_hand() -> None:
    clips, targets = painted(), soft_targets(torch.tensor([0, 1, 3]), (4,))
    box = Box(1, 4, 2, 7)
    assert box.area == 15
    mixed = cutmix(clips, targets, box)
    assert mixed.clips_BTCHW.dtype == torch.uint8
    assert mixed.share == pytest.approx(20 / 35)
    o, x = 0, 20
    assert mixed.clips_BTCHW[0, 0, 0].tolist() == [
        [o, o, o, o, o, o, o],
        [o, o, x, x, x, x, x],
        [o, o, x, x, x, x, x],
        [o, o, x, x, x, x, x],
        [o, o, o, o, o, o, o],
    ]
    # The same box in every frame and channel, from the partner's frame at that time.
    assert torch.equal(mixed.clips_BTCHW[0, 1, 2], mixed.clips_BTCHW[0, 0, 0] + 1)
    assert torch.equal(mixed.clips_BTCHW[2, 0, 0], 20 - mixed.clips_BTCHW[0, 0, 0])
    assert torch.equal(mixed.clips_BTCHW[1], clips[1])
    expected = torch.tensor([[20, 0, 0, 15], [0, 35, 0, 0], [15, 0, 0, 20]]) / 35
    torch.testing.assert_close(mixed.targets_BK, expected)
    assert torch.equal(clips, painted())


def test_nothing_and_everything() -> None:
    clips, targets = painted().float(), soft_targets(torch.tensor([2, 1, 0]), (3,))
    assert torch.equal(mixup(clips, targets, 1.0).clips_BTCHW, clips)
    assert torch.equal(mixup(clips, targets, 0.0).clips_BTCHW, clips.flip(0))
    empty, whole = cutmix(clips, targets, Box(2, 2, 0, 7)), cutmix(clips, targets, Box(0, 5, 0, 7))
    assert torch.equal(empty.clips_BTCHW, clips)
    assert torch.equal(empty.targets_BK, targets)
    assert torch.equal(whole.clips_BTCHW, clips.flip(0))
    assert torch.equal(whole.targets_BK, targets.flip(0))
    alone = mixup(clips[:1], targets[:1], 0.25)
    assert torch.equal(alone.clips_BTCHW, clips[:1])
    assert torch.equal(alone.targets_BK, targets[:1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_floats_keep_their_dtype(dtype: torch.dtype) -> None:
    clips, targets = painted().to(dtype), torch.ones(3, 4)
    assert mixup(clips, targets, 0.3).clips_BTCHW.dtype == dtype
    assert cutmix(clips, targets, Box(0, 1, 0, 1)).clips_BTCHW.dtype == dtype


def test_blending_colours_before_or_after_normalising() -> None:
    pixels = torch.randint(256, (3, 2, 3, 5, 7), generator=generator(), dtype=torch.uint8)
    targets = torch.ones(3, 4)
    after = mixup((pixels.float() / 255 - 0.45) / 0.225, targets, 0.3).clips_BTCHW
    before = (mixup(pixels, targets, 0.3).clips_BTCHW / 255 - 0.45) / 0.225
    torch.testing.assert_close(before, after, atol=2e-6, rtol=0)


def test_the_loss_of_mixed_targets_is_the_mixed_loss() -> None:
    logits, labels = torch.randn(3, 7, generator=generator()), torch.tensor([6, 0, 3])
    targets = mix(soft_targets(labels, (7,)), 0.3)
    found = cross_entropy(logits, targets, label_smoothing=0.1)
    own, other = (cross_entropy(logits, each, label_smoothing=0.1) for each in (labels, labels.flip(0)))
    torch.testing.assert_close(found, 0.3 * own + 0.7 * other)
    pairs = torch.tensor([[2, 3], [0, 1], [1, 0]])
    found = multi_head_cross_entropy(logits, mix(soft_targets(pairs, (3, 4)), 0.3), class_splits=(3, 4))
    own, other = (multi_head_cross_entropy(logits, each, class_splits=(3, 4)) for each in (pairs, pairs.flip(0)))
    torch.testing.assert_close(found, 0.3 * own + 0.7 * other)


def test_soft_targets_by_hand() -> None:
    assert soft_targets(torch.tensor([1, 0]), (3,)).tolist() == [[0, 1, 0], [1, 0, 0]]
    heads = soft_targets(torch.tensor([[1, 2], [0, 0]], dtype=torch.int32), (2, 3))
    assert heads.tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
    assert heads.dtype == torch.float32


@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0, 5.0])
def test_shares_are_beta(alpha: float) -> None:
    draws = generator()
    shares = torch.tensor([draw_share(alpha, draws) for _ in range(4000)], dtype=torch.float64)
    assert bool(((shares >= 0) & (shares <= 1)).all())
    variance = 1 / (4 * (2 * alpha + 1))
    assert float(shares.mean()) == pytest.approx(0.5, abs=4 * (variance / 4000) ** 0.5)
    assert float(shares.var()) == pytest.approx(variance, rel=0.1)


def test_the_generator_decides() -> None:
    first, second = generator(), generator()
    assert [draw_share(0.3, first) for _ in range(5)] == [draw_share(0.3, second) for _ in range(5)]
    assert draw_share(0.3, first) != draw_share(0.3, generator(4))
    before = torch.random.get_rng_state()
    draw_share(0.3, first)
    draw_box(0.5, 5, 7, generator=first)
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is left alone"


def test_boxes_by_hand() -> None:
    # A share of 0.75 leaves half of each side: 40 of 80 rows and 25 of 50 columns, of which 20 and 12 to either side.
    centres = generator()
    row, column = int(torch.randint(80, (), generator=centres)), int(torch.randint(50, (), generator=centres))
    box = draw_box(0.75, 80, 50, generator=generator())
    assert box == Box(max(row - 20, 0), min(row + 20, 80), max(column - 12, 0), min(column + 12, 50))
    assert draw_box(1.0, 80, 50, generator=generator()).area == 0


@given(st.floats(0, 1), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_boxes_stay_inside(share: float, height: int, width: int, seed: int) -> None:
    box = draw_box(share, height, width, generator=generator(seed))
    assert 0 <= box.top <= box.bottom <= height
    assert 0 <= box.left <= box.right <= width
    assert box.area <= (1 - share) * height * width + 1e-9
    mixed = cutmix(torch.zeros(2, 1, 3, height, width), torch.ones(2, 1), box)
    assert mixed.share >= share - 1e-12, "cut off at the borders, a clip keeps more of itself"


def test_whole_boxes_in_the_middle_have_their_area() -> None:
    boxes = [draw_box(0.75, 80, 48, generator=generator(seed)) for seed in range(60)]
    whole = [box for box in boxes if box.top > 0 and box.bottom < 80 and box.left > 0 and box.right < 48]
    assert whole
    assert {box.area for box in whole} == {40 * 24}
    assert len(whole) < len(boxes), "and some are cut off"


def test_a_drawn_batch_is_what_its_draws_say() -> None:
    clips, targets = painted(), soft_targets(torch.tensor([0, 1, 3]), (4,))
    mixed = mix_batch(clips, targets, generator=generator(), mixup_alpha=0.3)
    expected = mixup(clips, targets, draw_share(0.3, generator()))
    assert torch.equal(mixed.clips_BTCHW, expected.clips_BTCHW)
    assert mixed.share == expected.share
    mixed, draws = mix_batch(clips, targets, generator=generator(), cutmix_alpha=1.0), generator()
    expected = cutmix(clips, targets, draw_box(draw_share(1.0, draws), 5, 7, generator=draws))
    assert torch.equal(mixed.clips_BTCHW, expected.clips_BTCHW)
    assert torch.equal(mixed.targets_BK, expected.targets_BK)


def test_a_coin_chooses_between_the_two() -> None:
    draws, cut = generator(), 0
    for _ in range(200):
        mixed = mix_batch(painted(), torch.ones(3, 4), generator=draws, mixup_alpha=0.3, cutmix_alpha=1.0)
        cut += mixed.clips_BTCHW.dtype == torch.uint8
    assert 70 < cut < 130


@pytest.mark.parametrize("alphas", [(0.0, 0.0), (-1.0, 2.0), (0.3, float("nan")), (float("inf"), 0.0)])
def test_impossible_alphas(alphas: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match=r"mixup_alpha is .* and cutmix_alpha .*; expected one of them above 0"):
        mix_batch(painted(), torch.ones(3, 4), generator=generator(), mixup_alpha=alphas[0], cutmix_alpha=alphas[1])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"alpha is 0; expected a finite number above 0"):
        draw_share(0, generator())
    with pytest.raises(UsageError, match=r"targets \(2, 4\); expected \(B, T, 3, H, W\) and \(B, K\)"):
        mixup(painted(), torch.ones(2, 4), 0.5)
    with pytest.raises(UsageError, match=r"clips have shape \(2, 3, 5, 7\)"):
        cutmix(painted()[0], torch.ones(2, 4), Box(0, 1, 0, 1))
    with pytest.raises(UsageError, match="reaches outside frames of 5 x 7 pixels"):
        cutmix(painted(), torch.ones(3, 4), Box(0, 6, 0, 1))
    with pytest.raises(UsageError, match=r"labels have shape \(2,\).*expected integers \(B, 2\)"):
        soft_targets(torch.tensor([0, 1]), (2, 3))
    with pytest.raises(UsageError, match=r"dtype torch\.float32; expected integers"):
        soft_targets(torch.tensor([0.0, 1.0]), (2,))
