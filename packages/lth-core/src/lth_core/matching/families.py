"""Levels of one task and metric beside dense: the papers' rule and the test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lth_core.errors import ConfigError
from lth_core.matching.welch import WelchTest
from lth_core.results import Result
from lth_core.statistics import Spread, holm, spread, within_deviation

MATCHES, WORSE, UNDECIDED = "matches", "worse", "undecided"

ALPHA = 0.05


@dataclass(frozen=True, order=True)
class Family:
    """Runs that differ in level and seed alone.

    Attributes:
        task: What was trained.
        metric: What it is measured by.
        weights: What it started from.
        mask: Where the masks come from.
        variant: What they were made into, or empty.
    """

    task: str
    metric: str
    weights: str
    mask: str
    variant: str = ""

    @property
    def start(self) -> tuple[str, str, str]:
        """What it has in common over tasks."""
        return self.weights, self.mask, self.variant


@dataclass(frozen=True)
class Level:
    """One level beside dense.

    Attributes:
        level: Prunes behind the masks.
        sparsity: Mean over its runs.
        found: Mean and deviation of the metric, over the runs whose value is a number.
        lost: Runs whose value is not a number. Such a level matches by neither rule.
        gain: Mean less dense's, positive if better whichever way the metric goes.
        rule: Whether it matches by the papers' rule; None if dense has no deviation.
        verdict: ``matches``, ``worse`` or ``undecided``, by the test.
        power: Of the test, or None if it could not be made.
        seeds: Runs of either kind that would give it a power of 0.8, were their spread the same;
            None if it could not be made or
            :data:`~lth_core.matching.welch.MOST_SEEDS` are too few.
    """

    level: int
    sparsity: float
    found: Spread
    lost: int
    gain: float
    rule: bool | None
    verdict: str
    power: float | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Match:
    """What can be said of a family.

    Attributes:
        family: Which.
        dense: Of the dense runs from the same weights.
        margin: How much worse than dense still matches, in the metric's own units; None if unknown.
        levels: In order.
        by_rule: The sparsest level's sparsity that matches by the papers' rule, None if none does.
        by_test: The same by the test.
        notes: What cannot be said, and why.
    """

    family: Family
    dense: Spread
    margin: float | None
    levels: tuple[Level, ...]
    by_rule: float | None
    by_test: float | None
    notes: tuple[str, ...]


def percent(sparsity: float | None) -> str:
    """A sparsity to show, or that there is none."""
    return "none" if sparsity is None else f"{100 * sparsity:.2f} %"


def match(
    results: Iterable[Result], alpha: float = ALPHA, margin: float | None = None
) -> list[Match]:
    """Judges every family of results by both rules.

    Args:
        results: Of sparse runs and of the dense runs to compare with, which are those of the same
            task, metric and weights.
        alpha: Probability of the test's errors, over the levels of a family together.
        margin: How much worse than dense still matches, in the metric's units; the standard
            deviation of the dense runs if None.

    Returns:
        Of each family with a sparse run, in order.

    Raises:
        ConfigError: If ``alpha`` or ``margin`` is out of range, or results disagree about which
            way a metric goes.
    """
    if not 0 < alpha < 0.5:
        raise ConfigError(f"match: alpha is {alpha}; it lies between 0 and 0.5")
    if margin is not None and not 0 <= margin < math.inf:
        raise ConfigError(f"match: margin is {margin}; it is not negative")
    families: dict[Family, dict[int, list[Result]]] = {}
    dense: dict[tuple[str, str, str], list[Result]] = {}
    signs: dict[tuple[str, str], int] = {}
    for result in results:
        if signs.setdefault((result.task, result.metric), result.sign) != result.sign:
            raise ConfigError(
                f"match: results of {result.task} disagree whether higher {result.metric} is better"
            )
        if result.dense:
            dense.setdefault((result.task, result.metric, result.weights), []).append(result)
        else:
            family = Family(result.task, result.metric, result.weights, result.mask, result.variant)
            families.setdefault(family, {}).setdefault(result.level, []).append(result)
    return [
        _judge(
            family,
            dense.get((family.task, family.metric, family.weights), []),
            levels,
            signs[family.task, family.metric],
            alpha,
            margin,
        )
        for family, levels in sorted(families.items())
    ]


def _judge(
    family: Family,
    dense_runs: Sequence[Result],
    runs: Mapping[int, Sequence[Result]],
    sign: int,
    alpha: float,
    margin: float | None,
) -> Match:
    dense_values = [run.value for run in dense_runs if not math.isnan(run.value)]
    dense = _spread(dense_values)
    lost_dense = len(dense_runs) - len(dense_values)
    notes = []
    if not dense_runs:
        notes.append(f"no dense run from {family.weights} to compare with")
    elif lost_dense:
        notes.append(f"{lost_dense} of {len(dense_runs)} dense runs came to no number")
    if dense.count == 1:
        notes.append("one dense run: it has no deviation, so neither rule can be applied")
    slack = dense.deviation if margin is None else margin
    usable = dense.count > 0 and not math.isnan(slack)
    levels = []
    tests = {}
    for number in sorted(runs):
        values = [run.value for run in runs[number] if not math.isnan(run.value)]
        found, lost = _spread(values), len(runs[number]) - len(values)
        if not lost and usable and found.count > 1 and dense.count > 1:
            tests[number] = WelchTest(dense, found, sign, slack)
        if lost:
            notes.append(f"level {number}: {lost} of {len(runs[number])} runs came to no number")
        elif found.count == 1 and dense.count > 1:
            notes.append(f"level {number}: one run, which no test can judge")
        gain = sign * (found.mean - dense.mean)
        known = dense.count > 1 and not math.isnan(dense.deviation)
        rule = (not lost and within_deviation(gain, dense)) if known else None
        sparsity = spread([run.sparsity for run in runs[number]]).mean
        levels.append(Level(number, sparsity, found, lost, gain, rule, UNDECIDED))
    verdicts = _verdicts(tests, alpha)
    for place, each in enumerate(levels):
        if each.level in tests:
            test, share = tests[each.level], alpha / len(tests)
            levels[place] = replace(
                each,
                verdict=verdicts[each.level],
                power=test.power(share),
                seeds=test.seeds(share),
            )
    counts = {each.found.count + each.lost for each in levels}
    if len(counts) > 1:
        notes.append(f"levels have {min(counts)} to {max(counts)} runs")
    notes += _other_configs([*dense_runs, *(run for each in levels for run in runs[each.level])])
    return Match(
        family,
        dense,
        slack if usable else None,
        tuple(levels),
        max((each.sparsity for each in levels if each.rule), default=None),
        max((each.sparsity for each in levels if each.verdict == MATCHES), default=None),
        tuple(notes),
    )


def _other_configs(runs: Iterable[Result]) -> Iterator[str]:
    """Says so if runs that are compared have been trained with different configs."""
    where: dict[str, dict[str, None]] = {}
    for run in runs:
        if run.config:
            where.setdefault(run.config, {})["dense" if run.dense else f"level {run.level}"] = None
    if len(where) > 1:
        told = "; ".join(f"{config[:8]} of {', '.join(of)}" for config, of in where.items())
        yield f"runs with {len(where)} different configs are compared: {told}"


def _spread(values: Sequence[float]) -> Spread:
    return spread(values) if values else Spread(math.nan, math.nan, 0)


def _verdicts(tests: Mapping[int, WelchTest], alpha: float) -> dict[int, str]:
    """Of levels that were tested: Holm's method over each of the two questions."""
    if not tests:
        return {}
    as_good = dict(zip(tests, holm([test.p_not_matching for test in tests.values()]), strict=True))
    worse = dict(zip(tests, holm([test.p_not_worse for test in tests.values()]), strict=True))
    return {
        level: MATCHES if as_good[level] < alpha else WORSE if worse[level] < alpha else UNDECIDED
        for level in tests
    }
