"""`fewframes data pack`: a list of videos comes in, the frames that models look at go out, in tar shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fewframes.cli.decoding import DecodeFlags
from fewframes.cli.output import error_line, json_document, line, note_line, parse
from fewframes.records import part_text

if TYPE_CHECKING:
    from fewframes.data.pack import PackResult

__all__ = ["Options", "run"]


@dataclass(frozen=True)
class Options:
    """Decode each video once and keep the frames that evaluation looks at, as JPEG images in tar files.

    The new list is evaluated and trained on like any other. The same command goes on where it was interrupted.

    Example: fewframes data pack videos/manifest.csv --output packed --frames 16
    """

    data: tyro.conf.Positional[str]
    """A list of videos (.csv, .jsonl, .parquet), or a folder."""
    output: str
    """A new or empty folder for the shards and their list, or one where this command was interrupted."""
    frames: int = 16
    """Frames of each row: the centres of equal segments of its part. Short videos repeat."""
    short_side: int | None = 256
    """Pixels of the shorter side. Smaller videos are not enlarged. None keeps the size."""
    quality: int = 95
    """Of the JPEG images, 1 to 100."""
    subsampling: Literal["4:4:4", "4:2:0"] = "4:4:4"
    """Colour of the JPEG images: of every pixel, or of every fourth, which is smaller and less exact."""
    shard_size_mb: float = 256.0
    """Size of a tar file, 1 MB being 1024 x 1024 bytes; it is closed before the clip that would make it larger."""
    split_column: str = "split"
    """Which column of the list says the split; in the new list it is named split."""
    group_column: str = "group"
    """Which column of the list says the group; in the new list it is named group."""
    workers: int = max(os.cpu_count() or 1, 1)
    """Processes. 0 does everything in one, which a crash of the decoder then ends."""
    timeout: float = 600.0
    """Seconds after which a row is given up."""
    decode: Annotated[DecodeFlags, tyro.conf.arg(name="")] = field(default_factory=DecodeFlags)
    json: bool = False
    """Print the result as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, pack, say what was done. Returns 1 if some rows failed."""
    options = parse(Options, arguments, program)

    from fewframes.data.listing import list_videos
    from fewframes.data.pack import pack
    from fewframes.data.pack_clip import PackOptions

    manifest = list_videos(options.data, split_column=options.split_column, group_column=options.group_column)
    chosen = PackOptions(
        frames=options.frames,
        short_side=options.short_side,
        quality=options.quality,
        subsampling=options.subsampling,
        shard_bytes=int(options.shard_size_mb * 1024 * 1024),
        decode=options.decode.options(),
    )
    result = pack(
        manifest, Path(options.output), chosen, workers=options.workers, timeout=options.timeout, progress=True
    )
    for note in manifest.notes:
        note_line(f"note: {note}")
    for failure in result.failures:
        part = part_text(failure.start, failure.end)
        error_line(f"{failure.path}{f' ({part})' if part else ''}: {failure.reason}")
    if options.json:
        json_document(_document(result))
    else:
        line(_summary(result))
    return 1 if result.failures else 0


def _summary(result: PackResult) -> str:
    clips = f"{result.size_bytes / max(1, result.num_packed) / 1024:.0f} KiB a clip"
    return (
        f"{result.manifest}: {result.num_packed} of {result.num_listed} rows in {result.num_shards} shards of together "
        f"{result.size_bytes / 1e6:.1f} MB, {clips}; {result.num_packed - result.num_kept} packed now, "
        f"{result.num_kept} kept, {len(result.failures)} failed"
    )


def _document(result: PackResult) -> dict[str, object]:
    return {
        "manifest": str(result.manifest),
        "listed": result.num_listed,
        "packed": result.num_packed,
        "kept": result.num_kept,
        "shards": result.num_shards,
        "size_bytes": result.size_bytes,
        "failures": [
            {"path": each.path, "start": each.start, "end": each.end, "reason": each.reason} for each in result.failures
        ],
    }
