"""Starting from an image ViT: numbers of the original code, and what such a start promises."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fewframes.errors import UsageError
from fewframes.models.layers import SelfAttention
from fewframes.models.vit import FrameEncoder
from fewframes.models.vivit import VivitConfig, build_vivit
from fewframes.models.vivit_factorised import FactorisedBlock, VivitFactorisedAttention
from fewframes.models.vivit_init import image_vit_to_vivit, inflate_kernel, new_in_vivit, zoom_positions
from fewframes.models.vivit_parts import VivitBlock, sampled_frames
from fewframes.weights.adapters import vivit_scenic
from tests.helpers.golden import GOLDEN
from tests.helpers.golden_vivit import config_of
from tests.helpers.tolerance import BY_HAND, MISTAKE, REGROUPED, assert_close, difference

FOLDER = GOLDEN / "vivit_init_a"
ARRAYS = load_file(FOLDER / "arrays.safetensors")
STATED: dict[str, Any] = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
FACTORISED = {"variant": "factorised_encoder"}
# Where we part from the original code on purpose: what it keeps and we take from the image.
OURS = {
    "m2_average_tile": ("encoder.cls_token",),
    "m3_temporal_from_image": ("encoder.blocks.0.temporal_norm1", "encoder.blocks.1.temporal_norm1"),
    "m3_temporal_kept": tuple(
        f"encoder.blocks.{index}.{part}" for index in (0, 1) for part in ("temporal_norm1", "temporal_attn")
    ),
}

# Sizes that differ from each other: T=6, H=15, W=20 (3 x 4 patches of 5), D=14, A=2, K=11.
SMALL: dict[str, Any] = {
    "num_classes": 11,
    "num_frames": 6,
    "image_size": (15, 20),
    "patch_size": 5,
    "width": 14,
    "depth": 2,
    "heads": 2,
    "mlp_ratio": 1.5,
}


def scenic(case: str) -> dict[str, Tensor]:
    return {name.removeprefix(case): value for name, value in ARRAYS.items() if name.startswith(case)}


def timm_names(image: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original code's image ViT in timm's names."""
    shape = config_of({**STATED["whole_model"]["m1_central_tile"]["config"], "num_classes": 5})
    model = build_vivit(dataclasses.replace(shape, num_frames=1, tubelet_frames=1))
    tensors = vivit_scenic.translate(image, model).tensors
    tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"].squeeze(2)
    return {name.removeprefix("encoder."): value for name, value in tensors.items()}


@pytest.mark.parametrize("num_frames", [2, 3, 4, 5])
@pytest.mark.parametrize(("how", "theirs"), [("central_frame", "central"), ("inflate", "average")])
def test_kernels_are_those_of_the_original(how: Any, theirs: str, num_frames: int) -> None:  # noqa: ANN401
    image = ARRAYS["kernel/image"].permute(3, 2, 0, 1)
    kernel = inflate_kernel(image, num_frames, how)
    assert_close(kernel, ARRAYS[f"kernel/{theirs}_t{num_frames}"].permute(4, 3, 0, 1, 2), BY_HAND)
    assert_close(kernel.sum(2), image, BY_HAND)


def test_the_central_frame_of_two_is_the_second() -> None:
    kernel = inflate_kernel(torch.ones(1, 1, 1, 1), 2, "central_frame")
    assert kernel.flatten().tolist() == [0.0, 1.0]
    assert inflate_kernel(torch.ones(1, 1, 1, 1), 4, "central_frame").flatten().tolist() == [0.0, 0.0, 1.0, 0.0]
    assert inflate_kernel(torch.ones(1, 1, 1, 1), 4, "inflate").flatten().tolist() == [0.25] * 4


@pytest.mark.parametrize("case", [case for case in STATED["pos_cases"] if "temporal" not in case["change"]])
def test_positions_are_those_of_the_original(case: dict[str, Any]) -> None:
    side = 6 * case.get("target_grid", 3)
    variant: Any = "spacetime" if "repeats" in case else "factorised_encoder"
    if case["cls"].startswith("dropped"):
        variant = "factorised_dot_product"
    config = VivitConfig(
        image_size=(side, side), patch_size=6, num_frames=2 * case.get("repeats", 4), variant=variant, width=8, heads=2
    )
    found = image_vit_to_vivit({"pos_embed": ARRAYS["pos/image_with_cls"]}, config)
    assert_close(found["encoder.pos_embed"], ARRAYS[f"pos/{case['name']}"], BY_HAND)


@pytest.mark.parametrize("case", [case for case in STATED["pos_cases"] if "temporal" in case["change"]])
def test_positions_in_time_are_those_of_the_original(case: dict[str, Any]) -> None:
    table = ARRAYS[f"pos/temporal_with_cls_len{case['source_len']}"]
    found = zoom_positions(table, (case["source_len"], 1, 1), (case["target_len"], 1, 1))
    assert_close(found, ARRAYS[f"pos/{case['name']}"], BY_HAND)


@pytest.mark.parametrize("name", STATED["whole_model"])
def test_whole_networks_start_as_in_the_original(name: str) -> None:
    case = STATED["whole_model"][name]
    config = config_of(case["config"])
    found = image_vit_to_vivit(
        timm_names(scenic("image_vit/")),
        config,
        tubelet_init="central_frame" if "central" in case["kernel_init_method"] else "inflate",
        zero_init="none",
    )
    after = vivit_scenic.translate(scenic(f"after/{name}/"), build_vivit(config)).tensors
    for key, value in after.items():
        sources = {case["source_of"][path] for path in vivit_scenic.export({key: value}, config)}
        if sources != {"kept"}:
            assert_close(found.pop(key), value, BY_HAND)
    assert all(key.startswith(OURS.get(name, ())) for key in found)
    assert all(any(key.startswith(part) for key in found) for part in OURS.get(name, ()))


def image_vit(image_size: tuple[int, int] = (15, 20)) -> tuple[FrameEncoder, dict[str, Tensor]]:
    blocks = [VivitBlock(14, SelfAttention(14, 2), mlp_width=21, norm_eps=1e-6) for _ in range(2)]
    encoder = FrameEncoder(image_size, 5, width=14, blocks=blocks, norm_eps=1e-6).eval()
    generator = torch.Generator().manual_seed(41)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return encoder, encoder.state_dict()


def started(config: VivitConfig, **options: Any) -> nn.Module:  # noqa: ANN401
    """A network that starts from the image ViT, its head and what else is new drawn from one seed."""
    model = build_vivit(config, torch.Generator().manual_seed(43)).eval()
    found = image_vit_to_vivit(image_vit()[1], config, image_grid=(3, 4), **options)
    lacking = set(model.state_dict()) - set(found)
    assert all(
        name.startswith(("head.", *new_in_vivit(options.get("tubelet_init", "central_frame")))) for name in lacking
    )
    head = torch.randn(config.num_classes, config.width, generator=torch.Generator().manual_seed(59))
    model.load_state_dict({**model.state_dict(), **found, "head.weight": head}, strict=True)
    return model


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 6, 3, 15, 20, generator=torch.Generator().manual_seed(47)) * 2 - 1


@pytest.mark.parametrize("tubelet_frames", [2, 3])
@torch.no_grad()
def test_central_frames_at_first_equal_sampled_frames(tubelet_frames: int, clip: Tensor) -> None:
    """Model 1 with tubelets sees, at first, what model 1 sees of the tubelets' central frames."""
    tubelets = started(VivitConfig(**SMALL, tubelet_frames=tubelet_frames))
    planes = 6 // tubelet_frames
    centres = clip[:, tubelet_frames // 2 :: tubelet_frames]
    # A longer clip, of which uniform frame sampling takes exactly those frames.
    count = 13
    longer = torch.rand(2, count, 3, 15, 20, generator=torch.Generator().manual_seed(53))
    longer[:, sampled_frames(count, planes)] = centres
    sampling = started(VivitConfig(**{**SMALL, "num_frames": count}, tubelet_frames=1, num_sampled_frames=planes))
    assert_close(tubelets(clip), sampling(longer), REGROUPED)
    inflated = started(VivitConfig(**SMALL, tubelet_frames=tubelet_frames), tubelet_init="inflate")
    assert difference(inflated(clip), sampling(longer)) > MISTAKE


@torch.no_grad()
def test_model_2_at_first_sees_each_central_frame_as_the_image_model(clip: Tensor) -> None:
    model: Any = started(VivitConfig(**SMALL, **FACTORISED))
    encoder, _ = image_vit()
    alone = encoder(clip[:, 1::2].flatten(0, 1)).unflatten(0, (2, 3))
    assert_close(model.embed_frames(clip), alone, REGROUPED)


@torch.no_grad()
def test_inflated_tubelets_see_a_still_video_as_an_image(clip: Tensor) -> None:
    model: Any = started(VivitConfig(**SMALL, **FACTORISED), tubelet_init="inflate")
    still = clip[:, :1].expand(-1, 6, -1, -1, -1)
    alone = image_vit()[0](clip[:, 0])
    assert_close(model.embed_frames(still), alone.unsqueeze(1).expand(-1, 3, -1), REGROUPED)


def space_only(model: VivitFactorisedAttention, clip: Tensor) -> Tensor:
    """Model 3 without its attention over time: every plane through ordinary blocks on its own, then the average."""
    tokens = model.patch_embed(clip)
    batch, planes, patches, width = tokens.shape
    tokens = (tokens + model.encoder.pos_embed.reshape(planes, patches, width)).flatten(0, 1)
    for block in model.encoder.blocks:
        assert isinstance(block, FactorisedBlock)
        tokens = tokens + block.attn(block.norm1(tokens))
        tokens = tokens + block.mlp(block.norm2(tokens))
    return model.head(model.encoder.norm(tokens).reshape(batch, planes * patches, width).mean(1))


@pytest.mark.parametrize("order", ["space_time", "time_space"])
@pytest.mark.parametrize("zero_init", ["output", "all"])
@torch.no_grad()
def test_model_3_at_first_ignores_time(zero_init: str, order: Any, clip: Tensor) -> None:  # noqa: ANN401
    config = VivitConfig(**SMALL, variant="factorised_attention", attention_order=order)
    model = started(config, zero_init=zero_init)
    assert isinstance(model, VivitFactorisedAttention)
    assert_close(model(clip), space_only(model, clip), REGROUPED)
    copied = started(config, zero_init="none")
    assert difference(copied(clip), space_only(model, clip)) > MISTAKE


def temporal_gradients(zero_init: str, clip: Tensor, steps: int = 0) -> tuple[nn.Module, dict[str, Tensor]]:
    model = started(VivitConfig(**SMALL, variant="factorised_attention"), zero_init=zero_init)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps + 1):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(clip), torch.tensor([3, 8])).backward()
        if steps:
            optimizer.step()
    named = model.named_parameters()
    return model, {
        name: value.grad.clone() for name, value in named if "temporal_attn" in name and value.grad is not None
    }


def test_a_zeroed_output_learns(clip: Tensor) -> None:
    _, first = temporal_gradients("output", clip)
    assert all(value.any() == name.endswith(("proj.weight", "proj.bias")) for name, value in first.items())
    _, later = temporal_gradients("output", clip, steps=2)
    assert all(value.any() for name, value in later.items())


def test_all_zero_attention_never_learns(clip: Tensor) -> None:
    """The paper's wording taken literally: a saddle that no gradient leaves; only the output's bias moves."""
    _, first = temporal_gradients("all", clip)
    assert {name for name, value in first.items() if value.any()} == {
        f"encoder.blocks.{index}.temporal_attn.proj.bias" for index in (0, 1)
    }
    model, later = temporal_gradients("all", clip, steps=20)
    for name, value in later.items():
        assert value.any() == name.endswith("proj.bias"), name
        assert model.get_parameter(name).any() == name.endswith("proj.bias"), name


def test_what_is_left_out() -> None:
    tensors = {
        **image_vit()[1],
        "head.weight": torch.zeros(3, 14),
        "head.bias": torch.zeros(3),
        "dist_token": torch.zeros(1),
    }
    found = image_vit_to_vivit(tensors, VivitConfig(**SMALL), image_grid=(3, 4), tubelet_init="random")
    assert not any(name.startswith(("head.", "patch_embed.")) for name in found)
    assert "dist_token" in found, "the strict loader names what it does not know"
    assert new_in_vivit("random") == ("temporal.", "patch_embed.")
    assert new_in_vivit() == ("temporal.",)
    without_class = image_vit_to_vivit(
        image_vit()[1], VivitConfig(**SMALL, variant="factorised_dot_product"), image_grid=(3, 4)
    )
    assert "encoder.cls_token" not in without_class


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tubelet_init": "average"}, 'tubelet_init is \'average\'; expected "central_frame", "inflate" or "random"'),
        ({"zero_init": "temporal"}, 'zero_init is \'temporal\'; expected "output", "all" or "none"'),
        ({}, r"has 12 positions, which are not 3x3; give its \(rows, columns\) as image_grid"),
        ({"image_grid": (5, 2)}, "has 12 positions, which are not 5x2"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        image_vit_to_vivit(image_vit()[1], VivitConfig(**SMALL), **options)
