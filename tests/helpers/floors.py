"""The house's floors: Python sources come in, every import that goes up, sideways or in a circle goes out.

A module imports only from lower floors; modules on one floor do not import each other, except inside one folder, and
there never in a circle. Imports inside functions and under TYPE_CHECKING count like all others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE, RELATIVE = "fewframes", "."
ROOT = Path(__file__).resolve().parents[2] / "src" / PACKAGE

FLOORS: Mapping[str, float] = {
    "errors": 0,
    "records": 1,
    "classes": 1,
    "progress": 1,
    "scan_records": 1.5,  # made of records, and shared by data and report
    "video": 2,
    "models": 2,
    "metrics": 2,
    "multilabel": 2,
    "regression": 2,
    "verb_noun": 2,
    "architectures": 2.5,  # joins the networks; the cards name their configs
    "cards": 2.7,
    "catalog": 3,
    "data": 3,
    "report": 3,
    "weights": 4,
    "engines": 4,
    "predict": 5,
    "stream": 5,
    "explain": 5,
    "benchmark": 5,
    "export": 5,
    # Half a floor up: an evaluation is many predictions, and the one way through forbids it a path of its own.
    "evaluation": 5.5,
    "training": 6,
    "recipes": 7,
    "reproduce": 7,
    # Half a floor up: the demonstration is one recipe, run from beginning to end.
    "demo": 7.5,
    "cli": 8,
    "__main__": 9,
    "": 9,  # the package root, whose public names are resolved when they are asked for
}


def read_sources(root: Path = ROOT) -> dict[str, str]:
    """Each module's dotted name inside the package ("" for the root, "video" for video/__init__.py) and its source."""
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text(encoding="utf-8")
    return sources


def wrong_imports(sources: Mapping[str, str]) -> list[str]:
    """One line for each import that the house forbids, and for each circle."""
    problems: list[str] = []
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        targets = set()
        for line, target in _imports(module, source, sources):
            place = f"{module or PACKAGE}:{line}"
            if target == RELATIVE:
                problems.append(f"{place}: a relative import; write the whole name, so that its floor is seen")
            elif target == "":
                problems.append(f"{place}: imports the package root; import the module that defines the name")
            elif _folder(module) not in FLOORS or _folder(target) not in FLOORS:
                problems.append(f"{place}: {target} or the module itself has no floor")
            elif _folder(module) != _folder(target) and FLOORS[_folder(target)] >= FLOORS[_folder(module)]:
                problems.append(f"{place}: imports {target}, which is not on a lower floor")
            targets.add(target)
        graph[module] = targets
    return problems + [f"circle: {' -> '.join(circle)}" for circle in _circles(graph)]


def _folder(module: str) -> str:
    return module.partition(".")[0]


def _imports(module: str, source: str, known: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Line and target of each import from this package; a target is a module where the name is one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == PACKAGE:
                    yield node.lineno, alias.name.removeprefix(PACKAGE).removeprefix(".")
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "") if node.level == 0 else RELATIVE
            if base == RELATIVE:
                yield node.lineno, RELATIVE
            elif base.partition(".")[0] == PACKAGE:
                inside = base.removeprefix(PACKAGE).removeprefix(".")
                for alias in node.names:
                    deeper = f"{inside}.{alias.name}".removeprefix(".")
                    # Only the root may ask itself: for others, `from fewframes import x` runs the root's lazy lookup.
                    yield node.lineno, deeper if deeper in known and (inside or not module) else inside
        elif isinstance(node, ast.Call) and _called_name(node) in ("import_module", "__import__"):
            name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if isinstance(name, str) and name.partition(".")[0] == PACKAGE:
                yield node.lineno, name.removeprefix(PACKAGE).removeprefix(".")


def _called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Each circle once, from its first module in the alphabet."""
    circles: set[tuple[str, ...]] = set()
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> None:
        if module in path:
            circle = path[path.index(module) :]
            start = circle.index(min(circle))
            circles.add((*circle[start:], *circle[:start], min(circle)))
            return
        if module in done:
            return
        for target in sorted(graph.get(module, ())):
            walk(target, [*path, module])
        done.add(module)

    for module in sorted(graph):
        walk(module, [])
    return [list(circle) for circle in sorted(circles)]
