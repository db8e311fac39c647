"""`fewframes data import`: a data set's published lists come in, one list that every command reads goes out."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints

import tyro

from fewframes.cli.output import error_line, json_document, line, note_line, show_facts
from fewframes.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from fewframes.data.manifest import Manifest

__all__ = ["FORMATS", "run"]

T = TypeVar("T")

_NAMED_FILES = 10

# format -> what it is. Module data/importers/NAME.py has a function read_NAME whose one parameter is its options.
FORMATS = {
    "kinetics": "Kinetics-400, 600 and 700",
    "ucf101": "UCF101 and its three splits",
    "hmdb51": "HMDB51 and its three splits",
    "ssv2": "Something-Something v2",
    "charades": "Charades: several actions in a video, or one row for each",
    "epic": "EPIC-KITCHENS-100: verbs and nouns with start and end",
    "moments": "Moments in Time",
    "diving48": "Diving48, the corrected labels V2",
    "folder": "a folder of class folders, matched to official class names",
    "frame-lists": "path label lines of SlowFast, VideoMAE, TimeSformer",
    "mmaction": "lists of MMAction2: videos, or folders of frames",
    "huggingface": "VideoFolder of Hugging Face datasets",
    "webdataset": "tar shards of WebDataset, left packed",
}


@dataclass(frozen=True)
class _Request(Generic[T]):
    """An importer's options, and what is the same for all."""

    data_set: tyro.conf.OmitArgPrefixes[tyro.conf.PositionalRequiredArgs[T]]
    """Where it is, and how to read it."""
    output: Path = Path("manifest.csv")
    """The list to write: a .csv, .jsonl or .parquet file."""
    overwrite: bool = False
    """Replace the output if it exists."""
    require_files: bool = False
    """Exit with status 1 if listed files do not exist. By default a note says so: lists often come before downloads."""
    json: bool = False
    """Print the result as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, read the data set, write the list, say what is in it. Returns 1 if files have to exist and do not."""
    if not arguments or arguments[0] in ("-h", "--help"):
        line(_overview(program))
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name not in FORMATS:
        raise UnknownName("format of data sets", name, FORMATS)
    read, kind = _importer(name)
    request: _Request[Any] = tyro.cli(
        _Request[kind],  # type: ignore[valid-type]  # known only now
        args=rest,
        prog=f"{program} {name}",
        description=inspect.cleandoc(kind.__doc__ or ""),
    )
    if request.output.exists() and not request.overwrite:
        raise UsageError(f"{request.output} exists; choose another --output, or add --overwrite")

    from fewframes.data.manifest_io import write_manifest

    manifest = read(request.data_set)
    written = write_manifest(manifest, request.output)
    missing = _missing(manifest)
    _print(manifest, written, missing, as_json=request.json)
    if missing and request.require_files:
        for path in missing[:_NAMED_FILES]:
            note_line(f"missing: {path}")
        if len(missing) > _NAMED_FILES:
            note_line(f"and {len(missing) - _NAMED_FILES:,} more; --json names all")
        error_line(f"{len(missing):,} listed files do not exist, the first is {missing[0]}")
        return 1
    return 0


def _importer(name: str) -> tuple[Callable[[Any], Manifest], type]:
    """The function that reads a format, and the kind of its options."""
    module = name.replace("-", "_")
    read: Callable[[Any], Manifest] = getattr(import_module(f"fewframes.data.importers.{module}"), f"read_{module}")
    return read, get_type_hints(read)["options"]


def _missing(manifest: Manifest) -> list[str]:
    """The listed files that do not exist, each once; addresses are not looked up."""
    listed = dict.fromkeys(video.path for video in manifest.videos if isinstance(video.path, Path))
    return [str(path) for path in listed if not path.exists()]


def _print(manifest: Manifest, written: Path, missing: Sequence[str], *, as_json: bool) -> None:
    from fewframes.data.manifest_io import classes_file_of

    splits = Counter(video.split or "no split" for video in manifest.videos)
    files = len({str(video.path) for video in manifest.videos})
    unlabelled = sum(not video.labels for video in manifest.videos)
    classes_file = None if manifest.classes is None else str(classes_file_of(written))
    if as_json:
        json_document(
            {
                "manifest": str(written),
                "classes_file": classes_file,
                "classes": len(manifest.labels),
                "rows": len(manifest.videos),
                "files": files,
                "splits": dict(splits),
                "unlabelled": unlabelled,
                "missing": list(missing),
                "notes": list(manifest.notes),
            }
        )
        return
    facts = {
        "list": str(written),
        "rows": f"{len(manifest.videos):,} of {files:,} files",
        "splits": ", ".join(f"{split} {count:,}" for split, count in splits.items()),
        "classes": f"{len(manifest.labels):,}" + (f", in {classes_file}" if classes_file else ""),
        "without a label": f"{unlabelled:,}",
        "missing files": f"{len(missing):,}",
    }
    show_facts(facts)
    for note in manifest.notes:
        note_line(f"note: {note}")


def _overview(program: str) -> str:
    width = max(map(len, FORMATS)) + 2
    return "\n".join(
        [
            "Write the list of a published data set in the form that every command reads; no video is opened.",
            "",
            f"usage: {program} FORMAT ... --output manifest.csv        {program} FORMAT --help",
            "",
            *(f"  {name:<{width}}{what}" for name, what in FORMATS.items()),
        ]
    )
