"""Weights of any known layout come in, recognised by their content; a model filled strictly and a report go out."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fewframes.errors import InvalidCheckpoint
from fewframes.models.stam import Stam
from fewframes.weights.adapters import own, stam, vit
from fewframes.weights.files import read_tensors
from fewframes.weights.resize import resize_positions_in_space, resize_positions_in_time

__all__ = ["LoadReport", "load_weights"]

_LAYOUTS = (own, stam, vit)
_HEAD = ("head.weight", "head.bias")
_SPACE, _TIME = "encoder.pos_embed", "aggregate.pos_embed"


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor in a file and in a model.

    Attributes:
        source: the file or folder.
        layout: the layout that was recognised.
        loaded: our names of the tensors taken as they are.
        resized: "name: old shape -> new shape" of interpolated positions.
        newly_initialised: our names of the tensors that the file does not have and that keep their random values.
        unused: the file's tensors that were left out: a head of another class count.
        notes: anything else that a reader should know, a sentence each.
    """

    source: str
    layout: str
    loaded: tuple[str, ...]
    resized: tuple[str, ...] = ()
    newly_initialised: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line for the terminal, and one more for each thing that is not simply loaded."""
        lines = [f"{self.source}: {self.layout} layout, {len(self.loaded)} tensors loaded"]
        lines += [f"  resized {each}" for each in self.resized]
        if self.newly_initialised:
            lines.append(f"  newly initialised: {_shorten(self.newly_initialised)}")
        if self.unused:
            lines.append(f"  not used: {_shorten(self.unused)}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


@dataclass
class _Plan:
    """The state dict under construction and the report's lists."""

    values: dict[str, Tensor] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def load_weights(model: nn.Module, source: str | Path, *, new_head: bool = False) -> LoadReport:
    """Fill a model from a file or checkpoint folder of any known layout; strict.

    Known layouts: our own, the STAM release (first release without `qkv.bias`, second with it), timm's ViT (encoder
    only: a temporal aggregator stays newly initialised). Positions are interpolated in space and time where sizes
    differ; a head of another class count stays newly initialised; both are reported. Anything else that does not match
    is an error, and the model is then left as it was.

    Args:
        model: a model of the catalogue.
        source: a .safetensors or PyTorch file, or a folder with weights.safetensors.
        new_head: leave the head newly initialised even if its class count fits, because the classes are others.

    Raises:
        InvalidCheckpoint: the file is missing or damaged, its layout is unknown, or tensors are missing, misshapen or
            left over. `UnsafePickle` if it holds more than tensors.
    """
    if not isinstance(model, Stam):
        raise InvalidCheckpoint(f"no table of names for a {type(model).__name__}; build the model with build_model")
    path = Path(source)
    if path.is_dir():
        path = path / "weights.safetensors"
    tensors = read_tensors(path)
    layout = next((each for each in _LAYOUTS if each.is_layout(tensors)), None)
    if layout is None:
        known = "; ".join(each.NAME for each in _LAYOUTS)
        raise InvalidCheckpoint(
            f"{path}: unknown layout (tensors such as {', '.join(sorted(tensors)[:3]) or 'none'}); known: {known}"
        )
    translated = {layout.translate_name(name): tensor for name, tensor in tensors.items()}
    stated_grid = _grid_beside(path) if layout is own else None
    old_grid = stated_grid or _guess_grid(translated.get(_SPACE), model.encoder.grid, square=layout is not own)
    plan = _plan(model, translated, old_grid=old_grid, encoder_only=layout is vit, new_head=new_head)
    if layout is own and stated_grid is None and len(set(model.encoder.grid)) > 1:
        plan.notes.append(f"the file does not state its patch grid; taken to be {old_grid[0]}x{old_grid[1]}")
    if plan.wrong:
        problems = "; ".join(plan.wrong[:6]) + (f"; and {len(plan.wrong) - 6} more" if len(plan.wrong) > 6 else "")
        raise InvalidCheckpoint(
            f"{path} ({layout.NAME} layout) does not fit this model: {problems}; build the model with the file's sizes"
        )
    model.load_state_dict(plan.values, strict=True)
    return LoadReport(
        source=str(source),
        layout=layout.NAME,
        loaded=tuple(plan.loaded),
        resized=tuple(plan.resized),
        newly_initialised=tuple(plan.new),
        unused=tuple(plan.unused),
        notes=tuple(plan.notes),
    )


def _plan(
    model: Stam,
    source: dict[str, Tensor],
    *,
    old_grid: tuple[int, int],
    encoder_only: bool,
    new_head: bool,
) -> _Plan:
    plan = _Plan()
    target = model.state_dict()
    replace_head = _head_is_replaced(source, target, new_head=new_head)
    biases = {name for name in target if name.startswith("encoder.") and name.endswith("attn.qkv.bias")}
    without_biases = bool(biases) and biases.isdisjoint(source)
    for name, current in target.items():
        value = source.get(name)
        if name in _HEAD and replace_head:
            plan.new.append(name)
            plan.values[name] = current
            if value is not None:
                plan.unused.append(f"{name} {_shape(value)}")
        elif value is None and name in biases and without_biases:
            plan.values[name] = torch.zeros_like(current)
        elif value is None and encoder_only and name.startswith("aggregate."):
            plan.new.append(name)
            plan.values[name] = current
        elif value is None:
            plan.wrong.append(f"{name} is missing")
        else:
            _take(plan, name, value, current, model=model, old_grid=old_grid)
    plan.wrong += [f"{name} {_shape(source[name])} is left over" for name in source if name not in target]
    if without_biases:
        plan.notes.append("no attn.qkv.bias in the file (first STAM release, MIIL ViT): set to zero, which is the same")
    if encoder_only and model.config.norm_eps != 1e-6:
        plan.notes.append(
            "ViTs of timm were trained with norm_eps=1e-6 and a mean and std of their own; "
            f"this model has norm_eps={model.config.norm_eps:g}: set both as the file's author says"
        )
    _note_types(plan, source, target)
    return plan


def _take(plan: _Plan, name: str, value: Tensor, current: Tensor, *, model: Stam, old_grid: tuple[int, int]) -> None:
    """Take one tensor as it is, or interpolated if it is a table of positions of another size."""
    resized = None
    is_table = value.ndim == 3 and value.shape[0] == 1 and value.shape[2] == current.shape[2]
    tokens, grid = (value.shape[1] if is_table else 0), model.encoder.grid
    if name == _SPACE and old_grid != grid and old_grid[0] * old_grid[1] == tokens - 1 > 0:
        resized = resize_positions_in_space(value, old_grid, grid)
    elif name == _TIME and 1 < tokens != current.shape[1]:
        resized = resize_positions_in_time(value, current.shape[1] - 1)
    if resized is not None:
        plan.resized.append(f"{name}: {_shape(value)} -> {_shape(resized)}")
        plan.values[name] = resized
    elif value.shape != current.shape:
        plan.wrong.append(f"{name} is {_shape(value)}, expected {_shape(current)}")
    else:
        plan.loaded.append(name)
        plan.values[name] = value


def _head_is_replaced(source: dict[str, Tensor], target: dict[str, Tensor], *, new_head: bool) -> bool:
    """Whether the file has no head, or one of the right width for other classes, so that a new one is meant."""
    if not any(name in source for name in _HEAD):
        return True
    if not all(name in source for name in _HEAD):
        return False
    weight, bias = (source[name] for name in _HEAD)
    fits = weight.ndim == 2 and weight.shape[1] == target["head.weight"].shape[1] and bias.shape == weight.shape[:1]
    return fits and (new_head or weight.shape[0] != target["head.weight"].shape[0])


def _note_types(plan: _Plan, source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    types = {value.dtype for name, value in source.items() if name in target and value.dtype != target[name].dtype}
    if types:
        names = ", ".join(sorted(str(each).removeprefix("torch.") for each in types))
        plan.notes.append(f"the file holds {names}; converted to the model's own type")


def _grid_beside(path: Path) -> tuple[int, int] | None:
    """The patch grid that one of our own checkpoint folders states, or None for any other file."""
    if path.name != "weights.safetensors":
        return None
    try:
        config = json.loads((path.parent / "model.json").read_text(encoding="utf-8"))["config"]
        height, width = config["image_size"]
        return height // config["patch_size"], width // config["patch_size"]
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError):
        return None


def _guess_grid(positions: Tensor | None, new_grid: tuple[int, int], *, square: bool) -> tuple[int, int]:
    """The patch grid of a file that does not state it.

    Published ViTs saw square images. One of our own networks may have seen any: it is taken to have the model's own
    grid if that fits.
    """
    patches = positions.shape[1] - 1 if positions is not None and positions.ndim == 3 else 0
    if not square and patches == new_grid[0] * new_grid[1]:
        return new_grid
    side = math.isqrt(max(patches, 0))
    return side, side


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ")"


def _shorten(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
