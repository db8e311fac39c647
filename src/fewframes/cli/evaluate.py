"""`fewframes evaluate`: a model and labelled videos come in, accuracy and a report go out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from fewframes.cli.output import json_document, note_line, parse, show

if TYPE_CHECKING:
    from fewframes.records import EvaluationReport
    from fewframes.report.strips import FrameStrip

__all__ = ["Options", "run"]

_PICTURED_MISTAKES = 6


@dataclass(frozen=True)
class Options:
    """Accuracy over every listed video; a video that cannot be read counts as wrong and is named.

    Example: fewframes evaluate runs/demo/stam/best runs/demo/videos --split test --output runs/demo/report
    """

    model: tyro.conf.Positional[str]
    """A checkpoint folder that training wrote, or a catalogue name such as stam_16."""
    data: tyro.conf.Positional[str]
    """A CSV file with path,label[,split], or a folder of class folders."""
    split: str = ""
    """Which split to evaluate. By default all listed videos."""
    split_column: str = "split"
    """Which column of a CSV file says the split."""
    weights: str = ""
    """For a catalogue name: a file, or the catalogue name of published weights. By default the model's own."""
    options: tuple[str, ...] = ()
    """For a catalogue name: changes to its shape, such as num_classes=5."""
    sampling: Literal["uniform", "official"] = "uniform"
    """Which frames: "official" are those of the STAM release, which refuses videos shorter than 10 seconds."""
    output: str = ""
    """Folder for report.html and report.json."""
    workers: int = 2
    """Threads that decode ahead."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda, mps."""
    json: bool = False
    """Print the whole report as JSON instead of a summary."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, evaluate, print, write the report. Returns 1 if some videos failed."""
    options = parse(Options, arguments, program)

    from fewframes.cli.models import load_classifier
    from fewframes.data.manifest import read_manifest
    from fewframes.evaluation import evaluate
    from fewframes.report.serial import to_json
    from fewframes.report.tables import evaluation_summary

    manifest = read_manifest(options.data, split_column=options.split_column).only(options.split or None)
    classifier = load_classifier(options.model, weights=options.weights, options=options.options, device=options.device)
    if options.sampling == "official":
        classifier = classifier.with_official_sampling()
    report = evaluate(classifier, manifest, workers=options.workers, progress=True)
    if options.json:
        json_document(to_json(report))
    else:
        show(evaluation_summary(report))
    for note in manifest.notes:
        note_line(f"note: {note}")
    if options.output:
        page = write_report(report, Path(options.output))
        note_line(f"report: {page}")
    return 1 if report.failures else 0


def write_report(report: EvaluationReport, folder: Path) -> Path:
    """Write report.html, with the frames of the worst mistakes, and report.json. Returns the page."""
    from fewframes.report.pages import evaluation_page
    from fewframes.report.serial import write_atomically, write_json

    write_json(folder / "report.json", report)
    return write_atomically(folder / "report.html", evaluation_page(report, frames=_frames_of_mistakes(report)))


def _frames_of_mistakes(report: EvaluationReport) -> dict[str, FrameStrip]:
    from fewframes.report.strips import FrameStrip
    from fewframes.report.text import worst_mistakes
    from fewframes.video.reader import open_video

    strips = {}
    for mistake in worst_mistakes(report, _PICTURED_MISTAKES):
        with open_video(mistake.path) as reader:
            frames = reader.frames_at(mistake.frame_indices)
        strips[mistake.path] = FrameStrip(frames.pixels, frames.seconds)
    return strips
