"""The rounds: train, prune, rewind, level by level.

Level k is the state after k prunes. Each level trains from the rewind weights under its mask; the
trained weights are ranked, the lowest are pruned, and that is the next level's mask. A level whose
files verify is finished and never repeated, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lth_core.clock import Clock
from lth_core.errors import RunError
from lth_core.files import load_tensors, save_tensors
from lth_core.imp.directory import (
    CARRIED_STATE,
    METRICS,
    RESULTS,
    REWIND,
    START,
    TICKET,
    hold,
    level_directory,
    load_carried,
    note_seconds,
    one_shot_path,
    open_run,
    read_finished,
    rewind_digest,
    save_carried,
    seal,
    start_file,
    sweep,
    write,
    writing,
)
from lth_core.imp.level import Level, LevelResult, LevelTrainer, Trained, under
from lth_core.imp.settings import IMPSettings
from lth_core.masks import MaskSet
from lth_core.pruning import prune, sparsity_after
from lth_core.ticket import Ticket
from lth_core.weights import digest


def run_imp(
    settings: IMPSettings,
    directory: str | Path,
    trainer: LevelTrainer,
    config: Mapping[str, Any] | None = None,
    is_main: bool = True,
    meta: Mapping[str, Any] | None = None,
    on_level: Callable[[LevelResult], None] | None = None,
) -> list[LevelResult]:
    """Runs, or goes on with, an IMP chain.

    Args:
        settings: How tickets are looked for.
        directory: The run's directory.
        trainer: Trains one level.
        config: What else the result depends on. Going on with another one is refused.
        is_main: Whether this process writes the shared files (rank 0). Other ranks compute the
            same masks from the same weights and write nothing.
        meta: What tickets are to say of themselves besides; plain data.
        on_level: Called on the main process with each level that is finished, in order, with those
            that were finished before too.

    Returns:
        One result per level, in order.

    Raises:
        RunError: If another process is at work here, or the directory holds a run with other
            settings, or a file in it is damaged beyond repair, or cannot be written.
    """
    directory = Path(directory)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with hold(directory) if is_main else nullcontext():
        if is_main:
            sweep(directory)
        imp = asdict(settings)
        if settings.finish is None:  # as before there was such a setting
            del imp["finish"]
        asked = {"imp": imp, "config": config or {}}
        config_digest = open_run(directory, asked, is_main)
        chain = _Chain(settings, directory, trainer, config_digest, is_main, dict(meta or {}))
        return chain.run(on_level)


class _Chain:
    """A run at work."""

    def __init__(
        self,
        settings: IMPSettings,
        directory: Path,
        trainer: LevelTrainer,
        config_digest: str,
        is_main: bool,
        meta: dict[str, Any],
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.trainer = trainer
        self.config_digest = config_digest
        self.is_main = is_main
        self.meta = meta

    def run(self, on_level: Callable[[LevelResult], None] | None) -> list[LevelResult]:
        results: list[LevelResult] = []
        masks: MaskSet | None = None
        rewind = rewind_digest(self.directory)
        for index in range(self.settings.rounds + 1):
            clock = Clock()
            with clock.time("building"):
                receipt = read_finished(self.directory, index, self.settings.rounds, rewind)
                # Before anything is written that another process may still have to read.
                self.trainer.wait()
                if receipt is None:
                    result, masks = self._level(index, masks or self._masks(index), clock)
                    rewind = rewind_digest(self.directory) if index == 0 else rewind
                else:
                    masks = None  # read from the ticket when a level needs it
                    names = ("index", "sparsity", "digest", "metrics")
                    result = LevelResult(
                        **{name: receipt[name] for name in names}, finished=receipt.get("finished")
                    )
            results.append(result)
            if self.is_main:
                with clock.time("saving"):
                    write(self.directory / RESULTS, _csv(results))
                    if on_level is not None:
                        on_level(result)
                if receipt is None:
                    note_seconds(self.directory, index, clock.seconds)
        return results

    def _masks(self, index: int) -> MaskSet:
        if index == 0:
            return self.trainer.scope(self.settings)
        return Ticket.load(level_directory(self.directory, index) / TICKET).masks

    def _level(
        self, index: int, masks: MaskSet, clock: Clock
    ) -> tuple[LevelResult, MaskSet | None]:
        folder = level_directory(self.directory, index)
        level = Level(
            index,
            folder,
            masks,
            rewind_path=self.directory / REWIND,
            start_path=start_file(self.directory, index),
            carried=load_carried(folder / CARRIED_STATE),
            train=index > 0 or self.settings.first_prune == "after",
            clock=clock,
        )
        trained = self.trainer.train(level)
        with clock.time("pruning"):
            following = None if index == self.settings.rounds else self._prune(level, trained)
        metrics = {key: float(value) for key, value in trained.metrics.items()}
        early = None if trained.finished is None else {**trained.finished, "metrics": metrics}
        result = LevelResult(index, masks.sparsity, masks.digest(), {} if early else metrics, early)
        with clock.time("saving"):
            if self.is_main:
                self._keep(level, trained, result, following)
            self.trainer.wait()
        return result, following

    def _prune(self, level: Level, trained: Trained) -> MaskSet:
        model = None if trained.criterion is None else trained.model
        masks = prune(
            trained.weights if model is None else model,
            level.masks,
            self.settings.amount,
            trained.criterion or self.settings.criterion,
            self.settings.allocation,
            torch.Generator().manual_seed(self.settings.seed + level.index),
        )
        return self.trainer.share(masks)

    def _keep(
        self, level: Level, trained: Trained, result: LevelResult, following: MaskSet | None
    ) -> None:
        """Writes what the level has led to; its receipt last, with which it counts as finished."""
        rewind = load_tensors(level.rewind_path, RunError, "rewind weights")[0]
        rewind_sha = digest(rewind)
        start = rewind if level.start_path == level.rewind_path else level.load_start()
        one_shot: list[str] = []
        if level.index == 0:  # every other level's was written by the level before it
            self._write_ticket(0, level.masks, start, rewind_sha, None)
            if self.settings.has_one_shot_control:
                one_shot = self._write_one_shot(level.masks, rewind, rewind_sha)
        next_start = carried = None
        if following is not None:
            folder = level_directory(self.directory, level.index + 1)
            weights = self._next_start(level, trained, rewind)
            if weights is not None:
                next_start = digest(weights)
                with writing(folder / START):
                    save_tensors(folder / START, weights, {"digest": next_start})
            if trained.carried is not None:
                carried = save_carried(folder / CARRIED_STATE, trained.carried)
            self._write_ticket(
                level.index + 1, following, weights or rewind, rewind_sha, result.digest
            )
        kept = {k: v for k, v in asdict(result).items() if k != "finished" or v is not None}
        receipt = kept | {
            "rewind": rewind_sha,
            "prefixes": list(trained.prefixes),
            "start": digest(under(level.masks, start, trained.prefixes)),
            "trained": digest(trained.weights),
            "next": None if following is None else following.digest(),
            "next_start": next_start,
            "carried": carried,
            "one_shot": one_shot,
            "config": self.config_digest,
            "seeds": {"imp": self.settings.seed, **trained.seeds},
            "versions": _versions(),
        }
        write(level.directory / METRICS, seal(receipt))

    def _write_one_shot(
        self, masks: MaskSet, weights: Mapping[str, Tensor], rewind: str
    ) -> list[str]:
        """Writes the controls: what pruning the weights given would lead to, without any training.

        Returns:
            Their masks' digests, of level 1 and up.
        """
        digests = []
        for index in range(1, self.settings.rounds + 1):
            # In steps, so that counts round as in the chain.
            masks = prune(
                weights, masks, self.settings.amount, "magnitude", self.settings.allocation
            )
            meta = self._meta(index, rewind) | {"one_shot": True}
            Ticket(masks, dict(weights), meta).save(one_shot_path(self.directory, index))
            digests.append(masks.digest())
        return digests

    def _next_start(
        self, level: Level, trained: Trained, rewind: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor] | None:
        """What the next level starts from, None if it is the weights to rewind to."""
        if self.settings.rewind in ("none", "lr"):
            return trained.weights
        weights: Mapping[str, Tensor] | None = None
        if self.settings.rewind == "reinit":
            weights = self.trainer.fresh(self.settings.seed + level.index + 1)
        kept = {name: t for name, t in trained.weights.items() if self.settings.keeps(name)}
        return {**(weights or rewind), **kept} if kept else weights

    def _write_ticket(
        self,
        index: int,
        masks: MaskSet,
        weights: Mapping[str, Tensor],
        rewind: str,
        parent: str | None,
    ) -> None:
        meta = self._meta(index, rewind) | {"parent": parent}
        path = level_directory(self.directory, index) / TICKET
        Ticket(masks, dict(weights), meta).save(path)

    def _meta(self, index: int, rewind: str) -> dict[str, Any]:
        settings = self.settings
        return self.meta | {
            "level": index,
            "nominal_sparsity": sparsity_after(index, settings.amount),
            "rewind": settings.rewind,
            "rewind_digest": rewind,
            "criterion": settings.criterion,
            "allocation": settings.allocation,
            "stem": settings.stem,
            "seed": settings.seed,
            "config": self.config_digest,
            "run": self.directory.name,
        }


def _versions() -> dict[str, str]:
    from lth_core import __version__  # which imports this module

    return {"lth": __version__, "torch": torch.__version__, "python": platform.python_version()}


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
