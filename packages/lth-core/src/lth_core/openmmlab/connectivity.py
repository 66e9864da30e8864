"""``lth connectivity``: do two trainings from one start end in the same valley?"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lth_core.analysis.connectivity import Connectivity
from lth_core.errors import ConfigError
from lth_core.files import write_atomic
from lth_core.imp.directory import CONNECTIVITY, reject_others
from lth_core.openmmlab.hooks import TicketHook
from lth_core.openmmlab.jobs import (
    CHECKPOINT,
    Job,
    LongTraining,
    Outcome,
    Plan,
    Store,
    choose_view,
    default_workers,
    prepare,
    run_jobs,
)
from lth_core.openmmlab.jobs.training import Progress
from lth_core.openmmlab.launch import build_runner, load_config
from lth_core.openmmlab.line import connect
from lth_core.openmmlab.settings import KEEP
from lth_core.ticket import Ticket
from lth_core.weights import snapshot

OWNER = "lth connectivity"
JSON, SVG, START = CONNECTIVITY, "connectivity.svg", "start.pth"
GUESS = 60.0


@dataclass(frozen=True)
class Settings:
    """What to connect.

    Args:
        config: The config: a file, or ``PACKAGE::path`` of an installed package's.
        runs: Two of its checkpoints; empty: two runs are trained from one start.
        ticket: File to train them from; None: the config's own, or none.
        weights: Where the ticket's survivors start; None: as in the ticket.
        seeds: Of the two runs' order of data and augmentation.
        seed: Of their common start.
        points: Places on the line.
        batches: Of training data that norms' statistics are estimated from; 0: interpolate them.
        options: Settings on top of the config, dots between keys.

    Raises:
        ConfigError: If they do not go together.
    """

    config: str
    runs: tuple[str, ...] = ()
    ticket: str | None = None
    weights: str | None = None
    seeds: tuple[int, ...] = (1, 2)
    seed: int = 0
    points: int = 11
    batches: int = 50
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.points < 3 or self.batches < 0:
            raise ConfigError(
                f"{self.points} points and {self.batches} batches: use 3 or more, and 0 or more"
            )
        if len(self.runs) not in (0, 2):
            raise ConfigError(f"a line has two ends: {len(self.runs)} checkpoints are named")
        if self.runs and (self.ticket or self.weights):
            raise ConfigError("trained checkpoints need no ticket and no weights; leave them out")
        if self.weights and not self.ticket:
            raise ConfigError("weights go with a ticket; without one, the config says what to load")
        if len(self.seeds) != 2 or self.seeds[0] == self.seeds[1] or min(self.seeds) < 0:
            raise ConfigError(f"seeds are {self.seeds}; two different ones tell the runs apart")


@dataclass(frozen=True, kw_only=True)
class MakeStart(Job):
    """Keeps what a training would start from."""

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Initialises, loads and masks as a training does; see :meth:`Job.do`."""
        begun = time.perf_counter()
        if any(key.startswith("ticket.") for key in (*self.options, *files)):
            cfg.pop("ticket", None)
        prepare(cfg, self.options, files, directory)
        runner = build_runner(cfg)
        runner._init_model_weights()
        runner.load_or_resume()
        for hook in runner.hooks:
            if isinstance(hook, TicketHook):
                hook.before_run(runner)
                hook.start(runner)
        torch.save({"state_dict": snapshot(runner.model)}, directory / START)
        return Outcome({}, time.perf_counter() - begun)

    def text(self, outcome: Outcome) -> str:
        """That it is done."""
        return "made"


@dataclass(frozen=True, kw_only=True)
class Line(Job):
    """Measures along the line.

    Attributes:
        points: Places on it.
        batches: See :class:`Settings`.
    """

    points: int
    batches: int
    resumable: ClassVar[bool] = False

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Measures, writes and draws; see :meth:`Job.do`."""
        begun = time.perf_counter()
        one, other = files["one"], files["other"]
        prepare(cfg, {k: v for k, v in self.options.items() if k != "line"}, {}, directory)
        found = connect(cfg, one, other, self.points, self.batches, Progress.set)
        about = {
            "runs": [str(one), str(other)],
            "norms": f"estimated from {self.batches} batches" if self.batches else "interpolated",
            "points": next(iter(found.values())).fractions,
            "errors": {
                name: {"errors": c.errors, "barrier": c.barrier, "instability": c.instability}
                for name, c in found.items()
            },
        }
        write_atomic(directory / JSON, json.dumps(about, indent=1) + "\n")
        draw(found, directory / SVG)
        metrics = {name: c.barrier for name, c in found.items()}
        return Outcome(metrics, time.perf_counter() - begun)

    def text(self, outcome: Outcome) -> str:
        """The barriers."""
        return ", ".join(f"barrier of {n} {v:.4g}" for n, v in list(outcome.metrics.items())[:2])


def draw(found: Mapping[str, Connectivity], path: Path) -> None:
    """A small picture, one panel for each error."""
    figure = Figure(figsize=(4 * len(found), 3), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, (name, line) in zip(panels, found.items(), strict=True):
        ends = (line.errors[0], line.errors[-1])
        panel.plot((0, 1), ends, color="0.6", linestyle=":")
        panel.plot(line.fractions, line.errors, marker="o", markersize=3)
        panel.set(xlabel="from the first run to the second", ylabel=name)
        panel.set_title(f"barrier {line.barrier:.3g}", fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def build_plan(settings: Settings) -> Plan:
    """The jobs: a common start and two runs, unless there are runs, and the line between them.

    Raises:
        ConfigError: If the config cannot be read.
    """
    jobs: list[Job] = []
    files: dict[str, tuple[str, str]] = {}
    reads: dict[str, str] = {}
    stages: tuple[str, ...] = ("line",)
    if settings.runs:
        reads = dict(zip(("one", "other"), settings.runs, strict=True))
    else:
        stages = ("start", "run", "line")
        jobs += _trainings(settings)
        names = [job.name for job in jobs if job.stage == "run"]
        files = {key: (name, CHECKPOINT) for key, name in zip(("one", "other"), names, strict=True)}
    line = Line(
        stage="line",
        path=(),
        title="line between the runs",
        config=settings.config,
        options={**settings.options, "line": [settings.points, settings.batches]},
        files=files,
        reads=reads,
        outputs=(JSON, SVG),
        seconds=GUESS,
        points=settings.points,
        batches=settings.batches,
    )
    jobs.append(line)
    return Plan(owner=OWNER, stages=stages, jobs={job.name: job for job in jobs})


def _trainings(settings: Settings) -> list[Job]:
    cfg = load_config(settings.config, dict(settings.options))
    own = dict(cfg.get("ticket") or {})
    reads = {}
    if settings.ticket is not None:
        own = {"partial": own.get("partial", False)}
        reads["ticket.path"] = settings.ticket
    shared = {**settings.options, **{f"ticket.{key}": value for key, value in own.items()}}
    start = MakeStart(
        stage="start",
        path=(),
        title="common start",
        config=settings.config,
        options={**shared, "randomness.seed": settings.seed},
        files={},
        reads={**reads, **({"ticket.weights": settings.weights} if settings.weights else {})},
        outputs=(START,),
        seconds=GUESS / 10,
    )
    shared.pop("ticket.seed", None)  # of fresh weights, which the start has
    if own or reads:
        shared["ticket.weights"] = KEEP
    runs = [
        LongTraining(
            stage="run",
            path=(f"seed_{seed}",),
            title=f"run of seed {seed}",
            config=settings.config,
            options={**shared, "randomness.seed": seed},
            files={"load_from": (start.name, START)},
            reads=reads,
            outputs=(CHECKPOINT,),
            seconds=GUESS,
            like="run",
        )
        for seed in settings.seeds
    ]
    return [start, *runs]


def run_connectivity(
    settings: Settings, work_dir: str | Path, jobs: int | None = None
) -> dict[str, Any]:
    """Trains what is not trained yet, measures, and shows barriers and instabilities.

    Args:
        settings: What to connect.
        work_dir: Where results go; the same again goes on.
        jobs: How many processes; if None, one for each GPU, else for each CPU core.

    Returns:
        What :data:`JSON` holds, and ``work_dir``.

    Raises:
        LTHError: If a setting or a file is wrong, the directory is in use, or a job fails.
    """
    console = Console()
    for path in settings.runs:
        if not Path(path).is_file():
            raise ConfigError(f"checkpoint {path} does not exist")
    if settings.ticket is not None:
        Ticket.load(settings.ticket)
    plan = build_plan(settings)
    store = Store(work_dir, OWNER)
    reject_others(store.root, CONNECTIVITY)
    with store.held():
        workers = jobs or default_workers()
        run_jobs(plan, store, list(plan.order), workers, choose_view(console))
        for name in (JSON, SVG):
            shutil.copyfile(store.directory("line") / name, store.root / name)
    about: dict[str, Any] = json.loads((store.root / JSON).read_text())
    _show(about, console)
    for name in (JSON, SVG):
        console.print(str(Path(work_dir) / name), highlight=False, markup=False, soft_wrap=True)
    return {"work_dir": str(store.root), **about}


def _show(about: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"the line between the runs; norms' statistics {about['norms']}")
    for column in ("error", "first", "second", "highest", "barrier", "instability"):
        table.add_column(column, justify="left" if column == "error" else "right")
    for name, line in about["errors"].items():
        errors = line["errors"]
        numbers = (errors[0], errors[-1], max(errors), line["barrier"], line["instability"])
        table.add_row(Text(name), *(f"{number:.4g}" for number in numbers))
    console.print(table)
