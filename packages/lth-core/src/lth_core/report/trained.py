"""What training does to weights: magnitudes of those that are kept, and natural sparsity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from lth_core.analysis import natural_sparsity, paper_scope, sorted_magnitudes
from lth_core.checkpoints import read_state
from lth_core.errors import LTHError
from lth_core.report.chains import MOST_CHAINS, spread, title_of
from lth_core.report.drawing import SERIES, drawing
from lth_core.report.material import FoundTicket, Material
from lth_core.report.section import BAD, Cell, Figure, Figures, Section, Swatches, Table

_LEVELS = 3
_LEAST = 1e-12
_PLACES = ("the first level", "a level in the middle", "the last level")


@dataclass(frozen=True)
class _End:
    """The weights that a level's training ended with."""

    ticket: FoundTicket
    shares: np.ndarray
    magnitudes: np.ndarray
    natural: float
    problem: str = ""


def trained(material: Material) -> Iterator[Section]:
    """Of chains whose levels' checkpoints are beside their tickets."""
    chains: dict[Path, list[FoundTicket]] = {}
    for ticket in material.sound:
        folder = ticket.path.parent
        if folder.name.startswith("level_") and _checkpoint(folder) is not None:
            chains.setdefault(folder.parent, []).append(ticket)
    shown = list(chains.items())[:MOST_CHAINS]
    found = {
        title_of(run, own[0]): [
            _end(ticket) for ticket in spread(sorted(own, key=lambda t: t.sparsity), _LEVELS)
        ]
        for run, own in shown
    }
    if found:
        left = len(chains) - len(shown)
        more = f" {left} more chains are left out." if left else ""
        yield Section(
            "weights",
            "What training does to the weights",
            "Magnitudes of the weights that a mask keeps, in ascending order, at the end of the "
            "training from it. Natural sparsity is the share of weights that training itself has "
            "brought to zero, pruned ones aside: up to the machine precision of their type, as in "
            "paper B, of all weights but those of norms and of the last linear layer." + more,
            (
                Swatches(_PLACES, False),
                Figures(tuple(_figure(title, ends) for title, ends in found.items())),
                _table(found),
            ),
        )


def _checkpoint(folder: Path) -> Path | None:
    try:
        path = folder / Path((folder / "last_checkpoint").read_text().strip()).name
    except (OSError, UnicodeDecodeError):
        return None
    return path if path.is_file() else None


def _end(ticket: FoundTicket) -> _End:
    nothing = np.zeros(0)
    try:
        path = _checkpoint(ticket.path.parent)
        if path is None:
            return _End(ticket, nothing, nothing, np.nan, "its checkpoint is gone")
        weights = read_state(path)
        masks = ticket.load().masks
        shares, values = sorted_magnitudes(weights, masks)
        values = np.where(np.isfinite(values), np.maximum(values, _LEAST), np.nan)
        return _End(ticket, shares, values, _natural(weights, ticket))
    except LTHError as problem:
        return _End(ticket, nothing, nothing, np.nan, str(problem))


def _natural(weights: Mapping[str, Tensor], ticket: FoundTicket) -> float:
    """Share of the weights that are not pruned, in per cent."""
    scope = paper_scope(weights)
    zero, total = natural_sparsity(weights, scope)[0] * scope.total, scope.total
    pruned = ticket.total - ticket.kept
    return float(100 * max(zero - pruned, 0) / max(total - pruned, 1))


def _figure(title: str, ends: list[_End]) -> Figure:
    def paint(canvas: Canvas) -> None:
        axes = canvas.add_subplot()
        axes.set_yscale("log")
        for place, end in enumerate(ends):
            colour = SERIES[len(_PLACES) - 1 if place == len(ends) - 1 and place else place]
            axes.plot(100 * end.shares, end.magnitudes, color=colour)
        axes.set_xlim(0, 100)
        axes.set_xlabel("kept weights, %")
        axes.set_ylabel("magnitude")

    told = "; ".join(
        f"at {100 * end.ticket.sparsity:.2f} % half of them are below "
        f"{end.magnitudes[len(end.magnitudes) // 2]:.3g}"
        for end in ends
        if len(end.magnitudes)
    )
    return Figure(title, drawing(paint, f"Sorted magnitudes of kept weights, {title}: {told}"))


def _table(found: Mapping[str, list[_End]]) -> Table:
    rows: list[tuple[str | Cell, ...]] = [
        (
            title,
            f"{100 * end.ticket.sparsity:.2f}",
            Cell(end.problem, BAD) if end.problem else f"{end.natural:.4f}",
        )
        for title, ends in found.items()
        for end in ends
    ]
    columns = ("chain", "sparsity, %", "natural sparsity, %")
    return Table("Natural sparsity", columns, tuple(rows), frozenset((1, 2)))
