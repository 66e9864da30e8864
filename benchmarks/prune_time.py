"""One global magnitude prune: lth against torch.nn.utils.prune.global_unstructured.

    python benchmarks/prune_time.py [--small] [--arch resnet50 resnet152] [--rounds 7]

Time is measured in one process, the sides taking turns. Memory is the growth of the process's peak
during one prune, measured in a fresh process per side, as a multiple of the weights' own size.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable
from pathlib import Path

import lth_core as lth
import torch
import torchvision
from _common import arguments, interleave, ratio, report, spread
from torch import nn
from torch.nn.utils import prune as torch_prune

AMOUNT = 0.2


def with_lth(model: nn.Module) -> Callable[[], object]:
    """The prune of lth, of all that is in scope."""
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    return lambda: lth.prune(model, masks, AMOUNT)


def with_torch(model: nn.Module) -> Callable[[], object]:
    """The same weights with torch, and then the masks taken out, as the papers' code does."""
    names = lth.prunable(model)
    modules = [(model.get_submodule(n.rpartition(".")[0]), "weight") for n in names]

    def prune() -> None:
        torch_prune.global_unstructured(modules, torch_prune.L1Unstructured, amount=AMOUNT)
        for module, name in modules:  # back to where it was, for the next turn
            original = module.weight_orig
            torch_prune.remove(module, name)
            module.weight = original

    return prune


SIDES = {"lth": with_lth, "torch.nn.utils.prune": with_torch}


def peak_growth(arch: str, name: str) -> float:
    """Growth of the process's peak memory over one prune, in multiples of the weights in scope."""
    model = getattr(torchvision.models, arch)()
    total = sum(dict(model.named_parameters())[n].numel() for n in lth.prunable(model))
    prune = SIDES[name](model)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is in use
    before = resident_peak()
    prune()
    return (resident_peak() - before) / (4 * total)


def resident_peak() -> int:
    """Highest resident memory of this process so far, in bytes (Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--arch", nargs="+", help="default: resnet50 resnet152")
    parser.add_argument("--rounds", type=int, help="default: 7")
    args = parser.parse_args()
    archs = args.arch or (["resnet18"] if args.small else ["resnet50", "resnet152"])
    rows = []
    spawn = multiprocessing.get_context("spawn")
    for arch in archs:
        prunes = {name: make(getattr(torchvision.models, arch)()) for name, make in SIDES.items()}
        seconds = interleave(prunes, args.rounds or (1 if args.small else 7), warm_up=1)
        for name, times in seconds.items():
            with spawn.Pool(1) as pool:
                growth = pool.apply(peak_growth, (arch, name))
            rows.append(
                {
                    "side": name,
                    "arch": arch,
                    "median ms": 1000 * statistics.median(times),
                    "± ms": 1000 * spread(times),
                    "torch / this": ratio(seconds["torch.nn.utils.prune"], times),
                    "memory on top / weights": growth,
                }
            )
    report(f"global prune of {100 * AMOUNT:.0f} %", rows, args.output)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
