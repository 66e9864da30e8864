"""The runner: mmengine's, plus lth's config keys and CPU processes."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook, RuntimeInfoHook
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from lth_core.clock import Clock
from lth_core.errors import ConfigError, RunError
from lth_core.files import publish
from lth_core.openmmlab.compat import processes
from lth_core.openmmlab.compat.checkpoints import PlainCheckpointHook
from lth_core.openmmlab.hooks import TicketHook
from lth_core.openmmlab.kept import settled_heap, with_kept
from lth_core.openmmlab.keys import apply_package_keys, reject_misspelt_keys
from lth_core.openmmlab.late import LateInfoHook
from lth_core.openmmlab.models import load_trained
from lth_core.openmmlab.naming import Names, names_of_training
from lth_core.openmmlab.preflight import missing_files
from lth_core.openmmlab.recording import ClockHook, LastMetrics, record, results_of
from lth_core.openmmlab.refusals import explained
from lth_core.openmmlab.reinit import loads_pretrained
from lth_core.openmmlab.resuming import (
    ResumeHook,
    StreamsHook,
    gather_streams,
    last_whole,
    remove_parts,
)
from lth_core.openmmlab.sampling import end_workers, seed_loader
from lth_core.openmmlab.settings import parse_imp, parse_record, parse_ticket

_COUNTER = itertools.count()
_LOSSES = ("RuntimeInfoHook", "mmengine.RuntimeInfoHook", RuntimeInfoHook)
"""How configs name mmengine's hook that logs losses."""


@RUNNERS.register_module()
class LTHRunner(Runner):
    """mmengine's Runner for configs with a ``ticket``; build it with :meth:`from_cfg`.

    Attributes:
        schedule_trainings: How many trainings of this length one schedule is spread over; more
            than one in a chain that carries its schedule from level to level.
        missing: What training would need and is not there, a line for each file.
        metrics: What its training has come to so far.
        clock: What its time goes to.
    """

    schedule_trainings: int = 1
    missing: tuple[str, ...] = ()
    metrics: LastMetrics
    clock: Clock
    _names: Callable[[], Names] | None = None

    @classmethod
    def from_cfg(cls, cfg: Config, hooks: tuple[Hook, ...] = (), recorded: bool = True) -> Any:
        """Builds what trains ``cfg``: a runner, or with ``imp`` a whole chain of them.

        Args:
            cfg: A complete config. Not changed.
            hooks: Further hooks, already built.
            recorded: Whether a training writes what it comes to into its file of results; the
                levels of a chain leave that to the chain.

        Returns:
            An object with ``train()``.

        Raises:
            LTHError: If one of lth's keys is malformed, or the ticket is damaged. One that is
                missing is an error of :meth:`train` alone: a trained checkpoint has its zeros and
                its masks, and is tested without.
        """
        from lth_core.openmmlab.chain import IMPChain  # which builds runners in turn

        cfg = copy.deepcopy(cfg)
        reject_misspelt_keys(cfg)
        processes.start(cfg.get("launcher", "none"), cfg.get("env_cfg", {}))
        ticket, imp = cfg.get("ticket"), cfg.get("imp")
        names = parse_record(cfg.get("record"))
        asked = copy.deepcopy(cfg)
        apply_package_keys(cfg)
        if ticket is not None and imp is not None:
            raise ConfigError(
                "the config has both ticket and imp; train from a ticket, or find tickets"
            )
        if imp is not None:
            return IMPChain(asked, parse_imp(imp))  # whose levels come here again
        settings = None if ticket is None else parse_ticket(ticket)
        hook: TicketHook | None = None
        missing = () if settings is None else tuple(missing_files(settings))
        if settings is not None and not missing:
            hook = TicketHook(settings)
            if hook.ticket.weights is not None and not hook.settings.partial:
                _spare_download(cfg.model)
            hooks = (*hooks, hook)
        name = Path(cfg.filename).stem if cfg.filename else "lth"
        # mmengine keeps loggers, hubs and visualizers (with their folder) by name for ever; another
        # runner must not share them.
        cfg.experiment_name = f"{cfg.get('experiment_name') or name}_{next(_COUNTER)}"
        if isinstance(cfg.get("visualizer"), dict):
            cfg.visualizer.name = cfg.experiment_name
        with explained():
            runner = super().from_cfg(cfg)
        runner.missing = missing
        runner.metrics, runner.clock = LastMetrics(), Clock()
        own = (
            PlainCheckpointHook(),
            StreamsHook(),
            *hooks,
            runner.metrics,
            ClockHook(),
            ResumeHook(),
        )
        for each in own:
            runner.register_hook(each)
        if recorded:
            runner._names = lambda: names_of_training(
                asked, names, settings, hook and hook.origin, hook and hook.masks
            )
        return runner

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """As mmengine's, but its log does not read the losses at each step; see ``late``."""
        info = (hooks or {}).get("runtime_info", {"type": "RuntimeInfoHook"})
        if isinstance(info, dict) and info.get("type") in _LOSSES:
            info = {**info, "type": LateInfoHook}
        super().register_default_hooks({**(hooks or {}), "runtime_info": info})

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """As mmengine's, but without device ids where there is no GPU."""
        if not self.distributed or torch.cuda.is_available():
            return super().wrap_model(model_wrapper_cfg, model)
        settings = dict(model_wrapper_cfg or {})
        if settings.pop("type", "MMDistributedDataParallel") != "MMDistributedDataParallel":
            return super().wrap_model(model_wrapper_cfg, model)
        settings.setdefault("broadcast_buffers", False)
        settings.setdefault("find_unused_parameters", self.cfg.get("find_unused_parameters", False))
        # SyncBatchNorm has no CPU kernel.
        return MMDistributedDataParallel(module=revert_sync_batchnorm(model), **settings)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """As mmengine's, but what is loaded depends on the seed alone; see ``sampling``.

        Inherited from another package, a ``collate_fn`` names its scope, which mmengine would pass
        on to the function.

        Raises:
            ConfigError: If the data set finds its files to be other than they should be.
        """
        if isinstance(dataloader, dict) and isinstance(dataloader.get("collate_fn"), dict):
            collate = {k: v for k, v in dataloader["collate_fn"].items() if k != "_scope_"}
            dataloader = {**dataloader, "collate_fn": collate}
        try:
            built = Runner.build_dataloader(with_kept(dataloader), seed, diff_rank_seed)
        except (AssertionError, FileNotFoundError, NotADirectoryError) as problem:
            kind = dataloader["dataset"]["type"] if isinstance(dataloader, dict) else "data set"
            reason = " ".join(str(problem).split()) or "its files are not what it expects"
            raise ConfigError(f"{kind} cannot be read: {reason}") from problem
        return built if seed is None else seed_loader(built, seed, get_rank())

    def train(self) -> nn.Module:
        """As mmengine's; what it came to goes into the work directory's file of results.

        Afterwards, also after an error, no worker of a data loader is left.

        Raises:
            ConfigError: If the ticket, or what its survivors start from, is missing, or the config
                names something that OpenMMLab does not know.
        """
        if self.missing:
            raise ConfigError("\n".join(self.missing))
        try:
            with explained(), settled_heap(), self.clock.time("building"):
                model = super().train()
        finally:
            for loop in (self._train_loop, self._val_loop):
                end_workers(loop)
        if self._names is not None and is_main_process():
            place = Path(self.work_dir)
            record(place, results_of(place, place, self._names(), self.seed, self.metrics.last))
        return model

    def _build_param_scheduler(self, scheduler: Any, optim_wrapper: Any) -> list[Any]:
        """As mmengine's, but a schedule without an end ends with the last of its trainings."""
        cfgs = list(scheduler) if isinstance(scheduler, (list, tuple)) else [scheduler]
        for place, cfg in enumerate(cfgs):
            if isinstance(cfg, dict) and self.schedule_trainings > 1:
                length = self.max_epochs if cfg.get("by_epoch", True) else self.max_iters
                cfgs[place] = {"end": length * self.schedule_trainings, **cfg}
        built: list[Any] = super()._build_param_scheduler(cfgs, optim_wrapper)
        return built

    def load_or_resume(self) -> None:
        """As mmengine's, but resumes from the last checkpoint that is whole.

        What is to be tested has to be there whole. A loop for tests that has ``load_checkpoint``
        reads the file itself.

        Raises:
            CheckpointError: If a file that is to be tested does not fit the model.
        """
        loaded: bool = self._has_loaded  # type: ignore[has-type]
        tested: str | None = self._load_from  # type: ignore[has-type]
        if isinstance(self._test_loop, BaseLoop) and tested is not None and not loaded:
            own = getattr(self._test_loop, "load_checkpoint", None)
            if own is not None:
                own(tested)
            else:
                load_trained(self.load_checkpoint, tested)
            self._has_loaded = True
            return
        if not loaded and self._resume:
            remove_parts(self.work_dir)
            named: str | None = self._load_from  # type: ignore[has-type]
            found = last_whole(self.work_dir) if named is None else None
            self._load_from = named if found is None else str(found)
        super().load_or_resume()

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """As mmengine's, with the random streams, and the file appears whole or not at all.

        Raises:
            RunError: If it cannot be written; the checkpoints before it stay.
        """
        with self.clock.time("saving"):
            self.streams = gather_streams()
            if "://" in str(out_dir):
                super().save_checkpoint(out_dir, filename, *args, **kwargs)
            else:
                self._save_whole(out_dir, filename, *args, **kwargs)

    def _save_whole(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        path, part = Path(out_dir) / filename, Path(out_dir) / f".{filename}.part"
        try:
            super().save_checkpoint(out_dir, part.name, *args, **kwargs)
            if is_main_process():
                publish(part, path)
        except OSError as problem:
            part.unlink(missing_ok=True)
            raise RunError(
                f"checkpoint {path} cannot be written: {problem.strerror or problem}; make room, "
                "then go on from the checkpoint before it with --resume"
            ) from None


def _spare_download(model: Any) -> None:
    """Takes out the pre-trained backbone weights that the ticket replaces altogether.

    A detector may hold another one; segmentors name their backbone's weights beside it.
    """
    if not isinstance(model, dict):
        return
    backbone = model.get("backbone")
    if isinstance(backbone, dict):
        if loads_pretrained({"init_cfg": backbone.get("init_cfg")}):
            backbone["init_cfg"] = None
        for part in (model, backbone):
            if isinstance(part.get("pretrained"), str):
                part["pretrained"] = None
    for key, part in model.items():
        if key != "backbone":
            _spare_download(part)
