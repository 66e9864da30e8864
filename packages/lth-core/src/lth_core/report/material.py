"""What a report is made from: results, and tickets with what is known of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lth_core import results
from lth_core.errors import LTHError, RunError
from lth_core.imp.directory import REWIND, START, STUDY, STUDY_DENSE, STUDY_TICKETS, TICKET
from lth_core.imp.proof import prove
from lth_core.matching import DoubleWin
from lth_core.published import Extreme
from lth_core.report.references import Reference
from lth_core.results import Result
from lth_core.ticket import Ticket

LARGEST = 1e100
"""Values beyond it are taken for those of a training that diverged: no statistics survives them."""

_HEAD = 4096


@dataclass(frozen=True)
class FoundTicket:
    """A ticket file of a directory.

    Attributes:
        path: Where it is.
        name: The same, from the directory asked for.
        problem: Why it is no good, or empty. All else is empty then.
        digest: Of its masks.
        sparsity: Pruned fraction of the weights in scope.
        kept: Weights that are left.
        total: Weights in scope.
        layers: How many weights (tensors) are in scope.
        has_weights: Whether it brings weights to start from.
        meta: What it says of itself.
        proven: What the files of its run show, see :func:`lth_core.imp.proof.prove`; empty for a
            ticket outside of any run.
        unproven: Why they do not show it, or empty.
    """

    path: Path
    name: str
    problem: str = ""
    digest: str = ""
    sparsity: float = math.nan
    kept: int = 0
    total: int = 0
    layers: int = 0
    has_weights: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    proven: Mapping[str, str] = field(default_factory=dict)
    unproven: str = ""

    def load(self) -> Ticket:
        """The ticket itself, read again: many together are too large to be held.

        Raises:
            TicketError: If it cannot be.
        """
        return Ticket.load(self.path)


@dataclass(frozen=True)
class Material:
    """All that was found.

    Attributes:
        places: The directories (or files of results) asked for.
        results: Of trainings; values that are no number, or too large a one, are NaN.
        tickets: In order of their paths, damaged ones too.
        references: Published curves.
        double_wins: What is to be shown of tasks of standard and of adversarial training.
        published_double_wins: Published sparsities to show beside them.
    """

    places: tuple[Path, ...]
    results: tuple[Result, ...] = ()
    tickets: tuple[FoundTicket, ...] = ()
    references: tuple[Reference, ...] = ()
    double_wins: tuple[DoubleWin, ...] = ()
    published_double_wins: tuple[Extreme, ...] = ()

    @property
    def sound(self) -> list[FoundTicket]:
        """Tickets that can be read."""
        return [ticket for ticket in self.tickets if not ticket.problem]


def collect(places: Sequence[str | Path], references: Iterable[Reference] = ()) -> Material:
    """Looks through directories.

    Args:
        places: Directories, or files of results.
        references: Published curves to draw beside.

    Raises:
        RunError: If a place is missing, holds neither results nor tickets, or results in it are
            malformed.
    """
    paths = tuple(Path(place) for place in places)
    tickets: dict[Path, FoundTicket] = {}
    for place in paths:
        here = {path.resolve(): _look(path, place) for path in _ticket_files(place)}
        if not here and not results.read([place], required=False):
            raise RunError(f"{place} holds neither results ({results.FILE}) nor tickets ({TICKET})")
        tickets = here | tickets
    tickets = {path: each for path, each in tickets.items() if not _is_copy(path, tickets)}
    found = [_usable(result) for result in results.read(paths, required=False)]
    return Material(paths, tuple(found), tuple(tickets.values()), tuple(references))


def _usable(result: Result) -> Result:
    if abs(result.value) <= LARGEST:
        return result
    return replace(result, value=math.nan)


def _ticket_files(place: Path) -> Iterator[Path]:
    for path in sorted(place.rglob("*.safetensors")) if place.is_dir() else ():
        if path.name == STUDY_DENSE and (path.parent / STUDY).exists():
            continue
        if path.name == TICKET or (path.name not in (REWIND, START) and _is_ours(path)):
            yield path


def _is_copy(path: Path, tickets: Mapping[Path, FoundTicket]) -> bool:
    """Whether a study has copied a ticket that is here in its own place, too."""
    if not _in_study(path):
        return False
    digest = tickets[path].digest
    return any(each.digest == digest and not _in_study(other) for other, each in tickets.items())


def _in_study(path: Path) -> bool:
    return path.parent.name == STUDY_TICKETS and (path.parent.parent / STUDY).exists()


def _is_ours(path: Path) -> bool:
    """Whether a file says that lth has written it; others lie beside runs too."""
    try:
        with open(path, "rb") as file:
            return b'"lth":' in file.read(_HEAD)
    except OSError:
        return False


def _look(path: Path, place: Path) -> FoundTicket:
    name = str(path.relative_to(place))
    try:
        ticket = Ticket.load(path)
    except LTHError as problem:
        return FoundTicket(path, name, problem=str(problem))
    proven, unproven = {}, ""
    try:
        proven = prove(path)
    except LTHError as problem:
        unproven = str(problem)
    masks = ticket.masks
    return FoundTicket(
        path,
        name,
        digest=masks.digest(),
        sparsity=masks.sparsity,
        kept=masks.kept,
        total=masks.total,
        layers=len(masks),
        has_weights=bool(ticket.weights),
        meta=ticket.meta,
        proven=proven,
        unproven=unproven,
    )
