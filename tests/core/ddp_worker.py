"""One rank of the DistributedDataParallel test; imports little, since every process pays for it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

STEPS = 4
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bucket view": {"gradient_as_bucket_view": True},
    "static graph": {"static_graph": True},
}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3)
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).mean((2, 3)))


def start() -> tuple[Net, lth.MaskSet]:
    """The same model and masks, 80 % pruned, on every rank."""
    torch.manual_seed(3)
    model = Net()
    return model, lth.prune(model, lth.MaskSet.ones(model, lth.prunable(model)), 0.8)


def batch(rank: int, step: int) -> tuple[Tensor, Tensor]:
    """Data that differ by rank and step."""
    generator = torch.Generator().manual_seed(100 * rank + step)
    return (
        torch.randn(4, 3, 9, 9, generator=generator),
        torch.randint(3, (4,), generator=generator),
    )


def optimizer_of(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)


def work(rank: int, size: int, directory: str) -> None:
    """Trains with each of OPTIONS and saves what came out."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{directory}/rendezvous",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    results = {}
    for name, options in OPTIONS.items():
        model, masks = start()
        wrapped = DistributedDataParallel(model, **options)
        optimizer = optimizer_of(wrapped)
        link = lth.attach(wrapped, masks, optimizer)
        norms = []
        for step in range(STEPS):
            x, y = batch(rank, step)
            optimizer.zero_grad()
            nn.functional.cross_entropy(wrapped(x), y).backward()
            norms.append(nn.utils.clip_grad_norm_(wrapped.parameters(), 0.5))
            link.check()
            optimizer.step()
            link.check()
        results[name] = {"state": model.state_dict(), "norms": torch.stack(norms)}
    torch.save(results, Path(directory) / f"rank{rank}.pth")
    dist.destroy_process_group()
