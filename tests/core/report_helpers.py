"""Results and runs that the tests of reports share."""

from __future__ import annotations

import math
import random
from pathlib import Path

import lth_core as lth
from lth_core import results
from lth_core.imp import IMPSettings, run_imp
from lth_core.results import Result

from .test_imp import Toy
from .ticket_helpers import tiny

HOSTILE = '<script>alert(1)</script> & ]]> "quoted" $x^2$ %s {{ 7*7 }} --> '
"""A name of a task that is text, and nothing else, wherever it is put."""


def toy_results() -> list[Result]:
    """Two tasks, two starts, ten kinds of masks, several of everything that can go wrong."""
    draw = random.Random(0)
    found = [
        Result(task, weights, "dense", 0, 0.0, seed, "accuracy", 90 + draw.random())
        for task in ("digits", HOSTILE)
        for weights in ("labels", "SimCLR")
        for seed in range(3)
    ]
    for level in (1, 3, 6):
        sparsity = 1 - 0.8**level
        for seed in range(3):
            found += [
                Result("digits", "labels", f"kind {kind}", level, sparsity, seed, "accuracy",
                       90 - kind * sparsity + draw.random())
                for kind in range(10)
            ]  # fmt: skip
            value = math.nan if (level, seed) == (6, 1) else 80 + draw.random()
            found.append(
                Result(HOSTILE, "SimCLR", "random", level, sparsity, seed, "accuracy", value)
            )
    found.append(Result("one seed", "labels", "task", 1, 0.2, 0, "loss", 0.5))
    found.append(Result("dense alone", "labels", "dense", 0, 0.0, 0, "loss", math.inf))
    return found


def toy_directory(root: Path) -> Path:
    """Results, a run of three levels, a ticket outside of any run and a damaged one."""
    results.append(root / "results.jsonl", toy_results())
    settings = IMPSettings(rounds=2, amount=0.2, rewind="init")
    run_imp(settings, root / "chain", Toy(), {"task": "toy"})
    tiny().save(root / "alone" / "mask.safetensors")
    damaged = root / "damaged" / "ticket.safetensors"
    lth.Ticket(tiny().masks, None, {"level": 2}).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    return root
