"""What the verbs print: texts, tables and records come in; standard output and standard error get them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

__all__ = ["error_line", "json_document", "line", "note_line", "parse", "show", "show_facts"]

T = TypeVar("T")

_PIPE_WIDTH = 240


def line(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note_line(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def error_line(text: str) -> None:
    """The one line that says why a command failed, on standard error."""
    note_line(f"fewframes: error: {' '.join(text.split())}")


def json_document(value: object, *, indent: int | None = 1) -> None:
    """Plain values as JSON on standard output; bytes of file names that are no text are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    line(text if not _has_surrogates(text) else json.dumps(value, indent=indent, allow_nan=False))


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def show(renderable: object) -> None:
    """A rich table or text on standard output; wide where no terminal limits it, so that paths stay whole."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    console.print(renderable)


def show_facts(facts: Mapping[str, str]) -> None:
    """Names and what is known of each, one a line, on standard output."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in facts.items():
        table.add_row(name, text)
    show(table)


def parse(kind: type[T], arguments: Sequence[str], program: str, *, default: T | None = None) -> T:
    """Read a verb's options into its frozen dataclass; prints help or the mistake and exits where it must."""
    import tyro

    if default is None:
        return tyro.cli(kind, args=arguments, prog=program)
    return tyro.cli(kind, args=arguments, prog=program, default=default)
