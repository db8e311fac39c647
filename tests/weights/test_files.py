"""Reading weight files: what torch and safetensors write, and every way in which a file can be something else."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fewframes.errors import InvalidCheckpoint, UnsafePickle
from fewframes.weights.files import read_tensors, sha256_of


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([4, 9]), "c": torch.ones(2).bfloat16()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


@pytest.mark.parametrize("suffix", ["pth", "pt", "pyth", "bin", "ckpt"])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state", "module"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pickles(tensors: dict[str, Tensor], suffix: str, wrapper: str | None, prefix: str, tmp_path: Path) -> None:
    content = {prefix + name: value for name, value in tensors.items()}
    path = tmp_path / f"weights.{suffix}"
    torch.save(content if wrapper is None else {"epoch": 3, wrapper: content}, path)
    assert_same(read_tensors(path), tensors)


def test_pickles_of_old_torch(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": tensors}, path, _use_new_zipfile_serialization=False)
    assert_same(read_tensors(path), tensors)


def test_safetensors(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    assert_same(read_tensors(path), tensors)


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"few" * 1_000_003)
    assert sha256_of(path) == hashlib.sha256(b"few" * 1_000_003).hexdigest()


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"no weights at .*none\.pth; expected a \.safetensors or \.pth file"):
        read_tensors(tmp_path / "none.pth")
    with pytest.raises(InvalidCheckpoint, match="no weights at"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_an_empty_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidCheckpoint, match=rf"{name} is empty \(0 bytes\)"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("text", ["<html><body>404</body></html>\n", "A text.\n", '{"a": 1}', "hello\n", "x"])
def test_a_text_is_no_pickle_and_not_called_unsafe(text: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_text(text * 9)
    with pytest.raises(InvalidCheckpoint, match="is not a PyTorch file") as caught:
        read_tensors(path)
    assert not isinstance(caught.value, UnsafePickle)
    (tmp_path / "weights.safetensors").write_text(text * 9)
    with pytest.raises(InvalidCheckpoint, match="is not a readable safetensors file"):
        read_tensors(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
def test_a_cut_pickle(zipped: bool, share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": {"a": torch.ones(1999)}}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InvalidCheckpoint, match=r"weights\.pth") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("share", [0.001, 0.01, 0.5, 0.999])
def test_cut_safetensors(share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(1999)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(1, int(share * len(whole)))])
    with pytest.raises(InvalidCheckpoint, match=r"weights\.safetensors is not a readable safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_that_are_not_finite(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    damaged = torch.ones(2, 3, dtype=dtype)
    damaged[1, 2] = value
    torch.save({"fine": torch.ones(1), "bad": damaged}, tmp_path / "weights.pth")
    save_file({"fine": torch.ones(1), "bad": damaged}, tmp_path / "weights.safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        with pytest.raises(InvalidCheckpoint, match=rf"{name}: tensor 'bad' holds values that are not finite"):
            read_tensors(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds no state dict; expected named tensors"),
        (torch.ones(1), "holds no state dict"),
        ({}, "holds no state dict"),
        ({"model": {}}, "holds no state dict"),
        ({"a": torch.ones(1), "epoch": 3, "lr": 0.1}, "expected only tensors in the state dict, got also epoch, lr"),
        ({"model": {"a": torch.ones(1), "name": "x"}}, "got also name"),
        ({"module.a": torch.ones(1), "a": torch.zeros(1)}, 'a tensor twice, with and without the prefix "module.""'),
    ],
)
def test_pickles_without_a_state_dict(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(InvalidCheckpoint, match=message.removesuffix('"')):
        read_tensors(path)


class Runs:
    """Unpickled without care, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("way", ["bare", "inside", "zip", "old_zip"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(way: str, protocol: int, tmp_path: Path) -> None:
    marker, path = tmp_path / "it_ran", tmp_path / "weights.pth"
    content = {"model": {"a": torch.ones(1)}, "extra": Runs(marker)}
    if way == "bare":
        path.write_bytes(pickle.dumps(Runs(marker), protocol=protocol))
    elif way == "inside":
        path.write_bytes(pickle.dumps({"model": {}, "extra": Runs(marker)}, protocol=protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(UnsafePickle, match="holds Python objects, not only tensors, and was refused"):
        read_tensors(path)
    assert not marker.exists()
    if way == "bare":  # the same bytes do run elsewhere, so the test tests something
        pickle.loads(path.read_bytes())
        assert marker.exists()


@pytest.mark.parametrize("extra", [argparse.Namespace(lr=0.1), torch.nn.Linear(2, 3), Path("a")])
def test_a_pickle_of_harmless_objects_is_refused_too(extra: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": {"a": torch.ones(1)}, "extra": extra}, path)
    with pytest.raises(UnsafePickle, match=r"ask its author for a \.safetensors file, or save only the state dict"):
        read_tensors(path)
