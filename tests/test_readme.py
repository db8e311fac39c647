"""What the README says is true: its table, its commands, its files."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import fewframes as ff
from fewframes.cli.main import VERBS
from fewframes.weights.layouts import LAYOUTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_families_is_the_catalogue() -> None:
    """Every model is under a name or a pattern of the table, and every name and pattern is of a model."""
    table = README.partition("## Models")[2].partition("## Measured")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    patterns = [name for row in rows for name in re.findall(r"`([^`]*)`", row) if name != "baselines"]
    models = ff.list_models()
    for pattern in patterns:
        assert fnmatch.filter(models, pattern), pattern
    stams = [name for name in models if name.startswith(("stam_", "tresnet_"))]
    assert all(any(fnmatch.fnmatch(name, each) for each in patterns) for name in models if name not in stams)


def test_the_numbers_of_models_and_layouts() -> None:
    assert f"{len(ff.list_models())} networks by name" in README
    assert f"| {len(ff.list_models())} full-size networks |" in README
    assert len(LAYOUTS) == 13
    assert "thirteen layouts" in README


def test_every_command_that_is_named_exists() -> None:
    named = set(re.findall(r"fewframes ((?:data |models )?[a-z]+)", README))
    assert named, "the README names no command"
    assert named <= {*VERBS, "is", "as"}


def test_every_link_and_picture_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search(r"\b(DEMO_OUTPUT|MEASURED|TODO)\b", README)
