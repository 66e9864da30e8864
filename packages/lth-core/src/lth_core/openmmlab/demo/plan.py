"""What the demo consists of: jobs, what each needs, and which stage each belongs to."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from lth_core.cli.demo import STAGES
from lth_core.errors import ConfigError
from lth_core.imp import TICKET
from lth_core.openmmlab.jobs import (
    CHECKPOINT,
    LAST_ONLY,
    Chain,
    Job,
    Measure,
    Outcome,
    Plan,
    Training,
)
from lth_core.pruning import sparsity_after

PICTURED = 3
"""How many test images are shown."""

TRUTH = "truth"
"""In pictures' names, beside those of starts."""


@dataclass(frozen=True)
class Pretraining:
    """A way of pre-training.

    Attributes:
        title: What reports call it.
        config: The config that pre-trains.
        metric: What its trainings are measured by, as mmengine calls it.
    """

    title: str
    config: str
    metric: str

    @property
    def measure(self) -> Measure:
        """The same, for jobs."""
        return Measure(self.metric, self.metric)


PRETRAININGS = {
    "labels": Pretraining("labels", "lth_cls::cls/pretrain_supervised_digits.py", "accuracy/top1"),
    "simclr": Pretraining("SimCLR", "lth_cls::cls/pretrain_simclr_digits.py", "loss"),
    "mocov2": Pretraining("MoCo v2", "lth_cls::cls/pretrain_mocov2_digits.py", "loss"),
}


@dataclass(frozen=True)
class Task:
    """A downstream task.

    Attributes:
        title: What reports call it.
        config: The config that trains it.
        metric: What it is measured by, as mmengine calls it.
        label: What reports call that.
        scale: Factor that brings mmengine's number to the report's: accuracy in per cent, mean
            average precision and mean intersection over union between 0 and 1.
        digits: Digits behind the point in reports.
    """

    title: str
    config: str
    metric: str
    label: str
    scale: float
    digits: int

    @property
    def measure(self) -> Measure:
        """What it is measured by, for jobs."""
        return Measure(self.metric, self.label, self.scale, self.digits)


TASKS = {
    "cls": Task(
        "classification", "lth_cls::cls/digits_resnet18.py", "accuracy/top1", "accuracy %", 1.0, 1
    ),
    "det": Task("detection", "lth_det::det/digits_fcos.py", "pascal_voc/mAP", "mAP50", 1.0, 3),
    "seg": Task("segmentation", "lth_seg::seg/digits_deeplabv3plus.py", "mIoU", "mIoU", 0.01, 3),
}


@dataclass(frozen=True)
class Settings:
    """What can be varied about the demo.

    Args:
        seed: Of weights, order of data, and random masks.
        rounds: Prunes of each chain; levels 0 ... rounds are trained.
        amount: Fraction of the remaining weights that each prune removes.
        levels: Levels whose tickets the tasks are trained from.
        random_levels: Levels with a random mask of the same sparsity as a control.
        imp_epochs: Length of a round, in epochs.
        pictured: The pre-training whose models are shown at work.
        overrides: Config settings by stage, dots between keys, on top of all others:
            ``{"det": {"train_cfg.max_epochs": 2}}``.
    """

    seed: int = 0
    rounds: int = 16
    amount: float = 0.2
    levels: tuple[int, ...] = (6, 16)
    random_levels: tuple[int, ...] = (16,)
    imp_epochs: int = 4
    pictured: str = "labels"
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Start:
    """What a training starts from: the dense backbone, a ticket, or a random mask."""

    kind: str
    level: int

    @property
    def name(self) -> str:
        """As in a job's name: ``dense``, ``ticket_10``, ``random_10``."""
        return "dense" if self.kind == "dense" else f"{self.kind}_{self.level:02d}"


@dataclass(frozen=True, kw_only=True)
class DemoTraining(Training):
    """A training of a task from a start."""

    start: Start

    @property
    def pretraining(self) -> str:
        """Key of its pre-training in :data:`PRETRAININGS`."""
        return self.path[0]


@dataclass(frozen=True, kw_only=True)
class Pictures(Job):
    """Draws what trained models find in test images."""

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Draws; see :meth:`lth_core.openmmlab.jobs.Job.do`."""
        from lth_core.openmmlab import predictions  # only workers need it

        begun = time.perf_counter()
        rows = predictions.draw(cfg, list(files.values()), PICTURED)
        for place, row in enumerate(rows):
            for name, drawn in zip((TRUTH, *files), row, strict=True):
                (directory / f"{place}_{name}.jpg").write_bytes(drawn.jpeg)
        return Outcome({}, time.perf_counter() - begun)

    def text(self, outcome: Outcome) -> str:
        """That it is done."""
        return "drawn"


@dataclass(frozen=True, kw_only=True)
class DemoPlan(Plan):
    """The jobs of the demo."""

    settings: Settings

    def drawable(self, finished: Container[str]) -> list[str]:
        """Names of the finished jobs, and of the pictures that can be drawn from them, in order."""
        return [
            name
            for name in self.order
            if name in finished
            or (
                self.jobs[name].stage == "report"
                and all(n in finished for n in self.jobs[name].needs)
            )
        ]


def build_plan(settings: Settings) -> DemoPlan:
    """The jobs of the demo.

    Raises:
        ConfigError: If the settings name levels that the chains do not reach, or nothing to
            compare the tickets with.
    """
    for level in settings.levels:
        if not 1 <= level <= settings.rounds:
            raise ConfigError(f"demo: level {level} is not one of 1 ... {settings.rounds}")
    if not settings.random_levels or not set(settings.random_levels) <= set(settings.levels):
        raise ConfigError("demo: random_levels must name some of the levels, to compare with")
    jobs: list[Job] = []
    for name in PRETRAININGS:
        jobs += [_pretrain(settings, name), _chain(settings, name)]
    for task in TASKS:
        for name in PRETRAININGS:
            jobs += [_train(settings, task, name, start) for start in starts(settings)]
    jobs += [_pictures(settings, task) for task in ("det", "seg")]
    return DemoPlan(
        owner="lth demo",
        stages=STAGES,
        jobs={job.name: job for job in jobs},
        settings=settings,
    )


def starts(settings: Settings) -> list[Start]:
    """What every task is trained from, in the order of the table."""
    found = [Start("dense", 0)]
    for level in settings.levels:
        found.append(Start("ticket", level))
        if level in settings.random_levels:
            found.append(Start("random", level))
    return found


def sparsity_text(level: int, amount: float) -> str:
    """Sparsity of a level, as ``73.79 %``."""
    return f"{100 * sparsity_after(level, amount):.2f} %"


def require_packages(stage: str, plan: Plan, wanted: Iterable[str]) -> None:
    """Looks whether the packages that the wanted jobs run are installed.

    Raises:
        ConfigError: Naming the first that is not, and how to install it.
    """
    for name in wanted:
        if not plan.jobs[name].installed:
            package = plan.jobs[name].package.replace("_", "-")
            raise ConfigError(
                f"lth demo --stage {stage} needs {package}: pip install packages/{package}"
            )


def _common(settings: Settings, stage: str) -> dict[str, Any]:
    """Options of every training of a stage."""
    return {
        "randomness.seed": settings.seed,
        **LAST_ONLY,
        **settings.overrides.get(stage, {}),
    }


def _record(task: str, weights: str, mask: str = "") -> dict[str, Any]:
    """What results call a training; ``mask`` is the pre-training whose chain found it."""
    names = {"task": task, "weights": weights}
    if mask:
        names["mask"] = f"imp on {PRETRAININGS[mask].title}"
    return {"record": names}


def _own_task(name: str) -> str:
    return f"pre-training: {PRETRAININGS[name].title}"


def _pretrain(settings: Settings, name: str) -> Job:
    return Training(
        stage="pretrain",
        path=(name,),
        title=f"pretrain · {PRETRAININGS[name].title}",
        measure=PRETRAININGS[name].measure,
        config=PRETRAININGS[name].config,
        options={**_common(settings, "pretrain"), **_record(_own_task(name), "random")},
        files={},
        outputs=(CHECKPOINT,),
        seconds=14 if name == "labels" else 25,
    )


def _chain(settings: Settings, name: str) -> Job:
    imp = {
        "rounds": settings.rounds,
        "amount": settings.amount,
        "rewind": "pretrained",
        "seed": settings.seed,
    }
    return Chain(
        stage="imp",
        path=(name,),
        title=f"imp · {PRETRAININGS[name].title}",
        measure=PRETRAININGS[name].measure,
        config=PRETRAININGS[name].config,
        options={
            "train_cfg.max_epochs": settings.imp_epochs,
            "imp": imp,
            **_common(settings, "imp"),
            **_record(_own_task(name), PRETRAININGS[name].title, name),
        },
        files={"load_from": (f"pretrain/{name}", CHECKPOINT)},
        outputs=tuple(f"level_{k:02d}/{TICKET}" for k in range(settings.rounds + 1)),
        seconds=37 if name == "labels" else 58,
    )


def _train(settings: Settings, task: str, name: str, start: Start) -> Job:
    files = {"ticket.path": (f"imp/{name}", f"level_{start.level:02d}/{TICKET}")}
    title = PRETRAININGS[name].title
    options = {**_common(settings, task), **_record(TASKS[task].title, title, name)}
    if start.kind == "random":
        # Other weights survive than the ticket's, with the values of the same pre-training.
        files["ticket.weights"] = (f"pretrain/{name}", CHECKPOINT)
        options["ticket.variant"] = {"type": "random", "seed": settings.seed}
    sparsity = f" {sparsity_text(start.level, settings.amount)}" if start.level else ""
    return DemoTraining(
        stage=task,
        path=(name, start.name),
        title=f"{task} · {PRETRAININGS[name].title} · {start.kind}{sparsity}",
        measure=TASKS[task].measure,
        like=task,
        config=TASKS[task].config,
        options=options,
        files=files,
        outputs=(CHECKPOINT,),
        seconds={"cls": 6.0, "det": 19.0, "seg": 22.0}[task],
        start=start,
    )


def _pictures(settings: Settings, task: str) -> Job:
    last = settings.random_levels[-1]
    shown = [Start("dense", 0), Start("ticket", last), Start("random", last)]
    files = {s.name: (f"{task}/{settings.pictured}/{s.name}", CHECKPOINT) for s in shown}
    return Pictures(
        stage="report",
        path=(task,),
        title=f"report · pictures of {TASKS[task].title}",
        config=TASKS[task].config,
        options={},
        files=files,
        outputs=tuple(f"{i}_{s}.jpg" for i in range(PICTURED) for s in (TRUTH, *files)),
        seconds=3,
    )
