"""VideoMAE as Hugging Face's transformers lays it out: its tensors and JSON files come in, ours go out, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.videomae import Videomae, VideomaeConfig
from fewframes.records import Preprocess
from fewframes.weights.adapters.timesformer_hf import (
    label_fields,
    processor_fields,
    stated_image_size,
    stated_labels,
    stated_normalisation,
)
from fewframes.weights.adapters.videomae_official import describe_network, translate_network
from fewframes.weights.layout import Described, Translation

__all__ = ["NAME", "describe", "export", "export_beside", "fits", "is_layout", "translate"]

NAME = "VideoMAE (Hugging Face)"

_LAYER = re.compile(r"videomae\.encoder\.layer\.(\d+)\.(.+)")
_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.(.+)")
_ATTENTION = "attention.attention."
_PARTS = ("query", "key", "value")
_IN_LAYER = {
    "layernorm_before.weight": "norm1.weight",
    "layernorm_before.bias": "norm1.bias",
    "attention.attention.q_bias": "attn.q_bias",
    "attention.attention.v_bias": "attn.v_bias",
    "attention.output.dense.weight": "attn.proj.weight",
    "attention.output.dense.bias": "attn.proj.bias",
    "layernorm_after.weight": "norm2.weight",
    "layernorm_after.bias": "norm2.bias",
    "intermediate.dense.weight": "mlp.fc1.weight",
    "intermediate.dense.bias": "mlp.fc1.bias",
    "output.dense.weight": "mlp.fc2.weight",
    "output.dense.bias": "mlp.fc2.bias",
}
# What transformers 5 calls the two biases while it has them in memory.
_NEWER = {"attention.attention.query.bias": "attn.q_bias", "attention.attention.value.bias": "attn.v_bias"}
_OTHERS = {
    "videomae.embeddings.patch_embeddings.projection.weight": "encoder.patch_embed.proj.weight",
    "videomae.embeddings.patch_embeddings.projection.bias": "encoder.patch_embed.proj.bias",
    "videomae.layernorm.weight": "encoder.norm.weight",
    "videomae.layernorm.bias": "encoder.norm.bias",
    "fc_norm.weight": "encoder.fc_norm.weight",
    "fc_norm.bias": "encoder.fc_norm.bias",
    "classifier.weight": "head.weight",
    "classifier.bias": "head.bias",
}
_TO_LAYER = {ours: theirs for theirs, ours in _IN_LAYER.items()}
_TO_OTHERS = {ours: theirs for theirs, ours in _OTHERS.items()}
_PRETRAINING = ("decoder.", "encoder_to_decoder.", "mask_token")
_SIGNATURE = {
    "videomae.embeddings.patch_embeddings.projection.weight",
    "videomae.encoder.layer.0.attention.attention.query.weight",
    "videomae.encoder.layer.0.intermediate.dense.weight",
}
_EPS = "norm_eps and pool_norm_eps are those of Hugging Face's code; the network was trained with 1e-6 throughout"


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of transformers' VideoMAE, classifier or pre-training."""
    return set(tensors) >= _SIGNATURE


def fits(model: nn.Module) -> bool:
    """Whether this is a VideoMAE classifier."""
    return isinstance(model, Videomae)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """Hugging Face's tensors in our names: queries, keys and values fused; of a pre-training only the encoder.

    A bias of the keys, which some files hold as zeros, is left out: it would shift all scores of a query alike.
    """
    named, unused = _named(tensors)
    of_keys = tuple(name for name in named if name.endswith(f"{_ATTENTION}key.bias"))
    notes = ("biases of the keys are left out, which changes nothing",) if of_keys else ()
    for name in of_keys:
        del named[name]
    translation = translate_network(named, model, unused=unused, notes=notes)
    return dataclasses.replace(translation, unused=(*translation.unused, *of_keys))


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes and config.json say everything.

    Raises:
        InvalidCheckpoint: the file is a pre-training's, which is no classifier yet, or config.json asks for another
            activation.
    """
    stated = beside.get("config.json", {})
    if stated.get("hidden_act", "gelu") != "gelu":
        raise InvalidCheckpoint(f"config.json says hidden_act {stated['hidden_act']!r}; this network only has 'gelu'")
    known = {"norm_eps": stated.get("layer_norm_eps", 1e-12), "pool_norm_eps": 1e-5}
    known |= {ours: stated[theirs] for theirs, ours in {"num_attention_heads": "heads"}.items() if theirs in stated}
    if "num_frames" in stated and "image_size" in stated:
        known |= {"num_frames": stated["num_frames"], "image_size": stated_image_size(stated)}
    notes = (_EPS,) if "heads" in known else (_EPS, "there is no config.json: the published number of heads assumed")
    named, unused = _named(tensors)
    described = describe_network(named, unused=unused, stated=known, labels=stated_labels(stated), notes=notes)
    normalisation = stated_normalisation(beside)
    if normalisation is None:
        return described
    preprocess = dataclasses.replace(described.preprocess, mean=normalisation[0], std=normalisation[1])
    return dataclasses.replace(described, preprocess=preprocess)


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict in the names of the files on the hub, which every version of transformers reads."""
    del config
    result = {}
    for name, tensor in tensors.items():
        found = _BLOCK.fullmatch(name)
        if found is None:
            result[_TO_OTHERS.get(name, name)] = tensor
            continue
        layer = f"videomae.encoder.layer.{found[1]}."
        if found[2] == "attn.qkv.weight":
            for part, weight in zip(_PARTS, tensor.chunk(3), strict=True):
                result[f"{layer}{_ATTENTION}{part}.weight"] = weight.clone()
        else:
            result[layer + _TO_LAYER[found[2]]] = tensor
    return result


def export_beside(config: ModelConfig, labels: Sequence[str], preprocess: Preprocess) -> dict[str, Any]:
    """config.json and preprocessor_config.json, as transformers reads them; its fc_norm always has an eps of 1e-5."""
    assert isinstance(config, VideomaeConfig)
    height, width = config.image_size
    model = {
        "architectures": ["VideoMAEForVideoClassification"],
        "model_type": "videomae",
        "attention_probs_dropout_prob": 0.0,
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
        "qkv_bias": config.qv_bias,
        "tubelet_size": config.tubelet_size,
        "use_mean_pooling": config.pooling == "mean",
        **label_fields(labels),
    }
    return {"config.json": model, "preprocessor_config.json": processor_fields(preprocess)}


def _named(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors in our names, and the names that only a pre-training has."""
    unused = tuple(name for name in tensors if name.startswith(_PRETRAINING))
    named = {_our_name(name): tensor for name, tensor in tensors.items() if name not in unused}
    for name in [each for each in named if each.endswith(f".{_ATTENTION}query.weight")]:
        names = [name.replace("query", part) for part in _PARTS]
        weights = [named[each] for each in names if each in named]
        # Otherwise they keep their names, and the loader says what is missing and what is left over.
        if len(weights) == 3 and len({weight.shape for weight in weights}) == 1:
            for each in names:
                del named[each]
            block = name.removeprefix("videomae.encoder.layer.").partition(".")[0]
            named[f"encoder.blocks.{block}.attn.qkv.weight"] = torch.cat(weights)
    return named, unused


def _our_name(name: str) -> str:
    found = _LAYER.fullmatch(name)
    ours = {**_IN_LAYER, **_NEWER}.get(found[2]) if found else None
    return f"encoder.blocks.{found[1]}.{ours}" if found and ours else _OTHERS.get(name, name)
