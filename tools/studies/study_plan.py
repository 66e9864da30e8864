"""What studies are built of: settings, starts, and the jobs that find tickets on pre-training.

Every seed has pre-trainings, chains and trainings of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lth_core.errors import ConfigError
from lth_core.imp import TICKET
from lth_core.openmmlab.jobs import CHECKPOINT, LAST_ONLY, Chain, Job, Measure, Plan, Training
from lth_core.pruning import sparsity_after

REWIND = "rewind.safetensors"
"""What a chain rewinds to, in its directory."""

ACCURACY = Measure("accuracy/top1", "accuracy %")
LOSS = Measure("loss", "loss", digits=3)

NONE, EARLY = "none", "early"
"""Starts without pre-training: random weights, and those at 5 % of downstream training."""

DENSE, TRANSFERRED, TASK = "dense", "transferred", "task"
ONE_SHOT, REINIT = "one_shot", "reinit"


@dataclass(frozen=True)
class Pretraining:
    """A way of pre-training.

    Attributes:
        title: What reports call it.
        config: The config that pre-trains.
        measure: What its own task is measured by.
        sign: 1 if more of that is better, -1 if less.
    """

    title: str
    config: str
    measure: Measure
    sign: int


@dataclass(frozen=True)
class Settings:
    """What can be varied about a study.

    Args:
        rounds: Prunes of each chain.
        amount: Fraction of the remaining weights that each prune removes.
        levels: Levels that are transferred, and of one-shot masks.
        variant_levels: Levels with controls of the same sparsity.
        imp_epochs: Length of a round on the pre-training tasks.
        seeds: Each of everything: pre-training, chains, masks and downstream training.
        overrides: Config settings by stage, dots between keys, on top of all others.
    """

    rounds: int
    amount: float
    levels: tuple[int, ...]
    variant_levels: tuple[int, ...]
    imp_epochs: int
    seeds: tuple[int, ...] = (0, 1, 2)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.seeds) != len(set(self.seeds)) or not self.seeds:
            raise ConfigError(f"seeds are {self.seeds}; name each once, and one at least")
        if not all(1 <= level <= self.rounds for level in self.levels):
            raise ConfigError(f"levels are {self.levels}; they lie between 1 and {self.rounds}")
        if not set(self.variant_levels) <= set(self.levels):
            raise ConfigError("variant_levels must be among levels, to compare with")


@dataclass(frozen=True, order=True)
class Start:
    """What downstream training starts from.

    Attributes:
        weights: Whose values survive: a pre-training, ``none`` or ``early``.
        mask: ``dense``, ``transferred`` (m_P), ``task`` (m_T), ``one_shot``, ``reinit`` (m_P with
            fresh random values), or the name of a variant: of m_P where weights are pre-trained,
            of m_T where they are random.
        level: Prunes behind the mask.
    """

    weights: str
    mask: str
    level: int


@dataclass(frozen=True, kw_only=True)
class StudyPlan(Plan):
    """The jobs of a study.

    Attributes:
        settings: What it was built from.
        seeds: Of jobs, by name.
        starts: Of downstream trainings, by name.
    """

    settings: Settings
    seeds: Mapping[str, int]
    starts: Mapping[str, Start]


def make_plan(
    owner: str,
    stages: tuple[str, ...],
    settings: Settings,
    of_seed: Callable[[Any, int], Iterator[tuple[Job, Start | None]]],
) -> StudyPlan:
    """The jobs of a study.

    Args:
        owner: The command that runs it.
        stages: In their order.
        settings: What to build it from.
        of_seed: Gives a seed's jobs, each with what it starts from if it trains downstream.
    """
    jobs: dict[str, Job] = {}
    seeds: dict[str, int] = {}
    starts: dict[str, Start] = {}
    for seed in settings.seeds:
        for job, start in of_seed(settings, seed):
            jobs[job.name] = job
            seeds[job.name] = seed
            if start is not None:
                starts[job.name] = start
    return StudyPlan(
        owner=owner, stages=stages, jobs=jobs, settings=settings, seeds=seeds, starts=starts
    )


def sparsity_text(level: int, amount: float) -> str:
    """Sparsity of a level, as ``73.79 %``."""
    return f"{100 * sparsity_after(level, amount):.2f} %"


def place(seed: int, *path: str) -> tuple[str, ...]:
    """The rest of a job's name."""
    return (f"seed_{seed}", *path)


def pretrained(seed: int, name: str) -> str:
    """Name of the job that pre-trains."""
    return f"pretrain/seed_{seed}/{name}"


def common(settings: Settings, stage: str, seed: int) -> dict[str, Any]:
    """Options of every training of a stage."""
    return {"randomness.seed": seed, **LAST_ONLY, **settings.overrides.get(stage, {})}


def imp(settings: Settings, seed: int, rewind: str, **more: Any) -> dict[str, Any]:
    """Options of a chain."""
    return {
        "imp": {
            "rounds": settings.rounds,
            "amount": settings.amount,
            "rewind": rewind,
            "seed": seed,
            **more,
        }
    }


def record(task: str, weights: str, mask: str = DENSE) -> dict[str, Any]:
    """Options that say what a job is called in files of results.

    Args:
        task: What is trained.
        weights: What it starts from.
        mask: Where its masks come from; what they are made into is told beside.
    """
    return {"record": {"task": task, "weights": weights, "mask": mask}}


def tickets(settings: Settings) -> tuple[str, ...]:
    """Files of a chain's tickets, in its directory."""
    return tuple(f"level_{k:02d}/{TICKET}" for k in range(settings.rounds + 1))


def pretraining_jobs(
    settings: Settings,
    seed: int,
    pretrainings: Mapping[str, Pretraining],
    seconds: Mapping[str, tuple[float, float]],
    **chain: Any,
) -> Iterator[Job]:
    """Pre-training, m_P (IMP on the pre-training task), and the one-shot masks beside it.

    Args:
        settings: Of the study.
        seed: Of all that is drawn.
        pretrainings: By name.
        seconds: How long each pre-training and its chain may take on one core.
        **chain: Further fields of the chains' ``imp``.
    """
    one_shot = tuple(f"one_shot/level_{k:02d}.safetensors" for k in range(1, settings.rounds + 1))
    for name, pretraining in pretrainings.items():
        yield Training(
            stage="pretrain",
            path=place(seed, name),
            title=f"seed {seed} · pretrain · {pretraining.title}",
            config=pretraining.config,
            options={
                **record(f"pre-training, {pretraining.title}", NONE),
                **common(settings, "pretrain", seed),
            },
            files={},
            outputs=(CHECKPOINT,),
            seconds=seconds[name][0],
            like=f"pretrain {name}",
            measure=pretraining.measure,
        )
        yield Chain(
            stage="imp",
            path=place(seed, name),
            title=f"seed {seed} · m_P · {pretraining.title}",
            config=pretraining.config,
            options={
                "train_cfg.max_epochs": settings.imp_epochs,
                **imp(settings, seed, "pretrained", **chain),
                **record(f"pre-training, {pretraining.title}", name, TRANSFERRED),
                **common(settings, "imp", seed),
            },
            files={"load_from": (pretrained(seed, name), CHECKPOINT)},
            outputs=(*tickets(settings), *one_shot),
            seconds=seconds[name][1],
            like=f"imp {name}",
            measure=pretraining.measure,
        )


def ticket_file(chain: str, start: Start) -> tuple[str, str]:
    """The job and its file that hold the ticket of a start.

    Args:
        chain: Name of the job that has found the mask.
        start: What training starts from.
    """
    level = f"level_{start.level:02d}"
    return chain, f"one_shot/{level}.safetensors" if start.mask == ONE_SHOT else f"{level}/{TICKET}"
