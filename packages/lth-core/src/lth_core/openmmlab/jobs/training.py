"""Jobs that train: one training, or a chain of rounds that finds tickets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from lth_core.errors import LTHError
from lth_core.openmmlab.hooks import MaskHook
from lth_core.openmmlab.jobs.job import Job, LevelRow, Outcome
from lth_core.openmmlab.launch import build_runner
from lth_core.openmmlab.recording import read_seconds
from lth_core.pruning import sparsity_after

CHECKPOINT = "final.pth"
"""The trained weights of every training, in its directory."""

LAST_ONLY: Mapping[str, Any] = {
    # One checkpoint at the end, without the optimizer: nothing shorter than a minute is worth more.
    "default_hooks.checkpoint": {
        "type": "CheckpointHook",
        "interval": -1,
        "save_last": True,
        "save_optimizer": False,
        "save_param_scheduler": False,
        "filename_tmpl": CHECKPOINT,
    }
}
"""Options of trainings that are short."""


class Share(Protocol):
    """How much of each worker's job is done, 0 to 1; the main process sees it, without a lock."""

    def __setitem__(self, place: int, value: float) -> None:
        """Tells what the worker at ``place`` has done."""


class Progress:
    """Where the hook below writes to: this process's place in the shared memory."""

    share: ClassVar[Share] = [0.0]
    place: ClassVar[int] = 0

    @classmethod
    def set(cls, fraction: float) -> None:
        """Tells the main process how much of the job is done."""
        cls.share[cls.place] = fraction


@HOOKS.register_module()
class JobProgressHook(Hook):
    """Tells the main process how far a training is.

    Args:
        rounds: Of the chain that the training is a level of, if it is.
    """

    def __init__(self, rounds: int | None = None) -> None:
        self.rounds = rounds

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Tells how much is done."""
        done = (runner.iter + 1) / runner.max_iters
        if self.rounds is not None:
            done = (int(Path(runner.work_dir).name[-2:]) + done) / (self.rounds + 1)
        Progress.set(done)


@dataclass(frozen=True)
class Measure:
    """What trainings are measured by.

    Attributes:
        metric: As mmengine calls it.
        label: As reports call it, with its unit: ``accuracy %``.
        scale: Factor that brings mmengine's number to the report's.
        digits: Digits behind the point in reports.
    """

    metric: str
    label: str
    scale: float = 1.0
    digits: int = 2

    def of(self, metrics: Mapping[str, float]) -> float:
        """The report's number."""
        return self.scale * metrics[self.metric]

    def text(self, metrics: Mapping[str, float]) -> str:
        """As ``accuracy 91.3 %``."""
        unit = " %" * self.label.endswith(" %")
        return f"{self.label.removesuffix(' %')} {self.of(metrics):.{self.digits}f}{unit}"


@dataclass(frozen=True, kw_only=True)
class Training(Job):
    """Trains a config once.

    Attributes:
        measure: What it is measured by.
    """

    measure: Measure

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Trains; see :meth:`Job.do`.

        Raises:
            LTHError: If the training measures nothing of what was asked for.
        """
        begun = time.perf_counter()
        prepare(cfg, self.options, files, directory)
        runner = build_runner(cfg, (JobProgressHook(),))
        runner.train()
        metrics: dict[str, float] = runner.metrics.last
        if self.measure.metric not in metrics:
            raise LTHError(f"{self.config} measured no {self.measure.metric}")
        masks = next((hook.masks for hook in runner.hooks if isinstance(hook, MaskHook)), None)
        sparsity = masks.sparsity if masks is not None else 0.0
        return Outcome(metrics, time.perf_counter() - begun, sparsity)

    def text(self, outcome: Outcome) -> str:
        """The number that it is measured by."""
        return self.measure.text(outcome.metrics)


@dataclass(frozen=True, kw_only=True)
class Chain(Job):
    """Trains a config with ``imp`` among its options: levels 0, 1, ...

    Attributes:
        measure: What its levels are measured by.
    """

    measure: Measure
    resumable: ClassVar[bool] = True

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Runs the chain, or goes on with it; see :meth:`Job.do`.

        Raises:
            LTHError: If a level measures nothing of what was asked for.
        """
        prepare(cfg, self.options, files, directory)
        progress = {"type": "JobProgressHook", "rounds": cfg.imp.rounds}
        cfg.custom_hooks = [*cfg.get("custom_hooks", []), progress]
        rows = []
        for level in build_runner(cfg).train():
            if level.finished is None and self.measure.metric not in level.metrics:
                raise LTHError(f"{self.config} measured no {self.measure.metric}")
            at = directory / f"level_{level.index:02d}"
            seconds = read_seconds(at) or 0.0
            rows.append(LevelRow(level.index, level.sparsity, level.metrics, seconds))
        return Outcome({}, sum(row.seconds for row in rows), rows[-1].sparsity, tuple(rows))

    def text(self, outcome: Outcome) -> str:
        """How far it has come."""
        last = outcome.levels[-1]
        return f"levels 0 to {last.level}, sparsity up to {100 * last.sparsity:.2f} %"

    def note(self, done: float) -> str:
        """The level that it is at."""
        last = self.options["imp"]["rounds"]
        level = min(int(done * (last + 1)), last)
        sparsity = sparsity_after(level, self.options["imp"]["amount"])
        return f"level {level} of {last}, {100 * sparsity:.2f} %"


def prepare(
    cfg: Config, options: Mapping[str, Any], files: Mapping[str, Path], directory: Path
) -> None:
    """Makes a config a job's own.

    Args:
        cfg: The config. Changed.
        options: Settings on top of it, dots between keys.
        files: Paths, by the keys that name them.
        directory: Where the training's files go.
    """
    cfg.merge_from_dict({**options, **{key: str(path) for key, path in files.items()}})
    cfg.work_dir = str(directory)
