"""The verbs: which there are, how they are found, and how every failure ends in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest

from fewframes.cli.main import VERBS, main
from fewframes.cli.output import json_document
from fewframes.errors import TrainingFailed, UsageError
from tests.helpers.command import Command, command_process


def test_the_overview_names_every_verb(command: Command) -> None:
    asked, given = command("--help"), command()
    assert (asked.status, given.status) == (0, 2)
    assert asked.out == given.out
    for verb, (_, summary) in VERBS.items():
        assert f"  {verb}" in asked.out
        assert summary in asked.out
    assert command("-h").out == command("help").out == asked.out
    assert asked.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(command: Command, verb: str) -> None:
    outcome = command(*verb.split(), "--help")
    assert outcome.status == 0
    assert f"usage: fewframes {verb}" in outcome.out
    assert outcome.err == ""
    assert callable(import_module(VERBS[verb][0]).run)


@pytest.mark.parametrize(("group", "verb"), [("data", "synthesize"), ("models", "list")])
def test_groups_of_verbs(command: Command, group: str, verb: str) -> None:
    assert f"  {group} {verb}" in command(group, "--help").out
    assert "  predict" not in command(group, "--help").out
    assert (command(group, "--help").status, command(group).status) == (0, 2)
    command(group, verb[:-1]).assert_refused(2, f"unknown {group} command '{verb[:-1]}'; did you mean '{verb}'?")


@pytest.mark.parametrize(("wrong", "right"), [("predct", "predict"), ("evalute", "evaluate"), ("model", "models")])
def test_a_misspelt_verb(command: Command, wrong: str, right: str) -> None:
    command(wrong, "x").assert_refused(2, f"unknown command '{wrong}'; did you mean '{right}'")


@pytest.mark.parametrize(
    ("arguments", "wrong", "right"),
    [
        (("predict", "m", "v", "--topk", "3"), "--topk", "--top-k"),
        (("evaluate", "m", "v", "--splt", "test"), "--splt", "--split"),
        (("train", "small", "v", "--optim.batch-siz", "3"), "--optim.batch-siz", "--optim.batch-size"),
        (("data", "synthesize", "v", "--video", "3"), "--video", "--videos"),
        (("demo", "--epoch", "3"), "--epoch", "--epochs"),
        (("models", "list", "--jsn"), "--jsn", "--json"),
        (("doctor", "--jason"), "--jason", "--json"),
    ],
)
def test_a_misspelt_option(command: Command, arguments: tuple[str, ...], wrong: str, right: str) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert outcome.out == ""
    assert wrong in outcome.err
    assert right in outcome.err.replace(wrong, "", 1)
    assert "Traceback" not in outcome.err


def test_version(command: Command) -> None:
    assert command("--version").out == command("-V").out == f"fewframes {version('fewframes')}\n"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UsageError("two\n  lines"), 2, "fewframes: error: two lines\n"),
        (TrainingFailed("no"), 1, "fewframes: error: no\n"),
        (KeyboardInterrupt(), 130, "fewframes: error: interrupted\n"),
    ],
)
def test_how_a_command_ends(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, text: str
) -> None:
    def fail(arguments: object, program: object) -> int:
        raise error

    monkeypatch.setattr(import_module("fewframes.cli.doctor"), "run", fail)
    outcome = command("doctor")
    assert (outcome.status, outcome.out, outcome.err) == (status, "", text)


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fewframes.cli.doctor"), "run", lambda arguments, program: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["train", "small", "--help"], ["predct"]])
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom fewframes.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'av', 'matplotlib', 'lightning_fabric'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_as_a_program() -> None:
    outcome = command_process("predct")
    outcome.assert_refused(2, "unknown command 'predct'; did you mean 'predict'")
    assert command_process("--version").out == f"fewframes {version('fewframes')}\n"


def test_a_reader_that_goes_away() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fewframes", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    text = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), text) == (1, "")


def test_names_of_files_that_are_no_text_do_not_break_json(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    json_document({"path": "caf\udce9.mp4", "label": "gehört"}, indent=None)
    assert json.loads(capsysbinary.readouterr().out) == {"path": "caf\udce9.mp4", "label": "gehört"}
    json_document({"label": "gehört"}, indent=None)
    assert capsysbinary.readouterr().out == '{"label": "gehört"}\n'.encode()
