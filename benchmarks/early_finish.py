"""What ending levels early saves, and what it does to masks and to what they come to.

    python benchmarks/early_finish.py [--small] [--seeds 3] [--rounds 3] [--epochs 20]

Chains on the handwritten digits, with each seed in full and with each rule of ``imp.finish``. Level
1 starts alike in all of them, so the masks after it differ only by what ending early did. Level 0
and the last are trained in full everywhere; the last one's accuracy is compared in pairs, seed by
seed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import lth_core as lth
from _common import arguments, report
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config

RULES: dict[str, dict[str, Any] | None] = {
    "in full": None,
    "mask, 0.01": {"type": "mask", "tolerance": 0.01},
    "mask, 0.05": {"type": "mask", "tolerance": 0.05},
    "reach, 0.05": {"type": "reach", "tolerance": 0.05},
}


def chain(folder: Path, seed: int, rounds: int, epochs: int, rule: dict[str, Any] | None) -> None:
    """Trains a chain in ``folder``."""
    cfg = load_config("lth_cls::cls/digits_resnet18.py")
    cfg.work_dir = str(folder)
    cfg.randomness = {"seed": seed}
    cfg.train_cfg.max_epochs = epochs
    cfg.log_level = "WARNING"
    cfg.in_memory = {}
    cfg.imp = {"rounds": rounds, "rewind": "init", "finish": rule}
    LTHRunner.from_cfg(cfg).train()


def ends(folder: Path) -> list[float]:
    """Which part of its schedule each level trained that may end early."""
    receipts = [json.loads(p.read_text()) for p in sorted(folder.glob("level_*/metrics.json"))]
    found = [receipt.get("finished") for receipt in receipts[1:-1]]
    return [1.0 if each is None else each["iteration"] / each["of"] for each in found]


def differing(one: Path, other: Path, level: int) -> float:
    """Fraction of the weights that level's prune removed in ``one`` and ``other`` did not."""

    def masks(run: Path, k: int) -> lth.MaskSet:
        return lth.Ticket.load(run / f"level_{k:02d}" / "ticket.safetensors").masks

    both = (masks(one, level) & masks(other, level)).kept
    removed = masks(one, level - 1).kept - masks(one, level).kept
    return (masks(one, level).kept - both) / removed


def last_accuracy(folder: Path) -> float:
    """Of the last level, in percent."""
    path = sorted(folder.glob("level_*/metrics.json"))[-1]
    return float(json.loads(path.read_text())["metrics"]["accuracy/top1"])


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--rounds", type=int, help="prunes; levels 1 to one less may end early")
    parser.add_argument("--epochs", type=int, help="of a level; default: 20")
    args = parser.parse_args()
    seeds = args.seeds or (1 if args.small else 3)
    rounds = args.rounds or (2 if args.small else 3)
    epochs = args.epochs or (5 if args.small else 20)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        runs = {(r, s): Path(place) / f"{n}_{s}" for n, r in enumerate(RULES) for s in range(seeds)}
        for (rule, seed), folder in runs.items():
            chain(folder, seed, rounds, epochs, RULES[rule])
        for rule in RULES:
            pairs = [(runs[rule, seed], runs["in full", seed]) for seed in range(seeds)]
            trained = [statistics.mean(ends(ours)) for ours, _ in pairs]
            accuracy = [last_accuracy(ours) for ours, _ in pairs]
            change = [last_accuracy(ours) - last_accuracy(full) for ours, full in pairs]
            spent = [(2 + part * (rounds - 1)) / (rounds + 1) for part in trained]
            rows.append(
                {
                    "side": rule,
                    "% of a middle level trained": 100 * statistics.mean(trained),
                    "% of the chain's epochs saved": 100 * (1 - statistics.mean(spent)),
                    "% of level 1's removals that differ": 100
                    * statistics.mean(differing(*pair, level=2) for pair in pairs),
                    "last level's accuracy": statistics.mean(accuracy),
                    "change, mean": statistics.mean(change),
                    "change, lowest": min(change),
                    "change, highest": max(change),
                }
            )
    title = f"Early finish on digits, {rounds} rounds of {epochs} epochs, {seeds} seeds"
    report(title, rows, args.output)


if __name__ == "__main__":
    main()
