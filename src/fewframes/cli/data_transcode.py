"""`fewframes data transcode`: a list of videos comes in, each encoded anew with near keyframes goes out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from fewframes.cli.output import error_line, json_document, line, note_line, parse
from fewframes.errors import UsageError

if TYPE_CHECKING:
    from fewframes.data.transcode import TranscodeResult

__all__ = ["Options", "run"]


@dataclass(frozen=True)
class Options:
    """Encode videos anew: smaller, and with a keyframe every few frames, so that reading a few frames costs little.

    Every frame and its time is kept. Rotation and pixel aspect are applied; sound is left out. The same command goes
    on where it was interrupted and skips what is done. Sources are never changed.

    Example: fewframes data transcode videos/manifest.csv --output small --short-side 256 --gop 16
    """

    data: tyro.conf.Positional[str]
    """A list of videos (.csv, .jsonl, .parquet), or a folder."""
    output: str
    """A new or empty folder for the videos and their list, or one that this command has written."""
    short_side: int | None = 256
    """Pixels of the shorter side, even. Smaller videos are not enlarged. None keeps the size."""
    gop: int = 16
    """Frames from one keyframe to the next."""
    crf: float = 20.0
    """Quality, from 0 (nearly lossless, large) to 51 (worst, small)."""
    codec: Literal["h264"] = "h264"
    """What the videos are encoded with."""
    fps: float | Literal["keep"] = "keep"
    """By default every frame and its time is kept; a number gives so many evenly spaced frames a second."""
    split_column: str = "split"
    """Which column of the list says the split; in the new list it is named split."""
    group_column: str = "group"
    """Which column of the list says the group; in the new list it is named group."""
    workers: int = max(os.cpu_count() or 1, 1)
    """Processes. 0 does everything in one, which a crash of the decoder then ends."""
    timeout: float = 600.0
    """Seconds without progress after which a video is given up."""
    json: bool = False
    """Print the result as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, encode, say what was done. Returns 1 if some videos failed."""
    options = parse(Options, arguments, program)

    from fewframes.data.listing import list_videos
    from fewframes.data.reencode import TranscodeOptions
    from fewframes.data.transcode import transcode

    if options.fps != "keep" and not isinstance(options.fps, float | int):
        raise UsageError(f"fps is {options.fps!r}; expected keep or a number")
    manifest = list_videos(options.data, split_column=options.split_column, group_column=options.group_column)
    chosen = TranscodeOptions(
        short_side=options.short_side,
        gop=options.gop,
        crf=options.crf,
        codec=options.codec,
        fps=None if options.fps == "keep" else float(options.fps),
    )
    result = transcode(
        manifest, Path(options.output), chosen, workers=options.workers, timeout=options.timeout, progress=True
    )
    for note in manifest.notes:
        note_line(f"note: {note}")
    for failure in result.failures:
        error_line(f"{failure.path}: {failure.reason}")
    if options.json:
        json_document(_document(result))
    else:
        line(_summary(result))
    return 1 if result.failures else 0


def _summary(result: TranscodeResult) -> str:
    files = result.num_encoded + result.num_kept
    smaller = f" (before: {result.source_bytes / 1e6:.1f} MB)" if result.source_bytes else ""
    return (
        f"{result.manifest}: {result.num_rows} of {result.num_listed} rows, {files} files of together "
        f"{result.size_bytes / 1e6:.1f} MB{smaller}; {result.num_encoded} encoded now, {result.num_kept} kept, "
        f"{len(result.failures)} failed"
    )


def _document(result: TranscodeResult) -> dict[str, object]:
    return {
        "manifest": str(result.manifest),
        "rows": result.num_rows,
        "listed": result.num_listed,
        "encoded": result.num_encoded,
        "kept": result.num_kept,
        "size_bytes": result.size_bytes,
        "source_bytes": result.source_bytes,
        "failures": [{"path": each.path, "reason": each.reason} for each in result.failures],
    }
