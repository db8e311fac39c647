"""Figures as PNG and as markup for a page."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from fewframes.report import canvas
from fewframes.report.canvas import FAINT, INK, inline_image, inline_svg, new_figure, png_bytes, style_axes, write_label


def drawing() -> Figure:
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1])
    style_axes(axes, title="Loss of <b> & $x_1$", grid="y")
    write_label(axes, 0.5, 0.5, "漢字 $y$ \x1b --> ]]>")
    return figure


def test_png_has_the_asked_size_and_repeats() -> None:
    content = png_bytes(drawing(), dpi=50)
    assert imread(io.BytesIO(content)).shape == (150, 200, 4)
    assert content == png_bytes(drawing(), dpi=50)


def test_svg_is_well_formed_themed_and_self_contained() -> None:
    markup = inline_svg(drawing(), 'a "quoted" <alt>')
    root = ElementTree.fromstring(markup)
    assert (root.tag, root.get("role"), root.get("aria-label")) == ("svg", "img", 'a "quoted" <alt>')
    texts = ["".join(each.itertext()) for each in root.iter("text")]
    assert "Loss of <b> & $x_1$" in texts
    assert "漢字 $y$ \ufffd --> ]]>" in texts
    assert "var(--ink)" in markup
    assert INK not in markup
    assert FAINT not in markup
    assert "http" not in markup
    assert "<script" not in markup
    assert "<style" not in markup
    assert markup == inline_svg(drawing(), 'a "quoted" <alt>')


def test_ids_are_kept_only_where_used() -> None:
    figure = drawing()
    figure.axes[0].imshow(np.eye(3), interpolation="none")
    markup = inline_svg(figure, "alt")
    ids = re.findall(r'\bid="([^"]+)"', markup)
    assert ids
    assert len(ids) == len(set(ids))
    for each in ids:
        assert f"#{each}" in markup
    assert set(re.findall(r"url\(#([^)]+)\)", markup)) <= set(ids)


def test_drawing_leaves_no_trace() -> None:
    before = dict(matplotlib.rcParams)
    figure = drawing()
    colour = figure.get_facecolor()
    inline_svg(figure, "alt")
    assert dict(matplotlib.rcParams) == before
    assert figure.get_facecolor() == colour


def test_large_figures_become_png(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inline_image(drawing(), "alt").startswith("<svg")
    monkeypatch.setattr(canvas, "_SVG_BYTES_AT_MOST", 100)
    markup = inline_image(drawing(), 'a "b" <c>')
    assert 'alt="a &quot;b&quot; &lt;c&gt;"' in markup
    match = re.fullmatch(r'<img [^>]*src="data:image/png;base64,([^"]+)">', markup)
    assert match
    assert base64.b64decode(match[1]).startswith(b"\x89PNG")
