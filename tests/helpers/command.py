"""The command line as a user sees it: arguments come in; exit status, standard output and standard error go out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from fewframes.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status, and everything that it printed."""

    status: int
    out: str
    err: str

    def document(self) -> Any:  # noqa: ANN401
        """All of standard output read as one JSON document."""
        return json.loads(self.out)

    def assert_refused(self, status: int, *parts: str) -> None:
        """Fail unless there is nothing but one line on standard error, which holds all these parts."""
        assert self.out == ""
        assert self.status == status
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("fewframes: error: ")
        for part in parts:
            assert part in lines[0], f"{part!r} is not in {lines[0]!r}"


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line inside this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(each) for each in arguments])
        except SystemExit as stop:  # how the option parser ends
            status = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


def command_process(*arguments: object) -> Outcome:
    """Runs a command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fewframes", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
