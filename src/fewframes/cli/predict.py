"""`fewframes predict`: a model and videos come in, a table or JSON goes out."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fewframes.cli.decoding import DecodeFlags
from fewframes.cli.output import error_line, json_document, parse, show
from fewframes.errors import TooManyBadVideos, UnreadableVideo, UsageError
from fewframes.records import BadVideoPolicy, Failure

if TYPE_CHECKING:
    from fewframes.data.bad_videos import BadVideos
    from fewframes.data.manifest import Manifest
    from fewframes.predict import Classifier
    from fewframes.records import Prediction

__all__ = ["Options", "run"]

_STANDARD_INPUT = "-"
_NAMED = 5


@dataclass(frozen=True)
class Options:
    """Classify videos: files, folders, patterns, addresses, standard input, or the lines of a list.

    Example: fewframes predict runs/demo/stam/best clip.mp4 'holiday/*.mov' --top-k 3
    """

    model: tyro.conf.Positional[str]
    """A checkpoint folder that training wrote, or a catalogue name such as stam_16."""
    videos: tyro.conf.Positional[tuple[str, ...]] = ()
    """Files, folders (of videos, also below, or of one clip's images), patterns, addresses, - for standard input."""
    list: str = ""
    """A list with path,label[,start,end] whose lines are classified too; its labels are not looked at."""
    start: float | None = None
    """Only look from here on, seconds; not for the lines of a list, which say it themselves."""
    end: float | None = None
    """Only look at what is before this, seconds."""
    weights: str = ""
    """For a catalogue name: a file, or the catalogue name of published weights. By default the model's own."""
    options: tuple[str, ...] = ()
    """For a catalogue name: changes to its shape, such as num_classes=5."""
    top_k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 5
    """How many classes to name."""
    attention: bool = False
    """Also say how much the model attended to each frame."""
    on_bad_video: Literal["skip", "error"] = "skip"
    """A video that cannot be read: skip goes on and names it at the end, error stops there."""
    max_bad_fraction: float | None = None
    """Stop if more than this share, rounded up, cannot be read. By default 0.01 with --list, otherwise no limit."""
    decode: Annotated[DecodeFlags, tyro.conf.arg(name="")] = field(default_factory=DecodeFlags)
    """How videos are decoded."""
    device: str = "cpu"
    """Where the network runs: cpu, cuda, mps."""
    json: bool = False
    """Print one JSON document instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, classify, print. Returns 1 if some videos failed."""
    options = parse(Options, arguments, program)
    _check(options)

    from fewframes.cli.models import load_classifier
    from fewframes.data.bad_videos import BadVideos

    manifest = _manifest(options)
    fraction = options.max_bad_fraction
    if fraction is None:
        fraction = 0.01 if options.list else 1.0
    bad = BadVideos(BadVideoPolicy(options.on_bad_video, fraction), manifest)
    classifier = load_classifier(options.model, weights=options.weights, options=options.options, device=options.device)
    predictions: list[Prediction] = []
    stopped = None
    try:
        _classify(classifier, manifest, options, predictions, bad)
    except (TooManyBadVideos, UnreadableVideo) as error:
        stopped = error
    failures = bad.failures
    if isinstance(stopped, UnreadableVideo):
        failures = (Failure(stopped.path, stopped.reason),)
    _print(predictions, failures, options, stopped)
    return 1 if failures else 0


def _check(options: Options) -> None:
    if options.top_k < 1:
        raise UsageError(f"--top-k is {options.top_k}; expected at least 1")
    if not options.videos and not options.list:
        raise UsageError("no videos named; give files, folders, quoted patterns, addresses, - or --list")
    if (options.start or 0.0) < 0 or (options.end is not None and options.end <= (options.start or 0.0)):
        raise UsageError(
            f"--start is {options.start} and --end is {options.end}; expected 0 <= start < end, in seconds"
        )
    if options.list and (options.start is not None or options.end is not None):
        raise UsageError("--start and --end are for videos that are named; the lines of --list say their own parts")
    if options.videos.count(_STANDARD_INPUT) > 1:
        raise UsageError("standard input can be read once; name - once")


def _manifest(options: Options) -> Manifest:
    """All videos that are to be classified: those named, then those of the list."""
    from fewframes.data.manifest import Manifest, Video
    from fewframes.data.manifest_io import read_manifest

    named = tuple(Video(name, (), start=options.start, end=options.end) for name in _expand(options.videos))
    if not options.list:
        return Manifest("the command line", named)
    listed = read_manifest(options.list)
    return replace(listed, videos=named + listed.videos)


def _classify(
    classifier: Classifier, manifest: Manifest, options: Options, predictions: list[Prediction], bad: BadVideos
) -> None:
    """Add what comes out to `predictions` and `bad`."""
    from fewframes.data.reading import shown_name
    from fewframes.progress import track

    videos, decode = manifest.videos, options.decode.options()
    for index, video in enumerate(track(videos, "Classifying", total=len(videos), show=len(videos) > 1)):
        try:
            prediction = classifier.predict(
                video.path,
                top_k=options.top_k,
                attention=options.attention,
                start=video.start,
                end=video.end,
                decode=decode,
            )
        except UnreadableVideo as error:
            bad.add(index, Failure(shown_name(video.path), error.reason, video.start, video.end))
        else:
            predictions.append(prediction)


def _print(
    predictions: Sequence[Prediction],
    failures: Sequence[Failure],
    options: Options,
    stopped: TooManyBadVideos | UnreadableVideo | None,
) -> None:
    from fewframes.report.serial import to_json
    from fewframes.report.tables import attention_table, failure_table, prediction_table
    from fewframes.report.text import place_text

    if options.json:
        json_document(
            {
                "model": options.model,
                "predictions": [to_json(prediction) for prediction in predictions],
                "failures": [to_json(failure) for failure in failures],
                **({} if stopped is None else {"stopped": str(stopped)}),
            }
        )
    elif predictions:
        show(prediction_table(predictions))
        for prediction in predictions if options.attention else ():
            show(attention_table(prediction))
    if len(failures) > _NAMED and not options.json:
        show(failure_table(failures))
    if stopped is not None:
        error_line(str(stopped))
        return
    for failure in failures[:_NAMED]:
        error_line(f"cannot read {place_text(failure)}: {failure.reason}")


def _expand(names: Sequence[str]) -> Iterator[str]:
    """Files and addresses as they are named, the videos in folders but hidden ones, and what patterns match, sorted."""
    from fewframes.data.folders import VIDEO_SUFFIXES, visible_files
    from fewframes.video.reader_images import is_image_folder

    for name in names:
        path = Path(name)
        if name == _STANDARD_INPUT or "://" in name:  # an address may hold what looks like a pattern
            yield name
        elif path.is_dir():
            found = [file for file in visible_files(path) if file.suffix.lower() in VIDEO_SUFFIXES]
            if not found and not is_image_folder(path):
                raise UsageError(f"no videos in the folder {name}; name a file, or a folder that holds some")
            yield from map(str, found or [path])
        elif not path.exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise UsageError(f"nothing matches the pattern {name!r}")
            yield from matches
        else:
            yield name
