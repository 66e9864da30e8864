"""Statistics of a few seeds: means, standard deviations, paired differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of one number per seed."""

    mean: float
    deviation: float
    count: int

    def __str__(self) -> str:
        """Such as ``91.56 ± 2.3 (3)``, the count in brackets."""
        if not self.count:
            return "none"
        deviation = "" if math.isnan(self.deviation) else f" ± {self.deviation:.2g}"
        return f"{self.mean:.4g}{deviation} ({self.count})"


@dataclass(frozen=True)
class Interval:
    """A mean of differences and its t confidence interval."""

    mean: float
    low: float
    high: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation; the deviation of a single value is not a number."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(statistics.fmean(values), deviation, len(values))


def within_deviation(gain: float, dense: Spread) -> bool:
    """The papers' rule of matching (paper A, footnote 7).

    Args:
        gain: How much better than dense, negative if worse.
        dense: Of the dense runs.

    Returns:
        Whether that is not more than one standard deviation of dense worse.
    """
    return gain >= -dense.deviation


def interval(differences: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The t interval of a mean; boundless for a single value.

    Args:
        differences: One for each seed.
        confidence: Of the interval, both sides together.
    """
    found = spread(differences)
    if found.count < 2:
        return Interval(found.mean, -math.inf, math.inf, found.count)
    t = float(stats.t.ppf((1 + confidence) / 2, found.count - 1))
    reach = t * found.deviation / math.sqrt(found.count)
    return Interval(found.mean, found.mean - reach, found.mean + reach, found.count)


def p_value(differences: Sequence[float]) -> float:
    """Of the two-sided t test that their mean is zero; 1 where they say nothing.

    Args:
        differences: One for each seed.
    """
    found = spread(differences)
    if found.count < 2 or found.mean == 0:
        return 1.0
    if found.deviation == 0:
        return 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """The same, adjusted for their number by Holm's method, in the same order."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
