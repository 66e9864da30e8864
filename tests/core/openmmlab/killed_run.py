"""Runs a small IMP chain in a process of its own, to be killed: ``killed_run.py DIR [WHERE N]``.

With WHERE it kills itself with SIGKILL at the Nth moment of that kind.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from lth_core import files, results
from lth_core.imp import rounds
from lth_core.openmmlab import LevelHook, LTHRunner
from lth_core.openmmlab.compat import processes
from mmengine.runner import ValLoop, checkpoint

from core.openmmlab.noisy import noisy_config

MOMENTS: dict[str, tuple[Any, str]] = {
    "training": (LevelHook, "after_train_iter"),
    "evaluating": (ValLoop, "run_iter"),
    "pruning": (rounds, "prune"),
    "naming a file": (files.os, "replace"),
    "flushing a file": (files.os, "fsync"),
    "writing a checkpoint": (torch, "save"),
    "recording": (results, "append"),
}


def main(directory: str, where: str | None = None, number: int = 0) -> None:
    torch.set_num_threads(1)
    if where is not None and os.environ.get("RANK", "0") == "0":
        owner, name = MOMENTS[where]
        setattr(owner, name, _killing(getattr(owner, name), number))
    assert checkpoint.torch is torch
    cfg = noisy_config(
        directory,
        loop="epochs, saved inside",
        imp={"rounds": 2, "amount": 0.3, "rewind": "early", "rewind_at": "2it"},
        custom_hooks=[{"type": "EMAHook", "momentum": 0.1}],
    )
    if "WORLD_SIZE" in os.environ:
        cfg.launcher = "pytorch"
        cfg.env_cfg = {"dist_cfg": {"backend": "gloo"}}
    LTHRunner.from_cfg(cfg).train()
    processes.leave()


def _killing(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return counted


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:3], *map(int, sys.argv[3:4]))
