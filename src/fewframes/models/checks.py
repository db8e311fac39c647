"""What every network checks: configs and clips come in, `UsageError` says what does not fit; and seeded building."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from fewframes.errors import UsageError

__all__ = [
    "ModelConfig",
    "check_choice",
    "check_clip",
    "check_image_size",
    "check_share",
    "check_whole",
    "seeded",
]


class ModelConfig(Protocol):
    """What the configs of all families have in common; each is a frozen dataclass with defaults everywhere."""

    @property
    def num_classes(self) -> int:
        """K."""

    @property
    def num_frames(self) -> int:
        """T."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""


def check_whole(config: object, names: Iterable[str]) -> None:
    """Raise `UsageError` unless each named field is a whole number of at least 1."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name} is {value!r}; expected a whole number of at least 1")


def check_share(config: object, names: Iterable[str]) -> None:
    """Raise `UsageError` unless each named field is a number of at least 0 and below 1."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise UsageError(f"{name} is {value!r}; expected at least 0 and below 1")


def check_choice(config: object, name: str, choices: Sequence[object]) -> None:
    """Raise `UsageError` unless the field is one of the choices."""
    value = getattr(config, name)
    if value not in choices:
        *first, last = (f'"{each}"' if isinstance(each, str) else str(each) for each in choices)
        expected = f"{', '.join(first)} or {last}" if first else last
        raise UsageError(f"{name} is {value!r}; expected {expected}")


def check_image_size(image_size: tuple[int, int], patch: int = 1, *, of: str = "patch_size") -> None:
    """Raise `UsageError` unless this is (height, width), both whole multiples of `patch`."""
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in image_size)
    if len(image_size) != 2 or not whole or min(image_size) < 1 or any(side % patch for side in image_size):
        multiples = f", multiples of {of}, {patch}" if patch > 1 else ", whole numbers of at least 1"
        raise UsageError(f"image_size is {'x'.join(map(str, image_size))}; expected height and width{multiples}")


def check_clip(clip_BTCHW: Tensor, config: ModelConfig, *, any_frames: bool = False) -> None:
    """Raise `UsageError` unless this is a batch of preprocessed clips of the config's size.

    Args:
        clip_BTCHW: should be (B, T, 3, H, W) of floats.
        config: states T, H and W.
        any_frames: whether T may differ from the config's.
    """
    expected = (3, *config.image_size)
    fits = clip_BTCHW.ndim == 5 and tuple(clip_BTCHW.shape[2:]) == expected
    if not fits or not clip_BTCHW.is_floating_point():
        kind = str(clip_BTCHW.dtype).removeprefix("torch.")
        raise UsageError(
            f"the clip is {tuple(clip_BTCHW.shape)} {kind}; expected (B, T, {', '.join(map(str, expected))}) "
            "of floats; use the model's own preprocess"
        )
    num_frames = clip_BTCHW.shape[1]
    if not any_frames and num_frames != config.num_frames:
        raise UsageError(
            f"the clip has {num_frames} frames but the model needs {config.num_frames}; "
            f"sample with count={config.num_frames}"
        )


@contextmanager
def seeded(generator: torch.Generator | None) -> Iterator[None]:
    """Let code that draws from torch's global generator draw from this one; the global one is left as it was.

    For networks that other libraries build. With None, the global generator is drawn from as usual.
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
