"""Processes that look at configs; one that dies or hangs is a row, and another takes its place."""

from __future__ import annotations

import multiprocessing
import os
import queue
import resource
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from upstream_probe import Order, Row, prepare, probe, version
from upstream_reasons import CRASH, TIME, WORKS, OfflineError
from upstream_texts import stand_in_for_bert

_REST = 150
"""After so many configs a process makes room for a fresh one: libraries keep what they load."""


@dataclass(frozen=True)
class Limits:
    """What one config may take.

    Args:
        seconds: Of time.
        gib: Of memory.
    """

    seconds: float = 300
    gib: float = 14


def probe_all(
    orders: Sequence[Order], jobs: int, limits: Limits, seen: dict[str, Row]
) -> Iterator[Row]:
    """Looks at configs in several processes; rows come as they are finished.

    Args:
        orders: What to look at; those of one library should stand together.
        jobs: How many processes.
        limits: Of each.
        seen: Rows whose tickets were right, by what their backbones are made of; added to.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # which is read when a process begins to import
    waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
    for order in orders:
        waiting.put(order)
    rows: queue.SimpleQueue[Row | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    threads = [
        threading.Thread(target=_attend, args=(waiting, rows, limits, seen, stop), daemon=True)
        for _ in range(min(jobs, len(orders)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in orders:
            row = rows.get()
            if isinstance(row, BaseException):
                raise row
            yield row
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _attend(
    waiting: queue.SimpleQueue[Order],
    rows: queue.SimpleQueue[Row | BaseException],
    limits: Limits,
    seen: dict[str, Row],
    stop: threading.Event,
) -> None:
    """Keeps one process at work until nothing waits any more."""
    worker: _Worker | None = None
    try:
        while not stop.is_set():
            try:
                order = waiting.get_nowait()
            except queue.Empty:
                break
            if worker is not None and not worker.suits(order):
                worker.end()
                worker = None
            worker = worker or _Worker(order.library, limits, dict(seen))
            row = worker.ask(order, stop)
            if row.status == WORKS and not row.as_in:
                seen[row.made_of] = row
            rows.put(row)
    except BaseException as problem:
        rows.put(problem)
    finally:
        if worker is not None:
            worker.end()


class _Worker:
    """A process for configs of one library."""

    def __init__(self, library: str, limits: Limits, seen: dict[str, Row]) -> None:
        self.library, self.limits, self.done = library, limits, 0
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, library, limits.gib, seen), daemon=True
        )
        self.process.start()
        theirs.close()

    def suits(self, order: Order) -> bool:
        return self.process.is_alive() and self.library == order.library and self.done < _REST

    def ask(self, order: Order, stop: threading.Event) -> Row:
        """The process's row, or one that says how it ended."""
        self.done += 1
        row = Row(order.config, version(order.library))
        try:
            self.connection.send(order)
            left = self.limits.seconds
            while not self.connection.poll(1):
                left -= 1
                if left <= 0 or stop.is_set():
                    row.status, row.seconds = TIME, self.limits.seconds
                    self.process.kill()
                    self.process.join()
                    return row
            found: Row = self.connection.recv()
            return found
        except (EOFError, OSError):
            self.process.join()
            row.status, row.reason = CRASH, f"exit code {self.process.exitcode}"
            return row

    def end(self) -> None:
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(connection: Connection, library: str, gib: float, seen: dict[str, Row]) -> None:
    """What a process does: one config after the other, without the internet."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (int(gib * 2**30), resource.RLIM_INFINITY))
    prepare(library)
    _go_offline()
    with tempfile.TemporaryDirectory() as folder:
        stand_in_for_bert(Path(folder))
        while True:
            try:
                order = connection.recv()
            except (EOFError, KeyboardInterrupt):
                break
            connection.send(probe(order, seen, Path(folder)))


def _go_offline() -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OfflineError

    socket.getaddrinfo = socket.create_connection = refuse  # type: ignore[assignment]
