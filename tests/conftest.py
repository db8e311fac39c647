"""Where tests find real videos and golden numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Times are never tested: a busy machine must not fail a property.
settings.register_profile("fewframes", deadline=None)
settings.load_profile("fewframes")

pytest_plugins = ("tests.helpers.tiny", "tests.helpers.command")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real videos, kept beside the repository; tests that need them skip where there are none."""
    folder = Path(os.environ.get("FEWFRAMES_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real videos at {folder}; set FEWFRAMES_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Numbers that reference implementations gave."""
    return ROOT / "tests" / "golden"
