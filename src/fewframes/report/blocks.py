"""A network and a clip's shape come in, its parts with the shapes that flow between them go out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Block", "draw_blocks", "trace_blocks"]


@dataclass(frozen=True)
class Block:
    """One part of a network, or several alike in a row.

    Attributes:
        name: in the network, such as "encoder.blocks.0", or "encoder.blocks.0 to 11" for a row.
        level: how deep it lies, from 0.
        kind: the module's class.
        count: how many alike stand in a row.
        shape: of the last one's output; None if it gives no single tensor.
        num_parameters: of all of them together.
    """

    name: str
    level: int
    kind: str
    count: int
    shape: tuple[int, ...] | None
    num_parameters: int


def trace_blocks(model: nn.Module, clip_shape: tuple[int, int, int, int], *, levels: int = 3) -> list[Block]:
    """The parts of a network in the order in which a clip passes them.

    Args:
        model: (1, T, 3, H, W) -> (1, K), on the meta device; in whatever mode it is.
        clip_shape: (T, 3, H, W).
        levels: how deep to look; a list of blocks is no level of its own.

    Returns:
        One entry a part; parts alike in a row are one entry.
    """
    shapes: dict[str, tuple[int, ...] | None] = {}
    hooks = [module.register_forward_hook(_noting(shapes, name)) for name, module in model.named_modules() if name]
    was_training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros((1, *clip_shape), device="meta"))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    found = [
        Block(name, level, type(module).__name__, 1, shapes[name], sum(each.numel() for each in module.parameters()))
        for name, level, module in _walk(model, "", 0, levels)
        if name in shapes
    ]
    return _rows(found)


def draw_blocks(blocks: list[Block]) -> list[str]:
    """One line a part: indented by level, with its output's shape and its size."""
    lines = []
    for block in blocks:
        label = f"{'  ' * block.level}{block.name}"
        kind = block.kind if block.count == 1 else f"{block.count} x {block.kind}"
        shape = " x ".join(map(str, block.shape)) if block.shape else "several tensors"
        lines.append(f"{label:<38} {kind:<28} -> {shape:<24} {block.num_parameters:>13,}")
    return lines


def _noting(shapes: dict[str, tuple[int, ...] | None], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def note(module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401
        del module, inputs
        shapes[name] = tuple(output.shape) if isinstance(output, Tensor) else None

    return note


def _walk(module: nn.Module, prefix: str, level: int, levels: int) -> Iterator[tuple[str, int, nn.Module]]:
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        if isinstance(child, nn.ModuleList):
            yield from _walk(child, f"{full}.", level, levels)
            continue
        yield full, level, child
        if level + 1 < levels:
            yield from _walk(child, f"{full}.", level + 1, levels)


def _rows(blocks: list[Block]) -> list[Block]:
    """Join neighbours of one parent that are alike, with all that lies in them."""
    result: list[Block] = []
    index = 0
    while index < len(blocks):
        group = _with_inner(blocks, index)
        count, after = 1, index + len(group)
        while after < len(blocks) and _alike(group, _with_inner(blocks, after)):
            count, after = count + 1, after + len(group)
        if count == 1:
            result.append(blocks[index])
            index += 1
            continue
        last = blocks[after - len(group)].name.rpartition(".")[2]
        total = sum(each.num_parameters for each in blocks[index:after] if each.level == group[0].level)
        result.append(replace(group[0], name=f"{group[0].name} to {last}", count=count, num_parameters=total))
        result += _rows(group[1:])
        index = after
    return result


def _with_inner(blocks: list[Block], start: int) -> list[Block]:
    end = start + 1
    while end < len(blocks) and blocks[end].level > blocks[start].level:
        end += 1
    return blocks[start:end]


def _alike(one: list[Block], other: list[Block]) -> bool:
    parents = {group[0].name.rpartition(".")[0] for group in (one, other)}
    numbered = all(group[0].name.rpartition(".")[2].isdigit() for group in (one, other))

    def looks(group: list[Block]) -> list[tuple[int, str, object, int]]:
        return [(each.level, each.kind, each.shape, each.num_parameters) for each in group]

    return len(parents) == 1 and numbered and looks(one) == looks(other)
