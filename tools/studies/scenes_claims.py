"""Paper A's claims about detection and segmentation, and whether they hold in the study's numbers.

The paper's numbers are for YOLOv4 on VOC (AP) and DeepLabv3+ on VOC 2012 (mIoU), from its text and
read off its Fig. 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from scenes_plan import PRETRAININGS, RANDOM, TASKS, Settings
from study_claims import NOT_IN_PAPER, Court, Numbers, Row, Verdict, at_least, greater
from study_plan import DENSE, NONE, ONE_SHOT, TASK, TRANSFERRED

DET, SEG = TASKS
AP, AP50 = (measure.label for measure in TASKS[DET].measures)
MIOU = TASKS[SEG].measures[0].label

LABELS = {DET: AP, SEG: MIOU}
"""What claims go by."""

EXTREMES = {
    (DET, AP, TRANSFERRED): (73.79, 48.80, 73.79),
    (DET, AP50, TRANSFERRED): (83.22, 89.26, 36.00),
    (SEG, MIOU, TRANSFERRED): (48.80, 36.00, 83.22),
    (DET, AP, TASK): (95.60, 93.13, 97.75),
    (SEG, MIOU, TASK): (73.79, 67.23, 86.58),
}
"""Sparsity up to which the paper's tickets match: labels, SimCLR, MoCo."""

DENSE_THERE = {DET: (47.9, 46.3, 46.5), SEG: (71.9, 63.4, 71.4)}
AT_HALF = {DET: (50.6, 48.5, 49.7), SEG: (72.1, 63.7, 73.9)}
"""Dense, and (m_T, θ_P) at 48.80 %, in the same order."""

AT_86 = {
    (DET, TRANSFERRED): (45.9, 43.5, 46.3),
    (DET, TASK): (50.8, 48.1, 49.1),
    (SEG, TRANSFERRED): (64.9, 50.4, 69.3),
    (SEG, TASK): (68.7, 56.6, 71.0),
}
"""Tickets at 86.58 %."""

HALF = 0.5


def main_numbers(rows: Sequence[Row], settings: Settings) -> Numbers:
    """What all claims but one go by: AP50 has a place of its own."""
    return Numbers([row for row in rows if row.metric != AP50], settings.amount)


def ap50_numbers(rows: Sequence[Row], settings: Settings) -> Numbers:
    """AP50 of detection."""
    return Numbers([row for row in rows if row.metric == AP50], settings.amount)


def judge(rows: Sequence[Row], settings: Settings) -> list[Verdict]:
    """All claims, in the order of the report."""
    court = _Court(main_numbers(rows, settings), settings)
    by_ap50 = _Court(ap50_numbers(rows, settings), settings)
    kinds = list(EXTREMES)
    return [
        *court.existence(kinds[0]),
        *by_ap50.existence(kinds[1]),
        *(verdict for kind in kinds[2:] for verdict in court.existence(kind)),
        *court.sparser(),
        *court.better(),
        *court.task_specific(),
        *court.above_dense(),
        *court.controls(),
    ]


class _Court(Court):
    """Goes through the claims."""

    settings: Settings

    def existence(self, kind: tuple[str, str, str]) -> list[Verdict]:
        """Tickets match up to the sparsity of the paper, or to the highest there is here."""
        task, label, mask = kind
        highest = 100 * self.numbers.sparsity(self.settings.levels[-1])
        found = []
        for (name, pretraining), extreme in zip(PRETRAININGS.items(), EXTREMES[kind], strict=True):
            if mask == TASK and name not in self.settings.task_specific:
                continue
            least = min(extreme, highest)
            claim = f"{TASKS[task].title}, {label}: {_MARKS[mask]} matches dense at {least:.2f} % "
            claim += f"or more: {pretraining.title}"
            here, verdict = self.exists(task, name, mask, self.settings.levels, least / 100)
            paper = f"up to {extreme:.2f} %"
            found.append(Verdict("matching tickets exist", claim, paper, here, verdict))
        return found

    def sparser(self) -> list[Verdict]:
        """Which pre-training's tickets match up to higher sparsity."""
        found = []
        for task, first, second, more, decide in (
            (DET, "labels", "simclr", "sparser than", greater),
            (DET, "mocov2", "labels", "at least as sparse as", at_least),
            (SEG, "mocov2", "labels", "sparser than", greater),
            (SEG, "labels", "simclr", "sparser than", greater),
        ):
            extremes = dict(
                zip(PRETRAININGS, EXTREMES[task, LABELS[task], TRANSFERRED], strict=True)
            )
            claim = f"{TASKS[task].title}: {PRETRAININGS[first].title} goes {more} "
            claim += PRETRAININGS[second].title
            paper = f"{extremes[first]:.2f} % against {extremes[second]:.2f} %"
            found.append(
                self.sparsest(
                    "which pre-training's tickets go sparser",
                    claim,
                    paper,
                    task,
                    TRANSFERRED,
                    ((first, 1), (second, 1)),
                    self.settings.levels,
                    decide,
                )
            )
        return found

    def better(self) -> list[Verdict]:
        """Which pre-training's tickets are better at the same sparsity."""
        found = []
        for task, label in LABELS.items():
            there = dict(zip(PRETRAININGS, AT_86[task, TRANSFERRED], strict=True))
            for first, second in (("mocov2", "labels"), ("labels", "simclr")):
                claim = f"{TASKS[task].title}, {label}: tickets of {PRETRAININGS[first].title} are "
                claim += f"better than those of {PRETRAININGS[second].title}"
                found.append(
                    self.compare(
                        "MoCo above labels above SimCLR",
                        claim,
                        f"at all levels; {there[first]} against {there[second]} at 86.58 %",
                        task,
                        (first, TRANSFERRED),
                        (second, TRANSFERRED),
                        self.settings.levels,
                    )
                )
        return found

    def task_specific(self) -> list[Verdict]:
        """Tickets found on the task itself against transferred ones."""
        return [
            self.compare(
                "task-specific against transferred",
                f"{TASKS[task].title}, {label}: (m_T, θ_P) is better than (m_P, θ_P): "
                f"{PRETRAININGS[name].title}",
                f"{own} against {other} at 86.58 %",
                task,
                (name, TASK),
                (name, TRANSFERRED),
                self.settings.levels,
            )
            for task, label in LABELS.items()
            for name, own, other in zip(
                PRETRAININGS, AT_86[task, TASK], AT_86[task, TRANSFERRED], strict=True
            )
            if name in self.settings.task_specific
        ]

    def above_dense(self) -> list[Verdict]:
        """Tickets found on the task itself are better than dense where they are hardly sparse."""
        levels = [k for k in self.settings.levels if self.numbers.sparsity(k) <= HALF]
        return [
            self.compare(
                "task-specific tickets rise above dense",
                f"{TASKS[task].title}, {label}: (m_T, θ_P) of up to 50 % is better than dense: "
                f"{PRETRAININGS[name].title}",
                f"{own} against {dense} at 48.80 %",
                task,
                (name, TASK),
                (name, DENSE),
                levels,
            )
            for task, label in LABELS.items()
            if levels
            for name, own, dense in zip(PRETRAININGS, AT_HALF[task], DENSE_THERE[task], strict=True)
            if name in self.settings.task_specific
        ]

    def controls(self) -> list[Verdict]:
        """Random and one-shot masks, and weights without pre-training."""
        found = []
        for task, label in LABELS.items():
            where = f"{TASKS[task].title}, {label}"
            for name, pretraining in PRETRAININGS.items():
                for mask, text in (
                    (RANDOM, "a random mask is worse than the ticket"),
                    (ONE_SHOT, "iterative m_P is better than one-shot |θ_P|"),
                ):
                    found.append(
                        self.compare(
                            _CONTROLS,
                            f"{where}: {text}: {pretraining.title}",
                            NOT_IN_PAPER,
                            task,
                            (name, TRANSFERRED),
                            (name, mask),
                            self.settings.variant_levels,
                        )
                    )
                found.append(
                    self.compare(
                        _CONTROLS,
                        f"{where}: dense θ_P is better than dense θ0: {pretraining.title}",
                        NOT_IN_PAPER,
                        task,
                        (name, DENSE),
                        (NONE, DENSE),
                        (0,),
                    )
                )
        return found


_MARKS = {TRANSFERRED: "(m_P, θ_P)", TASK: "(m_T, θ_P)"}

_CONTROLS = "controls that the paper has not"
