"""Weights of one size in a network of another: classes, frames and pictures may differ, and the report says how."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from fewframes.architectures import build_from_config
from fewframes.weights.convert import convert
from fewframes.weights.layouts import LAYOUTS
from fewframes.weights.loading import LoadReport, load_weights
from tests.helpers.tiny_models import tiny_card, tiny_names
from tests.weights.test_convert import WRITTEN, checkpoint_of


def filled(name: str, source: Path, **changes: object) -> tuple[nn.Module, LoadReport]:
    model = build_from_config(tiny_card(name, **changes).config, torch.Generator().manual_seed(29))
    return model.eval(), load_weights(model, source)


def assert_used(model: nn.Module, theirs: nn.Module, report: LoadReport) -> None:
    """All but new and resized tensors are the file's, and the network runs."""
    changed = {*report.newly_initialised, *(each.partition(":")[0] for each in report.resized)}
    state = theirs.state_dict()
    for name, value in model.state_dict().items():
        assert name in changed or torch.equal(value, state[name]), name
    config = model.config
    with torch.no_grad():
        logits = model(torch.rand(1, config.num_frames, 3, *config.image_size))
    assert logits.shape == (1, config.num_classes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", tiny_names())
def test_other_classes(name: str, tmp_path: Path) -> None:
    own, theirs = checkpoint_of(name, tmp_path, num_classes=11)
    model, report = filled(name, own, num_classes=5)
    assert report.newly_initialised == tuple(model.head_names)
    assert len(report.unused) == len(model.head_names)
    assert not report.resized
    assert_used(model, theirs, report)


def tables_of(name: str, **changes: object) -> dict[str, tuple[int, int, int]]:
    with torch.device("meta"):
        model = build_from_config(tiny_card(name, **changes).config)
    return {each.name: each.grid for each in getattr(model, "position_tables", tuple)()}


WITH_TABLES = [name for name in tiny_names() if tables_of(name)]


@pytest.mark.parametrize("name", WITH_TABLES)
def test_twice_as_many_frames(name: str, tmp_path: Path) -> None:
    own, theirs = checkpoint_of(name, tmp_path)
    frames = 2 * theirs.config.num_frames
    model, report = filled(name, own, num_frames=frames)
    before, after = tables_of(name), tables_of(name, num_frames=frames)
    over_time = [table for table, grid in before.items() if grid != after[table]]
    assert {each.partition(":")[0] for each in report.resized} == set(over_time)
    assert not report.newly_initialised
    assert_used(model, theirs, report)


@pytest.mark.parametrize("name", WITH_TABLES)
def test_pictures_of_another_size_and_shape(name: str, tmp_path: Path) -> None:
    own, theirs = checkpoint_of(name, tmp_path)
    height, width = theirs.config.image_size
    model, report = filled(name, own, image_size=(2 * height, width))
    before, after = tables_of(name), tables_of(name, image_size=(2 * height, width))
    over_space = [table for table, grid in before.items() if grid != after[table]]
    assert {each.partition(":")[0] for each in report.resized} == set(over_space)
    assert not report.newly_initialised
    assert_used(model, theirs, report)


@pytest.mark.parametrize("layout", WRITTEN)
def test_a_foreign_file_of_other_classes_frames_and_pictures(layout: str, tmp_path: Path) -> None:
    """As they are published: of square pictures, which is what a file without a stated grid is taken for."""
    name = WRITTEN[layout]
    side = tiny_card(name).config.image_size[0]
    own, theirs = checkpoint_of(name, tmp_path, image_size=side)
    convert(own, tmp_path / "theirs.safetensors", to=layout)
    frames, size = 2 * theirs.config.num_frames, (2 * side, side)
    model, report = filled(name, tmp_path / "theirs.safetensors", num_classes=5, num_frames=frames, image_size=size)
    assert report.layout == LAYOUTS[layout].NAME
    assert report.newly_initialised == tuple(model.head_names)
    assert {each.partition(":")[0] for each in report.resized} == set(tables_of(name))
    assert_used(model, theirs, report)
