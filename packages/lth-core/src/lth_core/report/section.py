"""Sections of a page, and the parts they are made of.

A builder is a function ``build(material) -> Iterable[Section]``. It yields nothing if it has
nothing to say, and never fails over what people's runs hold: a run that diverged, a level that is
missing or a damaged file is something to show. All text is plain text, which the page escapes; only
pictures bring markup of their own, and those are made by :mod:`lth_core.report.drawing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from markupsafe import Markup

if TYPE_CHECKING:
    from lth_core.report.material import Material

GOOD, BAD, UNSURE, FAINT = "good", "bad", "unsure", "faint"
"""What a cell of a table may look like besides saying it."""


class Picture(Protocol):
    """What a figure shows, with the text that stands for it where it is not seen."""

    def html(self, prefix: str) -> Markup:
        """Markup of the picture.

        Args:
            prefix: Of the ids in it, so that no two pictures of a page share one.
        """


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Of it.
        code: Whether it is to be shown as it is, line by line.
    """

    text: str
    code: bool = False


@dataclass(frozen=True)
class Facts:
    """A few numbers in large type.

    Attributes:
        facts: Value and what it is, of each.
    """

    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Figure:
    """A picture and its caption.

    Attributes:
        title: The caption.
        picture: From :mod:`lth_core.report.drawing`.
    """

    title: str
    picture: Picture


@dataclass(frozen=True)
class Figures:
    """Figures side by side, as many as fit.

    Attributes:
        figures: In order.
        width: The least width of each, in CSS pixels.
    """

    figures: tuple[Figure, ...]
    width: int = 290


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: In it.
        look: ``good``, ``bad``, ``unsure`` or ``faint``; never the only thing that tells.
        full: The whole of what ``text`` abbreviates, or empty.
    """

    text: str
    look: str = ""
    full: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is its heading.

    Attributes:
        caption: What it shows.
        columns: Their headings.
        rows: One cell for each column.
        numbers: Places of the columns that hold numbers, which are set flush right.
        download: Name of a CSV file with what the table says, to be offered; empty for none.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    numbers: frozenset[int] = frozenset()
    download: str = ""


@dataclass(frozen=True)
class Download:
    """A CSV file to be saved from the page.

    Attributes:
        title: What it is.
        name: Of the file.
        text: In it.
    """

    title: str
    name: str
    text: str


@dataclass(frozen=True)
class Fold:
    """Parts that are shown on demand; in print always.

    Attributes:
        title: What is in it.
        parts: In order.
        open: Whether it is shown from the start.
    """

    title: str
    parts: tuple[Part, ...]
    open: bool = False


@dataclass(frozen=True)
class Group:
    """Parts under a heading of their own.

    Attributes:
        title: The heading.
        parts: In order.
    """

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Key:
    """One of the things that a legend tells apart.

    Attributes:
        name: Class of what is drawn of it, and of the colour: ``k0``, ``k1`` ...
        title: What it is called.
        picture: A sample of it.
    """

    name: str
    title: str
    picture: Picture


@dataclass(frozen=True)
class Legend:
    """What can be shown or hidden in all figures of the page; once a page.

    Attributes:
        keys: In order.
    """

    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Swatches:
    """What colours stand for in the figures that follow.

    Attributes:
        titles: Of each, in the order of :data:`lth_core.report.drawing.SERIES`.
        numbered: Whether figures name them by their numbers too.
    """

    titles: tuple[str, ...]
    numbered: bool = True


Part = Text | Facts | Figure | Figures | Table | Download | Fold | Group | Legend | Swatches


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        id: Where links lead; lower-case letters and hyphens, once a page.
        title: The heading.
        note: What there is to know before looking, in a sentence or three; empty for nothing.
        parts: In order.
    """

    id: str
    title: str
    note: str
    parts: tuple[Part, ...]


Builder = Callable[["Material"], Iterable[Section]]
