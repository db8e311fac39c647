"""`fewframes evaluate`: a model and labelled videos come in, accuracy and a report go out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fewframes.cli.decoding import DecodeFlags
from fewframes.cli.output import json_document, note_line, parse, show
from fewframes.errors import FewframesError, TooManyBadVideos, UnreadableVideo
from fewframes.records import BadVideoPolicy, DecodeOptions, Failure, OnBadVideo

if TYPE_CHECKING:
    from fewframes.data.loader import Shard
    from fewframes.data.manifest import Manifest
    from fewframes.records import EvaluationReport
    from fewframes.report.strips import FrameStrip

__all__ = ["Options", "run"]

_PICTURED_MISTAKES = 6


@dataclass(frozen=True)
class Options:
    """Accuracy over every listed video; a video that cannot be read is named, and never leaves the denominator.

    Example: fewframes evaluate runs/demo/stam/best runs/demo/videos --split test --output runs/demo/report
    In several processes: torchrun --nproc-per-node 8 -m fewframes evaluate ..., with the same report.
    """

    model: tyro.conf.Positional[str]
    """A checkpoint folder that training wrote, or a catalogue name such as stam_16."""
    data: tyro.conf.Positional[str]
    """A list with path,label[,start,end,split,group], or a folder of class folders."""
    split: str = ""
    """Which split to evaluate. By default all listed videos."""
    split_column: str = "split"
    """Which column of the list says the split."""
    group_column: str = "group"
    """Which column of the list says the group."""
    weights: str = ""
    """For a catalogue name: a file, or the catalogue name of published weights. By default the model's own."""
    options: tuple[str, ...] = ()
    """For a catalogue name: changes to its shape, such as num_classes=5."""
    sampling: Literal["uniform", "official"] = "uniform"
    """Which frames: "official" are those of the STAM release, which refuses videos shorter than 10 seconds."""
    on_bad_video: OnBadVideo = "count-as-wrong"
    """A bad video: error stops there; skip names both figures, with and without it, first; neither drops a video."""
    max_bad_fraction: float = 0.01
    """Stop if more than this share of the listed videos, rounded up, cannot be read."""
    decode: Annotated[DecodeFlags, tyro.conf.arg(name="")] = field(default_factory=DecodeFlags)
    """How videos are decoded."""
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

    from fewframes.cli.processes import joined_processes

    with joined_processes() as shard:
        if shard.rank == 0:
            return _evaluate(options, shard)
        try:  # the first process says and writes everything, an error included
            return _evaluate(options, shard)
        except FewframesError as error:
            return error.exit_status


def _evaluate(options: Options, shard: Shard) -> int:
    from fewframes.cli.models import load_classifier
    from fewframes.cli.processes import own_device
    from fewframes.data.manifest_io import read_manifest
    from fewframes.evaluation import evaluate

    first = shard.rank == 0
    policy = BadVideoPolicy(options.on_bad_video, options.max_bad_fraction)
    manifest = read_manifest(options.data, split_column=options.split_column, group_column=options.group_column)
    manifest = manifest.only(options.split or None)
    device = own_device(options.device)
    classifier = load_classifier(options.model, weights=options.weights, options=options.options, device=device)
    if options.sampling == "official":
        classifier = classifier.with_official_sampling()
    decode = options.decode.options()
    try:
        report = evaluate(
            classifier,
            manifest,
            workers=options.workers,
            progress=first,
            policy=policy,
            decode=decode,
            shard=shard,
        )
    except (TooManyBadVideos, UnreadableVideo) as error:
        if options.output and first:
            page = _write_stopped(error, options)
            note_line(f"stopped, no score; what could not be read: {page}")
        raise
    if first:
        _tell(report, manifest, options, decode)
    return 1 if report.failures else 0


def _tell(report: EvaluationReport, manifest: Manifest, options: Options, decode: DecodeOptions) -> None:
    from fewframes.report.serial import to_json
    from fewframes.report.tables import evaluation_summary

    if options.json:
        json_document(to_json(report))
    else:
        show(evaluation_summary(report))
    for note in manifest.notes:
        note_line(f"note: {note}")
    if options.output:
        page = write_report(report, manifest, Path(options.output), decode)
        note_line(f"report: {page}")


def write_report(report: EvaluationReport, manifest: Manifest, folder: Path, decode: DecodeOptions) -> Path:
    """Write report.html, with the frames of the worst mistakes, and report.json. Returns the page."""
    from fewframes.report.pages import evaluation_page
    from fewframes.report.serial import write_atomically, write_json

    write_json(folder / "report.json", report)
    page = evaluation_page(report, frames=_frames_of_mistakes(report, manifest, decode))
    return write_atomically(folder / "report.html", page)


def _write_stopped(error: TooManyBadVideos | UnreadableVideo, options: Options) -> Path:
    """Write why there is no score where the report would be: an older one there would pass for this one's."""
    from fewframes.report.pages import stopped_page
    from fewframes.report.serial import to_json, write_atomically

    reason, folder = str(error), Path(options.output)
    failures = error.failures if isinstance(error, TooManyBadVideos) else (Failure(error.path, error.reason),)
    document = {
        "stopped": reason,
        "model": options.model,
        "data": options.data,
        "failures": [to_json(failure) for failure in failures],
    }
    write_atomically(folder / "report.json", json.dumps(document, indent=1) + "\n")
    page = stopped_page(options.model, options.data, reason=reason, failures=failures)
    return write_atomically(folder / "report.html", page)


def _frames_of_mistakes(report: EvaluationReport, manifest: Manifest, decode: DecodeOptions) -> dict[str, FrameStrip]:
    from fewframes.report.strips import FrameStrip
    from fewframes.report.text import place_text, worst_mistakes
    from fewframes.video.reader import open_video

    # Rows name an address without its secrets; only the list can open it.
    sources = {id(row): video.path for row, video in zip(report.videos, manifest.videos, strict=True)}
    strips = {}
    for mistake in worst_mistakes(report, _PICTURED_MISTAKES):
        with open_video(sources[id(mistake)], decode=decode) as reader:
            frames = reader.frames_at(mistake.frame_indices)
        strips[place_text(mistake)] = FrameStrip(frames.pixels, frames.seconds)
    return strips
