"""Training logs: tolerant to a line that is still being written, strict to what is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fewframes.errors import UsageError
from fewframes.report.logs import read_training_log

from .samples import make_log


def test_reading_a_log_that_is_still_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.5}\n\n{"step": 2, "loss": NaN}\n{"step": 3, "lo')
    log = read_training_log(path)
    assert [entry["step"] for entry in log] == [1, 2]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in make_log(20)))
    assert read_training_log(path) == make_log(20)


def test_damaged_logs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n[1]\n')
    with pytest.raises(UsageError, match=r"line 2 of the training log .*log\.jsonl is not a JSON object: '\[1\]'"):
        read_training_log(path)
    with pytest.raises(UsageError, match="cannot read the training log"):
        read_training_log(tmp_path / "absent.jsonl")


def test_reading_needs_no_plots() -> None:
    code = "import sys, fewframes.report.logs; sys.exit(bool({'matplotlib', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
