"""What the study of scenes leaves: its rows, its pictures and its page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import fmean

from lth_core.files import write_atomic
from lth_core.openmmlab.demo.plan import TRUTH
from lth_core.openmmlab.jobs import Job, Result, Store
from matplotlib.figure import Figure
from PIL import Image
from scenes_claims import ap50_numbers, judge, main_numbers
from scenes_plan import PRETRAININGS, RANDOM, TASKS, Settings, pictures_of
from study_claims import OWN, Numbers, Row
from study_plan import DENSE, NONE, ONE_SHOT, TASK, TRANSFERRED, Start, StudyPlan
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

PREDICTIONS = "predictions.png"

SHOWN = 2
"""How many scenes the picture of predictions has of each task."""


def rows_of(plan: StudyPlan, results: Mapping[str, Result]) -> list[Row]:
    """All numbers of finished jobs."""
    masks = (DENSE, TRANSFERRED, TASK, ONE_SHOT, RANDOM)
    return make_rows(plan, results, _kind, ((*PRETRAININGS, NONE), masks))


def _kind(job: Job, start: Start | None) -> Kind | None:
    if job.stage == "imp":
        weights = job.path[-1]
        return Kind(OWN, weights, TRANSFERRED, (PRETRAININGS[weights].measure,))
    if job.stage == "task_imp":
        task, weights = job.path[1:]
        return Kind(task, weights, TASK, TASKS[task].measures)
    if start is not None:
        return Kind(job.stage, start.weights, start.mask, TASKS[job.stage].measures)
    return None  # pre-training, whose number is the chain's level 0, trained on; and pictures


def report(run: Run, store: Store) -> None:
    """Writes all files."""
    numbers = [
        (f"{TASKS[task].title}, {measure.label}", task, found)
        for task in TASKS
        for measure, found in zip(
            TASKS[task].measures,
            (main_numbers(run.rows, run.settings), ap50_numbers(run.rows, run.settings)),
            strict=False,
        )
    ]
    write_atomic(store.root / PREDICTIONS, _predictions(store))
    write(
        store.root,
        run,
        judge(run.rows, run.settings),
        _curves(numbers, run.settings),
        "scenes.md.j2",
        tables=[(title, _table(task, found, run.settings)) for title, task, found in numbers],
        predictions=PREDICTIONS,
        times=[_times(task, run.rows) for task in TASKS],
        task_specific=[PRETRAININGS[name].title for name in run.settings.task_specific],
        pictured=f"{100 * numbers[0][2].sparsity(run.settings.variant_levels[0]):.2f}",
    )


def _times(task: str, rows: Sequence[Row]) -> tuple[str, str, str]:
    """A task, and how long its trainings took: the quickest, and the mean."""
    label = TASKS[task].measures[0].label
    seconds = [row.seconds for row in rows if (row.task, row.metric) == (task, label)]
    return TASKS[task].title, f"{min(seconds):.0f}", f"{fmean(seconds):.0f}"


def _curves(numbers: list[tuple[str, str, Numbers]], settings: Settings) -> str:
    """Every metric over sparsity as SVG, a column for each pre-training."""

    def paint(figure: Figure) -> None:
        grid = figure.subplots(len(numbers), len(PRETRAININGS), sharex=True, sharey="row")
        levels = (0, *settings.levels)
        for row, (label, task, found) in zip(grid, numbers, strict=True):
            for axes, name in zip(row, PRETRAININGS, strict=True):
                draw_dense(axes, found, task, name)
                draw_line(axes, found, task, name, TRANSFERRED, levels)
                if name in settings.task_specific:
                    draw_line(axes, found, task, name, TASK, levels)
                for mask in (ONE_SHOT, RANDOM):
                    draw_line(axes, found, task, name, mask, settings.variant_levels)
                draw_dense(axes, found, task, NONE, "dense, random θ0", "#b07aa1")
            row[0].set_ylabel(label)
        for axes, pretraining in zip(grid[0], PRETRAININGS.values(), strict=True):
            axes.set_title(f"θ_P pre-trained with {pretraining.title}", fontsize=10)
        for axes in grid[-1]:
            label_levels(axes, numbers[0][2], levels)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)

    return draw("scenes", (11, 10), paint)


def _table(task: str, numbers: Numbers, settings: Settings) -> list[list[str]]:
    lines = [
        (task, name, mask)
        for name in PRETRAININGS
        for mask in (TRANSFERRED, TASK, ONE_SHOT, RANDOM)
        if mask != TASK or name in settings.task_specific
    ]
    titles = {name: each.title for name, each in PRETRAININGS.items()} | {NONE: "random θ0"}
    return make_table(numbers, [*lines, (task, NONE, DENSE)], titles, settings.levels)


def _predictions(store: Store) -> bytes:
    """Scenes as they are, and as the first seed's models see them, as PNG."""
    columns = (TRUTH, DENSE, "ticket", RANDOM)
    rows = [(task, index) for task in TASKS for index in range(SHOWN)]
    figure = Figure(figsize=(2.2 * len(columns), 2.3 * len(rows)), dpi=100, layout="constrained")
    for line, (task, index) in zip(figure.subplots(len(rows), len(columns)), rows, strict=True):
        for axes, column in zip(line, columns, strict=True):
            axes.imshow(Image.open(store.directory(pictures_of(task)) / f"{index}_{column}.jpg"))
            axes.set_axis_off()
            if not index:
                axes.set_title(f"{TASKS[task].title}: {column}", fontsize=9)
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", facecolor="white")
    # Of a palette it takes a third of the space.
    Image.open(full).convert("RGB").quantize(256).save(small, "png", optimize=True)
    return small.getvalue()
