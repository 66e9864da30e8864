"""What commands print: tables for people, one JSON document for programs.

rich is imported when something is printed, not before.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lth_core.ticket import Ticket

_T = TypeVar("_T")
_UNBOUNDED = 100_000
"""Columns of what is no terminal: a file or a pipe takes lines of any length."""


def console() -> Console:
    """Where tables go. On a terminal they are as wide as it is, elsewhere nothing is folded."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _UNBOUNDED
    return Console(width=wide, highlight=False, markup=False, emoji=False)


def table(columns: Mapping[str, str] | Sequence[str], title: str = "") -> Table:
    """An empty table, whose cells are folded where the terminal is narrow, and never cut.

    Args:
        columns: Headings; with ``"left"`` or ``"right"`` each, or all to the right but the first.
        title: Over it.
    """
    from rich.table import Table
    from rich.text import Text

    if not isinstance(columns, Mapping):
        columns = {name: "right" if place else "left" for place, name in enumerate(columns)}
    made = Table(title=Text(title) if title else None, title_justify="left")
    for name, side in columns.items():
        made.add_column(Text(name), justify=side, overflow="fold")  # type: ignore[arg-type]
    return made


def add_row(table: Table, *cells: object) -> None:
    """Adds cells as they are: what a file calls its weights is no markup of rich's."""
    from rich.text import Text

    from lth_core.scope import printable

    table.add_row(*(Text(printable(str(cell), 1000)) for cell in cells))


def progress(items: Sequence[_T], what: str) -> Iterator[_T]:
    """Goes through ``items`` with a bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    errors = Console(stderr=True)
    yield from track(items, what, console=errors, transient=True, disable=not errors.is_terminal)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows on stderr, if that is a terminal, that something is going on meanwhile."""
    from rich.console import Console
    from rich.text import Text

    errors = Console(stderr=True, markup=False)
    with errors.status(Text(what)) if errors.is_terminal else nullcontext():
        yield


def print_json(facts: object) -> None:
    """Prints ``facts`` as one JSON document."""
    print(json.dumps(plain(facts), indent=1))


def plain(value: Any) -> Any:
    """``value`` as JSON knows it: dataclasses as objects, and null for what is no finite number."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if callable(getattr(value, "item", None)):  # a number of torch's or numpy's
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Sends to stderr whatever is printed meanwhile, also by libraries and child processes."""
    sys.stdout.flush()
    before = sys.stdout
    try:
        kept = os.dup(1)
    except OSError:  # closed
        kept = None
    try:
        sys.stdout = sys.stderr
        if kept is not None:
            os.dup2(2, 1)
        yield
    finally:
        sys.stdout = before
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def ticket_facts(path: str | Path, ticket: Ticket) -> dict[str, Any]:
    """What a ticket file is, as ``--json`` says it."""
    masks = ticket.masks
    return {
        "file": path,
        "digest": masks.digest(),
        "kept": masks.kept,
        "total": masks.total,
        "sparsity": masks.sparsity,
        "weights": len(ticket.weights) if ticket.weights else 0,
        "parent": ticket.meta.get("parent"),
        "meta": ticket.meta,
    }
