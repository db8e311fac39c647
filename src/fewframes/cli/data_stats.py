"""`fewframes data stats`: a list or folder of videos comes in; classes, splits, groups and lengths, counted, go out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from fewframes.cli.output import json_document, note_line, parse, show

if TYPE_CHECKING:
    from fewframes.scan_records import ManifestStats

__all__ = ["StatsFlags", "run"]


@dataclass(frozen=True)
class StatsFlags:
    """Count what a list holds: classes, splits, groups, labels, weights, parts. No file is opened.

    Example: fewframes data stats videos/manifest.csv --scan videos-scan/scan.json --output classes.png
    """

    source: tyro.conf.Positional[str]
    """A list (.csv, .jsonl, .parquet), a folder of class folders, or any folder of videos."""
    scan: str = ""
    """The scan.json of this list; it knows the lengths."""
    output: str = ""
    """A chart of the classes: a file that ends in .png or .html."""
    split_column: str = "split"
    """Which column of a list says the split."""
    group_column: str = "group"
    """Which column of a list says the group."""
    json: bool = False
    """Print the result as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, count, print, draw."""
    options = parse(StatsFlags, arguments, program)

    from fewframes.data.listing import list_videos
    from fewframes.data.scan_store import read_scan
    from fewframes.data.stats import count_list
    from fewframes.errors import UsageError
    from fewframes.report.stats_tables import stats_summary

    output = Path(options.output) if options.output else None
    if output is not None and output.suffix.lower() not in (".png", ".html"):
        raise UsageError(f"--output is {output}; expected a file that ends in .png or .html")
    manifest = list_videos(options.source, split_column=options.split_column, group_column=options.group_column)
    stats = count_list(manifest, read_scan(options.scan) if options.scan else None)
    if options.json:
        json_document(dataclasses.asdict(stats))
    else:
        show(stats_summary(stats))
    for note in stats.notes:
        note_line(f"note: {note}")
    if output is not None:
        _write_chart(stats, output)
        note_line(f"chart: {output}")
    return 0


def _write_chart(stats: ManifestStats, path: Path) -> None:
    from fewframes.report.canvas import png_bytes
    from fewframes.report.scan_plots import class_count_bars
    from fewframes.report.scan_text import class_rows
    from fewframes.report.serial import write_atomically
    from fewframes.report.stats_tables import stats_page

    if path.suffix.lower() == ".png":
        write_atomically(path, png_bytes(class_count_bars(*class_rows(stats.class_counts))))
    else:
        write_atomically(path, stats_page(stats))
