"""What a training step costs with masks: dense, lth, torch.nn.utils.prune, a parametrisation.

    python benchmarks/step_overhead.py [--arch resnet18 resnet50] [--rounds 40] [--output FILE]

All sides train the same architecture on the same random batch in one process, taking turns, with
SGD, momentum, weight decay and clipping of the norm. Where there is a GPU it is measured too.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import lth_core as lth
import torch
import torchvision
from _common import interleave, ratio, report
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

SPARSITY = 0.9


class Masked(nn.Module):
    """Parametrisation that multiplies a weight with its mask at each use."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The masked weight."""
        return weight * self.mask


def with_lth(model: nn.Module, optimizer: torch.optim.Optimizer, masks: lth.MaskSet) -> None:
    """Two lines of lth."""
    lth.attach(model, masks, optimizer)


def with_torch_prune(
    model: nn.Module, optimizer: torch.optim.Optimizer, masks: lth.MaskSet
) -> None:
    """torch.nn.utils.prune: the weight is recomputed before each forward pass."""
    for name, mask in masks.items():
        module, _, parameter = name.rpartition(".")
        torch_prune.custom_from_mask(model.get_submodule(module), parameter, mask)


def with_parametrisation(
    model: nn.Module, optimizer: torch.optim.Optimizer, masks: lth.MaskSet
) -> None:
    """torch.nn.utils.parametrize: the weight is recomputed at each use."""
    for name, mask in masks.items():
        module, _, parameter = name.rpartition(".")
        parametrize.register_parametrization(model.get_submodule(module), parameter, Masked(mask))


SIDES: dict[str, Callable[[nn.Module, torch.optim.Optimizer, lth.MaskSet], None] | None] = {
    "dense": None,
    "lth": with_lth,
    "torch.nn.utils.prune": with_torch_prune,
    "parametrisation": with_parametrisation,
}


def side(arch: str, name: str, batch: int, size: int, device: str) -> Callable[[], None]:
    """One side's training step."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, arch)().to(device)
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    masks = lth.prune(model, masks, SPARSITY).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    apply = SIDES[name]
    if apply is not None:
        apply(model, optimizer, masks)
    parameters = list(model.parameters())  # prune and parametrize keep the same objects
    images = torch.rand(batch, 3, size, size, device=device)
    labels = torch.randint(1000, (batch,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=128, help="image size in pixels")
    parser.add_argument("--rounds", type=int, default=30, help="counted steps of each side")
    parser.add_argument("--output", help="JSON file to write")
    args = parser.parse_args()
    rows = []
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        for arch in args.arch:
            steps = {name: side(arch, name, args.batch, args.size, device) for name in SIDES}
            seconds = interleave(steps, args.rounds, warm_up=3, device=device)
            rows += [
                {
                    "side": name,
                    "arch": arch,
                    "device": device,
                    "median ms": 1000 * statistics.median(times),
                    "to dense": ratio(times, seconds["dense"]),
                }
                for name, times in seconds.items()
            ]
    report(f"training step, batch {args.batch}, {args.size} px", rows, args.output)


if __name__ == "__main__":
    main()
