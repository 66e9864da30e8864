"""What the study of double-win tickets leaves: rows, picture, page."""

from __future__ import annotations

from collections.abc import Mapping

from double_win_audit import ATTACKS
from double_win_claims import conditions, double_wins, judge, measured, numbers_of
from double_win_plan import (
    AUDIT,
    PORTIONS,
    PRETRAININGS,
    RA,
    RANDOM,
    SA,
    STANDARD,
    Settings,
    task_of,
)
from lth_core.matching import percent
from lth_core.openmmlab.jobs import Job, Result, Store
from matplotlib.figure import Figure
from study_claims import OWN, Numbers, Row, spread_text
from study_plan import DENSE, TRANSFERRED, Start, StudyPlan
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

NAMES = {TRANSFERRED: "ticket", RANDOM: "random mask"}
LOOKS = {"standard": ("#0072b2", "o"), "fast": ("#e69f00", "s"), "pgd": ("#d55e00", "D")}


def rows_of(plan: StudyPlan, results: Mapping[str, Result]) -> list[Row]:
    """All numbers of finished jobs."""
    return make_rows(plan, results, _kind, (tuple(PRETRAININGS), (DENSE, TRANSFERRED, RANDOM)))


def _kind(job: Job, start: Start | None) -> Kind | None:
    if job.stage == "imp":
        return Kind(OWN, job.path[-1], TRANSFERRED, (SA, RA))
    if start is None:
        return None  # pre-training itself: the chain's level 0, which is not trained
    if job.stage == AUDIT:
        return Kind(AUDIT, start.weights, DENSE, tuple(ATTACKS.values()))
    return Kind(task_of(job.stage, job.path[2]), start.weights, start.mask, (SA, RA))


def report(run: Run, store: Store) -> None:
    """Writes all files."""
    numbers = numbers_of(run.rows, run.settings.amount)
    titles = {name: each.title for name, each in PRETRAININGS.items()}
    lines = [(name, mask) for name in PRETRAININGS for mask in (TRANSFERRED, RANDOM)]
    write(
        store.root,
        run,
        judge(run.rows, run.settings),
        curves(numbers, run.settings),
        "double_win.md.j2",
        wins=_wins(run.rows),
        pretraining=_pretraining(numbers),
        attacks=list(ATTACKS),
        audit=[
            [titles[name], *(_cell(numbers, measured(AUDIT, each), name) for each in ATTACKS)]
            for name in PRETRAININGS
        ],
        tables=[
            (
                f"{what}, {each.title} of the data",
                make_table(
                    numbers,
                    [(task, name, mask) for name, mask in lines],
                    titles,
                    run.settings.levels,
                    NAMES,
                ),
            )
            for portion, each in PORTIONS.items()
            for what, task in conditions(portion).items()
        ],
        portions=PORTIONS,
    )


def _cell(numbers: Numbers, task: str, name: str) -> str:
    return spread_text(numbers.spread(task, name, DENSE, 0))


def _wins(rows: list[Row]) -> list[list[str]]:
    """Pre-training, data, sparsest double win by rule and by test, and of each condition."""
    wins = double_wins(rows)
    return [
        [
            pretraining.title,
            portion.title,
            *(percent(value) for value in (win.by_rule, win.by_test)),
            *(percent(each.by_rule) for each in win.conditions.values()),
        ]
        for at, portion in PORTIONS.items()
        for name, pretraining in PRETRAININGS.items()
        for win in (wins[name, at],)
    ]


def _pretraining(numbers: Numbers) -> list[list[str]]:
    """SA and RA of dense networks on the pre-training task, and RA after standard training."""
    tasks = [measured(OWN, "SA"), measured(OWN, "RA"), measured(task_of(STANDARD, "all"), "RA")]
    return [
        [pretraining.title, *(_cell(numbers, task, name) for task in tasks)]
        for name, pretraining in PRETRAININGS.items()
    ]


def curves(numbers: Numbers, settings: Settings) -> str:
    """Accuracy over sparsity as SVG: a row for each portion, a column for each condition."""

    def paint(figure: Figure) -> None:
        rows = figure.subplots(len(PORTIONS), 3, sharex=True, sharey="row")
        levels = (0, *settings.levels)
        for row, (portion, data) in zip(rows, PORTIONS.items(), strict=True):
            for axes, (what, task) in zip(row, conditions(portion).items(), strict=True):
                for name, (colour, marks) in LOOKS.items():
                    title = PRETRAININGS[name].title
                    draw_dense(axes, numbers, task, name, f"{title}, dense", colour)
                    look = (title, colour, f"{marks}-")
                    draw_line(axes, numbers, task, name, TRANSFERRED, levels, look)
                    look = (f"{title}, random masks", colour, "x:")
                    draw_line(axes, numbers, task, name, RANDOM, settings.variant_levels, look)
                axes.set_title(what, fontsize=10)
            row[0].set_ylabel(f"{data.title} of the data: accuracy, %")
        for axes in rows[-1]:
            label_levels(axes, numbers, levels)
        handles, labels = rows[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)

    return draw("double-win", (11.5, 10), paint)
