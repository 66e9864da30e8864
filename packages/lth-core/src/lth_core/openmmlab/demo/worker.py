"""One worker process: it does one job after the other, so that imports are paid for once."""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, ClassVar

import cv2
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from lth_core.errors import ConfigError, LTHError
from lth_core.openmmlab.chain import LastMetrics
from lth_core.openmmlab.demo import pictures
from lth_core.openmmlab.demo.plan import TASKS, Job
from lth_core.openmmlab.demo.store import LevelRow, Result, Store, config_digest
from lth_core.openmmlab.hooks import MaskHook
from lth_core.openmmlab.launch import build_runner, load_config

SECONDS = "seconds.json"

Share = MutableSequence[float]
"""How much of each worker's job is done, 0 to 1; shared with the main process without a lock."""


@dataclass(frozen=True)
class Order:
    """A job to do.

    Attributes:
        job: The job.
        digest: Of all that its result follows from.
        config: Of its config alone, which must be the same when it is read again.
        root: The work directory.
    """

    job: Job
    digest: str
    config: str
    root: str


@dataclass(frozen=True)
class Failure:
    """Why a job has no result."""

    reason: str


class _Progress:
    """Where the hook below writes to: this process's place in the shared memory."""

    share: ClassVar[Share] = [0.0]
    place: ClassVar[int] = 0

    @classmethod
    def set(cls, fraction: float) -> None:
        cls.share[cls.place] = fraction


@HOOKS.register_module()
class DemoProgressHook(Hook):
    """Tells the main process how far a training is, and notes how long each takes.

    Args:
        rounds: Of the chain that the training is a level of, if it is.
    """

    priority = "LOWEST"  # after_train comes when the last validation is over

    def __init__(self, rounds: int | None = None) -> None:
        self.rounds = rounds
        self.begun = 0.0

    def before_train(self, runner: Runner) -> None:
        """Starts the clock."""
        self.begun = time.perf_counter()

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Tells how much is done."""
        done = (runner.iter + 1) / runner.max_iters
        if self.rounds is not None:
            done = (int(Path(runner.work_dir).name[-2:]) + done) / (self.rounds + 1)
        _Progress.set(done)

    def after_train(self, runner: Runner) -> None:
        """Notes how long it took."""
        seconds = time.perf_counter() - self.begun
        (Path(runner.work_dir) / SECONDS).write_text(json.dumps(seconds))


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
    _Progress.share, _Progress.place = share, place
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with _output_to(os.devnull):
        while True:
            try:
                order = connection.recv()
            except EOFError:
                break
            _Progress.set(0.0)
            connection.send(attempt(order))
    gc.unfreeze()  # else libraries complain at the end that something still is there


def attempt(order: Order) -> Result | Failure:
    """Does a job, with all that it prints in its log."""
    store = Store(order.root)
    try:
        directory = store.begin(order.job, order.digest)
        with _output_to(store.log(order.job.name)):
            try:
                return store.finish(order.job, _do(order, directory))
            except Exception:
                traceback.print_exc()
                raise
    except LTHError as problem:
        return Failure(str(problem))
    except Exception as problem:
        reason = str(problem).strip().splitlines() or ["no message"]
        return Failure(f"{type(problem).__name__}: {reason[0]}")


def _do(order: Order, directory: Path) -> Result:
    job, store = order.job, Store(order.root)
    _import_once(job.package)
    begun = time.perf_counter()
    files = {key: store.directory(name) / file for key, (name, file) in job.files.items()}
    cfg = load_config(job.config)
    if config_digest(cfg) != order.config:
        raise ConfigError(f"{job.config} has changed since the demo began; run it again")
    if job.stage == "report":
        pictures.draw(job.path[0], cfg, files, directory)
        return Result(order.digest, {}, time.perf_counter() - begun)
    cfg.merge_from_dict({**job.options, **{key: str(path) for key, path in files.items()}})
    cfg.work_dir = str(directory)
    progress = {"type": "DemoProgressHook", "rounds": cfg.get("imp", {}).get("rounds")}
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), progress]
    if job.stage == "imp":
        levels = _chain(cfg, directory)
        seconds = sum(level.seconds for level in levels)
        return Result(order.digest, {}, seconds, levels[-1].sparsity, levels)
    last = LastMetrics()
    runner = build_runner(cfg, (last,))
    runner.train()
    masks = next((hook.masks for hook in runner.hooks if isinstance(hook, MaskHook)), None)
    if job.stage in TASKS and TASKS[job.stage].metric not in last.last:
        raise LTHError(f"{job.config} measured no {TASKS[job.stage].metric}")
    return Result(
        order.digest,
        last.last,
        time.perf_counter() - begun,
        masks.sparsity if masks is not None else 0.0,
    )


def _import_once(package: str) -> None:
    if package not in sys.modules:
        importlib.import_module(package)
        # mmengine collects garbage whenever it builds a data set, which takes a quarter of a
        # second as long as all that was ever imported is looked through.
        gc.freeze()


def _chain(cfg: Config, directory: Path) -> tuple[LevelRow, ...]:
    rows = []
    for level in build_runner(cfg).train():
        at = directory / f"level_{level.index:02d}"
        seconds = json.loads((at / SECONDS).read_text())
        rows.append(LevelRow(level.index, level.sparsity, level.metrics, seconds))
    return tuple(rows)


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
