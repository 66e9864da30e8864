"""One rank of the DistributedDataParallel test; imports little, since every process pays for it."""

from __future__ import annotations

import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
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


class NormedNet(Net):
    """With batch norms."""

    def __init__(self) -> None:
        super().__init__()
        for index in (1, 3):
            self.backbone[index] = nn.Sequential(nn.BatchNorm2d(6), nn.ReLU())


class SyncedOnCPU(nn.BatchNorm2d):
    """What nn.SyncBatchNorm computes in training, which torch refuses to do without a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        mean = all_reduce(x.mean((0, 2, 3))) / dist.get_world_size()
        centred = x - mean[:, None, None]
        variance = all_reduce(centred.square().mean((0, 2, 3))) / dist.get_world_size()
        scale = self.weight / (variance + self.eps).sqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def start(kind: type[Net] = Net) -> tuple[Net, lth.MaskSet]:
    """The same model and masks, 90 % pruned, on every rank."""
    torch.manual_seed(3)
    model = kind()
    return model, lth.prune(model, lth.MaskSet.ones(model, lth.prunable(model)), 0.9)


def synced(model: nn.Module) -> nn.Module:
    """``model`` with batch norms over both ranks' data."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SyncedOnCPU
    return model


def batch(rank: int, step: int) -> tuple[Tensor, Tensor]:
    """Data that differ by rank and step."""
    generator = torch.Generator().manual_seed(100 * rank + step)
    return (
        torch.randn(4, 3, 9, 9, generator=generator),
        torch.randint(3, (4,), generator=generator),
    )


def optimizer_of(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)


def train(
    started: tuple[nn.Module, lth.MaskSet], options: dict[str, Any], rank: int
) -> dict[str, Any]:
    """Trains a ticket in DistributedDataParallel."""
    model, masks = started
    wrapped = DistributedDataParallel(model, **options)
    optimizer = optimizer_of(wrapped)
    seen: list[dict[str, Tensor]] = []

    def record(*_: Any) -> None:  # before lth's own hook
        seen.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    optimizer.register_step_pre_hook(record)
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
    states = {n: optimizer.state[p]["momentum_buffer"] for n, p in model.named_parameters()}
    return {
        "state": model.state_dict(),
        "norms": torch.stack(norms),
        "gradients": seen,
        "states": states,
    }


def work(rank: int, size: int, directory: str) -> None:
    """Trains with each of OPTIONS and saves what came out."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{directory}/rendezvous",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=600),
    )
    results = {name: train(start(), options, rank) for name, options in OPTIONS.items()}
    model, masks = start(NormedNet)
    results["synced"] = train((synced(model), masks), {}, rank)
    torch.save(results, Path(directory) / f"rank{rank}.pth")
    dist.destroy_process_group()
    gc.collect()  # else gloo's threads may outlive Python, and abort it
