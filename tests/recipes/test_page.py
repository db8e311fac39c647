"""docs/recipes.md: what stands there is what the recipes say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fewframes.recipes import RECIPES

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "recipe_table.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    script.main()


def test_a_page_that_is_not_is_caught(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "recipes.md"
    wrong = script.PAGE.read_text(encoding="utf-8").replace("0.05 at 64 clips", "0.1 at 64 clips")
    page.write_text(wrong, encoding="utf-8")
    monkeypatch.setattr(script, "PAGE", page)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    with pytest.raises(SystemExit, match="is not what the recipes say"):
        script.main()
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    script.main()
    assert page.read_bytes() == SCRIPT.parents[1].joinpath("docs", "recipes.md").read_bytes()


def test_every_recipe_is_in_every_table(script: ModuleType) -> None:
    lines = script.tables()
    for name in RECIPES:
        assert sum(line.startswith(f"| `{name}` |") for line in lines) == 4


def test_what_a_docstring_says_of_sources(script: ModuleType) -> None:
    said = script.parts("vivit-k600")
    assert list(said) == ["Command", "Needs", "Hardware", "Expected", "Source", "Contradictions", "Choices"]
    assert said["Contradictions"].startswith("Table 7 says a learning rate of 0.1, the configuration 0.05: 0.05 here")
