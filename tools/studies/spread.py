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
