"""The options of commands that take a config."""

from __future__ import annotations

import argparse


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds the config and what may be changed about it."""
    parser.add_argument("config", help="config file, or PACKAGE::path of an installed package's")
    add_cfg_options(parser)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--cfg-options``, words that ``lth_core.openmmlab.launch.load_config`` understands."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="override settings of the config, for example ticket.path=my.safetensors",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds where a run's files go, and how its processes find each other."""
    parser.add_argument("--work-dir", help="where checkpoints and logs go")
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="what has started the processes of one run (%(default)s)",
    )
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
