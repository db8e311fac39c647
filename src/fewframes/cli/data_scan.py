"""`fewframes data scan`: a list or folder of videos comes in; what is wrong with it, and a clean list, go out."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from fewframes.cli.output import json_document, note_line, parse, show

if TYPE_CHECKING:
    from fewframes.data.manifest import Manifest
    from fewframes.scan_records import ScanReport

__all__ = ["ScanFlags", "run"]

_JOURNAL = "scan.journal.jsonl"
_GIB = 1024**3


@dataclass(frozen=True)
class ScanFlags:
    """Look at every file of a list: which can be read, what they are, copies, leaks between splits, wrong labels.

    With --output the scan can be stopped at any moment: the same command goes on where it was, and looks only at files
    that are new or have changed. Exit status 1 says that files or parts cannot be used; each is named.

    Example: fewframes data scan videos/manifest.csv --decode full --output videos-scan
    """

    source: tyro.conf.Positional[str]
    """A list (.csv, .jsonl, .parquet), a folder of class folders, or any folder of videos."""
    decode: Literal["probe", "full"] = "probe"
    """probe opens each file; full decodes every frame of it, too, which finds damage inside and takes much longer."""
    output: str = ""
    """Folder for scan.html, scan.json, clean.csv (the rows that can be used) and bad.csv (path and reason)."""
    workers: int = max(os.cpu_count() or 1, 1)
    """Processes."""
    timeout: float = 60.0
    """Seconds without progress after which a file counts as failed."""
    memory_gib: float = 4.0
    """Memory in GiB that one file may take (on Linux); 0 for no limit."""
    split_column: str = "split"
    """Which column of a list says the split."""
    group_column: str = "group"
    """Which column of a list says the group: what must not be torn apart between splits."""
    json: bool = False
    """Print the whole report as JSON instead of a summary."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, scan, print, write the report. Returns 1 if some files or parts cannot be used."""
    options = parse(ScanFlags, arguments, program)

    from fewframes.data.listing import list_videos
    from fewframes.data.scan import ScanOptions, scan
    from fewframes.data.scan_store import scan_to_json
    from fewframes.report.stats_tables import scan_summary

    folder = Path(options.output) if options.output else None
    settings = ScanOptions(
        decode=options.decode,
        workers=options.workers,
        timeout=options.timeout,
        memory_bytes=round(options.memory_gib * _GIB) if options.memory_gib else None,
    )
    manifest = list_videos(
        options.source, split_column=options.split_column, group_column=options.group_column, leave_out=folder
    )
    report = scan(manifest, settings, journal=None if folder is None else folder / _JOURNAL, progress=True)
    if options.json:
        json_document(scan_to_json(report))
    else:
        show(scan_summary(report))
    for note in report.notes:
        note_line(f"note: {note}")
    if folder is not None:
        clean = write_scan(manifest, report, folder)
        note_line(f"clean list: {clean}")
        note_line(f"report: {folder / 'scan.html'}")
    return 1 if report.failures else 0


def write_scan(manifest: Manifest, report: ScanReport, folder: Path) -> Path:
    """Write scan.json, scan.html, bad.csv and the clean list. Returns the clean list."""
    import json

    from fewframes.data.scan_findings import usable_rows
    from fewframes.data.scan_store import scan_to_json
    from fewframes.report.scan_page import scan_page
    from fewframes.report.serial import write_atomically

    write_atomically(folder / "scan.json", json.dumps(scan_to_json(report), indent=1) + "\n")
    write_atomically(folder / "scan.html", scan_page(report))
    write_atomically(folder / "bad.csv", _bad_csv(report))
    return _write_clean(usable_rows(manifest, report), folder)


def _write_clean(manifest: Manifest, folder: Path) -> Path:
    """As CSV, or as JSON lines where a label or a path cannot stand in CSV; never both."""
    from fewframes.data.manifest_io import write_manifest
    from fewframes.errors import UsageError

    for name, other in (("clean.csv", "clean.jsonl"), ("clean.jsonl", "clean.csv")):
        try:
            path = write_manifest(manifest, folder / name)
        except UsageError:
            if name == "clean.jsonl":
                raise
        else:
            (folder / other).unlink(missing_ok=True)
            return path
    raise AssertionError("the last form is written, or raises")


def _bad_csv(report: ScanReport) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows([failure.path, failure.reason] for failure in report.failures)
    return text.getvalue().encode("utf-8", "surrogateescape")
