"""Pictures for a page: matplotlib's drawings as SVG that follows the page's colours, and photos.

Draw with :data:`STYLE` and the colours of :data:`SERIES`; :func:`drawing` turns these into the
page's own, which differ in light and dark. Artists whose ``gid`` is ``k0``, ``k1`` ... belong to
that key of the legend, which shows and hides them. Keep text that people chose out of drawings:
captions and tables wrap and escape it.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from lth_core.scope import printable

LONGEST = 2000
"""Characters of text that stand for a picture."""

STYLE = {
    "svg.fonttype": "none",  # text stays text: small files, and searchable
    "text.parse_math": False,  # a dollar sign in a name is one
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a6",
    "axes.labelcolor": "#3c4657",
    "axes.grid": True,
    "grid.color": "#e6e9ef",
    "xtick.color": "#5b6678",
    "ytick.color": "#5b6678",
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}
"""Of all drawings, as settings of matplotlib."""

SERIES = (
    "#0072b2",
    "#c1440e",
    "#00785a",
    "#a8437f",
    "#8a6100",
    "#6a4fb3",
    "#2a7f9e",
    "#6b5344",
)
"""Colours of what is compared, told apart by most colour-blind people; ``--s0`` ... on the page."""

DENSE = "#3c4657"
"""Colour of what all is compared with."""

_THEME = {
    "#8a94a6": "var(--axis)",
    "#3c4657": "var(--text)",
    "#e6e9ef": "var(--grid)",
    "#5b6678": "var(--soft)",
    "#ffffff": "var(--card)",
} | {colour: f"var(--s{place})" for place, colour in enumerate(SERIES)}
_COLOURS = re.compile("|".join(_THEME), re.IGNORECASE)
_ID = re.compile(r' id="([^"]*)"')
_HIDDEN = 'aria-hidden="true"'
_KEY = re.compile(r"k\d+")


@dataclass(frozen=True)
class Drawing:
    """An SVG.

    Attributes:
        svg: Its text, from ``<svg`` on.
        text: What stands for it where it is not seen; empty if it only adorns text beside it.
    """

    svg: str
    text: str

    def html(self, prefix: str) -> Markup:
        """Inline SVG, with ids that begin with ``prefix``."""
        svg = _ID.sub(lambda found: self._id(found[1], prefix), self.svg)
        svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)
        label = f'role="img" aria-label="{escape(printable(self.text, LONGEST))}"'
        return Markup(svg.replace("<svg ", f"<svg {label if self.text else _HIDDEN} ", 1))

    def _id(self, name: str, prefix: str) -> str:
        if _KEY.fullmatch(name):
            return f' class="{name}"'
        # matplotlib names every group; only what is referred to needs its name.
        return f' id="{prefix}{name}"' if f"#{name}" in self.svg else ""


@dataclass(frozen=True)
class Photo:
    """A picture made of pixels.

    Attributes:
        data: The file's bytes.
        kind: Its media type: ``image/png``, ``image/jpeg``.
        text: What stands for it where it is not seen.
    """

    data: bytes
    kind: str
    text: str

    def html(self, prefix: str) -> Markup:
        """An image that brings its data along."""
        del prefix  # it has no ids
        url = f"data:{self.kind};base64,{base64.b64encode(self.data).decode()}"
        return Markup('<img src="{}" alt="{}">').format(url, printable(self.text, LONGEST))


def drawing(
    paint: Callable[[Figure], None], text: str, width: float = 3.7, height: float = 2.7
) -> Drawing:
    """Draws a figure, in the page's colours.

    Args:
        paint: Draws on the empty figure.
        text: What it shows, for those who do not see it.
        width: In inches.
        height: In inches.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": "lth"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>|\s*<style .*?</style>", "", svg, flags=re.DOTALL)
    svg = _COLOURS.sub(lambda found: _THEME[found[0].lower()], svg)
    # matplotlib gives sizes in points; on the page the figure's place decides.
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return Drawing("\n".join(line.strip() for line in svg.splitlines()), text)
