"""Paper A's claims about classification, and whether they hold in the study's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lth_core.statistics import Interval
from study_claims import (
    NOT_IN_PAPER,
    OWN,
    Court,
    Numbers,
    Row,
    Verdict,
    at_least,
    greater,
    within,
)
from study_plan import ACCURACY, DENSE, NONE, ONE_SHOT, REINIT, TASK, TRANSFERRED
from transfer_plan import PAPERS_VARIANTS, PRETRAININGS, TRANSFER, VARIANTS, Settings

SPARSE = 0.59
"""Matching tickets of at least this sparsity are the paper's finding (59.04 % to 96.48 %)."""

BALANCED = 0.05
"""Where sparsity is as near to a half, complement and perturbed mask keep as much as the ticket."""

LATE = 0.93
"""From here on, task-specific and transferred tickets part in the paper (CIFAR-100)."""


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


class _Court(Court):
    """Goes through the claims."""

    settings: Settings

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
                here, verdict = self.exists(task, name, mask, levels, SPARSE, sign)
                measure = pretraining.measure if task == OWN else ACCURACY
                here = f"{measure.label}: {here}"
                found.append(Verdict("matching tickets exist", claim, text, here, verdict))
        return found

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
            sides = tuple(
                (name, PRETRAININGS[name].sign if task == OWN else 1) for name in (first, second)
            )
            titles = (PRETRAININGS[first].title, PRETRAININGS[second].title)
            levels = self.settings.levels if task == TRANSFER else self.chain_levels
            claim = text.format(*titles)
            found.append(self.sparsest(group, claim, paper, task, mask, sides, levels, decide))
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
        group = f"task-specific against transferred, from {self.percent(levels[0])} on"
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

    def _compare(self, group: str, claim: str, paper: str, *rest: Any) -> Verdict:
        return self.compare(group, claim, paper, TRANSFER, *rest)


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
