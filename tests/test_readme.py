"""What the README says is true: its table, its commands, its files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import fewframes as ff
from fewframes.benchmark import measure_cost
from fewframes.cli.main import VERBS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ff.list_models())
def test_the_table_states_what_the_catalogue_builds(name: str) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}` "))
    frames, parameters, gmacs = (cell.strip() for cell in row.split("|")[2:5])
    with torch.device("meta"):
        model = ff.build_model(name)
    cost = measure_cost(model, (int(frames), 3, 224, 224))
    assert int(parameters.replace(",", "")) == cost.num_parameters
    assert float(gmacs) == pytest.approx(cost.macs / 1e9, abs=0.05)


def test_every_command_that_is_named_exists() -> None:
    named = set(re.findall(r"fewframes ((?:data |models )?[a-z]+)", README))
    assert named, "the README names no command"
    assert named <= {*VERBS, "is", "as"}


def test_every_link_and_picture_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search(r"\b(DEMO_OUTPUT|MEASURED|TODO)\b", README)
