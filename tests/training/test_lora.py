"""Low-rank bypasses: nothing at first, trained alone, and merged into an ordinary network that computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fewframes.architectures import build_from_config
from fewframes.errors import UsageError
from fewframes.training.lora import LowRankLinear, add_low_rank_, merged, takes_low_rank
from tests.helpers.tiny_models import tiny_card
from tests.helpers.tolerance import BY_HAND, MISTAKE, REGROUPED, assert_close, difference


def tiny_network(name: str = "stam_16", **options: str) -> nn.Module:
    return build_from_config(tiny_card(name, **options).config, torch.Generator().manual_seed(0)).eval()


def with_trained_bypasses(model: nn.Module) -> nn.Module:
    add_low_rank_(model, 3, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, LowRankLinear):
            nn.init.normal_(module.up, std=0.2, generator=generator)
    return model


def clip_for(model: nn.Module) -> torch.Tensor:
    config = model.config
    size = (2, config.num_frames, 3, *config.image_size)  # type: ignore[union-attr, misc]
    return torch.randn(size, generator=torch.Generator().manual_seed(3))


def test_by_hand() -> None:
    base = nn.Linear(2, 3)
    base.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    base.bias.data = torch.tensor([0.5, 0.0, -0.5])
    layer = LowRankLinear(base, 1)
    layer.down.data = torch.tensor([[2.0, -1.0]])
    layer.up.data = torch.tensor([[1.0], [0.0], [3.0]])
    # down x = 2 * 10 - 1 * 1 = 19; W x + b = 12.5, 34, 55.5.
    expected = torch.tensor([[12.5 + 19, 34.0, 55.5 + 57]])
    assert_close(layer(torch.tensor([[10.0, 1.0]])), expected, BY_HAND)
    assert_close(layer.weight, torch.tensor([[3.0, 1.0], [3.0, 4.0], [11.0, 3.0]]), BY_HAND)
    assert layer.merge() is base
    assert_close(base(torch.tensor([[10.0, 1.0]])), expected, BY_HAND)


def test_nothing_changes_at_first() -> None:
    model = tiny_network()
    clip = clip_for(model)
    before = model(clip)
    names = add_low_rank_(model, 2, torch.Generator().manual_seed(1))
    assert [name.rpartition(".")[2] for name in names] == ["qkv", "proj", "fc1", "fc2"] * 2
    assert all(name.startswith("encoder.blocks.") for name in names)
    assert torch.equal(model(clip), before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stam_16", {}),
        ("stam_16_inblock", {}),
        ("stam_16_clip_base", {"encoder": "test_vit"}),
        ("timesformer_base_k400", {}),
    ],
)
def test_merged_equals_unmerged(name: str, options: dict[str, str]) -> None:
    model = tiny_network(name, **options)
    plain = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    before = model(clip_for(model))
    with_trained_bypasses(model)
    unmerged = model(clip_for(model))
    result = merged(model)
    assert {key: tuple(value.shape) for key, value in result.state_dict().items()} == plain
    assert not any(isinstance(module, LowRankLinear) for module in result.modules())
    assert difference(unmerged, before) > MISTAKE, "the bypasses say something"
    assert_close(result(clip_for(model)), unmerged, 10 * REGROUPED)
    assert torch.equal(model(clip_for(model)), unmerged), "the network itself stays as it was"


def test_forgetting_to_merge_shows() -> None:
    """The broken twin: the bypasses left out."""
    model = with_trained_bypasses(tiny_network())
    dropped = merged(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, LowRankLinear):
            dropped.get_submodule(name).load_state_dict(module.base.state_dict())
    assert difference(dropped(clip_for(model)), model(clip_for(model))) > MISTAKE


def test_only_bypasses_and_what_follows_learn() -> None:
    model = tiny_network()
    add_low_rank_(model, 2)
    model(clip_for(model)).square().sum().backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == learning
    inside = {name for name in learning if name.startswith("encoder.")}
    assert inside and all(name.endswith((".down", ".up")) for name in inside)
    outside = {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    assert outside <= learning


def test_the_same_generator_gives_the_same_bypasses() -> None:
    first, second = (tiny_network() for _ in range(2))
    for model in (first, second):
        add_low_rank_(model, 2, torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_layers_that_are_read_instead_of_called() -> None:
    base = nn.Linear(4, 5)
    layer = LowRankLinear(base, 2)
    nn.init.normal_(layer.up)
    tokens = torch.randn(3, 4)
    assert_close(nn.functional.linear(tokens, layer.weight, layer.bias), layer(tokens), 10 * REGROUPED)


def test_what_takes_no_bypass() -> None:
    assert takes_low_rank(tiny_network())
    assert not takes_low_rank(tiny_network("stam_16_resnet50")), "a CNN"
    assert not takes_low_rank(nn.Linear(2, 2)), "no encoder"
    with pytest.raises(UsageError, match="rank is 0; expected at least 1"):
        add_low_rank_(tiny_network(), 0)
