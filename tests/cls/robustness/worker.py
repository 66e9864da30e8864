"""One rank of the test on two processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch.distributed as dist
from lth_core.openmmlab.compat import processes

from cls.robustness.linear import config, fitted, runner_with


def metrics(work_dir: Path, launcher: str = "none") -> dict[str, float]:
    """Of a linear model, with the first 11 of 25 pictures under attack."""
    cfg = config(work_dir, {"pgd-20": "pgd-20"}, number=25, batch_size=4, first=11)
    cfg.launcher = launcher
    cfg.log_level = "ERROR"
    found: dict[str, float] = runner_with(cfg, *fitted(25, 2)).val()
    return found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = metrics(Path(sys.argv[1]), "pytorch")
    Path(sys.argv[1], f"rank{dist.get_rank()}.json").write_text(json.dumps(found))
    processes.leave()
