"""ViViT as Hugging Face's transformers lays it out: its tensors and JSON files come in, ours go out, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.models.checks import ModelConfig
from fewframes.models.vivit import Vivit, VivitConfig
from fewframes.records import Preprocess
from fewframes.weights.adapters.timesformer_hf import label_fields, stated_image_size, stated_labels
from fewframes.weights.adapters.vivit_scenic import (
    described_as_published,
    file_grid,
    fuse_projections,
    guess_grid,
    split_projections,
)
from fewframes.weights.biases import zeros_for_absent_biases
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "export", "export_beside", "fits", "is_layout", "translate"]

NAME = "ViViT (Hugging Face)"

# On disk, and what transformers 5 calls the same in memory; the base model alone has no "vivit." in front.
_LAYER = re.compile(r"(?:vivit\.)?(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias)")
_IN_LAYER = {
    "layernorm_before": "norm1",
    "attention.attention.query": "attn.query",
    "attention.attention.key": "attn.key",
    "attention.attention.value": "attn.value",
    "attention.output.dense": "attn.proj",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
_IN_MEMORY = {
    "attention.q_proj": "attn.query",
    "attention.k_proj": "attn.key",
    "attention.v_proj": "attn.value",
    "attention.o_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_OTHERS = {
    "embeddings.cls_token": "encoder.cls_token",
    "embeddings.position_embeddings": "encoder.pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "encoder.norm.weight",
    "layernorm.bias": "encoder.norm.bias",
}
_HEAD = {"classifier.weight": "head.weight", "classifier.bias": "head.bias"}
_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)")
_TANH_GELUS = ("gelu_fast", "gelu_new", "gelu_pytorch_tanh")
_HALF = (0.5, 0.5, 0.5)


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of transformers' ViViT, in either of its two naming schemes."""
    named, _ = _named(tensors)
    kernel = named.get("patch_embed.proj.weight")
    signature = {"encoder.cls_token", "encoder.pos_embed", "encoder.norm.weight", "encoder.blocks.0.norm1.weight"}
    ours = any(name.startswith("encoder.blocks.") for name in tensors)
    return kernel is not None and kernel.ndim == 5 and set(named) >= signature and not ours


def fits(model: nn.Module) -> bool:
    """Whether this is a ViViT of model 1 with tubelets, the only one that transformers has."""
    return isinstance(model, Vivit) and model.config.num_sampled_frames is None


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """Hugging Face's tensors in our names; queries, keys and values without biases get zeros."""
    assert isinstance(model, Vivit)
    named, unused = _named(tensors)
    completed = zeros_for_absent_biases(fuse_projections(named), model)
    tokens = named["encoder.pos_embed"].shape[1] - 1
    return dataclasses.replace(
        completed, grids={"encoder.pos_embed": file_grid(tokens, model.config)}, unused=tuple(unused)
    )


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes and config.json say everything; the transform is that of the training, see `_normalisation`.

    Raises:
        InvalidCheckpoint: config.json asks for another activation than the tanh form of GELU.
    """
    stated, notes = beside.get("config.json", {}), []
    activation = stated.get("hidden_act", _TANH_GELUS[0])
    if activation not in _TANH_GELUS:
        raise InvalidCheckpoint(f"config.json says hidden_act {activation!r}; this network only has {_TANH_GELUS[0]!r}")
    named = _named(tensors)[0]
    width, _, frames, *patch = named["patch_embed.proj.weight"].shape
    tokens = named["encoder.pos_embed"].shape[1] - 1
    if "image_size" in stated:
        size = stated_image_size(stated)
        num_frames = stated.get("num_frames", 32)
    else:
        planes, rows, columns = guess_grid(tokens, patch[0])
        size, num_frames = (rows * patch[0], columns * patch[1]), planes * frames
        notes.append(f"there is no config.json: {planes}x{rows}x{columns} tokens and width / 64 heads are assumed")
    config = VivitConfig(
        num_classes=named["head.weight"].shape[0] if "head.weight" in named else 400,
        num_frames=num_frames,
        image_size=size,
        tubelet_frames=frames,
        patch_size=patch[0] if patch[0] == patch[1] else (patch[0], patch[1]),
        width=width,
        depth=max(1 + int(found[1]) for found in map(_BLOCK.fullmatch, named) if found),
        heads=stated.get("num_attention_heads", max(1, width // 64)),
        mlp_ratio=named["encoder.blocks.0.mlp.fc1.weight"].shape[0] / width,
        norm_eps=stated.get("layer_norm_eps", 1e-6),
    )
    if config.grid[0] * config.grid[1] * config.grid[2] != tokens:
        raise InvalidCheckpoint(f"config.json says {config.grid} tokens, but the file has {tokens} positions")
    described = described_as_published(config, labels=stated_labels(stated), notes=tuple(notes))
    return _with_processor(described, beside.get("preprocessor_config.json", {}))


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in the names that transformers writes.

    Raises:
        UsageError: the network is not the one that transformers has.
    """
    _check_exportable(config)
    in_layer = {ours: theirs for theirs, ours in _IN_LAYER.items()}
    others = {ours: f"vivit.{theirs}" for theirs, ours in _OTHERS.items()}
    others |= {ours: theirs for theirs, ours in _HEAD.items()}
    result = {}
    for name, tensor in split_projections(tensors).items():
        found = _BLOCK.fullmatch(name)
        if found:
            name = f"vivit.encoder.layer.{found[1]}.{in_layer[found[2]]}.{found[3]}"
        result[others.get(name, name)] = tensor
    return result


def export_beside(config: ModelConfig, labels: Sequence[str], preprocess: Preprocess) -> dict[str, Any]:
    """config.json and preprocessor_config.json, as transformers reads them."""
    config = _check_exportable(config)
    height, width = config.image_size
    model = {
        "architectures": ["VivitForVideoClassification"],
        "model_type": "vivit",
        "attention_probs_dropout_prob": 0.0,
        "hidden_act": "gelu_fast",
        "hidden_dropout_prob": 0.0,
        "hidden_size": config.width,
        "image_size": height if height == width else [height, width],
        "intermediate_size": config.mlp_width,
        "layer_norm_eps": config.norm_eps,
        "num_attention_heads": config.heads,
        "num_channels": 3,
        "num_frames": config.num_frames,
        "num_hidden_layers": config.depth,
        "qkv_bias": True,
        "tubelet_size": [config.tubelet_frames, *config.patch],
        **label_fields(labels),
    }
    # Its "offset" maps to [-1, 1]; another mean and std need the ordinary path.
    offset = preprocess.mean == preprocess.std == _HALF
    processor = {
        "image_processor_type": "VivitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": preprocess.resize_short or min(preprocess.crop)},
        "resample": 2 if preprocess.interpolation == "bilinear" else 3,
        "do_center_crop": True,
        "crop_size": {"height": preprocess.crop[0], "width": preprocess.crop[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 127.5 if offset else 1 / 255,
        "offset": offset,
        "do_normalize": not offset,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }
    return {"config.json": model, "preprocessor_config.json": processor}


def _check_exportable(config: ModelConfig) -> VivitConfig:
    assert isinstance(config, VivitConfig)
    if config.variant != "spacetime" or config.num_sampled_frames is not None:
        raise UsageError(
            f'transformers only has the ViViT of the variant "spacetime" with tubelets, this is "{config.variant}"; '
            "convert to another layout"
        )
    return config


def _named(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Our names, queries, keys and values still apart, and the tensors that classifying does not need."""
    result, unused = {}, []
    for name, tensor in tensors.items():
        bare, found = name.removeprefix("vivit."), _LAYER.fullmatch(name)
        if bare.startswith("pooler.dense."):
            unused.append(name)
            continue
        part = (_IN_LAYER.get(found[2]) or _IN_MEMORY.get(found[2])) if found else None
        ours = f"encoder.blocks.{found[1]}.{part}.{found[3]}" if found and part else None
        result[ours or _OTHERS.get(bare) or _HEAD.get(name) or name] = tensor
    return result, unused


def _with_processor(described: Described, stated: Mapping[str, Any]) -> Described:
    """The description with what preprocessor_config.json says of sizes and, with care, of values.

    The processor's defaults map pixels to [-1, 1] and then normalise them as if they were in [0, 1], which gives
    [-3, 1]. The Kinetics-400 network was trained on [-1, 1]. A network of another class count is somebody's own
    fine-tuning, which then really saw what the file states.
    """
    if not stated:
        return described
    preprocess, notes = described.preprocess, list(described.notes)
    short = stated.get("size", {}).get("shortest_edge") if stated.get("do_resize", True) else None
    if isinstance(short, int) and short >= max(preprocess.crop):
        preprocess = dataclasses.replace(preprocess, resize_short=short)
    offset, normalises = stated.get("offset", True), stated.get("do_normalize", True)
    mean, std = _triple(stated.get("image_mean", _HALF)), _triple(stated.get("image_std", _HALF))
    if offset and normalises and described.config.num_classes == 400:
        notes.append(
            "preprocessor_config.json normalises twice, to [-3, 1] with its own defaults; "
            "the network was trained on [-1, 1], used here"
        )
        return dataclasses.replace(described, preprocess=preprocess, notes=tuple(notes))
    if offset and normalises:
        # ((2 x - 1) - mean) / std with x in [0, 1] is (x - (1 + mean) / 2) / (std / 2).
        mean, std = _triple((1 + each) / 2 for each in mean), _triple(each / 2 for each in std)
        notes.append("preprocessor_config.json normalises twice, and so did whoever trained this network; kept")
    elif offset:
        mean = std = _HALF
    elif not normalises:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    preprocess = dataclasses.replace(preprocess, mean=mean, std=std)
    return dataclasses.replace(described, preprocess=preprocess, notes=tuple(notes))


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
