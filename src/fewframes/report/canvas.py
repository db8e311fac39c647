"""Sizes and colours come in, styled matplotlib figures go out; figures come in, PNG bytes and inline markup go out.

No pyplot and no display: a figure belongs to its caller and is freed with it. Inline SVG takes its ink from the page
(CSS variables), so the same figure is readable on light and on dark paper.
"""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fewframes.report.text import clean

__all__ = [
    "ACCENT",
    "FAINT",
    "GRID",
    "INK",
    "PAGE_INCHES",
    "PAPER",
    "RIGHT",
    "SERIES",
    "WRONG",
    "inline_image",
    "inline_svg",
    "new_figure",
    "png_bytes",
    "style_axes",
    "write_label",
]

# These four are exchanged for the page's CSS variables in inline SVG, so nothing else may use their exact values.
INK, FAINT, GRID, PAPER = "#1f2430", "#5d6673", "#dcdfe4", "#fefefd"
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--line)", PAPER: "var(--paper)"}

# Told apart with every common kind of colour blindness and in grey, with 3:1 contrast on white and on black.
SERIES = ("#3f74ad", "#cb7128", "#2f8f7d", "#a8628f", "#8c7a2b", "#78818d")
ACCENT = RIGHT = SERIES[0]
WRONG = SERIES[1]

# As wide as the column of a page.
PAGE_INCHES = 9.1

_SVG_BYTES_AT_MOST = 1_500_000
_ANONYMOUS_FONT = re.compile(r"(font:[^;]*?[\d.]+px)[^;]*")


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure of this size on paper colour, laid out so that labels never overlap its edges."""
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, *, title: str = "", grid: str = "") -> None:
    """Quiet axes: thin lines, faint ticks, a title at the left; `grid` is "x", "y" or "" for none."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom") and grid != {"left": "x", "bottom": "y"}[side])
        spine.set_color(GRID)
    axes.tick_params(colors=FAINT, labelcolor=FAINT, labelsize=9, length=0, pad=5)
    axes.xaxis.label.set(color=FAINT, fontsize=9)
    axes.yaxis.label.set(color=FAINT, fontsize=9)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    if title:
        axes.set_title(clean(title), loc="left", color=INK, fontsize=10.5, pad=10, parse_math=False)


def write_label(axes: Axes, x: float, y: float, text: str, **style: object) -> None:
    """Write a user's text into a plot as it is: no mathematics between dollar signs, nothing that cannot be shown."""
    axes.text(x, y, clean(text), **{"color": FAINT, "fontsize": 9, "parse_math": False, **style})  # type: ignore[arg-type]


def png_bytes(figure: Figure, *, dpi: int = 160) -> bytes:
    """The figure as a PNG file, on paper colour and without a date, so that the same plot gives the same bytes."""
    buffer = io.BytesIO()
    with _quiet():
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def inline_image(figure: Figure, alt: str) -> str:
    """The figure as markup for a page: SVG in the page's own ink, or a PNG where that would be large.

    Args:
        figure: what to show.
        alt: what it shows, for people who do not see it.

    Returns:
        An `<svg role="img">` or `<img src="data:...">` element with an accessible name; nothing to be fetched.
    """
    markup = inline_svg(figure, alt)
    if len(markup) <= _SVG_BYTES_AT_MOST:
        return markup
    width, height = (round(96 * side) for side in figure.get_size_inches())
    encoded = base64.b64encode(png_bytes(figure)).decode("ascii")
    name = html.escape(clean(alt))
    return f'<img class="plot" width="{width}" height="{height}" alt="{name}" src="data:image/png;base64,{encoded}">'


def inline_svg(figure: Figure, alt: str) -> str:
    """The figure as an `<svg>` element that stands inside an HTML page: real text, the page's font and ink."""
    buffer = io.BytesIO()
    background = figure.get_facecolor()
    # The SVG writer knows no other way to be told. Composing pictures would draw them again at 72 dots per inch.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "fewframes", "image.composite_image": False}
    figure.set_facecolor("none")
    try:
        with _quiet(), matplotlib.rc_context(settings):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
    finally:
        figure.set_facecolor(background)
    root = ElementTree.fromstring(buffer.getvalue())
    _plain_tree(root)
    width, height = (72 * side for side in figure.get_size_inches())
    root.attrib.clear()
    root.attrib.update(
        {
            "class": "plot",
            "role": "img",
            "aria-label": clean(alt),
            "viewBox": f"0 0 {width:g} {height:g}",
            "style": f"--width:{width / 12:.2f}rem",
        }
    )
    return ElementTree.tostring(root, encoding="unicode")


def _plain_tree(root: ElementTree.Element) -> None:
    """Reduce matplotlib's SVG to what HTML needs: no namespaces, no metadata, ids only where used, page colours."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style") or _is_empty_group(child):
                parent.remove(child)
    references = {match for each in root.iter() for value in each.attrib.values() for match in _references(value)}
    for element in root.iter():
        element.tag = _local(element.tag)
        element.tail = (element.tail or "").strip() or None
        if element.tag != "text":
            element.text = (element.text or "").strip() or None
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            if name == "id" and value not in references:
                continue
            element.attrib[_local(name)] = _page_style(value) if name == "style" else value


def _page_style(style: str) -> str:
    for colour, variable in _VARIABLES.items():
        style = style.replace(colour, variable)
    return _ANONYMOUS_FONT.sub(r"\1 var(--font)", style)


def _references(value: str) -> list[str]:
    if value.startswith("#"):
        return [value[1:]]
    return re.findall(r"url\(#([^)]+)\)", value)


def _is_empty_group(element: ElementTree.Element) -> bool:
    return _local(element.tag) in ("g", "defs") and len(element) == 0


def _local(name: str) -> str:
    return name.rpartition("}")[2]


@contextmanager
def _quiet() -> Iterator[None]:
    """The bundled font lacks some scripts: a label in them shows boxes in a PNG, which is no reason to warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield
