"""Results by what they measure, where they start and what kind of mask they have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lth_core.report.material import Material
from lth_core.results import Result


@dataclass(frozen=True, order=True)
class Kind:
    """What tells lines of one figure apart.

    Attributes:
        mask: Where masks come from.
        variant: What they were made into, or empty.
    """

    mask: str
    variant: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.mask, self.variant)))


@dataclass(frozen=True)
class Start:
    """Results of one task, metric and starting weights.

    Attributes:
        dense: Those without a mask.
        kinds: The others, by kind and level.
    """

    dense: tuple[Result, ...]
    kinds: dict[Kind, dict[int, list[Result]]]


def measures(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """Results by task and metric, in order."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.task, result.metric), []).append(result)
    return dict(sorted(found.items()))


def starts(results: Iterable[Result]) -> dict[str, Start]:
    """Results of one measure, by starting weights, in order."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.weights, []).append(result)
    return {weights: _start(mine) for weights, mine in sorted(found.items())}


def _start(results: Iterable[Result]) -> Start:
    dense: list[Result] = []
    kinds: dict[Kind, dict[int, list[Result]]] = {}
    for result in results:
        if result.dense:
            dense.append(result)
        else:
            levels = kinds.setdefault(Kind(result.mask, result.variant), {})
            levels.setdefault(result.level, []).append(result)
    ordered = {kind: dict(sorted(levels.items())) for kind, levels in sorted(kinds.items())}
    return Start(tuple(dense), ordered)


def all_kinds(material: Material) -> list[Kind]:
    """Of all results, the most frequent first; a kind looks the same in every figure of a page."""
    found = Counter(Kind(each.mask, each.variant) for each in material.results if not each.dense)
    return sorted(found, key=lambda kind: (-found[kind], kind))


def finite(results: Iterable[Result]) -> list[float]:
    """Values that are numbers."""
    return [each.value for each in results if each.value == each.value]
