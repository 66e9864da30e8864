"""Paper C's claims, and whether they hold in the study's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from double_win_plan import (
    ADVERSARIAL,
    AUDIT,
    PORTIONS,
    PRETRAININGS,
    RANDOM,
    STANDARD,
    Settings,
    task_of,
)
from lth_core.matching import DoubleWin, double_win, match, percent
from lth_core.results import Result
from lth_core.statistics import Interval
from study_claims import (
    FAILS,
    HOLDS,
    NOT_IN_PAPER,
    UNDECIDED,
    Court,
    Numbers,
    Row,
    Verdict,
    at_least,
    at_least_within,
    differences,
    greater,
    matching_by_seed,
)
from study_plan import DENSE, TRANSFERRED

SPARSE = 0.7379
"""The paper's double wins are of this sparsity or more (73.79 % to 91.41 %)."""

SPARSEST = 0.9142
"""Tickets are compared with dense and with each other up to here, where the paper's wins end."""

SLACK = 2.0
"""Points that more steps and restarts may cost before robustness counts as an artefact of few."""

ROBUST = ("fast", "pgd")
LITTLE = tuple(PORTIONS)[1:]


def measured(task: str, metric: str) -> str:
    """What a task is called where each of its metrics is by itself: ``standard 100 %, SA``."""
    return f"{task}, {metric}"


def conditions(portion: str) -> dict[str, str]:
    """What a double win is judged by: what it is called, and the measured task."""
    standard, adversarial = task_of(STANDARD, portion), task_of(ADVERSARIAL, portion)
    return {
        "SA, standard training": measured(standard, "SA"),
        "SA, adversarial training": measured(adversarial, "SA"),
        "RA, adversarial training": measured(adversarial, "RA"),
    }


def numbers_of(rows: Sequence[Row], amount: float) -> Numbers:
    """The numbers by measured task."""
    return Numbers([replace(row, task=measured(row.task, row.metric)) for row in rows], amount)


def double_wins(rows: Sequence[Row]) -> dict[tuple[str, str], DoubleWin]:
    """By pre-training and portion, by the project's matching rules."""
    found = {}
    for portion in PORTIONS:
        tasks = (task_of(STANDARD, portion), task_of(ADVERSARIAL, portion))
        results = [
            Result(
                row.task, row.weights, row.mask, row.level, row.sparsity, row.seed, row.metric,
                row.value,
            )
            for row in rows
            if row.task in tasks and row.mask in (DENSE, TRANSFERRED)
        ]  # fmt: skip
        for each in double_win(match(results), *tasks, metric="SA", robust_metric="RA"):
            found[each.weights, portion] = each
    return found


def judge(rows: Sequence[Row], settings: Settings) -> list[Verdict]:
    """All claims, in the order of the report."""
    court = _Court(numbers_of(rows, settings.amount), settings, double_wins(rows))
    return [
        *court.existence(),
        *court.sparser(),
        *court.superior(),
        *court.amplified(),
        *court.efficient(),
        *court.against_random(),
        *court.audit(),
    ]


class _Court(Court):
    """Goes through the claims.

    Args:
        numbers: By measured task.
        settings: Of the study.
        wins: By pre-training and portion.
    """

    settings: Settings

    def __init__(
        self, numbers: Numbers, settings: Settings, wins: Mapping[tuple[str, str], DoubleWin]
    ) -> None:
        super().__init__(numbers, settings)
        self.wins = wins
        # Of a study with none so dense, the first.
        self.compared = [
            level for level in settings.levels if numbers.sparsity(level) <= SPARSEST
        ] or list(settings.levels[:1])

    def existence(self) -> list[Verdict]:
        """Double-win tickets of at least 73.79 % sparsity exist."""
        papers = {
            "standard": "89.26 % on CIFAR-10, 73.79 % on CIFAR-100",
            "fast": "89.26 % on CIFAR-10, 79.03 % on CIFAR-100",
            "pgd": "91.41 % on CIFAR-10, 83.22 % on CIFAR-100",
        }
        return [
            Verdict(
                "double-win tickets exist",
                "double wins of 73 % sparsity or more exist with "
                f"{PORTIONS[portion].title} of the data: {PRETRAININGS[name].title}",
                papers[name] if portion not in LITTLE else "exist (abstract)",
                *self._exists(name, portion),
            )
            for portion in PORTIONS
            for name in PRETRAININGS
        ]

    def _exists(self, name: str, portion: str) -> tuple[str, str]:
        win = self.wins[name, portion]
        by_rule, by_test = percent(win.by_rule), percent(win.by_test)
        singles = ", ".join(
            f"{what} {percent(each.by_rule)}"
            for what, each in zip(conditions(portion), win.conditions.values(), strict=True)
        )
        here = f"sparsest: {by_rule}, by the test {by_test}; in one condition alone: {singles}"
        sparse = self.sparse_ones(self.settings.levels, SPARSE)
        if any(each.by_rule for each in win.levels if each.level in sparse):
            return here, HOLDS
        open_ones = [
            level
            for level in sparse
            if all(
                self.may_match(task, name, TRANSFERRED, level)
                for task in conditions(portion).values()
            )
        ]
        return here, UNDECIDED if open_ones else FAILS

    def sparser(self) -> list[Verdict]:
        """Which pre-training's double wins go sparser."""
        claims: list[tuple[str, str, str, str, Callable[[Interval], str]]] = [
            ("all", "pgd", "standard", "91.41 % against 89.26 %, 83.22 % against 73.79 %", greater),
            ("all", "pgd", "fast", "91.41 % against 89.26 %, 83.22 % against 79.03 %", greater),
            ("all", "fast", "standard", "89.26 % both, 79.03 % against 73.79 %", at_least),
            *((portion, "pgd", "standard", "sparser (abstract)", greater) for portion in LITTLE),
        ]
        found = []
        for portion, first, second, paper, decide in claims:
            ones, others = self._extremes(first, portion), self._extremes(second, portion)
            # Where neither has a double win, there is nothing to be as sparse as.
            none = not any((*ones.values(), *others.values()))
            found.append(
                self.beside(
                    "which pre-training's double wins go sparser",
                    f"{PRETRAININGS[first].title} has double wins "
                    f"{'at least as sparse as' if decide is at_least else 'sparser than'} "
                    f"{PRETRAININGS[second].title} with {PORTIONS[portion].title} of the data",
                    paper,
                    "sparsest double win of each seed, mean",
                    ones,
                    others,
                    (lambda _: UNDECIDED) if none else decide,
                )
            )
        return found

    def _extremes(self, name: str, portion: str) -> dict[int, float]:
        """For each seed, the sparsity in % of its sparsest double win, 0 if there is none."""
        each = [
            matching_by_seed(self.numbers, task, name, TRANSFERRED, self.settings.levels)
            for task in conditions(portion).values()
        ]
        return {
            seed: 100
            * self.numbers.sparsity(
                max(set.intersection(*(set(one[seed]) for one in each)), default=0)
            )
            for seed in each[0]
        }

    def superior(self) -> list[Verdict]:
        """Tickets of robust pre-training against those of standard pre-training."""
        return [
            self.compare(
                "tickets of robust pre-training",
                f"better than those of standard pre-training in {what}: {PRETRAININGS[name].title}",
                "superior performance (abstract)",
                task,
                (name, TRANSFERRED),
                ("standard", TRANSFERRED),
                self.compared,
            )
            for name in ROBUST
            for what, task in conditions("all").items()
        ]

    def amplified(self) -> list[Verdict]:
        """What robust pre-training gains: more in tickets than dense, more with little data."""
        group, paper = "where robust pre-training gains more", "amplified (abstract)"
        what = "gain in RA on standard pre-training"
        found = [
            self.beside(
                group,
                f"robust pre-training gains more in tickets than dense: {PRETRAININGS[name].title}",
                paper,
                what,
                self._gain("all", (name, TRANSFERRED), ("standard", TRANSFERRED)),
                self._gain("all", (name, DENSE), ("standard", DENSE)),
                unit=" points",
            )
            for name in ROBUST
        ]
        found += [
            self.beside(
                group,
                "robust pre-training gains more in tickets with "
                f"{PORTIONS[portion].title} of the data than with all: "
                f"{PRETRAININGS[name].title}",
                paper,
                what,
                *(
                    self._gain(each, (name, TRANSFERRED), ("standard", TRANSFERRED))
                    for each in (portion, "all")
                ),
                unit=" points",
            )
            for portion in LITTLE
            for name in ROBUST
        ]
        return found

    def efficient(self) -> list[Verdict]:
        """Tickets against dense with little data."""
        return [
            self.beside(
                "tickets with little data",
                f"tickets gain more on dense with {PORTIONS[portion].title} of the data than "
                f"with all: {PRETRAININGS[name].title}",
                "more data-efficient (abstract)",
                "gain in RA on dense",
                *(
                    self._gain(each, (name, TRANSFERRED), (name, DENSE))
                    for each in (portion, "all")
                ),
                unit=" points",
            )
            for portion in LITTLE
            for name in PRETRAININGS
        ]

    def _gain(
        self, portion: str, better: tuple[str, str], worse: tuple[str, str]
    ) -> dict[int, float]:
        """Difference in RA after adversarial training, for each seed, mean over levels."""
        task = conditions(portion)["RA, adversarial training"]
        first, second = (
            {level: self.numbers.at(task, *side, level) for level in self.compared}
            for side in (better, worse)
        )
        return differences(first, second)

    def against_random(self) -> list[Verdict]:
        """Tickets against random masks with the same weights."""
        return [
            self.compare(
                "tickets against random masks",
                f"the ticket is better than a random mask in {what}: {pretraining.title}",
                NOT_IN_PAPER,
                task,
                (name, TRANSFERRED),
                (name, RANDOM),
                self.settings.variant_levels,
            )
            for name, pretraining in PRETRAININGS.items()
            for what, task in conditions("all").items()
        ]

    def audit(self) -> list[Verdict]:
        """Whether the robustness of dense networks is one of the attack's making."""
        claims: dict[str, tuple[str, Callable[[Interval], str]]] = {
            "PGD-100": (
                f"100 steps and 3 restarts take no more than {SLACK:.0f} points off RA",
                at_least_within(SLACK),
            ),
            "Square": ("Square, which needs no gradient, is no stronger than PGD-20", at_least),
            "transferred": (
                "perturbations of another adversarially trained network are no stronger",
                at_least,
            ),
        }
        return [
            self.beside(
                "whether robustness is real: dense, adversarial training, all data",
                f"{claim}: {pretraining.title}",
                NOT_IN_PAPER,
                f"RA under {attack} and PGD-20",
                *(
                    self.numbers.at(measured(AUDIT, each), name, DENSE, 0)
                    for each in (attack, "PGD-20")
                ),
                decide,
            )
            for attack, (claim, decide) in claims.items()
            for name, pretraining in PRETRAININGS.items()
        ]
