"""What the time of a whole chain of rounds goes to, and how much of it is not training.

    python benchmarks/chain_time.py [--small] [--depth 18] [--rounds 3] [--epochs N]

A chain on CIFAR-shaped random pictures says itself what its time went to (``seconds.json``). What a
level costs besides training and validation does not depend on its length; so shares are given for
the levels as they were, for levels of 182 epochs, which paper A's are, and for such levels of which
every tenth epoch is validated instead of each. Level 0 also imports and reads the data: it is shown
on its own. Each level writes one checkpoint. mmengine validates in float32 whatever the training;
where a machine multiplies bfloat16, a second chain validates in that (``val_cfg.fp16``).
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from _cifar import Work, fast, half_pays, stock, write_cifar
from _common import arguments, report
from lth_core.clock import KINDS
from lth_core.imp.directory import read_seconds
from lth_core.openmmlab import LTHRunner

EPOCHS_OF_PAPER_A = 182
VALIDATED_EVERY = 10
FIXED = [kind for kind in KINDS if kind not in ("training", "evaluating")]


def rows_of(
    levels: list[dict[str, float]], which: str, validated: str, epochs: int
) -> list[dict[str, Any]]:
    """Rows of the table, from what some levels took."""
    mean = {kind: statistics.mean(level.get(kind, 0.0) for level in levels) for kind in KINDS}
    longer = EPOCHS_OF_PAPER_A / epochs
    # Checkpoints are written at the end of a level, here and there.
    long = {kind: took * (1 if kind in FIXED else longer) for kind, took in mean.items()}
    rare = {**long, "evaluating": long["evaluating"] / VALIDATED_EVERY}
    groups = {kind: [kind] for kind in KINDS}
    groups["not training"] = [kind for kind in KINDS if kind != "training"]
    groups["neither training nor evaluating"] = FIXED
    columns = {
        f"% of {epochs} epochs": mean,
        f"% of {EPOCHS_OF_PAPER_A} epochs": long,
        f"%, validated every {VALIDATED_EVERY}": rare,
    }
    return [
        {
            "side": name,
            "levels": which,
            "validated in": validated,
            "s": sum(mean[kind] for kind in kinds),
            **{
                column: 100 * sum(took[kind] for kind in kinds) / sum(took.values())
                for column, took in columns.items()
            },
        }
        for name, kinds in groups.items()
    ]


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--depth", type=int, default=18, help="of the ResNet")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, help="of a level")
    parser.add_argument("--pictures", type=int, help="default: 50,000 on a GPU, 1,280 on a CPU")
    parser.add_argument("--rounds", type=int, help="prunes; default: 3")
    args = parser.parse_args()
    gpu = torch.cuda.is_available()
    pictures = args.pictures or (160 if args.small else 50_000 if gpu else 1_280)
    epochs = args.epochs or (1 if args.small else 10 if gpu else 4)
    work = Work(args.depth, 32 if args.small else args.batch, epochs, pictures)
    rounds = args.rounds or (1 if args.small else 3)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_cifar(Path(folder), pictures)
        for name in ("float32", "half precision") if half_pays() else ("float32",):
            run = Path(folder) / name
            cfg = fast(stock(work, Path(folder), run), gpu, half_pays())
            cfg.train_cfg.val_interval = 1  # as paper A's
            cfg.val_cfg.fp16 = name == "half precision"
            cfg.imp = {"rounds": rounds, "rewind": "init"}
            LTHRunner.from_cfg(cfg).train()
            first, *later = read_seconds(run).values()
            rows += rows_of([first], "0", name, epochs)
            rows += rows_of(later, "later, mean", name, epochs)
    report(f"A chain of ResNet-{args.depth} on CIFAR-shaped data", rows, args.output)


if __name__ == "__main__":
    main()
