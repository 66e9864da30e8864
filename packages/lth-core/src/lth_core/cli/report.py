"""``lth report``: what directories of runs hold, as one HTML file."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import lth_core
from lth_core.cli.parser import Parser
from lth_core.errors import RunError
from lth_core.files import write_atomic
from lth_core.report.material import collect
from lth_core.report.page import render
from lth_core.report.pipeline import build

_EPILOG = """
The file brings everything along: it opens offline, in any browser, and can be sent to others.
"""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = Parser(
        prog="lth report",
        description="Curves, verdicts and tickets of directories of runs, as one HTML file.",
        epilog=_EPILOG,
    )
    parser.add_argument("dirs", nargs="+", metavar="DIR", help="directories, or files of results")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", default=Path("report.html"),
        help="the page to write (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--title", default="Lottery tickets", help="of the page (%(default)s)")
    args = parser.parse_args(argv)
    material = collect(args.dirs)
    for ticket in material.tickets:
        if ticket.problem:
            print(f"warning: {ticket.problem}", file=sys.stderr)
    page = render(args.title, _lead(args), build(material), _made())
    _write(args.output, page)
    print(f"{args.output}: {len(page.encode()) / 1024:.0f} KiB")
    return 0


def _write(path: Path, page: str) -> None:
    try:
        write_atomic(path, page)
    except OSError as problem:
        raise RunError(f"{path} cannot be written: {problem.strerror}") from None


def _lead(args: argparse.Namespace) -> str:
    return f"From {', '.join(args.dirs)}."


def _made() -> str:
    return f"Made by lth {lth_core.__version__}, {time.strftime('%Y-%m-%d %H:%M %Z')}."
