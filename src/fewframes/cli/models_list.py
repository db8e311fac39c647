"""`fewframes models list`: filters come in, the part of the catalogue that passes them goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fewframes.cli.output import json_document, line, parse, show

__all__ = ["Options", "run"]

_SHORT = {
    "Kinetics-400": "K400",
    "Kinetics-600": "K600",
    "Something-Something v2": "SSv2",
    "Moments in Time": "MiT",
    "EPIC-KITCHENS-100": "EK100",
}


@dataclass(frozen=True)
class Options:
    """The catalogue. MACs are of one view and include the products inside attention."""

    family: str = ""
    """Only this family, such as stam, vivit, x3d, or quoted."""
    commercial: bool = False
    """Only models whose code and weights may be used in a product."""
    weights: bool = False
    """Only models with published weights."""
    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, select, print."""
    options = parse(Options, arguments, program)

    from rich.table import Table

    from fewframes.catalog import CATALOG, QUOTED
    from fewframes.cli.models_show import describe_card, describe_quoted
    from fewframes.errors import UnknownName

    rows = [describe_card(card) for card in CATALOG.values()]
    rows += [describe_quoted(card) for card in QUOTED.values()]
    families = sorted({str(row["family"]) for row in rows})
    if options.family and options.family not in families:
        raise UnknownName("family", options.family, families)
    chosen = [row for row in rows if _passes(row, options)]
    if options.json:
        json_document(chosen)
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("name", "frames", "size", "parameters", "GMACs", "top-1 %", "views", "weights"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("name", "weights") else "right")
    for row in chosen:
        table.add_row(*_cells(row))
    show(table)
    quoted = sum(row["family"] == "quoted" for row in chosen)
    line(f"{len(chosen) - quoted} models, {quoted} quoted; `fewframes models show NAME` says where each figure is from")
    return 0


def _passes(row: dict[str, Any], options: Options) -> bool:
    return (
        (not options.family or row["family"] == options.family)
        and (not options.commercial or row.get("commercial", False))
        and (not options.weights or bool(row.get("weights_url")))
    )


def _cells(row: dict[str, Any]) -> list[str]:
    first = row["published"][0] if row["published"] else None
    weights = "cannot be built" if row["family"] == "quoted" else row["weights_licence"] or "none"
    return [
        row["name"],
        str(row.get("num_frames", "")),
        str(row.get("image_size", "")),
        f"{row['num_parameters'] / 1e6:.1f} M" if row["num_parameters"] else "",
        f"{row['gmacs']:.1f}" if row["gmacs"] else "",
        f"{first['percent']} {_SHORT.get(first['dataset'], first['dataset'])}" if first else "",
        row["views"] or "",
        weights,
    ]
