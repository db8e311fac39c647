"""Encoders of timm: their widths and sizes as counted, their own transforms, what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fewframes.benchmark import measure_cost
from fewframes.errors import UsageError
from fewframes.models.encoders import TimmEncoder, check_timm_name, timm_preprocess
from fewframes.models.positions import PositionTable
from fewframes.records import Preprocess
from tests.helpers.tolerance import REGROUPED, assert_close

HALF, ZERO, ONE = (0.5,) * 3, (0.0,) * 3, (1.0,) * 3
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def encoder_of(name: str, size: tuple[int, int], seed: int = 3, drop_path: float = 0.0) -> TimmEncoder:
    return TimmEncoder(name, size, drop_path=drop_path, generator=torch.Generator().manual_seed(seed)).eval()


def frames_of(size: tuple[int, int]) -> Tensor:
    return torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(5))


class Frames(nn.Module):
    """A clip is its frames."""

    def __init__(self, encoder: TimmEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        features: Tensor = self.encoder(clip_BTCHW.flatten(0, 1))
        return features


# Parameters in millions and GMACs of one frame of 224 x 224, counted for the table of encoders.
@pytest.mark.parametrize(
    ("name", "width", "parameters", "gmacs"),
    [
        ("tresnet_m", 2048, 29.34, 5.73),
        ("tresnet_l", 2432, 53.56, 10.88),
        ("tresnet_v2_l", 2048, 44.13, 8.81),
        ("resnet50", 2048, 23.51, 4.09),
        ("vit_base_patch16_224", 768, 85.80, 17.56),
        ("vit_base_patch16_224_miil", 768, 85.77, 17.56),
        ("vit_large_patch16_224", 1024, 303.30, 61.6),
        ("vit_huge_patch14_224", 1280, 630.76, 167.3),
        ("vit_base_patch16_dinov3", 768, 85.64, 17.93),
        ("vit_base_patch16_siglip_224.v2_webli", 768, 92.88, 17.71),
        ("vit_base_patch16_clip_224.openai", 768, 85.80, 17.56),
        ("eva02_base_patch14_224", 768, 85.76, 23.16),
        ("mobilenetv3_large_100", 1280, 4.20, 0.22),  # widened once more after its 960 features
    ],
)
@torch.no_grad()
def test_width_parameters_and_cost(name: str, width: int, parameters: float, gmacs: float) -> None:
    with torch.device("meta"):
        encoder = TimmEncoder(name, (224, 224))
        assert encoder.eval()(torch.zeros(2, 3, 224, 224)).shape == (2, width)
    cost = measure_cost(Frames(encoder), (1, 3, 224, 224))
    assert encoder.width == width
    assert cost.num_parameters / 1e6 == pytest.approx(parameters, abs=0.01)
    assert cost.macs / 1e9 == pytest.approx(gmacs, abs=0.05)


@pytest.mark.parametrize(
    ("name", "size", "width"),
    [
        ("test_vit", (32, 48), 64),
        ("test_vit3", (48, 32), 96),
        ("test_resnet", (32, 48), 96),
        ("resnet10t", (40, 24), 512),
        ("tresnet_m", (32, 32), 2048),
        ("vit_tiny_patch16_224", (16, 32), 192),
    ],
)
@torch.no_grad()
def test_frames_are_encoded_on_their_own(name: str, size: tuple[int, int], width: int) -> None:
    encoder, frames = encoder_of(name, size), frames_of(size)
    together = encoder(frames)
    assert together.shape == (3, width)
    assert float(together.std()) > 0
    scale = max(1.0, float(together.abs().max()))
    for index in range(3):
        assert_close(together[index : index + 1] / scale, encoder(frames[index : index + 1]) / scale, 3 * REGROUPED)


def test_the_names_are_timms() -> None:
    encoder = encoder_of("test_resnet", (32, 32))
    assert {"net.conv1.0.weight", "net.bn1.running_mean"} <= set(encoder.state_dict())
    assert not any("fc" in name for name in encoder.state_dict())


def test_same_generator_same_weights_and_the_global_state_stays() -> None:
    torch.manual_seed(1)
    first = encoder_of("test_vit", (32, 32)).state_dict()
    drawn = torch.rand(())
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(()))
    second = encoder_of("test_vit", (32, 32)).state_dict()
    other = encoder_of("test_vit", (32, 32), seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["net.patch_embed.proj.weight"], other["net.patch_embed.proj.weight"])


def test_batch_norms_see_the_frames_of_all_clips() -> None:
    """In training the statistics are those of the frames together, so that a frame's embedding hangs on the others."""
    encoder, frames = encoder_of("test_resnet", (32, 32)).train(), frames_of((32, 32))
    norm = encoder.net.get_submodule("bn1")
    assert isinstance(norm, nn.BatchNorm2d)
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    together = encoder(frames)
    assert norm.running_mean is not None
    assert_close(norm.running_mean, 0.1 * seen[0].mean((0, 2, 3)), REGROUPED)
    assert not torch.allclose(together[:2], encoder(frames[:2]), atol=1e-3)


def test_stochastic_depth_is_timms_own() -> None:
    blocks = encoder_of("test_vit", (32, 32), drop_path=0.25).net.get_submodule("blocks")
    rates = [getattr(block.get_submodule("drop_path1"), "drop_prob", 0.0) for block in blocks.children()]
    assert len(rates) == 6
    assert rates == pytest.approx([0.05 * index for index in range(6)])


@pytest.mark.parametrize(
    ("name", "size", "table"),
    [
        ("test_vit", (32, 48), PositionTable("encoder.net.pos_embed", has_class=True, grid=(1, 2, 3))),
        ("vit_base_patch16_siglip_224", (32, 48), PositionTable("encoder.net.pos_embed", False, (1, 2, 3))),
        ("eva02_tiny_patch14_224", (28, 42), PositionTable("encoder.net.pos_embed", True, (1, 2, 3))),
        ("vit_small_patch16_dinov3", (32, 48), None),
        ("resnet10t", (32, 48), None),
    ],
)
def test_position_tables(name: str, size: tuple[int, int], table: PositionTable | None) -> None:
    with torch.device("meta"):
        encoder = TimmEncoder(name, size)
    assert encoder.position_tables("encoder.") == (() if table is None else (table,))
    if table is not None:
        assert encoder.get_parameter("net.pos_embed").shape[:2] == (1, table.num_tokens)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tresnet_m", Preprocess((224, 224), 256)),
        ("vit_base_patch16_224_miil.in21k", Preprocess((224, 224), 256)),
        ("resnet50.tv_in1k", Preprocess((224, 224), 256, *IMAGENET)),
        ("resnet50", Preprocess((224, 224), 235, *IMAGENET, interpolation="bicubic")),  # 224 / 0.95 = 235.8
        ("vit_base_patch16_224", Preprocess((224, 224), 248, HALF, HALF, interpolation="bicubic")),
        ("vit_base_patch16_siglip_224.v2_webli", Preprocess((224, 224), 248, HALF, HALF, interpolation="bicubic")),
        ("vit_base_patch16_clip_224.openai", Preprocess((224, 224), 248, *CLIP, interpolation="bicubic")),
        ("vit_large_patch14_clip_224.openai", Preprocess((224, 224), 224, *CLIP, interpolation="bicubic")),
        ("vit_small_patch16_dinov3", Preprocess((224, 224), 224, *IMAGENET, interpolation="bicubic")),
        ("eva02_base_patch14_448", Preprocess((224, 224), None, *CLIP, interpolation="bicubic")),  # squeezed
    ],
)
def test_each_encoder_has_its_own_transform(name: str, expected: Preprocess) -> None:
    assert timm_preprocess(name, (224, 224)) == expected


def test_the_tag_decides_and_the_crop_may_be_any() -> None:
    assert timm_preprocess("vit_base_patch16_clip_224", (96, 64)).resize_short == 101  # 96 / 0.95
    assert timm_preprocess("vit_base_patch16_clip_224.openai", (64, 96)).resize_short == 106  # 96 / 0.9
    assert timm_preprocess("vit_base_patch16_clip_224.openai", (64, 96)).crop == (64, 96)


@pytest.mark.parametrize("ask", [check_timm_name, lambda name: timm_preprocess(name, (32, 32))])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", r"timm has no encoder 'resnet5O'; the nearest are .*resnet50.* \(timm\.list_models\(\) names all"),
        ("qqq", "timm has no encoder 'qqq'; the nearest are "),
        ("", "timm has no encoder ''"),
        ("hf-hub:somebody/something", "timm has no encoder 'hf-hub:somebody/something'"),  # nothing is fetched
        ("local-dir:.", "timm has no encoder 'local-dir:"),
        (
            "resnet50.a1_in2k",
            r"no weights of resnet50 'a1_in2k'; the nearest are a1_in1k.*list_pretrained\('resnet50'\)",
        ),
    ],
)
def test_an_unknown_name(ask: object, name: str, message: str) -> None:
    assert callable(ask)
    with pytest.raises(UsageError, match=message):
        ask(name)


def test_what_timm_cannot_build() -> None:
    with pytest.raises(
        UsageError, match=r"timm cannot build vgg11 for frames of 32x32 pixels with drop_path=0\.1 \(.*"
    ):
        TimmEncoder("vgg11", (32, 32), drop_path=0.1)
    with pytest.raises(UsageError, match=r"image_size is 32x40; expected .* multiples of test_vit's patches, 16"):
        TimmEncoder("test_vit", (32, 40))  # timm would build it, and see 32 of the 40 columns


def test_an_encoder_that_does_not_pool() -> None:
    with torch.device("meta"):
        encoder = TimmEncoder("gemma4_vit_167m_enc", (768, 768))
        with pytest.raises(
            UsageError, match=r"gemma4_vit_167m_enc gives \(2, \d+, 768\) for 2 frames; expected one vec"
        ):
            encoder(torch.zeros(2, 3, 768, 768))
