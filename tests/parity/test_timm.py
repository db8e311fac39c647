"""Our ViT against timm's own, which must agree, wrong ones, which must not, and the catalogue against timm's facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fewframes.catalog import CATALOG, adapted_card
from fewframes.errors import UsageError
from fewframes.models.encoders import timm_preprocess
from fewframes.models.stam import Stam, StamConfig
from fewframes.models.stam_inblock import StamInBlock, StamInBlockConfig
from fewframes.models.stam_joint import StamJoint, StamJointConfig
from fewframes.models.stam_timm import StamTimm, StamTimmConfig
from fewframes.models.vit import ENCODER_SIZES
from fewframes.weights.adapters import vit
from fewframes.weights.loading import load_weights
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference


def random_vit(**changes: int | bool) -> VisionTransformer:
    """A ViT of timm with weights far from their start: 20 x 20 pixels, patches of 4, D=30, A=5."""
    torch.manual_seed(61)
    sizes: dict[str, int | bool] = {"embed_dim": 30, "depth": 3, "num_heads": 5, "num_classes": 0}
    network = VisionTransformer(img_size=20, patch_size=4, **{**sizes, **changes})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(mean=0.1, std=0.3)
    return network.eval()


def sizes_of_random_vit() -> StamConfig:
    return StamConfig(
        num_classes=13, num_frames=7, image_size=(20, 20), patch_size=4, width=30, depth=3, heads=5, norm_eps=1e-6,
        aggregator="mean",
    )  # fmt: skip


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(2, 7, 3, 20, 20, generator=torch.Generator().manual_seed(67))


def saved(network: nn.Module, folder: Path) -> Path:
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


@torch.no_grad()
def test_the_frame_encoder_is_timms_vit(frames: Tensor, tmp_path: Path) -> None:
    theirs, ours = random_vit(), Stam(sizes_of_random_vit()).eval()
    load_weights(ours, saved(theirs, tmp_path))
    expected = theirs.forward_features(frames.flatten(0, 1))[:, 0].unflatten(0, (2, 7))
    assert_close(ours.embed_frames(frames), expected, PARITY)


def another_eps(model: Stam) -> None:
    for module in model.encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-3


def heads_halved(model: Stam) -> None:
    for block in model.encoder.blocks:
        block.get_submodule("attn").heads = 6  # type: ignore[assignment]


def patches_column_by_column(model: Stam) -> None:
    positions = model.encoder.pos_embed
    positions[:, 1:] = positions[:, 1:].unflatten(1, (5, 5)).transpose(1, 2).flatten(1, 2).clone()


@pytest.mark.parametrize("twin", [another_eps, heads_halved, patches_column_by_column])
@torch.no_grad()
def test_a_wrong_encoder_fails_parity(twin: Callable[[Stam], None], frames: Tensor, tmp_path: Path) -> None:
    theirs, ours = random_vit(), Stam(sizes_of_random_vit()).eval()
    load_weights(ours, saved(theirs, tmp_path))
    twin(ours)
    expected = theirs.forward_features(frames.flatten(0, 1))[:, 0].unflatten(0, (2, 7))
    assert difference(ours.embed_frames(frames), expected) > MISTAKE


@pytest.mark.parametrize("size", ENCODER_SIZES)
def test_every_size_has_timms_names_and_shapes(size: str) -> None:
    """ViT-Ti, S, B, L with patches of 16 and ViT-H with patches of 14, at 224 x 224."""
    patch = ENCODER_SIZES[size].get("patch_size", 16)
    with torch.device("meta"):
        theirs = timm.create_model(f"vit_{size}_patch{patch}_224", num_classes=13).state_dict()
        config = adapted_card("vit_mean_16", encoder=size, num_classes=13).config
        assert isinstance(config, StamConfig)
        ours = Stam(config).state_dict()
    named = {vit.translate_name(name): tuple(tensor.shape) for name, tensor in theirs.items()}
    assert named == {name: tuple(tensor.shape) for name, tensor in ours.items()}


def test_the_largest_vit_has_its_own_patches() -> None:
    """224 = 16 x 14; what is no multiple of 14 needs another patch, which no published ViT-H has."""
    with pytest.raises(
        UsageError, match="image_size is 256x256; expected height and width, multiples of patch_size, 14"
    ):
        adapted_card("stam_16", encoder="huge", image_size=256)
    config = adapted_card("stam_16", encoder="huge", image_size=256, patch_size=16).config
    assert isinstance(config, StamConfig)
    assert (config.width, config.depth, config.heads, config.patch_size) == (1280, 32, 16, 16)


@torch.no_grad()
def test_what_we_write_timm_reads(frames: Tensor) -> None:
    ours = Stam(sizes_of_random_vit(), torch.Generator().manual_seed(5)).eval()
    theirs = random_vit(num_classes=13)
    theirs.load_state_dict(vit.export(ours.state_dict(), ours.config), strict=True)
    expected = theirs.forward_features(frames.flatten(0, 1))[:, 0].unflatten(0, (2, 7))
    assert_close(ours.embed_frames(frames), expected, PARITY)
    assert_close(ours(frames[:, :1]), theirs(frames[:, 0]), PARITY)


@torch.no_grad()
def test_the_variants_of_one_frame_are_timms_vit_with_its_head(frames: Tensor, tmp_path: Path) -> None:
    theirs = random_vit(num_classes=13)
    path = saved(theirs, tmp_path)
    sizes = {"num_classes": 13, "num_frames": 1, "patch_size": 4, "width": 30, "depth": 3, "heads": 5}
    for ours in (
        StamJoint(StamJointConfig(**sizes, image_size=(20, 20), norm_eps=1e-6)),
        StamInBlock(StamInBlockConfig(**sizes, image_size=(20, 20), norm_eps=1e-6)),
    ):
        load_weights(ours.eval(), path)
        assert_close(ours(frames[:, :1]), theirs(frames[:, 0]), PARITY)


@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "test_resnet", "test_convnext", "test_efficientnet"])
@torch.no_grad()
def test_any_encoder_of_timm_as_it_is(name: str, tmp_path: Path) -> None:
    """With the file's weights, the frame's embedding is what timm's own network gives before its classifier."""
    torch.manual_seed(71)
    size = {"img_size": 64} if "vit" in name else {}
    theirs = timm.create_model(name, num_classes=0, **size).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    config = StamTimmConfig(num_classes=13, num_frames=3, image_size=(64, 64), encoder=name, aggregator="mean")
    ours = StamTimm(config, torch.Generator().manual_seed(73)).eval()
    clip = torch.rand(2, 3, 3, 64, 64, generator=torch.Generator().manual_seed(79))
    expected = theirs(clip.flatten(0, 1)).unflatten(0, (2, 3))
    assert difference(ours.embed_frames(clip), expected) > MISTAKE
    load_weights(ours, saved(theirs, tmp_path))
    assert torch.equal(ours.embed_frames(clip), expected)


CARDS = {name: card for name, card in CATALOG.items() if isinstance(card.config, StamTimmConfig)}


@pytest.mark.parametrize("name", CARDS)
def test_the_cards_state_what_timm_states(name: str) -> None:
    card = CARDS[name]
    assert isinstance(card.config, StamTimmConfig)
    assert card.preprocess == timm_preprocess(card.config.encoder, card.config.image_size)
    stated = timm.models.get_pretrained_cfg(card.config.encoder)
    assert stated.tag == card.config.encoder.partition(".")[2], "every card names its weights"
    if not card.published:
        licence = card.notes.partition("licence, says timm: ")[2].partition(")")[0]
        assert licence in ("", stated.license)


def test_another_encoder_brings_its_transform() -> None:
    card = adapted_card("stam_16_resnet50", encoder="tresnet_m.miil_in21k", num_classes=5)
    assert card.preprocess == CARDS["stam_16_tresnet_m"].preprocess
    assert adapted_card("stam_16_clip_base", num_classes=5).preprocess == CARDS["stam_16_clip_base"].preprocess
    squeezed = adapted_card("stam_16_resnet50", encoder="eva02_base_patch14_448", image_size=(42, 56)).preprocess
    assert squeezed == timm_preprocess("eva02_base_patch14_448", (42, 56))
