"""Iterative magnitude pruning: a chain of ordinary trainings, one directory each.

Level k is the state after k prunes. Each level trains from the rewind weights under its mask; the
trained weights are ranked, the lowest are pruned, and that is the next level's mask::

    run/  imp.json  rewind.safetensors  results.csv
          level_00/  ticket.safetensors  metrics.json  ... whatever the training leaves there
          level_01/  ...

A level whose files verify is finished and never repeated, so a run that was killed goes on where
it was. How a level is trained is the business of a :class:`LevelTrainer`.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lth_core.allocation import get_allocation
from lth_core.errors import ConfigError, RunError, TicketError
from lth_core.files import load_tensors, save_tensors, write_atomic
from lth_core.masks import MaskSet
from lth_core.pruning import prune, sparsity_after
from lth_core.scores import get_criterion
from lth_core.ticket import Ticket
from lth_core.weights import digest

REWINDS = ("init", "pretrained", "early")
SETTINGS, REWIND, RESULTS = "imp.json", "rewind.safetensors", "results.csv"
TICKET, METRICS = "ticket.safetensors", "metrics.json"


@dataclass(frozen=True)
class IMPSettings:
    """How tickets are looked for.

    Args:
        rounds: Number of prunes; levels 0 ... rounds are trained.
        amount: Fraction of the remaining weights that each prune removes.
        rewind: What survivors are reset to before each level: ``"pretrained"`` (the weights that
            level 0 starts from, which must come from a checkpoint), ``"init"`` (the same, from
            random initialisation), ``"early"`` (level 0's weights at ``rewind_at``).
        rewind_at: With ``"early"``: the point in training, as ``500it``, ``2ep`` or ``5%``.
        criterion: Score by which weights are ranked.
        allocation: How removals spread over layers.
        stem: Whether the stem convolution is pruned too (papers B and C).
        kinds: Which layers are in scope: ``"conv"``, ``"linear"``.
        first_prune: ``"after"`` a full training at level 0 (paper A's Algorithm 1), or
            ``"before"`` any training, on the weights given (what its code does on pre-training
            tasks; level 0 is then only evaluated).
        seed: Seed of criteria that draw random numbers.

    Raises:
        ConfigError: If a value is out of range.
    """

    rounds: int
    amount: float = 0.2
    rewind: str = "pretrained"
    rewind_at: str | None = None
    criterion: str = "magnitude"
    allocation: str = "global"
    stem: bool = False
    kinds: tuple[str, ...] = ("conv",)
    first_prune: str = "after"
    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.rounds) is not int or self.rounds < 0:
            raise ConfigError(f"imp.rounds is {self.rounds!r}; it must be a whole number >= 0")
        if not isinstance(self.amount, (int, float)) or not 0 < self.amount < 1:
            raise ConfigError(f"imp.amount is {self.amount!r}; it must lie between 0 and 1")
        if self.rewind not in REWINDS:
            raise ConfigError(f"imp.rewind is {self.rewind!r}; choose from {', '.join(REWINDS)}")
        if (self.rewind == "early") != (self.rewind_at is not None):
            raise ConfigError("imp.rewind_at goes with rewind='early', as '500it', '2ep' or '5%'")
        if self.rewind_at is not None:
            Point.parse(self.rewind_at)
        if type(self.seed) is not int:
            raise ConfigError(f"imp.seed is {self.seed!r}; it must be a whole number")
        if self.first_prune not in ("after", "before"):
            raise ConfigError(f"imp.first_prune is {self.first_prune!r}; use 'after' or 'before'")
        if self.first_prune == "before" and self.rewind == "early":
            raise ConfigError("imp.rewind='early' needs level 0 trained: first_prune='after'")
        get_criterion(self.criterion)
        get_allocation(self.allocation)


@dataclass(frozen=True)
class Point:
    """A point in training: ``500it``, ``2ep``, ``5%``."""

    value: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Point:
        """Reads a point.

        Raises:
            ConfigError: If ``text`` is none.
        """
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(it|ep|%)", str(text))
        if match is None or (match[2] == "%" and float(match[1]) > 100):
            raise ConfigError(f"{text!r} is no point in training; write '500it', '2ep' or '5%'")
        return cls(float(match[1]), match[2])

    def iteration(self, total: int, per_epoch: int) -> int:
        """Number of optimizer steps before the point.

        Args:
            total: Steps in the whole training.
            per_epoch: Steps in one epoch.
        """
        scale = {"it": 1.0, "ep": float(per_epoch), "%": total / 100}[self.unit]
        return round(min(self.value * scale, total))


@dataclass
class Level:
    """One level to train, as handed to a :class:`LevelTrainer`.

    Attributes:
        index: Its number k.
        directory: Where the training keeps its files.
        masks: What is kept, named relative to the backbone; all of it at level 0.
        rewind_path: At level 0 where to save the rewind weights (:meth:`save_rewind`), else where
            to load them from (:meth:`load_rewind`).
        train: False if the level is to be evaluated only.
    """

    index: int
    directory: Path
    masks: MaskSet
    rewind_path: Path
    train: bool = True

    def save_rewind(self, weights: Mapping[str, Tensor]) -> None:
        """Keeps the weights that every later level starts from: the whole model's state.

        Raises:
            RunError: If they cannot be written.
        """
        with _writing(self.rewind_path):
            save_tensors(self.rewind_path, weights, {"digest": digest(weights)})

    def load_rewind(self) -> dict[str, Tensor]:
        """The weights to start from.

        Raises:
            RunError: If they are missing or damaged.
        """
        return load_tensors(self.rewind_path, RunError, "rewind weights")[0]


class LevelTrainer(Protocol):
    """Trains one level. Must resume by itself if the level's directory holds a part of it."""

    def scope(self, settings: IMPSettings) -> MaskSet:
        """The masks of level 0."""

    def train(self, level: Level) -> tuple[Mapping[str, Tensor], dict[str, float]]:
        """Trains; returns the trained weights (the live ones, never averages) and metrics."""

    def share(self, masks: MaskSet) -> MaskSet:
        """The main process's masks, on every process."""


@dataclass(frozen=True)
class LevelResult:
    """A finished level."""

    index: int
    sparsity: float
    digest: str
    metrics: dict[str, float] = field(default_factory=dict)


def run_imp(
    settings: IMPSettings,
    directory: str | Path,
    trainer: LevelTrainer,
    config: Mapping[str, Any] | None = None,
    is_main: bool = True,
) -> list[LevelResult]:
    """Runs, or goes on with, an IMP chain.

    Args:
        settings: How tickets are looked for.
        directory: The run's directory.
        trainer: Trains one level.
        config: What else the result depends on. Going on with another one is refused.
        is_main: Whether this process writes the shared files (rank 0). Other ranks compute the
            same masks from the same weights and write nothing.

    Returns:
        One result per level, in order.

    Raises:
        RunError: If another process is at work here, or the directory holds a run with other
            settings, or a file in it is damaged beyond repair, or cannot be written.
    """
    directory = Path(directory)
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with hold(directory) if is_main else _no_lock():
        if is_main:
            _sweep(directory)
        _open_run(directory, settings, config or {}, is_main)
        results: list[LevelResult] = []
        masks: MaskSet | None = None
        rewind = _rewind_digest(directory)
        for index in range(settings.rounds + 1):
            level_dir = directory / f"level_{index:02d}"
            finished = _read_finished(directory, index, settings.rounds, rewind)
            if finished is None:
                masks = masks or _level_masks(settings, directory, index, trainer)
                level = Level(index, level_dir, masks, directory / REWIND)
                level.train = index > 0 or settings.first_prune == "after"
                finished, masks = _run_level(settings, directory, level, trainer, is_main)
                rewind = _rewind_digest(directory) if index == 0 else rewind
            else:
                masks = None  # read from the ticket when a level needs it
            results.append(finished)
            if is_main:
                _write(directory / RESULTS, _csv(results))
        return results


def _sweep(directory: Path) -> None:
    """Removes what a killed process left half written."""
    for folder in (directory, *directory.glob("level_*")):
        for name in (SETTINGS, RESULTS, REWIND, TICKET, METRICS):
            for leftover in folder.glob(f".{name}.*"):
                leftover.unlink(missing_ok=True)


def _run_level(
    settings: IMPSettings, directory: Path, level: Level, trainer: LevelTrainer, is_main: bool
) -> tuple[LevelResult, MaskSet | None]:
    weights, measured = trainer.train(level)
    metrics = {key: float(value) for key, value in measured.items()}
    rewind = level.load_rewind()
    following = None
    if level.index < settings.rounds:
        generator = torch.Generator().manual_seed(settings.seed + level.index)
        following = prune(
            weights,
            level.masks,
            settings.amount,
            settings.criterion,
            settings.allocation,
            generator,
        )
        following = trainer.share(following)
    result = LevelResult(level.index, level.masks.sparsity, level.masks.digest(), metrics)
    if is_main:
        if level.index == 0:  # every other level's was written by the level before it
            _write_ticket(settings, directory, 0, level.masks, rewind, None)
        if following is not None:
            _write_ticket(settings, directory, level.index + 1, following, rewind, result.digest)
        receipt = asdict(result) | {
            "rewind": digest(rewind),
            "trained": digest(weights),
            "next": following.digest() if following is not None else None,
        }
        receipt["checksum"] = _checksum(receipt)
        # Last of all: a level counts as finished once this file is whole.
        _write(level.directory / METRICS, json.dumps(receipt, indent=2) + "\n")
    return result, following


def _write_ticket(
    settings: IMPSettings,
    directory: Path,
    index: int,
    masks: MaskSet,
    rewind: Mapping[str, Tensor],
    parent: str | None,
) -> None:
    meta = {
        "level": index,
        "nominal_sparsity": sparsity_after(index, settings.amount),
        "rewind": settings.rewind,
        "rewind_digest": digest(rewind),
        "criterion": settings.criterion,
        "allocation": settings.allocation,
        "stem": settings.stem,
        "seed": settings.seed,
        "parent": parent,
        "run": directory.name,
    }
    Ticket(masks, dict(rewind), meta).save(directory / f"level_{index:02d}" / TICKET)


def _level_masks(
    settings: IMPSettings, directory: Path, index: int, trainer: LevelTrainer
) -> MaskSet:
    if index == 0:
        return trainer.scope(settings)
    return Ticket.load(directory / f"level_{index:02d}" / TICKET).masks


def _read_finished(
    directory: Path, index: int, rounds: int, rewind: str | None
) -> LevelResult | None:
    """The level's result if all that it left verifies and belongs together, else None.

    Args:
        directory: The run's directory.
        index: The level.
        rounds: The last level.
        rewind: Digest of the rewind weights as they are now, None if they are missing or damaged.
    """
    try:
        receipt = json.loads((directory / f"level_{index:02d}" / METRICS).read_text())
        sealed = receipt.pop("checksum") == _checksum(receipt)
        if not sealed or receipt["index"] != index or receipt["rewind"] != rewind:
            return None
        for k, wanted in ((index, receipt["digest"]), (index + 1, receipt["next"])):
            if k > rounds:
                continue
            ticket = Ticket.load(directory / f"level_{k:02d}" / TICKET)
            if (ticket.masks.digest(), ticket.meta["level"]) != (wanted, k):
                return None
            if ticket.meta["rewind_digest"] != rewind:
                return None
        return LevelResult(
            receipt["index"], receipt["sparsity"], receipt["digest"], receipt["metrics"]
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, TicketError):
        return None


def _rewind_digest(directory: Path) -> str | None:
    try:
        return load_tensors(directory / REWIND, RunError, "rewind weights")[1]["digest"]
    except (RunError, KeyError):
        return None


def _checksum(receipt: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(receipt, sort_keys=True).encode()).hexdigest()


def _open_run(
    directory: Path, settings: IMPSettings, config: Mapping[str, Any], is_main: bool
) -> None:
    """Writes ``imp.json``, or compares it with what is asked for now."""
    path = directory / SETTINGS
    wanted = json.loads(json.dumps({"imp": asdict(settings), "config": config}, default=str))
    if not path.exists():
        if is_main:
            _write(path, json.dumps(wanted, indent=2, sort_keys=True) + "\n")
        return
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        raise RunError(f"{path} is damaged; move {directory} away and start again") from None
    differences = list(_differences(stored, wanted))
    if differences:
        raise RunError(
            f"{directory} holds a run with other settings: {'; '.join(differences[:3])}; "
            "use another work directory, or the old settings"
        )


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, f"{where}[{index}]")
    elif old != new:
        yield f"{where} was {old!r}, now {new!r}"


def _csv(results: list[LevelResult]) -> str:
    keys = sorted({key for result in results for key in result.metrics})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["level", "sparsity", "digest", *keys])
    for r in results:
        writer.writerow(
            [r.index, f"{r.sparsity:.6f}", r.digest, *(r.metrics.get(k, "") for k in keys)]
        )
    return out.getvalue()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tells what could not be written and why, instead of a traceback."""
    try:
        yield
    except OSError as problem:
        raise RunError(f"{path} cannot be written: {problem.strerror or problem}") from None


def _write(path: Path, text: str) -> None:
    with _writing(path):
        write_atomic(path, text)


_locks: set[int] = set()


def _close_locks() -> None:
    for descriptor in _locks:
        os.close(descriptor)
    _locks.clear()


# A data loader's worker would else keep the lock of a run that was killed, and refuse its restart.
os.register_at_fork(after_in_child=_close_locks)


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Holds the run directory; the lock goes with the process, however it ends."""
    with _writing(directory / ".lock"):
        descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise RunError(
            f"another process is at work in {directory}; wait for it or use another directory"
        ) from None
    _locks.add(descriptor)
    try:
        yield
    finally:
        if descriptor in _locks:
            _locks.remove(descriptor)
            os.close(descriptor)


@contextmanager
def _no_lock() -> Iterator[None]:
    yield
