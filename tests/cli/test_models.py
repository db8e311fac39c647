"""`fewframes models`: the catalogue's figures, and everything that is known of one model or checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewframes.catalog import CATALOG, QUOTED, list_models
from tests.helpers.command import Command
from tests.helpers.tiny import CLASSES, weights_of


def test_the_catalogue_as_json(command: Command) -> None:
    outcome = command("models", "list", "--json")
    rows = {row["name"]: row for row in outcome.document()}
    assert (outcome.status, outcome.err, list(rows)) == (0, "", [*list_models(), *QUOTED])
    # Of the paper's network, counted once from the release's code.
    assert rows["stam_16"]["num_parameters"] == 119_205_520
    assert rows["stam_32"]["num_parameters"] == 119_217_808
    assert rows["stam_64"]["num_parameters"] == 119_242_384
    assert rows["stam_16"]["gmacs"] == pytest.approx(281.57, abs=0.01)
    assert rows["stam_16"]["gmacs_without_attention_products"] == pytest.approx(270.13, abs=0.01)
    (published,) = rows["stam_16"]["published"]
    assert (published["percent"], published["views"], published["source"]) == (79.3, "1x1", "paper, Table 4")


def test_filters(command: Command) -> None:
    def names(*options: str) -> set[str]:
        return {row["name"] for row in command("models", "list", "--json", *options).document()}

    assert names("--family", "stam") == {name for name, card in CATALOG.items() if card.family == "stam"}
    assert names("--family", "quoted") == set(QUOTED)
    assert names("--commercial") == {name for name, card in CATALOG.items() if card.commercial}
    assert names("--weights") == {name for name, card in CATALOG.items() if card.weights_url}
    assert "stam_4" not in names("--weights", "--commercial")
    command("models", "list", "--family", "stm").assert_refused(2, "unknown family 'stm'; did you mean 'stam'")


def test_the_catalogue_as_a_table(command: Command) -> None:
    text = command("models", "list").out
    for name, card in CATALOG.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
        assert line.rstrip().endswith("none") == (card.weights_url is None)
    assert max(map(len, text.splitlines())) <= 120


def test_one_model(command: Command) -> None:
    facts = command("models", "show", "stam_16", "--json").document()
    assert facts["num_parameters"] == 119_205_520
    assert facts["image_size"] == "224x224"
    changes = ("--options", "num_frames=8", "image_size=112x96", "depth=2", "num_classes=5")
    changed = command("models", "show", "stam_16", "--json", *changes).document()
    assert (changed["num_frames"], changed["image_size"], changed["config"]["depth"]) == (8, "112x96", 2)
    assert changed["num_parameters"] < facts["num_parameters"]
    table = command("models", "show", "stam_16").out
    assert "119,205,520" in table
    assert "arXiv:2103.13915" in table
    assert "published: 79.3 % top-1, Kinetics-400, 1x1 views (paper, Table 4)" in table
    assert "encoder.blocks.0 to 11               12 x PreNormBlock            -> 16 x 197 x 768" in table
    assert "blocks" not in command("models", "show", "stam_16", "--json", "--levels", "0").document()


def test_one_checkpoint(command: Command, tiny_checkpoint: Path) -> None:
    facts = command("models", "show", tiny_checkpoint, "--json").document()
    assert facts["labels"] == list(CLASSES)
    assert facts["num_parameters"] == sum(value.numel() for value in weights_of(tiny_checkpoint).values())
    assert facts["provenance"]["num_train"] == 12
    table = command("models", "show", tiny_checkpoint).out
    assert all(label in table for label in CLASSES)


def test_wrong_usage(command: Command, tmp_path: Path) -> None:
    command("models", "show", "stam_61").assert_refused(2, "unknown model 'stam_61'; did you mean")
    command("models", "show", tmp_path).assert_refused(1, f"{tmp_path} is no checkpoint")
    show = ("models", "show", "stam_16", "--options")
    command(*show, "dept=3").assert_refused(2, "unknown model option 'dept'; did you mean 'depth'")
    command(*show, "depth").assert_refused(2, "'depth' is not of the form name=value")
    command(*show, "heads=7").assert_refused(2, "heads")
