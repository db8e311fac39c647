"""ViViT as scenic lays it out in Flax: its flattened tree comes in, our tensors go out, and back.

A scenic checkpoint is MessagePack, which only Flax reads. To get a file that can be read here, restore it there and
write its tree with names joined by "/" (or "."): `flax.serialization.msgpack_restore(bytes)["optimizer"]["target"]`,
then `flax.traverse_util.flatten_dict(tree, sep="/")`, then `safetensors.flax.save_file`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.cards.vivit import CARDS
from fewframes.errors import InvalidCheckpoint
from fewframes.models.checks import ModelConfig
from fewframes.models.vivit import Vivit, VivitConfig, VivitFactorisedEncoder
from fewframes.models.vivit_factorised import VivitFactorisedAttention, VivitFactorisedDotProduct
from fewframes.records import Preprocess, Sampling
from fewframes.weights.layout import Described, Translation

__all__ = [
    "NAME",
    "describe",
    "described_as_published",
    "export",
    "file_grid",
    "fits",
    "fuse_projections",
    "guess_grid",
    "is_layout",
    "split_projections",
    "translate",
]

NAME = "ViViT (scenic, flattened Flax tree)"

# Where a checkpoint keeps the parameters; the longest match counts.
_PREFIXES = ("optimizer/target/params/", "optimizer/target/", "target/", "params/")
_ENCODERS = {"Transformer": "encoder", "SpatialTransformer": "encoder", "TemporalTransformer": "temporal"}
_BLOCK = re.compile(r"(\w*Transformer)/encoderblock_(\d+)/(.+)/(kernel|bias|scale)")
_IN_BLOCK = {
    "LayerNorm_0": "norm1",
    "LayerNorm_1": "norm2",
    "MlpBlock_0/Dense_0": "mlp.fc1",
    "MlpBlock_0/Dense_1": "mlp.fc2",
    **{f"MultiHeadDotProductAttention_0/{name}": f"attn.{name}" for name in ("query", "key", "value")},
    "MultiHeadDotProductAttention_0/out": "attn.proj",
}
_IN_FACTORISED_BLOCK = {
    "LayerNorm_space": "norm1",
    "LayerNorm_time": "temporal_norm1",
    "LayerNorm_mlp": "norm2",
    "MlpBlock/Dense_0": "mlp.fc1",
    "MlpBlock/Dense_1": "mlp.fc2",
    **{
        f"MultiHeadDotProductAttention_{axis}/{theirs}": f"{ours}.{name}"
        for axis, ours in (("space", "attn"), ("time", "temporal_attn"))
        for theirs, name in (("query", "query"), ("key", "key"), ("value", "value"), ("out", "proj"))
    },
}
_OTHERS = {
    "cls": "encoder.cls_token",
    "cls_SpatialTransformer": "encoder.cls_token",
    "cls_TemporalTransformer": "temporal.cls_token",
    "embedding/bias": "patch_embed.proj.bias",
    "output_projection/bias": "head.bias",
}
_OUR_BLOCK = re.compile(r"(encoder|temporal)\.blocks\.(\d+)\.(.+)\.(weight|bias)")


def is_layout(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the parameters of a scenic ViViT."""
    tree, _ = _tree(tensors)
    encoders = ("Transformer/encoder_norm/scale", "SpatialTransformer/encoder_norm/scale")
    return "embedding/kernel" in tree and any(name in tree for name in encoders)


def fits(model: nn.Module) -> bool:
    """Whether this is a ViViT."""
    return isinstance(model, Vivit | VivitFactorisedEncoder | VivitFactorisedAttention | VivitFactorisedDotProduct)


def translate(tensors: Mapping[str, Tensor], model: nn.Module) -> Translation:
    """The tree's tensors in our names and shapes.

    Raises:
        InvalidCheckpoint: the file holds another of the four models, or other numbers of heads, which no shape of
            ours would show.
    """
    config = model.config
    assert isinstance(config, VivitConfig)
    tree, unused = _tree(tensors)
    kind = _variant(tree)
    if kind != config.variant:
        raise InvalidCheckpoint(
            f'the file holds a ViViT of the variant "{kind}", the network is "{config.variant}"; build that variant'
        )
    for encoder, heads in _heads(tree).items():
        own = (config.temporal_heads or config.heads) if encoder == "temporal" else config.heads
        if heads != own:
            raise InvalidCheckpoint(
                f"the file's {encoder} has {heads} heads, the network's {own}; build the network with the file's number"
            )
    named = fuse_projections(dict(_renamed(path, value) for path, value in tree.items()))
    grids = {}
    if kind != "factorised_encoder" and "encoder.pos_embed" in named:
        tokens = named["encoder.pos_embed"].shape[1] - ("encoder.cls_token" in named)
        grids["encoder.pos_embed"] = file_grid(tokens, config)
    return Translation(named, grids=grids, unused=tuple(unused))


def describe(tensors: Mapping[str, Tensor], beside: Mapping[str, Any]) -> Described:
    """Shapes say nearly everything; how positions divide into time and space is guessed from the published sizes."""
    del beside
    tree, _ = _tree(tensors)
    variant, kernel, notes = _variant(tree), tree["embedding/kernel"], []
    named = fuse_projections(dict(_renamed(path, value) for path, value in tree.items()))
    heads, patch = _heads(tree), (kernel.shape[-4], kernel.shape[-3])
    tokens = named["encoder.pos_embed"].shape[1] - ("encoder.cls_token" in named)
    if variant == "factorised_encoder":
        rows = columns = math.isqrt(tokens)
        planes = named["temporal.pos_embed"].shape[1] - 1 if "temporal.pos_embed" in named else 16
    else:
        planes, rows, columns = guess_grid(tokens, patch[0])
        notes.append(f"the file does not state its grid of tokens; {planes}x{rows}x{columns} is assumed")
    if variant == "factorised_attention":
        notes.append("the file does not state whether space or time comes first; time, the code's default, is assumed")
    if variant == "factorised_dot_product":
        notes.append("without a class token this is taken to be model 4; an averaging model 1 has the same tensors")
    num_classes = named["head.weight"].shape[0]
    sampled = kernel.ndim == 4
    if sampled:
        notes.append("the file does not state of how many frames it takes some; 32 is assumed")
    config = VivitConfig(
        num_classes=num_classes,
        num_frames=32 if sampled else planes * kernel.shape[0],
        image_size=(rows * patch[0], columns * patch[1]),
        variant=variant,  # type: ignore[arg-type]  # one of the four, see _variant
        tubelet_frames=1 if sampled else kernel.shape[0],
        patch_size=patch[0] if patch[0] == patch[1] else patch,
        num_sampled_frames=planes if sampled else None,
        width=kernel.shape[-1],
        depth=_depth(named, "encoder"),
        heads=heads["encoder"],
        mlp_ratio=named["encoder.blocks.0.mlp.fc1.weight"].shape[0] / kernel.shape[-1],
        attention_order="time_space" if variant == "factorised_attention" else "space_time",
        class_splits=(300, 97) if num_classes == 397 else None,
        **_temporal_fields(named, heads) if variant == "factorised_encoder" else {},
    )
    return described_as_published(config, notes=tuple(notes))


def export(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our state dict as scenic's tree, names joined by "/"."""
    assert isinstance(config, VivitConfig)
    factorised = config.variant == "factorised_encoder"
    parts = {"encoder": "SpatialTransformer" if factorised else "Transformer", "temporal": "TemporalTransformer"}
    blocks = _IN_FACTORISED_BLOCK if config.variant == "factorised_attention" else _IN_BLOCK
    in_block = {ours: theirs for theirs, ours in blocks.items()}
    others = {ours: theirs for theirs, ours in _OTHERS.items() if factorised or theirs != "cls_SpatialTransformer"}
    others["encoder.cls_token"] = "cls_SpatialTransformer" if factorised else "cls"
    result = {}
    for name, value in split_projections(tensors).items():
        found = _OUR_BLOCK.fullmatch(name)
        part = name.partition(".")[0]
        if found:
            heads = (config.temporal_heads or config.heads) if part == "temporal" else config.heads
            path = f"{parts[part]}/encoderblock_{found[2]}/{in_block[found[3]]}"
            leaf, value = _to_flax(found[3], found[4], value, heads)
            result[f"{path}/{leaf}"] = value
        elif name.endswith("pos_embed"):
            result[f"{parts[part]}/posembed_input/pos_embedding"] = value
        elif re.fullmatch(r"(encoder|temporal)\.norm\.(weight|bias)", name):
            leaf = "scale" if name.endswith("weight") else "bias"
            result[f"{parts[part]}/encoder_norm/{leaf}"] = value
        elif name == "patch_embed.proj.weight":
            kernel = value.permute(2, 3, 4, 1, 0)
            result["embedding/kernel"] = kernel if config.num_sampled_frames is None else kernel[0]
        elif name == "head.weight":
            result["output_projection/kernel"] = value.t()
        else:
            result[others.get(name, name)] = value
    return result


def fuse_projections(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put "….query.weight", "….key.weight" and "….value.weight" together as "….qkv.weight"; biases alike."""
    result = dict(named)
    for name in named:
        found = re.fullmatch(r"(.+)\.query\.(weight|bias)", name)
        parts = [f"{found[1]}.{part}.{found[2]}" for part in ("query", "key", "value")] if found else []
        if found and all(part in named for part in parts):
            result[f"{found[1]}.qkv.{found[2]}"] = torch.cat([result.pop(part) for part in parts])
    return result


def split_projections(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `fuse_projections`."""
    result = {}
    for name, value in tensors.items():
        found = re.fullmatch(r"(.+)\.qkv\.(weight|bias)", name)
        if found is None:
            result[name] = value
            continue
        for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
            result[f"{found[1]}.{part}.{found[2]}"] = rows
    return result


def file_grid(tokens: int, config: VivitConfig) -> tuple[int, int, int]:
    """How a file's positions divide into time, rows and columns, for a network that they are to be fitted to.

    Of all ways that would do: the network's own grid; 224 pixels square, as published; the network's own space;
    and what `guess_grid` says.
    """
    planes, rows, columns = config.grid
    if tokens == planes * rows * columns:
        return config.grid
    usual = (224 // config.patch[0], 224 // config.patch[1])
    for space in (usual, (rows, columns)):
        if min(space) > 0 and tokens % (space[0] * space[1]) == 0:
            return (tokens // (space[0] * space[1]), *space)
    side = math.isqrt(tokens // planes)
    return (planes, side, side) if side * side * planes == tokens else guess_grid(tokens, config.patch[0])


def guess_grid(tokens: int, patch: int) -> tuple[int, int, int]:
    """The likeliest (t, rows, columns): 224 pixels square, 16 planes, or the largest square that divides the tokens."""
    side = 224 // patch
    if side and tokens % (side * side) == 0:
        return (tokens // (side * side), side, side)
    side = math.isqrt(tokens // 16)
    if side and tokens == 16 * side * side:
        return (16, side, side)
    side = max(each for each in range(1, math.isqrt(tokens) + 1) if tokens % (each * each) == 0)
    return (tokens // (side * side), side, side)


def described_as_published(
    config: VivitConfig, *, labels: tuple[str, ...] | None = None, notes: tuple[str, ...] = ()
) -> Described:
    """A network with the frames and the transform of the catalogue's card of the same shape, or of Kinetics."""
    for card in CARDS:
        if card.config == config:
            return Described(config, card.sampling, card.preprocess, labels, card.name, notes)
    height, width = config.image_size
    return Described(
        config,
        Sampling("clip", config.num_frames, stride=2, stride_fps=25.0),
        Preprocess(
            config.image_size,
            int(max(height, width) * 256 / 224),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            antialias=False,
        ),
        labels,
        notes=notes,
    )


def _tree(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The parameters by path, joined by "/", and the names of what an optimizer kept besides them."""
    slashed = {name if "/" in name else name.replace(".", "/"): value for name, value in tensors.items()}
    prefix = next((each for each in _PREFIXES if any(name.startswith(each) for name in slashed)), "")
    state = [name for name in slashed if name.startswith("optimizer/state/")]
    kept = {name.removeprefix(prefix): value for name, value in slashed.items() if name not in state}
    return kept, state


def _variant(tree: Mapping[str, Tensor]) -> str:
    if any(name.startswith("SpatialTransformer/") for name in tree):
        return "factorised_encoder"
    if any("/LayerNorm_time/" in name for name in tree):
        return "factorised_attention"
    return "spacetime" if "cls" in tree else "factorised_dot_product"


def _heads(tree: Mapping[str, Tensor]) -> dict[str, int]:
    """Heads of each of our encoders."""
    found = {}
    for path, value in tree.items():
        match = _BLOCK.fullmatch(path)
        if match and path.endswith("/query/kernel") and value.ndim == 3 and match[1] in _ENCODERS:
            found[_ENCODERS[match[1]]] = value.shape[1]
    return found


def _temporal_fields(named: Mapping[str, Tensor], heads: Mapping[str, int]) -> dict[str, Any]:
    depth = _depth(named, "temporal")
    if not depth:
        return {"temporal_depth": 0}
    inner = named["temporal.blocks.0.mlp.fc1.weight"].shape[0]
    same = inner == named["encoder.blocks.0.mlp.fc1.weight"].shape[0]
    return {
        "temporal_depth": depth,
        "temporal_heads": None if heads["temporal"] == heads["encoder"] else heads["temporal"],
        "temporal_mlp_width": None if same else inner,
    }


def _renamed(path: str, value: Tensor) -> tuple[str, Tensor]:
    """Our name and shape; queries, keys and values still apart. What has no name here keeps its own."""
    found = _BLOCK.fullmatch(path)
    part = path.partition("/")[0]
    if found and found[1] in _ENCODERS:
        ours = _IN_BLOCK.get(found[3]) or _IN_FACTORISED_BLOCK.get(found[3])
        if ours:
            name = f"{_ENCODERS[found[1]]}.blocks.{found[2]}.{ours}"
            return _from_flax(name, found[4], value)
    if part in _ENCODERS and path.endswith("/posembed_input/pos_embedding"):
        return f"{_ENCODERS[part]}.pos_embed", value
    if part in _ENCODERS and path.partition("/")[2] in ("encoder_norm/scale", "encoder_norm/bias"):
        return f"{_ENCODERS[part]}.norm.{'weight' if path.endswith('scale') else 'bias'}", value
    if path == "embedding/kernel" and value.ndim in (4, 5):
        kernel = value if value.ndim == 5 else value.unsqueeze(0)
        return "patch_embed.proj.weight", kernel.permute(4, 3, 0, 1, 2)
    if path == "output_projection/kernel":
        return "head.weight", value.t()
    return _OTHERS.get(path, path), value


def _from_flax(name: str, leaf: str, value: Tensor) -> tuple[str, Tensor]:
    """A tensor of a block: kernels are (in, out) there, and heads are axes of their own."""
    if leaf == "scale":
        return f"{name}.weight", value
    if leaf == "bias":
        return f"{name}.bias", value.flatten()
    if value.ndim == 3:
        value = value.flatten(0, 1) if name.endswith(".proj") else value.flatten(1)
    return f"{name}.weight", value.t()


def _to_flax(name: str, kind: str, value: Tensor, heads: int) -> tuple[str, Tensor]:
    """The inverse of `_from_flax`."""
    projects = name.endswith((".query", ".key", ".value"))
    if "norm" in name:
        return ("scale" if kind == "weight" else "bias"), value
    if kind == "bias":
        return "bias", torch.unflatten(value, 0, (heads, -1)) if projects else value
    value = value.t()
    if projects:
        value = torch.unflatten(value, 1, (heads, -1))
    elif name.endswith(".proj"):
        value = torch.unflatten(value, 0, (heads, -1))
    return "kernel", value


def _depth(named: Mapping[str, Tensor], part: str) -> int:
    found = (re.match(rf"{part}\.blocks\.(\d+)\.", name) for name in named)
    return max((1 + int(each.group(1)) for each in found if each), default=0)
