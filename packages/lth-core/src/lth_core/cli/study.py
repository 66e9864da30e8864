"""``lth study``: dense, tickets and controls of a config, over several seeds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lth_core.cli.lazily import openmmlab
from lth_core.cli.parser import Parser

_EPILOG = """
Controls: dense; reinit (the ticket's mask, fresh weights); and what is made of each ticket's mask:
complement, random, random:match=layer, perturb:fraction=0.05, shuffle:unit=kernel, even; or none
alone. All start from the same values: --weights, or what the config loads. Run the same command
again to go on after an interruption, or with more tickets, controls or seeds.
"""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = Parser(
        prog="lth study",
        description="Trains a config from dense weights, from tickets and from controls, over "
        "several seeds, and says which tickets match dense.",
        epilog=_EPILOG,
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    return int(openmmlab("study", "launch").guarded(lambda: _run(args), go_on="again"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("config", help="config file, or PACKAGE::path of an installed package's")
    parser.add_argument(
        "--tickets",
        nargs="+",
        required=True,
        metavar="PLACE",
        help="ticket files, and work directories of chains: their levels' tickets",
    )
    parser.add_argument("--levels", nargs="+", type=int, default=[], help="which levels of chains")
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint that all start from (what the config loads)"
    )
    parser.add_argument(
        "--controls", nargs="+", metavar="CONTROL", help="what to compare with (dense random)"
    )
    parser.add_argument(
        "--sensitivity",
        action="store_true",
        help="the controls of paper A's Fig. 8: dense, complement, random in all and per layer, "
        "and 0.05, 0.1 and 0.2 of the mask perturbed",
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], help="which (default: 0 1 2)"
    )
    parser.add_argument("--work-dir", help="where results go (work_dirs/study_CONFIG)")
    parser.add_argument(
        "--jobs", type=int, help="trainings at once (one for each GPU, else each CPU core)"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the config, for all trainings",
    )
    parser.add_argument("--dry-run", action="store_true", help="check, show what there is to do")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Runs the study; returns what ``--json`` prints."""
    study = openmmlab("study", "study")
    controls = study.choose_controls(args.controls, args.sensitivity)
    settings = study.Settings(
        config=args.config,
        tickets=tuple(args.tickets),
        weights=args.weights,
        controls=controls,
        seeds=tuple(args.seeds),
        levels=tuple(args.levels),
        options=study.parse_options(args.cfg_options),
    )
    work_dir = args.work_dir or f"work_dirs/study_{Path(args.config.replace('::', '/')).stem}"
    facts: dict[str, Any] = study.run_study(
        settings, work_dir, args.jobs, args.dry_run, quiet=args.json
    )
    return facts


def _run(args: argparse.Namespace) -> None:
    facts = run(args)
    if args.json:
        print(json.dumps(facts, indent=1))
