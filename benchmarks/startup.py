"""What comes before training: a ticket saved and read, ``lth --help``, the first iteration.

    python benchmarks/startup.py [--small] [--arch resnet50] [--rounds 7]

A ticket of 90 % sparsity is compared with what papers' code saves: the whole state and the masks as
float tensors, through ``torch.save``. It is flushed to the disk and checksummed; the other is not.
Commands are timed in fresh processes: ``lth --help`` beside a bare ``import torch``, and a small
training until its first iteration is over, with lth's runner and with mmengine's alone.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
import torchvision
from _cifar import Work, stock, write_cifar
from _common import arguments, interleave, ratio, report, spread

SPARSITY = 0.9
FIRST = """
import os, sys
import lth_cls.fast
import _cifar
from mmengine.config import Config
from mmengine.hooks import Hook
{runner}

class Leave(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        float(outputs["loss"])
        os._exit(0)

runner = Runner.from_cfg(Config.fromfile(sys.argv[1]))
runner.register_hook(Leave())
runner.train()
"""
RUNNERS = {
    "lth": "from lth_core.openmmlab import LTHRunner as Runner",
    "mmengine": "from mmengine.runner import Runner",
}


def files(arch: str, folder: Path) -> dict[str, dict[str, Callable[[], object]]]:
    """Both sides of saving and of reading."""
    model = getattr(torchvision.models, arch)()
    masks = lth.MaskSet.ones(model, lth.prunable(model))
    masks = lth.prune(model, masks, SPARSITY)
    state = model.state_dict()
    ours, other = folder / "ticket.safetensors", folder / "ticket.pth"

    def save_other() -> None:
        floats = {name: mask.float() for name, mask in masks.items()}
        torch.save({"state_dict": state, "masks": floats}, other)

    return {
        f"save a ticket of {arch}": {
            "lth": lambda: lth.Ticket(masks, dict(state)).save(ours),
            "torch.save": save_other,
        },
        f"read a ticket of {arch}": {
            "lth": lambda: lth.Ticket.load(ours),
            "torch.load": lambda: torch.load(other, weights_only=True),
        },
    }


def commands(folder: Path) -> dict[str, dict[str, Callable[[], object]]]:
    """Both sides of commands, each in a process of its own."""

    def run(*words: str) -> Callable[[], object]:
        here = str(Path(__file__).parent)
        return lambda: subprocess.run(
            [sys.executable, *words], check=True, capture_output=True, cwd=here
        )

    write_cifar(folder, 160)
    config = folder / "config.py"
    stock(Work(18, 32, 1, 160), folder, folder / "run").dump(str(config))
    return {
        "lth --help": {
            "lth": run("-m", "lth_core.cli", "--help"),
            "import torch": run("-c", "import torch"),
        },
        "first iteration": {
            name: run("-c", FIRST.format(runner=runner), str(config))
            for name, runner in RUNNERS.items()
        },
    }


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--arch", help="whose ticket is saved; default: resnet50")
    parser.add_argument("--rounds", type=int, help="of each side; default: 7")
    args = parser.parse_args()
    rounds = args.rounds or (1 if args.small else 7)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        arch = args.arch or ("resnet18" if args.small else "resnet50")
        for what, sides in {**files(arch, Path(folder)), **commands(Path(folder))}.items():
            seconds = interleave(sides, rounds, warm_up=0 if args.small else 1)
            rows += [
                {
                    "side": name,
                    "what": what,
                    "median s": statistics.median(times),
                    "± s": spread(times),
                    "to lth": ratio(times, seconds["lth"]),
                }
                for name, times in seconds.items()
            ]
    report("What comes before training", rows, args.output)


if __name__ == "__main__":
    main()
