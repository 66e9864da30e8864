"""Where jobs are done: in a few processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, MutableSequence, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import RawArray
from typing import Any, Protocol

import torch
from joblib import cpu_count  # type: ignore[import-untyped]

from lth_core.errors import LTHError
from lth_core.openmmlab.jobs.job import Job
from lth_core.openmmlab.jobs.store import Result
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
        done: How much of it is done, 0 to 1; None while it waits for a machine.
    """

    job: Job
    since: float
    done: float | None = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since it was handed out."""
        return time.monotonic() - self.since


class Pool(AbstractContextManager["Pool"], Protocol):
    """Where jobs are done; leaving the block ends what is at work, or leaves it to itself."""

    @property
    def has_room(self) -> bool:
        """Whether another job can be given."""

    def give(self, order: Order) -> Running:
        """Hands out a job.

        Raises:
            JobError: If nobody takes it.
        """

    def collect(self) -> Iterator[tuple[Running, Result | Failure]]:
        """Waits a moment; gives what has come to an end."""


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


class Processes:
    """Processes of this machine, started when there is work for them; gone when the block is left.

    Args:
        size: How many at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._share: MutableSequence[float] = RawArray("d", size)
        self._workers: list[_Worker] = []
        self._devices = visible_devices()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *problem: object) -> None:
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
