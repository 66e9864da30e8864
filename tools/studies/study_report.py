"""What studies leave: ``results.csv``, ``verdicts.json``, ``curves.svg`` and ``README.md``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from lth_core.files import write_atomic
from lth_core.openmmlab.jobs import Job, Measure, Result, clock
from lth_core.report.drawing import STYLE
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_claims import (
    CLEAR,
    FAILS,
    HOLDS,
    NOT_IN_PAPER,
    UNDECIDED,
    Numbers,
    Row,
    Verdict,
    spread_text,
)
from study_plan import DENSE, ONE_SHOT, REINIT, TASK, TRANSFERRED, Settings, Start, StudyPlan

RESULTS, VERDICTS, CURVES, READ_ME = "results.csv", "verdicts.json", "curves.svg", "README.md"
FILES = (RESULTS, CURVES, READ_ME)
"""Those that are named at the end."""

LOOKS = {
    TRANSFERRED: ("transferred ticket (m_P, θ_P)", "#0072b2", "o-"),
    TASK: ("task-specific ticket (m_T, θ_P)", "#d55e00", "D-"),
    ONE_SHOT: ("one-shot |θ_P|, θ_P", "#009e73", "s--"),
    "complement": ("complement", "#cc79a7", "v-"),
    "random": ("random", "#e69f00", "X-"),
    "perturb": ("perturbed 10 %", "#56b4e9", "D-"),
    "random_layer": ("random, layers matched", "#8c6d31", "X:"),
    "shuffle": ("kernels shuffled", "#7b61a8", "s:"),
    REINIT: ("ticket, fresh weights", "#5b6678", "^--"),
}
"""Name, colour and marks of what is drawn."""

NAMES = {
    DENSE: "dense",
    TRANSFERRED: "m_P",
    TASK: "m_T",
    ONE_SHOT: "one-shot",
    REINIT: "m_P, fresh weights",
}
"""Of masks, in tables, where they are shorter."""


@dataclass(frozen=True)
class Run:
    """A study that is over.

    Attributes:
        settings: What was run.
        rows: All numbers.
        command: How it was called.
        jobs: How many processes it could use.
        work: Seconds that all jobs took together, on one core each.
    """

    settings: Settings
    rows: list[Row]
    command: str
    jobs: int
    work: float


@dataclass(frozen=True)
class Kind:
    """What a job's numbers are; see :class:`study_claims.Row`."""

    task: str
    weights: str
    mask: str
    measures: tuple[Measure, ...]


def make_rows(
    plan: StudyPlan,
    results: Mapping[str, Result],
    kind_of: Callable[[Job, Start | None], Kind | None],
    order: tuple[Sequence[str], Sequence[str]],
) -> list[Row]:
    """All numbers of finished jobs, in the order of tasks, weights, masks, levels and seeds.

    Args:
        plan: The jobs.
        results: Of jobs, by name.
        kind_of: Says what a job's numbers are, None where they are of no use.
        order: All weights, and all masks, in theirs.
    """
    rows = []
    for name, result in results.items():
        start = plan.starts.get(name)
        kind = kind_of(plan.jobs[name], start)
        if kind is None:
            continue
        measured = [(x.level, x.sparsity, x.metrics, x.seconds) for x in result.levels]
        if start is not None and not measured:
            measured = [(start.level, result.sparsity, result.metrics, result.seconds)]
        rows += [
            Row(
                plan.seeds[name], kind.task, kind.weights, kind.mask if level else DENSE, level,
                round(sparsity, 6), measure.label.removesuffix(" %"),
                round(measure.of(metrics), 6), round(seconds, 2),
            )
            for level, sparsity, metrics, seconds in measured
            for measure in kind.measures
        ]  # fmt: skip
    weights, masks = order
    return sorted(
        rows,
        key=lambda row: (
            row.task,
            row.metric,
            weights.index(row.weights),
            masks.index(row.mask),
            row.level,
            row.seed,
        ),
    )


def write(
    root: Path, run: Run, verdicts: Sequence[Verdict], curves: str, template: str, **more: Any
) -> None:
    """Writes all files.

    Args:
        root: The directory.
        run: The study.
        verdicts: On its claims.
        curves: A drawing, as SVG.
        template: Name of the page's template.
        **more: What only this template asks for.
    """
    out = io.StringIO()
    table = csv.DictWriter(out, [each.name for each in fields(Row)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in run.rows)
    write_atomic(root / RESULTS, out.getvalue())
    found = json.dumps([asdict(each) for each in verdicts], indent=2, ensure_ascii=False)
    write_atomic(root / VERDICTS, found + "\n")
    write_atomic(root / CURVES, curves)
    write_atomic(root / READ_ME, _page(run, verdicts, template, **more))


def _page(run: Run, verdicts: Sequence[Verdict], template: str, **more: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = lambda text: text.replace("|", "\\|")
    numbers, settings = Numbers([], run.settings.amount), run.settings

    def percent(level: int) -> str:
        return f"{100 * numbers.sparsity(level):.2f}"

    return environment.get_template(template).render(
        run=run,
        count=len(settings.seeds),
        work=clock(run.work),
        verdicts=verdicts,
        against=FAILS,
        none_there=NOT_IN_PAPER,
        clear=CLEAR,
        outcomes=(HOLDS, FAILS, UNDECIDED),
        groups=[
            (group, list(claims)) for group, claims in groupby(verdicts, lambda each: each.group)
        ],
        levels=[percent(level) for level in settings.levels],
        varied=[percent(level) for level in settings.variant_levels],
        last=percent(settings.rounds),
        curves=CURVES,
        results=RESULTS,
        **more,
    )


def make_table(
    numbers: Numbers,
    lines: Iterable[tuple[str, str, str]],
    titles: Mapping[str, str],
    levels: Sequence[int],
    names: Mapping[str, str] = NAMES,
) -> list[list[str]]:
    """Lines of a table: weights, mask, and cells for dense and each level.

    Cells are empty where nothing is known; dense is in the first line of its weights alone.

    Args:
        numbers: What there is.
        lines: Task, weights and mask of each; see :class:`study_claims.Row`.
        titles: What weights are called.
        levels: Those that have a cell.
        names: What masks are called.
    """
    table, seen = [], set()
    for task, weights, mask in lines:
        keys = [(task, weights, DENSE, 0), *((task, weights, mask, level) for level in levels)]
        cells = [spread_text(numbers.spread(*k)) if k in numbers.cells else "" for k in keys]
        if weights in seen:
            cells[0] = ""
        seen.add(weights)
        table.append([titles[weights], names.get(mask) or LOOKS[mask][0], *cells])
    return table


def draw(name: str, size: tuple[float, float], paint: Callable[[Figure], None]) -> str:
    """A drawing as SVG.

    Args:
        name: Distinguishes it from others.
        size: Width and height in inches.
        paint: Draws on a figure.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", facecolor="white", metadata={"Date": None})
    # matplotlib ends lines of paths with blanks.
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def draw_dense(
    axes: Axes,
    numbers: Numbers,
    task: str,
    weights: str,
    label: str = "dense ± 1 sd",
    colour: str = "#3c4657",
) -> None:
    """The mean of dense as a dashed line, with a band of one standard deviation."""
    dense = numbers.spread(task, weights, DENSE, 0)
    axes.axhline(dense.mean, color=colour, linewidth=1, linestyle=(0, (4, 3)))
    reach = (dense.mean - dense.deviation, dense.mean + dense.deviation)
    axes.axhspan(*reach, color=colour, alpha=0.10, linewidth=0, label=label)


def draw_line(
    axes: Axes,
    numbers: Numbers,
    task: str,
    weights: str,
    mask: str,
    levels: Sequence[int],
    look: tuple[str, str, str] | None = None,
) -> None:
    """Means over levels, with a band, at a single level a bar, of one standard deviation."""
    label, colour, marks = look or LOOKS[mask]
    found = [numbers.spread(task, weights, mask, level) for level in levels]
    means = [each.mean for each in found]
    if len(levels) == 1:  # a band has no width there
        axes.errorbar(
            levels, means, found[0].deviation, fmt=marks[0], color=colour, markersize=4.5,
            linewidth=1.2, capsize=2.5, label=label,
        )  # fmt: skip
        return
    axes.plot(levels, means, marks, color=colour, markersize=4.5, linewidth=1.5, label=label)
    axes.fill_between(
        levels,
        [each.mean - each.deviation for each in found],
        [each.mean + each.deviation for each in found],
        color=colour,
        alpha=0.13,
        linewidth=0,
    )


def label_levels(axes: Axes, numbers: Numbers, levels: Sequence[int]) -> None:
    """Ticks at levels, named by their sparsity."""
    texts = [f"{100 * numbers.sparsity(level):.3g}" for level in levels]
    axes.set_xticks(levels, texts, fontsize=8, rotation=50)
    axes.set_xlabel("sparsity, %")
