"""The whole story as a new user lives it: `make demo`, then the README's own lines. Minutes long."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def demo() -> str:
    """Standard output of `make demo`, run as the README says."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "demo", f"VENV={Path(sys.executable).parent.parent}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_the_demo_shows_that_order_matters(demo: str) -> None:
    result = json.loads(demo.strip().splitlines()[-1])
    assert result["num_videos"] >= 200
    assert result["stam_top1"] >= 90
    assert result["mean_top1"] <= 60
    assert result["seconds"] > 0
    page = (ROOT / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    assert f"{result['stam_top1']:.1f}" in page


@pytest.mark.slow
def test_the_readme_python_lines_run(demo: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "rise" in done.stdout


@pytest.mark.slow
def test_the_readme_predict_line_runs(demo: str) -> None:
    command = re.search(r"^\$ \.venv/bin/(fewframes predict .*)$", README, flags=re.MULTILINE)
    assert command is not None
    program = Path(sys.executable).parent / "fewframes"
    arguments = command.group(1).split()[1:]
    done = subprocess.run([program, *arguments, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)["predictions"]
    assert len(answers) >= 100
    assert sum(answer["labels"][0] == "rise" for answer in answers) >= 0.9 * len(answers)
