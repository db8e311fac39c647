"""`fewframes predict`: files, folders and patterns; every bad file is named, every bad model refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fewframes.predict import Classifier
from tests.helpers.command import Command, command_process
from tests.helpers.tiny import CLASSES, SHAPE, weights_of


@pytest.fixture(scope="module")
def folder(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good videos, one of them deeper, beside what is to be passed over."""
    folder = tmp_path_factory.mktemp("predict")
    good = sorted((tiny_videos.parent / "rise").glob("*.mp4"))
    (folder / "deeper").mkdir()
    shutil.copy(good[0], folder / "a b.mp4")
    shutil.copy(good[1], folder / "deeper" / "c.MP4")
    (folder / "._a b.mp4").write_text("what a file manager left")
    (folder / "notes.txt").touch()
    return folder


def write_sound(path: Path) -> None:
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def bad_video(kind: str, folder: Path, good: Path) -> Path:
    path = folder / f"{kind} one.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("I am no video\n" * 50)
    elif kind == "sound":
        write_sound(path)
    elif kind == "cut":
        path.write_bytes(good.read_bytes()[:1500])
    elif kind == "clipped":
        path.write_bytes(good.read_bytes()[:-700])
    elif kind == "folder":
        path.mkdir()
        (path / "readme").touch()
    return path


def test_a_table(command: Command, tiny_checkpoint: Path, folder: Path) -> None:
    outcome = command("predict", tiny_checkpoint, folder / "a b.mp4", "--top-k", "2")
    assert (outcome.status, outcome.err) == (0, "")
    found = Classifier.load(tiny_checkpoint).predict(folder / "a b.mp4", top_k=2)
    for label, score in zip(found.labels, found.scores, strict=True):
        assert label in outcome.out
        assert f"{100 * score:.1f} %" in outcome.out
    assert sum(label in outcome.out for label in CLASSES) == 2


def test_json_says_what_the_library_says(command: Command, tiny_checkpoint: Path, folder: Path) -> None:
    outcome = command("predict", tiny_checkpoint, folder, "--json", "-k", "3", "--attention")
    document = outcome.document()
    assert (outcome.status, outcome.err) == (0, "")
    assert list(document) == ["model", "predictions", "failures"]
    assert document["failures"] == []
    assert [each["path"] for each in document["predictions"]] == [str(folder / "a b.mp4"), str(folder / "deeper/c.MP4")]
    classifier = Classifier.load(tiny_checkpoint)
    for each in document["predictions"]:
        found = classifier.predict(each["path"], top_k=3, attention=True)
        assert (tuple(each["labels"]), tuple(each["logits"])) == (found.labels, found.logits)
        assert tuple(each["frame_attention"]) == found.frame_attention


def test_patterns(command: Command, tiny_checkpoint: Path, folder: Path) -> None:
    outcome = command("predict", tiny_checkpoint, f"{folder}/**/*.[mM][pP]4", "--json")
    assert [Path(each["path"]).name for each in outcome.document()["predictions"]] == ["a b.mp4", "c.MP4"]
    command("predict", tiny_checkpoint, f"{folder}/*.mov").assert_refused(2, "nothing matches the pattern", "*.mov")


def test_a_name_that_looks_like_a_pattern_is_a_file(
    command: Command, tiny_checkpoint: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "a b.mp4", tmp_path / "take [1].mp4")
    outcome = command("predict", tiny_checkpoint, tmp_path / "take [1].mp4", "--json")
    assert len(outcome.document()["predictions"]) == 1


def test_a_name_that_begins_with_a_dash(
    command: Command, tiny_checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(folder / "a b.mp4", tmp_path / "-h_000012.mp4")
    monkeypatch.chdir(tmp_path)
    for spelling in (("--", "-h_000012.mp4"), ("./-h_000012.mp4",)):
        outcome = command("predict", tiny_checkpoint, "--json", *spelling)
        assert len(outcome.document()["predictions"]) == 1


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("absent", 1, "no such file"),
        ("empty", 1, "the file is empty"),
        ("text", 1, "not a video"),
        ("sound", 1, "sound"),
        ("cut", 1, "cut short; download it again"),
        ("clipped", 1, "download it again"),
        ("folder", 2, "no videos in the folder"),
    ],
)
def test_a_bad_video(
    command: Command, tiny_checkpoint: Path, folder: Path, tmp_path: Path, kind: str, status: int, reason: str
) -> None:
    path = bad_video(kind, tmp_path, folder / "a b.mp4")
    command("predict", tiny_checkpoint, path).assert_refused(status, str(path), reason)


def test_bad_videos_among_good_ones(command: Command, tiny_checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    bad = [bad_video(kind, tmp_path, folder / "a b.mp4") for kind in ("absent", "empty", "text", "sound")]
    outcome = command("predict", tiny_checkpoint, bad[0], folder / "a b.mp4", *bad[1:], "--json")
    document = outcome.document()
    assert outcome.status == 1
    assert len(document["predictions"]) == 1
    assert [each["path"] for each in document["failures"]] == [str(path) for path in bad]
    assert [str(path) in line for path, line in zip(bad, outcome.err.splitlines(), strict=True)] == [True] * 4


def test_wrong_usage(command: Command, tiny_checkpoint: Path, folder: Path) -> None:
    command("predict", tiny_checkpoint, folder, "--top-k", "0").assert_refused(2, "--top-k is 0; expected at least 1")
    command("predict", tiny_checkpoint).assert_refused(2, "no videos named")
    command("predict", "stam_61", folder).assert_refused(2, "unknown model 'stam_61'; did you mean")
    command("predict", "runs/absent", folder).assert_refused(2, "runs/absent is not a checkpoint folder")
    command("predict", folder, folder).assert_refused(1, f"{folder} is no checkpoint", "name a folder that training")
    options = ("--options", "depth=2")
    command("predict", tiny_checkpoint, folder, *options).assert_refused(2, str(tiny_checkpoint), "leave options out")
    command("predict", "stam_4", folder, "--options", "depth=x").assert_refused(2, "depth=x: expected a whole number")
    command("predict", "stam_4", folder).assert_refused(2, "no weights were published for stam_4")
    outcome = command("predict", tiny_checkpoint, folder, "--device", "cuda:77")
    outcome.assert_refused(2, "--device cuda:77 cannot be used here", "try --device cpu")


def without(tensors: dict[str, Tensor]) -> None:
    del tensors["head.bias"]


def misshapen(tensors: dict[str, Tensor]) -> None:
    tensors["encoder.norm.weight"] = torch.zeros(7)


def extra(tensors: dict[str, Tensor]) -> None:
    tensors["tail.weight"] = torch.zeros(7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, "head.bias is missing"),
        (misshapen, "encoder.norm.weight is (7,), expected (24,)"),
        (extra, "tail.weight is left over"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    command: Command,
    tiny_checkpoint: Path,
    folder: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], None],
    message: str,
) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))
    tensors = weights_of(copy)
    change(tensors)
    save_file(tensors, copy / "weights.safetensors")
    command("predict", copy, folder).assert_refused(1, str(copy / "weights.safetensors"), message)


def test_a_checkpoint_that_is_damaged(command: Command, tiny_checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))
    content = (copy / "weights.safetensors").read_bytes()
    (copy / "weights.safetensors").write_bytes(content[:-50])
    command("predict", copy, folder).assert_refused(1, str(copy / "weights.safetensors"), "copy it again")
    (copy / "weights.safetensors").write_bytes(content)
    (copy / "model.json").write_text("{")
    command("predict", copy, folder).assert_refused(1, str(copy / "model.json"), "damaged", "copy the folder again")


class Trap:
    """Makes a folder when it is unpickled carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.mkdir, (self.path,)


def test_a_pickle_that_would_run_code(command: Command, folder: Path, tmp_path: Path) -> None:
    trap, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    torch.save({"model": Trap(sprung)}, trap)
    outcome = command("predict", "stam_4", folder, "--weights", trap, "--options", *SHAPE)
    outcome.assert_refused(1, str(trap), "was refused", "could run code")
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists(), "the trap works"


def test_in_a_process_of_its_own(tiny_checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    """Standard output alone is JSON, and nothing of what libraries may say reaches standard error."""
    text = bad_video("text", tmp_path, folder)
    outcome = command_process("predict", tiny_checkpoint, folder, text, "--json")
    document = json.loads(outcome.out)
    assert outcome.status == 1
    assert len(document["predictions"]) == 2
    assert outcome.err.splitlines() == [f"fewframes: error: cannot read {text}: {document['failures'][0]['reason']}"]
    logits = Classifier.load(tiny_checkpoint).predict(folder / "a b.mp4").logits
    assert tuple(document["predictions"][0]["logits"]) == logits
