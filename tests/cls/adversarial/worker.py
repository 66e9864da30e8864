"""One rank of the test on two processes: trains a few steps, and writes what came of it."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
import torch.distributed as dist
from lth_cls.adversarial import OverfittingAlarm
from lth_core.openmmlab.compat import processes
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from cls.adversarial.parts import batch, build
from cls.adversarial.test_alarm import Run

STEPS, IMAGES = 3, 8


def digest(model: torch.nn.Module) -> str:
    """Of all parameters' bits."""
    content = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return hashlib.sha256(content).hexdigest()


def trained(rank: int, loss: str) -> dict[str, Any]:
    """Trains with a random start of each rank's own; counts the gradients' synchronisations."""
    plain = build({"attack": "pgd-3", "loss": loss})
    model = MMDistributedDataParallel(plain)
    synchronised = 0

    def count(state, bucket):  # torch would compare annotations with its own
        nonlocal synchronised
        synchronised += 1
        return allreduce_hook(state, bucket)

    model.register_comm_hook(None, count)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    torch.manual_seed(rank)
    for step in range(STEPS):
        loaded, samples = batch(count=IMAGES, seed=step)
        share = slice(rank, None, 2)
        model.train_step({"inputs": loaded[share], "data_samples": samples[share]}, optimizer)
    # Each rank has its own norm's statistics; the alarm brings the ranks' counts together.
    run = Run(model)
    loaded, samples = batch(count=IMAGES + rank, seed=9)
    run.go(OverfittingAlarm(1, 64), 1, {"inputs": loaded, "data_samples": samples})
    return {"digest": digest(plain), "synchronised": synchronised, "alarm": run.scalars}


def main() -> None:
    """Writes this rank's results."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    names = ("adversarial", "adversarial again", "trades")
    result = {name: trained(rank, name.split()[0]) for name in names}
    Path(sys.argv[1], f"rank{rank}.json").write_text(json.dumps(result))
    processes.leave()


if __name__ == "__main__":
    main()
