"""What ending levels early saves, and what it does to masks and to what they come to.

    python benchmarks/early_finish.py [--small] [--seeds 3] [--rounds 6] [--epochs 10]

Chains on the handwritten digits, with each seed in full and with each rule of ``imp.finish``. Level
0 and the last are trained in full everywhere. Masks are compared level by level with those of the
chain in full: of the weights that it keeps, those which the other does not. The last level's
accuracy is compared in pairs, seed by seed; low and high are the 95 % interval of its mean change.
One more chain says how much of that is chance: in full, from the same weights, with the pictures in
another order. On a CPU one thread is used, so that another number of cores changes nothing.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import lth_core as lth
import torch
from _common import arguments, report
from lth_core.analysis import similarity
from lth_core.files import load_tensors
from lth_core.imp.directory import METRICS, REWIND, TICKET, level_directory
from lth_core.openmmlab import LTHRunner
from lth_core.openmmlab.launch import load_config
from lth_core.statistics import interval

FULL, REORDERED = "in full", "in full, another order"
RULES: dict[str, dict[str, Any] | None] = {
    FULL: None,
    REORDERED: None,
    "mask, 0.05": {"type": "mask", "tolerance": 0.05},
    "mask, 0.1": {"type": "mask", "tolerance": 0.1},
    "reach, 0.1": {"type": "reach", "tolerance": 0.1},
}


def chain(place: Path, side: str, seed: int, rounds: int, epochs: int) -> Path:
    """Trains a chain, and tells where it is."""
    cfg = load_config("lth_cls::cls/digits_resnet18.py")
    cfg.work_dir = str(place / f"{side}_{seed}")
    cfg.randomness = {"seed": seed}
    cfg.train_cfg.max_epochs = epochs
    cfg.log_level = "WARNING"
    cfg.in_memory = {}
    cfg.imp = {"rounds": rounds, "rewind": "init", "finish": RULES[side]}
    if side == REORDERED:
        start = place / f"{seed}.pth"
        torch.save(load_tensors(place / f"{FULL}_{seed}" / REWIND, OSError, "weights")[0], start)
        cfg.load_from = str(start)
        cfg.imp.rewind = "pretrained"
        cfg.randomness.seed = 1000 + seed
    LTHRunner.from_cfg(cfg).train()
    return Path(cfg.work_dir)


def receipt(run: Path, level: int) -> dict[str, Any]:
    """What a level has led to."""
    found: dict[str, Any] = json.loads((level_directory(run, level) / METRICS).read_text())
    return found


def trained(run: Path, level: int) -> float:
    """The part of its schedule that a level has trained."""
    ended = receipt(run, level).get("finished")
    return 1.0 if ended is None else ended["iteration"] / ended["of"]


def differing(ours: Path, full: Path, level: int) -> float:
    """Fraction of the weights that the level keeps in one chain and not in the other."""
    one, other = (
        lth.Ticket.load(level_directory(run, level) / TICKET).masks for run in (ours, full)
    )
    return 1 - similarity(one, other).overlap


def row(side: str, runs: list[Path], full: list[Path], rounds: int) -> dict[str, Any]:
    """The numbers of one side, means over its seeds."""
    every = [trained(run, level) for run in runs for level in range(rounds + 1)]
    found: dict[str, Any] = {"side": side, "% of epochs saved": 100 * (1 - statistics.mean(every))}
    for level in range(2, rounds + 1):
        pairs = zip(runs, full, strict=True)
        found[f"% of mask {level} differs"] = 100 * statistics.mean(
            differing(*pair, level) for pair in pairs
        )
    last, reference = (
        [receipt(run, rounds)["metrics"]["accuracy/top1"] for run in each] for each in (runs, full)
    )
    found["accuracy"] = statistics.mean(last)
    if runs != full:
        change = interval([a - b for a, b in zip(last, reference, strict=True)])
        found |= {"change": change.mean, "low": change.low, "high": change.high}
    else:
        found |= dict.fromkeys(("change", "low", "high"))
    return found


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--rounds", type=int, help="prunes; levels 1 to one less may end early")
    parser.add_argument("--epochs", type=int, help="of a level; default: 10")
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds = args.seeds or (2 if args.small else 3)
    rounds = args.rounds or (2 if args.small else 6)
    epochs = args.epochs or (2 if args.small else 10)
    with tempfile.TemporaryDirectory() as place:
        runs = {
            side: [chain(Path(place), side, seed, rounds, epochs) for seed in range(seeds)]
            for side in RULES
        }
        rows = [row(side, runs[side], runs[FULL], rounds) for side in RULES]
    title = f"Early finish on digits, {rounds} rounds of {epochs} epochs, {seeds} seeds"
    report(title, rows, args.output)


if __name__ == "__main__":
    main()
