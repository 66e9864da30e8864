"""Runs a plan's jobs, the longest way to the end first."""

from __future__ import annotations

import graphlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lth_core.openmmlab.jobs.job import Plan
from lth_core.openmmlab.jobs.pool import JobError, Pool, Processes, Running
from lth_core.openmmlab.jobs.progress import View
from lth_core.openmmlab.jobs.store import Result, Store
from lth_core.openmmlab.jobs.worker import Failure, Order


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
            done = running.done or 0.0
            own = running.elapsed / done if done > 0 else estimate
            total = done * own + (1 - done) * estimate
            left[running.job.name] = max(total - running.elapsed, 0.0)
        return left


def run_jobs(
    plan: Plan,
    store: Store,
    wanted: Sequence[str],
    workers: int,
    view: View,
    pool: Pool | None = None,
) -> tuple[dict[str, Result], int]:
    """Does what is wanted and not finished.

    Args:
        plan: The plan.
        store: Where results are.
        wanted: Names of jobs, those that are needed first.
        workers: How many jobs run at once at most.
        view: Shows what goes on.
        pool: Where they run; None for processes of this machine.

    Returns:
        All results that hold, also of jobs that were not wanted; and how many of the wanted were
        finished before.

    Raises:
        JobError: If a job fails; others at work are left to the pool, what is finished is kept.
    """
    before = store.finished(plan)
    state = State(plan, wanted, workers, {n: before[n] for n in wanted if n in before})
    state.reused = len(state.results)
    graph = graphlib.TopologicalSorter({n: plan.jobs[n].needs for n in wanted})
    graph.prepare()
    ready: list[str] = []
    with view.showing(state), pool or Processes(workers) as at_work:
        while graph.is_active():
            for name in graph.get_ready():
                if name in state.results:
                    graph.done(name)
                else:
                    ready.append(name)
            if ready and at_work.has_room:
                ways = state.ways()
                ready.sort(key=lambda name: ways[name], reverse=True)  # equals in the plan's order
            while ready and at_work.has_room:
                job = plan.jobs[ready.pop(0)]
                digest = store.digest(job, state.results)
                order = Order(job, digest, store.config_digest(job), str(store.root), store.owner)
                state.running.append(at_work.give(order))
                view.update()
            if not state.running:
                continue  # all that was ready had been finished before
            for running, outcome in at_work.collect():
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
