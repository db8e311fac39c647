"""`fewframes models convert`: weights of one layout come in, the same network in another layout goes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from fewframes.cli.output import json_document, line, parse, show_facts

__all__ = ["Options", "run"]


@dataclass(frozen=True)
class Options:
    """Convert weights between layouts; every tensor is compared before the result is kept.

    A foreign file or Hugging Face folder becomes one of our checkpoint folders, which predict, evaluate and train
    take; a checkpoint folder becomes a foreign file with --to.
    """

    source: tyro.conf.Positional[Path]
    """A weights file, a Hugging Face folder, or one of our checkpoint folders."""
    destination: tyro.conf.Positional[Path]
    """A checkpoint folder; with --to, a .safetensors or .pth file, or a folder."""
    to: str = "fewframes"
    """The layout to write: fewframes, or a name such as stam, vivit_hf or timesformer_official."""
    model: str = ""
    """A catalogue name, if the file does not say enough of itself."""
    options: tuple[str, ...] = ()
    """With --model: changes to its shape, such as num_classes=5."""
    labels: str = ""
    """Class names in label order: an official list such as kinetics400, or a text file with one name a line."""
    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, convert, print."""
    options = parse(Options, arguments, program)

    from fewframes.catalog import parse_options
    from fewframes.errors import UsageError
    from fewframes.weights.convert import convert

    if options.options and not options.model:
        raise UsageError("--options changes the shape of --model; name the model too")
    result = convert(
        options.source,
        options.destination,
        to=options.to,
        model=options.model,
        options=parse_options(options.model, options.options) if options.options else None,
        labels=_labels(options.labels),
    )
    if options.json:
        json_document(dataclasses.asdict(result))
        return 0
    facts = dataclasses.asdict(result)
    notes = facts.pop("notes")
    show_facts(
        {name.replace("_", " "): f"{value:,}" if isinstance(value, int) else value for name, value in facts.items()}
    )
    for note in notes:
        line(f"note: {note}")
    return 0


def _labels(source: str) -> tuple[str, ...]:
    if not source:
        return ()

    from fewframes.classes import label_lists, official_labels
    from fewframes.errors import UsageError

    if source in label_lists():
        return official_labels(source)
    path = Path(source)
    if not path.is_file():
        raise UsageError(
            f"--labels {source} is neither an official list ({', '.join(label_lists())}) "
            "nor a file with one name a line"
        )
    return tuple(each for each in path.read_text(encoding="utf-8").splitlines() if each.strip())
