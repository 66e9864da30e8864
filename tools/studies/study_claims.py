"""What studies share of judging: rows, verdicts, and the rules that decide.

A comparison is made seed by seed: differences are averaged over the levels compared, which leaves
one number for each seed, and a t interval of their mean decides. What it does not settle is
undecided, and stays so: with three seeds, small differences cannot be told from none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lth_core.pruning import sparsity_after
from lth_core.statistics import (
    CONFIDENCE,
    Interval,
    Spread,
    holm,
    interval,
    p_value,
    spread,
    within_deviation,
)
from study_plan import DENSE, Settings

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"

NOT_IN_PAPER = "–"
"""What the paper has found, of controls that it has not."""

OWN = "own"
"""The pre-training task itself, on which m_P's chain has trained its levels."""

CLEAR = "*"
"""Marks differences of single levels that are clear, with all levels of a comparison in view."""


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        seed: Of all that it comes from.
        task: What was trained: ``own`` (levels of m_P's chain, on its own task) or a name that the
            study has for its downstream trainings.
        weights: Whose values survive: a pre-training's, ``none``, ``early``.
        mask: ``dense``, ``transferred``, ``task``, ``one_shot``, ``reinit`` or a variant.
        level: Prunes behind the mask.
        sparsity: Pruned fraction of the weights in scope, of the mask that was trained.
        metric: What ``value`` is.
        value: The number.
        seconds: How long the training took, on one core.
    """

    seed: int
    task: str
    weights: str
    mask: str
    level: int
    sparsity: float
    metric: str
    value: float
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """A claim and what became of it.

    Attributes:
        group: What it is about.
        claim: What is claimed.
        paper: What the paper has found, shortly.
        here: What was found here, with numbers.
        verdict: ``holds``, ``does not hold`` or ``undecided``.
    """

    group: str
    claim: str
    paper: str
    here: str
    verdict: str


class Numbers:
    """Measured numbers by what they belong to.

    Args:
        rows: All of them.
        amount: Fraction of the remaining weights that each prune removes.
    """

    def __init__(self, rows: Sequence[Row], amount: float = 0.2) -> None:
        self.amount = amount
        self.cells: dict[tuple[str, str, str, int], dict[int, float]] = {}
        for row in rows:
            cell = self.cells.setdefault((row.task, row.weights, row.mask, row.level), {})
            cell[row.seed] = row.value

    def at(self, task: str, weights: str, mask: str, level: int) -> dict[int, float]:
        """A number for each seed; level 0 of every mask is dense, and dense has no other."""
        if mask == DENSE or not level:
            mask, level = DENSE, 0
        return self.cells[task, weights, mask, level]

    def spread(self, task: str, weights: str, mask: str, level: int) -> Spread:
        """Mean and standard deviation over the seeds."""
        return spread(list(self.at(task, weights, mask, level).values()))

    def sparsity(self, level: int) -> float:
        """Of a level."""
        return sparsity_after(level, self.amount)


def greater(found: Interval) -> str:
    """Whether a difference is above zero."""
    return HOLDS if found.low > 0 else FAILS if found.high < 0 else UNDECIDED


def at_least(found: Interval) -> str:
    """Whether a difference is not below zero; one that is zero in every seed is not."""
    return HOLDS if found.low >= 0 else FAILS if found.high < 0 else UNDECIDED


def within(found: Interval, margin: float) -> str:
    """Whether a difference is between ``-margin`` and ``margin``."""
    if -margin <= found.low and found.high <= margin:
        return HOLDS
    return FAILS if found.low > margin or found.high < -margin else UNDECIDED


def at_least_within(margin: float) -> Callable[[Interval], str]:
    """Decides whether a difference is not more than ``margin`` below zero."""

    def decide(found: Interval) -> str:
        moved = Interval(found.mean + margin, found.low + margin, found.high + margin, found.count)
        return at_least(moved)

    return decide


def differences(
    better: Mapping[int, Mapping[int, float]], worse: Mapping[int, Mapping[int, float]]
) -> dict[int, float]:
    """``better - worse`` for each seed: its mean over the levels.

    Args:
        better: By level and seed.
        worse: The same levels and seeds.
    """
    seeds = sorted(next(iter(better.values())))
    return {s: sum(better[k][s] - worse[k][s] for k in better) / len(better) for s in seeds}


def paired(
    better: Mapping[int, Mapping[int, float]], worse: Mapping[int, Mapping[int, float]]
) -> Interval:
    """The interval of the :func:`differences`."""
    return interval(list(differences(better, worse).values()))


def matching(
    numbers: Numbers, task: str, weights: str, mask: str, levels: Sequence[int], sign: int = 1
) -> list[int]:
    """Levels whose mean is not more than one standard deviation of dense worse than dense's."""
    dense = numbers.spread(task, weights, DENSE, 0)
    return [
        level
        for level in levels
        if within_deviation(
            sign * (numbers.spread(task, weights, mask, level).mean - dense.mean), dense
        )
    ]


def matching_by_seed(
    numbers: Numbers, task: str, weights: str, mask: str, levels: Sequence[int], sign: int = 1
) -> dict[int, list[int]]:
    """For each seed, the levels that match.

    Each seed is compared with its own dense training; one standard deviation of dense is that of
    all seeds.
    """
    dense = numbers.at(task, weights, DENSE, 0)
    spread_of_dense = numbers.spread(task, weights, DENSE, 0)
    return {
        seed: [
            level
            for level in levels
            if within_deviation(
                sign * (numbers.at(task, weights, mask, level)[seed] - base), spread_of_dense
            )
        ]
        for seed, base in dense.items()
    }


def extremes(
    numbers: Numbers, task: str, weights: str, mask: str, levels: Sequence[int], sign: int = 1
) -> dict[int, float]:
    """For each seed, the sparsity in % of its highest matching level, 0 if there is none."""
    found = matching_by_seed(numbers, task, weights, mask, levels, sign)
    return {seed: 100 * numbers.sparsity(max(good, default=0)) for seed, good in found.items()}


class Court:
    """What goes through a study's claims.

    Args:
        numbers: What they are judged by.
        settings: Of the study.
    """

    def __init__(self, numbers: Numbers, settings: Settings) -> None:
        self.numbers = numbers
        self.settings = settings
        self.chain_levels = tuple(range(1, settings.rounds + 1))

    def percent(self, level: int) -> str:
        """Sparsity of a level, as ``73.79 %``."""
        return f"{100 * self.numbers.sparsity(level):.2f} %"

    def exists(
        self,
        task: str,
        weights: str,
        mask: str,
        levels: Sequence[int],
        least: float,
        sign: int = 1,
    ) -> tuple[str, str]:
        """What was found of matching tickets, and whether there is one that is sparse enough.

        Args:
            task: See :class:`Row`; so are ``weights`` and ``mask``.
            weights: The same.
            mask: The same.
            levels: All that were trained, in order.
            least: Sparsity that is enough, rounded to hundredths of a per cent.
            sign: 1 if more of the metric is better, -1 if less.
        """
        numbers = self.numbers
        good = matching(numbers, task, weights, mask, levels, sign)
        # The first gap ends what is without one.
        gap = next((place for place, level in enumerate(levels) if level not in good), len(levels))
        dense = numbers.spread(task, weights, DENSE, 0)
        here = f"dense {spread_text(dense)}; "
        if not good:
            here += "no tested level matches"
        else:
            last = good[-1]
            cell = numbers.spread(task, weights, mask, last)
            here += f"up to {self.percent(last)}: {spread_text(cell)}"
            if levels[:gap] != tuple(good):
                without = self.percent(levels[gap - 1]) if gap else "none"
                here += f"; without a gap up to {without}"
        sparse = self.sparse_ones(levels, least)
        if set(sparse) & set(good):
            return here, HOLDS
        open_ones = [level for level in sparse if self.may_match(task, weights, mask, level, sign)]
        return here, UNDECIDED if open_ones else FAILS

    def sparse_ones(self, levels: Sequence[int], least: float) -> list[int]:
        """Levels of a sparsity of ``least`` or more, rounded to hundredths of a per cent."""
        return [level for level in levels if self.numbers.sparsity(level) >= least - _ROUNDED]

    def may_match(self, task: str, weights: str, mask: str, level: int, sign: int = 1) -> bool:
        """Whether the interval of the difference to dense does not lie below zero as a whole."""
        ticket = self.numbers.at(task, weights, mask, level)
        dense = self.numbers.at(task, weights, DENSE, 0)
        return _signed(paired({level: ticket}, {level: dense}), sign).high >= 0

    def sparsest(
        self,
        group: str,
        claim: str,
        paper: str,
        task: str,
        mask: str,
        sides: tuple[tuple[str, int], tuple[str, int]],
        levels: Sequence[int],
        decide: Callable[[Interval], str] = greater,
    ) -> Verdict:
        """Whether tickets of one pre-training match up to higher sparsity than another's.

        Args:
            group: What the claim is about.
            claim: What is claimed.
            paper: What the paper has found.
            task: See :class:`Row`; so is ``mask``.
            mask: The same.
            sides: Two pre-trainings, each with the sign of its metric.
            levels: All that were trained, in order.
            decide: Turns the interval of the difference into a verdict.
        """
        first, second = (
            extremes(self.numbers, task, name, mask, levels, sign) for name, sign in sides
        )
        what = "sparsest matching level of each seed, mean"
        return self.beside(group, claim, paper, what, first, second, decide)

    def beside(
        self,
        group: str,
        claim: str,
        paper: str,
        what: str,
        first: Mapping[int, float],
        second: Mapping[int, float],
        decide: Callable[[Interval], str] = greater,
        unit: str = " %",
    ) -> Verdict:
        """Whether one number of each seed is larger than another.

        Args:
            group: What the claim is about.
            claim: What is claimed.
            paper: What the paper has found.
            what: What the numbers are.
            first: By seed.
            second: The same seeds.
            decide: Turns the interval of the difference into a verdict.
            unit: Of the numbers.
        """
        difference = paired({0: first}, {0: second})
        one, other = (spread(list(each.values())).mean for each in (first, second))
        means = f"{one:.2f}{unit} against {other:.2f}{unit}".replace("-", "−")
        here = f"{what}: {means}, difference {interval_text(difference)}"
        return Verdict(group, claim, paper, here, decide(difference))

    def compare(
        self,
        group: str,
        claim: str,
        paper: str,
        task: str,
        better: tuple[str, str],
        worse: tuple[str, str],
        levels: Sequence[int],
        decide: Callable[[Interval], str] = greater,
    ) -> Verdict:
        """Whether one kind of start is better than another, over levels.

        Args:
            group: What the claim is about.
            claim: What is claimed.
            paper: What the paper has found.
            task: See :class:`Row`.
            better: Weights and mask of what the claim favours.
            worse: Of the other.
            levels: Those compared; 0 is dense.
            decide: Turns the interval of the difference into a verdict.
        """
        numbers = self.numbers
        first, second = (
            {level: numbers.at(task, *side, level) for level in levels} for side in (better, worse)
        )
        pooled = paired(first, second)
        singles = [[first[k][s] - second[k][s] for s in first[k]] for k in levels]
        clear = [p < 1 - CONFIDENCE for p in holm([p_value(each) for each in singles])]
        each = ", ".join(
            f"{spread(single).mean:+.1f}{CLEAR * mark} at {self.percent(k)}"
            for k, single, mark in zip(levels, singles, clear, strict=True)
        )
        here = f"{interval_text(pooled)} points; {each}"
        return Verdict(group, claim, paper, here.replace("-", "−"), decide(pooled))


_ROUNDED = 5e-5
"""What sparsities lose by rounding to hundredths of a per cent."""


def _signed(found: Interval, sign: int) -> Interval:
    if sign > 0:
        return found
    return Interval(-found.mean, -found.high, -found.low, found.count)


def spread_text(found: Spread) -> str:
    """As ``94.22 ± 0.31``; a single seed has no spread."""
    return f"{found.mean:.2f}" + (f" ± {found.deviation:.2f}" if found.count > 1 else "")


def interval_text(found: Interval) -> str:
    """As ``+1.20 [+0.30, +2.10]``."""
    text = f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return text.replace("-", "−")
