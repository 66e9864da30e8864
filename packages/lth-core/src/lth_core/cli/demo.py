"""``lth demo``."""

from __future__ import annotations

import argparse
from typing import Any

from lth_core.cli.lazily import openmmlab
from lth_core.cli.parser import add_json, whole

STAGES = ("pretrain", "imp", "cls", "det", "seg", "report")
"""In their order. Each is also the first part of its jobs' names."""


def add_parser(commands: Any) -> None:
    """Adds ``demo`` to the commands of a parser."""
    parser = commands.add_parser(
        "demo",
        help="find tickets on embedded data and train three tasks from them",
        description="Pre-trains a small ResNet on digits three ways, finds lottery tickets in it, "
        "and trains a classifier, a detector and a segmenter from dense weights, tickets and "
        "random masks. Ends with a table, results.csv and report.html. What is finished is kept "
        "and used again.",
    )
    parser.add_argument(
        "--stage",
        choices=[*STAGES, "all"],
        default="all",
        help="do one part, and what it needs; report: only from what is finished (%(default)s)",
    )
    parser.add_argument(
        "--work-dir", default="work_dirs/demo", help="where results go (%(default)s)"
    )
    parser.add_argument(
        "--jobs", type=whole(1), help="processes at work at once (one for each CPU core)"
    )
    parser.add_argument(
        "--seed", type=whole(), default=0, help="of weights, data order and random masks (0)"
    )
    add_json(parser, "print the table's rows and the files as JSON, progress on stderr")
    parser.set_defaults(run=run, go_on="again")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the demo; where its files are, and the rows of its table."""
    demo = openmmlab("demo", "demo")
    settings = demo.Settings(seed=args.seed)
    facts: dict[str, Any] = demo.run_demo(
        settings, args.stage, args.work_dir, args.jobs, args.command_line
    )
    return facts
