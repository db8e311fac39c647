"""Plain values come in, escaped pieces of HTML go out: page frame, sections, tables, figures, the interval bar.

Every function that takes text escapes it; only arguments named `content` or `parts` hold markup.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from fewframes.report.canvas import inline_image
from fewframes.report.text import clean

__all__ = ["data_table", "details", "escape", "figure_block", "interval_bar", "page", "paragraph", "section"]

_STYLE = """
:root { color-scheme: light dark; --paper: #fefefd; --panel: #f4f5f7; --ink: #1f2430; --faint: #5d6673;
  --line: #dcdfe4; --accent: #3f74ad; --font: system-ui, -apple-system, "Segoe UI", "Noto Sans", Roboto, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --panel: #1d2026; --ink: #e9ebef; --faint: #a5aebb;
  --line: #343a43; --accent: #6f9fd2; } }
* { box-sizing: border-box; }
html { font-family: var(--font); line-height: 1.55; background: var(--paper); color: var(--ink);
  -webkit-text-size-adjust: 100%; }
body { margin: 0; }
main { max-width: 58rem; margin: 0 auto; padding: 4.5rem 1.5rem 6rem; }
h1 { font-size: 1.9rem; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; margin: 0 0 .4rem;
  overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; font-weight: 650; letter-spacing: -.01em; margin: 0 0 .4rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 0 0 .6rem; overflow-wrap: anywhere; }
p { margin: .4rem 0 .8rem; max-width: 44rem; overflow-wrap: anywhere; }
.eyebrow { color: var(--faint); font-size: .82rem; letter-spacing: .09em; text-transform: uppercase;
  margin: 0 0 .5rem; }
.note { color: var(--faint); font-size: .93rem; }
.big { font-size: clamp(3.2rem, 11vw, 5.2rem); line-height: 1; font-weight: 680; letter-spacing: -.04em;
  font-variant-numeric: tabular-nums; margin: 2.2rem 0 .7rem; white-space: nowrap; }
.big.small { font-size: 2.9rem; margin: .6rem 0 .6rem; }
.lead { font-size: 1.12rem; margin: .5rem 0 .2rem; }
section { margin-top: 4rem; }
.scroll { overflow-x: auto; margin: 1.1rem 0 0; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 4px; }
figure { margin: 1.4rem 0 0; }
figcaption { color: var(--faint); font-size: .9rem; margin-top: .5rem; max-width: 44rem; overflow-wrap: anywhere; }
svg.plot { display: block; width: var(--width); max-width: 100%; min-width: min(var(--width), 34rem); height: auto; }
svg.plot * { stroke-linejoin: round; stroke-linecap: butt; }
img.plot { display: block; max-width: 100%; height: auto; border-radius: 6px; background: #fefefd; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1.5rem 2.5rem; }
.pair > * { min-width: 0; }
.pair svg.plot { min-width: min(var(--width), 20rem); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); gap: 2rem 3rem;
  margin-top: 2.6rem; }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 2px; background: var(--swatch);
  margin-right: .5em; }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; width: 100%; }
caption { text-align: left; color: var(--faint); font-size: .9rem; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: baseline; padding: .45rem 1.4rem .45rem 0;
  border-bottom: 1px solid var(--line); unicode-bidi: isolate; }
table.words { width: auto; min-width: 50%; }
table.words th, table.words td { padding-right: 2.6rem; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--faint); font-weight: 500; font-size: .86rem; vertical-align: bottom; }
tbody th { font-weight: 500; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.path, th.path { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; font-size: .84rem;
  font-weight: 400; overflow-wrap: anywhere; min-width: 14rem; }
tr.differs th::before { content: "\\2022"; color: var(--accent); margin-right: .4rem; }
details { margin-top: 1.2rem; }
summary { cursor: pointer; color: var(--accent); font-size: .95rem; }
.bar { position: relative; height: .5rem; border-radius: .25rem; background: var(--line); max-width: 32rem;
  margin: .9rem 0 1rem; }
.bar span { position: absolute; top: 0; bottom: 0; border-radius: .25rem; background: var(--swatch, var(--accent));
  opacity: .45; }
.bar i { position: absolute; top: -.2rem; bottom: -.2rem; width: .25rem; margin-left: -.125rem; border-radius: .125rem;
  background: var(--swatch, var(--accent)); }
footer { margin-top: 4.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--faint);
  font-size: .88rem; }
@media (max-width: 40rem) { main { padding: 2.5rem 1.1rem 4rem; } section { margin-top: 3rem; } }
@media print { main { max-width: none; padding: 0; } section, figure { break-inside: avoid; } }
"""

# Even if a text slipped through unescaped, the page could neither run it nor fetch anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def escape(text: object) -> str:
    """Text as HTML: markup, quotes and control characters made harmless."""
    return html.escape(clean(str(text)), quote=True)


def page(title: str, parts: Iterable[str]) -> str:
    """A whole self-contained document: no script, nothing fetched, light and dark by the reader's setting."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A headed part of the page; nothing at all if it would be empty."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def paragraph(text: str, *, style: str = "") -> str:
    """One paragraph for each block of text between empty lines."""
    attribute = f' class="{style}"' if style else ""
    blocks = (block.strip() for block in text.split("\n\n"))
    return "\n".join(f"<p{attribute}>{escape(' '.join(block.split()))}</p>" for block in blocks if block)


def details(summary: str, content: str) -> str:
    """Content that is folded away until asked for."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{content}\n</details>"


def data_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str,
    kinds: str = "",
    marked: frozenset[int] = frozenset(),
) -> str:
    """A table whose first column heads its rows.

    Args:
        columns: heads.
        rows: as many values as there are columns; all are escaped.
        caption: what the table shows.
        kinds: one letter a column: "t" text, "n" numbers, "p" paths; all text if empty.
        marked: numbers of rows that get a dot.
    """
    kinds = kinds or "t" * len(columns)
    classes = [{"n": ' class="number"', "p": ' class="path"', "t": ""}[kind] for kind in kinds]
    head = "".join(
        f'<th scope="col"{each if "number" in each else ""}>{escape(name)}</th>'
        for name, each in zip(columns, classes, strict=True)
    )
    differs = ' class="differs"'
    lines = []
    for number, row in enumerate(rows):
        cells = [f"<td{each}>{escape(value)}</td>" for value, each in zip(row, classes, strict=True)]
        cells[0] = f'<th scope="row"{classes[0]}>{escape(row[0])}</th>'
        lines.append(f"<tr{differs if number in marked else ''}>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    words = "" if "n" in kinds else ' class="words"'
    return _scroll(
        f"<table{words}>\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>",
        caption,
    )


def figure_block(figure: Figure, alt: str, *, caption: str = "") -> str:
    """A plot with its accessible name and, if there is one, its caption."""
    below = f"\n<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>\n{_scroll(inline_image(figure, alt), alt)}{below}\n</figure>"


def interval_bar(value: float, lower: float, upper: float, *, colour: str = "") -> str:
    """A line from 0 to 100 % with the interval as a band and the value as a mark."""
    swatch = f' style="--swatch: {escape(colour)}"' if colour else ""
    alt = escape(f"{value:.1f} % on a scale from 0 to 100 %, interval {lower:.1f} to {upper:.1f}")
    return (
        f'<div class="bar" role="img" aria-label="{alt}"{swatch}>'
        f'<span style="left: {lower:.2f}%; right: {100 - upper:.2f}%"></span>'
        f'<i style="left: {value:.2f}%"></i></div>'
    )


def _scroll(content: str, name: str) -> str:
    """Wide content scrolls by itself instead of the whole page; reachable by keyboard."""
    return f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">{content}</div>'
