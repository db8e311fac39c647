"""Scans, statistics and splits of lists come in; what the terminal shows of them goes out, and a page of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fewframes.report.markup import data_table, escape, figure_block, page, paragraph, section
from fewframes.report.scan_plots import class_count_bars
from fewframes.report.scan_text import (
    ClassRow,
    checks,
    class_rows,
    duration_text,
    label_text,
    scan_headline,
    scan_totals,
    split_text,
    with_short_paths,
)
from fewframes.report.text import clean, number_text, percent, plural
from fewframes.scan_records import ClassCount, ManifestStats, ScanReport

__all__ = ["scan_summary", "split_table", "stats_facts", "stats_page", "stats_summary"]

_CLASSES = 40


def scan_summary(report: ScanReport, *, max_rows: int = 10) -> Group:
    """What a scan found, for the terminal: the headline, what was found, and the first of the failures and leaks."""
    report, _ = with_short_paths(report)
    parts: list[RenderableType] = [
        Text(scan_headline(report), style="bold"),
        Text(clean(f"{report.source}: {scan_totals(report)}"), style="dim"),
    ]
    found = [check for check in checks(report) if check.found]
    if found:
        table = _table(None, ">found", "what", "")
        for check in found:
            table.add_row(f"{check.found:,}", check.name, Text(check.meaning, style="dim"))
        parts.append(table)
    else:
        parts.append(Text("nothing wrong was found"))
    failures = [(each.path, each.reason) for each in report.failures]
    parts += _some("cannot be used", ("file", "reason"), failures, max_rows)
    leaks = [(each.name, each.kind, ", ".join(each.splits), ", ".join(each.paths[:3])) for each in report.leaks]
    parts += _some("in several splits", ("what", "kind", "splits", "files"), leaks, max_rows)
    conflicts = [(", ".join(each.paths[:3]), " / ".join(map(", ".join, each.labels))) for each in report.conflicts]
    parts += _some("different labels for the same content", ("files", "labels"), conflicts, max_rows)
    copies = [(", ".join(each.paths[:3]), str(len(each.paths))) for each in report.duplicates]
    parts += _some("copies", ("files", ">copies"), copies, max_rows)
    return Group(*parts)


def stats_summary(stats: ManifestStats) -> Group:
    """What a list holds, for the terminal: facts, then its classes by split."""
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in stats_facts(stats).items():
        facts.add_row(name, Text(clean(text)))
    splits, rows = class_rows(stats.class_counts)
    ordered = sorted(rows, key=lambda row: -sum(row.usable))
    parts: list[RenderableType] = [facts, Text()]
    if len(ordered) > _CLASSES:
        half = _CLASSES // 2
        parts.append(_class_table(f"the {half} largest of {len(ordered):,} classes", splits, ordered[:half]))
        parts.append(_class_table(f"the {half} smallest", splits, ordered[-half:]))
    else:
        parts.append(_class_table(None, splits, ordered))
    return Group(*parts)


def stats_facts(stats: ManifestStats) -> dict[str, str]:
    """Names and what is to be said of each, in the order in which they are to be shown."""
    remote = f", {stats.num_remote:,} of them remote" if stats.num_remote else ""
    facts = {
        "list": stats.source,
        "rows": f"{stats.num_rows:,} of {plural(stats.num_files, 'file')}{remote}",
        "classes": f"{len(stats.classes):,}",
    }
    if any(split is not None for split, _ in stats.splits):
        facts["splits"] = ", ".join(f"{split_text(split)} {count:,}" for split, count in stats.splits)
    if stats.imbalance is not None:
        where = "" if stats.imbalance_split is None else f" in {stats.imbalance_split}"
        facts["imbalance"] = f"{number_text(stats.imbalance)} (largest class over smallest{where})"
    if stats.empty_classes:
        where = "" if stats.imbalance_split is None else f" in {stats.imbalance_split}"
        some = ", ".join(stats.empty_classes[:10])
        more = f" and {len(stats.empty_classes) - 10:,} more" if len(stats.empty_classes) > 10 else ""
        facts["empty classes"] = f"{len(stats.empty_classes):,}{where}: {some}{more}"
    if [number for number, _ in stats.labels_per_row] != [1]:
        facts["labels"] = ", ".join(f"{plural(rows, 'row')} with {number}" for number, rows in stats.labels_per_row)
    if stats.group_rows is not None:
        without = f"; {plural(stats.rows_without_group, 'row')} in none" if stats.rows_without_group else ""
        each = stats.group_rows
        facts["groups"] = (
            f"{stats.num_groups:,} of {each.minimum:.0f} to {each.maximum:.0f} rows, median {each.median:g}{without}"
        )
    if stats.weights is not None:
        each = stats.weights
        facts["weights"] = f"{each.minimum:g} to {each.maximum:g}, mean {number_text(each.mean)}"
    if stats.num_parts:
        each = stats.parts_per_file
        facts["parts"] = (
            f"{plural(stats.num_parts, 'row')} with a start or an end; up to {each.maximum:.0f} of one file"
        )
    if stats.seconds is not None:
        each = stats.seconds
        facts["length"] = (
            f"{duration_text(each.total)} together; {duration_text(each.minimum)} to {duration_text(each.maximum)}, "
            f"median {duration_text(each.median)}, 90 % within {duration_text(each.p5)} to {duration_text(each.p95)}"
        )
    if stats.unknown_seconds:
        facts["length not known"] = plural(stats.unknown_seconds, "row")
    return facts


def stats_page(stats: ManifestStats) -> str:
    """The same as an HTML page with a chart of the classes."""
    splits, rows = class_rows(stats.class_counts)
    said = [[name, text] for name, text in stats_facts(stats).items() if name != "list"]
    facts = data_table(["fact", "value"], said, caption="The list in short")
    several = len(splits) > 1
    names = [split_text(split) for split in splits] if several else []
    table = data_table(
        ["class", *names, "rows"],
        [[label_text(row.label), *(row.usable if several else ()), sum(row.usable)] for row in rows],
        caption="Every class, in label-index order",
        kinds="t" + "n" * (len(names) + 1),
        marked=frozenset(number for number, row in enumerate(rows) if sum(row.usable) == 0),
    )
    alt = f"Bar chart of rows by class, over {plural(len(stats.classes), 'class')}."
    parts = [
        '<header>\n<p class="eyebrow">Data statistics</p>',
        f"<h1>{escape(stats.source)}</h1>",
        *(paragraph(note, style="note") for note in stats.notes),
        "</header>",
        section("Facts", facts),
        section("Classes", figure_block(class_count_bars(splits, rows), alt), table),
    ]
    return page(f"Statistics of {stats.source}", parts)


def split_table(counts: Sequence[ClassCount], wanted: Mapping[str, float], *, max_rows: int = 40) -> Group:
    """What a split achieved: videos and shares of each class in each split, the furthest from what was wanted on top.

    Args:
        counts: rows by class and split.
        wanted: split -> share, 0 to 1.
        max_rows: how many classes are shown.
    """
    splits, rows = class_rows(counts)
    shares = [wanted.get(str(split), 0.0) for split in splits]

    def miss(row: ClassRow) -> float:
        total = sum(row.listed)
        if not total:
            return 0.0
        return max(abs(count / total - share) for count, share in zip(row.listed, shares, strict=True))

    table = _table(None, "class", ">videos", *(f">{split_text(split)}" for split in splits))
    for row in sorted(rows, key=miss, reverse=True)[:max_rows]:
        total = max(sum(row.listed), 1)
        cells = (f"{count:,} ({percent(100 * count / total)})" for count in row.listed)
        table.add_row(Text(clean(label_text(row.label))), f"{sum(row.listed):,}", *cells)
    table.add_row(Text("wanted", style="dim"), "", *(Text(percent(100 * share), style="dim") for share in shares))
    rest = len(rows) - max_rows
    return (
        Group(table, Text(f"  and {rest:,} classes nearer to what was wanted", style="dim"))
        if rest > 0
        else Group(table)
    )


def _class_table(title: str | None, splits: Sequence[str | None], rows: Sequence[ClassRow]) -> Table:
    several = len(splits) > 1
    table = _table(title, "class", *(f">{split_text(split)}" for split in splits if several), ">rows")
    for row in rows:
        cells = [f"{count:,}" for count in row.usable] if several else []
        table.add_row(Text(clean(label_text(row.label))), *cells, f"{sum(row.usable):,}")
    return table


def _some(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], limit: int) -> list[RenderableType]:
    """A table of the first rows, and how many more there are; nothing without rows."""
    if not rows:
        return []
    table = _table(title, *columns)
    for row in rows[:limit]:
        table.add_row(*(Text(clean(cell), overflow="fold") for cell in row))
    rest = len(rows) - limit
    return [Text(), table, *([Text(f"  and {rest:,} more", style="dim")] if rest > 0 else [])]


def _table(title: str | None, *columns: str) -> Table:
    """An open table; a column name that starts with ">" holds numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if numbers else "left", no_wrap=numbers)
    return table
