"""Paper A's claims, and whether they hold in the study's numbers.

A comparison is made seed by seed: differences are averaged over the levels compared, which leaves
one number for each seed, and a t interval of their mean decides. What it does not settle is
undecided, and stays so: with three seeds, small differences cannot be told from none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lth_core.pruning import sparsity_after
from spread import Interval, Spread, interval, spread
from transfer_plan import (
    ACCURACY,
    DENSE,
    NONE,
    ONE_SHOT,
    PAPERS_VARIANTS,
    PRETRAININGS,
    REINIT,
    TASK,
    TRANSFERRED,
    VARIANTS,
    Settings,
)

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"

NOT_IN_PAPER = "–"
"""What the paper has found, of controls that it has not."""

OWN, CHAIN, TRANSFER = "own", "chain", "transfer"
"""What was trained: levels of chains on pre-training and on the downstream task, and transfers."""

SPARSE = 0.59
"""Matching tickets of at least this sparsity are the paper's finding (59.04 % to 96.48 %)."""

BALANCED = 0.05
"""Where sparsity is as near to a half, complement and perturbed mask keep as much as the ticket."""

LATE = 0.93
"""From here on, task-specific and transferred tickets part in the paper (CIFAR-100)."""


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        seed: Of all that it comes from.
        task: ``own`` (levels of m_P's chain, on its own task), ``chain`` (levels of m_T's) or
            ``transfer`` (downstream trainings, alike but for their start).
        weights: Whose values survive: ``labels``, ``simclr``, ``mocov2``, ``none``, ``early``.
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
        """A number for each seed; level 0 of every mask is dense."""
        return self.cells[task, weights, mask if level else DENSE, level]

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


def paired(
    better: Mapping[int, Mapping[int, float]], worse: Mapping[int, Mapping[int, float]]
) -> Interval:
    """The interval of ``better - worse``, a number for each seed: its mean over the levels.

    Args:
        better: By level and seed.
        worse: The same levels and seeds.
    """
    seeds = sorted(next(iter(better.values())))
    return interval([sum(better[k][s] - worse[k][s] for k in better) / len(better) for s in seeds])


def matching(
    numbers: Numbers, task: str, weights: str, mask: str, levels: Sequence[int], sign: int = 1
) -> list[int]:
    """Levels whose mean is not more than one standard deviation of dense worse than dense's."""
    dense = numbers.spread(task, weights, DENSE, 0)
    return [
        level
        for level in levels
        if sign * (numbers.spread(task, weights, mask, level).mean - dense.mean) >= -dense.deviation
    ]


def extremes(
    numbers: Numbers, task: str, weights: str, mask: str, levels: Sequence[int], sign: int = 1
) -> dict[int, float]:
    """For each seed, the sparsity of its highest matching level, 0 if there is none.

    Each seed is compared with its own dense training; one standard deviation of dense is that of
    all seeds.
    """
    dense = numbers.at(task, weights, DENSE, 0)
    slack = numbers.spread(task, weights, DENSE, 0).deviation
    found = {}
    for seed, base in dense.items():
        good = [
            level
            for level in levels
            if sign * (numbers.at(task, weights, mask, level)[seed] - base) >= -slack
        ]
        found[seed] = 100 * numbers.sparsity(max(good, default=0))
    return found


def judge(rows: Sequence[Row], settings: Settings) -> list[Verdict]:
    """All claims, in the order of the report."""
    court = _Court(Numbers(rows, settings.amount), settings)
    return [
        *court.existence(),
        *court.sparser(),
        *court.variants(),
        *court.insensitive(),
        *court.one_shot(),
        *court.starts(),
        *court.task_specific(),
    ]


class _Sparser(NamedTuple):
    """That tickets of one pre-training go sparser than another's."""

    task: str
    mask: str
    first: str
    second: str
    text: str
    paper: str
    decide: Callable[[Interval], str]


class _Court:
    """Goes through the claims."""

    def __init__(self, numbers: Numbers, settings: Settings) -> None:
        self.numbers = numbers
        self.settings = settings
        self.chain_levels = tuple(range(1, settings.rounds + 1))

    def existence(self) -> list[Verdict]:
        """Matching tickets of at least 59 % sparsity exist."""
        cifar = "{} % on CIFAR-10, {} % on CIFAR-100"
        papers = {
            (TRANSFER, TRANSFERRED): (("91.41", "86.58"), ("91.41", "86.58"), ("91.41", "89.26")),
            (TRANSFER, TASK): (("98.20", "91.41"), ("91.41", "91.41"), ("73.79", "20.00")),
            (OWN, TRANSFERRED): (("67.23",), ("59.04",), ("95.60",)),
        }
        names = {
            (TRANSFER, TRANSFERRED): "(m_P, θ_P) matches dense downstream",
            (TRANSFER, TASK): "(m_T, θ_P) matches dense downstream",
            (OWN, TRANSFERRED): "(m_P, θ_P) matches dense on its own pre-training task",
        }
        found = []
        for (task, mask), paper in papers.items():
            for (name, pretraining), extreme in zip(PRETRAININGS.items(), paper, strict=True):
                sign = pretraining.sign if task == OWN else 1
                levels = self.settings.levels if task == TRANSFER else self.chain_levels
                claim = f"{names[task, mask]} at 59 % sparsity or more: {pretraining.title}"
                text = ("up to " + (cifar if task == TRANSFER else "{} %")).format(*extreme)
                here, verdict = self._exists(task, name, mask, levels, sign)
                measure = pretraining.measure if task == OWN else ACCURACY
                here = f"{measure.label}: {here}"
                found.append(Verdict("matching tickets exist", claim, text, here, verdict))
        return found

    def _exists(
        self, task: str, weights: str, mask: str, levels: Sequence[int], sign: int
    ) -> tuple[str, str]:
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
            here += f"up to {self._percent(last)}: {spread_text(cell)}"
            if levels[:gap] != tuple(good):
                without = self._percent(levels[gap - 1]) if gap else "none"
                here += f"; without a gap up to {without}"
        sparse = [level for level in levels if numbers.sparsity(level) > SPARSE]
        if set(sparse) & set(good):
            return here, HOLDS
        base = numbers.at(task, weights, DENSE, 0)
        open_ones = [
            level
            for level in sparse
            if _signed(
                paired({level: numbers.at(task, weights, mask, level)}, {level: base}), sign
            ).high
            >= 0
        ]
        return here, UNDECIDED if open_ones else FAILS

    def sparser(self) -> list[Verdict]:
        """Which pre-training's tickets go sparser."""
        group = "which pre-training's tickets go sparser"
        claims: list[_Sparser] = []
        for other, paper in (("labels", "67.23"), ("simclr", "59.04")):
            text = "on its own task, {0} goes sparser than {1}"
            paper = f"95.60 % against {paper} %"
            claims.append(_Sparser(OWN, TRANSFERRED, "mocov2", other, text, paper, greater))
        for other in ("labels", "simclr"):
            text = "(m_P, θ_P): {0} goes at least as sparse as {1}"
            paper = "89.26 % against 86.58 % on all of four natural sets"
            claims.append(_Sparser(TRANSFER, TRANSFERRED, "mocov2", other, text, paper, at_least))
        for name, paper in (("labels", "98.20"), ("simclr", "91.41")):
            text = "(m_T, θ_P): {0} goes sparser than {1}"
            paper = f"{paper} % against 73.79 % (CIFAR-10)"
            claims.append(_Sparser(TRANSFER, TASK, name, "mocov2", text, paper, greater))
        found = []
        for task, mask, first, second, text, paper, decide in claims:
            levels = self.settings.levels if task == TRANSFER else self.chain_levels
            reached = [
                extremes(
                    self.numbers, task, name, mask, levels,
                    PRETRAININGS[name].sign if task == OWN else 1,
                )
                for name in (first, second)
            ]  # fmt: skip
            difference = paired({0: reached[0]}, {0: reached[1]})
            means = [spread(list(each.values())).mean for each in reached]
            here = (
                f"sparsest matching level of each seed, mean: {means[0]:.2f} % against "
                f"{means[1]:.2f} %, difference {interval_text(difference)}"
            )
            titles = (PRETRAININGS[first].title, PRETRAININGS[second].title)
            found.append(Verdict(group, text.format(*titles), paper, here, decide(difference)))
        return found

    def variants(self) -> list[Verdict]:
        """The mask matters where weights are pre-trained."""
        worse = "other masks are worse"
        paper = "clearly worse (Fig. 8, labels on CIFAR-100)"
        found = self._worse(worse, "random", paper, self.settings.variant_levels)
        for mask in _OTHER_DENSITY:
            # Where a mask keeps more than the ticket, that is an advantage of its own.
            found += self._worse(worse, mask, paper, self._balanced(), " that keeps as much")
            found += self._worse(worse, mask, paper, self._unbalanced(), " that keeps more")
        if self._unbalanced():
            found.append(
                self._compare(
                    worse,
                    "the complement with θ_labels is no better than (m_T, θ0)",
                    "no better (Fig. 8)",
                    (NONE, TASK),
                    ("labels", "complement"),
                    self._unbalanced(),
                    at_least,
                )
            )
        for mask in (*(name for name in VARIANTS if name not in PAPERS_VARIANTS), REINIT):
            group = "controls that the paper has not"
            found += self._worse(group, mask, NOT_IN_PAPER, self.settings.variant_levels)
        return found

    def _worse(
        self, group: str, mask: str, paper: str, levels: Sequence[int], what: str = ""
    ) -> list[Verdict]:
        return [
            self._compare(
                group,
                f"{_NAMES[mask]}{what} is worse than the ticket: {pretraining.title}",
                paper,
                (name, TRANSFERRED),
                (name, mask),
                levels,
            )
            for name, pretraining in PRETRAININGS.items()
            if levels
        ]

    def _balanced(self) -> list[int]:
        """Levels at which the complement and the perturbed mask keep as much as the ticket."""
        return [
            level
            for level in self.settings.variant_levels
            if abs(self.numbers.sparsity(level) - 0.5) < BALANCED
        ]

    def _unbalanced(self) -> list[int]:
        return [k for k in self.settings.variant_levels if k not in self._balanced()]

    def insensitive(self) -> list[Verdict]:
        """The mask does not matter where weights are random."""
        margin = self.numbers.spread(TRANSFER, NONE, DENSE, 0).deviation
        return [
            self._compare(
                "with random weights the mask hardly matters",
                f"(m_T, θ0) is as good as with {_NAMES[mask]}, within one standard deviation of "
                f"dense ({margin:.2f})",
                "almost insensitive (Fig. 8)",
                (NONE, TASK),
                (NONE, mask),
                self.settings.variant_levels,
                lambda found: within(found, margin),
            )
            for mask in PAPERS_VARIANTS
        ]

    def one_shot(self) -> list[Verdict]:
        """Iterative pruning is worth its rounds."""
        return [
            self._compare(
                "iterative against one-shot",
                f"iterative m_P is better than one-shot |θ_P|: {pretraining.title}",
                NOT_IN_PAPER,
                (name, TRANSFERRED),
                (name, ONE_SHOT),
                self.settings.levels,
            )
            for name, pretraining in PRETRAININGS.items()
        ]

    def starts(self) -> list[Verdict]:
        """Pre-trained tickets beat those of random weights."""
        early = [k for k in self.settings.levels if self.numbers.sparsity(k) <= LATE]
        late = [k for k in self.settings.levels if k not in early]
        papers = {
            "up to": "better (CIFAR-10, CIFAR-100)",
            "above": "better on CIFAR-100; on CIFAR-10 better with SimCLR and MoCo",
        }
        return [
            self._compare(
                "pre-trained against random weights",
                f"{where} 93 %, (m_P, θ_P) is better than (m_T, θ0): {pretraining.title}",
                papers[where],
                (name, TRANSFERRED),
                (NONE, TASK),
                levels,
            )
            for where, levels in (("up to", early), ("above", late))
            if levels
            for name, pretraining in PRETRAININGS.items()
        ]

    def task_specific(self) -> list[Verdict]:
        """Late levels: masks of the task itself against transferred ones."""
        levels = [k for k in self.settings.levels if self.numbers.sparsity(k) > LATE]
        if not levels:
            return []
        group = f"task-specific against transferred, from {self._percent(levels[0])} on"
        cases = {
            "labels": (TASK, TRANSFERRED, "79.3 against 73.8 at 95.60 % (CIFAR-100)"),
            "simclr": (TASK, TRANSFERRED, "80.9 against 78.8"),
            "mocov2": (TRANSFERRED, TASK, "76.5 against 71.1"),
        }
        marks = {TASK: "(m_T, θ_P)", TRANSFERRED: "(m_P, θ_P)"}
        return [
            self._compare(
                group,
                f"{marks[better]} is better than {marks[worse]}: {PRETRAININGS[name].title}",
                paper,
                (name, better),
                (name, worse),
                levels,
            )
            for name, (better, worse, paper) in cases.items()
        ]

    def _compare(
        self,
        group: str,
        claim: str,
        paper: str,
        better: tuple[str, str],
        worse: tuple[str, str],
        levels: Sequence[int],
        decide: Callable[[Interval], str] = greater,
    ) -> Verdict:
        sides = [
            {level: self.numbers.at(TRANSFER, *side, level) for level in levels}
            for side in (better, worse)
        ]
        pooled = paired(*sides)
        each = ", ".join(
            f"{paired({k: sides[0][k]}, {k: sides[1][k]}).mean:+.1f} at {self._percent(k)}"
            for k in levels
        )
        here = f"{interval_text(pooled)} points; {each}"
        return Verdict(group, claim, paper, here.replace("-", "−"), decide(pooled))

    def _percent(self, level: int) -> str:
        return f"{100 * self.numbers.sparsity(level):.2f} %"


_OTHER_DENSITY = ("complement", "perturb")
"""Variants that keep another share of the weights than the ticket."""

_NAMES = {
    "complement": "the complement",
    "random": "a random mask",
    "perturb": "the perturbed mask",
    "random_layer": "a random mask of the same layers' counts",
    "shuffle": "the mask with its kernels shuffled",
    REINIT: "the ticket with fresh random weights",
}


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
