"""``lth test`` and ``tools/test.py``."""

from __future__ import annotations

import argparse
from typing import Any

from lth_core.cli.config_options import add_config, add_run_options
from lth_core.cli.lazily import openmmlab
from lth_core.cli.parser import add_json


def add_parser(commands: Any) -> None:
    """Adds ``test`` to the commands of a parser."""
    parser = commands.add_parser(
        "test",
        help="test a checkpoint of a config",
        description="Tests a checkpoint of a config and prints its metrics.",
    )
    add_config(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    add_run_options(parser)
    add_json(parser, "print config, checkpoint and metrics as JSON, the log on stderr")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Tests; the metrics with what they are of."""
    metrics = openmmlab("test", "launch").test(args)
    return {"config": args.config, "checkpoint": args.checkpoint, "metrics": metrics}
