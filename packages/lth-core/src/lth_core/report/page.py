"""Writes sections as one HTML file that needs nothing else."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import jinja2

from lth_core.report.section import Cell, Section, Table
from lth_core.scope import printable

_LONGEST = 2000


def render(title: str, lead: str, sections: Sequence[Section], made: str = "") -> str:
    """The page.

    Args:
        title: Of it.
        lead: What it is about, in a sentence.
        sections: In order.
        made: When and by what.

    Returns:
        HTML, without a reference to anything outside of it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lth_core.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
    )
    numbers = itertools.count()
    environment.globals |= {
        "kind": lambda part: type(part).__name__,
        "next_id": lambda: f"p{next(numbers)}-",
        "cell": lambda value: value if isinstance(value, Cell) else Cell(value),
        "table_csv": table_csv,
    }
    environment.filters["csv_url"] = _csv_url
    return environment.get_template("page.html.j2").render(
        title=title, lead=lead, sections=sections, made=made
    )


def table_csv(table: Table) -> str:
    """What a table says, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([cell if isinstance(cell, str) else cell.full or cell.text for cell in row])
    return out.getvalue()


def _csv_url(text: str) -> str:
    return "data:text/csv;charset=utf-8," + quote(text, errors="replace")


def _shown(value: Any) -> Any:
    """Text without control characters, which no page may hold; markup as it is."""
    if type(value) is str and not value.isprintable():
        return "\n".join(printable(line, _LONGEST) for line in value.split("\n"))
    return value
