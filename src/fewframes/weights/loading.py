"""Weights of any known layout come in, recognised by their content; a model filled strictly and a report go out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewframes.architectures import ARCHITECTURES, build_from_config
from fewframes.errors import FewframesError, InvalidCheckpoint
from fewframes.models.positions import PositionTable
from fewframes.weights.checkpoint import stated_config
from fewframes.weights.files import find_file, read_tensors, stated_architecture
from fewframes.weights.layout import Layout, Translation
from fewframes.weights.layouts import layout_names, layout_of
from fewframes.weights.resize import resize_positions

__all__ = ["LoadReport", "load_weights"]

OWN = "fewframes"


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor in a file and in a model.

    Attributes:
        source: the file or folder.
        layout: the layout that was recognised.
        loaded: our names of the tensors taken as they are.
        resized: "name: old shape -> new shape" of interpolated positions.
        newly_initialised: our names of the tensors that the file does not have and that keep their random values.
        unused: the file's tensors that were left out: a head of another class count, a part only pre-training needs.
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

    Known layouts: our own, and one for each module of `weights/adapters`. Positions are interpolated in space and time
    where sizes differ; a head of another class count stays newly initialised, and so does what a layout never holds
    (an image model has no temporal part); all of it is reported. Anything else that does not match is an error, and
    the model is then left as it was.

    Args:
        model: a model of the catalogue.
        source: a .safetensors or PyTorch file, or a folder that holds one under a usual name.
        new_head: leave the head newly initialised even if its class count fits, because the classes are others.

    Raises:
        InvalidCheckpoint: the file is missing or damaged, its layout is unknown or another family's, or tensors are
            missing, misshapen or left over. `UnsafePickle` if it holds more than tensors.
    """
    if type(getattr(model, "config", None)) not in {each.config for each in ARCHITECTURES.values()}:
        raise InvalidCheckpoint(f"no table of names for a {type(model).__name__}; build the model with build_model")
    path = find_file(Path(source))
    tensors = read_tensors(path)
    layout, translation = _translate(path, tensors, model)
    name = OWN if layout is None else layout.NAME
    plan = _plan(model, translation, own=layout is None, new_head=new_head)
    if plan.wrong:
        problems = "; ".join(plan.wrong[:6]) + (f"; and {len(plan.wrong) - 6} more" if len(plan.wrong) > 6 else "")
        raise InvalidCheckpoint(
            f"{path} ({name} layout) does not fit this model: {problems}; build the model with the file's sizes"
        )
    model.load_state_dict(plan.values, strict=True)
    return LoadReport(
        source=str(source),
        layout=name,
        loaded=tuple(plan.loaded),
        resized=tuple(plan.resized),
        newly_initialised=tuple(plan.new),
        unused=tuple(plan.unused),
        notes=tuple(plan.notes),
    )


def _translate(path: Path, tensors: Mapping[str, Tensor], model: nn.Module) -> tuple[Layout | None, Translation]:
    """The file's layout, None for our own, and its tensors in our names."""
    record = _record_beside(path)
    layout = layout_of(tensors, model)
    family = None if layout is not None else record.get("architecture") or stated_architecture(path)
    if family in ARCHITECTURES and not _is_of(model, str(family)):
        raise InvalidCheckpoint(
            f"{path} holds a {family} network of fewframes, which cannot fill {_family(model)}; "
            "build the model that belongs to it"
        )
    ours, theirs = set(model.state_dict()), set(tensors)
    if ours == theirs or (len(ours & theirs) * 2 > len(theirs) and (layout is None or not layout.fits(model))):
        return None, Translation(dict(tensors), grids=_stated_grids(record))
    if layout is None:
        raise InvalidCheckpoint(
            f"{path}: unknown layout (tensors such as {', '.join(sorted(tensors)[:3]) or 'none'}); "
            f"known: {'; '.join((OWN, *layout_names()))}"
        )
    if not layout.fits(model):
        raise InvalidCheckpoint(
            f"{path} is a file of the layout {layout.NAME}, which cannot fill {_family(model)}; "
            "build the model that belongs to it (fewframes models convert says which)"
        )
    return layout, layout.translate(tensors, model)


def _is_of(model: nn.Module, architecture: str) -> bool:
    return type(model.config) is ARCHITECTURES[architecture].config


def _family(model: nn.Module) -> str:
    return next(f"a {name} network" for name in ARCHITECTURES if _is_of(model, name))


def _plan(model: nn.Module, translation: Translation, *, own: bool, new_head: bool) -> _Plan:
    plan = _Plan(unused=list(translation.unused), notes=list(translation.notes))
    source, target = translation.tensors, model.state_dict()
    heads: tuple[str, ...] = getattr(model, "head_names", ("head.weight", "head.bias"))
    replace_head = _head_is_replaced(heads, source, target, new_head=new_head)
    tables = {each.name: each for each in getattr(model, "position_tables", tuple)()}
    for name, current in target.items():
        value = source.get(name)
        if name in heads and replace_head:
            plan.new.append(name)
            plan.values[name] = current
            if value is not None:
                plan.unused.append(f"{name} {_shape(value)}")
        elif value is None and name.startswith(translation.may_lack):
            plan.new.append(name)
            plan.values[name] = current
        elif value is None:
            plan.wrong.append(f"{name} is missing")
        else:
            grid = None
            if name in tables:
                fits = value.ndim == 3 and value.shape[0] == 1 and value.shape[2] == current.shape[2]
                stated = translation.grids.get(name)
                grid = _old_grid(plan, value, tables[name], stated, own=own) if fits else None
            _take(plan, name, value, current, table=tables.get(name), old_grid=grid, filled=name in translation.filled)
    plan.wrong += [f"{name} {_shape(source[name])} is left over" for name in source if name not in target]
    _note_types(plan, source, target)
    return plan


def _take(
    plan: _Plan,
    name: str,
    value: Tensor,
    current: Tensor,
    *,
    table: PositionTable | None,
    old_grid: tuple[int, int, int] | None,
    filled: bool,
) -> None:
    """Take one tensor as it is, or interpolated if it is a table of positions of another size."""
    if table is not None and old_grid is not None and old_grid != table.grid:
        resized = resize_positions(value, old_grid, table)
        plan.resized.append(f"{name}: {_shape(value)} -> {_shape(resized)}")
        plan.values[name] = resized
    elif value.shape != current.shape:
        plan.wrong.append(f"{name} is {_shape(value)}, expected {_shape(current)}")
    else:
        plan.values[name] = value
        if not filled:
            plan.loaded.append(name)


def _head_is_replaced(
    names: tuple[str, ...], source: Mapping[str, Tensor], target: Mapping[str, Tensor], *, new_head: bool
) -> bool:
    """Whether the file has no head, or one of the right width for other classes, so that a new one is meant."""
    if not any(name in source for name in names):
        return True
    if not all(name in source for name in names):
        return False
    classes = {source[name].shape[:1] for name in names}
    fits = len(classes) == 1 and all(source[name].shape[1:] == target[name].shape[1:] for name in names)
    return fits and (new_head or any(source[name].shape != target[name].shape for name in names))


def _old_grid(
    plan: _Plan, value: Tensor, table: PositionTable, stated: tuple[int, int, int] | None, *, own: bool
) -> tuple[int, int, int] | None:
    """The (t, rows, columns) of a file's table, stated or guessed; None if it cannot be this table at any size.

    Published networks saw square images. One of our own may have seen any: it is taken to have the model's own grid if
    that fits.
    """
    tokens = value.shape[1] - table.has_class
    if tokens < 1 or stated is not None:
        return stated if tokens > 0 and math.prod(stated or ()) == tokens else None
    t, rows, columns = table.grid
    if rows == columns == 1 and t > 1:
        return (tokens, 1, 1)
    guess = None
    if own and tokens == t * rows * columns:
        guess = table.grid
    elif tokens % t == 0 and math.isqrt(tokens // t) ** 2 == tokens // t:
        guess = (t, math.isqrt(tokens // t), math.isqrt(tokens // t))
    elif tokens % (rows * columns) == 0:
        guess = (tokens // (rows * columns), rows, columns)
    if guess is not None and own and rows != columns:
        plan.notes.append(f"the file does not state its patch grid; taken to be {guess[1]}x{guess[2]}")
    return guess


def _note_types(plan: _Plan, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    types = {value.dtype for name, value in source.items() if name in target and value.dtype != target[name].dtype}
    if types:
        names = ", ".join(sorted(str(each).removeprefix("torch.") for each in types))
        plan.notes.append(f"the file holds {names}; converted to the model's own type")


def _record_beside(path: Path) -> dict[str, Any]:
    """What model.json says next to one of our own weights, or nothing."""
    if path.name != "weights.safetensors":
        return {}
    try:
        content = json.loads((path.parent / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stated_grids(record: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """The grids of the network that one of our records describes."""
    try:
        config = stated_config(record.get("architecture", "stam"), record["config"])
        with torch.device("meta"):
            model = build_from_config(config)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, FewframesError):
        return {}
    return {each.name: each.grid for each in getattr(model, "position_tables", tuple)()}


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ")"


def _shorten(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
