"""What the study of pruning with self-supervision leaves: rows, picture, page."""

from __future__ import annotations

from collections.abc import Mapping

from lth_core.openmmlab.jobs import Job, Measure, Result, Store
from matplotlib.figure import Figure
from self_supervision_claims import FEATURES, FINE_TUNING, ON_LABELS, ZEROS, judge
from self_supervision_features import METRIC
from self_supervision_plan import (
    CLOCKS,
    DEPTHS,
    FINE_TUNED,
    LAYER_WISE,
    PRE_PRUNED,
    PRUNED_LATER,
    PRUNING,
    RANDOM,
    REWIND_AT,
    WINNING,
    Settings,
    up_to,
)
from study_claims import OWN, Numbers, Row
from study_plan import ACCURACY, DENSE, NONE, REINIT, Start, StudyPlan, sparsity_text
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

LAYERS = tuple(up_to(last) for last in DEPTHS)
MASKS = (DENSE, WINNING, REINIT, RANDOM, *LAYERS, PRE_PRUNED, PRUNED_LATER)
NAMES = {
    WINNING: "early weights",
    REINIT: "fresh weights",
    RANDOM: "random mask, fresh weights",
    PRE_PRUNED: "pruned in pre-training",
    PRUNED_LATER: "pruned on the task",
    **{up_to(last): f"up to {last}" for last in DEPTHS},
}
LOOKS = {
    "labels": ("#0072b2", "o-"),
    "rotnet": ("#d55e00", "D-"),
    "exemplar": ("#009e73", "s-"),
    "npid": ("#cc79a7", "v-"),
    "s4l": ("#e69f00", "^-"),
    "few_labels": ("#56b4e9", "X-"),
}
FROZEN = (Measure(METRIC, "accuracy %"),)
ALL_ZEROS = (Measure(ZEROS, "zeros %"),)


def rows_of(plan: StudyPlan, results: Mapping[str, Result]) -> list[Row]:
    """All numbers of finished jobs."""
    order = ((*PRUNING, *CLOCKS, NONE), MASKS)
    rows = make_rows(plan, results, _kind, order)
    # The same jobs count the zeros of the dense networks.
    return rows + [row for row in make_rows(plan, results, _zeros, order) if row.mask == DENSE]


def _kind(job: Job, start: Start | None) -> Kind | None:
    name = job.path[-1]
    if job.stage == "prune":
        return Kind(OWN, name, WINNING, (PRUNING[name].measure,))
    if job.stage == "features":
        return Kind(FEATURES, name, WINNING, FROZEN)
    if job.stage == "other_imp":
        return Kind(FINE_TUNING, name, PRUNED_LATER, (ACCURACY,))
    if start is None:
        return None
    task = ON_LABELS if job.stage == "labels" else FINE_TUNING
    return Kind(task, start.weights, start.mask, (ACCURACY,))


def _zeros(job: Job, start: Start | None) -> Kind | None:
    return Kind(ZEROS, job.path[-1], WINNING, ALL_ZEROS) if job.stage == "features" else None


def report(run: Run, store: Store) -> None:
    """Writes all files."""
    numbers = Numbers(run.rows, run.settings.amount)
    titles = {name: each.title for name, each in PRUNING.items()}
    titles |= {name: f"10 % of labels, equal {name}" for name in CLOCKS} | {NONE: "none"}
    clocks = [name for name, at in CLOCKS.items() if at != REWIND_AT["few_labels"]]

    def table(lines: list[tuple[str, str, str]], levels: tuple[int, ...]) -> list[list[str]]:
        return make_table(numbers, lines, titles, levels, NAMES)

    on_labels = [(ON_LABELS, name, mask) for name in PRUNING for mask in (WINNING, REINIT)]
    on_labels += [(ON_LABELS, NONE, RANDOM)] + [(ON_LABELS, name, WINNING) for name in clocks]
    write(
        store.root,
        run,
        judge(run.rows, run.settings),
        curves(numbers, run.settings),
        "self_supervision.md.j2",
        lines=table(on_labels, run.settings.levels),
        layers=table(
            [(ON_LABELS, name, mask) for name in LAYER_WISE for mask in (*LAYERS, WINNING)],
            (run.settings.deep,),
        ),
        deep=sparsity_text(run.settings.deep, run.settings.amount),
        features=table([(FEATURES, name, WINNING) for name in PRUNING], run.settings.levels),
        tuned=table(
            [
                (FINE_TUNING, name, mask)
                for name in FINE_TUNED
                for mask in (PRE_PRUNED, PRUNED_LATER)
            ],
            run.settings.variant_levels,
        ),
    )


def curves(numbers: Numbers, settings: Settings) -> str:
    """Accuracy over sparsity as SVG; bands of one deviation."""

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, 3, sharex=True)
        every = (0, *settings.levels)
        for place, (task, mask, title) in enumerate(
            (
                (ON_LABELS, WINNING, "trained on labels, early weights"),
                (ON_LABELS, REINIT, "trained on labels, fresh weights"),
                (FEATURES, WINNING, "frozen features, other digits"),
            )
        ):
            levels = settings.levels if mask == REINIT else every
            for name, (colour, marks) in LOOKS.items():
                look = (PRUNING[name].title, colour, marks)
                draw_line(axes[place], numbers, task, name, mask, levels, look)
            if task == ON_LABELS:
                draw_dense(axes[place], numbers, task, "labels")
                look = ("random masks", "#5b6678", "P--")
                draw_line(axes[place], numbers, task, NONE, RANDOM, settings.levels, look)
            axes[place].set_title(title, fontsize=10)
            label_levels(axes[place], numbers, every)
        axes[0].set_ylabel("accuracy, %")
        handles, labels = axes[0].get_legend_handles_labels()
        axes[0].legend(handles, labels, loc="lower left", fontsize=7.5)

    return draw("self-supervision", (12, 4.2), paint)
