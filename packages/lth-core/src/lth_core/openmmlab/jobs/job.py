"""What there is to do: jobs, and what each needs of others."""

from __future__ import annotations

import graphlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from mmengine.config import Config


@dataclass(frozen=True)
class LevelRow:
    """One level of a chain."""

    level: int
    sparsity: float
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a job has led to, besides its files.

    Attributes:
        metrics: As mmengine calls them.
        seconds: Time spent on one core.
        sparsity: Of the trained backbone, over the weights in scope.
        levels: Of a chain.
    """

    metrics: dict[str, float]
    seconds: float
    sparsity: float = 0.0
    levels: tuple[LevelRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """One piece of work, done by one process.

    Attributes:
        stage: The stage it belongs to.
        path: The rest of its name.
        title: What it is called on the screen.
        config: The config that it works from.
        options: Settings on top of the config, dots between keys.
        files: Files of other jobs that it reads: by the config key that names the file (or by
            any name, for jobs that do not train), the job and the file's place in its directory.
        reads: Further files that it reads, wherever they lie, by the config key that names each.
            Their content is part of what the result follows from.
        outputs: Files in its own directory that are part of the result.
        seconds: How long it may take on one core: a first guess, corrected while working.
        like: Jobs that share it take about the same time; empty: none does.
        resumable: Whether it goes on from what an interrupted run of it has left.
    """

    stage: str
    path: tuple[str, ...]
    title: str
    config: str
    options: Mapping[str, Any]
    files: Mapping[str, tuple[str, str]]
    outputs: tuple[str, ...]
    seconds: float
    like: str = ""
    reads: Mapping[str, str] = field(default_factory=dict)

    resumable: ClassVar[bool] = False

    @abstractmethod
    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Does the work, in a process of its own.

        Args:
            cfg: The job's config, without its options.
            files: Where the files that it reads are, by the keys of :attr:`files` and
                :attr:`reads`.
            directory: Where its own files go.
        """

    @abstractmethod
    def text(self, outcome: Outcome) -> str:
        """What it has led to, in a few words."""

    def note(self, done: float) -> str:
        """How far it is, in a few words, when the share ``done`` of it is done."""
        return f"{100 * done:.0f} %"

    @property
    def name(self) -> str:
        """Unique, and the job's directory: ``cls/simclr/ticket_10``."""
        return "/".join((self.stage, *self.path))

    @property
    def kind(self) -> str:
        """Jobs of one kind take about the same time."""
        return self.like or self.name

    @property
    def package(self) -> str:
        """The package whose config it runs; empty if that is a file of its own."""
        return self.config.partition("::")[0] if "::" in self.config else ""

    @property
    def installed(self) -> bool:
        """Whether that package can be imported."""
        return not self.package or importlib.util.find_spec(self.package) is not None

    @cached_property
    def needs(self) -> frozenset[str]:
        """Names of the jobs whose results it reads."""
        return frozenset(name for name, _ in self.files.values())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All jobs.

    Attributes:
        owner: The command that they belong to, for messages: ``lth demo``.
        stages: In their order.
        jobs: By name.
    """

    owner: str
    stages: tuple[str, ...]
    jobs: Mapping[str, Job]

    def wanted(self, stages: Iterable[str]) -> list[str]:
        """Names of the jobs of ``stages`` and of all that they need, in order."""
        found = {name for name, job in self.jobs.items() if job.stage in set(stages)}
        for name in reversed(self.order):
            if name in found:
                found |= self.jobs[name].needs
        return [name for name in self.order if name in found]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All names, those that are needed before those that need them."""
        graph = {name: job.needs for name, job in self.jobs.items()}
        return tuple(graphlib.TopologicalSorter(graph).static_order())
