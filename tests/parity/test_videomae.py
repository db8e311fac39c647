"""VideoMAE against numbers of the release and of Hugging Face; and wrong VideoMAEs, which must not pass."""

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
from transformers import VideoMAEConfig as TheirConfig
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification

from fewframes.models import layers
from fewframes.models.videomae import QueryValueBiasAttention, Videomae, VideomaeConfig, sinusoid_positions
from fewframes.weights.adapters import videomae_hf
from fewframes.weights.convert import describe_weights
from fewframes.weights.loading import load_weights
from tests.helpers.golden import GOLDEN
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

OFFICIAL = "videomae_official_a"
HF = ("hf_videomae_meanpool_a", "hf_videomae_nomean_a")


def source_of(name: str) -> Path:
    return GOLDEN / name / "weights.safetensors" if name == OFFICIAL else GOLDEN / name


def golden(name: str) -> tuple[Videomae, Tensor, dict[str, Tensor]]:
    """Our network with the golden weights, the clip and all numbers."""
    stated: dict[str, Any] = json.loads((GOLDEN / name / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(GOLDEN / name / "io.safetensors")
    config = describe_weights(source_of(name))[1].config
    if name == OFFICIAL:
        size = (stated["img_size"], stated["img_size"])
        config = dataclasses.replace(
            config, heads=stated["num_heads"], num_frames=stated["all_frames"], image_size=size
        )
    model = Videomae(config)
    report = load_weights(model, source_of(name))
    assert len(report.loaded) == len(model.state_dict())
    assert not report.unused
    return model.eval(), tensors["input"].transpose(1, 2) if name == OFFICIAL else tensors["input"], tensors


@pytest.mark.parametrize("name", [OFFICIAL, *HF])
@torch.no_grad()
def test_parity(name: str) -> None:
    model, clip, tensors = golden(name)
    assert_close(model(clip), tensors["logits"], PARITY)
    assert torch.equal(model.encoder.positions_1ND, tensors["position_table"])
    if name == OFFICIAL:
        assert_close(model.encoder(clip), tensors["features"], PARITY)


def test_every_eps_is_the_one_of_the_source() -> None:
    """No eps can be seen in the golden numbers, so it is read off."""
    eps = {name: [each.eps for each in golden(name)[0].modules() if isinstance(each, nn.LayerNorm)] for name in HF}
    assert eps == {HF[0]: [1e-12] * 4 + [1e-5], HF[1]: [1e-12] * 5}
    assert [each.eps for each in golden(OFFICIAL)[0].modules() if isinstance(each, nn.LayerNorm)] == [1e-6] * 5


def tanh_gelu(_: Videomae, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = F.gelu
    monkeypatch.setattr(layers.F, "gelu", lambda value, **_: exact(value, approximate="tanh"))


def blue_first(model: Videomae, _: pytest.MonkeyPatch) -> None:
    weight = model.encoder.patch_embed.proj.weight
    weight.copy_(weight.flip(1).clone())


def frames_backwards(model: Videomae, _: pytest.MonkeyPatch) -> None:
    model.register_forward_pre_hook(lambda _, clips: (clips[0].flip(1),))


def _attentions(model: Videomae) -> list[QueryValueBiasAttention]:
    return [each for each in model.modules() if isinstance(each, QueryValueBiasAttention)]


def key_before_query(model: Videomae, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model):
        query, key, value = attention.qkv.weight.chunk(3)
        attention.qkv.weight.copy_(torch.cat([key, query, value]))


def biases_swapped(model: Videomae, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model):
        query = attention.q_bias.clone()
        attention.q_bias.copy_(attention.v_bias)
        attention.v_bias.copy_(query)


def no_biases(model: Videomae, _: pytest.MonkeyPatch) -> None:
    for attention in _attentions(model):
        attention.q_bias = attention.v_bias = None


def sines_then_cosines(model: Videomae, _: pytest.MonkeyPatch) -> None:
    positions = model.encoder.positions_1ND
    positions.copy_(torch.cat([positions[..., 0::2], positions[..., 1::2]], dim=-1))


def positions_by_space_first(model: Videomae, _: pytest.MonkeyPatch) -> None:
    """Token order (row, column, time) where it is (time, row, column)."""
    positions = model.encoder.positions_1ND
    positions.copy_(positions.unflatten(1, (9, 5)).transpose(1, 2).flatten(1, 2).clone())


def no_positions(model: Videomae, _: pytest.MonkeyPatch) -> None:
    model.encoder.positions_1ND.zero_()


def without_last_norm(model: Videomae, _: pytest.MonkeyPatch) -> None:
    setattr(model.encoder, "fc_norm" if model.encoder.pooling == "mean" else "norm", nn.Identity())


def pooled_otherwise(model: Videomae, _: pytest.MonkeyPatch) -> None:
    encoder = model.encoder
    if encoder.pooling == "mean":
        encoder.pooling, encoder.norm = "first", encoder.fc_norm
    else:
        encoder.pooling, encoder.fc_norm = "mean", encoder.norm


Twin = Callable[[Videomae, pytest.MonkeyPatch], None]
TWINS: list[Twin] = [
    tanh_gelu,
    blue_first,
    frames_backwards,
    key_before_query,
    biases_swapped,
    no_biases,
    sines_then_cosines,
    positions_by_space_first,
    no_positions,
    without_last_norm,
    pooled_otherwise,
]


@pytest.mark.parametrize("name", [OFFICIAL, *HF])
@pytest.mark.parametrize("twin", TWINS)
@torch.no_grad()
def test_a_wrong_network_fails_parity(twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clip, tensors = golden(name)
    twin(model, monkeypatch)
    assert difference(model(clip), tensors["logits"]) > MISTAKE


def test_positions_by_hand() -> None:
    """Width 4: sin(p), cos(p), sin(p / 100), cos(p / 100)."""
    expected = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.841470985, 0.540302306, 0.00999983333, 0.99995000042]])
    assert_close(sinusoid_positions(2, 4), expected, 1e-7)


def theirs_config(**changes: Any) -> TheirConfig:  # noqa: ANN401
    """No two sizes alike: T=6 (3 tubelets), H=W=14, P=4 a frame, D=22, A=11, K=13, depth 3."""
    values = {
        "image_size": 14,
        "patch_size": 7,
        "num_frames": 6,
        "tubelet_size": 2,
        "hidden_size": 22,
        "num_hidden_layers": 3,
        "num_attention_heads": 11,
        "intermediate_size": 37,
        "id2label": {index: f"action {index}" for index in range(13)},
    }
    return TheirConfig(**{**values, **changes})


def randomised(model: nn.Module) -> nn.Module:
    torch.manual_seed(47)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


CLIP = torch.randn(2, 6, 3, 14, 14, generator=torch.Generator().manual_seed(53))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("mean", [True, False])
@torch.no_grad()
def test_a_network_saved_by_transformers(mean: bool, biased: bool, tmp_path: Path) -> None:
    reference = randomised(VideoMAEForVideoClassification(theirs_config(use_mean_pooling=mean, qv_bias=biased)))
    reference.save_pretrained(tmp_path)
    layout, described = describe_weights(tmp_path)
    assert layout == "VideoMAE (Hugging Face)"
    assert described.labels == tuple(f"action {index}" for index in range(13))
    assert described.config.qv_bias is biased
    model = Videomae(described.config).eval()
    load_weights(model, tmp_path)
    assert sum(each.numel() for each in model.parameters()) == sum(each.numel() for each in reference.parameters())
    assert_close(model(CLIP), reference(CLIP).logits, PARITY)


@torch.no_grad()
def test_names_that_transformers_has_in_memory(tmp_path: Path) -> None:
    """query.bias and value.bias, where files hold q_bias and v_bias; and a bias of the keys, which changes nothing."""
    reference = randomised(VideoMAEForVideoClassification(theirs_config()))
    tensors = {name: value.clone() for name, value in reference.state_dict().items()}
    assert "videomae.encoder.layer.0.attention.attention.query.bias" in tensors
    for layer in range(3):
        tensors[f"videomae.encoder.layer.{layer}.attention.attention.key.bias"] = torch.randn(22)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(reference.config.to_json_string(), encoding="utf-8")
    model = Videomae(describe_weights(tmp_path)[1].config).eval()
    report = load_weights(model, tmp_path)
    assert len(report.unused) == 3
    assert "biases of the keys are left out, which changes nothing" in report.notes
    assert_close(model(CLIP), reference(CLIP).logits, PARITY)


@pytest.mark.parametrize("mean", [True, False])
@torch.no_grad()
def test_transformers_reads_what_we_write(mean: bool, tmp_path: Path) -> None:
    config = VideomaeConfig(
        num_classes=13,
        num_frames=6,
        image_size=(14, 14),
        patch_size=7,
        width=22,
        depth=3,
        heads=11,
        mlp_ratio=37 / 22,
        norm_eps=1e-12,
        pool_norm_eps=1e-5,
        pooling="mean" if mean else "first",
    )
    model = randomised(Videomae(config))
    tensors = videomae_hf.export(model.state_dict(), config)
    save_file(
        {name: value.contiguous() for name, value in tensors.items()}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    labels = tuple(f"action {index}" for index in range(13))
    preprocess = describe_weights(GOLDEN / HF[0])[1].preprocess
    preprocess = dataclasses.replace(preprocess, crop=(14, 14), resize_short=14)
    for name, content in videomae_hf.export_beside(config, labels, preprocess).items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    again, report = VideoMAEForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_close(again.eval()(CLIP).logits, model(CLIP), PARITY)
    described = describe_weights(tmp_path)[1]
    assert (described.config, described.labels, described.preprocess) == (config, labels, preprocess)


@torch.no_grad()
def test_the_encoder_of_a_pre_training_by_transformers(tmp_path: Path) -> None:
    """Its tokens, without a mask, are those of our encoder before the pooling."""
    config = theirs_config(
        use_mean_pooling=False, decoder_hidden_size=10, decoder_num_attention_heads=2, decoder_intermediate_size=17
    )
    reference = randomised(VideoMAEForPreTraining(config))
    reference.save_pretrained(tmp_path)
    ours = VideomaeConfig(
        num_classes=5, num_frames=6, image_size=(14, 14), patch_size=7, width=22, depth=3, heads=11, mlp_ratio=37 / 22
    )
    model = Videomae(ours).eval()
    report = load_weights(model, tmp_path)
    assert set(report.newly_initialised) == {
        "head.weight",
        "head.bias",
        "encoder.fc_norm.weight",
        "encoder.fc_norm.bias",
    }
    tokens = model.encoder.patch_embed(CLIP) + model.encoder.positions_1ND
    for block in model.encoder.blocks:
        tokens = block(tokens)
    assert_close(reference.videomae.layernorm(tokens), reference.videomae(CLIP).last_hidden_state, PARITY)
