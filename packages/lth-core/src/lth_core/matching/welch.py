"""Welch's test of one side, on the difference of two means, and its power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scipy import stats  # type: ignore[import-untyped]

from lth_core.statistics import Spread

POWER = 0.8
MOST_SEEDS = 1000


class WelchTest:
    """One level against dense.

    Args:
        dense: Its runs.
        found: Those of the level.
        sign: 1 if higher values are better, -1 if lower ones are.
        margin: How much worse than dense still matches, in the metric's units.
    """

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
