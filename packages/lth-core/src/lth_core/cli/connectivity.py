"""``lth connectivity``: do two trainings from one start end in the same valley?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lth_core.cli.config_options import add_config
from lth_core.cli.lazily import openmmlab
from lth_core.cli.parser import add_json, whole

_EPILOG = """
The error is 100 - accuracy (or what else the config's validation measures). Barrier: how far the
highest error on the line lies above the straight line between its ends; instability: above their
mean (Frankle et al., 2020). About zero: the order of the data does not decide where training ends,
and rewinding to this start finds matching tickets.
"""


def add_parser(commands: Any) -> None:
    """Adds ``connectivity`` to the commands of a parser."""
    parser = commands.add_parser(
        "connectivity",
        help="do two trainings from one start end in the same valley",
        description="Measures the error along the line between two trained checkpoints of a "
        "config; without --runs, trains two from one start with different orders of data first.",
        epilog=_EPILOG,
    )
    add_config(parser)
    parser.add_argument(
        "--runs", nargs=2, default=[], metavar="CHECKPOINT", help="two trained checkpoints"
    )
    parser.add_argument("--ticket", metavar="FILE", help="ticket that both runs train from")
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint of the ticket's weights (the ticket's own)"
    )
    parser.add_argument(
        "--points", type=whole(3), default=11, help="places on the line (%(default)s)"
    )
    parser.add_argument(
        "--norm-batches",
        type=whole(),
        default=50,
        help="batches of training data that norms' statistics are estimated from at every place "
        "but the ends; 0: interpolate them, which overstates barriers (%(default)s)",
    )
    parser.add_argument("--seed", type=whole(), default=0, help="of the common start (%(default)s)")
    parser.add_argument(
        "--seeds", nargs=2, type=whole(), default=[1, 2], help="of the two runs (default: 1 2)"
    )
    parser.add_argument("--work-dir", help="where results go (work_dirs/connectivity_CONFIG)")
    parser.add_argument(
        "--jobs", type=whole(1), help="processes (one for each GPU, else for each CPU core)"
    )
    add_json(parser, "print everything as JSON, progress on stderr")
    parser.set_defaults(run=run, go_on="again")


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
        options=openmmlab("connectivity", "launch").parse_options(args.cfg_options or ()),
    )
    name = Path(args.config.replace("::", "/")).stem
    work_dir = args.work_dir or f"work_dirs/connectivity_{name}"
    facts: dict[str, Any] = connectivity.run_connectivity(settings, work_dir, args.jobs)
    return facts
