"""`fewframes models list`: nothing comes in, the catalogue goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewframes.cli.output import json_document, parse, show

__all__ = ["Options", "run"]


@dataclass(frozen=True)
class Options:
    """The catalogue. MACs are of one clip and include the products inside attention."""

    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: Sequence[str], program: str) -> int:
    """Parse, count, print."""
    options = parse(Options, arguments, program)

    from rich.table import Table

    from fewframes.catalog import CATALOG
    from fewframes.cli.models_show import describe_card

    rows = [describe_card(card) for card in CATALOG.values()]
    if options.json:
        json_document(rows)
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("name", "frames", "size", "parameters", "GMACs", "published top-1", "weights"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("name", "weights") else "right")
    for row in rows:
        table.add_row(
            str(row["name"]),
            str(row["num_frames"]),
            str(row["image_size"]),
            f"{row['num_parameters'] / 1e6:.1f} M",
            f"{row['gmacs']:.1f}",
            ", ".join(f"{value} %" for value in row["published"].values()),
            "published" if row["weights_url"] else "none",
        )
    show(table)
    return 0
