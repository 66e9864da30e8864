"""The tickets of a study: found, read, and given names that tell them apart."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lth_core.errors import ConfigError, TicketError
from lth_core.imp import TICKET
from lth_core.imp.directory import REWIND
from lth_core.openmmlab.naming import level_of, mask_name
from lth_core.ticket import Ticket

_LEVEL = re.compile(r"level_(\d+)")


@dataclass(frozen=True)
class Entry:
    """A ticket to train from.

    Attributes:
        path: Its file.
        mask: Where its mask comes from, as files of results call it.
        level: Prunes behind it.
        sparsity: Of the mask.
        digest: Of the mask.
        weights: Whether it brings weights.
        rewind: What its chain rewinds to, if that lies beside it.
    """

    path: Path
    mask: str
    level: int
    sparsity: float
    digest: str
    weights: bool
    rewind: Path | None = None

    @property
    def name(self) -> str:
        """As in a job's name: ``imp_labels_level_06``."""
        return f"{slug(self.mask)}_level_{self.level:02d}"


def slug(text: str) -> str:
    """``text`` as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_") or "_"


def find_tickets(places: Sequence[str], levels: Sequence[int] = ()) -> tuple[Entry, ...]:
    """The tickets to train from, in order.

    Args:
        places: Ticket files, and work directories of chains, which stand for the tickets of their
            levels but level 0.
        levels: Which levels of chains; all if empty.

    Raises:
        ConfigError: If there is none, a level is missing, two have the same mask, or levels are
            asked for where no place is a chain's.
        TicketError: If a file is missing or damaged.
    """
    entries: list[Entry] = []
    if levels and not any(Path(place).is_dir() for place in places):
        raise ConfigError(
            "--levels chooses among the levels of chains, and --tickets names files alone; name "
            "the work directory of a chain, or leave --levels out"
        )
    for place in places:
        entries += [_read(path) for path in _files(Path(place), levels)]
    if not entries:
        raise ConfigError("a study needs at least one ticket; name its file in --tickets")
    for index, entry in enumerate(entries):
        for other in entries[:index]:
            if entry.path.resolve() == other.path.resolve():
                raise ConfigError(f"ticket {entry.path} is named twice")
            if entry.digest == other.digest:
                raise ConfigError(
                    f"tickets {other.path} and {entry.path} have the same mask; leave one out"
                )
    return tuple(_told_apart(entries))


def _files(place: Path, levels: Sequence[int]) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = {
        int(match[1]): path
        for path in sorted(place.glob(f"level_*/{TICKET}"))
        if (match := _LEVEL.fullmatch(path.parent.name))
    }
    if not any(found):
        raise ConfigError(
            f"{place} holds no tickets: it is no chain's directory with level_01/{TICKET} and so "
            "on; name the files"
        )
    missing = [level for level in levels if level not in found]
    if missing:
        raise ConfigError(
            f"{place} has no ticket of level {missing[0]}; it has {min(found)} to {max(found)}"
        )
    if 0 in levels:
        raise ConfigError("level 0 is dense; ask for it as a control")
    return [path for level, path in sorted(found.items()) if level in (levels or found) and level]


def _read(path: Path) -> Entry:
    ticket = Ticket.load(path)
    if not ticket.masks.sparsity:
        raise TicketError(f"ticket {path} prunes nothing; ask for dense as a control instead")
    rewind = path.absolute().parent.parent / REWIND
    return Entry(
        path,
        mask_name(str(path), ticket),
        level_of(ticket),
        ticket.masks.sparsity,
        ticket.masks.digest(),
        ticket.weights is not None,
        rewind if path.name == TICKET and rewind.is_file() else None,
    )


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Masks of one name and level get the names of the places that they come from, too."""
    taken = [(entry.mask, entry.level) for entry in entries]
    unclear = {mask for mask, level in taken if taken.count((mask, level)) > 1}
    origins = {_origin(entry) for entry in entries if entry.mask in unclear}
    tails = _tails(origins)
    return [
        replace(entry, mask=f"{entry.mask}, {tails[_origin(entry)]}")
        if entry.mask in unclear
        else entry
        for entry in entries
    ]


def _origin(entry: Entry) -> Path:
    """The directory of the chain, or the file."""
    path = entry.path.resolve()
    return path.parent.parent if path.name == TICKET else path


def _tails(paths: Collection[Path]) -> dict[Path, str]:
    """As many of the last parts of each path as tell them apart."""
    tails: dict[Path, str] = {}
    for depth in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        tails = {path: "/".join(path.with_suffix("").parts[-depth:]) for path in paths}
        if len(set(tails.values())) == len(paths):
            break
    return tails
