"""The command lines of training and testing: ``tools/train.py``, ``lth train`` and their like."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _lth_core_startup import config_path
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.hub import get_config

from lth_core.cli.parser import Parser
from lth_core.errors import ConfigError, LTHError
from lth_core.openmmlab.compat import processes
from lth_core.openmmlab.preflight import check_files
from lth_core.openmmlab.runner import LTHRunner

EXIT_USER_ERROR = 2

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def train_main(argv: Sequence[str] | None = None) -> int:
    """Trains a config: ``tools/train.py CONFIG [options]``. Returns the exit code."""
    parser = _parser("Train a config; with a ticket, or with imp to find tickets.")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the work directory's last checkpoint, or from the one named",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the batch size, by auto_scale_lr.base_batch_size",
    )
    args = parser.parse_args(argv)
    return guarded(lambda: _train(args))


def test_main(argv: Sequence[str] | None = None) -> int:
    """Tests a checkpoint: ``tools/test.py CONFIG CHECKPOINT [options]``. Returns the exit code."""
    parser = _parser("Test a checkpoint and print its metrics.")
    parser.add_argument("checkpoint", help="checkpoint file")
    args = parser.parse_args(argv)
    return guarded(lambda: _test(args))


def guarded(command: Callable[[], object], go_on: str = "again with --resume") -> int:
    """Runs ``command``; a user's error becomes one line on stderr and a non-zero exit code.

    Args:
        command: What to run.
        go_on: How to run the same command to go on after an interruption, for the message.
    """
    try:
        command()
        processes.leave()
    except LTHError as problem:
        if os.environ.get("RANK", "0") == "0":
            for line in str(problem).splitlines():
                print(f"error: {line}", file=sys.stderr)
        return EXIT_USER_ERROR
    except OSError as problem:
        if problem.errno not in _NO_ROOM:
            raise
        where = problem.filename or "a file of the run"
        print(
            f"error: {where} cannot be written: {problem.strerror}; put that right and run the "
            f"same command {go_on} to go on",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"interrupted; run the same command {go_on} to go on", file=sys.stderr)
        return 130
    return 0


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
            cfg.merge_from_dict(options)
    except LTHError:
        raise
    except Exception as problem:
        reason = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ConfigError(f"config {path} cannot be read: {reason[0]}") from problem
    return cfg


def _parser(description: str) -> argparse.ArgumentParser:
    parser = Parser(description=description)
    parser.add_argument("config", help="config file, or PACKAGE::path of an installed package's")
    parser.add_argument("--work-dir", help="where checkpoints and logs go")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override settings of the config, for example ticket.path=my.safetensors",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _prepare(args: argparse.Namespace) -> Config:
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get("work_dir"):
        cfg.work_dir = str(Path("work_dirs") / Path(args.config.replace("::", "/")).stem)
    return cfg


def _train(args: argparse.Namespace) -> None:
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


def _test(args: argparse.Namespace) -> None:
    cfg = _prepare(args)
    if not Path(args.checkpoint).is_file():
        raise ConfigError(f"checkpoint {args.checkpoint} does not exist")
    cfg.load_from = args.checkpoint
    for key in ("ticket", "imp"):  # a trained ticket's zeros are in its checkpoint
        cfg.pop(key, None)
    check_files(cfg, ("test_dataloader",))
    LTHRunner.from_cfg(cfg).test()


def _use_amp(cfg: Config) -> None:
    if get_device() == "cpu":
        raise ConfigError("--amp needs a GPU, and none is visible; leave it out")
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise ConfigError(f"--amp goes with OptimWrapper, not with the config's {kind}")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
