"""Does a ticket match dense? The papers' rule, and a test that says what it can tell.

**The papers' rule** (paper A, footnote 7): a level matches if its mean is not more than one
standard deviation of the dense runs below dense's mean. It says nothing of chance: with few seeds
the deviation itself is a guess.

**The test**: Welch's, of one side, on the difference of the means. A level *matches* if it is shown
to be less than ``margin`` worse than dense (by default that same standard deviation), and is
*worse* if it is shown to be worse at all; else it is *undecided*. The levels of a family are tested
together by Holm's method. ``power`` is how likely a level that is truly as good as dense would have
been shown to match, with these seeds and this spread: where it is low, undecided means little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats  # type: ignore[import-untyped]

from lth_core.errors import ConfigError
from lth_core.results import Result
from lth_core.statistics import Spread, holm, spread, within_deviation

MATCHES, WORSE, UNDECIDED = "matches", "worse", "undecided"

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000


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
            None if it could not be made or :data:`MOST_SEEDS` are too few.
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
    kinds: dict[tuple[str, str, str], list[Match]] = {}
    for each in matches:
        family = each.family
        if metrics.setdefault(family.task, family.metric) != family.metric:
            raise ConfigError(
                f"universal: {family.task} has {metrics[family.task]} and {family.metric}; choose"
            )
        kinds.setdefault(family.start, []).append(each)
    found = []
    for kind, group in sorted(kinds.items()):
        if len(group) < 2:
            continue
        levels = [{level.level: level for level in each.levels} for each in group]
        common = set.intersection(*(set(each) for each in levels))
        everywhere = {
            "rule": [k for k in common if all(each[k].rule for each in levels)],
            "test": [k for k in common if all(each[k].verdict == MATCHES for each in levels)],
        }
        best = {
            name: max((levels[0][k].sparsity for k in ks), default=None)
            for name, ks in everywhere.items()
        }
        tasks = tuple(sorted(each.family.task for each in group))
        found.append(Universal(*kind, tasks, best["rule"], best["test"]))
    return found


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
            tests[number] = _Test(dense, found, sign, slack)
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


def _verdicts(tests: Mapping[int, _Test], alpha: float) -> dict[int, str]:
    """Of levels that were tested: Holm's method over each of the two questions."""
    if not tests:
        return {}
    as_good = dict(zip(tests, holm([test.p_not_matching for test in tests.values()]), strict=True))
    worse = dict(zip(tests, holm([test.p_not_worse for test in tests.values()]), strict=True))
    return {
        level: MATCHES if as_good[level] < alpha else WORSE if worse[level] < alpha else UNDECIDED
        for level in tests
    }


class _Test:
    """Welch's test of one level against dense."""

    def __init__(self, dense: Spread, found: Spread, sign: int, margin: float) -> None:
        self.sides = (dense, found)
        self.gain = sign * (found.mean - dense.mean)
        self.margin = margin
        self.error, self.freedom = _welch(self.sides)

    @property
    def p_not_matching(self) -> float:
        """Probability of so good a level if it were ``margin`` worse than dense."""
        if not self.error:
            return 0.0 if self.gain >= -self.margin else 1.0
        return float(stats.t.sf((self.gain + self.margin) / self.error, self.freedom))

    @property
    def p_not_worse(self) -> float:
        """Probability of so bad a level if it were as good as dense."""
        if not self.error:
            return 0.0 if self.gain < 0 else 1.0
        return float(stats.t.cdf(self.gain / self.error, self.freedom))

    def power(self, alpha: float) -> float:
        """How likely a level as good as dense would be shown to match, at this ``alpha``."""
        return self._power(alpha, self.error, self.freedom)

    def seeds(self, alpha: float) -> int | None:
        """Runs on either side that give a power of :data:`POWER`."""
        low, high = 1, MOST_SEEDS
        if self._power_of(high, alpha) < POWER:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self._power_of(middle, alpha) < POWER:
                low = middle
            else:
                high = middle
        return high

    def _power_of(self, count: int, alpha: float) -> float:
        return self._power(alpha, *_welch([replace(side, count=count) for side in self.sides]))

    def _power(self, alpha: float, error: float, freedom: float) -> float:
        if not error:
            return 1.0
        least = float(stats.t.isf(alpha, freedom))
        return float(stats.nct.sf(least, freedom, self.margin / error))


def _welch(sides: Sequence[Spread]) -> tuple[float, float]:
    """Standard error of a difference of two means, and its degrees of freedom."""
    parts = [side.deviation**2 / side.count for side in sides]
    bottom = sum(p**2 / (side.count - 1) for p, side in zip(parts, sides, strict=True))
    return math.sqrt(sum(parts)), sum(parts) ** 2 / bottom if bottom else math.inf
