"""One rank of the fully_shard test; imports little, since every process pays for it."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
import torch.distributed as dist
from lth_core.errors import LTHError
from lth_core.sharding import full
from lth_core.weights import digest, restore, snapshot
from torch import Tensor, nn
from torch.distributed.fsdp import (
    FSDPModule,
    FullyShardedDataParallel,
    MixedPrecisionPolicy,
    fully_shard,
)

STEPS = 4
CLIP = 0.05


@dataclass
class Option:
    """A way of sharding and training."""

    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer]
    layers: bool = True
    reshard: bool | None = None
    accumulate: int = 1
    bfloat16: bool = False


def sgd(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.01)


OPTIONS = {
    "sgd": Option(sgd),
    "adamw": Option(lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.05)),
    "adam, as one": Option(lambda p: torch.optim.Adam(p, 0.01, foreach=False), layers=False),
    "kept gathered, accumulated": Option(sgd, reshard=False, accumulate=2),
    "bfloat16": Option(sgd, bfloat16=True),
}


class Net(nn.Module):
    """Layers that two processes share evenly, unevenly, and not at all; and a momentum copy."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Conv2d(5, 1, 3)
        )
        self.head = nn.Linear(1, 3)
        self.teacher = copy.deepcopy(self.backbone).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).mean((2, 3)))

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the copy a little towards the backbone."""
        pairs = zip(self.teacher.parameters(), self.backbone.parameters(), strict=True)
        for old, new in pairs:
            old.lerp_(new, 0.1)


def start() -> tuple[Net, lth.MaskSet]:
    """The same model and masks, 90 % pruned, on every rank."""
    torch.manual_seed(3)
    model = Net()
    ones = lth.MaskSet.ones(model.backbone, lth.prunable(model.backbone))
    generator = torch.Generator().manual_seed(0)
    return model, ones.map(lambda mask: torch.rand(mask.shape, generator=generator) < 0.1)


def batch(rank: int, step: int) -> tuple[Tensor, Tensor]:
    """Data that differ by rank and step."""
    generator = torch.Generator().manual_seed(100 * rank + step)
    return (
        torch.randn(4, 3, 9, 9, generator=generator),
        torch.randint(3, (4,), generator=generator),
    )


def shard(model: Net, option: Option) -> None:
    """Spreads ``model`` over the processes as a user would."""
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if option.bfloat16 else None
    settings: dict[str, Any] = {"reshard_after_forward": option.reshard}
    settings |= {"mp_policy": policy} if policy else {}
    if option.layers:
        for part in (*model.backbone, *model.teacher):
            if isinstance(part, nn.Conv2d):
                fully_shard(part, **settings)
    fully_shard(model, **settings)


def whole(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: full(tensor.detach()).clone() for name, tensor in named}


def train(option: Option, rank: int) -> dict[str, Any]:
    """Trains a ticket; what comes back is gathered, alike on every rank."""
    model, masks = start()
    shard(model, option)
    assert isinstance(model, FSDPModule)
    optimizer = option.optimizer(p for p in model.parameters() if p.requires_grad)
    seen: list[dict[str, Tensor]] = []

    def record(*_: Any) -> None:  # before lth's own hook
        named = model.named_parameters()
        seen.append(whole((n, p.grad) for n, p in named if p.grad is not None))

    optimizer.register_step_pre_hook(record)
    model(batch(rank, 0)[0])  # leaves gathered weights in the outermost module
    link = lth.attach(model, masks, optimizer)
    norms = []
    for step in range(STEPS):
        optimizer.zero_grad()
        for part in range(option.accumulate):
            model.set_requires_gradient_sync(part == option.accumulate - 1)
            x, y = batch(rank, step * option.accumulate + part)
            loss = nn.functional.cross_entropy(model(x).float(), y) / option.accumulate
            link.check()  # between forward and backward
            loss.backward()
        norms.append(full(nn.utils.clip_grad_norm_(model.parameters(), CLIP)))
        link.check()
        optimizer.step()
        model.follow()
        link.check()
    states = {
        f"{name} {key}": state
        for name, parameter in model.named_parameters()
        for key, state in optimizer.state.get(parameter, {}).items()
        if key != "step"
    }
    return {
        "twins": link.twins,
        "norms": torch.stack(norms),
        "gradients": seen,
        "states": whole(states.items()),
        "weights": snapshot(model),
        "pruned": dict(lth.prune(model, masks, 0.3)),
    }


def changes_by_hand(rank: int) -> dict[str, Tensor]:
    """Gradients that were written after backward(); what the optimizer made of them."""
    model, masks = start()
    shard(model, OPTIONS["sgd"])
    optimizer = sgd(p for p in model.parameters() if p.requires_grad)
    link = lth.attach(model, masks, optimizer)
    name = next(iter(masks))
    weight = model.backbone.get_parameter(name)
    gradients = {}
    for how in ("foreach", "add", "assign", "local"):
        optimizer.zero_grad()
        x, y = batch(rank, 0)
        nn.functional.cross_entropy(model(x), y).backward()
        gradient = weight.grad
        assert gradient is not None
        if how == "foreach":
            torch._foreach_add_([gradient], 1.0)
        elif how == "add":
            gradient.add_(1)
        elif how == "assign":
            weight.grad = torch.ones_like(weight)
        else:
            gradient.to_local().add_(1)
        optimizer.step()
        link.check()
        gradients[how] = full(weight.grad)
    return gradients


def problems(rank: int) -> dict[str, str]:
    """The errors that this rank sees."""
    found = {}

    def note(name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except LTHError as error:
            found[name] = str(error)

    model, masks = start()
    link = lth.attach(model, masks)
    shard(model, OPTIONS["sgd"])
    note("attached too early", link.check)
    model, masks = start()
    shard(model, OPTIONS["sgd"])
    link = lth.attach(model, masks)
    name = next(iter(masks))
    weight = model.backbone.get_parameter(name)
    if rank == 1:
        weight.to_local().data.fill_(1)
    note("spoilt on rank 1", link.check)
    model, masks = start()
    cpu = torch.device("cpu")
    flattened = FullyShardedDataParallel(model, device_id=cpu, use_orig_params=True)
    note("flattened", lambda: lth.attach(flattened, masks))
    return found


def rewind(rank: int) -> dict[str, Any]:
    """A snapshot taken, spoilt and restored."""
    model, _ = start()
    before = digest(model.state_dict())
    shard(model, OPTIONS["sgd"])
    kept = snapshot(model)
    restore(model, {name: tensor + 1 for name, tensor in kept.items()})
    spoilt = snapshot(model)
    parts = {name: id(parameter) for name, parameter in model.named_parameters()}
    restore(model, kept)
    return {
        "plain": before,
        "kept": digest(kept),
        "spoilt": spoilt,
        "after": digest(snapshot(model)),
        "sharded": digest(model.state_dict()),
        "same parameters": parts == {n: id(p) for n, p in model.named_parameters()},
        "types": {type(tensor).__name__ for tensor in kept.values()},
    }


def work(rank: int, size: int, directory: str) -> None:
    """Does all of the above and saves what came out."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{directory}/rendezvous",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=600),
    )
    results: dict[str, Any] = {name: train(option, rank) for name, option in OPTIONS.items()}
    results |= {
        "changes by hand": changes_by_hand(rank),
        "problems": problems(rank),
        "rewind": rewind(rank),
    }
    torch.save(results, Path(directory) / f"rank{rank}.pth")
    dist.destroy_process_group()
    gc.collect()  # else gloo's threads may outlive Python, and abort it
