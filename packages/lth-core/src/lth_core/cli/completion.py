"""``lth completion``."""

from __future__ import annotations

import argparse
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
  lth completion zsh > ~/.zfunc/_lth      # with fpath+=(~/.zfunc) before compinit in ~/.zshrc
  lth completion fish > ~/.config/fish/completions/lth.fish
""",
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Prints the script."""
    import shtab

    from lth_core.cli.main import build_parser

    print(shtab.complete(build_parser(), args.shell))
