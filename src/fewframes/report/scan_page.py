"""A scan's report comes in; a self-contained HTML page goes out as text. Store it with `write_atomically`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fewframes.records import Failure
from fewframes.report.markup import data_table, details, escape, figure_block, page, paragraph, section
from fewframes.report.scan_plots import class_count_bars, counted_bars, histogram
from fewframes.report.scan_text import (
    bytes_text,
    checks,
    class_rows,
    duration_text,
    file_facts,
    kinds_of_failures,
    label_text,
    scan_headline,
    scan_totals,
    split_text,
    with_short_paths,
)
from fewframes.report.text import number_text, percent, plural
from fewframes.scan_records import FileScan, ScanReport

__all__ = ["scan_page"]

_ROWS = 200  # of a long table; the rest is counted, and is in the JSON
_PATHS = 6
_UNFOLDED_CLASSES = 12


def scan_page(report: ScanReport) -> str:
    """A scan as a page: what can be used, what was looked for, failures, leaks, copies, classes, lengths and sizes."""
    report, folder = with_short_paths(report)
    header = [
        '<header>\n<p class="eyebrow">Data scan</p>',
        f"<h1>{escape(report.source)}</h1>",
        f'<p class="big">{escape(_share(report))}</p>',
        paragraph(scan_headline(report), style="lead"),
        paragraph(scan_totals(report), style="note"),
        *(paragraph(note, style="note") for note in report.notes),
        paragraph(f"Paths are those below {folder}." if folder else "", style="note"),
        "</header>",
    ]
    parts = [
        "\n".join(header),
        section("What was looked for", _check_table(report)),
        section("What cannot be used", *_failure_parts(report)),
        section("In several splits", _leak_table(report)),
        section("Different labels for the same content", _conflict_table(report)),
        section("Copies", _duplicate_table(report), _repeated_table(report)),
        section("Parts that end after their file", _cut_table(report)),
        section("Classes", *_class_parts(report)),
        section("The files", *_file_parts(report.files)),
        f"<footer>List {escape(report.list_sha256[:16])}. Copies are told by SHA-256, computed where files have the "
        "same size; what was re-encoded or cut differently is not found so.</footer>",
    ]
    return page(f"Scan of {report.source}: {scan_headline(report)}", parts)


def _share(report: ScanReport) -> str:
    """The share that can be used; one that is neither none nor all does not read as one of them."""
    if report.num_usable_rows in (0, report.num_rows):
        return "100 %" if report.num_usable_rows else "0 %"
    return percent(min(max(100 * report.num_usable_rows / report.num_rows, 0.1), 99.9))


def _check_table(report: ScanReport) -> str:
    found = checks(report)
    rows = [
        [check.name, f"{check.found:,}" if check.found else "none", check.meaning if check.found else ""]
        for check in found
    ]
    marked = frozenset(number for number, check in enumerate(found) if check.found)
    return data_table(["check", "found", ""], rows, caption="A dot marks what was found", kinds="tnt", marked=marked)


def _failure_parts(report: ScanReport) -> list[str]:
    if not report.failures:
        return []
    kinds = kinds_of_failures(report)
    table = _failures("Files and parts that cannot be used", report.failures)
    if len(report.failures) <= 10 or len(kinds) == len(report.failures):
        return [table]
    by_kind = data_table(
        ["reason", "found"], [[kind, f"{count:,}"] for kind, count in kinds[:30]], caption="By reason", kinds="tn"
    )
    return [by_kind, details(f"{plural(len(report.failures), 'failure')}, by path", table)]


def _cut_table(report: ScanReport) -> str:
    return _failures("Parts that are cut off where their file ends", report.cut_parts) if report.cut_parts else ""


def _failures(caption: str, failures: Sequence[Failure]) -> str:
    rows = [[failure.path, failure.reason] for failure in failures]
    return _cut(["path", "reason"], rows, caption=caption, kinds="pt")


def _leak_table(report: ScanReport) -> str:
    rows = [
        [
            leak.name,
            {"file": "file", "content": "copies", "group": "group"}[leak.kind],
            ", ".join(leak.splits),
            _paths(leak.paths),
        ]
        for leak in report.leaks
    ]
    caption = "What is trained on should not be tested on"
    return _cut(["what", "kind", "splits", "files"], rows, caption=caption, kinds="pttp")


def _conflict_table(report: ScanReport) -> str:
    rows = [[_paths(each.paths), " / ".join(", ".join(labels) for labels in each.labels)] for each in report.conflicts]
    return _cut(["files", "labels"], rows, caption="One of these labels is wrong", kinds="pt")


def _duplicate_table(report: ScanReport) -> str:
    rows = [[_paths(each.paths), len(each.paths), bytes_text(each.size_bytes)] for each in report.duplicates]
    return _cut(["files", "copies", "size"], rows, caption="Files with the same content", kinds="pnn")


def _repeated_table(report: ScanReport) -> str:
    rows = [[each.path, _seconds(each.start), _seconds(each.end), each.count] for each in report.repeated]
    return _cut(["path", "start", "end", "rows"], rows, caption="Listed more than once", kinds="pnnn")


def _class_parts(report: ScanReport) -> list[str]:
    splits, rows = class_rows(report.class_counts)
    if not any(row.label is not None for row in rows):
        return []
    largest = max(rows, key=lambda row: sum(row.usable))
    smallest = min(rows, key=lambda row: sum(row.usable))
    alt = (
        f"Bar chart of usable videos by class: from {label_text(largest.label)}, {sum(largest.usable)}, "
        f"to {label_text(smallest.label)}, {sum(smallest.usable)}."
    )
    several = len(splits) > 1
    names = [split_text(split) for split in splits] if several else []
    table = data_table(
        ["class", *names, "usable", "listed"],
        [[label_text(row.label), *(row.usable if several else ()), sum(row.usable), sum(row.listed)] for row in rows],
        caption="Usable videos of every class" + (", by split" if several else ""),
        kinds="t" + "n" * (len(names) + 2),
        marked=frozenset(number for number, row in enumerate(rows) if sum(row.usable) == 0),
    )
    if len(rows) > _UNFOLDED_CLASSES:
        table = details(f"All {sum(row.label is not None for row in rows)} classes as a table", table)
    return [figure_block(class_count_bars(splits, rows), alt), table]


def _file_parts(files: Sequence[FileScan]) -> list[str]:
    infos = [file.info for file in files if file.info is not None]
    if not infos:
        return []
    seconds = sorted(info.duration_seconds for info in infos)
    sizes = [f"{info.width} \u00d7 {info.height}" for info in infos]
    rates = [number_text(round(info.fps, 2)) for info in infos]
    codecs = [info.codec for info in infos]
    lengths = [duration_text(each) for each in (seconds[0], seconds[len(seconds) // 2], seconds[-1])]
    figures = [
        figure_block(
            histogram(seconds, title="Length", unit="seconds"),
            f"Histogram of lengths, {lengths[0]} to {lengths[2]}, median {lengths[1]}.",
        ),
        *(
            figure_block(counted_bars(values, title=title), f"{title} by number of files, most frequent first.")
            for title, values in (("Frame size", sizes), ("Frames per second", rates), ("Codec", codecs))
        ),
    ]
    facts = [[name, f"{count:,}"] for name, count in file_facts(files).items()]
    facts += [
        ["shortest, median, longest", ", ".join(lengths)],
        ["frames", f"{sum(info.num_frames for info in infos):,}"],
        ["bytes read to find this out", bytes_text(sum(info.bytes_read for info in infos))],
    ]
    table = data_table(
        ["fact", "files"], facts, caption=f"Of {plural(len(infos), 'file')} that can be opened", kinds="tn"
    )
    return ['<div class="pair">\n' + "\n".join(figures) + "\n</div>", table]


def _cut(columns: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str, kinds: str) -> str:
    """A table that ends after so many rows and says how many there are; nothing at all without rows."""
    if not rows:
        return ""
    rest = len(rows) - _ROWS
    table = data_table(columns, rows[:_ROWS], caption=caption, kinds=kinds)
    return table + (paragraph(f"{rest:,} more are in scan.json.", style="note") if rest > 0 else "")


def _paths(paths: Iterable[str]) -> str:
    names = list(paths)
    shown = ", ".join(names[:_PATHS])
    return f"{shown} and {len(names) - _PATHS:,} more" if len(names) > _PATHS else shown


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.6g} s"
