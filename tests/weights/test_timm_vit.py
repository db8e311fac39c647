"""An image ViT's file into each network that can start from one: what is taken, what stays new, what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fewframes.architectures import build_from_config
from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.stam_inblock import StamInBlock, StamInBlockConfig
from fewframes.models.stam_joint import StamJoint, StamJointConfig
from fewframes.models.timesformer import TimesformerConfig
from fewframes.models.vivit_config import VivitConfig
from fewframes.weights.adapters import timm_encoder, vit
from fewframes.weights.loading import load_weights
from fewframes.weights.resize import resize_positions_in_space
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

# 20 x 20 pixels in patches of 4 (P=25), T=7, D=30, A=5, K=13; images have 11 classes.
SIZES: dict[str, Any] = {
    "num_classes": 13,
    "image_size": (20, 20),
    "patch_size": 4,
    "width": 30,
    "depth": 3,
    "heads": 5,
}
NOTE = "no attn.qkv.bias in the file"


def image_tensors(*, qkv_bias: bool = True, num_classes: int = 11, side: int = 20) -> dict[str, Tensor]:
    torch.manual_seed(61)
    network = VisionTransformer(
        img_size=side, patch_size=4, embed_dim=30, depth=3, num_heads=5, qkv_bias=qkv_bias, num_classes=num_classes
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(mean=0.05, std=0.2)
    return {name: value.clone() for name, value in network.state_dict().items()}


def written(tensors: dict[str, Tensor], folder: Path) -> Path:
    save_file(tensors, folder / "vit.safetensors")
    return folder / "vit.safetensors"


def mean_of_frames(num_frames: int, path: Path) -> Stam:
    """STAM with the mean, from the same file, given a head of its own."""
    config = StamConfig(**SIZES, num_frames=num_frames, norm_eps=1e-6, aggregator="mean")
    model = Stam(config, torch.Generator().manual_seed(3)).eval()
    load_weights(model, path)
    return model


@pytest.fixture
def clip() -> Tensor:
    return torch.rand(2, 7, 3, 20, 20, generator=torch.Generator().manual_seed(67))


@pytest.mark.parametrize("qkv_bias", [True, False])
@torch.no_grad()
def test_attention_in_blocks_starts_as_the_mean_of_frames(qkv_bias: bool, clip: Tensor, tmp_path: Path) -> None:
    path = written(image_tensors(qkv_bias=qkv_bias), tmp_path)
    model = StamInBlock(
        StamInBlockConfig(**SIZES, num_frames=7, norm_eps=1e-6), torch.Generator().manual_seed(53)
    ).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_weights(model, path)
    of_time = {name for name in before if "time_" in name and not (name.endswith("qkv.bias") and not qkv_bias)}
    assert len(of_time) == 1 + 3 * (6 if qkv_bias else 5)
    assert set(report.newly_initialised) == of_time | {"head.weight", "head.bias"}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in report.newly_initialised)
    assert report.unused == ("head.weight (11, 30)", "head.bias (11)")
    assert (NOTE in report.summary()) == (not qkv_bias)
    mean = mean_of_frames(7, path)
    mean.head.load_state_dict(model.head.state_dict())
    assert_close(model(clip), mean(clip), PARITY)


@torch.no_grad()
def test_joint_attention_gives_every_frame_the_images_positions(clip: Tensor, tmp_path: Path) -> None:
    tensors = image_tensors()
    path = written(tensors, tmp_path)
    model = StamJoint(StamJointConfig(**SIZES, num_frames=7, norm_eps=1e-6), torch.Generator().manual_seed(53)).eval()
    report = load_weights(model, path)
    assert report.newly_initialised == ("head.weight", "head.bias")
    assert report.notes == ("each of the 7 frames starts with the image's positions",)
    assert not report.resized
    positions = model.encoder.pos_embed
    assert positions.shape == (1, 1 + 7 * 25, 30)
    assert torch.equal(positions[:, :1], tensors["pos_embed"][:, :1])
    for frame in positions[:, 1:].unflatten(1, (7, 25)).unbind(1):
        assert torch.equal(frame, tensors["pos_embed"][:, 1:])
    # As many copies of one frame are the image: each patch is there seven times, and attention averages.
    still = clip[:, :1].expand(-1, 7, -1, -1, -1)
    assert difference(model(still), model(clip)) > MISTAKE


@torch.no_grad()
def test_one_joint_frame_is_the_image(clip: Tensor, tmp_path: Path) -> None:
    path = written(image_tensors(num_classes=13), tmp_path)
    model = StamJoint(StamJointConfig(**SIZES, num_frames=1, norm_eps=1e-6)).eval()
    report = load_weights(model, path)
    assert not report.newly_initialised
    assert not report.notes
    mean = mean_of_frames(1, path)
    assert torch.equal(model(clip[:, :1]), mean(clip[:, :1]))


def test_joint_positions_of_another_grid(tmp_path: Path) -> None:
    """A square file of 4 x 4 patches into frames of 5 x 3: each frame is interpolated like one picture."""
    tensors = image_tensors(side=16)
    path = written(tensors, tmp_path)
    model = StamJoint(StamJointConfig(**{**SIZES, "image_size": (20, 12)}, num_frames=7, norm_eps=1e-6))
    report = load_weights(model, path)
    assert report.resized == ("encoder.pos_embed: (1, 113, 30) -> (1, 106, 30)",)
    expected = resize_positions_in_space(tensors["pos_embed"], (4, 4), (5, 3))
    positions = model.encoder.pos_embed.detach()
    assert_close(positions[:, :1], expected[:, :1], PARITY)
    for frame in positions[:, 1:].unflatten(1, (7, 15)).unbind(1):
        assert_close(frame, expected[:, 1:], PARITY)


def test_the_eps_of_timm_is_said(tmp_path: Path) -> None:
    path = written(image_tensors(), tmp_path)
    for config in (StamJointConfig(**SIZES, num_frames=7), StamInBlockConfig(**SIZES, num_frames=7)):
        assert "this model has norm_eps=1e-05" in load_weights(build_from_config(config), path).summary()


@pytest.mark.parametrize("attention", ["divided", "joint", "space"])
@pytest.mark.parametrize("qkv_bias", [True, False])
@torch.no_grad()
def test_timesformer_sees_still_frames_as_the_image(
    attention: Any,  # noqa: ANN401
    qkv_bias: bool,
    clip: Tensor,
    tmp_path: Path,
) -> None:
    tensors = image_tensors(qkv_bias=qkv_bias)
    path = written(tensors, tmp_path)
    config = TimesformerConfig(**SIZES, num_frames=7, attention=attention)
    model = build_from_config(config, torch.Generator().manual_seed(53)).eval()
    report = load_weights(model, path)
    assert report.newly_initialised == ("head.weight", "head.bias")
    assert report.unused == ("head.weight (11, 30)", "head.bias (11)")
    assert set(report.loaded) == {f"encoder.{name}" for name in tensors if not name.startswith("head.")}
    assert (NOTE in report.summary()) == (not qkv_bias)
    assert ("starts without effect" in report.summary()) == (attention != "space")
    mean = mean_of_frames(7, path)
    mean.head.load_state_dict({name: model.state_dict()[f"head.{name}"] for name in ("weight", "bias")})
    still = clip[:, :1].expand(-1, 7, -1, -1, -1)
    if attention != "joint":  # there, seven copies of each patch outweigh the class token
        assert_close(model(still), mean(still), PARITY)


@pytest.mark.parametrize(
    "variant", ["spacetime", "factorised_encoder", "factorised_attention", "factorised_dot_product"]
)
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_vivit(variant: Any, qkv_bias: bool, tmp_path: Path) -> None:  # noqa: ANN401
    tensors = image_tensors(qkv_bias=qkv_bias)
    config = VivitConfig(**{**SIZES, "heads": 6}, num_frames=6, variant=variant)
    model = build_from_config(config, torch.Generator().manual_seed(53))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_weights(model, written(tensors, tmp_path))
    state = model.state_dict()
    new = {name for name in state if name.startswith(("head.", "temporal."))}
    assert set(report.newly_initialised) == new
    assert all(torch.equal(state[name], before[name]) for name in new)
    has_class = variant in ("spacetime", "factorised_encoder")
    unused = {"head.weight (11, 30)", "head.bias (11)"} | (set() if has_class else {"cls_token (1, 1, 30)"})
    assert set(report.unused) == unused
    assert torch.equal(state["encoder.blocks.2.mlp.fc1.weight"], tensors["blocks.2.mlp.fc1.weight"])
    assert torch.equal(state["patch_embed.proj.weight"][:, :, 1], tensors["patch_embed.proj.weight"])
    assert not state["patch_embed.proj.weight"][:, :, 0].any()
    assert "starts at the tubelet's central frame" in report.summary()
    assert (NOTE in report.summary()) == (not qkv_bias)
    assert ("over time starts without effect" in report.summary()) == (variant == "factorised_attention")
    planes = 1 if variant == "factorised_encoder" else 3
    fitted = f"encoder.pos_embed (1, 26, 30) -> (1, {has_class + planes * 25}, 30)"
    assert (fitted in report.summary()) == (variant != "factorised_encoder")


@pytest.mark.parametrize("shape", [(26, 30), (2, 26, 30), (1, 1, 30), (1, 24, 30)])
def test_positions_that_are_no_pictures(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = written(image_tensors() | {"pos_embed": torch.ones(shape)}, tmp_path)
    for config in (VivitConfig(**SIZES, num_frames=6), StamJointConfig(**SIZES, num_frames=7)):
        model = build_from_config(config)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(InvalidCheckpoint, match=r"pos_embed is|positions, which are not"):
            load_weights(model, path)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "config",
    [
        StamJointConfig(**SIZES, num_frames=7),
        StamInBlockConfig(**SIZES, num_frames=7),
        TimesformerConfig(**SIZES, num_frames=7),
        VivitConfig(**SIZES, num_frames=6),
    ],
    ids=lambda config: type(config).__name__,
)
def test_damage_is_named(config: Any, tmp_path: Path) -> None:  # noqa: ANN401
    tensors = image_tensors()
    del tensors["blocks.1.norm2.bias"]
    tensors["blocks.0.ls1.gamma"] = torch.ones(30)
    with pytest.raises(
        InvalidCheckpoint, match=r"blocks\.1\.norm2\.bias is missing.*blocks\.0\.ls1\.gamma.* left over"
    ):
        load_weights(build_from_config(config), written(tensors, tmp_path))


def test_what_an_image_vit_fits() -> None:
    for config in (
        StamConfig(**SIZES, temporal_heads=3),
        StamJointConfig(**SIZES),
        StamInBlockConfig(**SIZES),
        TimesformerConfig(**SIZES),
        VivitConfig(**SIZES),
    ):
        assert vit.fits(build_from_config(config))
        assert not timm_encoder.fits(build_from_config(config))
    assert not vit.fits(nn.Linear(2, 3))
    with pytest.raises(InvalidCheckpoint, match="holds an image model, which says nothing of videos"):
        vit.describe(image_tensors(), {})


@pytest.mark.parametrize("aggregator", ["mean", "official"])
def test_export_is_the_way_back(aggregator: Any, tmp_path: Path) -> None:  # noqa: ANN401
    tensors = image_tensors(num_classes=13)
    model = Stam(StamConfig(**SIZES, num_frames=7, aggregator=aggregator, temporal_heads=3))
    load_weights(model, written(tensors, tmp_path))
    back = vit.export(model.state_dict(), model.config)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    with pytest.raises(UsageError, match="only the frame encoder of a STAM can be written as an image ViT"):
        vit.export(model.state_dict(), StamJointConfig())
