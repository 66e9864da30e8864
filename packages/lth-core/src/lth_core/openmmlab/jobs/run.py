"""Runs a plan's jobs in a few processes, the longest way to the end first."""

from __future__ import annotations

import graphlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any

import torch
from joblib import cpu_count  # type: ignore[import-untyped]

from lth_core.errors import LTHError
from lth_core.openmmlab.jobs.job import Job, Plan
from lth_core.openmmlab.jobs.progress import View
from lth_core.openmmlab.jobs.store import Result, Store
from lth_core.openmmlab.jobs.training import Share
from lth_core.openmmlab.jobs.worker import Failure, Order, serve

TICK = 0.25
"""Seconds between looks at what goes on."""


_DEVICES = "CUDA_VISIBLE_DEVICES"


class JobError(LTHError):
    """A job has failed, or its process has died."""


@dataclass
class Running:
    """A job at work.

    Attributes:
        job: The job.
        since: When it was handed out, on the clock of ``time.monotonic``.
        done: How much of it is done, 0 to 1.
    """

    job: Job
    since: float
    done: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since it was handed out."""
        return time.monotonic() - self.since


@dataclass
class State:
    """How far a run is; what views show.

    Attributes:
        plan: The plan.
        wanted: Names of all jobs of this run, in order.
        workers: How many jobs may run at once.
        results: Of jobs that are finished, in this run or before.
        reused: How many of them were finished before.
        running: What is at work now.
        begun: When the run began, on the clock of ``time.monotonic``.
    """

    plan: Plan
    wanted: Sequence[str]
    workers: int
    results: dict[str, Result]
    reused: int = 0
    running: list[Running] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.begun

    @property
    def pending(self) -> list[str]:
        """Names of jobs that are not finished, in order."""
        return [name for name in self.wanted if name not in self.results]

    def estimates(self) -> dict[str, float]:
        """Seconds that each pending job should take, by name.

        As like jobs took, else scaled by this machine's pace.
        """
        done = [(self.plan.jobs[name], result.seconds) for name, result in self.results.items()]
        like: dict[str, list[float]] = {}
        for job, seconds in done:
            like.setdefault(job.kind, []).append(seconds)
        guessed = sum(job.seconds for job, _ in done)
        pace = sum(seconds for _, seconds in done) / guessed if guessed else 1.0
        found = {}
        for name in self.pending:
            job = self.plan.jobs[name]
            known = like.get(job.kind)
            found[name] = sum(known) / len(known) if known else pace * job.seconds
        return found

    def left(self) -> float:
        """Seconds until the end, about: the work over the workers, or the longest way."""
        left = self._each_left()
        ways = self._ways(left)
        return max(sum(left.values()) / self.workers, max(ways.values(), default=0.0))

    def ways(self) -> dict[str, float]:
        """For each pending job, seconds from its start to the end of the last that needs it."""
        return self._ways(self._each_left())

    def _ways(self, left: dict[str, float]) -> dict[str, float]:
        ways: dict[str, float] = {}
        after: dict[str, float] = {}
        for name in reversed(self.pending):
            ways[name] = left[name] + after.get(name, 0.0)
            for needed in self.plan.jobs[name].needs:
                after[needed] = max(after.get(needed, 0.0), ways[name])
        return ways

    def _each_left(self) -> dict[str, float]:
        """For each pending job, seconds of work that are left of it."""
        left = self.estimates()
        for running in self.running:
            estimate = left[running.job.name]
            # What it has shown by itself counts the more, the further it is.
            own = running.elapsed / running.done if running.done > 0 else estimate
            total = running.done * own + (1 - running.done) * estimate
            left[running.job.name] = max(total - running.elapsed, 0.0)
        return left


def run_jobs(
    plan: Plan, store: Store, wanted: Sequence[str], workers: int, view: View
) -> tuple[dict[str, Result], int]:
    """Does what is wanted and not finished.

    Args:
        plan: The plan.
        store: Where results are.
        wanted: Names of jobs, those that are needed first.
        workers: How many processes to use at most.
        view: Shows what goes on.

    Returns:
        All results that hold, also of jobs that were not wanted; and how many of the wanted were
        finished before.

    Raises:
        JobError: If a job fails; others at work are stopped, what is finished is kept.
    """
    before = store.finished(plan)
    state = State(plan, wanted, workers, {n: before[n] for n in wanted if n in before})
    state.reused = len(state.results)
    graph = graphlib.TopologicalSorter({n: plan.jobs[n].needs for n in wanted})
    graph.prepare()
    ready: list[str] = []
    with view.showing(state), _Pool(workers) as pool:
        while graph.is_active():
            for name in graph.get_ready():
                if name in state.results:
                    graph.done(name)
                else:
                    ready.append(name)
            if ready and pool.has_room:
                ways = state.ways()
                ready.sort(key=lambda name: ways[name], reverse=True)  # equals in the plan's order
            while ready and pool.has_room:
                job = plan.jobs[ready.pop(0)]
                digest = store.digest(job, state.results)
                order = Order(job, digest, store.config_digest(job), str(store.root), store.owner)
                state.running.append(pool.give(order))
                view.update()
            if not state.running:
                continue  # all that was ready had been finished before
            for running, outcome in pool.collect():
                if isinstance(outcome, Failure):
                    log = store.log(running.job.name)
                    raise JobError(f"job {running.job.name} failed: {outcome.reason}; see {log}")
                state.running.remove(running)
                state.results[running.job.name] = outcome
                graph.done(running.job.name)
                view.finished(running.job, outcome)
            view.update()
    # Not wanted, but finished before and still valid: reports show it too.
    others = {n: r for n, r in before.items() if n not in state.results}
    return {**others, **state.results}, state.reused


def visible_devices() -> list[str]:
    """The GPUs that jobs are spread over, one for each process, as CUDA names them."""
    named = [name.strip() for name in os.environ.get(_DEVICES, "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(index) for index in range(count)]


def default_workers() -> int:
    """How many jobs run at once if nothing is said: one for each GPU, else for each CPU core."""
    return len(visible_devices()) or int(cpu_count())


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    place: int
    running: Running | None = None


class _Pool:
    """Worker processes, started when there is work for them, and gone when the block is left."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._share: Share = RawArray("d", size)
        self._workers: list[_Worker] = []
        self._devices = visible_devices()

    def __enter__(self) -> _Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            if worker.running is None:
                worker.connection.close()  # which an idle worker takes as the end
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    @property
    def has_room(self) -> bool:
        """Whether another job can be given."""
        return len(self._workers) < self._size or any(w.running is None for w in self._workers)

    def give(self, order: Order) -> Running:
        """Hands a job to a worker that has none."""
        worker = next((w for w in self._workers if w.running is None), None) or self._start()
        self._share[worker.place] = 0.0
        worker.running = Running(order.job, time.monotonic())
        try:
            worker.connection.send(order)
        except OSError:
            raise JobError(
                f"job {order.job.name} could not be given to a process: it has died while idle; "
                "run the same command again"
            ) from None
        return worker.running

    def collect(self) -> Iterator[tuple[Running, Result | Failure]]:
        """Waits a moment; gives what has come to an end."""
        busy = {w.connection: w for w in self._workers if w.running is not None}
        ended: Sequence[Any] = wait(list(busy), TICK)
        for connection, worker in busy.items():
            running = worker.running
            if running is None:
                continue
            running.done = self._share[worker.place]
            if connection in ended:
                outcome = self._receive(worker)
                worker.running = None
                yield running, outcome

    def _receive(self, worker: _Worker) -> Result | Failure:
        try:
            return worker.connection.recv()
        except (EOFError, OSError):  # the process is gone
            worker.process.join(5)
            code = worker.process.exitcode
            how = signal.Signals(-code).name if code is not None and code < 0 else f"code {code}"
            return Failure(f"its process died ({how})")

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        place = len(self._workers)
        process = context.Process(target=serve, args=(there, self._share, place))
        with _inherited(self._devices[place % len(self._devices)] if self._devices else None):
            process.start()
        there.close()  # so that the death of the process ends the connection
        self._workers.append(_Worker(process, here, place))
        return self._workers[-1]


@contextmanager
def _inherited(device: str | None) -> Iterator[None]:
    """What a worker must have from its first moment on: one thread, one GPU, no ear for Ctrl-C."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    settings = dict.fromkeys(names, "1")
    if device is not None:
        settings[_DEVICES] = device
    before = {name: os.environ.get(name) for name in settings}
    # Held back, not ignored: one that comes now must still end the run, a moment later.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(settings)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
