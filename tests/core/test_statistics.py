"""Statistics of a few seeds, against numpy, scipy and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lth_core.statistics import Interval, holm, interval, p_value, spread
from scipy import stats


def test_spread_and_interval_are_numpys_and_scipys() -> None:
    values = [1.5, -0.25, 3.0]
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values).low == pytest.approx(low)
    assert interval(values).high == pytest.approx(high)


def test_interval_in_closed_form() -> None:
    # t(0.975, 1) = tan(0.475 pi); of 0 and 2 the standard error is 1.
    reach = math.tan(0.475 * math.pi)
    assert interval([0.0, 2.0]) == Interval(
        1.0, pytest.approx(1 - reach), pytest.approx(1 + reach), 2
    )


def test_p_value_of_differences_is_that_of_a_paired_test() -> None:
    first, second = [93.0, 91.5, 94.25], [90.0, 91.0, 92.5]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    assert p_value(differences) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert p_value([2.0, 2.0, 2.0]) == 0.0
    assert p_value([0.0, 0.0]) == p_value([4.0]) == 1.0


def test_holm_by_hand() -> None:
    # The smallest of three counts three times, the next twice; none falls below one before it.
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_nothing_is_known_of_a_single_seed() -> None:
    assert interval([5.0]) == Interval(5.0, -math.inf, math.inf, 1)
    assert math.isnan(spread([5.0]).deviation)
