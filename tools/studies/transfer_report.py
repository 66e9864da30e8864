"""What the study of transfer leaves: its rows, its picture and its page."""

from __future__ import annotations

from collections.abc import Mapping

from lth_core.openmmlab.jobs import Job, Result, Store
from matplotlib.figure import Figure
from study_claims import OWN, Numbers, Row
from study_plan import (
    ACCURACY,
    DENSE,
    EARLY,
    NONE,
    ONE_SHOT,
    REINIT,
    TASK,
    TRANSFERRED,
    Start,
    StudyPlan,
)
from study_report import (
    Kind,
    Run,
    draw,
    draw_dense,
    draw_line,
    label_levels,
    make_rows,
    make_table,
    write,
)
from transfer_claims import judge
from transfer_plan import CHAIN, PAPERS_VARIANTS, PRETRAININGS, TRANSFER, VARIANTS, Settings


def rows_of(plan: StudyPlan, results: Mapping[str, Result]) -> list[Row]:
    """All numbers of finished jobs."""
    order = (*PRETRAININGS, NONE, EARLY)
    masks = (DENSE, TRANSFERRED, TASK, ONE_SHOT, *VARIANTS, REINIT)
    return make_rows(plan, results, _kind, (order, masks))


def _kind(job: Job, start: Start | None) -> Kind | None:
    if job.stage == "imp":
        weights = job.path[-1]
        return Kind(OWN, weights, TRANSFERRED, (PRETRAININGS[weights].measure,))
    if job.stage == "task_imp":
        return Kind(CHAIN, job.path[-1], TASK, (ACCURACY,))
    if start is not None:
        return Kind(TRANSFER, start.weights, start.mask, (ACCURACY,))
    return None  # pre-training itself: its number is the chain's level 0, trained on


def report(run: Run, store: Store) -> None:
    """Writes all files."""
    numbers = Numbers(run.rows, run.settings.amount)
    write(
        store.root,
        run,
        judge(run.rows, run.settings),
        curves(numbers, run.settings),
        "transfer.md.j2",
        lines=_table(numbers, run.settings),
    )


def curves(numbers: Numbers, settings: Settings) -> str:
    """Accuracy over sparsity as SVG, a column for each pre-training; bands of one deviation."""

    def paint(figure: Figure) -> None:
        rows = figure.subplots(2, len(PRETRAININGS), sharex=True, sharey="row")
        levels = (0, *settings.levels)
        for column, (name, pretraining) in enumerate(PRETRAININGS.items()):
            upper, lower = rows[0][column], rows[1][column]
            upper.set_title(f"θ_P pre-trained with {pretraining.title}", fontsize=10)
            for axes in (upper, lower):
                draw_dense(axes, numbers, TRANSFER, name)
                draw_line(axes, numbers, TRANSFER, name, TRANSFERRED, levels)
            draw_line(upper, numbers, TRANSFER, name, TASK, levels)
            draw_line(upper, numbers, TRANSFER, name, ONE_SHOT, levels)
            grey = ("task ticket of random weights (m_T, θ0)", "#8a94a6", "-")
            draw_line(upper, numbers, TRANSFER, NONE, TASK, levels, grey)
            lighter = ("the same from 5 % of training on (m_T, θ5%)", "#b0b7c3", ":")
            draw_line(upper, numbers, CHAIN, EARLY, TASK, levels, lighter)
            for mask in (*VARIANTS, REINIT):
                draw_line(lower, numbers, TRANSFER, name, mask, settings.variant_levels)
            label_levels(lower, numbers, levels)
        for row in rows:
            row[0].set_ylabel("accuracy on digits 5 to 9, %")
            handles, labels = row[0].get_legend_handles_labels()
            row[-1].legend(handles, labels, loc="lower left", fontsize=7.5)

    return draw("transfer", (11, 7.4), paint)


def _table(numbers: Numbers, settings: Settings) -> list[list[str]]:
    """The table's lines."""
    lines = [
        (TRANSFER, name, mask)
        for name in PRETRAININGS
        for mask in (TRANSFERRED, TASK, ONE_SHOT, *VARIANTS, REINIT)
    ]
    lines += [(TRANSFER, NONE, mask) for mask in (TASK, *PAPERS_VARIANTS)]
    titles = {name: each.title for name, each in PRETRAININGS.items()}
    titles |= {NONE: "random θ0", EARLY: "random θ5%"}
    return make_table(numbers, [*lines, (CHAIN, EARLY, TASK)], titles, settings.levels)
