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
import io
import json
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
from lth_core.scope import find_prefixes
from lth_core.scores import get_criterion
from lth_core.ticket import Ticket
from lth_core.weights import digest

REWINDS = ("init", "pretrained", "early")
TICKET, METRICS, REWIND = "ticket.safetensors", "metrics.json", "rewind.safetensors"


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
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(it|ep|%)", text)
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
        return min(round(self.value * scale), total)


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
        """Keeps the weights that every later level starts from: the whole model's state."""
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
            settings, or a file in it is damaged beyond repair.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with hold(directory) if is_main else _no_lock():
        _open_run(directory, settings, config or {}, is_main)
        results: list[LevelResult] = []
        masks: MaskSet | None = None
        for index in range(settings.rounds + 1):
            level_dir = directory / f"level_{index:02d}"
            finished = _read_finished(directory, index, settings.rounds)
            if finished is None:
                masks = masks or _level_masks(settings, directory, index, trainer)
                level = Level(index, level_dir, masks, directory / REWIND)
                level.train = index > 0 or settings.first_prune == "after"
                finished, masks = _run_level(settings, directory, level, trainer, is_main)
            else:
                masks = None  # read from the ticket when a level needs it
            results.append(finished)
            if is_main:
                write_atomic(directory / "results.csv", _csv(results))
        return results


def _run_level(
    settings: IMPSettings, directory: Path, level: Level, trainer: LevelTrainer, is_main: bool
) -> tuple[LevelResult, MaskSet | None]:
    weights, metrics = trainer.train(level)
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
        for index, masks in ((level.index, level.masks), (level.index + 1, following)):
            if masks is not None:
                parent = level.masks.digest() if index > level.index else None
                _write_ticket(settings, directory, index, masks, rewind, parent)
        receipt = asdict(result) | {"rewind": digest(rewind), "trained": digest(weights)}
        write_atomic(level.directory / METRICS, json.dumps(receipt, indent=2) + "\n")
    return result, following


def _write_ticket(
    settings: IMPSettings,
    directory: Path,
    index: int,
    masks: MaskSet,
    rewind: Mapping[str, Tensor],
    parent: str | None,
) -> None:
    path = directory / f"level_{index:02d}" / TICKET
    if path.exists() and parent is None:
        return  # written, with its parent, when the level before was finished
    meta = {
        "level": index,
        "nominal_sparsity": sparsity_after(index, settings.amount),
        "rewind": settings.rewind,
        "criterion": settings.criterion,
        "allocation": settings.allocation,
        "stem": settings.stem,
        "seed": settings.seed,
        "parent": parent,
        "run": directory.name,
    }
    Ticket(masks, _backbone_of(rewind, masks), meta).save(path)


def _backbone_of(weights: Mapping[str, Tensor], masks: MaskSet) -> dict[str, Tensor]:
    """The part of a model's state that lies beside the masked weights."""
    prefix = find_prefixes(masks, weights)[0]
    return {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}


def _level_masks(
    settings: IMPSettings, directory: Path, index: int, trainer: LevelTrainer
) -> MaskSet:
    if index == 0:
        return trainer.scope(settings)
    return Ticket.load(directory / f"level_{index:02d}" / TICKET).masks


def _read_finished(directory: Path, index: int, rounds: int) -> LevelResult | None:
    """The level's result if every file that later levels need verifies, else None."""
    try:
        text = (directory / f"level_{index:02d}" / METRICS).read_text()
        receipt = json.loads(text)
        result = LevelResult(
            receipt["index"], receipt["sparsity"], receipt["digest"], receipt["metrics"]
        )
        for k in {index, min(index + 1, rounds)}:
            ticket = Ticket.load(directory / f"level_{k:02d}" / TICKET)
            if k == index and ticket.masks.digest() != result.digest:
                return None
        Level(index, directory, ticket.masks, directory / REWIND).load_rewind()
    except (OSError, ValueError, KeyError, TypeError, TicketError, RunError):
        return None
    return result


def _open_run(
    directory: Path, settings: IMPSettings, config: Mapping[str, Any], is_main: bool
) -> None:
    """Writes ``imp.json``, or compares it with what is asked for now."""
    path = directory / "imp.json"
    wanted = json.loads(json.dumps({"imp": asdict(settings), "config": config}, default=str))
    if not path.exists():
        if is_main:
            write_atomic(path, json.dumps(wanted, indent=2, sort_keys=True) + "\n")
        return
    try:
        stored = json.loads(path.read_text())
    except ValueError:
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
def hold(directory: Path) -> Iterator[None]:
    """Holds the run directory; the lock goes with the process, however it ends."""
    with open(directory / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"another process is at work in {directory}; wait for it or use another directory"
            ) from None
        yield


@contextmanager
def _no_lock() -> Iterator[None]:
    yield
