"""Jobs that train a config of the user's, perhaps for hours, and go on inside of a training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mmengine.config import Config

from lth_core.errors import LTHError
from lth_core.openmmlab.hooks import MaskHook
from lth_core.openmmlab.jobs.job import Job, Outcome
from lth_core.openmmlab.jobs.training import CHECKPOINT, JobProgressHook, prepare
from lth_core.openmmlab.launch import build_runner
from lth_core.openmmlab.resuming import clear, to_go_on_from

_SHOWN = 2


@dataclass(frozen=True, kw_only=True)
class LongTraining(Job):
    """Trains a config once, with its own checkpoints; goes on from the last whole one of them.

    Where options or files name fields of ``ticket``, they take the place of the config's own.
    With :data:`CHECKPOINT` among its outputs the trained model is kept there, too.
    """

    resumable: ClassVar[bool] = True

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Trains, or goes on; see :meth:`Job.do`.

        Raises:
            LTHError: If the training measures nothing.
        """
        begun = time.perf_counter()
        if any(key.startswith("ticket.") for key in (*self.options, *files)):
            cfg.pop("ticket", None)
        prepare(cfg, self.options, files, directory)
        checkpoint = to_go_on_from(cfg, directory)
        if checkpoint is None:
            clear(directory)
        else:
            cfg.resume, cfg.load_from = True, str(checkpoint)
        runner = build_runner(cfg, (JobProgressHook(),))
        runner.train()
        metrics: dict[str, float] = runner.metrics.last
        if not metrics and not runner.metrics.validated:
            raise LTHError(f"{self.config} measured nothing")
        if CHECKPOINT in self.outputs:
            whole = {"save_optimizer": False, "save_param_scheduler": False}
            runner.save_checkpoint(str(directory), CHECKPOINT, **whole)
        masks = next((hook.masks for hook in runner.hooks if isinstance(hook, MaskHook)), None)
        sparsity = masks.sparsity if masks is not None else 0.0
        return Outcome(metrics, time.perf_counter() - begun, sparsity)

    def text(self, outcome: Outcome) -> str:
        """Its first numbers."""
        if not outcome.metrics:
            return "no number: the validation came to nothing"
        shown = list(outcome.metrics.items())[:_SHOWN]
        return ", ".join(f"{name} {value:.4g}" for name, value in shown)
