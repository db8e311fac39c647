"""Weight files on disk: a path comes in, plain named tensors go out, nothing in the file is ever run."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from fewframes.errors import InvalidCheckpoint, UnsafePickle

__all__ = ["ARCHITECTURE_KEY", "find_file", "read_tensors", "sha256_of", "stated_architecture"]

# The first bytes of what torch.save writes: a zip archive now, a pickle of protocol 2 or later before torch 1.6.
_ZIP, _PICKLES = b"PK\x03\x04", tuple(bytes([0x80, protocol]) for protocol in (2, 3, 4, 5))

# What our own files say in their header, besides the tensors.
ARCHITECTURE_KEY = "fewframes.architecture"

_NAMES = ("weights.safetensors", "model.safetensors", "pytorch_model.bin")

# Where published files keep the state dict inside the pickled dictionary.
_WRAPPERS = ("model", "state_dict", "model_state", "module")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file or a PyTorch pickle (.pth, .pt, .pyth, .bin) as named tensors on the CPU.

    Pickles are read with `weights_only=True`; the state dict may sit under "model", "state_dict", "model_state" or
    "module". Names may carry the "module." prefix of data-parallel training, which is taken off.

    Raises:
        UnsafePickle: the pickle holds more than tensors and plain containers.
        InvalidCheckpoint: missing, damaged, or without tensors, or with values that are not finite.
    """
    if not path.is_file():
        raise InvalidCheckpoint(f"no weights at {path}; expected a .safetensors or .pth file, or a checkpoint folder")
    if path.stat().st_size == 0:
        raise InvalidCheckpoint(f"{path} is empty (0 bytes); download or copy it again")
    named = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    tensors = {name.removeprefix("module."): value for name, value in named.items()}
    if len(tensors) != len(named):
        raise InvalidCheckpoint(f'{path} holds a tensor twice, with and without the prefix "module."')
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InvalidCheckpoint(f"{path}: tensor {name!r} holds values that are not finite; the file is damaged")
    return tensors


def find_file(source: Path) -> Path:
    """A file as it is; of a folder, the weights in it under a usual name, ours first.

    Known names: weights.safetensors (ours), model.safetensors and pytorch_model.bin (Hugging Face).
    """
    if not source.is_dir():
        return source
    return next((source / name for name in _NAMES if (source / name).is_file()), source / _NAMES[0])


def stated_architecture(path: Path) -> str | None:
    """The architecture that one of our own .safetensors files states; None for any other file."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get(ARCHITECTURE_KEY)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InvalidCheckpoint(f"{path} is not a readable safetensors file ({error}); copy it again") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if not start.startswith((_ZIP, *_PICKLES)):
        raise InvalidCheckpoint(
            f"{path} is not a PyTorch file (it starts with {start!r}); expected what torch.save writes, or .safetensors"
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of the pickle's age; what counts comes back or not
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafePickle(
            f"{path} holds Python objects, not only tensors, and was refused: loading it could run code; "
            "ask its author for a .safetensors file, or save only the state dict"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise InvalidCheckpoint(
            f"{path} is not a readable PyTorch file ({_first_sentence(error)}); copy or download it again"
        ) from error
    return _state_dict_in(content, path)


def _state_dict_in(content: object, path: Path) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise InvalidCheckpoint(f"{path} holds no state dict; expected named tensors, or them under {_WRAPPERS}")
    strays = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if strays:
        raise InvalidCheckpoint(f"{path}: expected only tensors in the state dict, got also {', '.join(strays[:5])}")
    return {str(name): value for name, value in content.items()}


def _first_sentence(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0]
