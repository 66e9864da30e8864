"""Proving a ticket of a run from the files of the run: its receipts, its parent, its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lth_core.errors import RunError
from lth_core.files import load_tensors
from lth_core.imp.directory import (
    METRICS,
    SETTINGS,
    TICKET,
    file_digest,
    level_directory,
    read_receipt,
    start_file,
)
from lth_core.imp.level import under
from lth_core.ticket import Ticket
from lth_core.weights import digest


def prove(path: str | Path) -> dict[str, str]:
    """Checks a ticket against the run in whose directory it lies.

    Args:
        path: The ticket file.

    Returns:
        What holds, by what it is about, as text to show; empty for a ticket outside of any run.

    Raises:
        RunError: If something does not hold, or a file that shows it is missing or damaged.
        TicketError: If the ticket or its parent cannot be read.
    """
    folder = Path(path).absolute().parent
    run = folder.parent
    if Path(path).name != TICKET or not (run / SETTINGS).exists():
        return {}
    ticket = Ticket.load(path)
    level = ticket.meta.get("level")
    if type(level) is not int or folder != level_directory(run, level):
        raise RunError(f"{path} says it is of level {level!r}; it has been put where it is")
    proven = {}
    config = str(file_digest(run / SETTINGS))
    _require(ticket.meta.get("config") == config, path, f"was not made with {run / SETTINGS}")
    proven["config"] = config
    if level > 0:
        proven["mask"] = _prove_mask(ticket, run, level, path)
    start_path = start_file(run, level)
    start = load_tensors(start_path, RunError, "rewind weights")[0]
    _require(_holds(ticket, start), path, "does not start from the weights it should")
    proven["rewound"] = f"survivors are bit-equal to {start_path.name}"
    if (folder / METRICS).exists():
        proven |= _prove_receipt(ticket, start, folder, config, path)
    else:
        proven["receipt"] = "none yet: the level has not been trained to its end"
    return proven


def _prove_mask(ticket: Ticket, run: Path, level: int, path: str | Path) -> str:
    before = level_directory(run, level - 1)
    parent = Ticket.load(before / TICKET)
    receipt = read_receipt(before / METRICS)
    _require(ticket.masks.issubset(parent.masks), path, f"is not nested in {before / TICKET}")
    _require(receipt["next"] == ticket.masks.digest(), path, f"is not what {before} led to")
    removed = parent.masks.kept - ticket.masks.kept
    return f"nested in level {level - 1}'s, {removed:,} of its {parent.masks.kept:,} removed"


def _prove_receipt(
    ticket: Ticket, start: Mapping[str, Tensor], folder: Path, config: str, path: str | Path
) -> dict[str, str]:
    receipt = read_receipt(folder / METRICS)
    masked = digest(under(ticket.masks, start, tuple(receipt["prefixes"])))
    for key, value in (("digest", ticket.masks.digest()), ("start", masked), ("config", config)):
        _require(receipt[key] == value, path, f"and {folder / METRICS} differ in {key}")
    _require(
        receipt["rewind"] == ticket.meta.get("rewind_digest"), path, "and its receipt rewind apart"
    )
    return {
        "start": str(receipt["start"]),
        "trained": str(receipt["trained"]),
        "metrics": _listed(receipt["metrics"]),
        "seeds": _listed(receipt["seeds"]),
        "versions": _listed(receipt["versions"]),
    }


def _holds(ticket: Ticket, start: Mapping[str, Tensor]) -> bool:
    """Whether a ticket's weights are ``start``'s under its mask, bit for bit."""
    expected = Ticket(ticket.masks, dict(start)).weights or {}
    return ticket.weights is not None and digest(ticket.weights) == digest(expected)


def _require(holds: bool, path: str | Path, otherwise: str) -> None:
    if not holds:
        raise RunError(f"ticket {path} {otherwise}; go on with the run, and it is made again")


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
