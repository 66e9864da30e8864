"""Trainings in the directories of a report, and which of them to show at work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lth_core import results
from lth_core.results import Result

_KEPT = "last_checkpoint"


@dataclass(frozen=True)
class Trained:
    """A training whose checkpoint is there.

    Attributes:
        title: What it was trained from, and what it came to.
        result: Its number.
        directory: Its work directory.
    """

    title: str
    result: Result
    directory: Path


def shown_runs(places: Sequence[Path]) -> dict[str, list[Trained]]:
    """For each task the trainings to show: dense, a ticket, and what the ticket is compared with.

    Of several starting weights those with the most kinds of masks are shown, and of their tickets
    the sparsest of a level that has a control, or the sparsest of all.
    """
    tasks: dict[str, dict[str, list[Trained]]] = {}
    for each in _trained(places):
        tasks.setdefault(each.result.task, {}).setdefault(each.result.weights, []).append(each)
    return {
        task: _kinds(max(families.values(), key=lambda own: len(_kinds(own))))
        for task, families in tasks.items()
    }


def _trained(places: Sequence[Path]) -> Iterator[Trained]:
    seen = set()
    for place in places:
        for file in sorted(place.rglob(results.FILE)) if place.is_dir() else [place]:
            for result in results.read_file(file):
                directory = file.parent / result.run
                if directory not in seen and (directory / _KEPT).is_file():
                    seen.add(directory)
                    yield Trained(_title(result), result, directory)


def _title(result: Result) -> str:
    kind = "dense" if result.dense else result.variant or "ticket"
    sparsity = "" if result.dense else f" {100 * result.sparsity:.2f} %"
    number = "no number" if math.isnan(result.value) else f"{result.metric} {result.value:.4g}"
    return f"{kind}{sparsity}, {number}"


def _kinds(own: list[Trained]) -> list[Trained]:
    dense = [each for each in own if each.result.dense]
    tickets = [each for each in own if not each.result.dense and not each.result.variant]
    controls = [each for each in own if not each.result.dense and each.result.variant]
    levels = {each.result.level for each in controls}
    ticket = max(tickets, key=lambda t: (t.result.level in levels, t.result.level), default=None)
    at = ticket.result.level if ticket else max(levels, default=0)
    level = [each for each in controls if each.result.level == at]
    control = next((c for c in level if c.result.variant.startswith("random")), None)
    return [*dense[:1], *filter(None, [ticket, control or (level[0] if level else None)])]
