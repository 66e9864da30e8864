"""What a run ends with: the table on the screen, ``results.csv`` and ``report.html``.

The table and ``results.csv`` are made from the same :class:`Row` objects, and those from the jobs'
results; the page is that of ``lth report`` with the same table before the rest.
"""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import io
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich import table as rich_table
from rich.console import Console

import lth_core
from lth_core.cli.demo import STAGES
from lth_core.files import write_atomic
from lth_core.openmmlab.demo.plan import (
    PICTURED,
    PRETRAININGS,
    TASKS,
    TRUTH,
    DemoPlan,
    DemoTraining,
    Start,
    sparsity_text,
    starts,
)
from lth_core.openmmlab.jobs import Result, Store, clock
from lth_core.report.material import collect
from lth_core.report.page import render
from lth_core.report.pipeline import build
from lth_core.report.predictions import side_by_side
from lth_core.report.section import FAINT, Cell, Facts, Group, Part, Section, Table, Text

RESULTS, REPORT = "results.csv", "report.html"
MISSING = "–"
_MODULES = ("torch", "torchvision", "mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg", "numpy")


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        task: ``cls``, ``det``, ``seg``; ``pretrain`` and ``imp`` for the pre-training task itself.
        pretraining: ``labels``, ``simclr``, ``mocov2``.
        start: ``dense``, ``ticket`` or ``random``.
        level: Prunes behind the mask.
        sparsity: Pruned fraction of the weights in scope.
        seed: Of the training.
        metric: What ``value`` is, in words without spaces.
        value: The number.
        seconds: How long the training took, on one core.
    """

    task: str
    pretraining: str
    start: str
    level: int
    sparsity: float
    seed: int
    metric: str
    value: float
    seconds: float


@dataclass(frozen=True)
class Summary:
    """A run that is over.

    Attributes:
        plan: What was run.
        store: Where.
        results: All that is finished.
        command: How it was called.
        workers: How many processes it could use.
        seconds: How long it took.
        reused: How many of its jobs had been finished before.
        total: How many jobs it had.
    """

    plan: DemoPlan
    store: Store
    results: Mapping[str, Result]
    command: str
    workers: int
    seconds: float
    reused: int
    total: int


_LEAD = (
    "A small ResNet-18 was pre-trained on handwritten digits in three ways. Iterative magnitude "
    "pruning with rewinding found sparse tickets in each, and a classifier, a detector and a "
    "segmenter were trained from them: beside the dense backbone, and beside random masks."
)
_METRICS = (
    "Accuracy in per cent; mAP50 (mean average precision at IoU 0.5) and mIoU (mean intersection "
    "over union) between 0 and 1. All of it on test images whose digits no training has seen."
)
_STARTS = (
    "dense: the whole pre-trained backbone. ticket: the mask that pruning found on the "
    "pre-training task, with the pre-trained weights that survive. random: as many weights of the "
    "same pre-trained backbone, drawn at random. Sparsity counts the convolutions of the backbone "
    "but the stem; heads stay dense."
)
_FILES = (
    "The numbers of the first table are in results.csv, each training's settings and log in its "
    "directory beside this file."
)

METRICS = {
    "accuracy/top1": "accuracy", "pascal_voc/mAP": "mAP50", "mIoU": "mIoU", "loss": "loss",
}  # fmt: skip
"""Names of metrics in ``results.csv``, by mmengine's."""


def make_rows(summary: Summary) -> list[Row]:
    """All numbers, in the order of the stages, pre-trainings and starts."""
    rows = []
    seed = summary.plan.settings.seed
    for stage in STAGES:
        for job in summary.plan.jobs.values():
            result = summary.results.get(job.name)
            if job.stage != stage or stage == "report" or result is None:
                continue
            if isinstance(job, DemoTraining):
                task = TASKS[stage]
                measured = [(job.start, result.sparsity, result.metrics, result.seconds)]
                metric, scale = task.metric, task.scale
            else:
                metric, scale = PRETRAININGS[job.path[0]].metric, 1.0
                measured = [
                    (_start(row.level), row.sparsity, row.metrics, row.seconds)
                    for row in result.levels
                ] or [(_start(0), 0.0, result.metrics, result.seconds)]
            rows += [
                Row(
                    task=stage,
                    pretraining=job.path[0],
                    start=start.kind,
                    level=start.level,
                    sparsity=round(sparsity, 6),
                    seed=seed,
                    metric=METRICS[metric],
                    value=round(scale * metrics[metric], 6),
                    seconds=round(seconds, 2),
                )
                for start, sparsity, metrics, seconds in measured
                if metric in metrics
            ]
    return rows


def _start(level: int) -> Start:
    return Start("ticket" if level else "dense", level)


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        pretraining: Its title.
        start: ``dense``, ``ticket``, ``random``.
        sparsity: In per cent, as text.
        cells: A text for each task, in their order.
        losses: For each task, the difference to dense as text, empty where there is none.
        first: Whether it is the first of its pre-training.
    """

    pretraining: str
    start: str
    sparsity: str
    cells: tuple[str, ...]
    losses: tuple[str, ...]
    first: bool

    def marked(self) -> list[tuple[str, str]]:
        """Each cell with its difference to dense."""
        return list(zip(self.cells, self.losses, strict=True))


def make_table(plan: DemoPlan, rows: list[Row]) -> list[Line]:
    """The table's lines: one for each pre-training and start that anything was trained from."""
    found = {(r.task, r.pretraining, Start(r.start, r.level)): r for r in rows if r.task in TASKS}
    lines: list[Line] = []
    for name, pretraining in PRETRAININGS.items():
        first = True
        for start in starts(plan.settings):
            mine = [found.get((task, name, start)) for task in TASKS]
            dense = [found.get((task, name, Start("dense", 0))) for task in TASKS]
            known = next((row for row in mine if row is not None), None)
            if known is None:
                continue
            lines.append(
                Line(
                    pretraining.title,
                    start.kind,
                    f"{100 * known.sparsity:.2f}",
                    tuple(_cell(row) for row in mine),
                    tuple(_loss(row, base) for row, base in zip(mine, dense, strict=True)),
                    first,
                )
            )
            first = False
    return lines


def _cell(row: Row | None) -> str:
    return MISSING if row is None else f"{row.value:.{TASKS[row.task].digits}f}"


def _loss(row: Row | None, dense: Row | None) -> str:
    if row is None or dense is None or row is dense:
        return ""
    text = f"{row.value - dense.value:+.{TASKS[row.task].digits}f}"
    return text.replace("-", "−")


def show(summary: Summary, console: Console) -> None:
    """Prints the table and where the files are."""
    plan = summary.plan
    table = rich_table.Table(
        title="What each start leads to", caption=caption(plan), title_justify="left"
    )
    for heading in ("pre-training", "start"):
        table.add_column(heading)
    for heading in ("sparsity %", *(f"{key} {task.label}" for key, task in TASKS.items())):
        table.add_column(heading, justify="right")
    lines = make_table(plan, make_rows(summary))
    for line in lines:
        if line.first and table.row_count:
            table.add_section()
        name = line.pretraining if line.first else ""
        table.add_row(name, line.start, line.sparsity, *line.cells)
    if lines:
        console.print(table)
    for file in (RESULTS, REPORT):
        console.print(_shown(summary.store.root / file), highlight=False, soft_wrap=True)
    console.print(_total(summary), highlight=False, soft_wrap=True)


def facts(summary: Summary) -> dict[str, Any]:
    """Where the files are, and all numbers, for programs."""
    root = summary.store.root
    return {
        "results": root / RESULTS,
        "report": root / REPORT,
        "seconds": summary.seconds,
        "rows": make_rows(summary),
    }


def caption(plan: DemoPlan) -> str:
    """What the numbers are, in one sentence."""
    return (
        f"One training each, seed {plan.settings.seed}: an example, not evidence. "
        "Differences of a point can be chance."
    )


def _total(summary: Summary) -> str:
    work = sum(result.seconds for result in summary.results.values())
    text = f"total {clock(summary.seconds)} on {summary.workers} processes"
    if summary.reused:
        text += f", {summary.reused} of {summary.total} jobs finished before"
    return f"{text}; all trainings together {clock(work)}"


def _shown(path: Path) -> str:
    """A path as short as it can be."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def write(summary: Summary) -> None:
    """Writes ``results.csv`` and ``report.html``."""
    rows = make_rows(summary)
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomic(summary.store.root / RESULTS, out.getvalue())
    write_atomic(summary.store.root / REPORT, _html(summary, rows))


def _html(summary: Summary, rows: list[Row]) -> str:
    sections = [*_results(summary, rows), *_pictures(summary)]
    found = build(collect([summary.store.root]))
    sections += [section for section in found if section.id != "summary"]
    sections.append(_making(summary))
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return render("Lottery tickets in pre-trained backbones", _LEAD, sections, f"{made}. {_FILES}")


def _results(summary: Summary, rows: list[Row]) -> Iterator[Section]:
    """The table of the screen, with differences to dense."""
    reused = f", {summary.reused} finished before" if summary.reused else ""
    facts = Facts((
        (clock(summary.seconds), "this run, min:s"),
        (str(summary.total), f"jobs{reused}"),
        (str(summary.workers), "processes at once"),
        (str(summary.plan.settings.seed), "the seed, the only one"),
    ))  # fmt: skip
    lines = make_table(summary.plan, rows)
    heads = [
        head for task in TASKS.values() for head in (f"{task.title}, {task.label}", "to dense")
    ]
    table = Table(
        "What each start leads to",
        ("pre-training", "start", "sparsity, %", *heads),
        tuple(
            (
                line.pretraining,
                line.start,
                line.sparsity,
                *(cell for value, loss in line.marked() for cell in (value, Cell(loss, FAINT))),
            )
            for line in lines
        ),
        frozenset(range(2, 3 + len(heads))),
    )
    parts: tuple[Part, ...] = (facts, table, Text(_STARTS)) if lines else (facts,)
    yield Section("results", "Results", f"{caption(summary.plan)} {_METRICS}", parts)


def _pictures(summary: Summary) -> Iterator[Section]:
    """What the jobs have drawn of each task."""
    groups = []
    settings = summary.plan.settings
    for job in summary.plan.jobs.values():
        if job.stage != "report" or job.name not in summary.results:
            continue
        task = TASKS[job.path[0]]
        titles = {TRUTH: TRUTH}
        for name, (source, _) in job.files.items():
            value = task.measure.text(summary.results[source].metrics)
            titles[name] = f"{name.partition('_')[0]}: {value}"
        directory = summary.store.directory(job.name)
        rows = [
            side_by_side(
                [
                    (title, (directory / f"{place}_{name}.jpg").read_bytes(), task.title)
                    for name, title in titles.items()
                ]
            )
            for place in range(PICTURED)
        ]
        groups.append(Group(task.title.capitalize(), tuple(rows)))
    if groups:
        sparsity = sparsity_text(settings.random_levels[-1], settings.amount)
        yield Section(
            "predictions",
            "Predictions beside the truth",
            f"The first {PICTURED} test images; backbone pre-trained with "
            f"{PRETRAININGS[settings.pictured].title}. Sparsity of ticket and random mask: "
            f"{sparsity}.",
            tuple(groups),
        )


def _making(summary: Summary) -> Section:
    """How it was made."""
    stages = Table("Time", ("stage", "jobs", "on one core"), tuple(
        (stage, str(count), time) for stage, count, time in _stages(summary)
    ), frozenset((1, 2)))  # fmt: skip
    versions = Table("Versions", ("package", "version"), tuple(_versions().items()))
    parts = (Text(summary.command, code=True), stages, versions)
    return Section("making", "How it was made", "", parts)


def _stages(summary: Summary) -> list[tuple[str, int, str]]:
    """For each stage: its jobs that are finished, and the time they took together."""
    found = []
    for stage in STAGES:
        done = [r for n, r in summary.results.items() if n.startswith(f"{stage}/")]
        if done:
            found.append((stage, len(done), clock(sum(result.seconds for result in done))))
    return found


def _versions() -> dict[str, str]:
    """Of Python and of what the numbers depend on; distributions may go by several names."""
    distributions = importlib.metadata.packages_distributions()
    versions = {"lth": lth_core.__version__, "python": platform.python_version()}
    for module in _MODULES:
        for name in distributions.get(module, [])[:1]:
            versions[name] = importlib.metadata.version(name)
    return versions
