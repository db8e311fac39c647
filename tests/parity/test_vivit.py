"""ViViT against numbers of the original code and of Hugging Face; and wrong ViViTs, which must not pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import VivitConfig as TheirConfig
from transformers import VivitForVideoClassification

from fewframes.architectures import build_from_config
from fewframes.errors import InvalidCheckpoint
from fewframes.models import layers, vivit_parts
from fewframes.models.vivit import VivitFactorisedEncoder, build_vivit
from fewframes.models.vivit_factorised import FactorisedBlock, HalvedAttention
from fewframes.models.vivit_parts import TokenEncoder, TubeletEmbed, VivitBlock
from fewframes.weights.adapters import vivit_hf
from fewframes.weights.convert import describe_weights
from fewframes.weights.loading import load_weights
from tests.helpers.golden import GOLDEN
from tests.helpers.golden_vivit import SCENIC, golden_vivit
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

HF = "hf_vivit_a"
MODEL_2 = ("vivit_m2_a", "vivit_m2_avgpool_a")
MODEL_3 = ("vivit_m3_space_time_a", "vivit_m3_time_space_a")


@pytest.mark.parametrize("name", SCENIC)
@torch.no_grad()
def test_parity_with_the_original_code(name: str) -> None:
    golden = golden_vivit(name)
    model = golden.model()
    inputs: dict[str, Tensor] = {}
    model.get_submodule("head").register_forward_pre_hook(lambda _, given: inputs.update(video=given[0]))
    assert_close(model(golden.clip), golden.logits, PARITY)
    assert_close(inputs["video"], golden.video, PARITY)


@pytest.mark.parametrize("name", [name for name in SCENIC if name not in MODEL_2])
@torch.no_grad()
def test_every_token_agrees_after_the_last_norm(name: str) -> None:
    golden = golden_vivit(name)
    assert golden.encoded is not None
    model = golden.model()
    encoder: Any = model.encoder
    tokens = encoder.place(model.get_submodule("patch_embed")(golden.clip).flatten(1, 2))
    for block in encoder.blocks:
        tokens = block(tokens)
    # The fixtures allow 2e-5 for tokens of models 3 and 4; PARITY is stricter.
    assert_close(encoder.norm(tokens), golden.encoded, PARITY)


def test_the_two_orders_hold_the_same_weights_and_differ() -> None:
    first, second = (golden_vivit(name) for name in MODEL_3)
    assert torch.equal(first.clip, second.clip)
    assert difference(first.logits, second.logits) > 0.1


def golden_hugging_face() -> tuple[nn.Module, Tensor, Tensor]:
    """Our network with the golden weights, the clip and the logits."""
    described = describe_weights(GOLDEN / HF)[1]
    tensors = load_file(GOLDEN / HF / "io.safetensors")
    model = build_from_config(described.config).eval()
    report = load_weights(model, GOLDEN / HF)
    assert not (report.newly_initialised or report.resized or report.unused)
    return model, tensors["input"], tensors["logits"]


@torch.no_grad()
def test_parity_with_hugging_face() -> None:
    model, clip, logits = golden_hugging_face()
    assert_close(model(clip), logits, PARITY)


@pytest.mark.parametrize("tubelet", [[2, 6, 6], [3, 4, 8]])
@torch.no_grad()
def test_parity_with_transformers_and_back(tubelet: list[int], tmp_path: Path) -> None:
    """Their random network, read in both of its naming schemes, and then ours read by them, strictly."""
    size = 18 if tubelet[1] == 6 else [20, 24]
    config = TheirConfig(
        image_size=size,
        num_frames=6,
        tubelet_size=tubelet,
        hidden_size=30,
        num_hidden_layers=2,
        num_attention_heads=5,
        intermediate_size=44,
        num_labels=7,
        attn_implementation="eager",
    )
    torch.manual_seed(5)
    theirs = VivitForVideoClassification(config).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    theirs.save_pretrained(tmp_path / "theirs")
    described = describe_weights(tmp_path / "theirs")[1]
    ours = build_from_config(described.config).eval()
    load_weights(ours, tmp_path / "theirs")
    height, width = described.config.image_size
    clip = torch.rand(2, 6, 3, height, width, generator=torch.Generator().manual_seed(7)) * 2 - 1
    logits = theirs(clip).logits
    assert_close(ours(clip), logits, PARITY)

    in_memory = vivit_hf.translate(theirs.state_dict(), ours)
    ours.load_state_dict(in_memory.tensors, strict=True)
    assert_close(ours(clip), logits, PARITY)

    write_folder(ours, tmp_path / "ours", described)
    again, info = VivitForVideoClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.hidden_act == "gelu_fast"
    assert_close(again.eval()(clip).logits, logits, PARITY)


def write_folder(model: nn.Module, folder: Path, described: Any) -> None:  # noqa: ANN401
    folder.mkdir()
    tensors = vivit_hf.export(model.state_dict(), described.config)
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    labels = [f"class {index}" for index in range(described.config.num_classes)]
    for name, content in vivit_hf.export_beside(described.config, labels, described.preprocess).items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def eps(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    for norm in model.modules():
        if isinstance(norm, nn.LayerNorm):
            norm.eps = 1e-5


def exact_gelu(_: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = F.gelu
    monkeypatch.setattr(layers.F, "gelu", lambda value, **_: exact(value))


def blue_first(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    weight = model.get_parameter("patch_embed.proj.weight")
    weight.copy_(weight.flip(1).clone())


def tubelets_backwards(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    weight = model.get_parameter("patch_embed.proj.weight")
    weight.copy_(weight.flip(2).clone())


def frames_backwards(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    model.register_forward_pre_hook(lambda _, clips: (clips[0].flip(1),))


def patches_transposed(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    weight = model.get_parameter("patch_embed.proj.weight")
    rows, columns = weight.shape[3:]
    weight.copy_(weight.transpose(3, 4).reshape(*weight.shape[:3], rows, columns).clone())


def _reorder_tokens(monkeypatch: pytest.MonkeyPatch, order: Callable[[Tensor], Tensor]) -> None:
    """Let the tokeniser give its (B, D, U, rows, columns) in another order, of the same number of planes."""

    def forward(embed: TubeletEmbed, clip: Tensor) -> Tensor:
        frames = clip if embed.picked is None else clip.index_select(1, embed.picked)
        blocks = embed.proj(frames.transpose(1, 2))
        return order(blocks).flatten(2).unflatten(2, (blocks.shape[2], -1)).permute(0, 2, 3, 1)

    monkeypatch.setattr(vivit_parts.TubeletEmbed, "forward", forward)


def column_by_column(_: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    _reorder_tokens(monkeypatch, lambda blocks: blocks.transpose(3, 4))


def time_last(_: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    _reorder_tokens(monkeypatch, lambda blocks: blocks.permute(0, 1, 3, 4, 2))


def _attentions(model: nn.Module) -> list[layers.SelfAttention]:
    return [each for each in model.modules() if isinstance(each, layers.SelfAttention)]


def key_before_query(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model):
        for parameter in (attention.qkv.weight, attention.qkv.bias):
            query, key, value = parameter.clone().chunk(3)
            parameter.copy_(torch.cat([key, query, value]))


def heads_interleaved(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model):
        rows = torch.arange(attention.qkv.out_features).unflatten(0, (3, attention.heads, -1))
        order = rows.transpose(1, 2).flatten()
        for parameter in (attention.qkv.weight, attention.qkv.bias):
            parameter.copy_(parameter[order].clone())


def post_norm(_: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_block(block: VivitBlock, tokens: Tensor, shared_by: int = 1) -> Tensor:
        del shared_by
        tokens = block.norm1(tokens + block.attn(tokens))
        return block.norm2(tokens + block.mlp(tokens))

    monkeypatch.setattr(VivitBlock, "forward", of_block)


def without_last_norm(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    model.get_submodule("encoder").norm = nn.Identity()


def other_order(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    for block in model.modules():
        if isinstance(block, FactorisedBlock):
            block.space_first = not block.space_first


def side_by_side(_: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both attentions of a block read the same tokens, instead of one after the other."""

    def forward(block: FactorisedBlock, tokens: Tensor, shared_by: int = 1) -> Tensor:
        grid = tokens.unflatten(1, (block.num_planes, -1))
        grid = block._over_space(grid, shared_by) + block._over_time(grid, shared_by) - grid
        tokens = grid.flatten(1, 2)
        return tokens + block.mlp(block.norm2(tokens))

    monkeypatch.setattr(FactorisedBlock, "forward", forward)


def space_in_the_first_half(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model):
        half = attention.qkv.in_features // 2
        for parameter in (attention.qkv.weight, attention.qkv.bias):
            parameter.copy_(torch.cat([part.roll(half, 0) for part in parameter.clone().chunk(3)]))
        attention.proj.weight.copy_(attention.proj.weight.roll(half, 1).clone())


def every_head_sees_all(_: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HalvedAttention, "forward", layers.SelfAttention.forward)


def first_token_instead_of_average(_: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(encoder: TokenEncoder, tokens: Tensor, shared_by: int = 1) -> Tensor:
        tokens = encoder.place(tokens)
        for block in encoder.blocks:
            tokens = block(tokens, shared_by)
        return encoder.norm(tokens)[:, 0]

    monkeypatch.setattr(TokenEncoder, "forward", forward)


def average_over_time(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    assert isinstance(model, VivitFactorisedEncoder)
    model.temporal = None


def temporal_heads_halved(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model.get_submodule("temporal")):
        attention.heads = 1


def centres_of_segments(model: nn.Module, _: pytest.MonkeyPatch) -> None:
    embed = model.get_submodule("patch_embed")
    embed.picked = torch.tensor([int((index + 0.5) * 9 / 5) for index in range(5)])


Twin = Callable[[nn.Module, pytest.MonkeyPatch], None]
EVERYWHERE: tuple[Twin, ...] = (
    eps,
    exact_gelu,
    blue_first,
    patches_transposed,
    column_by_column,
    key_before_query,
    heads_interleaved,
    without_last_norm,
)
IN_TIME: tuple[Twin, ...] = (tubelets_backwards, frames_backwards, time_last)
WRONG: list[tuple[Twin, str]] = [
    *((twin, name) for name in SCENIC for twin in EVERYWHERE),
    *((twin, name) for name in ("vivit_m1_a", "vivit_m2_a", *MODEL_3, "vivit_m4_a") for twin in IN_TIME),
    *((post_norm, name) for name in SCENIC if name not in MODEL_3),
    *((twin, name) for name in MODEL_3 for twin in (other_order, side_by_side)),
    *((twin, "vivit_m4_a") for twin in (space_in_the_first_half, every_head_sees_all)),
    *((first_token_instead_of_average, name) for name in (*MODEL_3, "vivit_m4_a")),
    *((twin, "vivit_m2_a") for twin in (average_over_time, temporal_heads_halved)),
    (centres_of_segments, "vivit_m1_sampling_a"),
]


@pytest.mark.parametrize(("twin", "name"), WRONG)
@torch.no_grad()
def test_a_wrong_network_fails_parity(twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = golden_vivit(name)
    model = golden.model()
    twin(model, monkeypatch)
    assert difference(model(golden.clip), golden.logits) > MISTAKE


@torch.no_grad()
def test_the_average_over_time_is_blind_to_its_order() -> None:
    """Tubelets of 3 frames in another order, each as it was: the baseline cannot tell."""
    golden = golden_vivit("vivit_m2_avgpool_a")
    clip = golden.clip.unflatten(1, (-1, 3)).flip(1).flatten(1, 2)
    assert_close(golden.model()(clip), golden.logits, PARITY)


def test_a_file_of_another_variant_is_refused() -> None:
    golden = golden_vivit("vivit_m2_avgpool_a")
    other = build_vivit(dataclasses.replace(golden.config, variant="spacetime"))
    with pytest.raises(InvalidCheckpoint, match='holds a ViViT of the variant "factorised_encoder", the network is'):
        load_weights(other, golden.weights)
