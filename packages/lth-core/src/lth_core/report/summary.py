"""The first section: how much there is."""

from __future__ import annotations

from collections.abc import Iterator

from lth_core.report.material import Material
from lth_core.report.section import Facts, Section, Text


def summary(material: Material) -> Iterator[Section]:
    """Counts of what was found, and what is wrong with it."""
    found, tickets = material.results, material.tickets
    facts = [(str(len(found)), "measured numbers")] if found else []
    if found:
        facts += [
            (str(len({each.task for each in found})), "tasks"),
            (str(len({each.weights for each in found})), "starting weights"),
            (str(len({each.seed for each in found})), "seeds"),
            (f"{100 * max(each.sparsity for each in found):.2f} %", "sparsest training"),
        ]
    if tickets:
        facts.append((str(len(tickets)), "tickets"))
        facts.append((str(sum(bool(ticket.proven) for ticket in tickets)), "proven by their runs"))
    lost = sum(each.value != each.value for each in found)
    notes = []
    if lost:
        notes.append(f"{lost} results are no number: trainings diverged, or came to nothing.")
    damaged = [ticket.name for ticket in tickets if ticket.problem]
    if damaged:
        notes.append(f"{len(damaged)} tickets cannot be read: {', '.join(damaged)}.")
    if not found:
        notes.append("There are no results of trainings here, only tickets.")
    yield Section(
        "summary", "What there is", "", (Facts(tuple(facts)), *(Text(note) for note in notes))
    )
