"""`fewframes data split`: a list of videos comes in; the same list with splits, or one list a fold, goes out."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from fewframes.cli.output import json_document, line, note_line, parse, show

if TYPE_CHECKING:
    from fewframes.data.manifest import Manifest

__all__ = ["SplitFlags", "run"]


@dataclass(frozen=True)
class SplitFlags:
    """Part a list into train, val and test: the same shares of each class, groups kept whole, the same for a seed.

    With --folds K, K lists are written, OUT.fold1.csv to OUT.foldK.csv: each row is in the split "test" of one of them.

    Example: fewframes data split clips/manifest.csv --val 0.1 --test 0.2 --output clips/split.csv
    """

    source: tyro.conf.Positional[str]
    """A list (.csv, .jsonl, .parquet) or a folder of class folders."""
    output: str
    """The list to write: a file that ends in .csv, .jsonl or .parquet."""
    val: float = 0.0
    """Share of the rows for the split "val"."""
    test: float = 0.0
    """Share of the rows for the split "test"."""
    folds: int = 0
    """Write so many lists for cross-validation instead of one; their test shares follow from the number."""
    group_by: str = "group"
    """What stays together: group (the list's own, else the file), file, folder, or regex:PATTERN, which names the group
    in each path, such as 'regex:_(g\\d+)_'."""
    seed: int = 0
    """Another seed draws another split among equally good ones."""
    replace: bool = False
    """Replace splits that the list has, and an output file that is there."""
    split_column: str = "split"
    """Which column of a list says the split that it has."""
    group_column: str = "group"
    """Which column of a list says the group."""
    json: bool = False
    """Print the result as JSON."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, split, write, say what was achieved."""
    options = parse(SplitFlags, arguments, program)

    from fewframes.data.manifest_io import read_manifest, write_manifest
    from fewframes.data.split import fold_list, split_list
    from fewframes.errors import UsageError

    shares = {name: share for name, share in (("val", options.val), ("test", options.test)) if share != 0}
    if options.folds and options.test:
        raise UsageError("--folds gives every row its turn in the test; leave --test out, or make one split without it")
    if not options.folds and not shares:
        raise UsageError("nothing to split off; give --val, --test or both, such as --val 0.1 --test 0.2, or --folds 5")
    manifest = read_manifest(options.source, split_column=options.split_column, group_column=options.group_column)
    output = Path(options.output)
    paths = [output]
    if options.folds:
        paths = [output.with_name(f"{output.stem}.fold{fold}{output.suffix}") for fold in range(1, options.folds + 1)]
    _check_replaced(manifest, paths, allowed=options.replace)
    if options.folds:
        lists = fold_list(manifest, options.folds, val=options.val, group_by=options.group_by, seed=options.seed)
        shares = {**shares, "test": 1 / options.folds}
    else:
        lists = (split_list(manifest, shares, group_by=options.group_by, seed=options.seed),)
    for path, parted in zip(paths, lists, strict=True):
        write_manifest(parted, path)
    _show_result(lists, paths, shares, as_json=options.json)
    for note in manifest.notes:
        note_line(f"note: {note}")
    if options.group_by == "group" and all(video.group is None for video in manifest.videos):
        note_line(f"note: {manifest.source} names no groups, so each file was drawn by itself")
    return 0


def _check_replaced(manifest: Manifest, paths: Sequence[Path], *, allowed: bool) -> None:
    from fewframes.errors import UsageError

    if allowed:
        return
    splits = sorted({video.split for video in manifest.videos if video.split is not None})
    if splits:
        raise UsageError(f"{manifest.source} has splits ({', '.join(splits)}); add --replace to make others")
    there = [path for path in paths if path.exists()]
    if there:
        raise UsageError(f"{there[0]} is there already; add --replace to write it anew, or choose another --output")


def _show_result(
    lists: Sequence[Manifest], paths: Sequence[Path], shares: Mapping[str, float], *, as_json: bool
) -> None:
    """What was wanted and what was achieved, for each list as a whole and for each class."""
    from fewframes.data.scan_findings import count_classes, ordered_splits
    from fewframes.report.stats_tables import split_table

    wanted = {"train": 1 - sum(shares.values()), **shares}
    documents = []
    for path, parted in zip(paths, lists, strict=True):
        counts = count_classes(parted, [True] * len(parted.videos))
        rows = Counter(video.split for video in parted.videos)
        ordered = {str(split): rows[split] for split in ordered_splits(rows)}
        documents.append(
            {
                "list": str(path),
                "rows": ordered,
                "classes": [dataclasses.asdict(count) for count in counts],
            }
        )
        if not as_json:
            total = sum(ordered.values())
            line(f"{path}: " + ", ".join(f"{name} {n:,} ({100 * n / total:.1f} %)" for name, n in ordered.items()))
            show(split_table(counts, wanted, max_rows=40 if len(lists) == 1 else 5))
    if as_json:
        json_document({"wanted": wanted, "lists": documents})
