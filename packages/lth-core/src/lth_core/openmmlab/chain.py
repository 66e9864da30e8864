"""IMP as a chain of mmengine trainings: the config key ``imp``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor

from lth_core.errors import ConfigError
from lth_core.imp import IMPSettings, Level, LevelResult, Point, run_imp
from lth_core.masks import MaskSet
from lth_core.openmmlab.hooks import LevelHook
from lth_core.scope import prunable
from lth_core.weights import snapshot

_UNRELATED = ("work_dir", "launcher", "resume", "log_level", "visualizer", "experiment_name", "imp")
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
        _require_matching_start(cfg, settings)

    def train(self) -> list[LevelResult]:
        """Runs the chain, or goes on with it.

        Raises:
            LTHError: If the directory is in use, belongs to another config, or is damaged.
        """
        config = {k: v for k, v in self.cfg.to_dict().items() if k not in _UNRELATED}
        return run_imp(
            self.settings,
            self.work_dir,
            _Trainer(self.cfg, self.settings),
            config,
            is_main=is_main_process(),
        )


class _Trainer:
    """Trains one level with mmengine; see :class:`lth_core.imp.LevelTrainer`."""

    def __init__(self, cfg: Config, settings: IMPSettings) -> None:
        self.cfg = cfg
        self.rewind_at = Point.parse(settings.rewind_at) if settings.rewind_at else None

    def scope(self, settings: IMPSettings) -> MaskSet:
        """All of the backbone's prunable weights."""
        name = self.cfg.get("default_scope", "mmengine")
        with DefaultScope.overwrite_default_scope(name):
            model = MODELS.build(copy.deepcopy(self.cfg.model))
        names = prunable(model, settings.stem, settings.kinds)
        masks = MaskSet.ones(model, names)
        prefix = names[0].rpartition("backbone.")
        return masks.without_prefix(prefix[0] + prefix[1])

    def train(self, level: Level) -> tuple[Mapping[str, Tensor], dict[str, float]]:
        """Trains, goes on training, or (``level.train`` false) only evaluates."""
        from lth_core.openmmlab.runner import LTHRunner  # which builds chains in turn

        cfg = copy.deepcopy(self.cfg)
        cfg.pop("imp")
        cfg.work_dir = str(level.directory)
        cfg.experiment_name = level.directory.name
        cfg.resume = level.train and find_latest_checkpoint(cfg.work_dir) is not None
        if cfg.resume:
            cfg.load_from = None
        metrics = LastMetrics()
        runner = LTHRunner.from_cfg(cfg, (LevelHook(level, self.rewind_at), metrics))
        if level.train:
            runner.train()
        else:
            _evaluate_start(runner, level)
        return snapshot(runner.model), metrics.last

    def share(self, masks: MaskSet) -> MaskSet:
        """Rank 0's masks, on every rank."""
        if not dist.is_initialized():
            return masks
        shared: list[Any] = [masks]
        dist.broadcast_object_list(shared, src=0)
        return shared[0]


def _evaluate_start(runner: Runner, level: Level) -> None:
    """Initialises the model as a training would, keeps its weights, and validates it."""
    runner._init_model_weights()
    runner.load_or_resume()
    if is_main_process():
        level.save_rewind(snapshot(runner.model))
    if runner._val_loop is not None:
        runner.val()


class LastMetrics(Hook):
    """Remembers a training's last validation, or its last losses if it has none."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Keeps the metrics."""
        self.last = {key: float(value) for key, value in (metrics or {}).items()}

    def after_train(self, runner: Runner) -> None:
        """Without a validation, keeps the mean of the last losses."""
        if not self.last:
            self.last = {
                key.removeprefix("train/"): float(buffer.mean(window_size=50))
                for key, buffer in runner.message_hub.log_scalars.items()
                if key.startswith("train/") and "loss" in key
            }


def _require_matching_start(cfg: Config, settings: IMPSettings) -> None:
    """``pretrained`` needs weights to be loaded; ``init`` must have none."""
    loads = bool(cfg.get("load_from")) or "Pretrained" in str(cfg.model)
    if settings.rewind == "pretrained" and not loads:
        raise ConfigError(
            "imp.rewind='pretrained', but the config loads no weights; set load_from or the "
            "backbone's init_cfg, or use rewind='init'"
        )
    if settings.rewind == "init" and loads:
        raise ConfigError(
            "imp.rewind='init', but the config loads pre-trained weights; use rewind='pretrained'"
        )
