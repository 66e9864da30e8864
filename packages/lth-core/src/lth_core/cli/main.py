"""``lth``: the table of its commands, and what they have in common.

A command is a module with ``add_parser(commands)``, which adds a parser and sets ``run`` to what
runs it. Parsers are built for every call, also for ``--help`` and completion: a command's module
imports nothing heavy (torch, mmengine, rich, scipy) before ``run`` is called. ``run(args)`` raises
:class:`~lth_core.errors.LTHError` for what a user did wrong. A command with ``--json``
(:func:`~lth_core.cli.parser.add_json`) returns its facts then and prints nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

import lth_core
from lth_core.cli import (
    compact,
    completion,
    connectivity,
    demo,
    match,
    report,
    study,
    test,
    ticket,
    train,
    weights,
)
from lth_core.cli.exits import MEANINGS, guarded
from lth_core.cli.output import print_json, stdout_kept_clean
from lth_core.cli.parser import Parser, add_commands

COMMANDS = (
    demo,
    train,
    test,
    compact,
    ticket,
    weights,
    study,
    connectivity,
    match,
    report,
    completion,
)
"""In the order of ``lth --help``."""

_EPILOG = "exit codes:\n\n" + "\n".join(f"  {code:<4d} {text}" for code, text in MEANINGS.items())


def build_parser() -> Parser:
    """The parser of ``lth`` with all its commands."""
    parser = Parser(
        prog="lth",
        description="Lottery tickets: find them, look at them, train from them.",
        epilog=f"lth COMMAND --help tells more about one of them.\n\n{_EPILOG}",
    )
    parser.add_argument("--version", action="version", version=f"lth {lth_core.__version__}")
    commands = add_commands(parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code, an ``Exit`` of :mod:`lth_core.cli.exits`."""
    given = list(sys.argv[1:] if argv is None else argv)
    args = argparse.Namespace(command_line=shlex.join(["lth", *given]), go_on="", json=False)
    code = guarded(lambda: build_parser().parse_args(given, args))
    return code or guarded(lambda: _run(args), args.go_on)


def tool(command: str) -> int:
    """What a script in ``tools/`` does: ``lth COMMAND`` with the script's arguments."""
    return main([command, *sys.argv[1:]])


def _run(args: argparse.Namespace) -> None:
    if not args.json:
        args.run(args)
        return
    with stdout_kept_clean():
        facts = args.run(args)
    if os.environ.get("RANK", "0") == "0":  # of many processes at one training
        print_json(facts)
