"""Policies: one draw for a clip, every frame alike, and torch's own generator as it was."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from fewframes.errors import UnknownName, UsageError
from fewframes.video.augment_colour import change_contrast
from fewframes.video.augment_policy import NO_POLICY, POLICIES, Policy, _clip_kind, apply_policy

STRONG = (Policy("autoaugment"), Policy("randaugment", 3, 20), Policy("trivialaugment"))


def noise(frames: int = 3, height: int = 19, width: int = 23, seed: int = 0) -> Tensor:
    return torch.randint(
        30, 200, (frames, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("policy", STRONG)
def test_equal_frames_stay_equal_and_clips_differ(policy: Policy) -> None:
    pixels = noise(1).repeat(4, 1, 1, 1)
    before, seen = pixels.clone(), []
    for seed in range(60):
        changed = apply_policy(pixels, policy, random.Random(seed))
        assert type(changed) is Tensor
        assert changed.dtype == torch.uint8
        assert changed.shape == pixels.shape
        assert all(torch.equal(frame, changed[0]) for frame in changed)
        seen.append(changed)
    assert torch.equal(pixels, before), "the frames that came in stay as they are"
    assert len({tuple(each.flatten().tolist()) for each in seen}) > 15


@pytest.mark.parametrize("policy", STRONG)
def test_every_frame_is_changed_by_the_same_rule(policy: Policy) -> None:
    """In another order the frames are changed as before, and the two equal ones stay equal among the others."""
    pixels, order = noise(5), [3, 0, 4, 2, 1]
    pixels[4] = pixels[1]
    different = 0
    for seed in range(60):
        changed = apply_policy(pixels, policy, random.Random(seed))
        assert torch.equal(apply_policy(pixels[order], policy, random.Random(seed)), changed[order])
        assert torch.equal(changed[1], changed[4])
        different += not torch.equal(changed[0], changed[1])
    assert different > 50, "TrivialAugment may push a frame this small out of sight"


def test_the_randomness_is_the_clip_s_own() -> None:
    pixels = noise()
    for policy in STRONG:
        results = []
        for elsewhere in (1, 2):
            torch.manual_seed(elsewhere)
            random.seed(elsewhere)
            state = torch.get_rng_state()
            results.append(apply_policy(pixels, policy, random.Random(3)))
            assert torch.equal(torch.get_rng_state(), state), "nobody else's numbers move"
        assert torch.equal(*results)


def test_torchvision_draws_from_the_global_generator() -> None:
    """Without which the test above would prove nothing."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    v2.RandAugment()(noise())
    assert not torch.equal(torch.get_rng_state(), before)


def test_results_do_not_depend_on_threads() -> None:
    pixels, threads = noise(4, 112, 112), torch.get_num_threads()
    for policy in STRONG:
        for seed in range(12):
            results = []
            try:
                for count in (1, 2, 3):
                    torch.set_num_threads(count)
                    results.append(apply_policy(pixels, policy, random.Random(seed)))
            finally:
                torch.set_num_threads(threads)
            assert all(torch.equal(each, results[0]) for each in results)


@pytest.mark.parametrize("name", ["equalize", "autocontrast"])
def test_what_counts_values_counts_them_over_the_clip(name: str) -> None:
    """Like one tall picture of all frames; torchvision's own, the broken twin, takes each frame by itself."""
    pixels = noise(5)
    pixels[1] //= 3
    operation = getattr(functional, name)
    together = operation(pixels.as_subclass(_clip_kind())).as_subclass(Tensor)
    tall = operation(torch.cat(list(pixels), dim=1))
    assert torch.equal(torch.cat(list(together), dim=1), tall)
    assert not torch.equal(operation(pixels), together)


def test_autocontrast_by_hand() -> None:
    """Values from 50 to 101 in all frames together: five times what lies above 50, cut off."""
    pixels = torch.full((3, 3, 4, 5), 70, dtype=torch.uint8)
    pixels[0, :, 0], pixels[2, :, 3] = 50, 101
    changed = functional.autocontrast(pixels.as_subclass(_clip_kind())).as_subclass(Tensor)
    assert changed[0, :, 0].unique().tolist() == [0]
    assert changed[2, :, 3].unique().item() in (254, 255)
    assert changed[1].unique().item() in (99, 100)


def test_contrast_is_about_the_mean_of_the_clip() -> None:
    pixels = noise(4)
    changed = functional.adjust_contrast(pixels.as_subclass(_clip_kind()), 1.7).as_subclass(Tensor)
    assert torch.equal(changed, change_contrast(pixels, 1.7))


def test_every_operation_is_torchvision_s() -> None:
    """One frame: where nothing needs to be told apart, the policy gives what torchvision gives from the same state."""
    pixels = noise(1)
    for seed in range(40):
        ours = apply_policy(pixels, Policy("randaugment", 2, 9), random.Random(seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random.Random(seed).getrandbits(63))
            theirs = v2.RandAugment(2, 9, fill=128)(pixels)
        # Contrast rounds where torchvision cuts off; the next operation may spread that a little.
        assert float((ours.int() - theirs.int()).abs().float().mean()) <= 2


def test_no_policy_is_the_same_frames() -> None:
    pixels, rng, told = noise(), random.Random(0), random.Random(0)
    assert apply_policy(pixels, NO_POLICY, rng) is pixels
    told.getrandbits(63)
    assert rng.getstate() == told.getstate(), "drawn from once, whatever the policy"


def test_wrong_policies() -> None:
    with pytest.raises(UnknownName, match=r"augmentation policy 'autoaugmet'; did you mean 'autoaugment'"):
        Policy("autoaugmet")  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match="2 layers of magnitude 31; expected at least 1 layer and a magnitude of 0 to 30"
    ):
        Policy("randaugment", 2, 31)
    with pytest.raises(UsageError, match="with 0 layers of magnitude 9"):
        Policy("randaugment", 0)
    assert POLICIES[0] == NO_POLICY.name
