"""One worker process: it does one job after the other, so that imports are paid for once."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

import cv2
import torch

from lth_core.errors import ConfigError, LTHError
from lth_core.openmmlab.jobs.job import Job, Outcome
from lth_core.openmmlab.jobs.store import Result, Store, config_digest
from lth_core.openmmlab.jobs.training import Progress, Share
from lth_core.openmmlab.launch import load_config


@dataclass(frozen=True)
class Order:
    """A job to do.

    Attributes:
        job: The job.
        digest: Of all that its result follows from.
        config: Of its config alone, which must be the same when it is read again.
        root: The work directory.
        owner: The command that the job belongs to.
    """

    job: Job
    digest: str
    config: str
    root: str
    owner: str


@dataclass(frozen=True)
class Failure:
    """Why a job has no result."""

    reason: str


def serve(connection: Connection, share: Share, place: int) -> None:
    """Does the jobs that arrive until the connection is closed; what this process runs.

    Args:
        connection: Brings an :class:`Order`, takes its :class:`Result` or :class:`Failure`.
        share: See :data:`Share`.
        place: This worker's position in it.
    """
    # Ctrl-C reaches every process of the terminal; the main one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    Progress.share, Progress.place = share, place
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with _output_to(os.devnull):
        while True:
            try:
                order = connection.recv()
            except EOFError:
                break
            Progress.set(0.0)
            connection.send(attempt(order))
    gc.unfreeze()  # else libraries complain at the end that something still is there


def attempt(order: Order) -> Result | Failure:
    """Does a job, with all that it prints in its log."""
    store = Store(order.root, order.owner)
    try:
        directory = store.begin(order.job, order.digest)
        with _output_to(store.log(order.job.name)):
            try:
                outcome = _do(order, store, directory)
                return store.finish(order.job, order.digest, outcome)
            except Exception:
                traceback.print_exc()
                raise
    except LTHError as problem:
        return Failure(str(problem))
    except Exception as problem:
        reason = str(problem).strip().splitlines() or ["no message"]
        return Failure(f"{type(problem).__name__}: {reason[0]}")


def _do(order: Order, store: Store, directory: Path) -> Outcome:
    job = order.job
    if job.package:
        _import_once(job.package)
    files = {key: store.directory(name) / file for key, (name, file) in job.files.items()}
    files |= {key: Path(path).absolute() for key, path in job.reads.items()}
    cfg = load_config(job.config)
    if config_digest(cfg) != order.config:
        raise ConfigError(f"{job.config} has changed since {order.owner} began; run it again")
    return job.do(cfg, files, directory)


def _import_once(package: str) -> None:
    if package not in sys.modules:
        importlib.import_module(package)
        # mmengine collects garbage whenever it builds a data set, which takes a quarter of a
        # second as long as all that was ever imported is looked through.
        gc.freeze()


@contextmanager
def _output_to(path: str | Path) -> Iterator[None]:
    """Sends standard output and error, also those of libraries in C, to a file."""
    kept = [os.dup(number) for number in (1, 2)]
    with open(path, "a") as file:
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def _end_with_parent() -> None:
    """Nothing goes on in the background once the main process is gone, however it went."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
