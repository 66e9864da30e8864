"""What a study consists of: one training for each start and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lth_core import results
from lth_core.errors import ConfigError
from lth_core.openmmlab.jobs import Job, LongTraining, Plan
from lth_core.openmmlab.settings import REINIT
from lth_core.openmmlab.study.check import Source
from lth_core.openmmlab.study.controls import DEFAULT, Control, parse_controls
from lth_core.openmmlab.study.entries import Entry, slug
from lth_core.results import DENSE

OWNER = "lth study"
GUESS = 60.0
"""Seconds that a training may take, before one has been seen."""


@dataclass(frozen=True)
class Settings:
    """What to compare.

    Args:
        config: The config to train: a file, or ``PACKAGE::path`` of an installed package's.
        tickets: Ticket files, and work directories of chains.
        weights: Checkpoint whose values all start from; None for what the config loads.
        controls: What else to train; see :func:`lth_core.openmmlab.study.controls.parse_controls`.
        seeds: Each decides a training's head, order of data and augmentation, and masks drawn.
        levels: Which levels of chains; all if empty.
        options: Settings on top of the config, dots between keys.

    Raises:
        ConfigError: If a control is unknown or a seed is there twice.
    """

    config: str
    tickets: tuple[str, ...]
    weights: str | None = None
    controls: tuple[str, ...] = DEFAULT
    seeds: tuple[int, ...] = (0, 1, 2)
    levels: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds are {_join(self.seeds)}; name each once, and one at least")
        if min(self.seeds) < 0:
            raise ConfigError(f"seeds are {_join(self.seeds)}; use whole numbers from 0 on")
        self.parsed  # noqa: B018  (raises)

    @property
    def parsed(self) -> tuple[Control, ...]:
        """The controls."""
        return parse_controls(self.controls)


@dataclass(frozen=True)
class Start:
    """What some trainings, of one each seed, start from.

    Attributes:
        name: Of its directories.
        title: For people.
        sparsity: Of its mask, where that is known before it is drawn.
        path: The ticket file.
        options: Fields of the config's ``ticket`` and ``record``.
        control: What is made of the ticket, if anything.
    """

    name: str
    title: str
    sparsity: float | None
    path: str
    options: Mapping[str, Any]
    control: Control | None = None


def starts(
    entries: Sequence[Entry],
    controls: Sequence[Control],
    source: Source,
    dense: str,
    partial: bool | str,
) -> list[Start]:
    """What to train from: dense, each ticket, and what is made of each.

    Args:
        entries: The tickets.
        controls: What to compare them with.
        source: Where values come from.
        dense: File of a ticket that prunes nothing: dense is trained in the very same way.
        partial: ``ticket.partial`` of all.
    """
    shared: dict[str, Any] = {"ticket.partial": partial}
    if source.weights is not None:
        shared["ticket.weights"] = source.weights
    if source.name is not None:
        shared["record.weights"] = source.name
    found = []
    if any(control.kind == DENSE for control in controls):
        found.append(Start(DENSE, DENSE, 0.0, dense, shared))
    for entry in entries:
        own = {**shared, "record.mask": entry.mask}
        title = f"{entry.mask} level {entry.level}"
        path = str(entry.path)
        found.append(Start(entry.name, title, entry.sparsity, path, own))
        for control in controls:
            if control.ticket:
                found.append(
                    Start(
                        f"{entry.name}_{slug(control.name)}",
                        f"{title}, {control.name}",
                        entry.sparsity if control.kind == REINIT else None,
                        path,
                        own,
                        control,
                    )
                )
    return found


@dataclass(frozen=True, kw_only=True)
class StudyPlan(Plan):
    """The jobs of a study.

    Attributes:
        starts: By the names of jobs.
    """

    starts: Mapping[str, Start]


def build_plan(settings: Settings, found: Sequence[Start], source: Source) -> StudyPlan:
    """The jobs: each start on each seed."""
    jobs: dict[str, Job] = {}
    of: dict[str, Start] = {}
    for seed in settings.seeds:
        for start in found:
            job = _train(settings, seed, start, source)
            jobs[job.name], of[job.name] = job, start
    stages = tuple(f"seed_{seed}" for seed in settings.seeds)
    return StudyPlan(owner=OWNER, stages=stages, jobs=jobs, starts=of)


def _train(settings: Settings, seed: int, start: Start, source: Source) -> Job:
    options = {**settings.options, **start.options, "randomness.seed": seed}
    if start.control is not None:
        options |= start.control.options(seed)
    reads = {"ticket.path": start.path}
    if source.file is not None and options.get("ticket.weights") == source.weights:
        del options["ticket.weights"]
        reads["ticket.weights"] = source.file
    return LongTraining(
        stage=f"seed_{seed}",
        path=(start.name,),
        title=f"seed {seed} · {start.title}",
        config=settings.config,
        options=options,
        files={},
        reads=reads,
        outputs=(results.FILE,),
        seconds=GUESS,
        like="training",
    )


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
