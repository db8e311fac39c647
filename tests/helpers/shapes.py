"""Shape suffixes held to their word: while a block runs, names such as `tokens_BND` are compared with the tensors.

A suffix is the part after a name's last underscore, made of capital letters and digits. It must have one character for
each dimension; a digit is that dimension's size; and within one call of one function a letter stands for one size.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch

import fewframes.models

MODELS = Path(fewframes.models.__file__).parent
_SUFFIX = re.compile(r"_([A-Z0-9]*[A-Z][A-Z0-9]*)$")


@dataclass
class ShapeLog:
    """What was seen.

    Attributes:
        checked: "file:function:name" of every tensor compared at least once.
        lies: one line for each suffix that is not true.
    """

    checked: set[str] = field(default_factory=set)
    lies: list[str] = field(default_factory=list)


@contextmanager
def true_shapes(folder: Path = MODELS) -> Iterator[ShapeLog]:
    """Check every function defined in a file under `folder` when it returns; fail at the end if a suffix lied.

    Raises:
        AssertionError: names each wrong suffix, its function and the sizes.
    """
    log = ShapeLog()
    inside: dict[str, bool] = {}

    def watch(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if file not in inside:
            inside[file] = folder in Path(file).parents
        if event == "return" and inside[file]:
            _check(frame, log)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield log
    finally:
        sys.setprofile(before)
    assert not log.lies, "\n".join(log.lies)


def _check(frame: FrameType, log: ShapeLog) -> None:
    place = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
    sizes: dict[str, tuple[int, str]] = {}
    for name, value in frame.f_locals.items():
        suffix = _SUFFIX.search(name)
        if suffix is None or not isinstance(value, torch.Tensor):
            continue
        letters, shape = suffix.group(1), tuple(value.shape)
        log.checked.add(f"{place}:{name}")
        if len(letters) != len(shape):
            log.lies.append(f"{place}: {name} is {shape}, {len(shape)} dimensions")
            continue
        for letter, size in zip(letters, shape, strict=True):
            known, earlier = (int(letter), "the digit") if letter.isdigit() else sizes.setdefault(letter, (size, name))
            if size != known:
                log.lies.append(f"{place}: {name} is {shape}, but {letter} is {known} by {earlier}")
