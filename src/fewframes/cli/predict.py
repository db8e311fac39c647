"""`fewframes predict`: a model and video files come in, a table or JSON goes out."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fewframes.cli.output import error_line, json_document, parse, show
from fewframes.errors import FewframesError, UnreadableVideo, UsageError

__all__ = ["Options", "run"]


@dataclass(frozen=True)
class Options:
    """Classify video files.

    Example: fewframes predict runs/demo/stam/best clip.mp4 'holiday/*.mov' --top-k 3
    """

    model: tyro.conf.Positional[str]
    """A checkpoint folder that training wrote, or a catalogue name such as stam_16."""
    videos: tyro.conf.Positional[tuple[str, ...]]
    """Files, folders (searched for videos, also below) or quoted patterns."""
    weights: str = ""
    """For a catalogue name: a file, or the catalogue name of published weights. By default the model's own."""
    options: tuple[str, ...] = ()
    """For a catalogue name: changes to its shape, such as num_classes=5."""
    top_k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 5
    """How many classes to name."""
    attention: bool = False
    """Also say how much the model attended to each frame."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda, mps."""
    json: bool = False
    """Print one JSON document instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, classify, print. Returns 1 if some videos failed."""
    options = parse(Options, arguments, program)
    if options.top_k < 1:
        raise UsageError(f"--top-k is {options.top_k}; expected at least 1")
    if not options.videos:
        raise UsageError("no videos named; give files, folders or quoted patterns")

    from fewframes.cli.models import load_classifier
    from fewframes.progress import track
    from fewframes.records import Failure
    from fewframes.report.serial import to_json
    from fewframes.report.tables import attention_table, failure_table, prediction_table

    paths = list(_expand(options.videos))
    classifier = load_classifier(options.model, weights=options.weights, options=options.options, device=options.device)
    predictions, failures = [], []
    for path in track(paths, "Classifying", total=len(paths), show=len(paths) > 1):
        try:
            predictions.append(classifier.predict(path, top_k=options.top_k, attention=options.attention))
        except UnreadableVideo as error:
            failures.append(Failure(error.path, error.reason))
        except FewframesError as error:
            failures.append(Failure(path, str(error)))
    if options.json:
        json_document(
            {
                "model": options.model,
                "predictions": [to_json(prediction) for prediction in predictions],
                "failures": [{"path": failure.path, "reason": failure.reason} for failure in failures],
            }
        )
    elif predictions:
        show(prediction_table(predictions))
        for prediction in predictions if options.attention else ():
            show(attention_table(prediction))
    if len(failures) > 5 and not options.json:
        show(failure_table(failures))
    for failure in failures[:5]:
        error_line(f"cannot read {failure.path}: {failure.reason}")
    return 1 if failures else 0


def _expand(names: Sequence[str]) -> Iterator[str]:
    """Files and addresses as they are named, the videos in folders but hidden ones, and what patterns match, sorted."""
    from fewframes.data.manifest import VIDEO_SUFFIXES, visible_files

    for name in names:
        path = Path(name)
        if path.is_dir():
            found = [file for file in visible_files(path) if file.suffix.lower() in VIDEO_SUFFIXES]
            if not found:
                raise UsageError(f"no videos in the folder {name}; name a file, or a folder that holds some")
            yield from map(str, found)
        elif not path.exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise UsageError(f"nothing matches the pattern {name!r}")
            yield from matches
        else:
            yield name
