"""The package root: the names that others build on, found without importing what is not needed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import fewframes

PROMISED = (
    "Classifier",
    "build_model",
    "errors",
    "evaluate",
    "list_models",
    "load_weights",
    "open_video",
    "train",
    "uniform_indices",
)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_promised_names() -> None:
    assert set(PROMISED) <= set(fewframes.__all__)
    assert issubclass(fewframes.errors.UnreadableVideo, fewframes.errors.FewframesError)
    assert fewframes.list_models()[2] == "stam_16"
    assert fewframes.uniform_indices(32, 4) == (4, 12, 20, 28)


def test_the_list_is_sorted_and_complete() -> None:
    assert fewframes.__all__ == sorted(fewframes.__all__)
    assert len(set(fewframes.__all__)) == len(fewframes.__all__)
    assert set(fewframes.__all__) == {*fewframes._HOMES, "errors"}
    assert dir(fewframes) == sorted([*fewframes.__all__, "__version__"])


@pytest.mark.parametrize("name", fewframes.__all__)
def test_every_name_is_what_its_module_calls_so(name: str) -> None:
    value = getattr(fewframes, name)
    if name == "errors":
        assert isinstance(value, ModuleType)
        return
    home = import_module(fewframes._HOMES[name])
    assert value is getattr(home, name)
    assert name in home.__all__
    assert not isinstance(value, ModuleType), "a module of that name would hide it once imported"


def test_no_module_hides_a_public_name() -> None:
    """Python binds a submodule to its package when it is imported, whatever the package called that name."""
    code = "import pkgutil, fewframes; print(*{m.name for m in pkgutil.iter_modules(fewframes.__path__)})"
    modules = set(run(code).stdout.split())
    assert "evaluation" in modules
    assert modules & set(fewframes.__all__) == {"errors"}


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="module 'fewframes' has no attribute 'Clasifier'"):
        _ = fewframes.Clasifier  # type: ignore[attr-defined]


def test_importing_takes_nothing_heavy_along() -> None:
    code = "import fewframes, sys; print(*{'torch', 'numpy', 'av', 'rich', 'tyro', 'matplotlib'} & set(sys.modules))"
    assert run(code).stdout.strip() == ""


def test_the_version_is_the_package_s() -> None:
    from importlib.metadata import version

    assert fewframes.__version__ == version("fewframes")
