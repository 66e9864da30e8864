"""What the study leaves: ``results.csv``, ``verdicts.json``, ``curves.svg`` and ``README.md``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path

import jinja2
import matplotlib as mpl
from lth_core.files import write_atomic
from lth_core.openmmlab.demo.plots import STYLE
from lth_core.openmmlab.jobs import Result, clock
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from transfer_claims import (
    CHAIN,
    FAILS,
    HOLDS,
    NOT_IN_PAPER,
    OWN,
    TRANSFER,
    UNDECIDED,
    Numbers,
    Row,
    Verdict,
    judge,
    spread_text,
)
from transfer_plan import (
    ACCURACY,
    DENSE,
    EARLY,
    NONE,
    ONE_SHOT,
    PAPERS_VARIANTS,
    PRETRAININGS,
    REINIT,
    TASK,
    TRANSFERRED,
    VARIANTS,
    Settings,
    StudyPlan,
)

RESULTS, VERDICTS, CURVES, READ_ME = "results.csv", "verdicts.json", "curves.svg", "README.md"

_CURVES = {
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


def make_rows(plan: StudyPlan, results: Mapping[str, Result]) -> list[Row]:
    """All numbers of finished jobs, in the order of tasks, weights, masks, levels and seeds."""
    rows = []
    for name, result in results.items():
        seed, start = plan.seeds[name], plan.starts.get(name)
        job = plan.jobs[name]
        if job.stage == "imp":
            task, weights, mask = OWN, job.path[-1], TRANSFERRED
            measure = PRETRAININGS[weights].measure
        elif job.stage == "task_imp":
            task, weights, mask, measure = CHAIN, job.path[-1], TASK, ACCURACY
        elif start is not None:
            task, weights, mask, measure = TRANSFER, start.weights, start.mask, ACCURACY
        else:
            continue  # pre-training itself: its number is the chain's level 0, trained on
        measured = [(x.level, x.sparsity, x.metrics, x.seconds) for x in result.levels]
        if start is not None and not measured:
            measured = [(start.level, result.sparsity, result.metrics, result.seconds)]
        rows += [
            Row(
                seed, task, weights, mask if level else DENSE, level, round(sparsity, 6),
                measure.label.removesuffix(" %"), round(measure.of(metrics), 6), round(seconds, 2),
            )
            for level, sparsity, metrics, seconds in measured
        ]  # fmt: skip
    order = (*PRETRAININGS, NONE, EARLY)
    masks = (DENSE, TRANSFERRED, TASK, ONE_SHOT, *VARIANTS, REINIT)
    return sorted(
        rows,
        key=lambda row: (
            row.task,
            order.index(row.weights),
            masks.index(row.mask),
            row.level,
            row.seed,
        ),
    )


def write(run: Run, root: Path) -> None:
    """Writes all files into ``root``."""
    numbers = Numbers(run.rows, run.settings.amount)
    verdicts = judge(run.rows, run.settings)
    out = io.StringIO()
    table = csv.DictWriter(out, [each.name for each in fields(Row)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in run.rows)
    write_atomic(root / RESULTS, out.getvalue())
    found = json.dumps([asdict(each) for each in verdicts], indent=2, ensure_ascii=False)
    write_atomic(root / VERDICTS, found + "\n")
    write_atomic(root / CURVES, curves(numbers, run.settings))
    write_atomic(root / READ_ME, read_me(run, numbers, verdicts))


def curves(numbers: Numbers, settings: Settings) -> str:
    """Accuracy over sparsity as SVG, a column for each pre-training; bands of one deviation."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "transfer"}):
        figure = Figure(figsize=(11, 7.4), layout="constrained")
        rows = figure.subplots(2, len(PRETRAININGS), sharex=True, sharey="row")
        for column, (name, pretraining) in enumerate(PRETRAININGS.items()):
            upper, lower = rows[0][column], rows[1][column]
            upper.set_title(f"θ_P pre-trained with {pretraining.title}", fontsize=10)
            for axes in (upper, lower):
                _dense(axes, numbers, name, settings)
                _line(axes, numbers, name, TRANSFERRED, (0, *settings.levels))
            _line(upper, numbers, name, TASK, (0, *settings.levels))
            _line(upper, numbers, name, ONE_SHOT, (0, *settings.levels))
            grey = ("task ticket of random weights (m_T, θ0)", "#8a94a6", "-")
            _line(upper, numbers, NONE, TASK, (0, *settings.levels), grey)
            lighter = ("the same from 5 % of training on (m_T, θ5%)", "#b0b7c3", ":")
            _line(upper, numbers, EARLY, TASK, (0, *settings.levels), lighter, CHAIN)
            for mask in (*VARIANTS, REINIT):
                _line(lower, numbers, name, mask, settings.variant_levels)
            ticks = (0, *settings.levels)
            texts = [f"{100 * numbers.sparsity(k):.3g}" for k in ticks]
            lower.set_xticks(ticks, texts, fontsize=8, rotation=50)
            lower.set_xlabel("sparsity, %")
        for row in rows:
            row[0].set_ylabel("accuracy on digits 5 to 9, %")
            handles, labels = row[0].get_legend_handles_labels()
            row[-1].legend(handles, labels, loc="lower left", fontsize=7.5)
        out = io.StringIO()
        figure.savefig(out, format="svg", facecolor="white", metadata={"Date": None})
        # matplotlib ends lines of paths with blanks.
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _dense(axes: Axes, numbers: Numbers, weights: str, settings: Settings) -> None:
    dense = numbers.spread(TRANSFER, weights, DENSE, 0)
    axes.axhline(dense.mean, color="#3c4657", linewidth=1, linestyle=(0, (4, 3)))
    reach = (dense.mean - dense.deviation, dense.mean + dense.deviation)
    axes.axhspan(*reach, color="#3c4657", alpha=0.10, linewidth=0, label="dense ± 1 sd")


def _line(
    axes: Axes,
    numbers: Numbers,
    weights: str,
    mask: str,
    levels: Sequence[int],
    look: tuple[str, str, str] | None = None,
    task: str = TRANSFER,
) -> None:
    label, colour, marks = look or _CURVES[mask]
    found = [numbers.spread(task, weights, mask, level) for level in levels]
    means = [each.mean for each in found]
    axes.plot(levels, means, marks, color=colour, markersize=4.5, linewidth=1.5, label=label)
    axes.fill_between(
        levels,
        [each.mean - each.deviation for each in found],
        [each.mean + each.deviation for each in found],
        color=colour,
        alpha=0.13,
        linewidth=0,
    )


def read_me(run: Run, numbers: Numbers, verdicts: Sequence[Verdict]) -> str:
    """The report, as Markdown."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = lambda text: text.replace("|", "\\|")
    settings = run.settings

    def percent(level: int) -> str:
        return f"{100 * numbers.sparsity(level):.2f}"

    return environment.get_template("transfer.md.j2").render(
        run=run,
        count=len(settings.seeds),
        work=clock(run.work),
        verdicts=verdicts,
        against=FAILS,
        none_there=NOT_IN_PAPER,
        outcomes=(HOLDS, FAILS, UNDECIDED),
        groups=[
            (group, list(claims)) for group, claims in groupby(verdicts, lambda each: each.group)
        ],
        table=_numbers(numbers, settings),
        levels=[percent(level) for level in settings.levels],
        varied=[percent(level) for level in settings.variant_levels],
        last=percent(settings.rounds),
        curves=CURVES,
        results=RESULTS,
    )


def _numbers(numbers: Numbers, settings: Settings) -> list[list[str]]:
    """The table's lines: weights, mask, and a cell for dense and each level."""
    wanted = [
        (name, mask)
        for name in PRETRAININGS
        for mask in (TRANSFERRED, TASK, ONE_SHOT, *VARIANTS, REINIT)
    ]
    wanted += [(NONE, mask) for mask in (TASK, *PAPERS_VARIANTS)] + [(EARLY, TASK)]
    titles = {name: each.title for name, each in PRETRAININGS.items()}
    titles |= {NONE: "random θ0", EARLY: "random θ5%"}
    names = {TRANSFERRED: "m_P", TASK: "m_T", ONE_SHOT: "one-shot", REINIT: "m_P, fresh weights"}
    lines = []
    for weights, mask in wanted:
        cells = []
        for level in (0, *settings.levels):
            key = (
                CHAIN if weights == EARLY else TRANSFER,
                weights,
                mask if level else DENSE,
                level,
            )
            # Dense is dense: once for each kind of weights is enough.
            shown = key in numbers.cells and (level > 0 or mask == TASK)
            cells.append(spread_text(numbers.spread(*key)) if shown else "")
        lines.append([titles[weights], names.get(mask) or _CURVES[mask][0], *cells])
    return lines
