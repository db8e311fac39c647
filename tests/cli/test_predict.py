"""`fewframes predict`: files, folders and patterns; every bad file is named, every bad model refused."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from fewframes.errors import UnreadableVideo
from fewframes.predict import Classifier
from fewframes.records import DecodeOptions
from fewframes.video.reader import open_video
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


def test_a_part(command: Command, tiny_checkpoint: Path, folder: Path) -> None:
    path = folder / "a b.mp4"
    outcome = command("predict", tiny_checkpoint, path, "--start", "0.4", "--end", "0.9", "--json")
    (found,) = outcome.document()["predictions"]
    expected = Classifier.load(tiny_checkpoint).predict(path, start=0.4, end=0.9)
    assert (found["start"], found["end"]) == (0.4, 0.9)
    assert tuple(found["frame_indices"]) == expected.frame_indices
    assert tuple(found["logits"]) == expected.logits
    table = command("predict", tiny_checkpoint, path, "--start", "0.4").out
    assert "a b.mp4, from 0.4 s" in table
    beyond = command("predict", tiny_checkpoint, path, "--start", "77", "--end", "78.5")
    beyond.assert_refused(1, f"cannot read {path}, 77 to 78.5 s: the part from 77 s on lies beyond its end")
    for part in (("--start", "-1"), ("--start", "2", "--end", "2"), ("--end", "0")):
        command("predict", tiny_checkpoint, path, *part).assert_refused(2, "expected 0 <= start < end")


def test_how_much_was_read(command: Command, tiny_checkpoint: Path, folder: Path) -> None:
    outcome = command("predict", tiny_checkpoint, folder, "--json")
    for each in outcome.document()["predictions"]:
        assert each["size_bytes"] == Path(each["path"]).stat().st_size
        assert each["bytes_read"] > 0
    note = command("predict", tiny_checkpoint, folder).out.rstrip().splitlines()[-1]
    assert re.fullmatch(r"\s*read [\d.,]+ kB of [\d.,]+ kB \([\d.]+ %\)\s*", note)


def test_decode_flags(command: Command, tiny_checkpoint: Path, folder: Path) -> None:
    path = folder / "a b.mp4"
    outcome = command("predict", tiny_checkpoint, path, "--seek", "keyframe", "--json")
    expected = Classifier.load(tiny_checkpoint).predict(path, decode=DecodeOptions(seek="keyframe"))
    assert tuple(outcome.document()["predictions"][0]["frame_indices"]) == expected.frame_indices
    command("predict", tiny_checkpoint, path, "--max-frames", "5").assert_refused(1, str(path), "max_frames")
    assert command("predict", tiny_checkpoint, path, "--seek", "near").status == 2


class Pipe:
    """Standard input as a command sees it at the end of a pipe."""

    closed = False

    def __init__(self, content: bytes) -> None:
        self.buffer = PipeBytes(content)

    def isatty(self) -> bool:
        return False


class PipeBytes(io.BytesIO):
    """Bytes that can be read once, from their beginning."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("seek")


def test_standard_input(command: Command, tiny_checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a b.mp4"
    monkeypatch.setattr(sys, "stdin", Pipe(path.read_bytes()))
    first, second = command("predict", tiny_checkpoint, "-", path, "--json").document()["predictions"]
    assert (first["path"], second["path"]) == ("-", str(path))
    assert first["logits"] == second["logits"]
    monkeypatch.setattr(sys, "stdin", Pipe(b"I am no video" * 99))
    command("predict", tiny_checkpoint, "-").assert_refused(1, "cannot read -: it is not a video")
    command("predict", tiny_checkpoint, "-", "-").assert_refused(2, "standard input can be read once")


def test_standard_input_of_a_process(tiny_checkpoint: Path, folder: Path) -> None:
    path = folder / "a b.mp4"
    arguments = [sys.executable, "-m", "fewframes", "predict", str(tiny_checkpoint), "-", "--json"]
    with path.open("rb") as file:
        done = subprocess.run(arguments, stdin=file, capture_output=True, text=True, check=True)
    piped = subprocess.run(arguments, input=path.read_bytes(), capture_output=True, check=True)
    logits = Classifier.load(tiny_checkpoint).predict(path).logits
    for out in (done.stdout, piped.stdout):
        assert tuple(json.loads(out)["predictions"][0]["logits"]) == logits


def test_addresses_are_no_patterns(
    command: Command, tiny_checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def predict(self: Classifier, source: object, **_: object) -> object:
        asked.append(source)
        raise UnreadableVideo(source, "no network here")

    monkeypatch.setattr(Classifier, "predict", predict)
    address = "https://example.org/clips/[a]*.mp4?page=1"
    command("predict", tiny_checkpoint, address).assert_refused(1, f"cannot read {address}: no network here")
    assert asked == [address]
    signed = f"{address}&Signature=0123456789abcdef"
    outcome = command("predict", tiny_checkpoint, signed, "--json")
    assert asked[1] == signed
    assert "0123456789abcdef" not in outcome.out + outcome.err, "what a report shows may be passed on"


def test_a_folder_of_images(command: Command, tiny_checkpoint: Path, folder: Path, tmp_path: Path) -> None:
    with open_video(folder / "a b.mp4") as reader:
        frames = reader.frames_at(range(6)).pixels
    for number, pixels in enumerate(frames):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
    (found,) = command("predict", tiny_checkpoint, tmp_path, "--json").document()["predictions"]
    assert found["path"] == str(tmp_path)
    assert found["frame_indices"] == [1, 3, 5]


@pytest.fixture
def listed(folder: Path, tmp_path: Path) -> Path:
    """Four lines: two parts of one file, a missing file, and one without a label."""
    (tmp_path / "good.mp4").symlink_to(folder / "a b.mp4")
    path = tmp_path / "list.csv"
    lines = ["path,label,start,end", "good.mp4,rise,,0.5", "good.mp4,fall,0.5,", "gone.mp4,rise,,", "good.mp4,,,"]
    path.write_text("\n".join([*lines, ""]))
    return path


def test_a_list(command: Command, tiny_checkpoint: Path, folder: Path, listed: Path) -> None:
    outcome = command("predict", tiny_checkpoint, folder / "a b.mp4", "--list", listed, "--json")
    document = outcome.document()
    assert outcome.status == 1
    assert [(Path(each["path"]).name, each["start"], each["end"]) for each in document["predictions"]] == [
        ("a b.mp4", None, None),
        ("good.mp4", None, 0.5),
        ("good.mp4", 0.5, None),
        ("good.mp4", None, None),
    ]
    assert [Path(each["path"]).name for each in document["failures"]] == ["gone.mp4"]
    assert outcome.err.startswith("fewframes: error: cannot read ")
    command("predict", tiny_checkpoint, "--list", listed, "--start", "1").assert_refused(2, "say their own parts")
    command("predict", tiny_checkpoint, "--list", listed.with_name("absent.csv")).assert_refused(1, "absent.csv")


def test_a_list_with_too_many_bad_videos(command: Command, tiny_checkpoint: Path, listed: Path) -> None:
    listed.write_text(listed.read_text() + "lost.mp4,,,\ngood.mp4,,,\n")
    outcome = command("predict", tiny_checkpoint, "--list", listed, "--json")
    document = outcome.document()
    assert outcome.status == 1
    assert len(document["predictions"]) == 3, "what was done is not lost"
    assert [Path(each["path"]).name for each in document["failures"]] == ["gone.mp4", "lost.mp4"]
    assert document["stopped"].startswith(f"2 of 6 videos of {listed} could not be read so far, more than the 1 ")
    assert outcome.err == f"fewframes: error: {document['stopped']}\n"
    patient = command("predict", tiny_checkpoint, "--list", listed, "--json", "--max-bad-fraction", "0.5")
    assert len(patient.document()["predictions"]) == 4
    assert "stopped" not in patient.document()
    strict = command("predict", tiny_checkpoint, "--list", listed, "--json", "--on-bad-video", "error")
    assert (strict.status, len(strict.document()["predictions"])) == (1, 2)
    assert "gone.mp4: no such file; check the path; repair or remove it" in strict.document()["stopped"]
    few = command("predict", tiny_checkpoint, "x.mp4", "y.mp4", "z.mp4", "--max-bad-fraction", "0.5")
    few.assert_refused(1, "3 of 3 videos of the command line could not be read", "raise --max-bad-fraction")


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
