"""Our own checkpoint folders: written whole, read strictly, rebuilt from themselves alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewframes.errors import InvalidCheckpoint, UsageError
from fewframes.models.stam import Stam
from fewframes.records import Preprocess, Sampling
from fewframes.weights import checkpoint
from fewframes.weights.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from fewframes.weights.files import sha256_of
from tests.weights.release import TINY

CONFIG = dataclasses.replace(TINY, num_classes=3, image_size=(8, 20), drop_path=0.1)
INFO = CheckpointInfo(
    name="stam_8",
    config=CONFIG,
    sampling=Sampling("official", 8, 0.8),
    preprocess=Preprocess((8, 20), 23, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), channel_order="bgr"),
    labels=("push up", "plié", "跑步"),
    provenance={"torch": "2", "scores": {"top1": 71.5}, "seeds": [1, 2], "note": None},
)


def new_model(seed: int = 73) -> Stam:
    return Stam(CONFIG, torch.Generator().manual_seed(seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best", new_model(), INFO)
    return tmp_path / "best"


def assert_holds(folder: Path, model: Stam) -> None:
    state = load_checkpoint(folder)[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors, and the stated SHA-256 with them, so that only their fit can be wrong."""
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    change_info(folder, lambda info: info.update(weights_sha256=sha256_of(path)))


def change_info(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.json"
    info = json.loads(path.read_text(encoding="utf-8"))
    change(info)
    path.write_text(json.dumps(info), encoding="utf-8")


def test_a_round_trip_gives_everything_back(folder: Path) -> None:
    model, info = load_checkpoint(folder)
    assert info == INFO
    assert not model.training
    assert list(model.state_dict()) == list(new_model().state_dict())
    assert_holds(folder, new_model())
    clip = torch.rand(2, 8, 3, 8, 20)
    with torch.no_grad():
        assert torch.equal(model(clip), new_model().eval()(clip))


def test_two_files_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["best"]
    stated = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert stated["weights_sha256"] == sha256_of(folder / "weights.safetensors")
    assert stated["format"] == 1
    assert "跑步" in (folder / "model.json").read_text(encoding="utf-8"), "names stay readable"


def test_saving_leaves_the_model_alone(tmp_path: Path) -> None:
    model = new_model().train()
    save_checkpoint(tmp_path / "deep" / "last", model, INFO)
    assert model.training
    assert_holds(tmp_path / "deep" / "last", model)


def test_a_newer_checkpoint_replaces_an_older(folder: Path) -> None:
    save_checkpoint(folder, new_model(79), dataclasses.replace(INFO, provenance={"step": 2}))
    assert_holds(folder, new_model(79))
    assert load_checkpoint(folder)[1].provenance == {"step": 2}
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, new_model(), INFO)
    assert_holds(tmp_path, new_model())


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="exists and is no checkpoint, so it is not replaced; choose another place"):
        save_checkpoint(tmp_path, new_model(), INFO)
    with pytest.raises(UsageError, match="is no checkpoint"):
        save_checkpoint(tmp_path / "thesis.txt", new_model(), INFO)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("moment", ["writing weights", "writing model.json", "moving the new one in"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_save_leaves_the_older_one(
    folder: Path, moment: str, failure: type[BaseException] | BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    rename = Path.rename

    def fail_on_new(path: Path, target: Path) -> Path:
        return fail() if path.name.endswith(".new") else rename(path, target)

    with monkeypatch.context() as patch:
        if moment == "writing weights":
            patch.setattr(checkpoint, "save_file", fail)
        elif moment == "writing model.json":
            patch.setattr(Path, "write_text", fail)
        else:
            patch.setattr(Path, "rename", fail_on_new)
        with pytest.raises((KeyboardInterrupt, OSError)):
            save_checkpoint(folder, new_model(79), INFO)
    assert_holds(folder, new_model())
    assert [path.name for path in folder.parent.iterdir()] == ["best"], "nothing half-written stays"
    save_checkpoint(folder, new_model(79), INFO)
    assert_holds(folder, new_model(79))


def test_a_record_that_is_no_json_leaves_the_older_one(folder: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(folder, new_model(79), dataclasses.replace(INFO, provenance={"x": object()}))
    assert_holds(folder, new_model())


def test_other_weights_than_the_stated(folder: Path) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # one bit of one number
    path.write_bytes(content)
    with pytest.raises(
        InvalidCheckpoint, match=r"is not the file that model\.json was written for \(SHA-256 differs\)"
    ):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("head.bias"), r"does not fit model\.json: head\.bias is missing"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "extra is left over"),
        (lambda tensors: tensors.update({"head.bias": torch.ones(7)}), r"head\.bias is \(7,\), expected \(3,\)"),
        (lambda tensors: tensors.clear(), r"encoder\.cls_token is missing; .*; and \d\d more"),
        (lambda tensors: tensors["head.bias"].fill_(torch.nan), r"tensor 'head\.bias' holds values that are not fin"),
    ],
)
def test_weights_that_do_not_fit(
    folder: Path, change: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    change_weights(folder, change)
    with pytest.raises(InvalidCheckpoint, match=message):
        load_checkpoint(folder)


def test_weights_that_are_cut_or_gone(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidCheckpoint, match=r"weights\.safetensors is not a readable safetensors file"):
        load_checkpoint(folder)
    path.unlink()
    with pytest.raises(InvalidCheckpoint, match=r"no weights at .*weights\.safetensors"):
        load_checkpoint(folder)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(InvalidCheckpoint, match=r"is no checkpoint: it has no model\.json; name a folder that"):
            load_checkpoint(place)


def _set(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(info: dict[str, Any]) -> None:
        for key in keys[:-1]:
            info = info[key]
        info[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info.pop("weights_sha256"), "is damaged .*weights_sha256"),
        (lambda info: info.pop("config"), "is damaged .*config"),
        (lambda info: info.pop("labels"), "is damaged .*labels"),
        (lambda info: info.pop("name"), "is damaged .*name"),
        (lambda info: info["config"].pop("image_size"), "is damaged .*image_size"),
        (_set("surprise", value=1), "is damaged .*surprise"),
        (_set("config", "surprise", value=1), "is damaged .*surprise"),
        (_set("config", "width", value=11), "is damaged .*width is 11; expected a multiple of heads, 5"),
        (_set("config", "width", value="10"), "is damaged .*width is '10'"),
        (_set("config", "patch_size", value=0), "is damaged .*patch_size is 0"),
        (_set("config", "image_size", value=8), "is damaged"),
        (_set("config", "num_classes", value=4), "is damaged .*3 labels for a model with 4 classes"),
        (_set("labels", value=["a", "b"]), "is damaged .*2 labels for a model with 3 classes"),
        (_set("labels", value=["a", "b", "a"]), "is damaged .*class names must differ; got a more than once"),
        (_set("sampling", "num_frames", value=9), "is damaged .*sampling takes 9 frames but the model needs 8"),
        (_set("sampling", value=None), "is damaged"),
        (_set("preprocess", "crop", value=[8, 8]), "is damaged .*preprocess crops"),
        (_set("preprocess", "std", value=[1, 0, 1]), r"is damaged .*preprocess\.std"),
        (_set("preprocess", value=[]), "is damaged"),
        (_set("format", value=2), "has another format or architecture; update fewframes"),
        (_set("architecture", value="slowestfast"), "has another format or architecture; update fewframes"),
    ],
)
def test_a_damaged_record(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    change_info(folder, change)
    with pytest.raises(InvalidCheckpoint, match=rf"model\.json {message}"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b'"x"', b"{}", b"\xff\xfe{}"])
def test_a_record_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    with pytest.raises(InvalidCheckpoint, match=r"model\.json is damaged \(.*\); copy the folder again"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("a", "b")}, "2 labels for a model with 3 classes"),
        ({"labels": ("a", "b", "b")}, "class names must differ; got b more than once"),
        ({"sampling": Sampling("uniform", 7)}, "sampling takes 7 frames but the model needs 8"),
        ({"preprocess": Preprocess((20, 8), None)}, r"preprocess crops \(20, 8\) but the model needs \(8, 20\)"),
    ],
)
def test_a_record_that_does_not_fit_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(INFO, **changes)
