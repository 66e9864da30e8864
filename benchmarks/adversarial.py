"""What a step of adversarial training costs beside a plain one: PGD of 1, 3 and 10 steps, TRADES.

    python benchmarks/adversarial.py [--small] [--depth 18 50] [--steps 1 3 10] [--output FILE]

All sides train the same ResNet of mmpretrain's on the same random batch in one process, taking
turns, with SGD and momentum. An attack of n steps should cost n + 1 times the plain step, less the
gradients of weights that the attack does not compute, and TRADES one more. Where there is a GPU it
is measured too, in mixed precision as well.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import lth_cls  # noqa: F401  (registers)
import mmpretrain.models  # noqa: F401  (registers)
import torch
from _common import arguments, devices, interleave, ratio, report
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

CLASSES = 1000
HALVES = {"cpu": [False], "cuda": [False, True]}
"""Whether to measure in mixed precision."""


def classifier(depth: int, adversarial: dict[str, Any] | None) -> dict[str, Any]:
    """The config of a ResNet, trained plainly or as ``adversarial`` says."""
    model: dict[str, Any] = {
        "type": "ImageClassifier",
        "backbone": {"type": "ResNet", "depth": depth},
        "neck": {"type": "GlobalAveragePooling"},
        "head": {
            "type": "LinearClsHead",
            "num_classes": CLASSES,
            "in_channels": 512 if depth < 50 else 2048,
        },
        "data_preprocessor": {"mean": [127.5] * 3, "std": [64.0] * 3},
    }
    if adversarial is not None:
        model |= {
            "type": "AdversarialClassifier",
            "classifier": "ImageClassifier",
            "adversarial": adversarial,
        }
    return model


def sides(steps: list[int]) -> dict[str, dict[str, Any] | None]:
    """What takes turns, by name."""
    found: dict[str, dict[str, Any] | None] = {"plain": None}
    for count in steps:
        attack = {"preset": "pgd-10", "steps": count}
        found[f"PGD, {count} steps"] = {"attack": attack}
    found[f"TRADES, {steps[-1]} steps"] = {"attack": attack, "loss": "trades"}
    return found


def step(
    depth: int, adversarial: dict[str, Any] | None, batch: int, size: int, device: str, half: bool
) -> Callable[[], None]:
    """One side's training step."""
    torch.manual_seed(0)
    model: Any = MODELS.build(classifier(depth, adversarial)).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    samples = [DataSample().set_gt_label(number % CLASSES) for number in range(batch)]
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)

    def run() -> None:
        data = model.data_preprocessor(
            {"inputs": images, "data_samples": copy.deepcopy(samples)}, True
        )
        with torch.autocast(device, torch.bfloat16) if half else nullcontext():
            loss = model.parse_losses(model(**data, mode="loss"))[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--depth", nargs="+", type=int, help="of the ResNets; on a CPU: 18")
    parser.add_argument("--steps", nargs="+", type=int, help="of the attacks; default: 1 3 10")
    parser.add_argument("--batch", type=int, help="default: 128 on a GPU, 8 on a CPU")
    parser.add_argument("--size", type=int, help="image size in pixels; default: 224, 64")
    parser.add_argument("--rounds", type=int, help="counted steps of each side; default: 9")
    args = parser.parse_args()
    rows = []
    for device, half in [(each, half) for each in devices() for half in HALVES[each]]:
        defaults = (2, 32) if args.small else (128, 224) if device == "cuda" else (8, 64)
        batch, size = args.batch or defaults[0], args.size or defaults[1]
        few = args.small or device == "cpu"
        for depth in args.depth or ([18] if few else [18, 50]):
            found = sides(args.steps or ([1] if args.small else [1, 3, 10]))
            runs = {
                name: step(depth, adversarial, batch, size, device, half)
                for name, adversarial in found.items()
            }
            rounds = args.rounds or (1 if args.small else 9)
            seconds = interleave(runs, rounds, warm_up=1, device=device)
            rows += [
                {
                    "side": name,
                    "arch": f"ResNet-{depth}",
                    "device": f"{device}, bfloat16" if half else device,
                    "batch": f"{batch} x {size} px",
                    "passes": passes(found[name]),
                    "median ms": 1000 * statistics.median(times),
                    "to plain": ratio(times, seconds["plain"]),
                }
                for name, times in seconds.items()
            ]
    report("A training step, plain and adversarial", rows, args.output)


def passes(adversarial: dict[str, Any] | None) -> int:
    """Forward-backward passes of a step."""
    if adversarial is None:
        return 1
    return adversarial["attack"]["steps"] + (2 if "loss" in adversarial else 1)


if __name__ == "__main__":
    main()
