"""``lth report``: what directories of runs hold, as one HTML file."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import lth_core
from lth_core.cli import match_double_win as double_wins
from lth_core.cli.lazily import extra
from lth_core.cli.parser import add_json, whole
from lth_core.errors import RunError

_EPILOG = """
The file brings everything along: it opens offline, in any browser, and can be sent to others.

Double wins are shown of tasks called X and 'X, adversarial', or of those that --double-win names.
"""


def add_parser(commands: Any) -> None:
    """Adds ``report`` to the commands of a parser."""
    parser = commands.add_parser(
        "report",
        help="curves, verdicts and tickets of runs, as one HTML file",
        description="Curves, verdicts and tickets of directories of runs, as one HTML file.",
        epilog=_EPILOG,
    )
    parser.add_argument("dirs", nargs="+", metavar="DIR", help="directories, or files of results")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", default=Path("report.html"),
        help="the page to write (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--title", default="Lottery tickets", help="of the page (%(default)s)")
    parser.add_argument(
        "--reference", action="append", default=[], metavar="PAPER[:TASK[=MINE]]",
        help="show a paper's curves (paper-a) or double-win sparsities (paper-c) too, of one task, "
        "and draw curves with the measured task MINE; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", type=whole(), default=3, metavar="N",
        help="test images of each task to show with what models find in them; this builds the "
        "models and test data of the runs' configs; 0 shows none (%(default)s)",
    )  # fmt: skip
    double_wins.add_option(parser)
    parser.add_argument("--metric", help="standard accuracy of --double-win")
    double_wins.add_metrics(parser)
    add_json(parser, "print what was written as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Writes the page."""
    references = extra("report", "lth_core.report.references", "report")
    published = references.references(args.reference)
    wins = references.published_double_wins(args.reference)
    metrics = double_wins.metrics(args, "metric")
    material = extra("report", "lth_core.report.material", "report").collect(args.dirs, published)
    choose = extra("report", "lth_core.report.double_wins", "report").choose
    material = choose(material, double_wins.pairs(args), wins, **metrics)
    build = extra("report", "lth_core.report.pipeline", "report").build
    render = extra("report", "lth_core.report.page", "report").render
    problems = [ticket.problem for ticket in material.tickets if ticket.problem]
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    page = render(args.title, _lead(args), build(material, pictures=args.pictures), _made())
    _write(args.output, page)
    size = len(page.encode())
    if args.json:
        return {"file": args.output, "bytes": size, "warnings": problems}
    print(f"{args.output}: {size / 1024:.0f} KiB")
    return None


def _write(path: Path, page: str) -> None:
    from lth_core.files import write_atomic

    try:
        write_atomic(path, page)
    except OSError as problem:
        raise RunError(f"{path} cannot be written: {problem.strerror}") from None


def _lead(args: argparse.Namespace) -> str:
    return f"From {', '.join(args.dirs)}."


def _made() -> str:
    return f"Made by lth {lth_core.__version__}, {time.strftime('%Y-%m-%d %H:%M %Z')}."
