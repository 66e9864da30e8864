"""What ``lth train`` and ``lth test`` do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _lth_core_startup import config_path
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.hub import get_config

from lth_core.errors import ConfigError, LTHError
from lth_core.openmmlab.compat import processes
from lth_core.openmmlab.preflight import check_files
from lth_core.openmmlab.refusals import reject_misspelt_options
from lth_core.openmmlab.runner import LTHRunner

_OF_TESTS = ("test_dataloader", "test_cfg", "test_evaluator")


def load_config(path: str, options: dict | None = None) -> Config:
    """Reads a config file, or one of an installed package as ``lth_det::det/name.py``.

    Raises:
        ConfigError: If it does not exist or cannot be read.
    """
    try:
        file = config_path(path)
        if file is None and "::" in path:
            cfg = get_config(path.removesuffix(".py") + ".py")
        elif file is None and not Path(path).is_file():
            raise ConfigError(f"config {path} does not exist (looked for {Path(path).absolute()})")
        else:
            cfg = Config.fromfile(file or path)
        if options:
            reject_misspelt_options(cfg, options)
            cfg.merge_from_dict(options)
    except LTHError:
        raise
    except Exception as problem:
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ConfigError(f"config {path} cannot be read: {reason[0]}") from problem
    return cfg


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words of a command line, as OpenMMLab's tools read them.

    Raises:
        ConfigError: If a word is none.
    """
    for word in words:
        if not word.partition("=")[0] or "=" not in word:
            raise ConfigError(f"--cfg-options: {word!r} is not KEY=VALUE")
    found = argparse.Namespace(options=None)
    try:
        DictAction(["--cfg-options"], "options")(argparse.ArgumentParser(), found, words)
    except Exception as problem:  # of mmengine's own, for brackets that do not close
        reason = str(problem) or type(problem).__name__
        raise ConfigError(f"--cfg-options cannot be read: {reason}") from None
    return found.options or {}


def _prepare(args: argparse.Namespace) -> Config:
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = load_config(args.config, parse_options(args.cfg_options or ()))
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get("work_dir"):
        cfg.work_dir = str(Path("work_dirs") / Path(args.config.replace("::", "/")).stem)
    return cfg


def train(args: argparse.Namespace) -> None:
    """Trains as the arguments of ``lth train`` say.

    Raises:
        LTHError: If a setting is wrong or a file is missing.
    """
    cfg = _prepare(args)
    if args.amp:
        _use_amp(cfg)
    if args.auto_scale_lr:
        if "base_batch_size" not in (cfg.get("auto_scale_lr") or {}):
            raise ConfigError("--auto-scale-lr needs auto_scale_lr.base_batch_size in the config")
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    build_runner(cfg).train()
    processes.leave()


def build_runner(cfg: Config, hooks: tuple[Hook, ...] = ()) -> Any:
    """What trains ``cfg``, after looking whether its data is there.

    Args:
        cfg: A complete config. Not changed.
        hooks: Further hooks of a single training, already built.

    Returns:
        An object with ``train()``: a runner, or with ``imp`` a chain of them.

    Raises:
        LTHError: If a setting is wrong or a file is missing.
    """
    loaders = [name for name in ("train_dataloader", "val_dataloader") if cfg.get(name)]
    check_files(cfg, tuple(loaders))
    return LTHRunner.from_cfg(cfg, hooks)


def test(args: argparse.Namespace) -> dict[str, Any]:
    """Tests as the arguments of ``lth test`` say; the metrics.

    Raises:
        LTHError: If a setting is wrong or a file is missing.
    """
    cfg = _prepare(args)
    checkpoint = Path(args.checkpoint)
    if not checkpoint.is_file():
        raise ConfigError(
            f"checkpoint {checkpoint} does not exist (looked for {checkpoint.absolute()})"
        )
    missing = [k for k in _OF_TESTS if cfg.get(k) is None]
    if missing:
        raise ConfigError(f"config {args.config} says nothing of testing: {missing[0]} is missing")
    cfg.load_from = args.checkpoint
    for key in ("ticket", "imp"):  # a trained ticket's zeros are in its checkpoint
        cfg.pop(key, None)
    check_files(cfg, ("test_dataloader",))
    metrics = LTHRunner.from_cfg(cfg).test()
    processes.leave()
    return metrics


def _use_amp(cfg: Config) -> None:
    if get_device() == "cpu":
        raise ConfigError(
            "--amp needs a GPU, and none is visible; on a CPU that has bfloat16 use "
            "--cfg-options optim_wrapper.type=BFloat16OptimWrapper"
        )
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise ConfigError(f"--amp goes with OptimWrapper, not with the config's {kind}")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
