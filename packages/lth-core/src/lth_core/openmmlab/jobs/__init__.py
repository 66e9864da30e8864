"""Many trainings as one resumable run: a graph of jobs, done by a few processes.

``job`` says what there is to do, ``training`` how a job trains, ``store`` what is finished, ``run``
who does what next, ``pool`` and ``cluster`` where, ``worker`` what a process does, and ``progress``
what is shown meanwhile.
"""

from lth_core.openmmlab.jobs.job import Job, LevelRow, Outcome, Plan
from lth_core.openmmlab.jobs.long import LongTraining
from lth_core.openmmlab.jobs.pool import JobError, Pool, default_workers
from lth_core.openmmlab.jobs.progress import choose_view, clock
from lth_core.openmmlab.jobs.run import run_jobs
from lth_core.openmmlab.jobs.store import Result, Store
from lth_core.openmmlab.jobs.training import (
    CHECKPOINT,
    LAST_ONLY,
    Chain,
    Measure,
    Training,
    prepare,
)

__all__ = [
    "CHECKPOINT",
    "LAST_ONLY",
    "Chain",
    "Job",
    "JobError",
    "LevelRow",
    "LongTraining",
    "Measure",
    "Outcome",
    "Plan",
    "Pool",
    "Result",
    "Store",
    "Training",
    "choose_view",
    "clock",
    "default_workers",
    "prepare",
    "run_jobs",
]
