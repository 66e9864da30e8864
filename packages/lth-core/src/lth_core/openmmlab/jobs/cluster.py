"""Jobs on a cluster, through submitit: each is one submission to the scheduler.

Submissions outlive the command that has made them. It notes the scheduler's number of each before
it goes on, so that the same command, run again, waits for what is still there, submits what has
died, and leaves the rest alone. A submission that finds another at its job waits for that to end.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import submitit
import torch

from lth_core.errors import ConfigError, InUseError
from lth_core.files import write_atomic
from lth_core.imp import hold
from lth_core.openmmlab.jobs.pool import JobError, Running
from lth_core.openmmlab.jobs.store import Result, Store
from lth_core.openmmlab.jobs.training import Progress
from lth_core.openmmlab.jobs.worker import Failure, Order, attempt
from lth_core.spelling import hint

SUBMITTED = "submitted"
"""In a work directory: what submitit keeps, and who has which job."""

_HERE = frozenset({"cpus_per_task", "gpus_per_node", "signal_delay_s", "time"})
EXECUTORS: Mapping[str, frozenset[str]] = {
    "slurm": _HERE
    | {"account", "comment", "constraint", "exclude", "exclusive", "gres", "mail_type", "mail_user"}
    | {"mem", "mem_per_cpu", "mem_per_gpu", "nodelist", "partition", "qos", "setup", "use_srun"},
    "local": _HERE,
}
"""What can be submitted to, and which settings each has: Slurm's own names."""

_RECORD, _PROGRESS = "submission.json", "progress"
_TIMEOUTS = 1000
"""How often a job may use up its time: it goes on from its last checkpoint each time."""

_PATIENCE = 24 * 3600
"""Seconds after which a submission that the scheduler does not know is taken for gone."""

_LOOK = 2.0
"""Seconds between looks at submissions: each asks a disk that many machines share."""

_WRITTEN_EVERY = 5.0
"""Seconds between notes of a job's progress."""


@dataclass(frozen=True)
class Submission:
    """Where jobs are submitted to.

    Args:
        executor: Of :data:`EXECUTORS`; ``local`` starts processes of this machine on the same way.
        options: Its settings.

    Raises:
        ConfigError: If one is unknown, or Slurm is not told how long a job may take.
    """

    executor: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = EXECUTORS[self.executor]
        for name in self.options:
            if name not in known:
                raise ConfigError(
                    f"--submit {self.executor} has no {name!r}; {hint(name, known)}choose from "
                    f"{', '.join(sorted(known))}"
                )
        for name, least in (
            ("time", 1),
            ("cpus_per_task", 1),
            ("gpus_per_node", 0),
            ("signal_delay_s", 1),
        ):
            value = self.options.get(name)
            if value is not None and (type(value) is not int or value < least):
                raise ConfigError(f"{name} is {value!r}; it must be a whole number")
        if self.executor == "slurm" and "time" not in self.options:
            raise ConfigError(
                "Slurm wants to know for how long: add --submit-options time=MINUTES, after which "
                "a training is queued again and goes on from its last checkpoint"
            )

    def pool(self, store: Store, size: int) -> Cluster:
        """Where jobs whose results go to ``store`` are done, ``size`` of them at once at most."""
        return Cluster(store, self, size)

    def executor_in(self, folder: Path, name: str) -> Any:
        """Submitit's executor, whose files go to ``folder``.

        Args:
            folder: The folder.
            name: Of the job.

        Raises:
            ConfigError: If there is no such scheduler here.
        """
        options = dict(self.options)
        if self.executor == "slurm":
            try:
                executor = submitit.SlurmExecutor(folder, max_num_timeout=_TIMEOUTS)
            except RuntimeError:
                raise ConfigError(
                    "--submit slurm finds no srun here; run it where jobs are submitted from"
                ) from None
            if "setup" in options:
                options["setup"] = [options["setup"]]
            executor.update_parameters(job_name=f"lth.{name.replace('/', '.')}", **options)
            return executor
        local = submitit.LocalExecutor(folder, max_num_timeout=_TIMEOUTS)
        minutes = options.pop("time", _TIMEOUTS * 60)
        local.update_parameters(timeout_min=minutes, **options)
        return local


class Remote:
    """What a submission runs: one job, as a process of :class:`lth_core.openmmlab.jobs.Processes`.

    Args:
        order: The job.
        folder: Of the submission.
        threads: How many it may use.
    """

    def __init__(self, order: Order, folder: Path, threads: int) -> None:
        self.order = order
        self.folder = folder
        self.threads = threads
        self.path = list(sys.path)

    def __call__(self) -> Result | Failure:
        """Does the job, or takes the result of whoever was at it."""
        sys.path += [place for place in self.path if place not in sys.path]
        torch.set_num_threads(self.threads)
        cv2.setNumThreads(self.threads)
        Progress.share, Progress.place = _Noted(self.folder / _PROGRESS), 0
        Progress.set(0.0)
        store = Store(self.order.root, self.order.owner)
        while True:
            try:
                with hold(self.folder):
                    done = store.read(self.order.job, self.order.digest)
                    return done or attempt(self.order)
            except InUseError:  # by another submission of the same job
                time.sleep(_LOOK)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What submitit queues when the scheduler takes the machine away: the same again."""
        return submitit.helpers.DelayedSubmission(self)


class _Noted:
    """One number, kept in a file, written now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = float("-inf")

    def __setitem__(self, place: int, value: float) -> None:
        now = time.monotonic()
        if now - self._written >= _WRITTEN_EVERY:
            self._written = now
            self._path.write_text(f"{value:.4f}")


@dataclass
class _Submitted:
    job: Any
    running: Running
    folder: Path


class Cluster:
    """Hands jobs to a scheduler.

    Args:
        store: Where results are; every machine must see this directory by the same path.
        submission: Where to.
        size: How many are queued or at work at most.
    """

    def __init__(self, store: Store, submission: Submission, size: int) -> None:
        self._root = store.root / SUBMITTED
        self._submission = submission
        self._size = size
        self._jobs: list[_Submitted] = []

    def __enter__(self) -> Cluster:
        logging.getLogger("submitit").setLevel(logging.ERROR)
        return self

    def __exit__(self, *problem: object) -> None:
        if not self._jobs:
            return
        numbers = " ".join(str(each.job.job_id) for each in self._jobs)
        if self._submission.executor == "local":
            for each in self._jobs:
                each.job.cancel()
            return
        print(
            f"{len(self._jobs)} submitted jobs go on without this command; run it again to wait "
            f"for them, or end them: scancel {numbers}",
            file=sys.stderr,
        )

    @property
    def has_room(self) -> bool:
        """Whether another job can be submitted."""
        return len(self._jobs) < self._size

    def give(self, order: Order) -> Running:
        """Submits a job, or finds its submission.

        Raises:
            JobError: If the scheduler does not take it.
        """
        folder = self._root / order.job.name
        folder.mkdir(parents=True, exist_ok=True)
        executor = self._submission.executor_in(folder, order.job.name)
        job = self._still_there(executor, order, folder)
        if job is None:
            (folder / _PROGRESS).unlink(missing_ok=True)
            threads = int(self._submission.options.get("cpus_per_task", 1))
            try:
                job = executor.submit(Remote(order, folder, threads))
            except Exception as problem:  # submitit's, the shell's
                reason = str(problem).strip().splitlines() or [type(problem).__name__]
                raise JobError(f"job {order.job.name} cannot be submitted: {reason[-1]}") from None
            record = {
                "id": job.job_id,
                "digest": order.digest,
                "at": time.time(),
                **asdict(self._submission),
            }
            write_atomic(folder / _RECORD, json.dumps(record, indent=2) + "\n")
        running = Running(order.job, time.monotonic(), None)
        self._jobs.append(_Submitted(job, running, folder))
        return running

    def _still_there(self, executor: Any, order: Order, folder: Path) -> Any | None:
        """The job's submission, if one is queued or at work."""
        try:
            record = json.loads((folder / _RECORD).read_text())
            number, at = str(record["id"]), float(record["at"])
            same = (record["digest"], record["executor"]) == (
                order.digest,
                self._submission.executor,
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None
        job = executor.job_class(folder, number, tasks=[0])
        if not same or job.paths.result_pickle.exists():
            return None
        if self._submission.executor == "local":  # which knows its own children only
            return job if _runs_submitit(number) else None
        if job.watcher.is_done(number, mode="force"):
            return None
        unknown = job.watcher.get_state(number, mode="cache") == "UNKNOWN"
        return None if unknown and time.time() - at > _PATIENCE else job

    def collect(self) -> Iterator[tuple[Running, Result | Failure]]:
        """Waits a moment; gives what has come to an end."""
        time.sleep(_LOOK)
        for each in list(self._jobs):
            with suppress(OSError, ValueError):  # not begun, or being written
                each.running.done = float((each.folder / _PROGRESS).read_text())
            if self._ended(each):
                self._jobs.remove(each)
                yield each.running, self._outcome(each)

    def _ended(self, each: _Submitted) -> bool:
        if each.job.paths.result_pickle.exists():
            return True
        if self._submission.executor == "local" and each.job._process is None:
            return not _runs_submitit(each.job.job_id)
        return bool(each.job.done())

    def _outcome(self, each: _Submitted) -> Result | Failure:
        try:
            outcome: Result | Failure = each.job.result()
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
            return Failure(
                f"its submission {each.job.job_id} ended without a result ({each.job.state}); "
                f"{each.job.paths.stderr} may say why, and the same command submits it again"
            )
        return outcome


def _runs_submitit(number: str) -> bool:
    """Whether the process of this number is a submission's."""
    try:
        return b"submitit" in Path("/proc", number, "cmdline").read_bytes()
    except OSError:
        return False


def parse(executor: str, words: Sequence[str]) -> Submission:
    """What ``--submit`` and ``--submit-options`` say.

    Args:
        executor: Of :data:`EXECUTORS`.
        words: Each ``KEY=VALUE``.

    Raises:
        ConfigError: If a word is something else, or a setting is wrong.
    """
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(f"--submit-options: {word!r} is not KEY=VALUE")
        options[name] = int(value) if value.isdecimal() else value
    return Submission(executor, options)
