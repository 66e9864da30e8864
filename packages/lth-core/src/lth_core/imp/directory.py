"""A run's directory: its files, who may write to it, and what in it is finished.

Layout::

    run/  imp.json  rewind.safetensors  results.csv  seconds.json
          one_shot/  level_01.safetensors ...: the same sparsities in one prune, as a control
          level_00/  ticket.safetensors  metrics.json  ... whatever the training leaves there
          level_01/  ... start.safetensors  carried.pth, where the settings ask for them
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lth_core.errors import InUseError, RunError, TicketError
from lth_core.files import load_tensors, write_atomic
from lth_core.ticket import Ticket

SETTINGS, REWIND, RESULTS = "imp.json", "rewind.safetensors", "results.csv"

SECONDS = "seconds.json"
"""Name of a run's file that says what its time went to, level by level."""

TICKET = "ticket.safetensors"
"""Name of a level's ticket in its directory."""

METRICS = "metrics.json"
"""Name of a level's numbers in its directory."""

STUDY = "study.json"
"""File in a study's directory: what all of its trainings have in common."""

STUDY_DENSE, STUDY_TICKETS = "dense.safetensors", "tickets"
"""In a study's directory: a ticket that prunes nothing, and copies of those it trains from."""

CONNECTIVITY = "connectivity.json"
"""What ``lth connectivity`` has measured in a directory."""

_HOLDS = {SETTINGS: "rounds of pruning", STUDY: "a study", CONNECTIVITY: "runs of lth connectivity"}

START, CARRIED_STATE = "start.safetensors", "carried.pth"
ONE_SHOT = "one_shot"
LOCK = ".lock"


def reject_others(directory: Path, own: str | None) -> None:
    """Refuses a directory that something else is kept in: their results would mix.

    Args:
        directory: To write to.
        own: File that marks what it may hold; None for nothing of these.

    Raises:
        RunError: Saying what it holds.
    """
    for marker, what in _HOLDS.items():
        if marker != own and (directory / marker).exists():
            raise RunError(f"{directory} holds {what}; use another --work-dir")


def one_shot_path(directory: Path, index: int) -> Path:
    """Where the one-shot control of a level is."""
    return directory / ONE_SHOT / f"level_{index:02d}.safetensors"


def level_directory(directory: Path, index: int) -> Path:
    """Where the files of a level are."""
    return directory / f"level_{index:02d}"


def start_file(directory: Path, index: int) -> Path:
    """The weights that a level starts from: its own, or those that all rewind to."""
    own = level_directory(directory, index) / START
    return own if index > 0 and own.exists() else directory / REWIND


# ---------------------------------------------------------------------------------------------
# Writing


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tells what could not be written and why, instead of a traceback."""
    try:
        yield
    except OSError as problem:
        raise RunError(f"{path} cannot be written: {problem.strerror or problem}") from None


def write(path: Path, data: str | bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        RunError: If it cannot be written.
    """
    with writing(path):
        write_atomic(path, data)


def sweep(directory: Path) -> None:
    """Removes what a killed process left half written."""
    names = (SETTINGS, RESULTS, SECONDS, REWIND, TICKET, METRICS, START, CARRIED_STATE)
    for folder in (directory, *directory.glob("level_*")):
        for name in names:
            for leftover in folder.glob(f".{name}.*"):
                leftover.unlink(missing_ok=True)
    for leftover in (directory / ONE_SHOT).glob(".level_*"):
        leftover.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------
# One run, one process


_locks: set[int] = set()


def _close_locks() -> None:
    for descriptor in _locks:
        os.close(descriptor)
    _locks.clear()


# A data loader's worker would else keep the lock of a run that was killed, and refuse its restart.
os.register_at_fork(after_in_child=_close_locks)


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Holds the run directory; the lock goes with the process, however it ends.

    Raises:
        InUseError: If another process holds it.
        RunError: If it cannot be written to.
    """
    with writing(directory / LOCK):
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InUseError(
            f"another process is at work in {directory}; wait for it or use another directory"
        ) from None
    _locks.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _locks:
            _locks.remove(descriptor)
            os.close(descriptor)


# ---------------------------------------------------------------------------------------------
# What the run is


def stored_settings(directory: Path) -> dict[str, Any] | None:
    """What the run in ``directory`` was begun with; None if there is none.

    Raises:
        RunError: If its file is damaged.
    """
    path = directory / SETTINGS
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        raise RunError(f"{path} is damaged; move {directory} away and start again") from None


def open_run(directory: Path, wanted: Mapping[str, Any], is_main: bool) -> str:
    """Writes ``imp.json``, or compares it with what is asked for now.

    A run that failed before it left anything, for a name that was misspelt, does not count.

    Returns:
        A digest of the settings.

    Raises:
        RunError: If the directory holds a run with other settings.
    """
    wanted = json.loads(json.dumps(wanted, default=str))
    text = json.dumps(wanted, indent=2, sort_keys=True) + "\n"
    stored = stored_settings(directory)
    changes = [] if stored is None else list(differences(stored, wanted))
    if changes and _has_begun(directory):
        raise RunError(
            f"{directory} holds a run with other settings: {'; '.join(changes[:3])}; "
            "use another work directory, or the old settings"
        )
    if is_main and (stored is None or changes):
        (directory / REWIND).unlink(missing_ok=True)
        write(directory / SETTINGS, text)
    return hashlib.sha256(text.encode()).hexdigest()


def _has_begun(directory: Path) -> bool:
    """Whether a level has left more than its config and its log."""
    return any(path.is_file() and path.suffix != ".py" for path in directory.glob("level_*/*"))


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What has changed between two sets of settings: ``amount was 0.2, now 0.1``, ..."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{where}[{index}]")
    elif old != new:
        yield f"{where} was {old!r}, now {new!r}"


# ---------------------------------------------------------------------------------------------
# What a level hands over


def rewind_digest(directory: Path) -> str | None:
    """Digest of the weights to rewind to; None if they are missing or damaged."""
    return _tensors_digest(directory / REWIND)


def _tensors_digest(path: Path) -> str | None:
    try:
        return str(load_tensors(path, RunError, "rewind weights")[1]["digest"])
    except (RunError, KeyError):
        return None


def save_carried(path: Path, carried: Mapping[str, Any]) -> str:
    """Writes what the next level takes over; returns the file's SHA-256.

    Raises:
        RunError: If it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(dict(carried), buffer)
    write(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load_carried(path: Path) -> dict[str, Any] | None:
    """What the level before has handed over; None for nothing.

    Raises:
        RunError: If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        raise RunError(f"{path} is damaged; remove it, and its level is repeated") from None


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file; None if it is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


# ---------------------------------------------------------------------------------------------
# What the time went to


def read_seconds(directory: Path) -> dict[str, dict[str, float]]:
    """What the time of a run's levels went to.

    A level that was broken off counts with the piece that finished it. What a run says of its time
    is no part of its result: a file that is missing or damaged says nothing.

    Returns:
        Seconds by the level's directory and the kind of work, of :data:`lth_core.clock.KINDS`.
    """
    try:
        return dict(json.loads((directory / SECONDS).read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def note_seconds(directory: Path, index: int, seconds: Mapping[str, float]) -> None:
    """Adds a level to the file that says what the time went to."""
    rounded = {kind: round(value, 4) for kind, value in seconds.items()}
    noted = read_seconds(directory) | {level_directory(Path(), index).name: rounded}
    write(directory / SECONDS, json.dumps(noted, indent=2) + "\n")


# ---------------------------------------------------------------------------------------------
# Receipts


def seal(receipt: Mapping[str, Any]) -> str:
    """``receipt`` as the text of its file, with a checksum over all of it."""
    sealed = dict(receipt) | {"checksum": _checksum(receipt)}
    return json.dumps(sealed, indent=2) + "\n"


def read_receipt(path: Path) -> dict[str, Any]:
    """A level's receipt, as it was sealed.

    Raises:
        RunError: If it is missing or damaged.
    """
    try:
        receipt = json.loads(path.read_text())
        if receipt.pop("checksum") == _checksum(receipt):
            return dict(receipt)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass
    raise RunError(
        f"receipt {path} is missing or damaged; run the same command to repeat its level"
    )


def _checksum(receipt: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(receipt, sort_keys=True).encode()).hexdigest()


def read_finished(
    directory: Path, index: int, rounds: int, rewind: str | None
) -> dict[str, Any] | None:
    """The level's receipt if all that it left verifies and belongs together, else None.

    Args:
        directory: The run's directory.
        index: The level.
        rounds: The last level.
        rewind: Digest of the rewind weights as they are now, None if they are missing or damaged.
    """
    try:
        receipt = read_receipt(level_directory(directory, index) / METRICS)
        if receipt["index"] != index or receipt["rewind"] != rewind:
            return None
        for k, wanted in ((index, receipt["digest"]), (index + 1, receipt["next"])):
            if k > rounds:
                continue
            ticket = Ticket.load(level_directory(directory, k) / TICKET)
            if (ticket.masks.digest(), ticket.meta["level"]) != (wanted, k):
                return None
            if ticket.meta["rewind_digest"] != rewind:
                return None
        following = level_directory(directory, index + 1)
        if _tensors_digest(following / START) != receipt["next_start"]:
            return None
        if file_digest(following / CARRIED_STATE) != receipt["carried"]:
            return None
        for k, wanted in enumerate(receipt["one_shot"], 1):
            if Ticket.load(one_shot_path(directory, k)).masks.digest() != wanted:
                return None
    except (OSError, LookupError, TypeError, RunError, TicketError):
        return None
    return receipt
