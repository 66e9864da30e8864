"""``lth connectivity``: do two trainings from one start end in the same valley?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lth_core.cli.lazily import openmmlab
from lth_core.cli.parser import Parser

_EPILOG = """
The error is 100 - accuracy (or what else the config's validation measures). Barrier: how far the
highest error on the line lies above the straight line between its ends; instability: above their
mean (Frankle et al., 2020). About zero: the order of the data does not decide where training ends,
and rewinding to this start finds matching tickets.
"""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = Parser(
        prog="lth connectivity",
        description="Measures the error along the line between two trained checkpoints of a "
        "config; without --runs, trains two from one start with different orders of data first.",
        epilog=_EPILOG,
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    launch = openmmlab("connectivity", "launch")
    return int(launch.guarded(lambda: _run(args), go_on="again"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("config", help="config file, or PACKAGE::path of an installed package's")
    parser.add_argument(
        "--runs", nargs=2, default=[], metavar="CHECKPOINT", help="two trained checkpoints"
    )
    parser.add_argument("--ticket", metavar="FILE", help="ticket that both runs train from")
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint of the ticket's weights (the ticket's own)"
    )
    parser.add_argument("--points", type=int, default=11, help="places on the line (%(default)s)")
    parser.add_argument(
        "--norm-batches",
        type=int,
        default=50,
        help="batches of training data that norms' statistics are estimated from at every place "
        "but the ends; 0: interpolate them, which overstates barriers (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the common start (%(default)s)")
    parser.add_argument(
        "--seeds", nargs=2, type=int, default=[1, 2], help="of the two runs (default: 1 2)"
    )
    parser.add_argument("--work-dir", help="where results go (work_dirs/connectivity_CONFIG)")
    parser.add_argument(
        "--jobs", type=int, help="processes (one for each GPU, else for each CPU core)"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the config"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measures; returns what ``--json`` prints."""
    connectivity = openmmlab("connectivity", "connectivity")
    settings = connectivity.Settings(
        config=args.config,
        runs=tuple(args.runs),
        ticket=args.ticket,
        weights=args.weights,
        seeds=tuple(args.seeds),
        seed=args.seed,
        points=args.points,
        batches=args.norm_batches,
        options=openmmlab("connectivity", "study").parse_options(args.cfg_options),
    )
    name = Path(args.config.replace("::", "/")).stem
    work_dir = args.work_dir or f"work_dirs/connectivity_{name}"
    facts: dict[str, Any] = connectivity.run_connectivity(
        settings, work_dir, args.jobs, quiet=args.json
    )
    return facts


def _run(args: argparse.Namespace) -> None:
    facts = run(args)
    if args.json:
        print(json.dumps(facts, indent=1))
