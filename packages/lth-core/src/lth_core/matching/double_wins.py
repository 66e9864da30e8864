"""Double-win tickets: levels that match after standard and after adversarial training (paper C).

A level wins twice if it matches dense in standard accuracy (SA) after standard training, and in
both SA and robust accuracy (RA) after adversarial training. What that means for the errors of the
test is said in :mod:`lth_core.matching.jointly`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lth_core.errors import ConfigError
from lth_core.matching.families import Match, percent
from lth_core.matching.jointly import MISSING, JointLevel, by_kind, joint_levels, sparsest
from lth_core.spelling import hint
from lth_core.statistics import Spread

STANDARD_SA = "standard SA"
ADVERSARIAL_SA = "adversarial SA"
ADVERSARIAL_RA = "adversarial RA"

ROBUST_METRIC = "accuracy/top1/pgd-20"
"""What RA usually is: top-1 accuracy under PGD of 20 steps."""
ADVERSARIAL = ", adversarial"
"""What follows the name of a task in that of its adversarial training; the attack may follow."""

_NOT_ROBUST = 0.01
"""RA of this share of SA, or less, is none to speak of."""
_ALIKE = 0.005
"""How far the sparsities of one level may be apart that chance draws for each condition."""


@dataclass(frozen=True)
class Condition:
    """One of the three of a double win, by itself.

    Attributes:
        task: What was trained.
        metric: What it is measured by.
        dense: Of the dense runs from the same weights; none if the condition is missing.
        by_rule: The sparsest level's sparsity that matches here by the papers' rule, or None.
        by_test: The same by the test.
        rule_known: Whether the papers' rule could be applied to any level.
        test_known: Whether the test could be.
    """

    task: str
    metric: str
    dense: Spread
    by_rule: float | None
    by_test: float | None
    rule_known: bool
    test_known: bool


@dataclass(frozen=True)
class DoubleWin:
    """Levels of one kind of ticket that win twice (paper C).

    Attributes:
        standard: The task of standard training.
        adversarial: That of adversarial training.
        weights: What tickets start from.
        mask: Where the masks come from.
        variant: What they were made into, or empty.
        conditions: By name: ``standard SA``, ``adversarial SA``, ``adversarial RA``.
        levels: All that any condition has, in order.
        by_rule: The sparsest double-win level's sparsity by the papers' rule, None if none is.
        by_test: The same by the test.
        rule_known: Whether the papers' rule could be applied in every condition.
        test_known: Whether the test could be.
        notes: What cannot be said, and why.
    """

    standard: str
    adversarial: str
    weights: str
    mask: str
    variant: str
    conditions: Mapping[str, Condition]
    levels: tuple[JointLevel, ...]
    by_rule: float | None
    by_test: float | None
    rule_known: bool
    test_known: bool
    notes: tuple[str, ...]

    @property
    def tasks(self) -> str:
        """Both in short: ``CIFAR-10 + adversarial pgd-10``."""
        return f"{self.standard} + {self.adversarial.removeprefix(f'{self.standard}, ')}"


def double_win(
    matches: Sequence[Match],
    standard: str,
    adversarial: str,
    robust_metric: str = ROBUST_METRIC,
    metric: str | None = None,
    standard_metric: str | None = None,
) -> list[DoubleWin]:
    """Levels that match dense in SA after standard and in SA and RA after adversarial training.

    Args:
        matches: Of both tasks, and maybe of others.
        standard: The task of standard training.
        adversarial: That of adversarial training.
        robust_metric: What robust accuracy (RA) is called.
        metric: What standard accuracy (SA) is called; if None, as RA without the attack, which is
            what follows the last slash.
        standard_metric: The same after standard training, if it has another name there.

    Returns:
        For each kind of ticket of either task. Only levels that all three conditions have can win
        twice.

    Raises:
        ConfigError: If the three conditions are not different ones, or there is no ticket with
            results of one of them.
    """
    wanted = _conditions(standard, adversarial, robust_metric, metric, standard_metric)
    if standard == adversarial:
        raise ConfigError(f"double-win: both tasks are {standard!r}; they have to differ")
    if wanted[ADVERSARIAL_SA] == wanted[ADVERSARIAL_RA]:
        raise ConfigError(f"double-win: SA and RA are both {robust_metric!r}; they have to differ")
    for task, measure in wanted.values():
        _require(matches, task, measure)
    measured = [each for each in matches if _measure(each) in wanted.values()]
    return [
        _double_win(kind, {name: _of(group, *where) for name, where in wanted.items()}, wanted)
        for kind, group in by_kind(measured).items()
    ]


def all_double_wins(
    matches: Sequence[Match], pairs: Iterable[tuple[str, str]] = (), **metrics: Any
) -> list[DoubleWin]:
    """The same of several data sets, or shares of one.

    Args:
        matches: Of all tasks.
        pairs: Tasks of standard and of adversarial training; if empty, those whose names tell
            (:func:`pairs_by_name`).
        metrics: What accuracies are called, see :func:`double_win`.

    Raises:
        ConfigError: As :func:`double_win`.
    """
    return [
        each
        for standard, adversarial in dict.fromkeys(pairs) or pairs_by_name(matches)
        for each in double_win(matches, standard, adversarial, **metrics)
    ]


def pairs_by_name(matches: Iterable[Match]) -> list[tuple[str, str]]:
    """Tasks of standard and of adversarial training that :data:`ADVERSARIAL` tells apart.

    Args:
        matches: Of all tasks.

    Returns:
        Those with all three conditions by their usual names, in order.
    """
    there = {_measure(each) for each in matches}
    tasks = sorted({task for task, _ in there})
    pairs = [
        (task, other)
        for task in tasks
        for other in tasks
        if f"{other} ".startswith(f"{task}{ADVERSARIAL} ")
    ]
    return [pair for pair in pairs if there.issuperset(_conditions(*pair, ROBUST_METRIC).values())]


def _conditions(
    standard: str,
    adversarial: str,
    robust_metric: str,
    metric: str | None = None,
    standard_metric: str | None = None,
) -> dict[str, tuple[str, str]]:
    """Task and metric of each."""
    metric = metric or robust_metric.rpartition("/")[0] or robust_metric
    return {
        STANDARD_SA: (standard, standard_metric or metric),
        ADVERSARIAL_SA: (adversarial, metric),
        ADVERSARIAL_RA: (adversarial, robust_metric),
    }


def _double_win(
    kind: tuple[str, str, str],
    found: Mapping[str, Match | None],
    wanted: Mapping[str, tuple[str, str]],
) -> DoubleWin:
    levels = joint_levels(found)
    conditions = {name: _condition(found[name], *wanted[name]) for name in wanted}
    by_rule, by_test = sparsest(levels)
    return DoubleWin(
        wanted[STANDARD_SA][0],
        wanted[ADVERSARIAL_SA][0],
        *kind,
        conditions,
        levels,
        by_rule,
        by_test,
        all(each.rule_known for each in conditions.values()),
        all(each.test_known for each in conditions.values()),
        tuple(_notes(found, levels)),
    )


def _condition(found: Match | None, task: str, metric: str) -> Condition:
    if found is None:
        nothing = Spread(math.nan, math.nan, 0)
        return Condition(task, metric, nothing, None, None, False, False)
    rule_known = any(level.rule is not None for level in found.levels)
    test_known = any(level.power is not None for level in found.levels)
    return Condition(
        task, metric, found.dense, found.by_rule, found.by_test, rule_known, test_known
    )


def _measure(each: Match) -> tuple[str, str]:
    return each.family.task, each.family.metric


def _of(group: Iterable[Match], task: str, metric: str) -> Match | None:
    return next((each for each in group if _measure(each) == (task, metric)), None)


def _require(matches: Iterable[Match], task: str, metric: str) -> None:
    """Refuses a task or metric that no ticket has results of."""
    there: dict[str, set[str]] = {}
    for each in matches:
        there.setdefault(each.family.task, set()).add(each.family.metric)
    if task not in there:
        what, name, known = "no ticket has results of the task", task, set(there)
    elif metric not in there[task]:
        what, name, known = f"tickets of {task!r} have no metric", metric, there[task]
    else:
        return
    listed = ", ".join(map(repr, sorted(known)))
    raise ConfigError(f"double-win: {what} {name!r}; {hint(name, sorted(known))}there are {listed}")


def _notes(found: Mapping[str, Match | None], levels: Iterable[JointLevel]) -> Iterator[str]:
    """What cannot be said; what holds for several conditions is said once."""
    told: dict[str, list[str]] = {}
    for name, each in found.items():
        for note in each.notes if each else ("no such ticket has been trained",):
            told.setdefault(note, []).append(name)
    for note, names in told.items():
        yield f"{', '.join(names)}: {note}"
    accuracy, robust = found[ADVERSARIAL_SA], found[ADVERSARIAL_RA]
    if accuracy and robust and robust.dense.mean <= _NOT_ROBUST * accuracy.dense.mean:
        yield f"{ADVERSARIAL_RA}: dense is not robust ({robust.dense}), and to match that is no win"
    there = [name for name, each in found.items() if each]
    for level in levels:
        missing = [name for name in there if level.verdicts[name] == MISSING]
        if missing:
            yield f"level {level.level} is missing in {', '.join(missing)}"
        sparsities = {
            name: other.sparsity
            for name, each in found.items()
            for other in (each.levels if each else ())
            if other.level == level.level
        }
        if max(sparsities.values()) - min(sparsities.values()) > _ALIKE:
            shown = ", ".join(f"{percent(value)} in {name}" for name, value in sparsities.items())
            yield f"level {level.level} is not the same everywhere: {shown}"
