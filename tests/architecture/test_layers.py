"""The house stands: imports go down only, files and functions stay small, light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.helpers.floors import FLOORS, read_sources, wrong_imports

SOURCES = read_sources()
# A folder's __init__.py appears under the folder's name.
KNOWN = {"": "", "errors": "", "video": "", "video.reader": "", "models": "", "models.stam": "", "weights.files": ""}


def problems_of(module: str, source: str) -> list[str]:
    return wrong_imports({**KNOWN, module: source})


def test_every_import_goes_down() -> None:
    assert wrong_imports(SOURCES) == []


def test_every_module_has_a_floor() -> None:
    assert {module.partition(".")[0] for module in SOURCES} <= set(FLOORS)


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("errors", "import fewframes.records", "errors:1: imports records, which is not on a lower floor"),
        ("models.vit", "from fewframes.video.reader import x", "models.vit:1: imports video.reader, which is not on a"),
        ("models.vit", "from fewframes.video import reader", "imports video.reader"),
        ("models.vit", "from fewframes.video import nothing", "imports video, which"),
        ("models.vit", "\n\ndef f():\n    import fewframes.catalog", "models.vit:4: imports catalog"),
        ("video.clip", "if TYPE_CHECKING:\n    from fewframes.data.dataset import Clips", "video.clip:2: imports data"),
        ("weights.x", "class A:\n    def f(self):\n        from fewframes.engines import torch", "imports engines"),
        (
            "predict",
            "from importlib import import_module\nimport_module('fewframes.training.loop')",
            "imports training",
        ),
        ("predict", "import importlib\nimportlib.import_module('fewframes.cli')", "imports cli"),
        ("predict", "import fewframes.evaluation", "imports evaluation"),
        ("training.loop", "import fewframes", "imports the package root"),
        ("training.loop", "from fewframes import errors", "imports the package root"),
        ("training.loop", "from fewframes import Classifier", "imports the package root"),
        ("training.loop", "from . import setup", "a relative import"),
        ("training.loop", "from .setup import x", "a relative import"),
        ("training.loop", "from ..video import reader", "a relative import"),
        ("surprise", "import fewframes.errors", "has no floor"),
        ("catalog", "import fewframes.surprise", "has no floor"),
    ],
)
def test_a_wrong_import_is_caught(module: str, source: str, message: str) -> None:
    (problem,) = problems_of(module, source)
    assert message in problem


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("", "from fewframes import errors as errors\nfrom fewframes.models.stam import Stam"),
        ("__main__", "from fewframes.cli import main"),
        ("cli.train", "from fewframes.recipes import small\nfrom fewframes.cli.output import show"),
        ("evaluation", "from fewframes.predict import Classifier"),
        ("weights.loading", "from fewframes.models.stam import Stam\nfrom fewframes.catalog import CATALOG"),
        ("models.stam", "import torch, fewframesque\nfrom fewframes.models import vit\nfrom torch import fewframes"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert problems_of(module, source) == []


def test_a_circle_is_caught() -> None:
    sources = {
        "video.a": "import fewframes.video.b",
        "video.b": "def f():\n    from fewframes.video import c",
        "video.c": "from fewframes.video.a import x",
        "video.d": "import fewframes.video.a",
        "video.e": "import fewframes.video.e",
    }
    assert wrong_imports(sources) == [
        "circle: video.a -> video.b -> video.c -> video.a",
        "circle: video.e -> video.e",
    ]


@pytest.mark.parametrize(
    "module",
    ["fewframes", "fewframes.training.config", "fewframes.errors", "fewframes.records", "fewframes.video.sampling"],
)
def test_light_modules_stay_light(module: str) -> None:
    code = (
        f"import sys, {module}; print([name for name in ('torch', 'av', 'timm', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def too_long(source: str, *, lines: int = 60) -> list[str]:
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > lines]


def too_many_parameters(source: str, *, most: int = 7) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            if len([name for name in given if name not in ("self", "cls")]) > most:
                names.append(node.name)
    return names


def public_names(source: str) -> list[str] | None:
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def _constants_then_classes_then_functions(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("module", SOURCES)
def test_modules_are_small_and_say_what_they_are(module: str) -> None:
    source = SOURCES[module]
    assert len(source.splitlines()) <= 400
    assert too_long(source) == []
    assert too_many_parameters(source) == []
    assert ast.get_docstring(ast.parse(source)), "a module's first line says what comes in and what goes out"
    names = public_names(source)
    if names is not None:
        assert names == sorted(set(names), key=_constants_then_classes_then_functions)


def test_the_measures_measure() -> None:
    body = "    pass\n" * 59
    assert too_long(f"def fits():\n{body}\nasync def long():\n{body}    pass\n") == ["long"]
    assert too_many_parameters("def f(a, b, /, c, *, d, e, f, g): 0\ndef g(a, b, /, c, *, d, e, f, g, h): 0") == ["g"]
    assert public_names("x = 1\n__all__ = ['b', 'a']") == ["b", "a"]
