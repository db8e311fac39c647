"""`fewframes doctor`: what is installed, and whether it works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import fewframes.cli.doctor as doctor
import fewframes.video.reader as reader
from tests.helpers.command import Command


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWFRAMES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_all_is_well(command: Command, own_cache: Path) -> None:
    outcome = command("doctor", "--json")
    facts = outcome.document()
    assert (outcome.status, outcome.err, facts["problems"]) == (0, "", [])
    assert facts["torch"] == torch.__version__.partition("+")[0] or facts["torch"] == torch.__version__
    assert facts["devices"][0] == "cpu"
    assert facts["threads"] == torch.get_num_threads()
    assert {"h264"} <= set(facts["codecs"])
    read, written = (int(number) for number in facts["decoding"].split() if number.isdigit())
    assert read == written > 0
    assert facts["cache"] == str(own_cache)
    assert list(own_cache.iterdir()) == []


def test_a_table(command: Command) -> None:
    outcome = command("doctor")
    assert outcome.status == 0
    assert all(name in outcome.out for name in ("python", "torch", "av", "devices", "decoding"))


def test_what_is_missing_is_said(command: Command, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache.write_text("in the way")
    monkeypatch.setattr(doctor, "_PACKAGES", ("fewframes", "no-such-package"))
    monkeypatch.setattr(reader, "open_video", None)
    outcome = command("doctor", "--json")
    problems = outcome.document()["problems"]
    assert outcome.status == 1
    assert problems[0] == "no-such-package is not installed; run: pip install fewframes"
    assert problems[1].startswith("reading a generated H.264 video fails: TypeError")
    assert problems[2].startswith(f"cannot write to {own_cache}")
    assert problems[2].endswith("set FEWFRAMES_CACHE to another folder")
    assert "no-such-package" in command("doctor").out
