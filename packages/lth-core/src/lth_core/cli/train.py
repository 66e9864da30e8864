"""``lth train`` and ``tools/train.py``."""

from __future__ import annotations

import argparse
from typing import Any

from lth_core.cli.config_options import add_config, add_run_options
from lth_core.cli.lazily import openmmlab


def add_parser(commands: Any) -> None:
    """Adds ``train`` to the commands of a parser."""
    parser = commands.add_parser(
        "train",
        help="train a config: plain, from a ticket, or to find tickets",
        description="Trains a config: plain, from a ticket (its key ticket), or to find tickets "
        "(its key imp).",
    )
    add_config(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the work directory's last checkpoint, or from the one named",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the batch size, by auto_scale_lr.base_batch_size",
    )
    add_run_options(parser)
    parser.set_defaults(run=run, go_on="again with --resume")


def run(args: argparse.Namespace) -> None:
    """Trains."""
    openmmlab("train", "launch").train(args)
