"""Levels that match in every one of several conditions, such as universal tickets.

**Errors of the test.** A level is said to match everywhere if each condition's own test says so, at
the same ``alpha``: an intersection-union test (Berger 1982). It needs no correction over the
conditions. A level that truly fails somewhere fails in one particular condition, and to be called
matching everywhere by mistake it must pass that one, of which the chance is at most ``alpha``
whatever the others do, and however they depend on each other (SA and RA come from the same runs).
More conditions make it stricter, and cost power: each of them has to be shown.

Over the levels of a family, each condition keeps its errors below ``alpha`` by Holm's method. So
does the whole if one condition fails wherever any fails, as when all get worse with sparsity and
one of them does so first: each false claim is then one of that condition. Only if different levels
fail in different conditions can the chance of any false claim be larger, and it is never more than
``alpha`` times the number of conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lth_core.errors import ConfigError
from lth_core.matching.families import MATCHES, Level, Match

MISSING = "missing"
"""Verdict of a level that a condition has no runs of."""


@dataclass(frozen=True)
class JointLevel:
    """One level in all conditions.

    Attributes:
        level: Prunes behind the masks.
        sparsity: Of it, in the first condition that has it.
        rules: For each condition whether it matches by the papers' rule; None if that cannot be
            said, or the level is missing.
        verdicts: For each condition ``matches``, ``worse`` or ``undecided`` by the test, or
            ``missing``.
        by_rule: Whether it matches in every condition by the papers' rule.
        by_test: The same by the test.
    """

    level: int
    sparsity: float
    rules: Mapping[str, bool | None]
    verdicts: Mapping[str, str]
    by_rule: bool
    by_test: bool


@dataclass(frozen=True)
class Universal:
    """Levels of one kind of ticket that match on every one of several tasks.

    Attributes:
        weights: What they start from.
        mask: Where the masks come from.
        variant: What they were made into, or empty.
        tasks: All of them.
        by_rule: The sparsest such level's sparsity by the papers' rule, None if there is none.
        by_test: The same by the test.
    """

    weights: str
    mask: str
    variant: str
    tasks: tuple[str, ...]
    by_rule: float | None
    by_test: float | None


def universal(matches: Sequence[Match]) -> list[Universal]:
    """Levels that match on every task: universal tickets (paper A, section 4.3).

    Args:
        matches: Of all tasks in question, each with one metric.

    Returns:
        For each kind of ticket that there is on more than one task; only levels that every task
        has can be universal.

    Raises:
        ConfigError: If a task has several metrics.
    """
    metrics: dict[str, str] = {}
    for each in matches:
        family = each.family
        if metrics.setdefault(family.task, family.metric) != family.metric:
            raise ConfigError(
                f"universal: {family.task} has {metrics[family.task]} and {family.metric}; choose"
            )
    found = []
    for kind, group in by_kind(matches).items():
        if len(group) > 1:
            tasks = {each.family.task: each for each in group}
            by_rule, by_test = sparsest(joint_levels(tasks))
            found.append(Universal(*kind, tuple(sorted(tasks)), by_rule, by_test))
    return found


def joint_levels(conditions: Mapping[str, Match | None]) -> tuple[JointLevel, ...]:
    """Every level that any condition has, and whether it matches in all of them."""
    known: dict[str, dict[int, Level]] = {
        name: {level.level: level for level in each.levels} if each else {}
        for name, each in conditions.items()
    }
    joint = []
    for number in sorted(set().union(*known.values())):
        here = {name: levels.get(number) for name, levels in known.items()}
        rules = {name: level.rule if level else None for name, level in here.items()}
        verdicts = {name: level.verdict if level else MISSING for name, level in here.items()}
        joint.append(
            JointLevel(
                number,
                next(level.sparsity for level in here.values() if level),
                rules,
                verdicts,
                all(rules.values()),
                all(verdict == MATCHES for verdict in verdicts.values()),
            )
        )
    return tuple(joint)


def sparsest(levels: Iterable[JointLevel]) -> tuple[float | None, float | None]:
    """Sparsities of the sparsest level that matches everywhere, by the rule and by the test."""
    found = list(levels)
    return (
        max((each.sparsity for each in found if each.by_rule), default=None),
        max((each.sparsity for each in found if each.by_test), default=None),
    )


def by_kind(matches: Iterable[Match]) -> dict[tuple[str, str, str], list[Match]]:
    """Families by what they start from and what masks they have, in order."""
    kinds: dict[tuple[str, str, str], list[Match]] = {}
    for each in matches:
        kinds.setdefault(each.family.start, []).append(each)
    return dict(sorted(kinds.items()))
