"""TimeSformer against numbers of the release and of Hugging Face; and wrong TimeSformers, which must not pass."""

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
from transformers import TimesformerConfig as TheirConfig
from transformers import TimesformerForVideoClassification

from fewframes.models import layers
from fewframes.models.timesformer import DividedBlock, SpaceTimeEncoder, Timesformer
from fewframes.weights.adapters import timesformer_hf
from fewframes.weights.convert import describe_weights
from fewframes.weights.loading import LoadReport, load_weights
from tests.helpers.golden import GOLDEN
from tests.helpers.tolerance import MISTAKE, PARITY, assert_close, difference

OFFICIAL = ("timesformer_official_divided_a", "timesformer_official_joint_a", "timesformer_official_space_a")
INTERPOLATED = "timesformer_official_interp_a"
HF = ("hf_timesformer_divided_a", "hf_timesformer_joint_a", "hf_timesformer_space_a")
SCHEMES = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}


def golden(name: str) -> tuple[Timesformer, LoadReport, Tensor, Tensor]:
    """Our network with the golden weights, the loader's report, the clip and the logits."""
    folder = GOLDEN / name
    stated: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "io.safetensors")
    official = name in (*OFFICIAL, INTERPOLATED)
    source = folder / "weights.safetensors" if official else folder
    config = describe_weights(source)[1].config
    if official:
        size = tuple(stated["input_size"])
        config = dataclasses.replace(
            config, heads=stated["num_heads"], num_frames=stated["input_frames"], image_size=size
        )
    model = Timesformer(config)
    report = load_weights(model, source)
    assert not report.newly_initialised
    assert not report.unused
    clip = tensors["input"].transpose(1, 2) if official else tensors["input"]
    return model.eval(), report, clip, tensors.get("logits_video", tensors["logits"])


@pytest.mark.parametrize("name", [*OFFICIAL, *HF, INTERPOLATED])
@torch.no_grad()
def test_parity(name: str) -> None:
    model, report, clip, logits = golden(name)
    assert_close(model(clip), logits, PARITY)
    resized = ("encoder.pos_embed: (1, 10, 24) -> (1, 17, 24)", "encoder.time_embed: (1, 5, 24) -> (1, 7, 24)")
    assert report.resized == (resized if name == INTERPOLATED else ())


@pytest.mark.parametrize("name", OFFICIAL)
@torch.no_grad()
def test_parity_of_features(name: str) -> None:
    model, _, clip, _ = golden(name)
    features = load_file(GOLDEN / name / "io.safetensors")["features"]
    assert_close(model.encoder(clip), features, PARITY)


def _norms(model: nn.Module) -> list[nn.LayerNorm]:
    return [module for module in model.modules() if isinstance(module, nn.LayerNorm)]


def another_eps(model: Timesformer, _: pytest.MonkeyPatch) -> None:
    for norm in _norms(model):
        norm.eps = 1e-5


def tanh_gelu(_: Timesformer, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = F.gelu
    monkeypatch.setattr(layers.F, "gelu", lambda value, **_: exact(value, approximate="tanh"))


def blue_first(model: Timesformer, _: pytest.MonkeyPatch) -> None:
    weight = model.encoder.patch_embed.proj.weight
    weight.copy_(weight.flip(1).clone())


def patches_column_by_column(model: Timesformer, _: pytest.MonkeyPatch) -> None:
    positions = model.encoder.pos_embed
    patches = positions[:, 1:].unflatten(1, model.encoder.grid).transpose(1, 2).flatten(1, 2)
    positions[:, 1:] = patches.clone()


def key_before_query(model: Timesformer, _: pytest.MonkeyPatch) -> None:
    for attention in (each for each in model.modules() if isinstance(each, layers.SelfAttention)):
        for tensor in (attention.qkv.weight, attention.qkv.bias):
            query, key, value = tensor.chunk(3)
            tensor.copy_(torch.cat([key, query, value]))


def frames_backwards(model: Timesformer, _: pytest.MonkeyPatch) -> None:
    model.register_forward_pre_hook(lambda _, clips: (clips[0].flip(1),))


def no_position_in_time(model: Timesformer, _: pytest.MonkeyPatch) -> None:
    model.encoder.time_embed.zero_()


def class_in_temporal_attention(_: Timesformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's equation 13: the class token's key is there for every patch."""

    def forward(block: DividedBlock, tokens: Tensor) -> Tensor:
        first, patches = tokens[:, :1], tokens[:, 1:].unflatten(1, (block.num_frames, -1))
        tubes = patches.transpose(1, 2)
        with_class = torch.cat([first.unsqueeze(1).expand(-1, tubes.shape[1], -1, -1), tubes], dim=2)
        mixed = block.temporal_fc(block.temporal_attn(block.temporal_norm1(with_class.flatten(0, 1))))[:, 1:]
        patches = patches + mixed.unflatten(0, tubes.shape[:2]).transpose(1, 2)
        tokens = torch.cat([first, patches.flatten(1, 2)], dim=1)
        tokens = tokens + block._over_space(first, patches)
        return tokens + block.mlp(block.norm2(tokens))

    monkeypatch.setattr(DividedBlock, "forward", forward)


def class_of_first_frame(_: Timesformer, monkeypatch: pytest.MonkeyPatch) -> None:
    right = DividedBlock._over_space

    def over_space(block: DividedBlock, first: Tensor, patches: Tensor) -> Tensor:
        mixed = right(block, first, patches)
        alone = right(block, first, patches[:, :1])
        return torch.cat([alone[:, :1], mixed[:, 1:]], dim=1)

    monkeypatch.setattr(DividedBlock, "_over_space", over_space)


def space_before_time(_: Timesformer, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(block: DividedBlock, tokens: Tensor) -> Tensor:
        first, patches = tokens[:, :1], tokens[:, 1:].unflatten(1, (block.num_frames, -1))
        tokens = tokens + block._over_space(first, patches)
        patches = block._over_time(tokens[:, 1:].unflatten(1, (block.num_frames, -1)))
        tokens = torch.cat([tokens[:, :1], patches.flatten(1, 2)], dim=1)
        return tokens + block.mlp(block.norm2(tokens))

    monkeypatch.setattr(DividedBlock, "forward", forward)


def without_temporal_residual(_: Timesformer, monkeypatch: pytest.MonkeyPatch) -> None:
    right = DividedBlock._over_time
    monkeypatch.setattr(DividedBlock, "_over_time", lambda block, patches: right(block, patches) - patches)


def tokens_in_another_order(_: Timesformer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames and patches mixed up, as when tokens that lie patch by patch are read frame by frame."""
    right = DividedBlock._over_time

    def over_time(block: DividedBlock, patches: Tensor) -> Tensor:
        mixed_up = patches.transpose(1, 2).reshape(patches.shape)
        return right(block, mixed_up).reshape(patches.transpose(1, 2).shape).transpose(1, 2)

    monkeypatch.setattr(DividedBlock, "_over_time", over_time)


def mean_after_the_norm(_: Timesformer, monkeypatch: pytest.MonkeyPatch) -> None:
    right = SpaceTimeEncoder.forward

    def forward(encoder: SpaceTimeEncoder, clip: Tensor) -> Tensor:
        return torch.stack([right(encoder, clip[:, [index]]) for index in range(clip.shape[1])]).mean(0)

    monkeypatch.setattr(SpaceTimeEncoder, "forward", forward)


Twin = Callable[[Timesformer, pytest.MonkeyPatch], None]
EVERYWHERE: list[Twin] = [another_eps, tanh_gelu, blue_first, patches_column_by_column, key_before_query]
IN_TIME: list[Twin] = [frames_backwards, no_position_in_time]
DIVIDED: list[Twin] = [
    class_in_temporal_attention,
    class_of_first_frame,
    space_before_time,
    without_temporal_residual,
    tokens_in_another_order,
]


def error_of(twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch) -> float:
    model, _, clip, logits = golden(name)
    with torch.no_grad():
        twin(model, monkeypatch)
        return difference(model(clip), logits)


@pytest.mark.parametrize("name", [*OFFICIAL, *HF])
@pytest.mark.parametrize("twin", EVERYWHERE)
def test_a_wrong_network_fails_parity(twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(twin, name, monkeypatch) > MISTAKE


@pytest.mark.parametrize("name", [each for each in (*OFFICIAL, *HF) if "space" not in each])
@pytest.mark.parametrize("twin", IN_TIME)
def test_a_network_with_a_wrong_sense_of_time_fails_parity(
    twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error_of(twin, name, monkeypatch) > MISTAKE


@pytest.mark.parametrize("name", [OFFICIAL[0], HF[0]])
@pytest.mark.parametrize("twin", DIVIDED)
def test_a_wrong_divided_block_fails_parity(twin: Twin, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(twin, name, monkeypatch) > MISTAKE


@pytest.mark.parametrize("name", [OFFICIAL[2], HF[2]])
def test_averaging_normed_frames_fails_parity(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(mean_after_the_norm, name, monkeypatch) > MISTAKE


@pytest.mark.parametrize("name", [OFFICIAL[2], HF[2]])
def test_space_only_is_blind_to_the_order_of_frames(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(frames_backwards, name, monkeypatch) <= PARITY


def test_smooth_interpolation_fails_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Timesformer.position_tables
    monkeypatch.setattr(
        Timesformer,
        "position_tables",
        lambda model: tuple(dataclasses.replace(table, mode="smooth") for table in right(model)),
    )
    model, _, clip, logits = golden(INTERPOLATED)
    with torch.no_grad():
        assert difference(model(clip), logits) > MISTAKE


def theirs(scheme: str) -> TimesformerForVideoClassification:
    """Hugging Face's network, every tensor random, no two sizes alike: T=4, H=W=21, P=9, D=22, A=2, K=13, depth 3."""
    torch.manual_seed(41)
    config = TheirConfig(
        image_size=21,
        patch_size=7,
        num_frames=4,
        hidden_size=22,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=37,
        attention_type=SCHEMES[scheme],
        id2label={index: f"action {index}" for index in range(13)},
    )
    model = TimesformerForVideoClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def logits_of(model: TimesformerForVideoClassification, clip: Tensor) -> Tensor:
    """Theirs gives one row a frame for space-only networks; frames are then averaged before the last norm."""
    if model.config.attention_type != "space_only":
        logits: Tensor = model(clip).logits
        return logits
    kept: list[Tensor] = []
    hook = model.timesformer.layernorm.register_forward_pre_hook(lambda _, tokens: kept.append(tokens[0]))
    model(clip)
    hook.remove()
    mean = kept[0].unflatten(0, clip.shape[:2]).mean(1)
    logits = model.classifier(model.timesformer.layernorm(mean)[:, 0])
    return logits


@pytest.mark.parametrize("scheme", SCHEMES)
@torch.no_grad()
def test_a_network_saved_by_transformers(scheme: str, tmp_path: Path) -> None:
    reference = theirs(scheme)
    reference.save_pretrained(tmp_path)
    layout, described = describe_weights(tmp_path)
    assert layout == "TimeSformer (Hugging Face)"
    assert described.labels == tuple(f"action {index}" for index in range(13))
    model = Timesformer(described.config).eval()
    report = load_weights(model, tmp_path)
    assert len(report.loaded) == len(model.state_dict()) == len(reference.state_dict())
    clip = torch.randn(2, 4, 3, 21, 21)
    assert_close(model(clip), logits_of(reference, clip), PARITY)


@pytest.mark.parametrize("scheme", SCHEMES)
@torch.no_grad()
def test_transformers_reads_what_we_write(scheme: str, tmp_path: Path) -> None:
    reference = theirs(scheme)
    reference.save_pretrained(tmp_path / "theirs")
    described = describe_weights(tmp_path / "theirs")[1]
    assert described.labels is not None
    model = Timesformer(described.config, torch.Generator().manual_seed(43)).eval()
    for block in (each for each in model.modules() if isinstance(each, DividedBlock)):
        block.temporal_fc.weight.normal_(std=0.2)
    (tmp_path / "ours").mkdir()
    tensors = timesformer_hf.export(model.state_dict(), model.config)
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        tmp_path / "ours/model.safetensors",
        {"format": "pt"},
    )
    beside = timesformer_hf.export_beside(model.config, described.labels, described.preprocess)
    for name, content in beside.items():
        (tmp_path / "ours" / name).write_text(json.dumps(content), encoding="utf-8")
    again, report = TimesformerForVideoClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    clip = torch.randn(2, 4, 3, 21, 21)
    assert_close(logits_of(again.eval(), clip), model(clip), PARITY)
    assert again.config.id2label == reference.config.id2label
    assert describe_weights(tmp_path / "ours")[1] == described
