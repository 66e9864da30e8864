"""``lth``: the sub-commands, and what they have in common.

Nothing heavy is imported before it is known which command is wanted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lth_core.cli.lazily import extra, openmmlab
from lth_core.cli.parser import Parser
from lth_core.errors import LTHError

EXIT_USER_ERROR = 2

COMMANDS = {
    "demo": "find tickets on embedded data and train three tasks from them",
    "train": "train a config: plain, from a ticket, or to find tickets",
    "test": "test a checkpoint of a config",
    "ticket": "show, compare, count, make, import, export or vary tickets",
    "weights": "convert checkpoints",
    "match": "which tickets match dense, and how sure that is",
    "report": "curves, verdicts and tickets of runs, as one HTML file",
}

_OPENMMLAB = {
    "demo": ("demo", "main"),
    "train": ("launch", "train_main"),
    "test": ("launch", "test_main"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code, 2 for a user's error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(
        prog="lth",
        description="Lottery tickets: find them, look at them, train from them.",
        epilog="commands: " + "; ".join(f"{name}: {text}" for name, text in COMMANDS.items()),
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="lth COMMAND --help tells more")
    if not arguments:
        parser.print_help(sys.stderr)
        return EXIT_USER_ERROR
    command = parser.parse_args(arguments[:1]).command
    try:
        return _run(command, arguments[1:])
    except LTHError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return EXIT_USER_ERROR
    except BrokenPipeError:
        return 1


def _run(command: str, arguments: list[str]) -> int:
    if command in _OPENMMLAB:
        module, function = _OPENMMLAB[command]
        return int(getattr(openmmlab(command, module), function)(arguments))
    if command == "match":
        from lth_core.cli import match

        return match.main(arguments)
    if command == "report":
        return int(extra(command, "lth_core.cli.report", "report").main(arguments))
    from lth_core.cli import tickets

    return {"ticket": tickets.ticket, "weights": tickets.weights}[command](arguments)
