"""Writes docs/models.md: every model with its size and cost as counted, and what was published of it.

    python benchmarks/model_table.py            writes the page's tables
    python benchmarks/model_table.py --check    exit status 1 if they are not those of the catalogue

The figures are the catalogue's; tests/test_every_model.py counts each network and compares.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from fewframes.architectures import ARCHITECTURES
from fewframes.cards.card import ModelCard, Published, QuotedCard
from fewframes.catalog import CATALOG, QUOTED
from fewframes.report.serial import write_atomically
from fewframes.weights.layouts import LAYOUTS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    written = with_tables(page)
    if not options.check:
        write_atomically(PAGE, written)
    elif written != page:
        sys.exit(f"{PAGE} is not what the catalogue says; run python benchmarks/model_table.py")


def with_tables(page: str) -> str:
    """The page with what stands between its marks replaced by what the code says."""
    for mark, lines in (("tables", tables()), ("layouts", layouts())):
        before, found, rest = page.partition(f"<!-- {mark} -->")
        _, closed, after = rest.partition(f"<!-- /{mark} -->")
        if not (found and closed):
            sys.exit(f"{PAGE} lacks the marks <!-- {mark} --> and <!-- /{mark} -->; put them where the table belongs")
        page = f"{before}{found}\n\n{chr(10).join(lines)}\n{closed}{after}"
    return page


def layouts() -> list[str]:
    """Every foreign layout, whether it can be written too, and the architectures that it fills."""
    networks = {}
    for name, each in ARCHITECTURES.items():
        with torch.device("meta"):
            networks[name] = each.build(each.config(), None)
    lines = ["| files of | fill | name for `--to` |", "|---|---|---|"]
    for name, layout in LAYOUTS.items():
        filled = ", ".join(architecture for architecture, network in networks.items() if layout.fits(network))
        lines.append(f"| {layout.NAME} | {filled} | {name if hasattr(layout, 'export') else 'read only'} |")
    return [*lines, ""]


def tables() -> list[str]:
    lines = []
    families = list(dict.fromkeys(card.family for card in CATALOG.values()))
    for family in families:
        lines += [
            f"### {family}",
            "",
            "| model | frames | size | parameters | GMACs | without attention products | weights | published |",
            "|---|---|---|--:|--:|--:|---|---|",
            *(row(card) for card in CATALOG.values() if card.family == family),
            "",
        ]
    lines += [
        "### Quoted only",
        "",
        "| system | parameters | GMACs | published | source | why it cannot be built |",
        "|---|--:|--:|---|---|---|",
        *(quoted_row(card) for card in QUOTED.values()),
        "",
    ]
    return lines


def row(card: ModelCard) -> str:
    config = card.config
    cells = [
        card.name,
        frames(card),
        f"{config.image_size[0]}x{config.image_size[1]}",
        f"{card.num_parameters:,}",
        f"{card.gmacs:,.2f}",
        f"{card.gmacs_without_attention_products:,.2f}",
        card.weights_licence or "none",
        "; ".join(map(published, card.published)),
    ]
    return f"| {' | '.join(cells)} |"


def frames(card: ModelCard) -> str:
    sampling = card.sampling
    stride = getattr(sampling, "stride", None)
    if stride is None:
        return f"{sampling.num_frames} {sampling.rule.replace('_', ' ')}"
    rate = f" at {sampling.stride_fps:g}/s" if sampling.stride_fps else ""
    return f"{sampling.num_frames} x {stride:g}{rate}"


def published(each: Published) -> str:
    views = f" ({each.views})" if each.views else ""
    return f"{each.percent:g} {each.dataset} {each.metric}{views}"


def quoted_row(card: QuotedCard) -> str:
    cells = [
        card.name,
        f"{card.num_parameters / 1e6:.1f} M" if card.num_parameters else "",
        f"{card.gmacs:g}" if card.gmacs else "",
        "; ".join(map(published, card.published)),
        card.source,
        card.reason,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
