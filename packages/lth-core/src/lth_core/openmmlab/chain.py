"""IMP as a chain of mmengine trainings: the config key ``imp``."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.runner import Runner
from mmengine.runner.utils import set_random_seed
from torch import Tensor, nn

from lth_core.analysis import similarity
from lth_core.errors import ConfigError
from lth_core.imp import IMPSettings, Level, LevelResult, Point, Trained, run_imp
from lth_core.imp.directory import (
    SETTINGS,
    TICKET,
    level_directory,
    reject_others,
    stored_settings,
)
from lth_core.masks import MaskSet
from lth_core.openmmlab.finishing import FinishHook
from lth_core.openmmlab.kept import KeptData, keeping, settled_heap
from lth_core.openmmlab.keys import apply_package_keys
from lth_core.openmmlab.levels import BeginAgain, LevelHook, hand_over
from lth_core.openmmlab.models import build_model
from lth_core.openmmlab.naming import MASK_NAME, names_of_chain, weights_of_tickets
from lth_core.openmmlab.ranking import criterion_on
from lth_core.openmmlab.recording import restore, results_of, show
from lth_core.openmmlab.reinit import build_fresh, loads_pretrained
from lth_core.openmmlab.resuming import clear, to_go_on_from
from lth_core.openmmlab.settings import parse_record
from lth_core.randomness import isolated
from lth_core.results import DENSE, Result
from lth_core.scope import common_prefix, locate, prunable, unwrap
from lth_core.ticket import WEIGHTS_NAME, Ticket
from lth_core.weights import snapshot

_UNRELATED = ("work_dir", "launcher", "resume", "log_level", "visualizer", "experiment_name", "imp",
              "record")  # fmt: skip
"""Config keys that do not change a run's results."""


class IMPChain:
    """Trains, prunes and rewinds, level by level, in ``cfg.work_dir``.

    Args:
        cfg: The config whose training is one round.
        settings: How tickets are looked for.
    """

    def __init__(self, cfg: Config, settings: IMPSettings) -> None:
        self.cfg = cfg
        self.settings = settings
        self.work_dir = Path(cfg.work_dir)
        self.names = names_of_chain(cfg, parse_record(cfg.get("record")), settings)
        self._results: list[Result] = []
        _require_matching_start(cfg, settings)

    def train(self) -> list[LevelResult]:
        """Runs the chain, or goes on with it.

        Raises:
            LTHError: If the directory is in use, belongs to another config, or is damaged.
        """
        reject_others(self.work_dir, SETTINGS)
        self._results.clear()
        _fix_seed(self.cfg, self.work_dir)
        config = {k: v for k, v in self.cfg.to_dict().items() if k not in _UNRELATED}
        with settled_heap(), keeping(KeptData()):
            return run_imp(
                self.settings,
                self.work_dir,
                _Trainer(self.cfg, self.settings),
                config,
                is_main=is_main_process(),
                meta={
                    MASK_NAME: self.names.mask,
                    WEIGHTS_NAME: weights_of_tickets(self.names, self.settings),
                },
                on_level=self._record,
            )

    def _record(self, level: LevelResult) -> None:
        """Adds a finished level to the chain's file of results, which is what its levels say."""
        if level.finished is not None:  # no evidence of what the ticket comes to
            return
        names = replace(self.names, level=level.index, sparsity=level.sparsity)
        if level.sparsity == 0:
            if level.index > 0:  # too few weights for a prune to remove one: dense once more
                return
            names = replace(names, mask=DENSE)
        place = level_directory(self.work_dir, level.index)
        self._results += results_of(
            self.work_dir, place, names, self.cfg.randomness.seed, level.metrics
        )
        levels = range(level.index + 1, self.settings.rounds + 1)
        later = {level_directory(Path(), index).name for index in levels}
        if restore(self.work_dir, self._results, later):
            scalars = {"sparsity": level.sparsity, **level.metrics}
            show(self.work_dir, self.cfg, scalars, step=level.index)


class _Trainer:
    """Trains one level with mmengine; see :class:`lth_core.imp.LevelTrainer`."""

    def __init__(self, cfg: Config, settings: IMPSettings) -> None:
        self.cfg = cfg
        applied = copy.deepcopy(cfg)
        apply_package_keys(applied)
        self.model = applied.model
        self.settings = settings
        self.work_dir = Path(cfg.work_dir)
        self.rewind_at = Point.parse(settings.rewind_at) if settings.rewind_at else None

    def scope(self, settings: IMPSettings) -> MaskSet:
        """All of the backbone's prunable weights."""
        model = self._build(self.model)
        names = prunable(model, settings.stem, settings.kinds, settings.backbone)
        prefix = common_prefix(names) if settings.backbone is None else f"{settings.backbone}."
        return MaskSet.ones(model, names).without_prefix(prefix)

    def train(self, level: Level) -> Trained:
        """Trains, goes on training, or (``level.train`` false) only evaluates."""
        with level.clock.time("building"):
            try:
                return self._train(level, self._resumable(level))
            except BeginAgain:
                return self._train(level, None)

    def _train(self, level: Level, checkpoint: Path | None) -> Trained:
        from lth_core.openmmlab.runner import LTHRunner  # which builds chains in turn

        cfg = copy.deepcopy(self.cfg)
        cfg.pop("imp")
        cfg.work_dir = str(level.directory)
        cfg.experiment_name = level.directory.name
        cfg.resume = checkpoint is not None
        if checkpoint is not None:
            cfg.load_from = str(checkpoint)
        elif is_main_process():
            clear(level.directory)
        barrier()
        if not level.train:
            # Without epochs none is the best, and mmengine's hook fails at keeping it.
            ((cfg.get("default_hooks") or {}).get("checkpoint") or {}).pop("save_best", None)
        hook = LevelHook(level, self.rewind_at, to_dense=self.settings.rewind == "dense")
        if level.index > 0:
            before = Ticket.load(level_directory(self.work_dir, level.index - 1) / TICKET).masks
            hook.churn = similarity(before, level.masks).hamming
        if cfg.get("compile"):
            # Another model and optimizer each level: beyond eight of them torch compiles no more.
            torch.compiler.reset()
        finish = self._finish_hook(level)
        hooks = (hook,) if finish is None else (finish, hook)
        runner = LTHRunner.from_cfg(cfg, hooks, recorded=False)
        runner.clock = level.clock
        if "schedule" in self.settings.carried and self.settings.rewind != "none":
            levels = self.settings.rounds + (self.settings.first_prune == "after")
            runner.schedule_trainings = levels
        carried = None
        if level.train:
            runner.train()
            carried = hand_over(runner, self.settings.carried)
        else:
            with level.clock.time("evaluating"):
                _evaluate_start(runner, level)
        prefix, twins = locate(runner.model, level.masks)
        return Trained(
            snapshot(runner.model),
            runner.metrics.last,
            (prefix, *twins),
            carried,
            unwrap(runner.model),
            criterion_on(self.settings.criterion, runner, self.settings.batches),
            {"training": cfg.randomness.seed},
            None if finish is None else finish.finished,
        )

    def _finish_hook(self, level: Level) -> FinishHook | None:
        """What may end the level early; the last one has no mask to find, and trains in full."""
        if self.settings.finish is None or level.index == self.settings.rounds:
            return None
        return FinishHook(level, self.settings.finish, self.settings.amount)

    def _resumable(self, level: Level) -> Path | None:
        """The checkpoint from which a broken-off training can be gone on with, exactly."""
        return to_go_on_from(self.cfg, level.directory) if level.train else None

    def fresh(self, seed: int) -> Mapping[str, Tensor]:
        """The model's state after its own random initialisation."""
        with isolated(seed):
            set_random_seed(seed)
            return snapshot(build_fresh(self.model, self._build))

    def share(self, masks: MaskSet) -> MaskSet:
        """Rank 0's masks, on every rank."""
        shared: MaskSet = _from_rank_0(masks)
        return shared

    def wait(self) -> None:
        """Waits for every rank."""
        barrier()

    def _build(self, model: Any) -> nn.Module:
        return build_model(self.cfg, model)


def _evaluate_start(runner: Runner, level: Level) -> None:
    """Initialises the model as a training would, keeps its weights, and validates it."""
    runner._init_model_weights()
    runner.load_or_resume()
    if is_main_process():
        level.save_rewind(snapshot(runner.model))
    if runner._val_loop is not None:
        runner.val()


def _fix_seed(cfg: Config, directory: Path) -> None:
    """Gives a run without a seed one, and the same when it is gone on with."""
    if (cfg.get("randomness") or {}).get("seed") is not None:
        return
    stored = stored_settings(directory) or {}
    known = stored.get("config", {}).get("randomness", {}).get("seed")
    seed = _from_rank_0(secrets.randbelow(2**31) if known is None else known)
    cfg.randomness = dict(cfg.get("randomness") or {}, seed=seed)


def _from_rank_0(value: Any) -> Any:
    """What rank 0 calls this with, on every rank."""
    shared = [value]
    broadcast_object_list(shared, src=0)
    return shared[0]


def _require_matching_start(cfg: Config, settings: IMPSettings) -> None:
    """``pretrained`` needs weights to be loaded; ``init`` must have none."""
    loads = bool(cfg.get("load_from")) or loads_pretrained(cfg.model)
    if settings.rewind == "pretrained" and not loads:
        raise ConfigError(
            "imp.rewind='pretrained', but the config loads no weights; set load_from or the "
            "backbone's init_cfg, or use rewind='init'"
        )
    if settings.rewind == "init" and loads:
        raise ConfigError(
            "imp.rewind='init', but the config loads pre-trained weights; use rewind='pretrained'"
        )
