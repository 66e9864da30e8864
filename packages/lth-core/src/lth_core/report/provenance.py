"""Where each ticket comes from, and what shows it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePath

from lth_core.imp.directory import TICKET
from lth_core.report.material import FoundTicket, Material
from lth_core.report.section import BAD, FAINT, GOOD, Cell, Fold, Part, Section, Table

_COLUMNS = ("ticket", "level", "sparsity, %", "kept", "mask", "parent", "rewind", "seed", "checked")
_SHOWN = {"level", "nominal_sparsity", "one_shot", "rewind", "seed", "parent", "run"}
_PROVEN = ("seeds", "versions")
_SHORT = 8


def provenance(material: Material) -> Iterator[Section]:
    """A table of tickets for each run."""
    if not material.tickets:
        return
    groups = [
        (name, list(tickets)) for name, tickets in groupby(material.tickets, lambda t: _run(t))
    ]
    yield Section(
        "provenance",
        "Tickets and where they come from",
        "Each file was read whole and its checksum verified. A ticket in the directory of the run "
        "that made it was also checked against that run: its mask is nested in its parent's and is "
        "what the level before led to, and the survivors are bit-equal to the weights they go "
        "back to.",
        tuple(_group(name, tickets, len(groups) == 1) for name, tickets in groups),
    )


def _run(ticket: FoundTicket) -> str:
    """The directory of the run, from the directory asked for."""
    parts = PurePath(ticket.name).parts[:-1]
    while parts and (parts[-1].startswith("level_") or parts[-1] == "one_shot"):
        parts = parts[:-1]
    return "/".join(parts) or "."


def _group(name: str, tickets: list[FoundTicket], open_: bool) -> Fold:
    bad = sum(bool(ticket.problem or ticket.unproven) for ticket in tickets)
    count = f"{len(tickets)} ticket{'s' if len(tickets) > 1 else ''}"
    parts: list[Part] = [
        Table(
            f"Tickets in {name}",
            _COLUMNS,
            tuple(_row(name, ticket) for ticket in tickets),
            frozenset((1, 2, 3, 7)),
            "tickets.csv",
        ),
    ]
    common = tuple(_common(tickets))
    if common:
        parts.append(Table(f"What the tickets in {name} have in common", ("what", "value"), common))
    wrong = f", {bad} with a problem" if bad else ""
    return Fold(f"{name}: {count}{wrong}", tuple(parts), open_ or bool(bad))


def _row(run: str, ticket: FoundTicket) -> tuple[str | Cell, ...]:
    short = ticket.name.removeprefix(f"{run}/").removesuffix(f"/{TICKET}")
    name = Cell(short.removesuffix(".safetensors"), full=ticket.name)
    if ticket.problem:
        return (name, *[""] * 7, Cell(ticket.problem, BAD))
    meta = ticket.meta
    return (
        name,
        _text(meta.get("level")),
        f"{100 * ticket.sparsity:.2f}",
        f"{ticket.kept:,}",
        _digest(ticket.digest),
        _digest(_text(meta.get("parent"))),
        _text(meta.get("rewind")) if ticket.has_weights else "a mask alone",
        _text(meta.get("seed")),
        _checked(ticket),
    )


def _checked(ticket: FoundTicket) -> Cell:
    if ticket.unproven:
        return Cell(f"not proven: {ticket.unproven}", BAD)
    if ticket.proven:
        full = "; ".join(f"{what}: {holds}" for what, holds in ticket.proven.items())
        return Cell("proven by its run", GOOD, full)
    if ticket.meta.get("one_shot"):
        return Cell("file is whole; a one-shot control", FAINT)
    return Cell("file is whole; it lies outside of its run", FAINT)


def _common(tickets: list[FoundTicket]) -> Iterator[tuple[str, str]]:
    """What all of them say, and the versions they were made with."""
    sound = [ticket for ticket in tickets if not ticket.problem]
    said = [
        {key: _text(value) for key, value in ticket.meta.items() if key not in _SHOWN}
        | {key: ticket.proven[key] for key in _PROVEN if key in ticket.proven}
        | {"weights in scope": f"{ticket.total:,} in {ticket.layers} tensors"}
        for ticket in sound
    ]
    for key in sorted({key for each in said for key in each}):
        values = list(dict.fromkeys(each[key] for each in said if key in each))
        yield key, "; ".join(values[:4]) + (" ..." if len(values) > 4 else "")


def _digest(text: str) -> Cell:
    return Cell(text[:_SHORT], full=text) if len(text) > _SHORT else Cell(text)


def _text(value: object) -> str:
    return "" if value is None else str(value)
