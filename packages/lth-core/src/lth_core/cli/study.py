"""``lth study``: dense, tickets and controls of a config, over several seeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lth_core.cli.config_options import add_config
from lth_core.cli.lazily import extra, openmmlab
from lth_core.cli.parser import add_json, whole
from lth_core.errors import ConfigError

_EPILOG = """
Controls: dense; reinit (the ticket's mask, fresh weights); and what is made of each ticket's mask:
complement, random, random:match=layer, perturb:fraction=0.05, shuffle:unit=kernel, even; or none
alone. All start from the same values: --weights, or what the config loads. Run the same command
again to go on after an interruption, or with more tickets, controls or seeds.
"""


def add_parser(commands: Any) -> None:
    """Adds ``study`` to the commands of a parser."""
    parser = commands.add_parser(
        "study",
        help="train a config from dense, tickets and controls, over seeds",
        description="Trains a config from dense weights, from tickets and from controls, over "
        "several seeds, and says which tickets match dense.",
        epilog=_EPILOG,
    )
    add_config(parser)
    parser.add_argument(
        "--tickets",
        nargs="+",
        required=True,
        metavar="PLACE",
        help="ticket files, and work directories of chains: their levels' tickets",
    )
    parser.add_argument(
        "--levels", nargs="+", type=whole(), default=[], help="which levels of chains"
    )
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
        "--seeds", nargs="+", type=whole(), default=[0, 1, 2], help="which (default: 0 1 2)"
    )
    parser.add_argument("--work-dir", help="where results go (work_dirs/study_CONFIG)")
    parser.add_argument(
        "--jobs",
        type=whole(1),
        help="trainings at once (one for each GPU, else each CPU core; --submit: all)",
    )
    parser.add_argument(
        "--submit",
        choices=("slurm", "local"),
        help="give each training to a scheduler, by submitit (local: to try that on this machine)",
    )
    parser.add_argument(
        "--submit-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what it is to be given, by Slurm's names: time=240 partition=gpu gpus_per_node=1",
    )
    parser.add_argument("--dry-run", action="store_true", help="check, show what there is to do")
    add_json(parser, "print everything as JSON, progress on stderr")
    parser.set_defaults(run=run, go_on="again")


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
        options=openmmlab("study", "launch").parse_options(args.cfg_options or ()),
    )
    submission = None
    if args.submit:
        cluster = extra("study --submit", "lth_core.openmmlab.jobs.cluster", "cluster")
        submission = cluster.parse(args.submit, args.submit_options)
    elif args.submit_options:
        raise ConfigError("--submit-options goes with --submit")
    work_dir = args.work_dir or f"work_dirs/study_{Path(args.config.replace('::', '/')).stem}"
    facts: dict[str, Any] = study.run_study(settings, work_dir, args.jobs, args.dry_run, submission)
    return facts
