"""``lth completion``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Adds ``completion`` to the commands of a parser."""
    parser = commands.add_parser(
        "completion",
        help="print what a shell needs to complete lth's commands",
        description="""
Prints a script that makes a shell complete lth's commands, options, choices and files.

For good, put it where the shell looks:

  lth completion bash > ~/.local/share/bash-completion/completions/lth
  lth completion zsh > ~/.zfunc/_lth      # with fpath+=(~/.zfunc) before compinit
  lth completion fish > ~/.config/fish/completions/lth.fish
""",
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="whose script to print")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Prints the script."""
    import shtab

    from lth_core.cli.main import build_parser

    parser = build_parser()
    for action in _all_actions(parser):
        # What is neither a choice nor a number is the name of a file, more often than not.
        if action.type in (None, Path) and action.choices is None and action.nargs != 0:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, args.shell))


def _all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of all its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _all_actions(command)
        else:
            yield action
