"""TimeSformer as Hugging Face's transformers lays it out: its tensors and JSON files come in, ours go out, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.timesformer import Timesformer, TimesformerConfig
from fewframes.records import Preprocess
from fewframes.weights.adapters.timesformer_official import describe_network, translate_network
from fewframes.weights.layout import Described, Translation

__all__ = [
    "NAME",
    "describe",
    "export",
    "export_beside",
    "fits",
    "is_layout",
    "label_fields",
    "processor_fields",
    "stated_image_size",
    "stated_labels",
    "stated_normalisation",
    "translate",
]

NAME = "TimeSformer (Hugging Face)"

_LAYER = re.compile(r"timesformer\.encoder\.layer\.(\d+)\.(.+)\.(weight|bias)")
_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.(.+)\.(weight|bias)")
_IN_LAYER = {
    "layernorm_before": "norm1",
    "attention.attention.qkv": "attn.qkv",
    "attention.output.dense": "attn.proj",
    "temporal_layernorm": "temporal_norm1",
    "temporal_attention.attention.qkv": "temporal_attn.qkv",
    "temporal_attention.output.dense": "temporal_attn.proj",
    "temporal_dense": "temporal_fc",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}
_OTHERS = {
    "timesformer.embeddings.cls_token": "encoder.cls_token",
    "timesformer.embeddings.position_embeddings": "encoder.pos_embed",
    "timesformer.embeddings.time_embeddings": "encoder.time_embed",
    "timesformer.embeddings.patch_embeddings.projection.weight": "encoder.patch_embed.proj.weight",
    "timesformer.embeddings.patch_embeddings.projection.bias": "encoder.patch_embed.proj.bias",
    "timesformer.layernorm.weight": "encoder.norm.weight",
    "timesformer.layernorm.bias": "encoder.norm.bias",
    "classifier.weight": "head.weight",
    "classifier.bias": "head.bias",
}
_TO_LAYER = {ours: theirs for theirs, ours in _IN_LAYER.items()}
_TO_OTHERS = {ours: theirs for theirs, ours in _OTHERS.items()}
_SCHEMES = {"divided": "divided_space_time", "joint": "joint_space_time", "space": "space_only"}
_SIGNATURE = {
    "timesformer.embeddings.cls_token",
    "timesformer.embeddings.position_embeddings",
    "timesformer.embeddings.patch_embeddings.projection.weight",
    "timesformer.encoder.layer.0.intermediate.dense.weight",
    "timesformer.layernorm.weight",
}
_HALF = (0.5, 0.5, 0.5)


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of transformers' TimeSformer."""
    return set(tensors) >= _SIGNATURE


def fits(model: nn.Module) -> bool:
    """Whether this is a TimeSformer."""
    return isinstance(model, Timesformer)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """Hugging Face's tensors in our names, one to one."""
    return translate_network(_named(tensors), model)


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes and config.json say everything; means and deviations are those of the training.

    The first preprocessor_config.json files on the hub said 0.5 and 0.5, with which the conversion had been tried out;
    the networks were trained with 0.45 and 0.225. Networks of other class counts are somebody's own fine-tuning, which
    then really used what the file states.

    Raises:
        InvalidCheckpoint: config.json contradicts the tensors or asks for another activation.
    """
    stated = beside.get("config.json", {})
    if stated.get("hidden_act", "gelu") != "gelu":
        raise InvalidCheckpoint(f"config.json says hidden_act {stated['hidden_act']!r}; this network only has 'gelu'")
    fields = {"num_attention_heads": "heads", "layer_norm_eps": "norm_eps", "num_frames": "num_frames"}
    known = {ours: stated[theirs] for theirs, ours in fields.items() if theirs in stated}
    schemes = {theirs: ours for ours, theirs in _SCHEMES.items()}
    if "attention_type" in stated:
        known["attention"] = schemes.get(stated["attention_type"], stated["attention_type"])
    if "image_size" in stated:
        known["image_size"] = stated_image_size(stated)
    notes = () if "heads" in known else ("there is no config.json: width / 64 heads, as published",)
    described = describe_network(_named(tensors), stated=known, labels=stated_labels(stated), notes=notes)
    normalisation = stated_normalisation(beside)
    mean, std = described.preprocess.mean, described.preprocess.std
    if normalisation is None or normalisation == (mean, std):
        return described
    if normalisation == (_HALF, _HALF) and described.config.num_classes in (174, 400, 600):
        note = "preprocessor_config.json says mean and std 0.5; the network was trained with 0.45 and 0.225, used here"
        return dataclasses.replace(described, notes=(*described.notes, note))
    return dataclasses.replace(
        described,
        preprocess=dataclasses.replace(described.preprocess, mean=normalisation[0], std=normalisation[1]),
        notes=(*described.notes, "mean and std are those of preprocessor_config.json"),
    )


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in Hugging Face's names."""
    del config
    result = {}
    for name, tensor in tensors.items():
        found = _BLOCK.fullmatch(name)
        if found:
            name = f"timesformer.encoder.layer.{found[1]}.{_TO_LAYER[found[2]]}.{found[3]}"
        result[_TO_OTHERS.get(name, name)] = tensor
    return result


def export_beside(config: ModelConfig, labels: Sequence[str], preprocess: Preprocess) -> dict[str, Any]:
    """config.json and preprocessor_config.json, as transformers reads them.

    They have no place for the order of channels: a network that needs BGR needs it there too, done by hand. And
    transformers gives logits for each frame of a space-only network, which here are averaged before the last norm.
    """
    assert isinstance(config, TimesformerConfig)
    height, width = config.image_size
    model = {
        "architectures": ["TimesformerForVideoClassification"],
        "model_type": "timesformer",
        "attention_type": _SCHEMES[config.attention],
        "attention_probs_dropout_prob": 0.0,
        "drop_path_rate": 0,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": config.width,
        "image_size": height if height == width else [height, width],
        "intermediate_size": round(config.width * config.mlp_ratio),
        "layer_norm_eps": config.norm_eps,
        "num_attention_heads": config.heads,
        "num_channels": 3,
        "num_frames": config.num_frames,
        "num_hidden_layers": config.depth,
        "patch_size": config.patch_size,
        "qkv_bias": config.qkv_bias,
        **label_fields(labels),
    }
    return {"config.json": model, "preprocessor_config.json": processor_fields(preprocess)}


def stated_labels(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names of a config.json in label-index order; None if there are only stand-ins such as LABEL_3."""
    names = {int(index): str(label) for index, label in config.get("id2label", {}).items()}
    if sorted(names) != list(range(len(names))) or all(label == f"LABEL_{index}" for index, label in names.items()):
        return None
    labels = tuple(names[index] for index in range(len(names)))
    return labels if len(set(labels)) == len(labels) else None


def stated_image_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of a config.json, which holds one number for a square."""
    size = config["image_size"]
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def stated_normalisation(
    beside: Mapping[str, Any],
) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
    """Mean and std of a preprocessor_config.json, if it states them."""
    stated = beside.get("preprocessor_config.json", {})
    if "image_mean" not in stated or "image_std" not in stated or not stated.get("do_normalize", True):
        return None
    (mean_r, mean_g, mean_b), (std_r, std_g, std_b) = stated["image_mean"], stated["image_std"]
    return (mean_r, mean_g, mean_b), (std_r, std_g, std_b)


def label_fields(labels: Sequence[str]) -> dict[str, Any]:
    """The class names as config.json holds them."""
    return {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def processor_fields(preprocess: Preprocess) -> dict[str, Any]:
    """The content of a preprocessor_config.json."""
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": preprocess.resize_short or min(preprocess.crop)},
        "resample": 2 if preprocess.interpolation == "bilinear" else 3,
        "do_center_crop": True,
        "crop_size": {"height": preprocess.crop[0], "width": preprocess.crop[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_our_name(name): tensor for name, tensor in tensors.items()}


def _our_name(name: str) -> str:
    found = _LAYER.fullmatch(name)
    if found and found[2] in _IN_LAYER:
        return f"encoder.blocks.{found[1]}.{_IN_LAYER[found[2]]}.{found[3]}"
    return _OTHERS.get(name, name)
