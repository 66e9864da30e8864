"""Trained networks under several attacks: is their robustness an artefact of one of them?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lth_core.openmmlab.jobs import Job, Measure, Outcome, prepare
from lth_core.openmmlab.launch import build_runner
from mmengine.config import Config

UNDER = "accuracy/top1"

ATTACKS = {
    "PGD-20": Measure(f"{UNDER}/pgd-20", "PGD-20 %"),
    "PGD-100": Measure(f"{UNDER}/pgd-100", "PGD-100 %"),
    # With fewer queries than its authors' its metric is called so.
    "Square": Measure(f"{UNDER}/square-reduced", "Square %"),
    "transferred": Measure(f"{UNDER}/transferred", "transferred %"),
}
"""What the config ``audit.py`` measures, by what reports call it."""


@dataclass(frozen=True, kw_only=True)
class Audit(Job):
    """Tests a checkpoint under all attacks of its config."""

    def do(self, cfg: Config, files: Mapping[str, Path], directory: Path) -> Outcome:
        """Tests; see :meth:`lth_core.openmmlab.jobs.Job.do`."""
        begun = time.perf_counter()
        prepare(cfg, self.options, files, directory)
        metrics: dict[str, float] = build_runner(cfg).test()
        return Outcome(metrics, time.perf_counter() - begun)

    def text(self, outcome: Outcome) -> str:
        """Accuracy under each attack."""
        return ", ".join(each.text(outcome.metrics) for each in ATTACKS.values())
